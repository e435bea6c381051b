//! A connection by HTTP/1.1 to an endpoint, for one connection of varnishd's.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::{Mutex, Notify};

use super::dial::{DialError, Dialer, Io};
use super::http2::SendError;
use super::{MAX_BUFFER, MAX_HEADERS, Outgoing};

type Opened = (SendRequest<Outgoing>, Connection<TokioIo<Box<dyn Io>>, Outgoing>);

/// Connects.
///
/// # Errors
/// When that fails.
pub async fn connect(dialer: &Dialer) -> Result<Opened, DialError> {
    let io = TokioIo::new(dialer.dial().await?);
    Builder::new()
        .preserve_header_case(true)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .handshake(io)
        .await
        .map_err(|error| DialError::Http(Arc::new(error)))
}

/// At most one connection at a time, made when it is needed.
#[derive(Debug)]
pub struct Http1 {
    dialer: Dialer,
    sender: Mutex<Option<SendRequest<Outgoing>>>,
    ended: Arc<Notify>,
    /// Whether the connection may have become another protocol's.
    upgrades: Arc<AtomicBool>,
}

impl Http1 {
    /// Not connected yet.
    #[must_use]
    pub fn new(dialer: Dialer) -> Self {
        Self { dialer, sender: Mutex::default(), ended: Arc::default(), upgrades: Arc::default() }
    }

    /// Waits until the endpoint has closed its connection.
    pub async fn ended(&self) {
        self.ended.notified().await;
    }

    /// Notes that the next request may change the protocol.
    pub fn may_upgrade(&self) {
        self.upgrades.store(true, Ordering::Relaxed);
    }

    /// Sends a request, on another connection if the one before has ended.
    ///
    /// # Errors
    /// When there is no connection, or the exchange failed.
    pub async fn send(&self, request: Request<Outgoing>) -> Result<Response<Incoming>, SendError> {
        let mut slot = self.sender.lock().await;
        let mut before = slot.take();
        let is_ready = match before.as_mut() {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        let mut sender = match before.filter(|_| is_ready) {
            Some(sender) => sender,
            None => self.connect().await?,
        };
        let response = match sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut failed) => match failed.take_message() {
                Some(unsent) => {
                    sender = self.connect().await?;
                    sender.send_request(unsent).await.map_err(SendError::Http)?
                }
                None => return Err(SendError::Http(failed.into_error())),
            },
        };
        *slot = Some(sender);
        Ok(response)
    }

    async fn connect(&self) -> Result<SendRequest<Outgoing>, DialError> {
        let (sender, connection) = connect(&self.dialer).await?;
        let (ended, upgrades) = (Arc::clone(&self.ended), Arc::clone(&self.upgrades));
        tokio::spawn(async move {
            drop(connection.with_upgrades().await);
            if !upgrades.load(Ordering::Relaxed) {
                ended.notify_one();
            }
        });
        Ok(sender)
    }
}
