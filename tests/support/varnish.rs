//! A varnishd with generated VCL, without reloader and relay: the test is in the relay's place.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use copal::bundle::Bundle;
use copal::snapshot::{Object, Snapshot};
use copal::standalone::manifests::{Format, Manifests};
use copal::translate::{Settings, translate};
use copal::vcl::{Renderer, SocketFolder};

use super::{Connection, Process, Request, Response, free_ports};

/// A varnishd with the VCL of a bundle.
pub struct Varnish {
    folder: PathBuf,
    /// Sockets of HTTP ports, by the listener's port.
    direct: Vec<(u16, SocketAddr)>,
    /// The relay's socket. In VCL its name counts, so that it may be a TCP socket here.
    relay: SocketAddr,
    process: Option<Process>,
}

impl Varnish {
    pub fn start(bundle: &Bundle) -> Self {
        let count = u16::try_from(bundle.manifest.listen.len()).unwrap();
        let first = free_ports(count + 1);
        let address = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let direct = bundle.manifest.listen.iter().zip(first + 1..);
        let direct = direct.map(|(socket, port)| (socket.port, address(port))).collect();
        let folder = tempfile::tempdir().unwrap().keep();
        let mut varnish = Self { folder, direct, relay: address(first), process: None };
        varnish.spawn(bundle);
        varnish.load(bundle);
        varnish
    }

    fn spawn(&mut self, bundle: &Bundle) {
        let mut command = Command::new("varnishd");
        command.args(["-F", "-j", "none", "-f", "", "-T", "127.0.0.1:0", "-s", "malloc,10m"]);
        command.args(["-a", &format!("relay={},PROXY", self.relay)]);
        for (socket, (_, address)) in bundle.manifest.listen.iter().zip(&self.direct) {
            command.args(["-a", &format!("{}={address}", socket.name)]);
        }
        let compiler =
            "cc_command=tcc -w -c -o %o.o %s && ld -shared -z noexecstack -o %o %o.o && rm -f %o.o";
        let parameters = [compiler, "vcc_err_unref=off", "vsl_space=1m", "default_ttl=0", "default_grace=0"];
        command.args(parameters.iter().flat_map(|it| ["-p", it]));
        command.arg("-n").arg(self.folder.join("varnish")).stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Process::spawn(&mut command, &self.folder).unwrap());
        Self::wait_for("the management process", || self.try_cli(&["ping"]));
    }

    fn load(&self, bundle: &Bundle) {
        for (label, name) in &bundle.manifest.labels {
            self.load_file(bundle, name);
            self.cli(&["vcl.label", label, name]);
        }
        let root = bundle.manifest.root.as_ref().unwrap();
        self.load_file(bundle, root);
        self.cli(&["vcl.use", root]);
        self.cli(&["start"]);
        Self::wait_for("the relay's socket", || TcpStream::connect(self.relay).is_ok());
    }

    fn load_file(&self, bundle: &Bundle, name: &str) {
        let path = self.folder.join(format!("{name}.vcl"));
        fs::write(&path, bundle.files[name].as_bytes()).unwrap();
        self.cli(&["vcl.load", name, &path.to_string_lossy()]);
    }

    fn cli(&self, command: &[&str]) {
        assert!(self.try_cli(command), "varnishd refuses {command:?}");
    }

    fn try_cli(&self, command: &[&str]) -> bool {
        let mut admin = Command::new("varnishadm");
        admin.arg("-n").arg(self.folder.join("varnish")).args(command).output().unwrap().status.success()
    }

    fn wait_for(what: &str, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while !condition() {
            assert!(Instant::now() < deadline, "{what} is not there");
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
        let mut connection = Connection::open(self.relay).unwrap();
        let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
        header.extend([192, 0, 2, 1, 192, 0, 2, 2]);
        header.extend(50_000_u16.to_be_bytes());
        header.extend(port.to_be_bytes());
        connection.write(&header).unwrap();
        connection.exchange(request).unwrap()
    }
}

fn objects(text: &str) -> Vec<Object> {
    let manifests = Manifests::parse(Format::Yaml, text.as_bytes());
    assert!(manifests.faults.is_empty(), "{:?}", manifests.faults);
    manifests.objects.into_iter().map(|it| it.object).collect()
}

/// The bundle of some manifests, with the goldens' certificates, for a relay with these sockets.
pub fn bundle_of(manifests: &str, sockets: SocketFolder) -> Bundle {
    let given = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/given.yaml");
    let given = objects(&fs::read_to_string(given).unwrap());
    let given = given.into_iter().filter(|it| matches!(it, Object::Secret(_) | Object::GatewayClass(_)));
    let snapshot: Snapshot = given.chain(objects(manifests)).collect();
    let translation = translate(&snapshot, &Settings::default());
    Renderer::new(sockets).render(translation.shared_model())
}
