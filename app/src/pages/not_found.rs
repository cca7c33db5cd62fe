//! There is no such page.

use leptos::prelude::*;
use leptos_meta::Title;

use crate::{components::LinkButton, error::AppError, shell::Door};

#[component]
pub fn NotFoundPage() -> impl IntoView {
    #[cfg(feature = "ssr")]
    AppError::NotFound.answered();
    view! {
        <Title text="Not found"/>
        <Door title="Not found" text=AppError::NotFound.to_string()>
            <LinkButton href="/dashboard/developer/api-keys">"Go to API Keys"</LinkButton>
        </Door>
    }
}
