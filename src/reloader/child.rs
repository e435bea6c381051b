//! Looking after varnishd's child, the process that serves. varnishd starts it again when it dies; where that
//! fails, we do.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tracing::{error, info, warn};

use super::failures::back_off;
use super::listing::LoadedVcl;
use super::plan::Command;
use super::serving::{COMMAND_LIMIT, Serving, ServingError};
use super::stats;
use super::varnishd::log::Event;

/// How long the lines that explain a failed start may take to arrive.
const EXPLANATION: Duration = Duration::from_secs(2);
/// How many lines of a panic are logged; varnishd's own log has all of it, at level debug.
const PANIC_LINES: usize = 3;

/// What is known about the child.
#[derive(Debug, Default)]
pub struct Child {
    runs: bool,
    /// Starts, by varnishd's count.
    starts: u64,
    /// Panics, by varnishd's count.
    panics: u64,
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
        if let Event::InitFailed { name, message } = event {
            self.note(Command::Load(name), &message);
            self.child.runs = false;
            return self.converge().await;
        }
        self.look_at_child().await?;
        self.count_starts().await
    }

    /// Starts the child if a VCL is in use and it does not run; says whether there is reason to plan again.
    pub(super) async fn start_child(&mut self, loaded: &[LoadedVcl]) -> Result<bool, ServingError> {
        let is_wanted = loaded.iter().any(|vcl| vcl.active) && self.child.is_start_due(Instant::now());
        if !is_wanted {
            return Ok(false);
        }
        match self.request("start", COMMAND_LIMIT).await {
            Ok(_) => self.started(),
            Err(error) => match error.refusal().map(str::to_owned) {
                Some(refusal) if refusal.contains("running") => self.started(),
                Some(refusal) => return Ok(self.explain_failed_start(&refusal).await),
                None => return Err(error),
            },
        }
        self.count_starts().await?;
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
        let explanation = async {
            loop {
                if let Event::InitFailed { name, message } = self.process.event().await {
                    return (name, message);
                }
            }
        };
        if let Ok((name, message)) = timeout(EXPLANATION, explanation).await {
            self.note(Command::Load(name), &message);
            return true;
        }
        self.child.failed_starts = self.child.failed_starts.saturating_add(1);
        let wait = back_off(self.child.failed_starts);
        self.child.retry_at = Some(Instant::now() + wait);
        error!(problem = refusal.trim(), retry_in_s = wait.as_secs(), "varnishd's child cannot be started");
        false
    }

    /// Brings the counts up to date, and logs a panic that was not seen before.
    async fn count_starts(&mut self) -> Result<(), ServingError> {
        let counters = match self.context.varnishstat.management().await {
            Ok(counters) => counters,
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot count the starts of varnishd's child"
                );
                return Ok(());
            }
        };
        self.note_starts(stats::value(&counters, "MGT.child_start"));
        let panics = stats::value(&counters, "MGT.child_panic");
        if panics > std::mem::replace(&mut self.child.panics, panics) {
            self.log_panic().await?;
        }
        Ok(())
    }

    fn note_starts(&mut self, starts: u64) {
        let before = std::mem::replace(&mut self.child.starts, starts);
        let new = starts.saturating_sub(before);
        // The very first start is no restart.
        let restarts = if before == 0 { new.saturating_sub(1) } else { new };
        if restarts > 0 {
            info!(restarts, "varnishd's child was started again, with an empty cache");
            self.context.metrics.child_restarted(restarts);
        }
        self.context.board.update(|status| status.child_starts = status.child_starts.saturating_add(new));
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
