//! Clients that make a new connection for each request, and never resume a session.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use copal::bundle::relay::Certificate;

use crate::terminators::Terminator;
use crate::{CONNECTIONS, HOST, PATH, Sample};

pub struct Client {
    runtime: Runtime,
    connector: TlsConnector,
}

impl Client {
    pub fn new(certificate: &Certificate) -> Self {
        let mut roots = RootCertStore::empty();
        let der = CertificateDer::from_pem_slice(&certificate.chain).expect("it was just made");
        roots.add(der).expect("it was just made");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13]);
        let mut config =
            config.expect("TLS 1.3 is known").with_root_certificates(roots).with_no_client_auth();
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime can be started");
        Self { runtime, connector: TlsConnector::from(Arc::new(config)) }
    }

    /// Waits until it answers; says what was agreed on.
    pub fn wait_for(&self, terminator: &Terminator) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            match self.runtime.block_on(one(&self.connector, terminator.port)) {
                Ok(stream) => return agreed(&stream),
                Err(error) => {
                    assert!(Instant::now() < deadline, "{} does not answer: {error}", terminator.name);
                }
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Connections a second, and the terminator's CPU time for each in µs.
    pub fn measure(&self, terminator: &Terminator, time: Duration) -> Sample {
        let before = terminator.cpu_seconds();
        let start = Instant::now();
        let deadline = start + time;
        let count: usize = self.runtime.block_on(async {
            let clients = (0..CONNECTIONS).map(|_| repeat(self.connector.clone(), terminator.port, deadline));
            let clients: Vec<_> = clients.map(tokio::spawn).collect();
            let mut count = 0;
            for client in clients {
                let made = client.await.expect("a client does not panic");
                count += made.unwrap_or_else(|error| panic!("{}: {error}", terminator.name));
            }
            count
        });
        let cpu = terminator.cpu_seconds() - before;
        (count as f64 / start.elapsed().as_secs_f64(), cpu / count as f64 * 1e6)
    }
}

async fn repeat(connector: TlsConnector, port: u16, deadline: Instant) -> io::Result<usize> {
    let mut count = 0;
    while Instant::now() < deadline {
        one(&connector, port).await?;
        count += 1;
    }
    Ok(count)
}

/// One connection for one request; it is closed by the server.
async fn one(connector: &TlsConnector, port: u16) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await?;
    stream.set_nodelay(true)?;
    let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
    let mut stream = connector.connect(name, stream).await?;
    let request = format!("GET {PATH} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::with_capacity(4096);
    match stream.read_to_end(&mut answer).await {
        // Not all of them send `close_notify`.
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
        _ => {}
    }
    let is_whole = answer.starts_with(b"HTTP/1.1 200 ") && answer.len() > 1024;
    let is_full = stream.get_ref().1.handshake_kind() != Some(HandshakeKind::Resumed);
    if is_whole && is_full {
        Ok(stream)
    } else {
        Err(io::Error::other("not a full handshake and a whole answer"))
    }
}

fn agreed(stream: &TlsStream<TcpStream>) -> String {
    let (_, tls) = stream.get_ref();
    let version = tls.protocol_version().and_then(|it| it.as_str()).unwrap_or_default();
    let cipher = tls.negotiated_cipher_suite().and_then(|it| it.suite().as_str()).unwrap_or_default();
    let group = tls.negotiated_key_exchange_group().and_then(|it| it.name().as_str()).unwrap_or_default();
    format!("{version}, {cipher}, {group}")
}
