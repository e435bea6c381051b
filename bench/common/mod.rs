//! The configuration that is measured, and the backend behind it.
#![allow(dead_code, unused_imports, reason = "each bench uses its own part of this module")]

mod server;
mod site;
mod stats;

pub use server::{BackendProcess, serve_if_asked};
pub use site::{Site, VHOSTS, file_name, host};
pub use stats::{median, millis, spread};
