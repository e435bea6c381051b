//! `copal run` with a stand-in for the reloader: what it is told, what is logged, how it ends.
#![cfg(test)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Longer than anything here takes, also on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Notes its arguments and how it ends; ends on SIGTERM, or when its standard input does.
const RELOADER: &str = r#"#!/bin/sh
dir=$(dirname "$0")
printf '%s\n' "$@" >"$dir/arguments"
trap 'echo drained >"$dir/end"; exit 0' TERM
echo '{"log":"access"}'
echo '{"message":"from the reloader"}' >&2
echo $$ >"$dir/pid"
exec 3<&0
cat <&3 >/dev/null &
wait $!
"#;

/// A running `copal run` beside a stand-in reloader.
struct Run {
    home: tempfile::TempDir,
    child: Child,
    log: Receiver<Value>,
}

impl Run {
    fn start(manifests: &[(&str, &str)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let copal = install(home.path());
        fs::create_dir(home.path().join("m")).unwrap();
        for (name, text) in manifests {
            fs::write(home.path().join("m").join(name), text).unwrap();
        }
        let mut command = Command::new(copal);
        command.args(["run", "m", "--log-format", "json", "--state", "state", "--admin"]);
        command.arg(serve_status().to_string()).args(["--port-offset", "7", "--", "-p", "x=y"]);
        command.current_dir(home.path()).env_remove("RUST_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, log) = channel();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        Self { home, child, log }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The next log line with that message.
    fn wait_for(&self, message: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        while let Ok(line) = self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            if line.get("message").and_then(Value::as_str) == Some(message) {
                return line;
            }
            seen.push(line);
        }
        panic!("no log line {message:?} in {seen:#?}");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id().try_into().unwrap()).unwrap(), signal).unwrap();
    }

    fn wait_for_file(&self, name: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match fs::read_to_string(self.path(name)) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => assert!(Instant::now() < deadline, "no file {name}"),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts `copal` and the stand-in beside each other, for that is where it looks.
fn install(dir: &Path) -> PathBuf {
    let (copal, reloader) = (dir.join("copal"), dir.join("copal-reloader"));
    fs::hard_link(env!("CARGO_BIN_EXE_copal"), &copal)
        .or_else(|_| fs::copy(env!("CARGO_BIN_EXE_copal"), &copal).map(|_| ()))
        .unwrap();
    fs::write(&reloader, RELOADER).unwrap();
    fs::set_permissions(&reloader, fs::Permissions::from_mode(0o755)).unwrap();
    copal
}

/// Answers every `/status?wait=REV` with REV being loaded.
fn serve_status() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || listener.incoming().map_while(Result::ok).for_each(answer));
    address
}

fn answer(mut client: TcpStream) {
    let mut request = [0; 4096];
    let length = client.read(&mut request).unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..length]).into_owned();
    let revision = request.split("wait=").nth(1).and_then(|it| it.split('&').next()).unwrap_or_default();
    let body = format!(
        r#"{{"state":"serving","wanted":"{revision}","loaded":"{revision}","listen":["127.0.0.1:87"]}}"#
    );
    let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    let _ = client.write_all((head + &body).as_bytes());
}

fn space(name: &str, label: &str) -> String {
    format!("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {name}\n  labels: {{a: {label}}}\n")
}

#[test]
fn changes_are_followed_and_a_malformed_object_keeps_its_last_good_version() {
    let run = Run::start(&[("a.yaml", &space("a", "one"))]);
    assert_eq!(run.wait_for("change handed to Varnish")["added"], "Namespace a");
    assert_eq!(run.wait_for("Varnish serves the change")["listen"], "127.0.0.1:87");
    fs::write(run.path("m/a.yaml"), space("a", "two")).unwrap();
    assert_eq!(run.wait_for("change makes no difference to Varnish")["changed"], "Namespace a");
    fs::write(run.path("m/a.yaml"), "kind: Namespace\nmetadata:\n  name: a\n  labels: [\n").unwrap();
    let problem = run.wait_for("manifest is malformed");
    assert_eq!(problem["object"], "Namespace a");
    assert!(problem["place"].as_str().unwrap().starts_with("m/a.yaml:"), "{problem}");
    assert_eq!(problem["meanwhile"], "its last good version stays in force");
    fs::write(run.path("m/a.yaml"), space("a", "three")).unwrap();
    assert_eq!(run.wait_for("manifest is mended")["object"], "Namespace a");
    assert_eq!(run.wait_for("change makes no difference to Varnish")["changed"], "Namespace a");
    fs::create_dir(run.path("m/sub")).unwrap();
    fs::write(run.path("m/sub/b.yaml"), space("b", "one")).unwrap();
    assert_eq!(run.wait_for("change makes no difference to Varnish")["added"], "Namespace b");
    fs::rename(run.path("m/a.yaml"), run.path("m/sub/a.yml")).unwrap();
    fs::remove_file(run.path("m/sub/b.yaml")).unwrap();
    let change = run.wait_for("change makes no difference to Varnish");
    assert_eq!((&change["removed"], &change["changed"]), (&"Namespace b".into(), &"".into()));
    fs::rename(run.path("m"), run.path("n")).unwrap();
    run.wait_for("cannot look through the manifest folder; everything stays in force as it was");
    fs::rename(run.path("n"), run.path("m")).unwrap();
    run.wait_for("manifest folder can be read again");
}

#[test]
fn the_reloader_gets_its_arguments_and_is_drained_at_the_end() {
    let mut run = Run::start(&[]);
    run.wait_for("Varnish serves the change");
    run.wait_for_file("pid");
    let arguments = run.wait_for_file("arguments");
    for expected in [
        "--bundle\nstate/bundle\n",
        "--state\nstate/reloader\n",
        "--bind\n127.0.0.1\n",
        "--port-offset\n7\n",
        "--varnishd\nvarnishd\n",
        "--drain-delay\n0\n",
        "--storage\nmalloc,256m\n",
        "--log-format\njson\n--exit-with-stdin\n--\n-p\nx=y\n",
    ] {
        assert!(arguments.contains(expected), "{expected:?} is not in {arguments:?}");
    }
    run.signal(Signal::TERM);
    assert!(run.child.wait().unwrap().success());
    assert_eq!(run.wait_for_file("end"), "drained\n");
}

#[test]
fn the_access_log_is_on_standard_output_and_all_else_on_standard_error() {
    let mut run = Run::start(&[]);
    run.wait_for("from the reloader");
    run.signal(Signal::TERM);
    assert_eq!(run.wait_for("stopped")["log"], "agent");
    let mut output = String::new();
    run.child.stdout.take().unwrap().read_to_string(&mut output).unwrap();
    assert_eq!(output, "{\"log\":\"access\"}\n");
}

#[test]
fn a_second_interrupt_does_not_wait_for_the_drain() {
    let mut run = Run::start(&[]);
    run.wait_for("Varnish serves the change");
    let pid = run.wait_for_file("pid");
    let reloader = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    kill_process(reloader, Signal::STOP).unwrap();
    run.signal(Signal::INT);
    run.wait_for("stopping; requests in flight are finished first, a second signal cuts them off");
    run.signal(Signal::INT);
    assert!(run.child.wait().unwrap().success());
}

#[test]
fn a_reloader_that_dies_is_started_again() {
    let run = Run::start(&[]);
    let first = run.wait_for_file("pid");
    kill_process(Pid::from_raw(first.trim().parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    assert_eq!(run.wait_for("reloader ended unexpectedly")["restart_in_ms"], 250.0);
    run.wait_for("reloader started");
}
