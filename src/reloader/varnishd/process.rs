//! One running varnishd: its manager process, and what it says.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{Level, debug, error, info, warn};

use super::log::{Event, LogReader};

/// How many of its last errors are kept to explain an exit.
const LAST_ERRORS: usize = 3;
/// How long its last lines may take to arrive after it has ended.
const LAST_LINES: Duration = Duration::from_secs(1);
/// The longest line that is passed on, in bytes.
const MAX_LINE: usize = 4096;

/// Something that varnishd did unasked.
#[derive(Debug)]
pub enum Happening {
    /// It said something about its child.
    Event(Event),
    /// It ended.
    Ended(io::Result<ExitStatus>),
}

type Errors = Arc<Mutex<VecDeque<String>>>;

/// varnishd's manager. Dropping it sends SIGTERM, on which varnishd ends its child and itself.
#[derive(Debug)]
pub struct Process {
    child: Child,
    ended: bool,
    events: mpsc::UnboundedReceiver<Event>,
    readers: JoinSet<()>,
    errors: Errors,
}

impl Process {
    /// Starts varnishd in a process group of its own, so that a Ctrl-C at the terminal reaches only us.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(program: &Path, arguments: &[OsString]) -> io::Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let (sender, events) = mpsc::unbounded_channel();
        let errors = Errors::default();
        let mut readers = JoinSet::new();
        if let Some(stdout) = child.stdout.take() {
            readers.spawn(forward(stdout, sender.clone(), Arc::clone(&errors)));
        }
        if let Some(stderr) = child.stderr.take() {
            readers.spawn(forward(stderr, sender, Arc::clone(&errors)));
        }
        Ok(Self { child, ended: false, events, readers, errors })
    }

    /// Waits until varnishd has ended. Can be cancelled and called again.
    ///
    /// # Errors
    /// When the system does not tell.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await;
        self.ended = true;
        status
    }

    /// The next thing that happens of its own accord. Can be cancelled and called again.
    pub async fn next(&mut self) -> Happening {
        tokio::select! {
            biased;
            ended = self.child.wait() => {
                self.ended = true;
                Happening::Ended(ended)
            }
            Some(event) = self.events.recv() => Happening::Event(event),
        }
    }

    /// The next thing that varnishd says about its child; never, once it has ended.
    pub async fn event(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }

    /// Its last errors, after it has ended.
    pub async fn last_errors(&mut self) -> String {
        let _ = timeout(LAST_LINES, async { while self.readers.join_next().await.is_some() {} }).await;
        let errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        errors.iter().map(String::as_str).collect::<Vec<_>>().join("; ")
    }

    /// Asks varnishd to end its child and itself. Requests in flight are cut off.
    pub fn terminate(&self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| !self.ended)
            && let Err(error) = kill_process(pid, Signal::TERM)
        {
            debug!(%error, "varnishd is gone already");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.terminate();
    }
}

async fn forward(stream: impl AsyncRead + Unpin, events: mpsc::UnboundedSender<Event>, errors: Errors) {
    let mut lines = BufReader::new(stream).split(b'\n');
    let mut reader = LogReader::default();
    while let Ok(Some(mut line)) = lines.next_segment().await {
        line.truncate(MAX_LINE);
        let line = reader.read(&String::from_utf8_lossy(&line));
        emit(line.level, &line.text);
        if line.level == Level::ERROR {
            keep(&errors, line.text);
        }
        if let Some(event) = line.event {
            // No one listens any more when varnishd is being ended.
            let _ = events.send(event);
        }
    }
}

fn emit(level: Level, text: &str) {
    match level {
        _ if text.is_empty() => {}
        Level::ERROR => error!(target: "varnishd", "{text}"),
        Level::WARN => warn!(target: "varnishd", "{text}"),
        Level::INFO => info!(target: "varnishd", "{text}"),
        _ => debug!(target: "varnishd", "{text}"),
    }
}

fn keep(errors: &Errors, text: String) {
    let mut errors = errors.lock().unwrap_or_else(PoisonError::into_inner);
    if text.is_empty() || text == "(-? gives usage)" {
        return;
    }
    if errors.len() == LAST_ERRORS {
        errors.pop_front();
    }
    errors.push_back(text);
}
