//! Servers that speak TLS or nothing, and no HTTP: each says its name, reads to the client's end, and says how much that was.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use copal::bundle::relay::Certificate;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

pub struct TlsServer {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl TlsServer {
    pub fn start(name: &'static str, certificate: &Certificate) -> Self {
        let chain = CertificateDer::from_pem_slice(&certificate.chain).unwrap();
        let key = PrivateKeyDer::from_pem_slice(&certificate.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![chain], key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), connections: Arc::default() };
        let connections = Arc::clone(&server.connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, Ordering::SeqCst);
                let config = Arc::clone(&config);
                thread::spawn(move || serve(name, config, stream));
            }
        });
        server
    }

    /// How many were accepted.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

fn serve(name: &str, config: Arc<ServerConfig>, stream: TcpStream) -> io::Result<()> {
    let tls = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(tls, stream);
    converse(name, &mut stream)?;
    stream.conn.send_close_notify();
    stream.conn.complete_io(&mut stream.sock)?;
    stream.sock.shutdown(Shutdown::Write)
}

fn converse(name: &str, stream: &mut (impl Read + Write)) -> io::Result<()> {
    writeln!(stream, "{name}")?;
    stream.flush()?;
    let mut buffer = vec![0; 64 << 10];
    let mut count = 0;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            length => count += length,
        }
        // curl ends nothing before it has its answer.
        if buffer.starts_with(b"GET ") {
            break;
        }
    }
    write!(stream, "{count} bytes")
}

/// A server without TLS.
pub fn plain_server(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || converse(name, &mut stream));
        }
    });
    address
}
