//! Looking after varnishd's child, the process that serves. varnishd starts it again when it dies; where that
//! fails, we do.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tracing::{error, info, warn};

use super::failures::back_off;
use super::listing::LoadedVcl;
use super::plan::Command;
use super::serving::{COMMAND_LIMIT, Serving, ServingError};
use super::varnishd::log::{Event, uninitialized};

/// How long the lines that explain a failed start may take to arrive.
const EXPLANATION: Duration = Duration::from_secs(2);
/// How many lines of a panic are logged; varnishd's own log has all of it, at level debug.
const PANIC_LINES: usize = 3;

/// What is known about the child.
#[derive(Debug, Default)]
pub struct Child {
    runs: bool,
    /// Whether this varnishd has started one before.
    was_started: bool,
    failed_starts: u32,
    /// When a start that failed may be tried again.
    retry_at: Option<Instant>,
}

impl Child {
    /// Whether it ran when it was last looked at.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.runs
    }

    /// Whether it should be started, and may.
    #[must_use]
    pub fn is_start_due(&self, now: Instant) -> bool {
        !self.runs && self.retry_at.is_none_or(|due| due <= now)
    }
}

impl Serving<'_> {
    /// Asks whether the child runs.
    ///
    /// # Errors
    /// When varnishd has ended or cannot be reached.
    pub async fn look_at_child(&mut self) -> Result<(), ServingError> {
        let answer = self.request("status", COMMAND_LIMIT).await?;
        let runs = answer.contains("running");
        if self.child.runs && !runs {
            warn!(status = answer.trim(), "varnishd's child does not run");
        }
        if self.child.runs != runs {
            self.child.runs = runs;
            // Readiness follows from it.
            self.converge().await?;
        }
        Ok(())
    }

    /// Reacts to what varnishd's log says about the child.
    ///
    /// # Errors
    /// When varnishd has ended or cannot be reached.
    pub async fn on_event(&mut self, event: Event) -> Result<(), ServingError> {
        match event {
            Event::ChildStarted => self.count_start(),
            Event::ChildGone => {}
            Event::ChildPanicked => self.log_panic().await?,
            Event::InitFailed { name, message } => {
                self.note(Command::Load(name), &message);
                self.child.runs = false;
                return self.converge().await;
            }
        }
        self.look_at_child().await
    }

    /// Starts the child if a VCL is in use and it does not run; says whether there is reason to plan again.
    pub(super) async fn start_child(&mut self, loaded: &[LoadedVcl]) -> Result<bool, ServingError> {
        let is_wanted = loaded.iter().any(|vcl| vcl.active) && self.child.is_start_due(Instant::now());
        if !is_wanted {
            return Ok(false);
        }
        match self.request("start", COMMAND_LIMIT).await {
            Ok(_) => {
                self.started();
                // The line is on its way; who sees the bundle in force is to see the start counted.
                let _ = timeout(EXPLANATION, self.next_start()).await;
            }
            Err(error) => match error.refusal().map(str::to_owned) {
                Some(refusal) if refusal.contains("running") => self.started(),
                Some(refusal) => return Ok(self.explain_failed_start(&refusal).await),
                None => return Err(error),
            },
        }
        Ok(true)
    }

    fn started(&mut self) {
        self.child.runs = true;
        self.child.failed_starts = 0;
        self.child.retry_at = None;
    }

    /// A start mostly fails because a program does not initialize, which varnishd tells its log only. Then
    /// that program is to blame, and the start can be tried again without it.
    async fn explain_failed_start(&mut self, refusal: &str) -> bool {
        let named = uninitialized(refusal).map(|name| (name, refusal.to_owned()));
        let explained = match named {
            Some(named) => Some(named),
            None => timeout(EXPLANATION, self.next_init_failure()).await.ok(),
        };
        if let Some((name, message)) = explained {
            self.note(Command::Load(name), &message);
            return true;
        }
        self.child.failed_starts = self.child.failed_starts.saturating_add(1);
        let wait = back_off(self.child.failed_starts);
        self.child.retry_at = Some(Instant::now() + wait);
        error!(problem = refusal.trim(), retry_in_s = wait.as_secs(), "varnishd's child cannot be started");
        false
    }

    async fn next_start(&mut self) {
        while self.process.event().await != Event::ChildStarted {}
        self.count_start();
    }

    async fn next_init_failure(&mut self) -> (String, String) {
        loop {
            match self.process.event().await {
                Event::InitFailed { name, message } => return (name, message),
                Event::ChildStarted => self.count_start(),
                Event::ChildGone | Event::ChildPanicked => {}
            }
        }
    }

    /// varnishd counts as it logs (`MGT.child_start`), but asking varnishstat takes a second with thousands
    /// of backends.
    fn count_start(&mut self) {
        if self.child.was_started {
            info!("varnishd's child was started again, with an empty cache");
            self.context.metrics.child_restarted();
        }
        self.child.was_started = true;
        self.context.board.update(|status| status.child_starts = status.child_starts.saturating_add(1));
    }

    async fn log_panic(&mut self) -> Result<(), ServingError> {
        match self.request("panic.show", COMMAND_LIMIT).await {
            Ok(panic) => {
                let beginning: Vec<&str> = panic.lines().take(PANIC_LINES).collect();
                error!(panic = beginning.join(" / "), "varnishd's child panicked");
            }
            Err(error) if error.refusal().is_some() => {
                warn!("varnishd's child panicked, and left no account of it");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
