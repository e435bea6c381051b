//! Ten thousand certificates through the whole of `copal run`: a Secret and a listener for each, in Gateways of 64 listeners.
//!
//! Measured are the start from nothing until every server name has its certificate, the memory of each process, and
//! the time from a renewed Secret, renamed into place, until a client is shown the new certificate.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::too_many_lines,
    reason = "a bench that cannot go on says where and stops"
)]

#[path = "../tests/support/mod.rs"]
mod support;

mod common;

use std::fmt::Write as _;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{median, millis, spread};
use rcgen::{CertificateParams, KeyPair};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};
use support::{Gateway, resident_kib};

/// What one Gateway may have.
const LISTENERS: usize = 64;
const PORT: u16 = 443;
const EDITS: usize = 20;

fn main() {
    let count = std::env::var("BENCH_CERTIFICATES").ok().and_then(|it| it.parse().ok()).unwrap_or(10_000);
    println!("{count} certificates (P-256), each for one name and in a Secret of its own");
    let mut keys: Vec<_> = (0..count).map(certificate).collect();
    let mut files: Vec<_> =
        (0..count).map(|number| (secret_file(number), keys[number].secret.clone())).collect();
    files
        .extend((0..count.div_ceil(LISTENERS)).map(|it| (format!("gateways/{it}.yaml"), gateway(it, count))));
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let client = client();
    let begin = Instant::now();
    let gateway = Gateway::spawn(&[PORT], &files, &["--log-format", "json"]);
    gateway.wait_for("the last name", Duration::from_mins(10), || {
        gateway.is_ready() && shown(&client, &gateway, count - 1).is_ok_and(|it| it == keys[count - 1].der)
    });
    let cold = begin.elapsed();
    for number in (0..count).step_by(97) {
        assert_eq!(shown(&client, &gateway, number).expect("it is served"), keys[number].der, "{number}");
    }
    let memory = memory(&gateway);
    let mut edits = Vec::new();
    for edit in 0..EDITS {
        let number = edit * 377 % count;
        let renewed = certificate(number);
        let begin = Instant::now();
        gateway.write(&secret_file(number), &renewed.secret);
        while shown(&client, &gateway, number).expect("a change does not cost a connection") != renewed.der {
            assert!(begin.elapsed() < Duration::from_mins(1), "not served\n{}", gateway.log_tail());
            std::thread::sleep(Duration::from_millis(1));
        }
        edits.push(millis(begin.elapsed()));
        keys[number] = renewed;
    }
    let (p50, (_, max)) = (median(&edits), spread(&edits));
    println!("start to the last name served     {:>9.1} s", cold.as_secs_f64());
    println!("renewed Secret to shown, median   {p50:>9.1} ms   worst {max:.1} ms, of {EDITS}");
    for (name, mib) in &memory {
        println!("resident, {name:<23} {mib:>9.1} MiB");
    }
    let of = |name: &str| memory.iter().find(|(it, _)| *it == name).map_or(0.0, |(_, mib)| rounded(*mib));
    let figures = serde_json::json!({
        "certificates": count, "cold_s": rounded(cold.as_secs_f64()),
        "renewal_ms_p50": rounded(p50), "renewal_ms_max": rounded(max),
        "relay_mib": of("copal-relay"), "reloader_mib": of("copal-reloader"), "copal_mib": of("copal"),
        "varnishd_mib": of("varnishd's child"),
    });
    println!("{figures}");
}

fn host(number: usize) -> String {
    format!("c{number:05}.bench.test")
}

fn secret_file(number: usize) -> String {
    format!("secrets/{number:05}.yaml")
}

struct Made {
    der: Vec<u8>,
    secret: String,
}

/// Another one each time.
fn certificate(number: usize) -> Made {
    let key = KeyPair::generate().expect("ring has P-256");
    let params = CertificateParams::new([host(number)]).expect("a host's name");
    let signed = params.self_signed(&key).expect("a certificate can be made");
    let block = |pem: String| pem.lines().map(|line| format!("    {line}\n")).collect::<String>();
    let secret = format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: c{number:05}, namespace: default}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
{}  tls.key: |
{}",
        block(signed.pem()),
        block(key.serialize_pem())
    );
    Made { der: signed.der().to_vec(), secret }
}

/// The Gateway number `number`, with its share of `count` listeners.
fn gateway(number: usize, count: usize) -> String {
    let mut text = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: g{number}, namespace: default}}
spec:
  gatewayClassName: copal
  listeners:
"
    );
    for it in (number * LISTENERS..count).take(LISTENERS) {
        let _ = writeln!(
            text,
            "  - {{name: c{it}, port: {PORT}, protocol: HTTPS, hostname: {}, tls: {{certificateRefs: [{{name: c{it:05}}}]}}}}",
            host(it)
        );
    }
    text
}

/// The certificate that a client is shown, which asks for the name of that number.
fn shown(config: &Arc<ClientConfig>, gateway: &Gateway, number: usize) -> io::Result<Vec<u8>> {
    let name = ServerName::try_from(host(number)).map_err(io::Error::other)?;
    let mut tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let mut tcp = TcpStream::connect(gateway.address(PORT))?;
    tcp.set_read_timeout(Some(Duration::from_secs(20)))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    Ok(tls.peer_certificates().and_then(|it| it.first()).map(|it| it.to_vec()).unwrap_or_default())
}

fn client() -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("rustls has versions").dangerous();
    let mut config = config.with_custom_certificate_verifier(Arc::new(Anyone)).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

/// Each certificate is its own authority, and is compared byte by byte.
#[derive(Debug)]
struct Anyone;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Process and resident MiB.
fn memory(gateway: &Gateway) -> Vec<(&'static str, f64)> {
    let named = |name: &str| gateway.processes(name).into_iter().map(resident_kib).sum::<u64>();
    let kib = [
        ("copal", resident_kib(gateway.pid())),
        ("copal-reloader", named("copal-reloader")),
        ("copal-relay", named("copal-relay")),
        ("varnishd's child", named("cache-main")),
    ];
    #[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 KiB")]
    kib.map(|(name, kib)| (name, kib as f64 / 1024.0)).into()
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
