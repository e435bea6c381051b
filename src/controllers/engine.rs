//! The one place where all comes together: what the watches see becomes data planes and statuses.
//!
//! ```text
//! watches → world → translate → models → render → data planes → pods
//!                       └→ report ┐                    │
//!                                 └→ statuses → outbox ◀ acknowledgements
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::sleep;
use tracing::warn;

use super::data_planes::{DataPlanes, Told};
use super::metrics::Metrics;
use super::outbox::Outbox;
use super::readiness::Readiness;
use super::watches::Seen;
use super::world::{Effect, World};
use super::writer::{self, Writer, Wrote};
use crate::snapshot::{Kind, ObjectId, ObjectKey};
use crate::status;
use crate::translate::report::BackendTlsPolicyReport;
use crate::translate::{Report, Settings, Translator};

/// Changes that come within this time of the last translation are taken together.
const BURST: Duration = Duration::from_millis(20);
/// As long as many come at once that time doubles, up to this: what is published meanwhile would be outdated before
/// pods have loaded it.
const LONGEST_BURST: Duration = Duration::from_millis(640);
/// So many changes for one translation are many.
const MANY: u32 = 4;
/// How long the engine sleeps at most.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Something that the engine has to deal with.
#[derive(Debug)]
pub enum Input {
    /// A watch has seen something.
    Seen(Seen),
    /// A data plane has told something.
    Told(ObjectKey, Told),
    /// A status has been written.
    Wrote(Box<Wrote>),
    /// This operator holds the lease: from now on it may write.
    Leads,
}

/// The state of the operator.
pub struct Engine {
    writer: Writer,
    inputs: UnboundedSender<Input>,
    settings: Settings,
    world: World,
    readiness: Readiness,
    translator: Translator,
    planes: DataPlanes,
    report: Report,
    outbox: Outbox,
    metrics: Arc<Metrics>,
    start: Instant,
    /// When the last translation began.
    translated: Option<Duration>,
    /// How long after it the next one may begin.
    burst: Duration,
    /// When the statuses of Gateways may have to say something else without anything having happened.
    turns: Option<Duration>,
    /// Whether we may write.
    leads: bool,
    /// What has to be done again.
    stale: Stale,
}

/// What follows from what has changed.
#[derive(Debug, Default)]
struct Stale {
    translation: bool,
    /// Changes since the last translation.
    changes: u32,
    /// Statuses of classes, Gateways and ListenerSets.
    parents: bool,
    /// Routes and BackendTLSPolicies that may have entries of ours without being ours.
    entries: BTreeSet<ObjectId>,
}

impl Engine {
    /// An engine that has seen nothing yet.
    #[must_use]
    pub fn new(
        writer: Writer,
        settings: Settings,
        planes: DataPlanes,
        readiness: Readiness,
        metrics: Arc<Metrics>,
        inputs: UnboundedSender<Input>,
    ) -> Self {
        Self {
            writer,
            inputs,
            outbox: Outbox::new(&settings.controller_name),
            settings,
            world: World::default(),
            readiness,
            translator: Translator::default(),
            planes,
            report: Report::default(),
            metrics,
            start: Instant::now(),
            translated: None,
            burst: BURST,
            turns: None,
            leads: false,
            stale: Stale { translation: true, ..Stale::default() },
        }
    }

    /// Works until there is nobody left who could tell anything.
    pub async fn run(mut self, mut inputs: UnboundedReceiver<Input>) {
        loop {
            let pause = self.pause();
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(input) => self.take(input),
                    None => return,
                },
                () = sleep(pause) => {}
            }
            while let Ok(input) = inputs.try_recv() {
                self.take(input);
            }
            if self.leads && self.readiness.is_ready() {
                self.work();
            }
        }
    }

    /// Until when nothing happens unless an input comes.
    fn pause(&self) -> Duration {
        let now = self.now();
        let burst_ends = self.translated.filter(|_| self.stale.translation).map(|time| time + self.burst);
        let times = [burst_ends, self.outbox.next_due(), self.turns];
        times.into_iter().flatten().min().map_or(LONGEST_PAUSE, |time| time.saturating_sub(now))
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Seen(seen) => self.see(seen),
            Input::Told(gateway, told) => {
                let generation = self.report.gateways.get(&gateway).and_then(|it| it.generation);
                self.planes.told(&gateway, told, generation);
                self.stale.parents = true;
            }
            Input::Wrote(wrote) => self.wrote(&wrote),
            Input::Leads => {
                self.leads = true;
                self.metrics.leading(true);
            }
        }
    }

    fn see(&mut self, seen: Seen) {
        let effect = match seen {
            Seen::Applied(source, object) => self.world.applied(source, *object).unwrap_or_else(|error| {
                warn!(
                    error = &error as &dyn Error,
                    "an object cannot be read; what was known of it stays in force"
                );
                Effect::default()
            }),
            Seen::Deleted(source, object) => self.world.deleted(source, &object),
            Seen::Restarted(source) => {
                self.world.restarted(source);
                Effect::default()
            }
            Seen::Listed(source) => {
                self.readiness.listed(source);
                self.world.listed(source)
            }
        };
        self.follow(effect);
    }

    /// Does what follows from a change at once, and notes the rest.
    fn follow(&mut self, effect: Effect) {
        let Effect { inputs, live, lost, pods } = effect;
        self.stale.translation |= inputs;
        self.stale.changes += u32::from(inputs);
        for id in live {
            self.outbox.look_again(&id);
            if matches!(id.kind, Kind::HttpRoute | Kind::TlsRoute | Kind::BackendTlsPolicy) {
                self.stale.entries.insert(id);
            }
        }
        for gateway in lost {
            self.planes.lost(&gateway);
        }
        for gateway in pods {
            self.planes.pods(&gateway, self.world.pods(&gateway).cloned().collect());
        }
    }

    fn wrote(&mut self, wrote: &Wrote) {
        if let Some(object) = &wrote.object {
            self.world.wrote(&wrote.job, object);
        }
        let version = wrote.object.as_ref().and_then(|it| it.metadata.resource_version.clone());
        self.metrics.status_written(wrote.job.id.kind, wrote.outcome);
        self.outbox.ended(&wrote.job, wrote.outcome, version, self.now());
    }

    fn work(&mut self) {
        let now = self.now();
        self.stale.parents |= self.turns.is_some_and(|time| time <= now);
        if self.stale.translation && self.translated.is_none_or(|time| time + self.burst <= now) {
            self.translate(now);
        }
        if std::mem::take(&mut self.stale.parents) {
            self.say_parents(now);
        }
        for id in std::mem::take(&mut self.stale.entries) {
            self.say_nothing_of(id);
        }
        for job in self.outbox.take(now, |id| self.world.live(id)) {
            tokio::spawn(writer::write(self.writer.clone(), job, self.inputs.clone()));
        }
    }

    fn translate(&mut self, now: Duration) {
        let many = std::mem::take(&mut self.stale.changes) >= MANY;
        self.burst = if many { (self.burst * 2).min(LONGEST_BURST) } else { BURST };
        (self.translated, self.stale.translation, self.stale.parents) = (Some(now), false, true);
        let begin = Instant::now();
        let translation = self.translator.translate(self.world.snapshot(), &self.settings);
        let translated = begin.elapsed();
        self.planes.update(&translation, &self.world, now);
        self.metrics.translated(translated, begin.elapsed().saturating_sub(translated));
        self.metrics.planes(self.planes.count());
        let before = std::mem::replace(&mut self.report, translation.report);
        self.say_routes(&before);
        self.say_backend_tls_policies(&before.backend_tls_policies);
    }

    /// Wants the statuses of the routes of which something else is to be said than before.
    fn say_routes(&mut self, before: &Report) {
        let time = Time(Timestamp::now());
        for kind in [Kind::HttpRoute, Kind::TlsRoute] {
            let (before, now) = (before.routes_of(kind), self.report.routes_of(kind));
            for (key, report) in now.iter().filter(|(key, report)| before.get(*key) != Some(*report)) {
                let status = status::route(report, &self.settings, &time);
                self.outbox.want(ObjectId { kind, key: key.clone() }, json(&status));
            }
            let gone = before.keys().filter(|key| !now.contains_key(*key));
            self.stale.entries.extend(gone.map(|key| ObjectId { kind, key: key.clone() }));
        }
    }

    /// Wants the statuses of the BackendTLSPolicies of which something else is to be said than before.
    fn say_backend_tls_policies(&mut self, before: &BTreeMap<ObjectKey, BackendTlsPolicyReport>) {
        let time = Time(Timestamp::now());
        let id = |key: &ObjectKey| ObjectId { kind: Kind::BackendTlsPolicy, key: key.clone() };
        for (key, report) in &self.report.backend_tls_policies {
            if before.get(key) != Some(report) {
                let status = status::backend_tls_policy(report, &self.settings, &time);
                self.outbox.want(id(key), json(&status));
            }
        }
        let gone = before.keys().filter(|key| !self.report.backend_tls_policies.contains_key(*key));
        self.stale.entries.extend(gone.map(id));
    }

    /// Takes our entries out of the status of a route or policy that is not ours (any more).
    fn say_nothing_of(&mut self, id: ObjectId) {
        let (ours, nothing) = match id.kind {
            Kind::BackendTlsPolicy => {
                (self.report.backend_tls_policies.contains_key(&id.key), json!({"ancestors": []}))
            }
            kind => (self.report.routes_of(kind).contains_key(&id.key), json!({"parents": []})),
        };
        if ours {
            return;
        }
        let status = self.world.live(&id).and_then(|live| live.status.as_ref());
        if status.is_some_and(|status| status::is_ours(status, &self.settings.controller_name)) {
            self.outbox.want(id, nothing);
        } else {
            self.outbox.forget(&id);
        }
    }

    /// Wants the statuses of everything but routes and the policies of their backends.
    fn say_parents(&mut self, now: Duration) {
        self.turns = self.planes.next_change(now);
        let context = self.planes.context(&self.report, &self.world, now, Time(Timestamp::now()));
        let statuses = status::parents(&self.report, &self.settings, &context);
        let classes = statuses.classes.iter().map(|(key, it)| (Kind::GatewayClass, key, json(it)));
        let gateways = statuses.gateways.iter().map(|(key, it)| (Kind::Gateway, key, json(it)));
        let sets = statuses.listener_sets.iter().map(|(key, it)| (Kind::ListenerSet, key, json(it)));
        let policies = &statuses.logging_policies;
        let policies = policies.iter().map(|(key, it)| (Kind::VarnishLoggingPolicy, key, json(it)));
        for (kind, key, status) in classes.chain(gateways).chain(sets).chain(policies) {
            self.outbox.want(ObjectId { kind, key: key.clone() }, status);
        }
    }

    /// Time since the start.
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A status is plain data, which always has a JSON form.
fn json(status: &impl Serialize) -> Value {
    serde_json::to_value(status).unwrap_or_default()
}
