//! One varnishd, from its start to its end: brings bundles into force and looks after the child.
//!
//! Everything is level-triggered: ask what is loaded, plan, do it until something fails, ask again.

use std::collections::BTreeSet;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::time::timeout;
use tracing::{debug, error, info, warn};

use crate::bundle::{Bundle, ListenSocket, Manifest};

use super::Context;
use super::child::Child;
use super::cli::{CliError, inline_command};
use super::compiler::{self, VclError};
use super::failures::Failures;
use super::link::{Link, LinkError};
use super::listing::{self, ListingError, LoadedVcl};
use super::masking::mask;
use super::plan::{self, Command, fallback, in_force, leftovers, not_ready, until_discards};
use super::sockets::{self, SocketError};
use super::state::{self, State};
use super::varnishd::args::{self, ArgsError};
use super::varnishd::process::{Happening, Process};
use super::watch::Bundles;

/// How long a compilation may take. Minutes are for gcc, when tcc is not there.
const LOAD_LIMIT: Duration = Duration::from_mins(5);
/// How long anything else may take. varnishd itself gives its child 60 s for an answer.
pub(super) const COMMAND_LIMIT: Duration = Duration::from_secs(90);
/// Rounds of planning beyond one for each VCL after which someone else must be working against us.
const SPARE_ROUNDS: usize = 50;

/// Why varnishd does not serve any more.
#[derive(Debug, Error)]
pub enum ServingError {
    /// It cannot be started with these arguments.
    #[error(transparent)]
    Arguments(#[from] ArgsError),
    /// It cannot listen where it should.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// It cannot be started.
    #[error("cannot start varnishd")]
    Spawn(#[source] io::Error),
    /// It ended unasked.
    #[error("varnishd ended ({how}): {said}")]
    Exited {
        /// Its exit status.
        how: String,
        /// Its last errors.
        said: String,
    },
    /// It does not end although it was asked to.
    #[error("varnishd is still there {} s after it was asked to end", .0.as_secs())]
    Lingers(Duration),
    /// A command could not be given to it.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// Its list of VCLs cannot be read.
    #[error(transparent)]
    Listing(#[from] ListingError),
}

impl ServingError {
    /// What varnishd said, if it merely refused a command.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        match self {
            Self::Link(LinkError::Cli(CliError::Refused { message, .. })) => Some(message),
            _ => None,
        }
    }
}

/// A running varnishd and what is known about it.
#[derive(Debug)]
pub struct Serving<'a> {
    pub(super) context: &'a Context,
    pub(super) process: Process,
    pub(super) link: Link,
    pub(super) child: Child,
    /// The bundle that is served, as this varnishd can.
    pub(super) bundle: Arc<Bundle>,
    /// The same as it came.
    given: Arc<Bundle>,
    /// The sockets that this varnishd has.
    pub(super) own: Vec<ListenSocket>,
    /// HTTP ports that the relay has listened on for it.
    relayed: BTreeSet<u16>,
    bundles: Bundles,
    /// The newest bundle that was looked at; another one than `given` if its sockets cannot be had.
    newest_seen: Arc<Bundle>,
    /// When `bundle` came.
    pub(super) arrived: Instant,
    pub(super) failures: Failures,
    /// The bundle that was last entirely in force.
    good: Option<Manifest>,
    /// What `vsl_mask` was set to; none leaves it to the user.
    pub(super) mask: Option<String>,
    /// Whether the last attempt was cut short, or left something that has to be looked at again.
    unfinished: bool,
}

/// What a run of [`Serving::converge`] did.
#[derive(Debug, Default)]
struct Done {
    loaded: usize,
    failed: usize,
}

impl<'a> Serving<'a> {
    /// Starts varnishd on the bundle's sockets; nothing is loaded yet and no child runs.
    ///
    /// # Errors
    /// When an address is taken, or varnishd cannot be started.
    pub async fn start(
        context: &'a Context,
        bundle: Arc<Bundle>,
        bundles: Bundles,
    ) -> Result<Self, ServingError> {
        let listen = sockets::addresses(&context.options, &bundle.manifest.listen)?;
        sockets::try_out(&listen)?;
        let link = Link::listen(&context.setup.secret).await.map_err(ServingError::Spawn)?;
        let master = link.address().map_err(ServingError::Spawn)?;
        let (manifest, mask) = (&bundle.manifest, mask(context, &bundle.manifest));
        let launch = context.setup.launch(&context.options, &manifest.listen, master, mask.as_deref());
        let arguments = args::arguments(&launch)?;
        let process = Process::spawn(&context.setup.program, &arguments).map_err(ServingError::Spawn)?;
        info!(?listen, "started varnishd");
        context.access_log.want(manifest.logging.as_ref());
        context.board.update(|status| {
            status.listen = listen.iter().map(ToString::to_string).collect();
        });
        Ok(Self {
            context,
            process,
            link,
            child: Child::default(),
            newest_seen: Arc::clone(&bundle),
            given: Arc::clone(&bundle),
            own: bundle.manifest.listen.clone(),
            relayed: BTreeSet::new(),
            bundle,
            bundles,
            arrived: Instant::now(),
            failures: Failures::default(),
            good: None,
            mask,
            unfinished: false,
        })
    }

    /// Notes that this is the newest bundle, whatever becomes of it.
    pub fn see(&mut self, bundle: &Arc<Bundle>) {
        self.newest_seen = Arc::clone(bundle);
    }

    /// Takes another bundle, which these sockets [`sockets::suit`]. Ports that are gone are closed before VCL forgets
    /// them; new ones are opened when all of it knows them.
    pub fn adopt(&mut self, given: Arc<Bundle>) {
        self.relayed.append(&mut self.context.relay.http());
        let bundle = sockets::without_others(&self.own, &self.relayed, &given);
        let wanted = sockets::relayed(&self.own, &bundle.manifest);
        self.listen(|before| before.intersection(&wanted).copied().collect());
        self.given = given;
        self.failures.renew(|name| bundle.files.contains_key(name), Instant::now());
        self.context.access_log.want(bundle.manifest.logging.as_ref());
        self.bundle = bundle;
        self.arrived = Instant::now();
    }

    /// Says which HTTP ports the relay listens on for varnishd, from those before.
    pub(super) fn listen(&self, ports: impl FnOnce(&BTreeSet<u16>) -> BTreeSet<u16>) {
        let ports = ports(&self.context.relay.http());
        self.context.board.update(|status| status.relayed.clone_from(&ports));
        self.context.relay.listen(ports);
    }

    /// Whether it is time to try something again.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        let retry = self.failures.next_retry().is_some_and(|due| due <= now);
        retry || self.unfinished || self.child.is_start_due(now)
    }

    /// Does what can be done now to bring the bundle into force. Stops between two steps when the end begins.
    ///
    /// # Errors
    /// When varnishd has ended or cannot be reached. That something cannot be loaded is not an error.
    pub async fn converge(&mut self) -> Result<(), ServingError> {
        // Until it comes to an end, it is to be taken up again.
        self.unfinished = true;
        let loaded = self.approach().await?;
        self.unfinished = leftovers(&loaded, &self.bundle.manifest);
        Ok(())
    }

    /// Does step after step; returns what is loaded at the end.
    async fn approach(&mut self) -> Result<Vec<LoadedVcl>, ServingError> {
        let mut done = Done::default();
        self.mask_log().await?;
        let mut loaded = Vec::new();
        for _ in 0..self.bundle.files.len().saturating_add(SPARE_ROUNDS) {
            loaded = self.list().await?;
            self.note_success(&loaded, &done);
            if self.context.shutdown.has_begun() {
                return Ok(loaded);
            }
            let new = until_discards(self.steps(&loaded, &self.failures.all()));
            if !new.is_empty() {
                self.run(new, &mut done).await?;
                continue;
            }
            if self.start_child(&loaded).await? {
                continue;
            }
            let due = self.due_steps(&loaded);
            if due.is_empty() {
                self.conclude(&loaded, &done);
                return Ok(loaded);
            }
            self.run(due, &mut done).await?;
        }
        warn!("varnishd's VCLs change as often as we change them; is someone else working on them?");
        Ok(loaded)
    }

    fn steps(&self, loaded: &[LoadedVcl], failed: &BTreeSet<Command>) -> Vec<Command> {
        plan::plan(loaded, &self.bundle.manifest, failed)
    }

    /// What failed before is tried again when all else is in force, and only while no newer bundle is
    /// waiting: many broken VCLs must not hold up the rest.
    fn due_steps(&self, loaded: &[LoadedVcl]) -> Vec<Command> {
        if self.has_newer_bundle() {
            return Vec::new();
        }
        self.steps(loaded, &self.failures.blocked(Instant::now()))
    }

    fn has_newer_bundle(&self) -> bool {
        self.bundles.borrow().as_ref().is_some_and(|newest| !Arc::ptr_eq(newest, &self.newest_seen))
    }

    /// Runs steps until one fails.
    async fn run(&mut self, steps: Vec<Command>, done: &mut Done) -> Result<(), ServingError> {
        for step in steps {
            if self.context.shutdown.has_begun() {
                return Ok(());
            }
            match self.execute(&step).await {
                Ok(()) => {
                    done.loaded += usize::from(matches!(step, Command::Load(_)));
                    self.failures.clear(&step);
                }
                Err(error) => {
                    done.failed += 1;
                    let refusal = error.refusal().map(str::to_owned).ok_or(error)?;
                    self.note(step, &refusal);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    async fn execute(&mut self, step: &Command) -> Result<(), ServingError> {
        let (command, limit) = match step {
            Command::Load(name) => (inline_command(name, &self.text(name)), LOAD_LIMIT),
            Command::Label { label, target } => (format!("vcl.label {label} {target}"), COMMAND_LIMIT),
            Command::Use(name) => (format!("vcl.use {name}"), COMMAND_LIMIT),
            Command::Discard(name) => (format!("vcl.discard {name}"), COMMAND_LIMIT),
        };
        let answer = self.request(&command, limit).await?;
        debug!(?step, answer = answer.trim(), "done");
        Ok(())
    }

    fn text(&self, name: &str) -> Arc<str> {
        self.bundle.files.get(name).map_or_else(|| fallback().text, Arc::clone)
    }

    /// Notes that varnishd refused a step. Only a program that cannot be loaded is the bundle's fault.
    pub(super) fn note(&mut self, step: Command, refusal: &str) {
        let error = match &step {
            Command::Load(name) => {
                let error = compiler::read(name, refusal);
                error!(
                    file = error.file,
                    line = error.line,
                    problem = error.message,
                    "a VCL cannot be loaded"
                );
                self.context.board.error(error.clone());
                error
            }
            Command::Label { label: name, .. } | Command::Use(name) | Command::Discard(name) => {
                warn!(?step, problem = refusal.trim(), "varnishd refused a step; trying it again later");
                VclError { file: name.clone(), line: None, message: refusal.trim().to_owned() }
            }
        };
        self.failures.record(step, error, Instant::now());
    }

    /// Asks what is loaded, and tells everyone.
    async fn list(&mut self) -> Result<Vec<LoadedVcl>, ServingError> {
        let loaded = listing::parse(&self.request("vcl.list -j", COMMAND_LIMIT).await?)?;
        self.publish(&loaded);
        Ok(loaded)
    }

    fn publish(&mut self, loaded: &[LoadedVcl]) {
        let wanted = &self.bundle.manifest;
        if in_force(loaded, wanted) {
            self.good = Some(wanted.clone());
            self.listen(|_| sockets::relayed(&self.own, wanted));
        }
        let good = self.good.as_ref().filter(|good| self.child.runs() && in_force(loaded, good));
        let not_ready = not_ready(loaded, self.child.runs());
        self.context.board.update(|status| {
            status.state = if not_ready.is_none() { State::Serving } else { State::Starting };
            status.varnish_not_ready = not_ready;
            status.in_force = good.map(|manifest| manifest.revision.clone());
            status.vcls = state::vcls(loaded, wanted, &self.failures);
        });
    }

    fn is_in_force(&self, loaded: &[LoadedVcl]) -> bool {
        self.child.runs() && in_force(loaded, &self.bundle.manifest)
    }

    /// Tells once that the bundle is in force.
    fn note_success(&self, loaded: &[LoadedVcl], done: &Done) {
        if self.is_in_force(loaded) && self.context.saver.note(&self.given) {
            let took = self.arrived.elapsed();
            let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            info!(
                revision = self.bundle.manifest.revision,
                loaded = done.loaded,
                ms,
                "the bundle is in force"
            );
            self.context.metrics.reloaded(took);
        }
    }

    /// Tells that no more can be done now.
    fn conclude(&self, loaded: &[LoadedVcl], done: &Done) {
        if !self.is_in_force(loaded) && !self.has_newer_bundle() {
            let revision = self.bundle.manifest.revision.clone();
            self.context.board.update(|status| status.failed_revision = Some(revision));
        }
        if done.failed > 0 {
            self.context.metrics.reload_failed();
        }
    }

    /// Gives varnishd a command.
    ///
    /// # Errors
    /// When it refuses, cannot be reached, or ends meanwhile.
    pub async fn request(&mut self, command: &str, limit: Duration) -> Result<String, ServingError> {
        let ended = tokio::select! {
            biased;
            ended = self.process.wait() => ended,
            answer = self.link.request(command, limit) => return Ok(answer?),
        };
        Err(self.exited(ended).await)
    }

    /// The next thing that varnishd does of its own accord, as long as it lives.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn happening(&mut self) -> Result<super::varnishd::log::Event, ServingError> {
        match self.process.next().await {
            Happening::Event(event) => Ok(event),
            Happening::Ended(ended) => Err(self.exited(ended).await),
        }
    }

    /// Waits for its end, which is asked for.
    ///
    /// # Errors
    /// When it does not come in time, or not cleanly.
    pub(super) async fn ended_within(&mut self, limit: Duration) -> Result<(), ServingError> {
        match timeout(limit, self.process.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(ended) => Err(self.exited(ended).await),
            Err(_) => Err(ServingError::Lingers(limit)),
        }
    }

    async fn exited(&mut self, ended: io::Result<ExitStatus>) -> ServingError {
        let how = ended.map_or_else(|error| error.to_string(), |status| status.to_string());
        let said = self.process.last_errors().await;
        ServingError::Exited { how, said: if said.is_empty() { "it did not say why".into() } else { said } }
    }
}
