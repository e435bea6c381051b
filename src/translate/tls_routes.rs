//! TLSRoutes: the connections for which server names go to which endpoints, past Varnish.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Counts;
use super::attachment::{Attached, Candidate};
use super::backends::Backends;
use super::listeners::{Parent, by_age};
use super::report::{ParentReport, RefProblem, Report, RouteAccepted};
use super::rules::weight;
use super::virtual_hosts::Collectors;
use crate::model::{HostPattern, Share};
use crate::snapshot::{BackendRef, ParentRef, Snapshot, TlsRoute};

/// What a TLSRoute comes to, wherever it is attached.
#[derive(Default)]
struct Read {
    shares: Arc<[Share]>,
    /// Why it cannot be served.
    problem: Option<String>,
    unresolved: Option<RefProblem>,
    notes: Vec<String>,
}

/// Attaches all TLSRoutes, collects and counts them, and says what is to be said of them. The older one has a name that
/// several want.
pub(super) fn translate<'a>(
    snapshot: &Snapshot,
    backends: &Backends,
    parents: &'a [Parent],
    (collectors, counts): (&mut Collectors<'a>, &mut Counts),
    report: &mut Report,
) {
    let routes = snapshot.tls_routes.iter().map(|(key, it)| (key, it.as_ref(), &it.metadata));
    for (key, route) in by_age(routes) {
        let candidate = Candidate::tls(key, route);
        let attached = Attached::new(candidate, parents, snapshot);
        if attached.is_to_nothing_of_ours() {
            continue;
        }
        let read = read(&key.namespace, route, backends);
        for at in attached.listeners() {
            if read.problem.is_none() {
                *counts.entry(at.place).or_default() += 1;
            }
            if let Some(collector) = collectors.get_mut(&at.parent.plane) {
                collector.pass(at.listener, at.hosts, &read.shares);
            }
        }
        let report_of = |parent, accepted: &RouteAccepted| read.report(parent, accepted);
        report.tls_routes.insert(key.clone(), attached.report(candidate, report_of));
    }
}

fn read(namespace: &str, route: &TlsRoute, backends: &Backends) -> Read {
    let mut read = Read::default();
    for it in route.spec.hostnames.iter().filter(|it| HostPattern::parse(it).is_err()) {
        read.notes.push(format!("hostnames: {it:?} is not a host name and is left out"));
    }
    if route.spec.rules.len() > 1 {
        read.notes.push("rules after the first are left out: nothing tells them apart".into());
    }
    let Some(rule) = route.spec.rules.first() else { return read };
    match &rule.0 {
        Ok(rule) => read.shares(namespace, &rule.backend_refs, backends),
        Err(error) => read.problem = Some(error.clone()),
    }
    read
}

impl Read {
    /// What does not resolve keeps its part, and has no endpoints (Gateway API, `TLSRouteRule.backendRefs`).
    fn shares(&mut self, namespace: &str, references: &[BackendRef], backends: &Backends) {
        let mut shares = Vec::new();
        for it in references {
            let endpoints = backends.endpoints_of(namespace, it).unwrap_or_else(|problem| {
                self.unresolved.get_or_insert(problem);
                BTreeSet::new()
            });
            match weight(it) {
                Ok(0) => {}
                Ok(weight) => shares.push(Share { weight, endpoints }),
                Err(problem) => drop(self.problem.get_or_insert_with(|| problem.to_string())),
            }
        }
        if self.problem.is_none() {
            self.shares = shares.into();
        }
    }

    fn report(&self, parent: ParentRef, accepted: &RouteAccepted) -> ParentReport {
        let accepted = match &self.problem {
            Some(problem) if *accepted == RouteAccepted::Yes => {
                RouteAccepted::UnsupportedValue(format!("rule 0: {problem}"))
            }
            _ => accepted.clone(),
        };
        let (unresolved, notes) = (self.unresolved.clone(), self.notes.clone());
        ParentReport { parent, accepted, unresolved, dropped: Vec::new(), notes }
    }
}
