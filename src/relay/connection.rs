//! One client, from its connection's beginning to its end.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tracing::{debug, warn};

use super::Context;
use super::configuration::Port;
use super::copy;
use super::handshake::shake_hands;
use super::passthrough::{self, Arrival};
use super::proxy::{ClientCertificate, Header, Tls};
use super::varnish;

/// A client that was accepted.
#[derive(Debug)]
pub struct Client {
    /// Its connection.
    pub stream: TcpStream,
    /// Its address.
    pub source: SocketAddr,
    /// The listener's port, before any offset.
    pub listener: u16,
}

impl Client {
    /// Where it has connected to, with the listener's port; from here on, what is sent goes out as it comes.
    fn destination(&self) -> io::Result<SocketAddr> {
        self.stream.set_nodelay(true)?;
        Ok(SocketAddr::new(self.stream.local_addr()?.ip(), self.listener))
    }
}

/// Serves a client.
pub async fn serve(client: Client, port: Arc<Port>, context: Arc<Context>) {
    let Some(slot) = context.limits.handshake().await else { return };
    let Ok(destination) = client.destination() else { return };
    let Client { stream, source, listener } = client;
    let metrics = &context.metrics;
    let (stream, hello) = match passthrough::arrival(stream, &port, metrics).await {
        Arrival::Varnish(stream, hello) => (stream, hello),
        Arrival::Passthrough(stream, sent, endpoints) => {
            drop((slot, port));
            return passthrough::serve(stream, &sent, endpoints, metrics).await;
        }
        Arrival::Plain(stream, hello, endpoints) => {
            let shaken = shake_hands(stream, Some(hello), (&port, Port::plain_tls), metrics).await;
            let Some(stream) = shaken else { return };
            drop((slot, port));
            return passthrough::serve(stream, &[], endpoints, metrics).await;
        }
        Arrival::Gone => return,
    };
    let Some(stream) = shake_hands(stream, hello, (&port, Port::tls), metrics).await else { return };
    let certificate = port.client_certificate(stream.get_ref().1);
    drop((slot, port));
    let header = introduction(&stream, source, destination, certificate);
    hand_over(stream, &header, &context).await;
    debug!(%source, listener, "a connection ended");
}

/// Serves a client that speaks HTTP without TLS.
pub async fn serve_plain(client: Client, context: Arc<Context>) {
    let Ok(destination) = client.destination() else { return };
    let Client { stream, source, listener } = client;
    let header = Header { source, destination, tls: None }.encode();
    hand_over(stream, &header, &context).await;
    debug!(%source, listener, "a connection ended");
}

async fn hand_over<C: AsyncRead + AsyncWrite>(client: C, header: &[u8], context: &Context) {
    match varnish::connect(&context.options.socket, header).await {
        Ok(varnish) => copy::both_ways(client, varnish).await,
        Err(error) => {
            context.metrics.varnish_failed();
            warn!(%error, "varnishd cannot be reached; turning a client away");
        }
    }
}

fn introduction(
    stream: &TlsStream<TcpStream>,
    source: SocketAddr,
    destination: SocketAddr,
    certificate: Option<ClientCertificate>,
) -> Vec<u8> {
    let (_, tls) = stream.get_ref();
    let cipher = tls.negotiated_cipher_suite().and_then(|it| it.suite().as_str()).unwrap_or_default();
    let tls = Tls {
        alpn: tls.alpn_protocol(),
        authority: tls.server_name(),
        version: tls.protocol_version().map_or("", version),
        cipher,
        certificate,
    };
    Header { source, destination, tls: Some(tls) }.encode()
}

/// As OpenSSL writes it, and others after it.
fn version(version: ProtocolVersion) -> &'static str {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        // rustls speaks no other.
        _ => "TLS",
    }
}
