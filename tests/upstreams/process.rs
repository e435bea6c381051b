//! The real `copal-relay` in a folder of its own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use copal::bundle::relay::{
    Certificate, CertificateId, Certificates, Mirror, Relay as Task, Upstream, UpstreamTls, certificate_id,
    upstream_socket,
};
use copal::bundle::{Bundle, VclFile};
use copal::bundle_folder::relay::RelayFolder;
use serde_json::Value;
use tempfile::TempDir;

use crate::client;

/// A running relay. Dropping it ends it.
pub struct Relay {
    folder: TempDir,
    pub process: Child,
    writer: RelayFolder,
    certificates: Certificates,
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Relay {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let writer = RelayFolder::open(folder.path()).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_copal-relay"));
        command.arg("--folder").arg(folder.path()).arg("--socket").arg(folder.path().join("varnish"));
        command.args(["--drain-delay", "0"]);
        let process = command.stdin(Stdio::piped()).spawn().unwrap();
        Self { folder, process, writer, certificates: Certificates::new() }
    }

    /// A relay for one upstream, and the socket of that.
    pub fn serving(upstream: &Upstream, certificates: &[&Arc<Certificate>]) -> (Self, PathBuf) {
        let mut relay = Self::start();
        relay.know(certificates);
        relay.serve(std::slice::from_ref(upstream));
        let socket = relay.socket(upstream);
        (relay, socket)
    }

    /// Takes these certificates along from now on.
    pub fn know(&mut self, certificates: &[&Arc<Certificate>]) {
        let named =
            certificates.iter().map(|certificate| (certificate_id(certificate), Arc::clone(certificate)));
        self.certificates.extend(named);
    }

    /// Hands over a task and waits until it is in force.
    pub fn serve(&mut self, upstreams: &[Upstream]) {
        self.serve_with(upstreams, None);
    }

    /// Serves these, and shows a certificate to those that ask for one.
    pub fn serve_with(&mut self, upstreams: &[Upstream], client_certificate: Option<CertificateId>) {
        let upstreams = upstreams.iter().map(|upstream| (upstream.id(), upstream.clone())).collect();
        let task = Task { upstreams, client_certificate, ..Task::default() };
        let bundle = Bundle::new(Vec::new(), VclFile::new("root", "r"), BTreeMap::new())
            .with_relay(Some(task), self.certificates.clone());
        self.writer.write(&bundle, &std::collections::BTreeSet::new()).unwrap();
        wait_for("the task", || (self.status()?["revision"] == bundle.manifest.revision).then_some(()));
    }

    pub fn socket(&self, upstream: &Upstream) -> PathBuf {
        self.folder.path().join(upstream_socket(&upstream.id()))
    }

    fn admin(&self, path: &str) -> Option<String> {
        let socket = self.folder.path().join("admin");
        let stream = std::os::unix::net::UnixStream::connect(&socket).ok()?;
        drop(stream);
        client::get(&socket, path).ok().map(|answer| answer.text())
    }

    pub fn status(&self) -> Option<Value> {
        serde_json::from_str(&self.admin("/status")?).ok()
    }

    pub fn metric(&self, name: &str) -> f64 {
        let page = self.admin("/metrics").unwrap();
        let found = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {name} in\n{page}")).parse().unwrap()
    }

    pub fn errors(&self, reason: &str) -> f64 {
        self.metric(&format!("copal_relay_upstream_errors_total{{reason=\"{reason}\"}}"))
    }

    pub fn mirrored(&self, result: &str) -> f64 {
        self.metric(&format!("copal_relay_mirrored_requests_total{{result=\"{result}\"}}"))
    }

    /// The most bytes that it has had in memory.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() << 10
    }
}

pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen");
        thread::sleep(Duration::from_millis(10));
    }
}

pub fn plain(address: SocketAddr) -> Upstream {
    Upstream { address, http2: false, tls: None, mirrors: Vec::new() }
}

pub fn h2c(address: SocketAddr) -> Upstream {
    Upstream { http2: true, ..plain(address) }
}

pub fn over_tls(address: SocketAddr, name: &str, authority: &Certificate) -> Upstream {
    let tls = UpstreamTls {
        server_name: name.to_owned(),
        names: Vec::new(),
        authorities: Some(vec![certificate_id(authority)]),
    };
    Upstream { tls: Some(tls), ..plain(address) }
}

pub fn mirrored(upstream: Upstream, to: &[(Upstream, u32)]) -> Upstream {
    let mirrors = to.iter().map(|(mirror, percent)| Mirror {
        endpoints: vec![mirror.clone()],
        numerator: *percent,
        denominator: 100,
    });
    Upstream { mirrors: mirrors.collect(), ..upstream }
}
