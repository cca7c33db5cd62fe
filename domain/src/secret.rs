//! Text that must not be printed: no Debug output, no Serialize, wiped from memory when dropped.

pub use secrecy::{ExposeSecret, SecretString};
