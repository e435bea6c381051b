//! Connections by HTTP/2 to one endpoint, shared by all who send to it.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Bytes, Incoming};
use hyper::client::conn::http2::{Builder, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use thiserror::Error as ThisError;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::dial::{DialError, Dialer, Io, LIMIT, Security};
use super::{MAX_BUFFER, Outgoing};

/// The most connections. Beyond, requests wait for a stream to end.
const CONNECTIONS: usize = 8;
/// How often a request is sent that the endpoint has certainly not looked at.
const ATTEMPTS: usize = 3;
/// How often it is looked whether a connection has begun.
const LOOK: Duration = Duration::from_millis(1);
/// Bytes that the endpoint may send ahead of what varnishd reads, for one answer and for all of a connection: so many
/// that slow answers do not hold up the others.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 32 << 20;

type Http2Connection = Connection<TokioIo<Box<dyn Io>>, Outgoing, TokioExecutor>;

/// Why there is no answer.
#[derive(Debug, ThisError)]
pub enum SendError {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The exchange failed.
    #[error("the exchange failed: {}", in_full(.0))]
    Http(hyper::Error),
}

/// hyper's own words are short; what is behind them says more.
fn in_full(error: &hyper::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

/// The endpoint's connections.
#[derive(Debug)]
pub struct Http2 {
    dialer: Dialer,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: Vec<Open>,
    /// The last attempt that failed, for all who were waiting for it.
    failed: Option<(Instant, DialError)>,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Outgoing>,
    /// How many streams the endpoint allows.
    allowed: Arc<AtomicUsize>,
    /// A clone for each stream that is open.
    streams: Arc<()>,
}

/// A stream that is open, as long as this lives.
#[derive(Debug)]
pub struct Stream(Arc<()>);

impl Open {
    fn is_free(&self) -> bool {
        Arc::strong_count(&self.streams) <= self.allowed.load(Ordering::Relaxed)
    }

    fn take(&self) -> (SendRequest<Outgoing>, Stream) {
        (self.sender.clone(), Stream(Arc::clone(&self.streams)))
    }
}

impl Http2 {
    /// Not connected yet.
    #[must_use]
    pub fn new(dialer: Dialer) -> Self {
        Self { dialer, state: Mutex::default() }
    }

    /// Whether requests go over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        !matches!(self.dialer.security, Security::None)
    }

    /// Sends a request, again where the endpoint has certainly not looked at it: the connection had ended or was
    /// about to.
    ///
    /// # Errors
    /// When there is no connection, or the exchange failed.
    pub async fn send(
        &self,
        mut request: Request<Outgoing>,
    ) -> Result<(Response<Incoming>, Stream), SendError> {
        let mut attempt = 1;
        loop {
            let (mut sender, stream) = self.acquire().await?;
            let spare = spare(&request);
            let mut failed = match sender.try_send_request(request).await {
                Ok(response) => return Ok((response, stream)),
                Err(failed) => failed,
            };
            let unsent = failed.take_message();
            let again = unsent.or_else(|| spare.filter(|_| is_refusal(failed.error())));
            self.forget(&stream).await;
            match again {
                Some(again) if attempt < ATTEMPTS => request = again,
                _ => return Err(SendError::Http(failed.into_error())),
            }
            attempt += 1;
        }
    }

    /// A connection with a free stream, as far as one can be had. All who wait for one attempt share its failure.
    async fn acquire(&self) -> Result<(SendRequest<Outgoing>, Stream), DialError> {
        let asked = Instant::now();
        let mut state = self.state.lock().await;
        state.open.retain(|open| !open.sender.is_closed());
        if let Some(open) = state.open.iter().find(|open| open.is_free()) {
            return Ok(open.take());
        }
        if state.open.len() >= CONNECTIONS
            && let Some(open) = state.open.iter().min_by_key(|open| Arc::strong_count(&open.streams))
        {
            return Ok(open.take());
        }
        if let Some((at, error)) = &state.failed
            && *at >= asked
        {
            return Err(error.clone());
        }
        match self.connect().await {
            Ok(open) => {
                let taken = open.take();
                state.open.push(open);
                Ok(taken)
            }
            Err(error) => {
                state.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    /// Takes no further stream of a connection that refused one.
    async fn forget(&self, stream: &Stream) {
        self.state.lock().await.open.retain(|open| !Arc::ptr_eq(&open.streams, &stream.0));
    }

    async fn connect(&self) -> Result<Open, DialError> {
        let io = TokioIo::new(self.dialer.dial().await?);
        let (sender, connection) = Builder::new(TokioExecutor::new())
            .initial_max_send_streams(0)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(MAX_BUFFER)
            .max_header_list_size(u32::try_from(MAX_BUFFER).unwrap_or(u32::MAX))
            .handshake(io)
            .await
            .map_err(|error| DialError::Http(Arc::new(error)))?;
        let mut connection = Box::pin(connection);
        timeout(LIMIT, begun(&mut connection)).await.unwrap_or(Err(DialError::Timeout))?;
        let allowed = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
        let known = Arc::clone(&allowed);
        tokio::spawn(async move {
            poll_fn(|cx| {
                let ended = connection.as_mut().poll(cx);
                known.store(connection.current_max_send_streams(), Ordering::Relaxed);
                ended.map(drop)
            })
            .await;
        });
        Ok(Open { sender, allowed, streams: Arc::new(()) })
    }
}

/// Waits until the endpoint has said how many streams it allows, which is the first that it says (RFC 9113, section
/// 3.4): requests that were given to the connection before would wait for those beyond to end. Nobody is woken by that,
/// so it is looked for.
async fn begun(connection: &mut Pin<Box<Http2Connection>>) -> Result<(), DialError> {
    while connection.current_max_send_streams() == 0 {
        tokio::select! {
            ended = connection.as_mut() => return Err(match ended {
                Err(error) => DialError::Http(Arc::new(error)),
                Ok(()) => DialError::Connect(Arc::new(io::ErrorKind::UnexpectedEof.into())),
            }),
            () = sleep(LOOK) => {}
        }
    }
    Ok(())
}

/// The same request once more, if it has no body.
fn spare(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    if !request.body().is_end_stream() {
        return None;
    }
    let mut spare = Request::new(Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync());
    *spare.method_mut() = request.method().clone();
    *spare.uri_mut() = request.uri().clone();
    *spare.version_mut() = request.version();
    *spare.headers_mut() = request.headers().clone();
    Some(spare)
}

/// Whether the endpoint says that it has not looked at the request (RFC 9113, section 8.7).
fn is_refusal(error: &hyper::Error) -> bool {
    let source = error.source().and_then(|source| source.downcast_ref::<h2::Error>());
    source.is_some_and(|source| {
        let reason = source.reason();
        reason == Some(h2::Reason::REFUSED_STREAM)
            || (source.is_go_away() && source.is_remote() && reason == Some(h2::Reason::NO_ERROR))
    })
}
