//! Keeps `copal-reloader` running: starts it, starts it again when it dies, and stops it in good order.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::chain;
use super::follow::milliseconds;

const BINARY: &str = "copal-reloader";

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A process that has run for this long was well: the pause before its restart is the first one again.
const SETTLED: Duration = Duration::from_mins(1);

/// What programs exit with that do not understand their arguments; trying again does not help.
const USAGE_ERROR: i32 = 2;

/// Why the reloader is not kept running.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// It cannot be started.
    #[error("cannot start {}; it belongs beside the copal binary or on PATH", program.display())]
    Start {
        /// The program that was tried.
        program: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// It refuses its arguments; its own message stands before this one.
    #[error("copal-reloader does not accept its arguments")]
    Arguments,
    /// It was asked to stop and did so badly.
    #[error("copal-reloader ended with {status}")]
    Stop {
        /// How it ended.
        status: ExitStatus,
    },
}

/// What the reloader is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// Run.
    Running,
    /// Let requests in flight finish, then exit.
    Drained,
    /// Exit at once.
    Killed,
}

/// The reloader beside this program, else the one on `PATH`.
#[must_use]
pub fn reloader_binary() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|it| it.parent().map(|dir| dir.join(BINARY)));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(BINARY))
}

/// Runs the program until `wanted` says otherwise. Dropping the sender counts as [`Wanted::Drained`].
///
/// # Errors
/// When it cannot be started, does not accept its arguments, or ends badly after being asked to stop.
pub async fn supervise(
    program: &Path,
    arguments: &[OsString],
    mut wanted: watch::Receiver<Wanted>,
) -> Result<(), SupervisorError> {
    let mut pause = None;
    loop {
        let started = Instant::now();
        let ended = match start(program, arguments) {
            Ok((child, stdin)) => run(child, stdin, &mut wanted).await?,
            Err(error) if pause.is_none() => return Err(error),
            Err(error) => Some(chain(&error)),
        };
        let Some(reason) = ended else { return Ok(()) };
        let next = pause_after(pause, started.elapsed());
        error!(reason, restart_in_ms = milliseconds(next), "reloader ended unexpectedly");
        pause = Some(next);
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = stop_wanted(&mut wanted) => return Ok(()),
        }
    }
}

/// Waits for the end of one process: how it ended, or `None` when that was wanted.
async fn run(
    mut child: Child,
    stdin: Option<ChildStdin>,
    wanted: &mut watch::Receiver<Wanted>,
) -> Result<Option<String>, SupervisorError> {
    info!(pid = child.id(), "reloader started");
    tokio::select! {
        status = child.wait() => match status {
            Ok(status) if status.code() == Some(USAGE_ERROR) => Err(SupervisorError::Arguments),
            Ok(status) => Ok(Some(status.to_string())),
            Err(error) => Ok(Some(error.to_string())),
        },
        () = stop_wanted(wanted) => {
            let stopped = stop(&mut child, wanted).await;
            drop(stdin);
            stopped.map(|()| None)
        }
    }
}

/// The pause before the next start, after the one that was made before this one, if any.
fn pause_after(before: Option<Duration>, ran_for: Duration) -> Duration {
    match before {
        Some(before) if ran_for < SETTLED => (before * 2).min(LONGEST_PAUSE),
        _ => FIRST_PAUSE,
    }
}

/// In a process group of its own, so that Ctrl-C reaches it only through us; holding its standard input, so
/// that it ends when we do, however that happens. Its standard output is ours: that is the access log.
fn start(program: &Path, arguments: &[OsString]) -> Result<(Child, Option<ChildStdin>), SupervisorError> {
    let failed = |source| SupervisorError::Start { program: program.to_owned(), source };
    let mut command = Command::new(program);
    command.args(arguments).process_group(0).kill_on_drop(true);
    let mut child = command.stdin(Stdio::piped()).spawn().map_err(failed)?;
    let stdin = child.stdin.take();
    Ok((child, stdin))
}

async fn stop_wanted(wanted: &mut watch::Receiver<Wanted>) {
    // An error means that nobody can want anything any more.
    let _ = wanted.wait_for(|it| *it > Wanted::Running).await;
}

async fn stop(child: &mut Child, wanted: &mut watch::Receiver<Wanted>) -> Result<(), SupervisorError> {
    signal(child, Signal::TERM, kill_process);
    let killed = async { wanted.wait_for(|it| *it == Wanted::Killed).await.is_ok() };
    let status = tokio::select! {
        status = child.wait() => status,
        true = killed => {
            warn!("reloader is killed; requests in flight are cut off");
            signal(child, Signal::KILL, kill_process_group);
            child.wait().await
        }
    };
    let killed = *wanted.borrow() == Wanted::Killed;
    match status {
        Ok(status) if !status.success() && !killed => Err(SupervisorError::Stop { status }),
        _ => Ok(()),
    }
}

fn signal(child: &Child, signal: Signal, kill: fn(Pid, Signal) -> rustix::io::Result<()>) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    if let Some(Err(error)) = pid.map(|pid| kill(pid, signal)) {
        warn!(error = &error as &dyn std::error::Error, "cannot signal the reloader");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_start_over_after_a_good_run() {
        let (short, long) = (Duration::from_secs(1), SETTLED);
        let mut pause = None;
        let mut pauses = Vec::new();
        for ran_for in [short, short, short, short, short, short, short, short, long, short] {
            pause = Some(pause_after(pause, ran_for));
            pauses.push(pause.unwrap().as_millis());
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000, 250, 500]);
    }

    /// Runs a shell script as the reloader; it gets the path of a file to write to as `$1`.
    async fn run_script(
        script: &str,
        wanted: watch::Receiver<Wanted>,
        file: &Path,
    ) -> Result<(), SupervisorError> {
        let arguments = ["-c".into(), script.into(), "sh".into(), file.into()];
        let run = supervise(Path::new("/bin/sh"), &arguments, wanted);
        tokio::time::timeout(Duration::from_secs(20), run).await.unwrap()
    }

    async fn wait_for_lines(file: &Path, count: usize) {
        let lines = || std::fs::read_to_string(file).map_or(0, |text| text.lines().count());
        let deadline = Instant::now() + Duration::from_secs(10);
        while lines() < count {
            assert!(Instant::now() < deadline, "the script did not get there");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn it_is_started_again_until_it_is_drained() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        let (sender, wanted) = watch::channel(Wanted::Running);
        let script = "trap 'echo drained >>$1; exit 0' TERM; echo start >>$1; \
                      test $(wc -l <$1) -lt 2 && exit 1; while :; do sleep 0.05; done";
        let stop = async {
            wait_for_lines(&file, 2).await;
            sender.send(Wanted::Drained).unwrap();
        };
        let (result, ()) = tokio::join!(run_script(script, wanted, &file), stop);
        result.unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "start\nstart\ndrained\n");
    }

    #[tokio::test]
    async fn one_that_does_not_drain_can_be_killed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        let (sender, wanted) = watch::channel(Wanted::Running);
        let script = "trap 'echo busy >>$1' TERM; echo start >>$1; while :; do sleep 0.05; done";
        let stop = async {
            wait_for_lines(&file, 1).await;
            sender.send(Wanted::Drained).unwrap();
            wait_for_lines(&file, 2).await;
            sender.send(Wanted::Killed).unwrap();
        };
        let (result, ()) = tokio::join!(run_script(script, wanted, &file), stop);
        result.unwrap();
    }

    #[tokio::test]
    async fn what_cannot_be_mended_by_a_restart_is_an_error() {
        let (_sender, wanted) = watch::channel(Wanted::Running);
        let missing = supervise(Path::new("/nonexistent/copal-reloader"), &[], wanted.clone()).await;
        assert!(matches!(missing, Err(SupervisorError::Start { .. })));
        let usage = run_script("exit 2", wanted, Path::new("/dev/null")).await;
        assert!(matches!(usage, Err(SupervisorError::Arguments)));
    }

    #[tokio::test]
    async fn a_bad_end_after_being_asked_to_stop_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("log");
        let (sender, wanted) = watch::channel(Wanted::Running);
        let script = "trap 'exit 3' TERM; echo start >>$1; while :; do sleep 0.05; done";
        let stop = async {
            wait_for_lines(&file, 1).await;
            sender.send(Wanted::Drained).unwrap();
        };
        let (result, ()) = tokio::join!(run_script(script, wanted, &file), stop);
        assert!(matches!(result, Err(SupervisorError::Stop { .. })));
    }
}
