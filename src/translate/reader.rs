//! Reads routes, and remembers what it read last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Settings;
use super::backend_tls::{Ancestors, BackendTlsPolicies};
use super::backends::{Backends, Resolved, SlicesByService, named};
use super::dirty::Dirty;
use super::listeners::Entrance;
use super::report::{BackendTlsPolicyReport, RefProblem};
use super::rules::{Rules, references, rules};
use crate::model::ObjectKey;
use crate::snapshot::{HttpRoute, Snapshot};

/// What is known from the last translation.
#[derive(Debug, Default)]
pub(super) struct Known {
    snapshot: Snapshot,
    slices: SlicesByService,
    policies: BackendTlsPolicies,
    /// Routes by where clients of their listeners connect.
    routes: BTreeMap<(ObjectKey, Entrance), KnownRoute>,
}

/// A route's rules, and what they were read from.
#[derive(Debug)]
struct KnownRoute {
    route: Arc<HttpRoute>,
    services: BTreeSet<ObjectKey>,
    rules: Arc<Rules>,
}

/// Reads the routes of one translation.
pub(super) struct Reader<'a> {
    snapshot: &'a Snapshot,
    pub(super) backends: Backends<'a>,
    settings: &'a Settings,
    dirty: Dirty,
    known: BTreeMap<(ObjectKey, Entrance), KnownRoute>,
    read: BTreeMap<(ObjectKey, Entrance), KnownRoute>,
}

impl<'a> Reader<'a> {
    /// A reader that need not read again what is known and means the same.
    pub(super) fn new(snapshot: &'a Snapshot, settings: &'a Settings, known: Known) -> Self {
        let dirty = Dirty::between(&known.snapshot, snapshot);
        let same = Arc::ptr_eq(&known.snapshot.endpoint_slices, &snapshot.endpoint_slices);
        let slices = if same { known.slices } else { SlicesByService::new() };
        let policies = known.policies.renewed(&known.snapshot, snapshot);
        let backends = Backends::new(snapshot, slices, policies);
        Self { snapshot, backends, settings, dirty, known: known.routes, read: BTreeMap::new() }
    }

    /// A route's rules for listeners on a port.
    pub(super) fn rules(&mut self, key: &ObjectKey, route: &Arc<HttpRoute>, at: Entrance) -> Arc<Rules> {
        let public = Entrance { port: at.port.saturating_add(self.settings.port_offset), ..at };
        let place = (key.clone(), public);
        let same = |it: &KnownRoute| Arc::ptr_eq(&it.route, route) && self.dirty.spares(&it.services);
        let known = self.known.remove(&place).filter(same);
        let known = known.unwrap_or_else(|| self.read(key, route, public));
        let rules = known.rules.clone();
        self.read.insert(place, known);
        rules
    }

    fn read(&self, key: &ObjectKey, route: &Arc<HttpRoute>, public: Entrance) -> KnownRoute {
        let references: Vec<_> = route.spec.rules.iter().flat_map(references).collect();
        let resolved: Vec<_> =
            references.iter().map(|it| self.backends.resolve(&key.namespace, it)).collect();
        let services: Vec<_> = references.iter().map(|it| named(&key.namespace, it)).collect();
        let secured = services.iter().zip(&resolved).filter(|(service, it)| self.is_secured(service, it));
        let secured = secured.map(|(service, _)| service.clone()).collect();
        let rules = Rules { secured, ..rules(key, route, public, &resolved) };
        KnownRoute { route: route.clone(), services: services.into_iter().collect(), rules: Arc::new(rules) }
    }

    /// Whether there is a policy for a Service that a reference means.
    fn is_secured(&self, service: &ObjectKey, it: &Resolved) -> bool {
        let foreign = matches!(it, Err(RefProblem::RefNotPermitted(_) | RefProblem::InvalidKind(_)));
        !foreign && self.backends.policies.concern(service)
    }

    /// What is to be said of the policies of Services, given the Gateways that have routes to them.
    pub(super) fn report(&self, ancestors: &Ancestors) -> BTreeMap<ObjectKey, BackendTlsPolicyReport> {
        self.backends.policies.report(self.snapshot, ancestors)
    }

    /// All that is known now.
    pub(super) fn finish(self) -> Known {
        let Backends { slices, policies, .. } = self.backends;
        Known { snapshot: self.snapshot.clone(), slices, policies, routes: self.read }
    }
}
