//! A reloader with TLS listeners, over a VCL that tells what it knows.

use std::net::SocketAddr;

use copal::bundle::{Bundle, ListenSocket, VclFile};

use crate::harness::{Place, Reloader, free_offset, free_port};
use crate::tls::{Authority, Names, relay};

/// Says what VCL knows of a connection, for `/echo`; all else goes to the backend.
pub fn root(backend: SocketAddr) -> VclFile {
    let text = format!(
        r#"vcl 4.1;

import proxy;
import std;

backend web {{ .host = "{}"; .port = "{}"; }}

sub vcl_recv {{
    if (req.url == "/echo") {{ return (synth(200)); }}
    if (req.url == "/pipe") {{ return (pipe); }}
    return (pass);
}}

sub vcl_synth {{
    set resp.http.X-Socket = local.socket;
    set resp.http.X-Port = std.port(server.ip);
    set resp.http.X-Client = client.ip;
    set resp.http.X-Alpn = proxy.alpn();
    set resp.http.X-Authority = proxy.authority();
    set resp.http.X-Ssl = proxy.is_ssl();
    set resp.http.X-Version = proxy.ssl_version();
    set resp.http.X-Cipher = proxy.ssl_cipher();
    set resp.http.X-Verified = proxy.ssl_verify_result();
    set resp.http.X-Shown = proxy.client_has_cert_conn();
    set resp.http.X-Shown-Before = proxy.client_has_cert_sess();
    set resp.body = "";
    if (sess.timeout_idle < 2s) {{ set resp.http.Connection = "close"; }}
    return (deliver);
}}

sub vcl_deliver {{
    if (sess.timeout_idle < 2s) {{ set resp.http.Connection = "close"; }}
}}
"#,
        backend.ip(),
        backend.port()
    );
    VclFile::new("root", text)
}

pub fn bundle(backend: SocketAddr, plain: &[u16], ports: &[(u16, Names<'_>)]) -> Bundle {
    let listen =
        plain.iter().map(|port| ListenSocket { name: format!("http-{port}"), port: *port }).collect();
    let (relay, certificates) = relay(ports);
    Bundle::new(listen, root(backend), [].into()).with_relay(relay, certificates)
}

/// A reloader whose port 443 is reached at an address of the test's.
pub struct Served {
    pub authority: Authority,
    pub place: Place,
    pub reloader: Reloader,
    pub address: SocketAddr,
    pub offset: u16,
}

impl Served {
    pub fn new(backend: SocketAddr, names: &[&str]) -> Self {
        let authority = Authority::new();
        let certificate = authority.issue(names);
        let names: Vec<_> = names.iter().map(|name| (*name, &certificate)).collect();
        let bundle = bundle(backend, &[], &[(443, &names)]);
        Self::serve(authority, &bundle)
    }

    pub fn serve(authority: Authority, bundle: &Bundle) -> Self {
        Self::serve_with(authority, bundle, &[])
    }

    pub fn serve_with(authority: Authority, bundle: &Bundle, arguments: &[&str]) -> Self {
        let place = Place::new();
        let offset = free_offset();
        let revision = place.write(bundle);
        let offset_text = offset.to_string();
        let arguments = [&["--port-offset", offset_text.as_str()], arguments].concat();
        let reloader = place.start_with(&arguments);
        reloader.wait_loaded(&revision);
        let address = at(offset, 443);
        Self { authority, place, reloader, address, offset }
    }

    /// Where another port is reached.
    pub fn at(&self, port: u16) -> SocketAddr {
        at(self.offset, port)
    }

    pub fn change(&self, bundle: &Bundle) {
        let revision = self.place.write(bundle);
        self.reloader.wait_loaded(&revision);
    }

    pub fn handshakes(&self, result: &str) -> Option<f64> {
        self.reloader.metric(&format!("copal_relay_handshakes_total{{result=\"{result}\"}}"))
    }

    pub fn wait_handshakes(&self, result: &str, count: f64) {
        self.reloader
            .wait_for("a handshake of that kind", || (self.handshakes(result) == Some(count)).then_some(()));
    }
}

fn at(offset: u16, port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], offset + port))
}

pub fn nowhere() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}
