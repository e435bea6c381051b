//! The configuration that is measured, and the backend behind it.
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a bench that cannot go on says where and stops; each uses its own part of this"
)]

mod server;
mod site;
mod stats;

pub use server::{BackendProcess, serve_if_asked};
pub use site::{Site, VHOSTS, file_name, host};
pub use stats::{median, millis, spread};
