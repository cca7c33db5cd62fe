//! Tests over the whole router, each with a database of its own.

#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails should say so at once")]

mod bodies;
mod command;
mod denials;
mod headers;
mod outage;
mod pages;
mod radar;
mod rates;
mod recorder;
mod rights;
mod verify;
mod world;
