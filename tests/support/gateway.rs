//! A running `copal run` on a folder of its own.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::process::{self, Process};
use super::{
    Connection, Request, Response, free_ports, gateway, gateway_class, get, in_namespace, listener, namespace,
};

/// From the start to the first readiness: a cold start compiles every VCL, on a machine that may be busy.
const START: Duration = Duration::from_mins(1);
/// From an edit until Varnish serves it.
const EDIT: Duration = Duration::from_secs(30);
/// The listener port of the Gateway that tells when an edit is in force.
const SENTINEL_PORT: u16 = 79;
const POLL: Duration = Duration::from_millis(10);

/// What the tests of one binary start once; when that fails, it fails for all of them, without waiting again.
pub struct Shared<T>(OnceLock<Option<T>>);

impl<T> Shared<T> {
    pub const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// The value, started by the first caller.
    pub fn get(&self, start: impl FnOnce() -> T) -> &T {
        let started = self.0.get_or_init(|| catch_unwind(AssertUnwindSafe(start)).ok());
        started.as_ref().expect("it did not start: see the first failure")
    }
}

/// `copal run` of the built binary, with free ports, and its state in a temporary folder.
pub struct Gateway {
    root: PathBuf,
    process: Mutex<Process>,
    pid: u32,
    offset: u16,
    first_port: u16,
    admin: SocketAddr,
    edits: Mutex<u64>,
}

impl Gateway {
    /// The gateway that the tests of one binary share: Gateway `default/gw` with one listener for all hosts
    /// on port 80. Each test brings its own hosts, as one [`scene`](Gateway::scene).
    pub fn shared() -> &'static Self {
        static SHARED: Shared<Gateway> = Shared::new();
        SHARED.get(|| Self::start(&[80], &[("gateway.yaml", gateway("gw", &listener("http", 80)))]))
    }

    /// Applies one test's manifests as the file `NAME.yaml`, in the namespace `NAME`.
    pub fn scene(&self, name: &str, manifests: &[String]) {
        let manifests = in_namespace(name, &manifests.concat());
        self.apply(&format!("{name}.yaml"), &(namespace(name, "{}") + &manifests));
    }

    /// Starts with these files (name, YAML) and waits until they are served. `ports` are the listeners'
    /// ports, in order and without large gaps; the first is where requests go that name no port.
    pub fn start(ports: &[u16], files: &[(&str, String)]) -> Self {
        Self::start_with(ports, files, &[])
    }

    /// As [`Gateway::start`], with more arguments for `copal run`.
    pub fn start_with(ports: &[u16], files: &[(&str, String)], arguments: &[&str]) -> Self {
        let gateway = Self::spawn(ports, files, arguments);
        gateway.wait_for("readiness", START, || gateway.is_ready());
        gateway.settle();
        gateway
    }

    /// Starts, and waits for nothing.
    pub fn spawn(ports: &[u16], files: &[(&str, String)], arguments: &[&str]) -> Self {
        let last = ports.iter().copied().max().unwrap_or(SENTINEL_PORT);
        let span = last - SENTINEL_PORT + 1;
        let base = free_ports(span + 1);
        let root =
            tempfile::Builder::new().prefix("copal-test-").tempdir().expect("a temporary folder").keep();
        fs::create_dir_all(root.join("manifests")).expect("the folder is ours");
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, base + span));
        let offset = base - SENTINEL_PORT;
        write_file(&root, "class.yaml", &gateway_class());
        write_file(&root, "sentinel.yaml", &sentinel(0));
        for (name, yaml) in files {
            write_file(&root, name, yaml);
        }
        let process =
            Process::spawn(&mut command(&root, offset, admin, arguments), &root).expect("copal starts");
        let first_port = ports.first().copied().unwrap_or(SENTINEL_PORT);
        let pid = process.id();
        let (process, edits) = (Mutex::new(process), Mutex::new(0));
        Self { root, process, pid, offset, first_port, admin, edits }
    }

    /// Whether `/readyz` says so.
    pub fn is_ready(&self) -> bool {
        self.admin_get("/readyz").is_some_and(|response| response.status == 200)
    }

    /// The folder of the manifests.
    pub fn folder(&self) -> PathBuf {
        self.root.join("manifests")
    }

    /// The folder given as `--state`.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Where clients reach the listeners of that port.
    pub fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, port + self.offset))
    }

    /// Where the reloader's endpoints are.
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// The number that is added to a listener's port.
    pub fn offset(&self) -> u16 {
        self.offset
    }

    /// Replaces a file in one step, as editors do, without waiting for anything.
    pub fn write(&self, file: &str, yaml: &str) {
        write_file(&self.root, file, yaml);
    }

    /// Replaces a file and waits until Varnish serves it.
    pub fn apply(&self, file: &str, yaml: &str) {
        self.write(file, yaml);
        self.settle();
    }

    /// Removes a file and waits until Varnish serves what is left.
    pub fn remove(&self, file: &str) {
        fs::remove_file(self.folder().join(file)).expect("the file is there");
        self.settle();
    }

    /// Waits until everything written so far is in force.
    ///
    /// A route of its own is edited after it: when that is served, the folder has been read again, and when
    /// the reloader then has loaded all that it wants, so is the rest of that reading.
    pub fn settle(&self) {
        let mut edits = self.edits.lock().unwrap_or_else(PoisonError::into_inner);
        *edits += 1;
        self.write("sentinel.yaml", &sentinel(*edits));
        let marker = format!("/{edits}");
        let request = get("sentinel.test", "/").port(SENTINEL_PORT);
        self.wait_for("an edit to be served", EDIT, || {
            let answer = self.try_send(&request).ok();
            let location = answer.as_ref().and_then(|it| it.header("location"));
            location.is_some_and(|it| it.ends_with(&marker)) && self.is_loaded()
        });
    }

    fn is_loaded(&self) -> bool {
        let status = self.status();
        !status["wanted"].is_null() && status["wanted"] == status["loaded"]
    }

    /// What the reloader's `/status` says; `null` while it does not answer.
    pub fn status(&self) -> serde_json::Value {
        self.admin_get("/status").map(|response| response.json()).unwrap_or_default()
    }

    /// A GET request to the reloader's endpoints.
    pub fn admin_get(&self, path: &str) -> Option<Response> {
        Connection::open(self.admin)
            .ok()?
            .exchange(&get("localhost", path).header("Connection", "close"))
            .ok()
    }

    /// Sends a request over a new connection.
    pub fn try_send(&self, request: &Request) -> std::io::Result<Response> {
        self.connect(request.port)?.exchange(request)
    }

    /// As [`Gateway::try_send`], for requests that must be answered.
    pub fn send(&self, request: &Request) -> Response {
        self.try_send(request).unwrap_or_else(|error| panic!("{request:?}: {error}\n{}", self.log_tail()))
    }

    /// A connection to the listeners of that port; 0 for the first.
    pub fn connect(&self, port: u16) -> std::io::Result<Connection> {
        Connection::open(self.address(if port == 0 { self.first_port } else { port }))
    }

    /// Waits for a condition; fails with the end of the log when it does not come true.
    pub fn wait_for(&self, what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + limit;
        while !condition() {
            if let Some(status) = self.process().exited() {
                panic!("copal ended ({status}) while a test waited for {what}\n{}", self.log_tail());
            }
            if Instant::now() > deadline {
                let status = self.admin_get("/status").map(|response| response.text());
                panic!("waited too long for {what}\n{status:?}\n{}", self.log_tail());
            }
            std::thread::sleep(POLL);
        }
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.root.join("log")).unwrap_or_default()
    }

    /// The end of the log, for messages.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!("--- log of copal:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"))
    }

    /// The process of `copal run`.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The processes of that name below `copal run`, parents before children.
    pub fn processes(&self, name: &str) -> Vec<u32> {
        let all = process::descendants(self.pid);
        all.into_iter().filter(|(_, found)| found == name).map(|(pid, _)| pid).collect()
    }

    /// Sends a signal to one process of this gateway.
    pub fn signal(&self, pid: u32, name: &str) {
        assert!(pid == self.pid || process::descendants(self.pid).iter().any(|(known, _)| *known == pid));
        process::signal(pid, name);
    }

    /// Asks it to end (SIGTERM), without waiting.
    pub fn terminate(&self) {
        self.process().signal("TERM");
    }

    /// Waits for its end.
    pub fn wait_exit(&self, limit: Duration) -> ExitStatus {
        let status = self.process().wait(limit);
        status.unwrap_or_else(|| panic!("copal did not end within {limit:?}\n{}", self.log_tail()))
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Gateway {
    /// The process goes after this, and the folder with it; a failed test's log would be lost.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
    }
}

fn command(root: &std::path::Path, offset: u16, admin: SocketAddr, arguments: &[&str]) -> Command {
    let log = File::create(root.join("log")).expect("the folder is ours");
    let mut command = Command::new(env!("CARGO_BIN_EXE_copal"));
    command
        .arg("run")
        .arg(root.join("manifests"))
        .args(["--bind", "127.0.0.1", "--port-offset", &offset.to_string(), "--admin", &admin.to_string()])
        .arg("--state")
        .arg(root.join("state"))
        .args(arguments)
        .stderr(log.try_clone().expect("a file can be shared"))
        .stdout(log);
    command
}

/// Renamed into place: who watches the folder never sees half a file.
fn write_file(root: &std::path::Path, file: &str, yaml: &str) {
    let path = root.join("manifests").join(file);
    fs::create_dir_all(path.parent().expect("it is in the folder")).expect("the folder is ours");
    let draft = root.join(format!("draft-{:?}", std::thread::current().id()));
    fs::write(&draft, yaml).and_then(|()| fs::rename(&draft, path)).expect("the folder can be written");
}

/// A Gateway and a route that redirects to `/NUMBER`.
fn sentinel(number: u64) -> String {
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: sentinel, namespace: copal-test}}
spec:
  gatewayClassName: copal
  listeners: [{{name: http, port: {SENTINEL_PORT}, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: sentinel, namespace: copal-test}}
spec:
  parentRefs: [{{name: sentinel}}]
  hostnames: [sentinel.test]
  rules:
  - filters:
    - type: RequestRedirect
      requestRedirect: {{statusCode: 302, path: {{type: ReplaceFullPath, replaceFullPath: /{number}}}}}
"
    )
}
