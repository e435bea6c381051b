//! Clients that are not varnishd's: their server name says whose they are, and their bytes go there, with the TLS around them
//! or without it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::net::sockopt;
use rustls::server::{Accepted, Acceptor};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tracing::debug;

use super::configuration::{Port, Way};
use super::copy;
use super::handshake;
use super::hello::{self, Hello};
use super::metrics::{Handshake, Metrics, Passed};
use super::shares;

/// How long an endpoint may take to accept a connection, before the next one is tried: more than its first SYN that is
/// lost, which is sent again after a second.
const CONNECT_LIMIT: Duration = Duration::from_millis(2_500);
/// How long a connection may be silent before it is looked whether the other side is still there, and how often then.
const SILENCE: Duration = Duration::from_mins(1);
/// The most endpoints that are tried for a connection, so that a client does not wait for ever.
const ATTEMPTS: usize = 4;

/// What a client turns out to be.
pub enum Arrival {
    /// One for varnishd, with its ClientHello if that has been read already.
    Varnish(TcpStream, Option<Box<Accepted>>),
    /// One that is passed on as it is, with what it has sent so far, to the first of these endpoints that is to be had.
    Passthrough(TcpStream, Vec<u8>, Vec<SocketAddr>),
    /// One whose TLS ends here, and of which the rest is passed on.
    Plain(TcpStream, Box<Accepted>, Vec<SocketAddr>),
    /// One that is gone, or was sent away, which is counted.
    Gone,
}

/// Finds out what a client is. Where all clients of a port are varnishd's, that needs no look at them. Where nobody can take
/// it, the connection is closed without a word: an alert would be that of a server that is there.
pub async fn arrival(mut client: TcpStream, port: &Port, metrics: &Metrics) -> Arrival {
    if port.is_varnishs() {
        return Arrival::Varnish(client, None);
    }
    let refused = match timeout(handshake::LIMIT, greeting(&mut client)).await {
        Ok(Ok((sent, name))) => match port.way(name.as_deref()) {
            Some(way) => return sort(client, sent, &way, metrics).await,
            None => return Arrival::not(Passed::NoRoute, metrics),
        },
        Err(_) => Handshake::Timeout,
        Ok(Err(error)) => handshake::cause(&error),
    };
    metrics.handshake(refused);
    Arrival::Gone
}

async fn sort(mut client: TcpStream, sent: Vec<u8>, way: &Way, metrics: &Metrics) -> Arrival {
    let endpoints = match way {
        Way::Varnish => Vec::new(),
        Way::Passthrough(shares) | Way::Plain(shares) => match shares::endpoints(shares, chance()) {
            None => return Arrival::not(Passed::NoRoute, metrics),
            Some(endpoints) if endpoints.is_empty() => return Arrival::not(Passed::NoEndpoint, metrics),
            Some(endpoints) => endpoints,
        },
    };
    if let Way::Passthrough(_) = way {
        return Arrival::Passthrough(client, sent, endpoints);
    }
    match (accept(&mut client, &sent).await, way) {
        (None, _) => {
            metrics.handshake(Handshake::TlsError);
            Arrival::Gone
        }
        (Some(hello), Way::Plain(_)) => Arrival::Plain(client, hello, endpoints),
        (hello, _) => Arrival::Varnish(client, hello),
    }
}

impl Arrival {
    fn not(result: Passed, metrics: &Metrics) -> Self {
        metrics.passed(result);
        Self::Gone
    }
}

/// All that a client has sent, which begins with a whole ClientHello, and the server name in it.
async fn greeting(client: &mut TcpStream) -> io::Result<(Vec<u8>, Option<String>)> {
    let mut sent = Vec::with_capacity(2 << 10);
    loop {
        if client.read_buf(&mut sent).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match hello::read(&sent) {
            Ok(Hello::Whole(name)) => return Ok((sent, name)),
            Ok(Hello::Partial) => {}
            Err(error) => {
                let _ = client.write_all(&handshake::DECODE_ERROR).await;
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
        }
    }
}

/// Hands a ClientHello to rustls; none if that does not like it, which the client is told.
async fn accept(client: &mut TcpStream, mut sent: &[u8]) -> Option<Box<Accepted>> {
    let mut acceptor = Acceptor::default();
    loop {
        match acceptor.accept() {
            Ok(Some(accepted)) => return Some(Box::new(accepted)),
            Ok(None) if matches!(acceptor.read_tls(&mut sent), Ok(1..)) => {}
            Ok(None) => return None,
            Err((_, mut alert)) => {
                let mut bytes = Vec::new();
                if alert.write_all(&mut bytes).is_ok() {
                    let _ = client.write_all(&bytes).await;
                }
                return None;
            }
        }
    }
}

/// A stream of a client's.
pub trait Client: AsyncRead + AsyncWrite {
    /// Its socket.
    fn socket(&self) -> &TcpStream;
}

impl Client for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Client for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Serves a client to its end, with the first of these endpoints that is to be had, which gets what has been `sent`.
pub async fn serve(client: impl Client, sent: &[u8], endpoints: Vec<SocketAddr>, metrics: &Metrics) {
    let Some(server) = connect(&endpoints, sent).await else { return metrics.passed(Passed::Unreachable) };
    metrics.passed(Passed::Ok);
    drop(endpoints);
    keep_alive(client.socket());
    keep_alive(&server);
    copy::both_ways(client, server).await;
}

/// Connects to the first endpoint that is to be had, and sends it what is there.
async fn connect(endpoints: &[SocketAddr], sent: &[u8]) -> Option<TcpStream> {
    for endpoint in endpoints.iter().take(ATTEMPTS) {
        match timeout(CONNECT_LIMIT, introduce(*endpoint, sent)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => debug!(%endpoint, %error, "cannot connect to an endpoint"),
            Err(_) => debug!(%endpoint, "an endpoint does not answer"),
        }
    }
    None
}

async fn introduce(endpoint: SocketAddr, sent: &[u8]) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(endpoint).await?;
    stream.set_nodelay(true)?;
    stream.write_all(sent).await?;
    Ok(stream)
}

/// Has the system find out whether the other side is still there: nobody here knows how long its silence may last. Where
/// that cannot be set up, the connection ends with the next byte.
fn keep_alive(stream: &TcpStream) {
    let set = sockopt::set_socket_keepalive(stream, true)
        .and_then(|()| sockopt::set_tcp_keepidle(stream, SILENCE))
        .and_then(|()| sockopt::set_tcp_keepintvl(stream, SILENCE));
    if let Err(error) = set {
        debug!(%error, "cannot set up keepalive");
    }
}

/// A number that nobody can foresee: each of these hashers has keys of its own.
fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}
