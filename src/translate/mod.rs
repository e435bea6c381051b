//! Gateway API resources to what the gateway must do ([`Model`]) and what is to be said of it ([`Report`]).
//!
//! The pipeline, a module a step: `listeners` finds Gateways, ListenerSets and their listeners (with `conflicts`, and
//! `tls`, `certificates` and, for what clients have to show, `clients` and `authorities` for those that speak HTTPS); `attachment`
//! decides which of them a route is attached to; `rules` (with `matches`, `filters`, `backends`) reads the route;
//! `backend_tls` (with `authorities`) and `client_certificate` find how backends are spoken to by TLS;
//! `virtual_hosts` puts routes and listeners together, and `tls_routes` those that go past Varnish. `parameters` (with
//! `merge`) and `logging` find what holds for a
//! Gateway's data plane, and `data_plane` is what comes of it.

mod attachment;
mod authorities;
mod backend_tls;
mod backends;
mod certificates;
mod client_certificate;
mod clients;
mod config_maps;
mod conflicts;
pub mod data_plane;
mod dirty;
mod filters;
mod grants;
mod listeners;
mod logging;
mod matches;
mod merge;
mod mirrors;
mod namespaces;
mod parameters;
mod reader;
mod remembered;
pub mod report;
mod rules;
mod tls;
mod tls_routes;
mod virtual_hosts;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

use attachment::{Attached, Candidate};
use backend_tls::Ancestors;
use certificates::{Certificates, KnownCertificates};
pub use config_maps::names_config_map;
use data_plane::{DataPlane, Planes};
use filters::RuleProblem;
use listeners::{Entrance, Parent};
use logging::{KnownPolicies, Policies};
use parameters::{KnownParameters, Parameters};
use reader::{Known, Reader};
pub use report::Report;
use report::{ParentReport, RouteAccepted};
pub use rules::MAX_RETRIES;
use rules::Rules;
use virtual_hosts::{Collectors, collectors};

use crate::bundle::logging::Logging;
use crate::model::{Model, ObjectKey, Scheme};
use crate::snapshot::{HttpRoute, ParentRef, Snapshot};

/// The `controllerName` of GatewayClasses that are Copal's.
pub const CONTROLLER_NAME: &str = "copal.dev/gateway-controller";

/// What the translation depends on besides the resources.
#[derive(Clone, Debug)]
pub struct Settings {
    /// GatewayClasses with this `spec.controllerName` are ours.
    pub controller_name: String,
    /// Added to each listener's port where clients connect (standalone): redirects name the sum.
    pub port_offset: u16,
    /// Which Gateways share a data plane.
    pub addressing: Addressing,
    /// Ports that a data plane needs for itself.
    pub reserved_ports: RangeInclusive<u16>,
}

/// Which Gateways share a data plane, and with it an address and its ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// All do (standalone).
    Shared,
    /// None do: each has its own (in a cluster).
    PerGateway,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            controller_name: CONTROLLER_NAME.into(),
            port_offset: 0,
            addressing: Addressing::Shared,
            reserved_ports: RangeInclusive::new(1, 0),
        }
    }
}

/// Models and report of one snapshot.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    /// What each data plane must do, by the Gateway that it serves. A Gateway that is not accepted has none. With
    /// [`Addressing::Shared`] there is one, under the default key.
    pub models: BTreeMap<ObjectKey, Model>,
    /// What each data plane is, by its Gateway. With [`Addressing::Shared`] there is one, under the default key; of
    /// its fields only ports and logging count.
    pub planes: BTreeMap<ObjectKey, DataPlane>,
    /// What is to be said about each object.
    pub report: Report,
}

impl Translation {
    /// The model of the one data plane that all Gateways share, with [`Addressing::Shared`].
    #[must_use]
    pub fn shared_model(&self) -> &Model {
        static NOTHING: Model = Model {
            ports: BTreeMap::new(),
            tls: BTreeMap::new(),
            passthrough: BTreeMap::new(),
            plain: BTreeMap::new(),
            client_certificate: None,
            user_vcl: None,
            logs: false,
        };
        self.models.get(&ObjectKey::default()).unwrap_or(&NOTHING)
    }

    /// The access log of the one data plane that all Gateways share, with [`Addressing::Shared`].
    #[must_use]
    pub fn shared_logging(&self) -> Option<&Logging> {
        self.planes.get(&ObjectKey::default())?.logging.as_ref()
    }
}

/// Translates all Gateways of our classes. Total and pure: a user's mistake becomes data in both results.
#[must_use]
pub fn translate(snapshot: &Snapshot, settings: &Settings) -> Translation {
    Translator::default().translate(snapshot, settings)
}

/// Translates again and again. It remembers what it read last: a route that is the same, and whose references mean
/// the same, is not read again.
#[derive(Debug, Default)]
pub struct Translator {
    known: Known,
    certificates: KnownCertificates,
    parameters: KnownParameters,
    policies: KnownPolicies,
}

impl Translator {
    /// As [`translate`]: the result is the same whatever was translated before.
    pub fn translate(&mut self, snapshot: &Snapshot, settings: &Settings) -> Translation {
        let Self { known, certificates, mut parameters, mut policies } = std::mem::take(self);
        let mut reader = Reader::new(snapshot, settings, known);
        let mut certificates = Certificates::new(snapshot, certificates);
        let mut report = Report::default();
        let read = Parameters::new(snapshot, settings, &mut parameters);
        let parents = listeners::parents(snapshot, settings, &mut certificates, &read, &mut report);
        let attached = Policies::new(snapshot, &mut policies, &mut report);
        let planes = Planes { snapshot, settings, parents: &parents, parameters: &read, policies: &attached };
        let translation = translate_with(&mut reader, &planes, report);
        *self = Self {
            known: reader.finish(),
            certificates: certificates.finish(),
            parameters: parameters.turned(),
            policies: policies.turned(),
        };
        translation
    }
}

fn translate_with(reader: &mut Reader, planes: &Planes, mut report: Report) -> Translation {
    let Planes { snapshot, settings, parents, .. } = planes;
    let mut collectors = collectors(parents, settings.addressing);
    let mut counts = Counts::default();
    let mut ancestors = Ancestors::default();
    for (key, route) in snapshot.http_routes.iter() {
        let candidate = Candidate::http(key, route);
        let attached = Attached::new(candidate, parents, snapshot);
        if attached.is_to_nothing_of_ours() {
            continue;
        }
        let read = rules(key, route, &attached, reader);
        collect(&attached, &read, &mut collectors, &mut counts);
        reach(&attached, &read, &mut ancestors);
        let parent = |parent, accepted: &RouteAccepted| report_parent(parent, accepted, &read);
        report.routes.insert(key.clone(), attached.report(candidate, parent));
    }
    report.backend_tls_policies = reader.report(&ancestors);
    let collected = (&mut collectors, &mut counts);
    tls_routes::translate(snapshot, &reader.backends, parents, collected, &mut report);
    let all = planes.all();
    let models = collectors.into_iter().map(|(plane, it)| {
        let user_vcl = planes.user_vcl(&plane).cloned();
        let logs = all.get(&plane).is_some_and(|it| it.logging.is_some());
        let client_certificate = planes.client_certificate(&plane).cloned();
        (plane, Model { client_certificate, user_vcl, logs, ..it.finish() })
    });
    let (models, planes) = (models.collect(), all);
    report_listeners(&mut report, parents, &counts);
    Translation { models, planes, report }
}

/// Numbers of attached routes, by the places of parent and listener.
type Counts = BTreeMap<(usize, usize), i32>;

/// A route's rules by where requests come in.
type ByEntrance = BTreeMap<Entrance, Arc<Rules>>;

/// An HTTPRoute's rules for each port that it is attached on, at least for one: redirects name port and scheme.
fn rules(key: &ObjectKey, route: &Arc<HttpRoute>, attached: &Attached, reader: &mut Reader) -> ByEntrance {
    let listeners = attached.listeners();
    let mut entrances: BTreeSet<Entrance> =
        listeners.iter().filter_map(|at| at.listener.entrance()).collect();
    if entrances.is_empty() {
        entrances.insert(Entrance { scheme: Scheme::Http, port: 80 });
    }
    entrances.into_iter().map(|at| (at, reader.rules(key, route, at))).collect()
}

/// Adds an HTTPRoute to the virtual hosts of its listeners, and counts it where it is accepted.
fn collect<'a>(
    attached: &Attached<'a>,
    read: &ByEntrance,
    collectors: &mut Collectors<'a>,
    counts: &mut Counts,
) {
    for at in attached.listeners() {
        if read.values().any(|rules| rules.any_valid) {
            *counts.entry(at.place).or_default() += 1;
        }
        let rules = at.listener.entrance().and_then(|entrance| read.get(&entrance));
        if let Some((rules, collector)) = rules.zip(collectors.get_mut(&at.parent.plane)) {
            collector.add(at.listener, at.hosts, &rules.matches);
        }
    }
}

/// Notes the Gateways from which Services with a policy are reached.
fn reach(attached: &Attached, read: &ByEntrance, ancestors: &mut Ancestors) {
    for service in read.values().next().into_iter().flat_map(|rules| &rules.secured) {
        let gateways = attached.listeners().into_iter().map(|at| at.parent.gateway.clone());
        ancestors.entry(service.clone()).or_default().extend(gateways);
    }
}

/// What one parent makes of an HTTPRoute. What is wrong with it does not depend on the port.
fn report_parent(parent: ParentRef, attachment: &RouteAccepted, read: &ByEntrance) -> ParentReport {
    let rules = read.values().next();
    let accepted = rules.map_or_else(|| attachment.clone(), |it| accepted(attachment, it));
    let unresolved = rules.and_then(|it| it.unresolved.clone());
    let dropped = rules.into_iter().flat_map(|it| it.problems.iter());
    let dropped = dropped.map(|(index, problem)| format!("rule {index}: {problem}")).collect();
    let notes = rules.map(|it| it.notes.clone()).unwrap_or_default();
    ParentReport { parent, accepted, unresolved, dropped, notes }
}

/// A route that is attached but has no rule that can be served is not accepted.
fn accepted(attachment: &RouteAccepted, rules: &Rules) -> RouteAccepted {
    match rules.problems.first() {
        Some((index, problem)) if *attachment == RouteAccepted::Yes && !rules.any_valid => match problem {
            RuleProblem::Unsupported(message) => {
                RouteAccepted::UnsupportedValue(format!("rule {index}: {message}"))
            }
            RuleProblem::Incompatible(message) => {
                RouteAccepted::IncompatibleFilters(format!("rule {index}: {message}"))
            }
        },
        _ => attachment.clone(),
    }
}

fn report_listeners(report: &mut Report, parents: &[Parent], counts: &Counts) {
    for (place, parent) in parents.iter().enumerate() {
        let listeners = parent.listeners.iter().enumerate().map(|(index, listener)| {
            let attached_routes = counts.get(&(place, index)).copied().unwrap_or_default();
            report::ListenerReport { attached_routes, ..listener.report.clone() }
        });
        let listeners = listeners.collect();
        if let ("Gateway", Some(it)) = (parent.kind, report.gateways.get_mut(&parent.key)) {
            it.listeners = listeners;
        } else if let Some(it) = report.listener_sets.get_mut(&parent.key) {
            it.listeners = listeners;
        }
    }
    for set in report.listener_sets.values().filter(|it| it.problem.is_none()) {
        if let Some(gateway) = report.gateways.get_mut(&set.gateway) {
            gateway.attached_listener_sets +=
                i32::from(set.listeners.iter().any(report::ListenerReport::is_usable));
        }
    }
}
