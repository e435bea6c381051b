//! Reads routes, and remembers what it read last.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Settings;
use super::backends::{Backends, Resolved};
use super::rules::{Rules, references, rules};
use crate::model::ObjectKey;
use crate::snapshot::HttpRoute;

/// What is known of routes, by the public port of their listeners.
pub(super) type KnownRoutes = BTreeMap<(ObjectKey, u16), Known>;

/// A route's rules, and what they were read from.
#[derive(Clone, Debug)]
pub(super) struct Known {
    route: Arc<HttpRoute>,
    resolved: Vec<Resolved>,
    rules: Arc<Rules>,
}

/// Reads the routes of one translation.
pub(super) struct Reader<'a> {
    backends: Backends<'a>,
    settings: &'a Settings,
    known: KnownRoutes,
    read: KnownRoutes,
}

impl<'a> Reader<'a> {
    /// A reader that need not read again what is known.
    pub(super) fn new(backends: Backends<'a>, settings: &'a Settings, known: KnownRoutes) -> Self {
        Self { backends, settings, known, read: KnownRoutes::new() }
    }

    /// A route's rules for listeners on a port.
    pub(super) fn rules(&mut self, key: &ObjectKey, route: &Arc<HttpRoute>, port: u16) -> Arc<Rules> {
        let public_port = port.saturating_add(self.settings.port_offset);
        let references = route.spec.rules.iter().flat_map(references);
        let resolved: Vec<_> = references.map(|it| self.backends.resolve(&key.namespace, it)).collect();
        let place = (key.clone(), public_port);
        let same = |it: &Known| Arc::ptr_eq(&it.route, route) && it.resolved == resolved;
        let known = self.known.remove(&place).filter(same).unwrap_or_else(|| Known {
            route: route.clone(),
            rules: Arc::new(rules(key, route, public_port, &resolved)),
            resolved,
        });
        let rules = known.rules.clone();
        self.read.insert(place, known);
        rules
    }

    /// All that is known now.
    pub(super) fn finish(self) -> KnownRoutes {
        self.read
    }
}
