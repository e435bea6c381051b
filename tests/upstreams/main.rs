//! The relay's way to backends: the real `copal-relay`, real servers, and requests on its unix sockets.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test may panic")]
#![expect(
    clippy::float_cmp,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "counts are whole; text is short"
)]

mod authority;
mod bytes;
mod client;
mod http;
mod mirrors;
mod process;
mod server;
mod tls;
