//! Reads routes, and remembers what it read last.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Settings;
use super::backends::{Backends, SlicesByService, named};
use super::dirty::Dirty;
use super::listeners::Entrance;
use super::rules::{Rules, references, rules};
use crate::model::ObjectKey;
use crate::snapshot::{HttpRoute, Snapshot};

/// What is known from the last translation.
#[derive(Debug, Default)]
pub(super) struct Known {
    snapshot: Snapshot,
    slices: SlicesByService,
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
        let backends = Backends::new(snapshot, slices);
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
        KnownRoute {
            route: route.clone(),
            services: references.into_iter().map(|it| named(&key.namespace, it)).collect(),
            rules: Arc::new(rules(key, route, public, &resolved)),
        }
    }

    /// All that is known now.
    pub(super) fn finish(self) -> Known {
        Known { snapshot: self.snapshot.clone(), slices: self.backends.slices, routes: self.read }
    }
}
