//! One file or folder for each page; the server functions of a page stand beside it.

pub mod developer;
pub mod invite;
pub mod not_found;
pub mod settings;
pub mod setup;
pub mod sign_in;
