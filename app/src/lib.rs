//! What people see: pages, components, and the server functions that stand beside them.
//!
//! - [`shell`]: the document around the pages, sidebar, keyboard
//! - [`routes`]: which address shows which page
//! - [`pages`]: one folder or file for each page
//! - [`components`]: what pages are made of
//! - [`error`]: what can go wrong, in words that may be shown
//! - [`flash`]: what survives a redirect
//! - [`later`]: what the browser loads only when it is needed
//! - `session` (server only): who is calling; `outside`: what the pages ask of providers

#![recursion_limit = "256"]

pub mod browser;
pub mod components;
pub mod error;
pub mod flash;
pub mod later;
#[cfg(feature = "ssr")]
pub mod outside;
pub mod pages;
pub mod routes;
#[cfg(feature = "ssr")]
pub mod session;
pub mod shell;
pub mod url;

pub use error::AppError;
pub use routes::App;
#[cfg(feature = "hydrate")]
pub use routes::hydrate;
pub use shell::shell;
