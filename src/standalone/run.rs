//! `copal run`: the folder as it changes, served by a Varnish.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, block_in_place};
use tracing::{error, info, warn};

use super::catalogue::Changes;
use super::chain;
use super::folder::{FolderError, Hints};
use super::follow::{Delivery, follow, milliseconds};
use super::output::{self, Condition};
use super::problem::{self, Problem};
use super::site::{Outcome, Site};
use super::state::{State, StateError};
use super::supervisor::{SupervisorError, Wanted, reloader_binary, supervise};
use super::watch::{Change, Watch};
use crate::bundle::{Bundle, Manifest};
use crate::bundle_folder::{BundleFolder, BundleFolderError};
use crate::reloader_client::ReloaderClient;
use crate::snapshot::ObjectId;
use crate::status::{Context, Programmed};
use crate::vcl::{SocketFolder, SocketFolderError};

/// Names in one log line at most; the rest is counted.
const MAX_NAMES: usize = 10;

/// Everything `copal run` is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The manifests.
    pub folder: PathBuf,
    /// Where varnishd accepts connections.
    pub bind: IpAddr,
    /// Added to each listener's port.
    pub port_offset: u16,
    /// The reloader's own endpoints.
    pub admin: SocketAddr,
    /// `None` for the user's default.
    pub state: Option<PathBuf>,
    /// The program.
    pub varnishd: PathBuf,
    /// How long connections are still accepted after the signal to stop.
    pub drain_delay: Duration,
    /// As in `varnishd -s`.
    pub storage: String,
    /// `text` or `json`.
    pub log_format: String,
    /// Passed on as they are.
    pub varnishd_arguments: Vec<OsString>,
}

/// Why `copal run` cannot start, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// The sockets between varnishd and the relay.
    #[error(transparent)]
    Sockets(#[from] SocketFolderError),
    /// The manifest folder, at start.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The bundle folder, at start.
    #[error(transparent)]
    BundleFolder(#[from] BundleFolderError),
    /// The reloader.
    #[error(transparent)]
    Supervisor(#[from] SupervisorError),
    /// The task that keeps the reloader running.
    #[error("the reloader's supervisor failed")]
    Task(#[from] tokio::task::JoinError),
    /// Signals.
    #[error("cannot handle signals")]
    Signals(#[source] io::Error),
}

/// Serves the folder until SIGINT, SIGTERM or SIGHUP; then drains.
///
/// # Errors
/// When it cannot start, or the reloader cannot be kept running.
pub async fn run(options: Options) -> Result<(), RunError> {
    let mut wanted = stop_signals()?;
    let state = State::lock(options.state.clone())?;
    let sockets = SocketFolder::new(&state.relay())?;
    let mut watch = Watch::start(&options.folder);
    let mut server = Server::open(&options, &state, sockets)?;
    let program = reloader_binary();
    let arguments = reloader_arguments(&options, &state);
    let supervised = wanted.clone();
    let mut supervisor = tokio::spawn(async move { supervise(&program, &arguments, supervised).await });
    info!(folder = %options.folder.display(), state = %state.path().display(), "watching");
    loop {
        tokio::select! {
            // That we are to stop comes first: by then the supervisor may have ended as well, as it should.
            biased;
            Ok(_) = wanted.wait_for(|it| *it > Wanted::Running) => break,
            ended = &mut supervisor => return Ok(ended??),
            change = watch.next() => block_in_place(|| server.step(&change)),
        }
    }
    info!("stopping; requests in flight are finished first, a second signal cuts them off");
    drop(server);
    supervisor.await??;
    info!("stopped");
    Ok(())
}

/// The first signal asks for a drain, the second one kills.
fn stop_signals() -> Result<watch::Receiver<Wanted>, RunError> {
    let (sender, receiver) = watch::channel(Wanted::Running);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(RunError::Signals)?;
    tokio::spawn(async move {
        for wanted in [Wanted::Drained, Wanted::Killed] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
            sender.send_replace(wanted);
        }
        sender.closed().await;
    });
    Ok(receiver)
}

fn reloader_arguments(options: &Options, state: &State) -> Vec<OsString> {
    let named: [(&str, OsString); 9] = [
        ("--bundle", state.bundle().into()),
        ("--state", state.reloader().into()),
        ("--admin", options.admin.to_string().into()),
        ("--bind", options.bind.to_string().into()),
        ("--port-offset", options.port_offset.to_string().into()),
        ("--varnishd", options.varnishd.clone().into()),
        ("--drain-delay", options.drain_delay.as_secs().to_string().into()),
        ("--storage", options.storage.clone().into()),
        ("--log-format", options.log_format.clone().into()),
    ];
    let named = named.into_iter().flat_map(|(name, value)| [name.into(), value]);
    let passed_on = options.varnishd_arguments.iter().cloned();
    named.chain(["--exit-with-stdin".into(), "--".into()]).chain(passed_on).collect()
}

/// What changes from one change to the next.
struct Server {
    site: Site,
    bundles: BundleFolder,
    reloader: ReloaderClient,
    problems: Vec<Problem>,
    conditions: BTreeSet<Condition>,
    /// What was written last; `None` as long as it could not be.
    written: Option<Manifest>,
    following: Option<JoinHandle<()>>,
    folder_error: Option<String>,
}

impl Server {
    /// Reads the folder for the first time and writes the first bundle.
    fn open(options: &Options, state: &State, sockets: SocketFolder) -> Result<Self, RunError> {
        let since = Instant::now();
        let mut site = Site::new(&options.folder, options.port_offset).with_sockets(sockets);
        let changes = site.refresh(&Hints::default())?;
        let mut server = Self {
            site,
            bundles: BundleFolder::open(state.bundle())?,
            reloader: ReloaderClient::new(options.admin),
            problems: Vec::new(),
            conditions: BTreeSet::new(),
            written: None,
            following: None,
            folder_error: None,
        };
        server.log_problems();
        server.deliver(&changes, since)?;
        Ok(server)
    }

    /// One reason to look at the folder.
    fn step(&mut self, change: &Change) {
        let Some(changes) = self.refresh(&change.hints) else { return };
        self.log_problems();
        if changes.is_empty() && self.written.is_some() {
            return;
        }
        if let Err(error) = self.deliver(&changes, change.since) {
            self.written = None;
            error!(
                error = chain(&error),
                "cannot write the bundle; trying again with the next look at the folder"
            );
        }
    }

    /// `None` when the folder cannot be read, which is said once.
    fn refresh(&mut self, hints: &Hints) -> Option<Changes> {
        let error = match self.site.refresh(hints) {
            Ok(changes) => {
                if self.folder_error.take().is_some() {
                    info!("manifest folder can be read again");
                }
                return Some(changes);
            }
            Err(error) => chain(&error),
        };
        if self.folder_error.as_ref() != Some(&error) {
            error!(error, "cannot look through the manifest folder; everything stays in force as it was");
            self.folder_error = Some(error);
        }
        None
    }

    /// Builds the bundle, hands it over, and says what has changed.
    fn deliver(&mut self, changes: &Changes, since: Instant) -> Result<(), BundleFolderError> {
        let outcome = self.site.build();
        let manifest = &outcome.bundle.manifest;
        let same = self.written.as_ref().is_some_and(|it| it.revision == manifest.revision);
        let vcls = if same { 0 } else { self.bundles.write(&outcome.bundle)? };
        log_change(changes, &outcome, vcls, same);
        if !same {
            self.follow(outcome.bundle.clone(), since);
        }
        self.log_conditions(&outcome);
        Ok(())
    }

    /// From now on only the newest bundle is of interest.
    fn follow(&mut self, bundle: Bundle, since: Instant) {
        self.written = Some(bundle.manifest.clone());
        let delivery = Delivery { bundle, since, written: Instant::now() };
        let following = tokio::spawn(follow(self.reloader.clone(), delivery));
        if let Some(before) = self.following.replace(following) {
            before.abort();
        }
    }

    fn log_problems(&mut self) {
        let now = self.site.problems();
        for it in problem::fresh(&self.problems, &now) {
            error!(
                place = %it.place, object = it.object, expected = it.expected, meanwhile = it.meanwhile,
                "manifest is malformed"
            );
        }
        for it in problem::fresh(&now, &self.problems) {
            info!(place = %it.place, object = it.object, "manifest is mended");
        }
        self.problems = now;
    }

    /// Conditions that tell of something wrong with the manifests. How Varnish takes them is told when it has.
    fn troubles(&self, outcome: &Outcome) -> BTreeSet<Condition> {
        let now = Time(Timestamp::now());
        let context = Context::shared(Programmed::Yes, Vec::new(), now);
        output::troubles(&output::objects(&self.site.statuses(&outcome.translation, &context)))
    }

    fn log_conditions(&mut self, outcome: &Outcome) {
        let now = self.troubles(outcome);
        for it in now.difference(&self.conditions) {
            warn!(
                object = it.object,
                condition = it.name,
                status = it.status,
                reason = it.reason,
                message_text = it.message,
                "condition is not as it should be"
            );
        }
        self.conditions = now;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(following) = &self.following {
            following.abort();
        }
    }
}

fn log_change(changes: &Changes, outcome: &Outcome, vcls: usize, same: bool) {
    let text = if same { "change makes no difference to Varnish" } else { "change handed to Varnish" };
    info!(
        added = names(&changes.added),
        changed = names(&changes.changed),
        removed = names(&changes.removed),
        revision = outcome.bundle.manifest.revision,
        vcls_changed = vcls,
        translate_ms = milliseconds(outcome.translate),
        render_ms = milliseconds(outcome.render),
        "{text}"
    );
    if !outcome.bundle.manifest.listens() {
        warn!("nothing is served: expected a Gateway with a valid listener, of a GatewayClass of Copal's");
    }
}

fn names(ids: &[ObjectId]) -> String {
    let mut names: Vec<_> = ids.iter().take(MAX_NAMES).map(ToString::to_string).collect();
    if ids.len() > MAX_NAMES {
        names.push(format!("and {} more", ids.len() - MAX_NAMES));
    }
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::{Kind, ObjectKey};

    #[test]
    fn long_lists_of_names_are_cut() {
        let ids = |count: usize| {
            (0..count)
                .map(|n| ObjectId { kind: Kind::Service, key: ObjectKey::new("a", format!("s{n}")) })
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&ids(0)), "");
        assert_eq!(names(&ids(2)), "Service a/s0, Service a/s1");
        assert!(names(&ids(12)).ends_with("Service a/s9, and 2 more"));
    }
}
