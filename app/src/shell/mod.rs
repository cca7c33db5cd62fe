//! The document around every page, and the frame of the console: sidebar, keyboard, command palette.

mod door;
mod frame;
mod keyboard;
mod palette;
#[cfg(feature = "ssr")]
mod search;
mod sidebar;
mod theme;

pub use door::Door;
pub use frame::{Dashboard, Frame, PageHead, use_frame};
pub use theme::Theme;

use leptos::prelude::*;
use leptos_meta::{HashedStylesheet, MetaTags};

use crate::routes::App;

/// The whole HTML document. The theme comes from a cookie, so that the first paint has the right colours.
pub fn shell(options: LeptosOptions) -> impl IntoView {
    let theme = theme::current();
    view! {
        <!DOCTYPE html>
        <html lang="en" data-theme=theme.as_str()>
            <head>
                <meta charset="utf-8"/>
                <meta name="viewport" content="width=device-width, initial-scale=1"/>
                <meta name="color-scheme" content=theme.schemes()/>
                <meta name="robots" content="noindex"/>
                <link rel="icon" type="image/svg+xml" href="/favicon.svg"/>
                <link
                    rel="preload"
                    href="/fonts/inter-latin-wght-normal.woff2"
                    r#as="font"
                    r#type="font/woff2"
                    crossorigin="anonymous"
                />
                <HashedStylesheet options=options.clone() id="style"/>
                <AutoReload options=options.clone()/>
                <HydrationScripts options/>
                <MetaTags/>
            </head>
            <body>
                <App/>
            </body>
        </html>
    }
}
