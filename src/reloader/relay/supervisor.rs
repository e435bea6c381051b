//! Keeps the relay running, with the newest bundle's part for it in its folder.

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info};

use crate::bundle::Bundle;
use crate::bundle_folder::BundleFolderError;
use crate::bundle_folder::relay::{RelayFolder, TASK};
use crate::reloader::Context;
use crate::reloader::compiler::VclError;
use crate::reloader::metrics::Metrics;
use crate::reloader::shutdown::{Phase, Shutdown};
use crate::reloader::state::{Board, RelayStatus};
use crate::reloader::watch::{Bundles, as_error};

use super::process::{Launch, Process};
use super::{Relay, client};

/// How often it is asked how it is, while it has not taken up what it was handed, and then.
const SOON: Duration = Duration::from_millis(25);
const LATER: Duration = Duration::from_secs(1);
/// How long it is asked often: it takes up thousands of certificates in less, unless there is something wrong.
const EAGER: Duration = Duration::from_secs(5);
/// How often it is asked whether its last client has gone.
const DRAIN_POLL: Duration = Duration::from_millis(250);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A relay that has run for this long was well: the pause before its restart is the first one again.
const SETTLED: Duration = Duration::from_mins(1);

/// Supervises the relay from now on, until the end begins and it has drained.
pub fn supervise(context: &Context, bundles: Bundles) {
    let supervisor = Supervisor {
        launch: Launch::new(context),
        folder: context.setup.relay.clone(),
        relay: Arc::clone(&context.relay),
        board: Arc::clone(&context.board),
        metrics: Arc::clone(&context.metrics),
        shutdown: context.shutdown.clone(),
        bundles,
        http: context.relay.http.subscribe(),
        writer: None,
        handed: None,
        told: Vec::new(),
    };
    tokio::spawn(supervisor.run());
}

struct Supervisor {
    launch: Launch,
    folder: PathBuf,
    relay: Arc<Relay>,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    shutdown: Shutdown,
    bundles: Bundles,
    /// HTTP ports that it listens on for varnishd.
    http: watch::Receiver<BTreeSet<u16>>,
    writer: Option<RelayFolder>,
    /// The revision in the folder with its HTTP ports, and since when.
    handed: Option<(String, BTreeSet<u16>, Instant)>,
    /// The errors that were told last, so that each is told once.
    told: Vec<VclError>,
}

impl Supervisor {
    async fn run(mut self) {
        if !self.is_needed().await {
            return;
        }
        self.relay.runs.send_replace(true);
        self.board.update(|status| status.relay = Some(RelayStatus::default()));
        self.keep_running().await;
        self.relay.runs.send_replace(false);
    }

    /// Waits for a bundle with a part for the relay, or an HTTP port for it; says no when the end begins first.
    async fn is_needed(&mut self) -> bool {
        let mut shutdown = self.shutdown.clone();
        let has_part = |bundle: &Option<Arc<Bundle>>| {
            bundle.as_ref().is_some_and(|bundle| bundle.manifest.relay.is_some())
        };
        tokio::select! {
            biased;
            () = shutdown.reaches(Phase::Draining) => false,
            found = self.bundles.wait_for(has_part) => found.is_ok(),
            found = self.http.wait_for(|http| !http.is_empty()) => found.is_ok(),
        }
    }

    async fn keep_running(&mut self) {
        let mut pause = None;
        loop {
            self.hand_over().await;
            let started = Instant::now();
            let ended = match self.launch.start() {
                Ok(process) => self.attend(process).await,
                Err(error) => Some(format!("cannot be started: {error}")),
            };
            let Some(how) = ended else { return };
            let next = pause_after(pause, started.elapsed());
            pause = Some(next);
            self.lost(&how, next);
            let mut shutdown = self.shutdown.clone();
            tokio::select! {
                () = sleep(next) => self.metrics.relay_restarted(),
                () = shutdown.reaches(Phase::Draining) => return,
            }
        }
    }

    fn lost(&mut self, how: &str, pause: Duration) {
        let ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        error!(how, restart_in_ms = ms, "the relay has ended; its connections are cut off");
        self.told.clear();
        self.board.update(|status| status.relay = Some(RelayStatus::default()));
        self.board.error(about_task(format!("copal-relay {how}")));
    }

    /// Looks after one process until its end: how it came, or none if that was wanted.
    async fn attend(&mut self, mut process: Process) -> Option<String> {
        info!(pid = process.pid(), "started the relay");
        let mut shutdown = self.shutdown.clone();
        loop {
            let wait = self.wait();
            tokio::select! {
                biased;
                () = shutdown.reaches(Phase::Draining) => break,
                status = process.ended() => {
                    return Some(status.map_or_else(|error| error.to_string(), |it| format!("ended ({it})")));
                }
                Ok(()) = self.bundles.changed() => self.hand_over().await,
                Ok(()) = self.http.changed() => self.hand_over().await,
                () = sleep(wait) => self.look().await,
            }
        }
        process.terminate();
        self.drain(process).await;
        None
    }

    /// Waits for the last client, then for the end of varnishd, then for that of the relay.
    async fn drain(&self, mut process: Process) {
        let mut released = self.relay.released.subscribe();
        loop {
            tokio::select! {
                ended = process.ended() => return debug!(?ended, "the relay has drained"),
                _ = released.wait_for(|released| *released) => break,
                () = sleep(DRAIN_POLL) => {}
            }
            if client::has_drained(&self.folder).await.unwrap_or(false) {
                self.relay.drained.send_replace(true);
            }
        }
        process.release();
        let ended = process.ended().await;
        debug!(?ended, "the relay has ended");
    }

    /// How long until the next look.
    fn wait(&self) -> Duration {
        let status = self.board.status().relay.unwrap_or_default();
        let is_near = |(revision, http, since): &(String, BTreeSet<u16>, Instant)| {
            let is_served = status.revision.as_ref() == Some(revision) && status.http == *http;
            !is_served && since.elapsed() < EAGER
        };
        if self.handed.as_ref().is_some_and(is_near) { SOON } else { LATER }
    }

    /// Writes the newest bundle's part into the folder.
    async fn hand_over(&mut self) {
        let Some(bundle) = self.bundles.borrow_and_update().clone() else { return };
        let revision = bundle.manifest.revision.clone();
        let http = self.http.borrow_and_update().clone();
        let (folder, writer, ports) = (self.folder.clone(), self.writer.take(), http.clone());
        match spawn_blocking(move || write(&folder, writer, &bundle, &ports)).await {
            Ok(Ok(writer)) => {
                self.writer = Some(writer);
                self.handed = Some((revision, http, Instant::now()));
            }
            Ok(Err(problem)) => {
                error!(error = &problem as &dyn Error, "cannot hand the relay its part of the bundle");
                self.handed = None;
                self.board.error(as_error(&problem));
            }
            Err(failed) => error!(error = &failed as &dyn Error, "writing for the relay was cut off"),
        }
    }

    /// Asks the relay how it is, and tells.
    async fn look(&mut self) {
        if self.handed.is_none() {
            self.hand_over().await;
        }
        // Who does not answer at all is no better than who has ended, but may come back.
        let status = match timeout(LATER, client::status(&self.folder)).await {
            Ok(Ok(status)) => status,
            Ok(Err(error)) => {
                debug!(error = &error as &dyn Error, "no status from the relay");
                RelayStatus::default()
            }
            Err(_) => RelayStatus::default(),
        };
        for error in status.errors.iter().filter(|error| !self.told.contains(error)) {
            self.board.error(error.clone());
        }
        self.told.clone_from(&status.errors);
        if self.board.status().relay.as_ref() != Some(&status) {
            self.board.update(|board| board.relay = Some(status));
        }
    }
}

fn write(
    folder: &Path,
    writer: Option<RelayFolder>,
    bundle: &Bundle,
    http: &BTreeSet<u16>,
) -> Result<RelayFolder, BundleFolderError> {
    let mut writer = writer.map_or_else(|| RelayFolder::open(folder), Ok)?;
    writer.write(bundle, http)?;
    Ok(writer)
}

fn about_task(message: String) -> VclError {
    VclError { file: TASK.to_owned(), line: None, message }
}

/// The pause before the next start, after the one that was made before this one, if any.
fn pause_after(before: Option<Duration>, ran_for: Duration) -> Duration {
    match before {
        Some(before) if ran_for < SETTLED => (before * 2).min(LONGEST_PAUSE),
        _ => FIRST_PAUSE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit_and_start_over_after_a_good_run() {
        let mut pause = None;
        let mut pauses = Vec::new();
        for ran_for in [1, 1, 1, 1, 1, 1, 1, 1, 1, 60].map(Duration::from_secs) {
            pause = Some(pause_after(pause, ran_for));
            pauses.push(pause.unwrap().as_millis());
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000, 100]);
    }
}
