//! The building blocks of every page, drawn after the house's own style. One file for each thing one can point at.
//!
//! All of them render complete HTML on the server and work without script; hydration only adds comfort.

mod badge;
mod button;
mod chip;
mod code_block;
mod copy_button;
mod dialog;
mod field;
mod form_state;
mod icons;
mod inputs;
mod menu;
mod pager;
mod progress;
mod radio_card;
mod spark;
mod states;
mod steps;
mod table;
mod tabs;
mod time;
mod toast;

pub use badge::{Badge, Tone};
pub use button::{Button, ButtonKind, LinkButton};
pub use chip::{Chip, ChipRow};
pub use code_block::{CodeBlock, Kbd};
pub use copy_button::CopyButton;
pub use dialog::{ConfirmDialog, Dialog, Sheet};
pub use field::{Field, FieldContext, FormError};
pub use form_state::FormState;
pub use icons::{Glyph, Icon};
pub use inputs::{PasswordInput, SearchInput, Select, TextArea, TextInput, Width};
pub use menu::{Menu, MenuButton, MenuGap, MenuLink};
pub use pager::CursorPager;
pub use progress::{ProgressBar, share};
pub use radio_card::{RadioCard, RadioCards};
pub use spark::Spark;
pub use states::{EmptyState, ErrorState, Notice, Skeleton};
pub use steps::{StepState, Steps};
pub use table::{SortLink, TableWrap};
pub use tabs::{Tab, Tabs};
pub use time::{Moment, MomentText, TimeText};
pub use toast::{ToastTray, Toasts, provide_toasts, use_toasts};
