//! The way to endpoints that varnishd cannot speak to: TLS, HTTP/2, and endpoints with mirrors.
//!
//! ```text
//! varnishd → FOLDER/up/ID → sockets → endpoint ─┬ bytes (HTTP/1.1, no mirrors) ── dial ⇄ endpoint
//!                                               └ http ┬ http1, http2 ────────── dial ⇄ endpoint
//!                                                      └ tee → mirror ────────── dial → mirror (answer dropped)
//! ```
//!
//! Without mirrors and HTTP/2, bytes are copied, one connection for each of varnishd's. Else hyper takes requests
//! from varnishd and sends them on. Where an endpoint fails before it has answered, varnishd's connection is closed
//! without an answer, so that varnishd sees what it would see of the endpoint itself.

mod build;
mod dial;
mod endpoint;
mod headers;
mod http;
mod http1;
mod http2;
mod mirror;
mod sockets;
mod tee;
mod tls;
mod verify;

pub use build::Upstreams;
pub use sockets::Sockets;

/// What goes wrong with a body.
type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// A body on its way to an endpoint or to varnishd.
type Outgoing = http_body_util::combinators::UnsyncBoxBody<hyper::body::Bytes, BodyError>;

/// Above varnishd's default of `http_max_hdr` (64) and of the 128 that it is commonly raised to.
const MAX_HEADERS: usize = 256;
/// Bytes of a head and of one read: above `http_req_size` and `http_resp_hdr_len` together.
const MAX_BUFFER: usize = 64 << 10;
