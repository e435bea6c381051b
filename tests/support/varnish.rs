//! A varnishd with generated VCL, without reloader and relay: the test is in the relay's place.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use copal::bundle::Bundle;
use copal::snapshot::{Object, Snapshot};
use copal::translate::{Settings, translate};
use copal::vcl::{Renderer, SocketFolder};

use super::{Connection, Request, Response, Varnishd, free_ports, objects};

/// A varnishd with the VCL of a bundle.
pub struct Varnish {
    varnishd: Varnishd,
    /// Sockets of HTTP ports, by the listener's port.
    direct: Vec<(u16, SocketAddr)>,
    /// The relay's socket. In VCL its name counts, so that it may be a TCP socket here.
    relay: SocketAddr,
}

impl Varnish {
    pub fn start(bundle: &Bundle) -> Self {
        let count = u16::try_from(bundle.manifest.listen.len()).unwrap();
        let first = free_ports(count + 1);
        let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let direct = bundle.manifest.listen.iter().zip(first + 1..);
        let sockets = direct.clone().map(|(socket, port)| format!("-a{}={}", socket.name, address(port)));
        let sockets: Vec<_> = sockets.chain([format!("-arelay={},PROXY", address(first))]).collect();
        let parameters = ["-pdefault_ttl=0", "-pdefault_grace=0"];
        let arguments: Vec<_> = sockets.iter().map(String::as_str).chain(parameters).collect();
        let direct = direct.map(|(socket, port)| (socket.port, address(port))).collect();
        let varnish = Self { varnishd: Varnishd::start(&arguments), direct, relay: address(first) };
        varnish.load(bundle);
        varnish
    }

    fn load(&self, bundle: &Bundle) {
        let load = |name: &String| self.varnishd.load(name, &bundle.files[name]).unwrap();
        for (label, name) in &bundle.manifest.labels {
            load(name);
            self.varnishd.cli(&["vcl.label", label, name]).unwrap();
        }
        let root = bundle.manifest.root.as_ref().unwrap();
        load(root);
        self.varnishd.cli(&["vcl.use", root]).unwrap();
        self.varnishd.cli(&["start"]).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(self.relay).is_err() {
            assert!(Instant::now() < deadline, "the relay's socket is not there");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Sends a request to an HTTP port.
    pub fn http(&self, port: u16, request: &Request) -> Response {
        self.connect(port).exchange(request).unwrap()
    }

    /// A connection to an HTTP port.
    pub fn connect(&self, port: u16) -> Connection {
        let (_, address) = self.direct.iter().find(|(known, _)| *known == port).unwrap();
        Connection::open(*address).unwrap()
    }

    /// Sends a request as the relay would for a connection to an HTTPS port.
    pub fn https(&self, port: u16, request: &Request) -> Response {
        self.relayed(port, request)
    }

    /// Sends a request as the relay would for a connection to any port.
    pub fn relayed(&self, port: u16, request: &Request) -> Response {
        let mut connection = Connection::open(self.relay).unwrap();
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        header.extend([192, 0, 2, 1, 192, 0, 2, 2]);
        header.extend(50_000_u16.to_be_bytes());
        header.extend(port.to_be_bytes());
        connection.write(&header).unwrap();
        connection.exchange(request).unwrap()
    }
}

/// The bundle of some manifests, with the goldens' certificates, for a relay with these sockets.
pub fn bundle_of(manifests: &str, sockets: SocketFolder) -> Bundle {
    let given = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/given.yaml");
    let given = objects("given.yaml", &fs::read_to_string(given).unwrap());
    let given = given.into_iter().filter(|it| matches!(it, Object::Secret(_) | Object::GatewayClass(_)));
    let snapshot: Snapshot = given.chain(objects("the test's own", manifests)).collect();
    let translation = translate(&snapshot, &Settings::default());
    Renderer::new(sockets).render(translation.shared_model())
}
