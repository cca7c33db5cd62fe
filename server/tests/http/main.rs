//! Tests over the whole router, each with a database of its own.

#![recursion_limit = "256"]

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
