//! The varnishd process: how it is started, what it says, how it ends.

pub mod args;
pub mod log;
pub mod mask;
pub mod process;
pub mod setup;
pub mod stale;
pub mod user;
