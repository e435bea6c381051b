//! The access log: varnishncsa reads varnishd's shared log, and its output becomes lines of JSON on standard output.
//!
//! ```text
//! logging → plan → varnishncsa -F COLUMNS → lines → output → standard output
//!            └→ the log tags that are read → varnishd::mask → varnishd
//! ```
//!
//! [`plan`], [`custom`], [`record`], [`lines`] and [`decode`] are pure. Nothing here can hold varnishd up: its log is a
//! ring that it overwrites whether or not somebody reads it.

mod custom;
mod decode;
mod lines;
mod output;
pub mod plan;
mod reader;
mod record;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch::{self, error::RecvError};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::bundle::logging::Logging;

use super::compiler::VclError;
use super::failures::back_off;
use super::metrics::Metrics;
use super::state::Board;
use super::varnishd::mask::Tags;
use crate::bundle_folder::MANIFEST;
use output::Output;
use plan::Plan;
use reader::{Ended, Reader};

/// A varnishncsa that has run for this long was well: the pause before its restart is the first one again.
const SETTLED: Duration = Duration::from_mins(1);
/// How long the last records of a varnishd that ends may take to be read.
const LAST_RECORDS: Duration = Duration::from_millis(200);

/// Keeps the access log as it is wanted.
#[derive(Debug)]
pub struct AccessLog {
    wanted: watch::Sender<Option<Logging>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl AccessLog {
    /// For the varnishd on `workdir`, whether it runs yet or not.
    #[must_use]
    pub fn start(program: &Path, workdir: &Path, metrics: Arc<Metrics>, board: Arc<Board>) -> Self {
        let (wanted, changes) = watch::channel(None);
        let keeper =
            Keeper { program: program.to_owned(), workdir: workdir.to_owned(), changes, metrics, board };
        Self { wanted, task: Mutex::new(Some(tokio::spawn(keeper.run()))) }
    }

    /// From now on the access log is to be like this; none means that there is none.
    pub fn want(&self, logging: Option<&Logging>) {
        self.wanted.send_if_modified(|wanted| {
            let is_news = wanted.as_ref() != logging;
            if is_news {
                *wanted = logging.cloned();
            }
            is_news
        });
    }

    /// Writes the last lines, after varnishd has ended.
    pub async fn finish(self) {
        if self.wanted.borrow().is_some() {
            sleep(LAST_RECORDS).await;
        }
        drop(self.wanted);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            drop(task.await);
        }
    }
}

/// The log tags that an access log reads, of those that may be masked.
#[must_use]
pub fn tags(logging: Option<&Logging>) -> Tags {
    logging.and_then(|logging| plan::plan(logging).ok()).map(|plan| plan.tags).unwrap_or_default()
}

/// Why a varnishncsa is not read any more.
enum Outcome {
    /// Something else is wanted, or nothing ever again.
    Changed(Result<(), RecvError>),
    /// It ended.
    Ended(Ended),
}

struct Keeper {
    program: PathBuf,
    workdir: PathBuf,
    changes: watch::Receiver<Option<Logging>>,
    metrics: Arc<Metrics>,
    board: Arc<Board>,
}

impl Keeper {
    async fn run(mut self) {
        let output = Output::start(&self.metrics);
        loop {
            let wanted = self.changes.borrow_and_update().clone();
            let change = match wanted {
                Some(logging) => self.read(&logging, &output).await,
                None => self.changes.changed().await,
            };
            if change.is_err() {
                break;
            }
        }
        output.finish().await;
    }

    /// Reads until something else is wanted.
    async fn read(&mut self, logging: &Logging, output: &Output) -> Result<(), RecvError> {
        let plan = match plan::plan(logging) {
            Ok(plan) => plan,
            Err(error) => return self.refuse(&error.to_string()).await,
        };
        let mut deaths: u32 = 0;
        loop {
            let begin = Instant::now();
            let how = match self.read_once(plan.clone(), output).await {
                Outcome::Changed(change) => return change,
                Outcome::Ended(Ended::Refused(why)) => return self.refuse(&why).await,
                Outcome::Ended(Ended::Died(how)) => how,
            };
            deaths = if begin.elapsed() < SETTLED { deaths.saturating_add(1) } else { 1 };
            let pause = back_off(deaths);
            self.metrics.access_log_restarted();
            warn!(how, restart_in_s = pause.as_secs(), "varnishncsa ended; the access log has a gap");
            tokio::select! {
                change = self.changes.changed() => return change,
                () = sleep(pause) => info!("starting varnishncsa again"),
            }
        }
    }

    async fn read_once(&mut self, plan: Plan, output: &Output) -> Outcome {
        let mut reader = match Reader::start(&self.program, &self.workdir, plan, Arc::clone(&self.metrics)) {
            Ok(reader) => reader,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                return Outcome::Ended(Ended::Refused(error.to_string()));
            }
            Err(error) => {
                let how = format!("{} cannot be started: {error}", self.program.display());
                return Outcome::Ended(Ended::Died(how));
            }
        };
        let change = tokio::select! {
            change = self.changes.changed() => change,
            () = reader.pass_on(output) => return Outcome::Ended(reader.ended().await),
        };
        reader.stop(output).await;
        Outcome::Changed(change)
    }

    /// Goes on without an access log: the same would only fail again.
    async fn refuse(&mut self, why: &str) -> Result<(), RecvError> {
        error!(problem = why, "there is no access log: its format or query cannot be used");
        let message = format!("access log: {why}");
        self.board.error(VclError { file: MANIFEST.to_owned(), line: None, message });
        self.changes.changed().await
    }
}
