//! The programs that end TLS, set up alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use copal::bundle::relay::{Certificate, Relay, TlsListener, certificate_id};
use copal::bundle::{Bundle, VclFile};
use copal::bundle_folder::relay::RelayFolder;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::WORKERS;
use crate::support::{Process, descendants, free_ports};

/// In the order of [`start_all`].
pub const NAMES: [&str; 3] = ["copal-relay", "hitch", "haproxy"];

/// A running one; it ends when this is dropped.
pub struct Terminator {
    pub name: &'static str,
    pub version: String,
    pub port: u16,
    process: Process,
}

impl Terminator {
    /// User and system time of its processes.
    pub fn cpu_seconds(&self) -> f64 {
        let pid = self.process.id();
        let children = descendants(pid).into_iter().map(|(pid, _)| pid);
        children.chain([pid]).map(cpu_seconds).sum()
    }
}

/// From fields 14 and 15 of its stat, in hundredths of a second.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a stat line").1.split(' ').collect();
    let ticks = |number: usize| fields[number - 3].parse::<f64>().expect("a number");
    (ticks(14) + ticks(15)) / 100.0
}

/// A certificate of its own authority, with a key on P-256.
pub fn certificate(host: &str) -> Certificate {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("ring has P-256");
    let params = CertificateParams::new([host.to_owned()]).expect("a host's name");
    let signed = params.self_signed(&key).expect("a certificate can be made");
    Certificate { chain: signed.pem().into(), key: key.serialize_pem().into() }
}

/// Starts all of them in front of varnishd's `socket`.
pub fn start_all(folder: &Path, socket: &Path, certificate: &Certificate) -> Vec<Terminator> {
    let first = free_ports(3);
    let pem = folder.join("certificate.pem");
    fs::write(&pem, [&certificate.key[..], &certificate.chain].concat()).expect("the folder is ours");
    let starts = [relay(folder, socket, certificate, first), hitch(folder, socket, &pem, first + 1)];
    let starts = starts.into_iter().chain([haproxy(folder, socket, &pem, first + 2)]);
    NAMES
        .into_iter()
        .zip(first..)
        .zip(starts)
        .map(|((name, port), command)| start(folder, name, port, command))
        .collect()
}

fn start(folder: &Path, name: &'static str, port: u16, mut command: Command) -> Terminator {
    let log = fs::File::create(folder.join(format!("{name}.log"))).expect("the folder is ours");
    command.stdout(log.try_clone().expect("a file can be shared")).stderr(log);
    let own = folder.join(name);
    fs::create_dir_all(&own).expect("the folder is ours");
    let process = Process::spawn_attached(&mut command, &own)
        .unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
    Terminator { name, version: version(command.get_program()), port, process }
}

fn version(program: &std::ffi::OsStr) -> String {
    let asked = |option| {
        let output = Command::new(program).arg(option).stdin(Stdio::null()).output().ok()?;
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        output.status.success().then(|| text.lines().next().unwrap_or_default().to_owned())
    };
    asked("--version").or_else(|| asked("-v")).unwrap_or_default()
}

fn relay(folder: &Path, socket: &Path, certificate: &Certificate, port: u16) -> Command {
    const LISTENER: u16 = 443;
    let id = certificate_id(certificate);
    let names = [(String::new(), vec![id.clone()])].into();
    let listener = TlsListener { certificates: names, ..TlsListener::default() };
    let relay = Relay { listen: [(LISTENER, listener)].into(), ..Relay::default() };
    let certificates = [(id, Arc::new(certificate.clone()))].into();
    let bundle = Bundle::new(Vec::new(), VclFile::new("root", ""), BTreeMap::new());
    let task = folder.join("task");
    let written = RelayFolder::open(&task)
        .and_then(|mut it| it.write(&bundle.with_relay(Some(relay), certificates), &BTreeSet::new()));
    written.expect("the folder is ours");
    let mut command = Command::new(
        std::env::var_os("BENCH_RELAY").unwrap_or_else(|| env!("CARGO_BIN_EXE_copal-relay").into()),
    );
    command.arg("--folder").arg(task).arg("--socket").arg(socket);
    command.args(["--port-offset", &(port - LISTENER).to_string(), "--drain-delay", "0"]);
    command.env("TOKIO_WORKER_THREADS", WORKERS.to_string());
    command
}

fn hitch(folder: &Path, socket: &Path, pem: &Path, port: u16) -> Command {
    let file = configuration(
        folder,
        "hitch.conf",
        &format!(
            "frontend = \"[127.0.0.1]:{port}\"
backend = \"{}\"
pem-file = \"{}\"
workers = {WORKERS}
write-proxy-v2 = on
tls-protos = TLSv1.3
alpn-protos = \"http/1.1\"
daemon = off
{}",
            socket.display(),
            pem.display(),
            // Its workers refuse to run as root.
            if rustix::process::geteuid().is_root() {
                "user = \"nobody\"\ngroup = \"nogroup\"\n"
            } else {
                ""
            }
        ),
    );
    let mut command = Command::new("hitch");
    command.arg("--config").arg(file);
    command
}

fn haproxy(folder: &Path, socket: &Path, pem: &Path, port: u16) -> Command {
    let file = configuration(
        folder,
        "haproxy.conf",
        &format!(
            "global
    nbthread {WORKERS}
    maxconn 5000
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend tls
    bind 127.0.0.1:{port} ssl crt {} alpn http/1.1 ssl-min-ver TLSv1.3
    default_backend varnish
backend varnish
    server varnish unix@{} send-proxy-v2
",
            pem.display(),
            socket.display()
        ),
    );
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(file);
    command
}

fn configuration(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).expect("the folder is ours");
    file
}
