//! The `bouncer` command; everything is in the library, where the tests reach it.

#![recursion_limit = "256"]

use std::process::ExitCode;

fn main() -> ExitCode {
    server::cli::run()
}
