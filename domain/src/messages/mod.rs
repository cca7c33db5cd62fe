//! Outbound messages.
//!
//! - [`body`]: what a message says; [`read`] reads and checks it
//! - [`recipient`]: whom it goes to
//! - [`status`]: where it stands
//! - `store`: accepting, looking at, cancelling (feature `postgres`)
//! - `queue`: claiming, finishing, giving up (feature `postgres`)

pub mod body;
pub mod list;
#[cfg(feature = "postgres")]
pub mod queue;
pub mod read;
pub mod recipient;
pub mod status;
#[cfg(feature = "postgres")]
pub mod store;

pub use body::{Body, Template as TemplateBody};
pub use list::{Message, MessageError, MessageFilter, MessagePage, Step};
pub use recipient::Recipient;
pub use status::{MessageStatus, StatusUpdate};
