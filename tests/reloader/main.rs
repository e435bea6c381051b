//! The reloader with a real varnishd, real backends and real clients, all on the loopback interface.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]

mod access_log;
mod backend;
mod bulk;
mod bundles;
mod client;
mod crash;
mod drain;
mod harness;
mod operate;
mod passthrough;
mod relay;
mod relay_life;
mod relay_streams;
mod reload;
mod served;
mod tls;
mod tls_server;
