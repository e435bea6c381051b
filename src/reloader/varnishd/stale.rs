//! A varnishd that an earlier reloader left behind: it holds the working directory and the ports.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use thiserror::Error;
use tokio::time::sleep;
use tracing::warn;

/// How long it may take to end before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked at.
const POLL: Duration = Duration::from_millis(20);

/// It is still there.
#[derive(Debug, Error)]
pub enum StaleError {
    /// The system does not let us end it.
    #[error("cannot end process {pid}, a varnishd of an earlier run that holds the state directory")]
    Kill {
        /// The process.
        pid: i32,
        /// What the system says.
        #[source]
        source: Errno,
    },
    /// Not even SIGKILL ended it.
    #[error("a varnishd of an earlier run (process {0}) holds the state directory and does not end")]
    Immortal(i32),
}

/// Ends every varnishd that runs on `workdir`: a manager with its child, or a child whose manager was killed,
/// which goes on serving for up to two seconds. Also a varnishncsa, which would wait for another varnishd for ever.
///
/// # Errors
/// When one of them cannot be ended.
pub async fn end_stale(workdir: &Path) -> Result<(), StaleError> {
    let mut stale = find(workdir);
    if stale.is_empty() {
        return Ok(());
    }
    warn!(pids = ?stale.iter().map(|pid| pid.as_raw_nonzero().get()).collect::<Vec<_>>(),
        "a varnishd of an earlier run is still there; ending it");
    for signal in [Signal::TERM, Signal::KILL] {
        for pid in &stale {
            send(*pid, signal)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while !stale.is_empty() && Instant::now() < deadline {
            sleep(POLL).await;
            stale.retain(|pid| test_kill_process(*pid).is_ok() && runs_on(*pid, workdir));
        }
    }
    stale.first().map_or(Ok(()), |pid| Err(StaleError::Immortal(pid.as_raw_nonzero().get())))
}

fn send(pid: Pid, signal: Signal) -> Result<(), StaleError> {
    match kill_process(pid, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(source) => Err(StaleError::Kill { pid: pid.as_raw_nonzero().get(), source }),
    }
}

fn find(workdir: &Path) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
        .filter(|pid| runs_on(*pid, workdir))
        .collect()
}

/// Whether the process is a varnishd (manager or child: they share the command line) with `-n workdir`.
fn runs_on(pid: Pid, workdir: &Path) -> bool {
    let path = format!("/proc/{}/cmdline", pid.as_raw_nonzero());
    fs::read(path).is_ok_and(|line| is_varnishd_on(&line, workdir.as_os_str()))
}

fn is_varnishd_on(cmdline: &[u8], workdir: &OsStr) -> bool {
    let arguments: Vec<&[u8]> = cmdline.split(|byte| *byte == 0).collect();
    let on_workdir = [b"-n".as_slice(), workdir.as_bytes()];
    // The first argument may be an interpreter's, where varnishd is a script that runs the real one.
    let names: [&[u8]; 2] = [b"varnishd", b"varnishncsa"];
    let is_varnish =
        arguments.iter().take(2).any(|argument| names.iter().any(|name| argument.ends_with(name)));
    is_varnish && arguments.windows(2).any(|pair| pair == on_workdir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_varnishd_on_this_directory_is_meant() {
        let ours = OsStr::new("/s/varnish");
        assert!(is_varnishd_on(b"varnishd\0-F\0-f\0\0-n\0/s/varnish\0-S\0x\0", ours));
        assert!(is_varnishd_on(b"/usr/sbin/varnishd\0-n\0/s/varnish\0", ours));
        assert!(is_varnishd_on(b"varnishncsa\0-n\0/s/varnish\0", ours));
        assert!(!is_varnishd_on(b"varnishd\0-n\0/s/varnish2\0", ours));
        assert!(!is_varnishd_on(b"varnishstat\0-n\0/s/varnish\0", ours));
        assert!(!is_varnishd_on(b"vi\0/s/varnish\0", ours));
        assert!(!is_varnishd_on(b"", ours));
    }
}
