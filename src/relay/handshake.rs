//! From an accepted connection to a TLS stream.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::server::{Accepted, Acceptor};
use rustls::{HandshakeKind, ServerConfig};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use super::configuration::Port;
use super::metrics::{Handshake, Metrics};

/// How long a client may take. Honest ones need two round trips; those on the worst of links are through long
/// before, and the idle are not to hold slots.
pub const LIMIT: Duration = Duration::from_secs(10);

/// The fatal alert `unrecognized_name` (RFC 6066, section 3) in a record (RFC 8446, sections 5.1 and 6). rustls has no
/// way of sending it; before any key is agreed on, it goes as it is.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// As above, `decode_error`: for what is not TLS.
pub const DECODE_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 50];

/// What of a port to go on with, for a client that asks for a name; none if there is nothing.
pub type Choice = fn(&Port, Option<&str>) -> Option<Arc<ServerConfig>>;

/// Goes through the handshake, from the client's `hello` on if that has been read, with what `tls` chooses for its server
/// name; none if it does not end well, or the port does not admit the client, which is counted.
pub async fn shake_hands(
    stream: TcpStream,
    hello: Option<Box<Accepted>>,
    (port, tls): (&Port, Choice),
    metrics: &Metrics,
) -> Option<TlsStream<TcpStream>> {
    let outcome = timeout(LIMIT, attempt(stream, hello, |name| tls(port, name))).await;
    let (result, stream) = match outcome {
        Err(_) => (Handshake::Timeout, None),
        Ok(Err(error)) => (cause(&error), None),
        Ok(Ok(None)) => (Handshake::NoCertificate, None),
        Ok(Ok(Some(stream))) if port.admits(stream.get_ref().1) => (Handshake::Ok, Some(stream)),
        Ok(Ok(Some(_))) => (Handshake::ClientCertificate, None),
    };
    metrics.handshake(result);
    if stream.as_ref().is_some_and(|it| it.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)) {
        metrics.resumed();
    }
    stream
}

/// None if there is no certificate for the client.
async fn attempt(
    stream: TcpStream,
    hello: Option<Box<Accepted>>,
    tls: impl FnOnce(Option<&str>) -> Option<Arc<ServerConfig>>,
) -> io::Result<Option<TlsStream<TcpStream>>> {
    let mut start = match hello {
        Some(accepted) => StartHandshake::from_parts(*accepted, stream),
        None => LazyConfigAcceptor::new(Acceptor::default(), stream).await?,
    };
    let Some(tls) = tls(start.client_hello().server_name()) else {
        start.io.write_all(&UNRECOGNIZED_NAME).await?;
        start.io.shutdown().await?;
        return Ok(None);
    };
    start.into_stream(tls).await.map(Some)
}

/// rustls's complaints come as invalid data; the rest is about the connection. Only clients' certificates are
/// verified here.
pub fn cause(error: &io::Error) -> Handshake {
    match error.get_ref().and_then(|it| it.downcast_ref()) {
        Some(rustls::Error::NoCertificatesPresented | rustls::Error::InvalidCertificate(_)) => {
            Handshake::ClientCertificate
        }
        _ if error.kind() == io::ErrorKind::InvalidData => Handshake::TlsError,
        _ => Handshake::Closed,
    }
}
