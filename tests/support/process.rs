//! Child processes: ended with the test, whatever becomes of it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A child that is killed when this is dropped, and also when the test process ends without dropping it
/// (statics, abort, kill): a shell waits for the end of its standard input to do so.
pub struct Process {
    child: Child,
    watchdog: Child,
}

/// `$1` the process, `$2` a folder to remove after it. It may take a while to end what it started.
const WATCHDOG: &str = r#"
trap '' INT TERM
read -r _
kill -TERM "$1" 2>/dev/null
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    case "$(cut -d' ' -f3 "/proc/$1/stat" 2>/dev/null)" in ''|Z) break ;; esac
    sleep 0.25
done
kill -KILL "$1" 2>/dev/null
sleep 0.5
rm -rf "$2"
"#;

impl Process {
    /// Starts `command`; `folder` is removed at the end of the test process.
    pub fn spawn(command: &mut Command, folder: &Path) -> io::Result<Self> {
        Self::guard(command.stdin(Stdio::null()).spawn()?, folder)
    }

    /// As [`Process::spawn`], with a standard input that stays open, for programs that end when it does.
    pub fn spawn_attached(command: &mut Command, folder: &Path) -> io::Result<Self> {
        Self::guard(command.stdin(Stdio::piped()).spawn()?, folder)
    }

    fn guard(mut child: Child, folder: &Path) -> io::Result<Self> {
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "watchdog"])
            .arg(child.id().to_string())
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match watchdog {
            Ok(watchdog) => Ok(Self { child, watchdog }),
            Err(error) => child.kill().and(child.wait()).and(Err(error)),
        }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// `None` while it runs.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Waits for its end, at most that long.
    pub fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if let Some(status) = self.exited() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }
}

impl Drop for Process {
    /// Ends the child before the watchdog, which then only has the folder left to remove.
    fn drop(&mut self) {
        if self.exited().is_none() {
            self.signal("TERM");
            if self.wait(Duration::from_secs(10)).is_none() {
                drop(self.child.kill());
                drop(self.child.wait());
            }
        }
        drop(self.watchdog.stdin.take());
        drop(self.watchdog.wait());
    }
}

/// Sends a signal to one process.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot send SIG{name} to process {pid}");
}

/// The processes below `pid`, with their names, parents before children.
pub fn descendants(pid: u32) -> Vec<(u32, String)> {
    let mut found = Vec::new();
    let mut parents = vec![pid];
    while let Some(parent) = parents.pop() {
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            for child in children.split_whitespace().filter_map(|id| id.parse().ok()) {
                let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
                found.push((child, name.trim().to_owned()));
                parents.push(child);
            }
        }
    }
    found
}

/// Resident memory of a process in KiB; 0 when it is gone.
pub fn resident_kib(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kib| kib.parse().ok()).unwrap_or(0)
}
