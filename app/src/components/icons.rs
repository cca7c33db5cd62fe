//! Icons drawn for this console: 16 × 16, strokes of 1.5, in the colour of the text beside them.
//!
//! An icon never speaks alone: it is hidden from screen readers, and a word or a label stands beside it.

use leptos::prelude::*;

/// What an icon shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    Alert,
    ArrowLeft,
    ArrowRight,
    Bouncer,
    Building,
    Chart,
    Check,
    CheckCircle,
    ChevronDown,
    ChevronLeft,
    ChevronRight,
    ChevronsLeft,
    ChevronsRight,
    Clock,
    Close,
    Code,
    Copy,
    Dots,
    Download,
    Eye,
    EyeOff,
    Filter,
    History,
    Info,
    Key,
    Laptop,
    Menu,
    Moon,
    Pause,
    Pencil,
    Phone,
    Play,
    Plus,
    Refresh,
    Search,
    Send,
    Settings,
    Shield,
    SignOut,
    SortDown,
    SortUp,
    Sun,
    Theme,
    Trash,
    Webhook,
}

impl Icon {
    /// The shapes inside the 16 × 16 box.
    pub fn shapes(self) -> &'static str {
        match self {
            Self::Alert => r#"<path d="M8 2.5 14.25 13.25H1.75z"/><path d="M8 6.5v3M8 11.4v.1"/>"#,
            Self::ArrowLeft => r#"<path d="M13 8H3M7 4 3 8l4 4"/>"#,
            Self::ArrowRight => r#"<path d="M3 8h10M9 4l4 4-4 4"/>"#,
            Self::Bouncer => {
                r#"<path d="M8 1.75 13.25 4v3.75c0 3-2 5.5-5.25 6.5-3.25-1-5.25-3.5-5.25-6.5V4z"/><circle cx="8" cy="6.9" r="1.5"/><path d="M8 8.4v2.35"/>"#
            }
            Self::Building => {
                r#"<path d="M3.25 14V2.75h6.5V14M9.75 6.5h3V14M1.75 14h12.5M5.5 5.5h2M5.5 8.25h2M5.5 11h2"/>"#
            }
            Self::Chart => r#"<path d="M2.5 13.5h11M4.25 11V8.5M8 11V3.5M11.75 11V6"/>"#,
            Self::Check => r#"<path d="m3 8.5 3.25 3.25L13 4.75"/>"#,
            Self::CheckCircle => r#"<circle cx="8" cy="8" r="6.25"/><path d="m5.25 8.25 2 2 3.5-4"/>"#,
            Self::ChevronDown => r#"<path d="m4 6 4 4 4-4"/>"#,
            Self::ChevronLeft => r#"<path d="m10 4-4 4 4 4"/>"#,
            Self::ChevronRight => r#"<path d="m6 4 4 4-4 4"/>"#,
            Self::ChevronsLeft => r#"<path d="M8 4 4 8l4 4M12.5 4l-4 4 4 4"/>"#,
            Self::ChevronsRight => r#"<path d="m8 4 4 4-4 4M3.5 4l4 4-4 4"/>"#,
            Self::Clock => r#"<circle cx="8" cy="8" r="6.25"/><path d="M8 4.5V8l2.25 1.5"/>"#,
            Self::Close => r#"<path d="m4 4 8 8M12 4l-8 8"/>"#,
            Self::Code => r#"<path d="M5 4.5 1.5 8 5 11.5M11 4.5 14.5 8 11 11.5M9.25 3l-2.5 10"/>"#,
            Self::Copy => {
                r#"<rect x="5.5" y="5.5" width="8" height="8" rx="1.5"/><path d="M10.5 3.25v-.5a1 1 0 0 0-1-1H3.25a1.5 1.5 0 0 0-1.5 1.5V9.5a1 1 0 0 0 1 1h.5"/>"#
            }
            Self::Dots => {
                r#"<g fill="currentColor" stroke="none"><circle cx="3.25" cy="8" r="1.25"/><circle cx="8" cy="8" r="1.25"/><circle cx="12.75" cy="8" r="1.25"/></g>"#
            }
            Self::Download => r#"<path d="M8 2.25v7.5M4.75 6.75 8 10l3.25-3.25M2.75 13.25h10.5"/>"#,
            Self::Eye => {
                r#"<path d="M1.5 8C2.75 5.25 5.2 3.75 8 3.75S13.25 5.25 14.5 8c-1.25 2.75-3.7 4.25-6.5 4.25S2.75 10.75 1.5 8z"/><circle cx="8" cy="8" r="1.75"/>"#
            }
            Self::EyeOff => {
                r#"<path d="M6.2 4a7 7 0 0 1 1.8-.25c2.8 0 5.25 1.5 6.5 4.25a8.5 8.5 0 0 1-1.6 2.3M10 11.95a7 7 0 0 1-2 .3c-2.8 0-5.25-1.5-6.5-4.25a8.3 8.3 0 0 1 2.15-2.8M2.5 2.5l11 11"/>"#
            }
            Self::Filter => r#"<path d="M2 4h12M4.5 8h7M6.75 12h2.5"/>"#,
            Self::History => r#"<path d="M2 3v3.25h3.25M2.25 6.25A6 6 0 1 1 2 8.75M8 5v3.25l2.25 1.25"/>"#,
            Self::Info => r#"<circle cx="8" cy="8" r="6.25"/><path d="M8 7.25v3.5M8 5.2v.1"/>"#,
            Self::Key => r#"<circle cx="5.25" cy="10.75" r="3"/><path d="m7.4 8.6 6.1-6.1M11 5l2 2"/>"#,
            Self::Laptop => r#"<rect x="3" y="3.25" width="10" height="7" rx="1"/><path d="M1.5 12.75h13"/>"#,
            Self::Menu => r#"<path d="M2 4.25h12M2 8h12M2 11.75h12"/>"#,
            Self::Moon => r#"<path d="M13.5 9.75A6 6 0 0 1 6.25 2.5a6 6 0 1 0 7.25 7.25z"/>"#,
            Self::Pause => r#"<path d="M5.25 3.25v9.5M10.75 3.25v9.5"/>"#,
            Self::Pencil => r#"<path d="m2.5 13.5.750-3.25 7.5-7.5 2.5 2.5-7.5 7.5zM9.25 4.25l2.5 2.5"/>"#,
            Self::Phone => r#"<rect x="4.25" y="1.75" width="7.5" height="12.5" rx="1.5"/><path d="M7 11.9h2"/>"#,
            Self::Play => r#"<path d="M4.75 2.75v10.5L13 8z"/>"#,
            Self::Plus => r#"<path d="M8 3v10M3 8h10"/>"#,
            Self::Refresh => {
                r#"<path d="M13.5 2.75V6h-3.25M13.25 6A5.75 5.75 0 0 0 2.6 6M2.5 13.25V10h3.25M2.75 10a5.75 5.75 0 0 0 10.65 0"/>"#
            }
            Self::Search => r#"<circle cx="7" cy="7" r="4.75"/><path d="m10.5 10.5 3.5 3.5"/>"#,
            Self::Send => r#"<path d="M14 2 7.25 8.75M14 2 9.75 14l-2.5-5.25L2 6.25z"/>"#,
            Self::Settings => {
                r#"<circle cx="8" cy="8" r="2.25"/><path d="M8 1.5v2M8 12.5v2M1.5 8h2M12.5 8h2M3.4 3.4l1.4 1.4M11.2 11.2l1.4 1.4M12.6 3.4l-1.4 1.4M4.8 11.2l-1.4 1.4"/>"#
            }
            Self::Shield => {
                r#"<path d="M8 1.75 13.25 4v3.75c0 3-2 5.5-5.25 6.5-3.25-1-5.25-3.5-5.25-6.5V4z"/><path d="m5.75 7.75 1.6 1.6 2.9-3.1"/>"#
            }
            Self::SignOut => r#"<path d="M6.5 2.75H3v10.5h3.5M10 5l3 3-3 3M13 8H6"/>"#,
            Self::SortDown => r#"<path d="M8 3.5v9M4.5 9 8 12.5 11.5 9"/>"#,
            Self::SortUp => r#"<path d="M8 12.5v-9M4.5 7 8 3.5 11.5 7"/>"#,
            Self::Sun => {
                r#"<circle cx="8" cy="8" r="2.75"/><path d="M8 1.5v1M8 13.5v1M1.5 8h1M13.5 8h1M3.4 3.4l.7.7M11.9 11.9l.7.7M12.6 3.4l-.7.7M4.1 11.9l-.7.7"/>"#
            }
            Self::Theme => {
                r#"<circle cx="8" cy="8" r="6.25"/><path d="M8 1.75v12.5a6.25 6.25 0 0 0 0-12.5z" fill="currentColor" stroke="none"/>"#
            }
            Self::Webhook => {
                r#"<circle cx="4" cy="11.5" r="2.25"/><circle cx="12" cy="11.5" r="2.25"/><circle cx="8" cy="4.5" r="2.25"/><path d="M6.9 6.5 5.2 9.6M9.1 6.5l1.7 3.1M6.25 11.5h3.5"/>"#
            }
            Self::Trash => r#"<path d="M2.5 4.25h11M6 4V2.25h4V4M4 4.25l.6 9.5h6.8l.6-9.5M6.6 7v4M9.4 7v4"/>"#,
        }
    }
}

/// Draws an [`Icon`]. Size and colour come from the text around it.
#[component]
pub fn Glyph(icon: Icon) -> impl IntoView {
    view! {
        <svg
            class="icon"
            viewBox="0 0 16 16"
            width="16"
            height="16"
            fill="none"
            stroke="currentColor"
            stroke-width="1.5"
            stroke-linecap="round"
            stroke-linejoin="round"
            aria-hidden="true"
            inner_html=icon.shapes()
        ></svg>
    }
}
