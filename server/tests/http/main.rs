//! Tests over the whole router, each with a database of its own.

#![recursion_limit = "256"]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that fails should say so at once")]

mod bodies;
mod command;
mod console;
mod conversations;
mod denials;
mod fuzz;
mod headers;
mod inbound;
mod instances;
mod logs;
mod messages;
mod mocks;
mod net;
mod outage;
mod pages;
mod providers;
mod radar;
mod rates;
mod recorder;
mod rights;
mod rotation;
mod sending;
mod signing;
mod templates;
mod usage;
mod verify;
mod webhooks;
mod world;
