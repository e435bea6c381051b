//! One varnishncsa, from its start to its end.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::super::metrics::Metrics;
use super::lines::Lines;
use super::output::Output;
use super::plan::Plan;

/// How much is read at once, in bytes.
const CHUNK: usize = 64 << 10;
/// How long a line waits for others of its request.
const PATIENCE: Duration = Duration::from_millis(200);
const FOREVER: Duration = Duration::from_hours(24);
/// How long varnishncsa may take to end, and its last words to arrive.
const END_LIMIT: Duration = Duration::from_secs(2);
/// What varnishncsa has against its arguments it says before it does anything else.
const EARLY: Duration = Duration::from_secs(10);
/// How many of its last messages are kept, and how long one may be, in bytes.
const LAST_WORDS: usize = 6;
const LONGEST_WORD: usize = 500;

/// How a varnishncsa ended unasked.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// It does not take its arguments: format or query are wrong, and will be the next time.
    Refused(String),
    /// Something else.
    Died(String),
}

/// A running varnishncsa.
#[derive(Debug)]
pub struct Reader {
    child: Child,
    stdout: ChildStdout,
    words: JoinHandle<String>,
    lines: Lines,
    started: Instant,
}

impl Reader {
    /// Starts it on varnishd's working directory; it waits for varnishd there, and follows it when it is started anew.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, workdir: &Path, plan: Plan, metrics: Arc<Metrics>) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg("-n").arg(workdir).args(&plan.arguments).env("LC_ALL", "C");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let words = tokio::spawn(listen(stderr, metrics));
        Ok(Self { child, stdout, words, lines: Lines::new(plan.layout), started: Instant::now() })
    }

    /// Passes its lines on until it ends. Can be cancelled and called again.
    pub async fn pass_on(&mut self, output: &Output) {
        let mut chunk = vec![0; CHUNK];
        loop {
            let patience = if self.lines.is_waiting() { PATIENCE } else { FOREVER };
            match timeout(patience, self.stdout.read(&mut chunk)).await {
                Err(_) => output.write(self.lines.flush()),
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(length)) => output.write(self.lines.read(chunk.get(..length).unwrap_or_default())),
            }
        }
        output.write(self.lines.flush());
    }

    /// Tells how it ended, after its output has.
    pub async fn ended(mut self) -> Ended {
        let status = timeout(END_LIMIT, self.child.wait()).await;
        let words = timeout(END_LIMIT, self.words).await;
        let words = words.ok().and_then(Result::ok).unwrap_or_default();
        let status = status.unwrap_or_else(|late| Err(late.into()));
        judge(status, &words, self.started.elapsed())
    }

    /// Ends it, after it has passed on what it has.
    pub async fn stop(mut self, output: &Output) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::TERM)) {
            debug!(%error, "varnishncsa is gone already");
        }
        if timeout(END_LIMIT, self.pass_on(output)).await.is_err() {
            warn!("varnishncsa does not end; killing it");
        }
    }
}

fn judge(status: io::Result<ExitStatus>, words: &str, age: Duration) -> Ended {
    let status = match status {
        Ok(status) => status,
        Err(error) => return Ended::Died(error.to_string()),
    };
    // "VSM: …" is about varnishd.
    if status.code() == Some(1) && age < EARLY && !words.is_empty() && !words.contains("VSM:") {
        return Ended::Refused(words.to_owned());
    }
    Ended::Died(if words.is_empty() { status.to_string() } else { format!("{status}: {words}") })
}

/// Logs what it says, and returns the last of it.
async fn listen(stderr: impl AsyncRead + Unpin, metrics: Arc<Metrics>) -> String {
    let mut lines = BufReader::new(stderr).split(b'\n');
    let mut last = VecDeque::new();
    while let Ok(Some(mut line)) = lines.next_segment().await {
        line.truncate(LONGEST_WORD);
        // Dots are for the passing of time.
        let line = String::from_utf8_lossy(&line).trim_start_matches('.').trim_end().to_owned();
        if line.is_empty() {
            continue;
        }
        if line.starts_with("Log overrun") {
            metrics.access_log_overrun();
            warn!("the access log has a gap: varnishd writes its log faster than it is read");
        } else {
            debug!(target: "varnishncsa", "{line}");
        }
        if last.len() == LAST_WORDS {
            last.pop_front();
        }
        last.push_back(line);
    }
    Vec::from(last).join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_refusal_is_told_from_a_death() {
        let code = |code: i32| Ok(ExitStatus::from_raw(code << 8));
        let early = Duration::from_millis(20);
        let refused = judge(code(1), "Query expression error:\nUnterminated string", early);
        assert!(matches!(refused, Ended::Refused(_)));
        for (status, words, age) in [
            (code(1), "VSM: Could not get hold of varnishd, is it running?", early),
            (code(1), "", early),
            (code(0), "Log abandoned (vsm)", early),
            (code(1), "Query expression error", Duration::from_mins(1)),
            (Ok(ExitStatus::from_raw(9)), "Query expression error", early),
        ] {
            assert!(matches!(judge(status, words, age), Ended::Died(_)), "{words}");
        }
    }
}
