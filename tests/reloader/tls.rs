//! Certificates made for a test, and clients that speak TLS.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use copal::bundle::relay::{Certificate, CertificateId, Certificates, Relay, TlsListener, certificate_id};
use rcgen::{CertificateParams, DnType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use tempfile::TempDir;

#[path = "../upstreams/authority.rs"]
mod authority;

/// A certificate authority with clients that trust it, and as a file for curl.
pub struct Authority {
    own: authority::Authority,
    folder: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let (own, folder) = (authority::Authority::new(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("ca.pem"), &own.pem).unwrap();
        Self { own, folder }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A new certificate for these names, each time another one.
    pub fn issue(&self, names: &[&str]) -> Arc<Certificate> {
        self.own.issue(names)
    }

    /// The authority itself, as one that clients' certificates are validated with.
    pub fn itself(&self) -> Arc<Certificate> {
        self.own.certificate()
    }

    /// A certificate for a client, good until so many seconds after 1970.
    pub fn issue_client(&self, until: u64) -> Arc<Certificate> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "a client");
        params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ClientAuth);
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(until);
        self.own.sign(&params)
    }

    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        self.client_with(versions, None)
    }

    /// A client that trusts this authority and shows a certificate if asked, whoever is asked for.
    pub fn client_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        shown: Option<&Certificate>,
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.own.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let config = config.with_root_certificates(roots);
        let Some(shown) = shown else { return Arc::new(config.with_no_client_auth()) };
        let chain = CertificateDer::pem_slice_iter(&shown.chain).map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(&shown.key).unwrap();
        Arc::new(config.with_client_auth_cert(chain, key).unwrap())
    }

    /// Runs curl for `https://HOST:PORT/PATH`, with what follows standing for the host.
    pub fn curl(
        &self,
        address: SocketAddr,
        host: &str,
        path: &str,
        arguments: &[&str],
    ) -> Result<String, String> {
        let mut command = Command::new("curl");
        command
            .args(["--silent", "--show-error", "--include", "--max-time", "60", "--cacert"])
            .arg(self.file());
        command.args(["--resolve", &format!("{host}:{}:{}", address.port(), address.ip())]).args(arguments);
        let output = command.arg(format!("https://{host}:{}{path}", address.port())).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

/// Certificates by the server names that they are for.
pub type Names<'a> = &'a [(&'a str, &'a Arc<Certificate>)];

/// What the relay has to do, by port.
pub fn relay(ports: &[(u16, Names<'_>)]) -> (Option<Relay>, Certificates) {
    let mut certificates = Certificates::new();
    let mut relay = Relay::default();
    for (port, names) in ports {
        let listener: &mut TlsListener = relay.listen.entry(*port).or_default();
        for (name, certificate) in *names {
            let id: CertificateId = certificate_id(certificate);
            certificates.insert(id.clone(), Arc::clone(certificate));
            listener.certificates.entry((*name).to_owned()).or_default().push(id);
        }
    }
    (Some(relay), certificates)
}

pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Connects and goes through the handshake.
pub fn connect(config: &Arc<ClientConfig>, address: SocketAddr, host: &str) -> io::Result<Stream> {
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(Duration::from_secs(90)))?;
    let mut stream = StreamOwned::new(tls, tcp);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// The certificate that is presented for `host`, as DER.
pub fn presented(config: &Arc<ClientConfig>, address: SocketAddr, host: &str) -> io::Result<Vec<u8>> {
    let stream = connect(config, address, host)?;
    Ok(stream.conn.peer_certificates().unwrap()[0].to_vec())
}

pub fn der(certificate: &Certificate) -> Vec<u8> {
    CertificateDer::from_pem_slice(&certificate.chain).unwrap().to_vec()
}

/// One request, whose answer has a length; returns head and body.
pub fn request(stream: &mut Stream, host: &str, path: &str) -> io::Result<(String, Vec<u8>)> {
    send(stream, host, path)?;
    answer(stream)
}

/// A request whose answer is not waited for.
pub fn send(stream: &mut Stream, host: &str, path: &str) -> io::Result<()> {
    // In one record: small ones in a row wait for the other side's word.
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
    stream.flush()
}

pub fn answer(stream: &mut Stream) -> io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body)?;
    Ok((head, body))
}
