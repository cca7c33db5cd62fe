//! The frame of all signed-in pages.

use domain::people::Viewer;
use leptos::prelude::*;
use leptos_router::{NavigateOptions, components::Outlet, hooks::use_navigate};
use serde::{Deserialize, Serialize};

use super::{keyboard::Shortcuts, palette::Palette, sidebar::Sidebar};
use crate::{
    components::{Glyph, Icon, Notice, ToastTray, Tone},
    error::AppError,
    later::{Loaded, load_first},
};

/// What the frame shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    pub viewer: Viewer,
    /// One sentence about what was just done, when that was done without script.
    pub note: Option<String>,
    /// The same for what could not be done.
    pub problem: Option<String>,
}

/// Who is signed in. A page of somebody who is not goes to the sign-in page and comes back from there.
#[server(endpoint = "shell/frame")]
pub async fn load_frame() -> Result<Frame, AppError> {
    use crate::{flash, session};
    match session::current().await {
        Ok(me) => {
            Ok(Frame { viewer: me.viewer, note: flash::take("note").await?, problem: flash::take("problem").await? })
        }
        Err(error) => {
            if error == AppError::SignedOut {
                session::to_sign_in();
            }
            Err(error)
        }
    }
}

pub type FrameResource = Loaded<Frame>;

/// The frame's facts, for pages inside it; read it inside a `Suspense` or `Transition`.
/// `refetch()` after a change of name, role or organization.
pub fn use_frame() -> FrameResource {
    use_context().unwrap_or_else(|| load_first(|| (), |()| load_frame()))
}

/// Sidebar on the left, the page on the right.
#[component]
pub fn Dashboard() -> impl IntoView {
    let frame: FrameResource = load_first(|| (), |()| load_frame());
    provide_context(frame);

    // The session may end while the console is open.
    let navigate = use_navigate();
    Effect::new(move |_| {
        if let Some(Err(AppError::SignedOut)) = frame.get() {
            navigate("/sign-in", NavigateOptions { replace: true, ..Default::default() });
        }
    });

    view! {
        <a class="skip" href="#main" rel="external">"Skip to content"</a>
        <header class="topbar">
            <button type="button" class="button quiet icon-only" popovertarget="sidebar" aria-label="Menu" title="Menu">
                <Glyph icon=Icon::Menu/>
            </button>
            <a class="brand" href="/dashboard/developer/api-keys"><Glyph icon=Icon::Bouncer/><span>"Bouncer"</span></a>
        </header>
        <div class="layout">
            <Sidebar frame/>
            <main id="main" tabindex="-1">
                <Transition>
                    {move || Suspend::new(async move {
                        let frame = frame.await.ok()?;
                        Some(
                            view! {
                                {frame.note.map(|text| view! { <Notice tone=Tone::Ok><p>{text}</p></Notice> })}
                                {frame.problem.map(|text| view! { <Notice tone=Tone::Bad><p>{text}</p></Notice> })}
                            },
                        )
                    })}
                </Transition>
                <Outlet/>
            </main>
        </div>
        <ToastTray/>
        <Palette/>
        <Shortcuts/>
    }
    .into_any()
}

/// The title of a page, one word, and one sentence about what one can do here.
#[component]
pub fn PageHead(
    title: &'static str,
    text: &'static str,
    /// At the right end.
    #[prop(optional)]
    children: Option<Children>,
) -> impl IntoView {
    view! {
        <header class="page-head">
            <div>
                <h1>{title}</h1>
                <p>{text}</p>
            </div>
            {children.map(|children| view! { <div class="page-actions">{children()}</div> })}
        </header>
    }
}
