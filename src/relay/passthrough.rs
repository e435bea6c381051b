//! Clients whose TLS is passed on: their server name says to whom, and their bytes go there as they are.

use std::error::Error;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Accepted, Acceptor};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::debug;

use super::configuration::Port;
use super::copy;
use super::handshake;
use super::hello::{self, Hello};
use super::metrics::{Handshake, Metrics, Passed};
use super::shares;
use crate::bundle::relay::Share;

/// How long an endpoint may take to accept a connection, before the next one is tried: more than its first SYN that is
/// lost, which is sent again after a second.
const CONNECT_LIMIT: Duration = Duration::from_millis(2_500);
/// How long a connection may be silent before it is looked whether the other side is still there, and how often then.
const SILENCE: Duration = Duration::from_mins(1);
/// The most endpoints that are tried for a connection, so that a client does not wait for ever.
const ATTEMPTS: usize = 4;

/// What a client turns out to be.
pub enum Arrival {
    /// One whose TLS ends here, with its ClientHello if that has been read already.
    Terminate(TcpStream, Option<Box<Accepted>>),
    /// One that is passed on.
    Pass(Passing),
    /// One that is gone, or was sent away, which is counted.
    Gone,
}

/// A client that is passed on, as far as it has got.
pub struct Passing {
    client: TcpStream,
    /// What it has sent so far.
    sent: Vec<u8>,
    shares: Arc<[Share]>,
}

/// Finds out what a client is. Where all TLS of a port ends here, that needs no look at it.
pub async fn arrival(mut client: TcpStream, port: &Port, metrics: &Metrics) -> Arrival {
    if !port.passes_on() {
        return Arrival::Terminate(client, None);
    }
    let greeted = timeout(handshake::LIMIT, greeting(&mut client)).await;
    let refused = match greeted {
        Ok(Ok((sent, name))) => return sort(client, sent, name.as_deref(), port, metrics).await,
        Err(_) => Handshake::Timeout,
        Ok(Err(error)) => handshake::cause(&error),
    };
    metrics.handshake(refused);
    Arrival::Gone
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

async fn sort(
    client: TcpStream,
    sent: Vec<u8>,
    name: Option<&str>,
    port: &Port,
    metrics: &Metrics,
) -> Arrival {
    match port.passed_on(name) {
        Some(Some(shares)) => Arrival::Pass(Passing { client, sent, shares }),
        Some(None) => terminate(client, &sent, metrics).await,
        None => {
            metrics.passed(Passed::NoRoute);
            Arrival::Gone
        }
    }
}

/// Hands what a client has sent to rustls.
async fn terminate(mut client: TcpStream, mut sent: &[u8], metrics: &Metrics) -> Arrival {
    let mut acceptor = Acceptor::default();
    let accepted = loop {
        match acceptor.accept() {
            Ok(Some(accepted)) => break accepted,
            Ok(None) if matches!(acceptor.read_tls(&mut sent), Ok(1..)) => {}
            Ok(None) => return refuse(metrics),
            Err((_, mut alert)) => {
                let mut bytes = Vec::new();
                if alert.write_all(&mut bytes).is_ok() {
                    let _ = client.write_all(&bytes).await;
                }
                return refuse(metrics);
            }
        }
    };
    Arrival::Terminate(client, Some(Box::new(accepted)))
}

fn refuse(metrics: &Metrics) -> Arrival {
    metrics.handshake(Handshake::TlsError);
    Arrival::Gone
}

impl Passing {
    /// Serves the client to its end. Where nobody can take it, the connection is closed without a word: an alert would be
    /// that of a server that is there.
    pub async fn serve(self, metrics: &Metrics) {
        let Self { client, sent, shares } = self;
        let (result, server) = match shares::endpoints(&shares, chance()) {
            None => (Passed::NoRoute, None),
            Some(endpoints) if endpoints.is_empty() => (Passed::NoEndpoint, None),
            Some(endpoints) => match connect(&endpoints, &sent).await {
                None => (Passed::Unreachable, None),
                server => (Passed::Ok, server),
            },
        };
        metrics.passed(result);
        drop((sent, shares));
        if let Some(server) = server {
            keep_alive(&client);
            keep_alive(&server);
            copy::both_ways(client, server).await;
        }
    }
}

/// Connects to the first endpoint that is to be had, and sends it what is there.
async fn connect(endpoints: &[SocketAddr], sent: &[u8]) -> Option<TcpStream> {
    for endpoint in endpoints.iter().take(ATTEMPTS) {
        match timeout(CONNECT_LIMIT, introduce(*endpoint, sent)).await {
            Ok(Ok(stream)) => return Some(stream),
            Ok(Err(error)) => {
                debug!(%endpoint, error = &error as &dyn Error, "cannot connect to an endpoint")
            }
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
    let often = TcpKeepalive::new().with_time(SILENCE).with_interval(SILENCE);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&often) {
        debug!(%error, "cannot set up keepalive");
    }
}

/// A number that nobody can foresee: each of these hashers has keys of its own.
fn chance() -> u64 {
    RandomState::new().build_hasher().finish()
}
