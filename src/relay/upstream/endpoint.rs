//! One endpoint: how connections of varnishd's for it are served, and how its failures are told.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::UnixStream;
use tracing::warn;

use crate::bundle::relay::UpstreamId;
use crate::relay::Context;
use crate::relay::copy;
use crate::relay::metrics::{Metrics, UpstreamFailure};

use super::dial::{DialError, Dialer, Security};
use super::http;
use super::http2::Http2;
use super::mirror::Mirror;

/// One line for each endpoint in this time: an endpoint that is down fails as often as there are requests.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// An endpoint that is ready to be spoken to.
#[derive(Debug)]
pub struct Endpoint {
    /// The name of its socket.
    pub id: UpstreamId,
    /// Where it is.
    pub address: SocketAddr,
    /// Who gets copies of its requests.
    pub mirrors: Vec<Mirror>,
    way: Way,
    is_usable: bool,
    logged: Mutex<Option<Instant>>,
}

/// How it is spoken to.
#[derive(Debug)]
enum Way {
    /// Bytes are copied.
    Bytes(Dialer),
    /// By requests, one connection for each of varnishd's.
    Http1(Dialer),
    /// By requests, on connections that are shared.
    Http2(Arc<Http2>),
}

impl Endpoint {
    /// Not connected yet.
    #[must_use]
    pub fn new(id: &str, dialer: Dialer, mirrors: Vec<Mirror>) -> Self {
        let is_bad = |dialer: &Dialer| matches!(dialer.security, Security::Unusable(_));
        let is_usable = !is_bad(&dialer) && !mirrors.iter().any(Mirror::is_unusable);
        let address = dialer.address;
        let way = if dialer.http2 {
            Way::Http2(Arc::new(Http2::new(dialer)))
        } else if mirrors.is_empty() {
            Way::Bytes(dialer)
        } else {
            Way::Http1(dialer)
        };
        Self { id: id.to_owned(), address, mirrors, way, is_usable, logged: Mutex::new(None) }
    }

    /// Whether it and its mirrors can be spoken to as far as we know.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.is_usable
    }

    /// Serves a connection of varnishd's to its end.
    pub async fn serve(self: Arc<Self>, varnish: UnixStream, context: Arc<Context>) {
        match &self.way {
            Way::Bytes(dialer) => match dialer.dial().await {
                Ok(endpoint) => copy::with_endpoint(endpoint, varnish).await,
                Err(error) => self.not_connected(&context.metrics, &error),
            },
            Way::Http1(dialer) => http::serve_http1(varnish, &self, dialer, &context).await,
            Way::Http2(shared) => http::serve_http2(varnish, &self, shared, &context).await,
        }
    }

    /// Counts and tells that it cannot be connected to.
    pub fn not_connected(&self, metrics: &Metrics, error: &DialError) {
        self.failed(metrics, error.reason(), error);
    }

    /// Counts and tells a failure.
    pub fn failed(&self, metrics: &Metrics, reason: UpstreamFailure, error: &dyn Display) {
        metrics.upstream_failed(reason);
        if self.may_log() {
            let (upstream, address) = (&self.id, self.address);
            warn!(upstream, %address, reason = reason.name(), %error, "a backend behind the relay fails");
        }
    }

    fn may_log(&self) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = logged.is_none_or(|at| at.elapsed() >= LOG_PAUSE);
        if is_due {
            *logged = Some(Instant::now());
        }
        is_due
    }
}
