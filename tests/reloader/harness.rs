//! Starts the real `copal-reloader` in folders of its own, and looks at it from outside.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use copal::bundle::Bundle;
use copal::bundle_folder::BundleFolder;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use crate::client::{self, Answer};

/// Generous, since machines that run tests are busy; nothing waits this long if all is well.
pub const LIMIT: Duration = Duration::from_mins(1);

/// Folders that outlive a reloader, so that another one can follow it.
pub struct Place {
    folder: TempDir,
    pub port: u16,
}

impl Place {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), port: free_port() }
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    pub fn bundle_folder(&self) -> PathBuf {
        self.folder.path().join("bundle")
    }

    pub fn state_folder(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn write(&self, bundle: &Bundle) -> String {
        BundleFolder::open(self.bundle_folder()).unwrap().write(bundle).unwrap();
        bundle.manifest.revision.clone()
    }

    pub fn start(&self) -> Reloader {
        self.start_with(&[])
    }

    pub fn start_with(&self, arguments: &[&str]) -> Reloader {
        let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_copal-reloader"));
        command.arg("--bundle").arg(self.bundle_folder()).arg("--state").arg(self.state_folder());
        command.args(["--admin", &admin.to_string(), "--exit-with-stdin"]);
        if !arguments.contains(&"--drain-delay") {
            command.args(["--drain-delay", "0"]);
        }
        command.args(["--storage", "malloc,20m"]).args(arguments);
        command.env("RUST_LOG", "debug").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let log = follow(process.stderr.take().unwrap());
        let output = follow(process.stdout.take().unwrap());
        Reloader { process, admin, log, output, workdir: self.state_folder().join("varnish") }
    }

    /// Serves `bundle` and waits until it is in force.
    pub fn serve(&self, bundle: &Bundle) -> Reloader {
        let revision = self.write(bundle);
        let reloader = self.start();
        reloader.wait_loaded(&revision);
        reloader
    }
}

fn follow(stream: impl std::io::Read + Send + 'static) -> Arc<Mutex<String>> {
    let log = Arc::new(Mutex::new(String::new()));
    let written = Arc::clone(&log);
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let mut log = written.lock().unwrap();
            log.push_str(&line);
            log.push('\n');
        }
    });
    log
}

/// A running reloader. Dropping it ends it, and its varnishd.
pub struct Reloader {
    process: Child,
    pub admin: SocketAddr,
    log: Arc<Mutex<String>>,
    output: Arc<Mutex<String>>,
    workdir: PathBuf,
}

impl Reloader {
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// What it has written to standard output: the access log.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    /// Standard output is not read as long as this is there.
    pub fn hold_output(&self) -> std::sync::MutexGuard<'_, String> {
        self.output.lock().unwrap()
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.process.id()).unwrap()
    }

    /// Waits for something, and shows the log if it does not happen.
    pub fn wait_for<T>(&self, what: &str, condition: impl FnMut() -> Option<T>) -> T {
        wait_for(condition).unwrap_or_else(|| panic!("{what} did not happen; the log:\n{}", self.log()))
    }

    pub fn admin_get(&self, path: &str) -> Option<Answer> {
        client::get(self.admin, "admin", path).ok()
    }

    pub fn status(&self) -> Value {
        let answer = self.wait_for("an answer of /status", || self.admin_get("/status"));
        serde_json::from_str(&answer.body).unwrap()
    }

    /// Waits as a client of the reloader does.
    pub fn settled(&self, revision: &str) -> Value {
        let path = format!("/status?wait={revision}&timeout=60");
        let answer = self.wait_for("an answer of /status", || self.admin_get(&path));
        serde_json::from_str(&answer.body).unwrap()
    }

    pub fn wait_loaded(&self, revision: &str) {
        let status = self.settled(revision);
        assert_eq!(status["loaded"], revision, "{status:#}\n{}", self.log());
    }

    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = self.admin_get("/metrics")?.body;
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.parse().ok()
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal);
    }

    /// As if the one who started it had died.
    pub fn close_stdin(&mut self) {
        drop(self.process.stdin.take());
    }

    pub fn wait_exit(&mut self) -> ExitStatus {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "no exit; the log:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// varnishd's managing process.
    pub fn manager(&self) -> i32 {
        let is_ours = |pid: &i32| parent(*pid) == Some(self.pid());
        self.wait_for("a varnishd", || varnishds(&self.workdir).into_iter().find(is_ours))
    }

    /// The relay.
    pub fn relay(&self) -> i32 {
        self.wait_for("a relay", || children(self.pid()).into_iter().find(|pid| is_relay(*pid)))
    }

    /// What varnishd has loaded.
    pub fn list(&self) -> String {
        self.varnishadm(&["vcl.list"])
    }

    /// What `varnishadm` answers.
    pub fn varnishadm(&self, command: &[&str]) -> String {
        let output = Command::new("varnishadm").arg("-n").arg(&self.workdir).args(command).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The process that reads varnishd's log.
    pub fn log_reader(&self) -> Option<i32> {
        processes("varnishncsa", &self.workdir).into_iter().find(|pid| parent(*pid) == Some(self.pid()))
    }

    /// Whether a request is in the active VCL.
    pub fn busy(&self) -> bool {
        let list = self.list();
        let active = list.lines().find(|line| line.starts_with("active"));
        active.and_then(|line| line.split_whitespace().nth(3)).is_some_and(|busy| busy != "0")
    }

    /// varnishd's child, which serves.
    pub fn child(&self) -> i32 {
        let manager = self.manager();
        let is_child = |pid: &i32| parent(*pid) == Some(manager);
        self.wait_for("a child of varnishd", || varnishds(&self.workdir).into_iter().find(is_child))
    }
}

impl Drop for Reloader {
    fn drop(&mut self) {
        let deadline = Instant::now() + LIMIT;
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            // The first begins the drain, the second stops at once.
            self.signal(Signal::INT);
            thread::sleep(Duration::from_millis(50));
        }
        wait_for(|| varnishds(&self.workdir).is_empty().then_some(()));
    }
}

pub fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

pub fn wait_for<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + LIMIT;
    loop {
        match condition() {
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            outcome => return outcome,
        }
    }
}

/// Processes of the varnishd on `workdir`, found by their command line.
pub fn varnishds(workdir: &Path) -> Vec<i32> {
    processes("varnishd", workdir)
}

fn processes(program: &str, workdir: &Path) -> Vec<i32> {
    let workdir = workdir.to_str().unwrap();
    pids()
        .filter(|pid| {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).into_owned();
            line.contains(&format!("{program}\0")) && line.contains(&format!("\0-n\0{workdir}\0"))
        })
        .collect()
}

/// All processes of the machine.
fn pids() -> impl Iterator<Item = i32> {
    fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

fn children(of: i32) -> Vec<i32> {
    pids().filter(|pid| parent(*pid) == Some(of)).collect()
}

fn is_relay(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "copal-relay")
}

fn parent(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:")?.trim().parse().ok())
}

/// A port that is free at the moment. Outside the range that the system hands out by itself, so that
/// connections of tests that run beside this one do not take it meanwhile.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 10_000 + u16::try_from(std::process::id() % 900).unwrap() * 20;
    loop {
        let port = start + NEXT.fetch_add(1, Ordering::SeqCst) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A port offset of the test's own: with steps of ten, no port of listeners (80, 81, 443 …) is another test's, and all
/// are beyond those of [`free_port`].
pub fn free_offset() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    loop {
        let offset = 30_200 + NEXT.fetch_add(10, Ordering::SeqCst) % 2_000;
        if [80, 81, 82, 443, 444].iter().all(|port| free(offset + port)) {
            return offset;
        }
    }
}
