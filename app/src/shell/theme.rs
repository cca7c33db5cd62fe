//! Light, dark, or as the system has it. Kept in a cookie, which the server reads before it paints anything.

use leptos::{prelude::*, server_fn::ServerFn};
use serde::{Deserialize, Serialize};

use crate::{
    browser,
    components::{Glyph, Icon, Menu, MenuButton},
    error::AppError,
};

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Theme {
    Light,
    Dark,
    #[default]
    System,
}

impl Theme {
    pub const ALL: [Self; 3] = [Self::Light, Self::Dark, Self::System];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
            Self::System => "system",
        }
    }

    /// For `<meta name="color-scheme">`: the browser paints its canvas before the stylesheet is there.
    pub fn schemes(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
            Self::System => "light dark",
        }
    }

    fn label(self) -> &'static str {
        match self {
            Self::Light => "Light",
            Self::Dark => "Dark",
            Self::System => "System",
        }
    }

    fn icon(self) -> Icon {
        match self {
            Self::Light => Icon::Sun,
            Self::Dark => Icon::Moon,
            Self::System => Icon::Laptop,
        }
    }
}

/// The theme of this request's cookie.
#[cfg(feature = "ssr")]
pub fn current() -> Theme {
    let value = crate::session::cookie("theme").unwrap_or_default();
    Theme::ALL.into_iter().find(|theme| theme.as_str() == value).unwrap_or_default()
}

/// Only the server makes the document.
#[cfg(not(feature = "ssr"))]
pub fn current() -> Theme {
    Theme::default()
}

/// Keeps the choice for a year. Needs no sign-in: it says nothing about anybody.
#[server(endpoint = "shell/theme")]
pub async fn set_theme(theme: Theme) -> Result<(), AppError> {
    let cookie = format!("theme={}; Path=/; Max-Age=31536000; SameSite=Lax", theme.as_str());
    if let (Some(response), Ok(value)) =
        (use_context::<leptos_axum::ResponseOptions>(), http::HeaderValue::from_str(&cookie))
    {
        response.append_header(http::header::SET_COOKIE, value);
    }
    Ok(())
}

/// The switch in the sidebar.
#[component]
pub fn ThemeSwitch() -> impl IntoView {
    let set = ServerAction::<SetTheme>::new();
    view! {
        <Menu id="theme-menu" label="Theme" icon=Icon::Theme>
            {Theme::ALL
                .map(|theme| {
                    view! {
                        <form
                            method="post"
                            action=SetTheme::url()
                            on:submit=move |event| {
                                event.prevent_default();
                                browser::mark_root("data-theme", theme.as_str());
                                set.dispatch(SetTheme { theme });
                            }
                        >
                            <input type="hidden" name="theme" value=theme.as_str()/>
                            <MenuButton icon=theme.icon() submit=true>{theme.label()}</MenuButton>
                        </form>
                    }
                })
                .collect_view()}
        </Menu>
    }
}

/// A mark for pages without a sidebar.
#[component]
pub fn Brand() -> impl IntoView {
    view! { <span class="brand"><Glyph icon=Icon::Bouncer/><span>"Bouncer"</span></span> }
}
