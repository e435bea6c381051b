//! Copies of requests: sent and forgotten. Nothing that a mirror does is seen by the client.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::SendRequest;
use hyper::http::request::Parts;
use hyper::{Request, Response};
use tokio::time::timeout;
use tracing::debug;

use crate::relay::Context;
use crate::relay::metrics::Mirrored;

use super::dial::{DialError, Dialer, Security};
use super::http2::{Http2, SendError};
use super::tee::{self, Feed};
use super::{Outgoing, headers, http1};

/// How long a copied request may take, its answer included.
const LIMIT: Duration = Duration::from_secs(15);
/// Connections that are kept for the next copy, for each endpoint.
const IDLE: usize = 32;

/// Where a share of requests is copied to.
#[derive(Debug)]
pub struct Mirror {
    targets: Vec<Arc<Target>>,
    numerator: u32,
    denominator: u32,
}

/// One endpoint.
#[derive(Debug)]
enum Target {
    Http1 { dialer: Dialer, idle: Mutex<Vec<SendRequest<Outgoing>>> },
    Http2(Http2),
    Unusable,
}

/// Begins a copy of a request for each mirror whose turn it is; what is returned feeds the copies' bodies.
pub fn begin(mirrors: &[Mirror], parts: &Parts, body: &Incoming, context: &Arc<Context>) -> Vec<Feed> {
    mirrors.iter().filter_map(|mirror| mirror.begin(parts, body, context)).collect()
}

impl Mirror {
    /// Copies `numerator` of `denominator` requests, each to one of the endpoints.
    #[must_use]
    pub fn new(dialers: Vec<Dialer>, numerator: u32, denominator: u32) -> Self {
        let targets = dialers.into_iter().map(|dialer| Arc::new(Target::new(dialer))).collect();
        Self { targets, numerator, denominator }
    }

    /// Whether one of its endpoints cannot be spoken to.
    #[must_use]
    pub fn is_unusable(&self) -> bool {
        self.targets.iter().any(|target| matches!(**target, Target::Unusable))
    }

    fn is_due(&self) -> bool {
        self.denominator > 0 && fastrand::u32(0..self.denominator) < self.numerator
    }

    fn begin(&self, parts: &Parts, body: &Incoming, context: &Arc<Context>) -> Option<Feed> {
        if !self.is_due() {
            return None;
        }
        let target = Arc::clone(fastrand::choice(&self.targets)?);
        let Some(slot) = context.limits.mirrored() else {
            context.metrics.mirrored(Mirrored::Dropped);
            return None;
        };
        let (feed, copy) = tee::copy(body);
        let overrun = copy.overrun();
        let request = Request::from_parts(parts.clone(), copy.boxed_unsync());
        let context = Arc::clone(context);
        tokio::spawn(async move {
            let result = match timeout(LIMIT, target.send(request)).await {
                Ok(Ok(())) => Mirrored::Ok,
                _ if overrun.load(Ordering::Relaxed) => Mirrored::Dropped,
                Ok(Err(error)) => {
                    debug!(%error, "a copy of a request failed");
                    Mirrored::Error
                }
                Err(_) => Mirrored::Timeout,
            };
            context.metrics.mirrored(result);
            drop(slot);
        });
        Some(feed)
    }
}

impl Target {
    fn new(dialer: Dialer) -> Self {
        if matches!(dialer.security, Security::Unusable(_)) {
            Self::Unusable
        } else if dialer.http2 {
            Self::Http2(Http2::new(dialer))
        } else {
            Self::Http1 { dialer, idle: Mutex::default() }
        }
    }

    /// Sends a copy and reads the answer to its end.
    async fn send(&self, request: Request<Outgoing>) -> Result<(), SendError> {
        match self {
            Self::Unusable => Err(DialError::Unusable("a certificate is missing".into()).into()),
            Self::Http2(shared) => {
                let (mut parts, body) = request.into_parts();
                if !headers::for_http2(&mut parts, shared.is_tls()) {
                    return Err(DialError::Unusable("the request has no usable host".into()).into());
                }
                let (answer, stream) = shared.send(Request::from_parts(parts, body)).await?;
                discard(answer).await?;
                drop(stream);
                Ok(())
            }
            Self::Http1 { dialer, idle } => {
                let mut sender = match take(idle) {
                    Some(sender) => sender,
                    None => open(dialer).await?,
                };
                discard(sender.send_request(request).await.map_err(SendError::Http)?).await?;
                keep(idle, sender).await;
                Ok(())
            }
        }
    }
}

async fn discard(answer: Response<Incoming>) -> Result<(), SendError> {
    let mut body = answer.into_body();
    while !body.is_end_stream() {
        match body.frame().await {
            Some(frame) => drop(frame.map_err(SendError::Http)?),
            None => break,
        }
    }
    Ok(())
}

async fn open(dialer: &Dialer) -> Result<SendRequest<Outgoing>, DialError> {
    let (sender, connection) = http1::connect(dialer).await?;
    tokio::spawn(connection);
    Ok(sender)
}

fn take(idle: &Mutex<Vec<SendRequest<Outgoing>>>) -> Option<SendRequest<Outgoing>> {
    let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
    idle.retain(|sender| !sender.is_closed());
    idle.pop()
}

async fn keep(idle: &Mutex<Vec<SendRequest<Outgoing>>>, mut sender: SendRequest<Outgoing>) {
    if sender.ready().await.is_ok() {
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(sender);
        }
    }
}
