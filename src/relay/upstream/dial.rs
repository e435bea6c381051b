//! Connects to an endpoint, over TLS or not, within a time limit.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::relay::metrics::UpstreamFailure;

/// How long connecting and the handshake may take together; as long again HTTP/2 may take to begin.
pub(super) const LIMIT: Duration = Duration::from_secs(10);
/// How long data may stay unacknowledged, after which the endpoint's host counts as gone: connections are shared and
/// live long, and TCP alone would hope for a quarter of an hour.
const UNACKNOWLEDGED_MS: u32 = 20_000;
/// When a connection without traffic is probed, and how often.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// A connection, whatever it is made of.
pub trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Where to, and how.
#[derive(Clone, Debug)]
pub struct Dialer {
    /// The endpoint.
    pub address: SocketAddr,
    /// What goes between TCP and HTTP.
    pub security: Security,
    /// Whether HTTP/2 must be agreed on where there is TLS.
    pub http2: bool,
}

/// What goes between TCP and HTTP.
#[derive(Clone, Debug)]
pub enum Security {
    /// Nothing.
    None,
    /// TLS, for that name.
    Tls(Arc<ClientConfig>, ServerName<'static>),
    /// TLS that cannot be set up, and why: never to be taken for nothing.
    Unusable(Arc<str>),
}

/// Why there is no connection.
#[derive(Clone, Debug, Error)]
pub enum DialError {
    /// TCP failed.
    #[error("cannot connect: {0}")]
    Connect(Arc<io::Error>),
    /// It took too long.
    #[error("no connection within {} s", LIMIT.as_secs())]
    Timeout,
    /// The endpoint's certificate is not good.
    #[error("its certificate is not accepted: {0}")]
    Certificate(Arc<io::Error>),
    /// The handshake failed for another reason.
    #[error("the TLS handshake failed: {0}")]
    Tls(Arc<io::Error>),
    /// The endpoint does not speak HTTP/2.
    #[error("it does not agree on HTTP/2")]
    NoHttp2,
    /// HTTP could not begin.
    #[error("HTTP cannot begin: {0}")]
    Http(Arc<hyper::Error>),
    /// Its TLS cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Unusable(Arc<str>),
}

impl DialError {
    /// As it is counted.
    #[must_use]
    pub fn reason(&self) -> UpstreamFailure {
        match self {
            Self::Connect(_) => UpstreamFailure::Connect,
            Self::Timeout => UpstreamFailure::Timeout,
            Self::Certificate(_) => UpstreamFailure::Certificate,
            Self::Tls(_) | Self::NoHttp2 => UpstreamFailure::Tls,
            Self::Http(_) => UpstreamFailure::Broken,
            Self::Unusable(_) => UpstreamFailure::Configuration,
        }
    }
}

impl Dialer {
    /// Connects.
    ///
    /// # Errors
    /// When that fails or takes too long.
    pub async fn dial(&self) -> Result<Box<dyn Io>, DialError> {
        timeout(LIMIT, self.attempt()).await.unwrap_or(Err(DialError::Timeout))
    }

    async fn attempt(&self) -> Result<Box<dyn Io>, DialError> {
        if let Security::Unusable(why) = &self.security {
            return Err(DialError::Unusable(Arc::clone(why)));
        }
        let connect = |error| DialError::Connect(Arc::new(error));
        let tcp = TcpStream::connect(self.address).await.map_err(connect)?;
        prepare(&tcp).map_err(connect)?;
        let Security::Tls(config, name) = &self.security else { return Ok(Box::new(tcp)) };
        let tls = TlsConnector::from(Arc::clone(config)).connect(name.clone(), tcp).await.map_err(cause)?;
        if self.http2 && tls.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(DialError::NoHttp2);
        }
        Ok(Box::new(tls))
    }
}

fn prepare(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(tcp, true)?;
    sockopt::set_tcp_keepidle(tcp, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(tcp, PROBE_EVERY)?;
    sockopt::set_tcp_user_timeout(tcp, UNACKNOWLEDGED_MS)?;
    Ok(())
}

/// rustls's complaints come inside of an I/O error.
fn cause(error: io::Error) -> DialError {
    let complaint = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match complaint {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            DialError::Certificate(Arc::new(error))
        }
        Some(_) | None => DialError::Tls(Arc::new(error)),
    }
}
