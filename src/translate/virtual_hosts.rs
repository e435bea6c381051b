//! Listeners and attached routes to virtual hosts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Addressing;
use super::listeners::{Entrance, Listener, Parent};
use crate::model::{
    HostPattern, ListenerId, Model, ObjectKey, RouteMatch, Share, Streams, TlsPort, VirtualHost, VirtualHosts,
};

/// A virtual host's listener and its matches so far.
type Collected<'a> = (&'a ListenerId, Vec<Arc<RouteMatch>>);

/// What is collected, by data plane.
pub(super) type Collectors<'a> = BTreeMap<ObjectKey, Collector<'a>>;

/// A collector for each data plane.
pub(super) fn collectors(parents: &[Parent], addressing: Addressing) -> Collectors<'_> {
    let mut planes: BTreeMap<ObjectKey, Vec<&Parent>> = BTreeMap::new();
    if addressing == Addressing::Shared {
        planes.entry(ObjectKey::default()).or_default();
    }
    for parent in parents.iter().filter(|parent| parent.served) {
        planes.entry(parent.plane.clone()).or_default().push(parent);
    }
    planes.into_iter().map(|(plane, parents)| (plane, Collector::new(&parents))).collect()
}

/// Collects the virtual hosts of all ports of a data plane, and what goes past Varnish there.
#[derive(Default)]
pub(super) struct Collector<'a> {
    ports: BTreeMap<u16, BTreeMap<&'a HostPattern, &'a Listener>>,
    hosts: BTreeMap<u16, BTreeMap<HostPattern, Collected<'a>>>,
    tls: BTreeMap<u16, TlsPort>,
    passthrough: BTreeMap<u16, Streams>,
    plain: BTreeMap<u16, Streams>,
}

impl<'a> Collector<'a> {
    /// Begins with an empty virtual host for each valid listener: its hosts belong to it, and to no less
    /// specific listener, even if no route answers for them.
    fn new(parents: &[&'a Parent]) -> Self {
        let mut collector = Self::default();
        for listener in parents.iter().flat_map(|parent| &parent.listeners) {
            let Some(port) = listener.served_port() else { continue };
            if listener.terminates_tls() {
                let tls = collector.tls.entry(port).or_default();
                tls.certificates.insert(listener.hostname.clone(), listener.certificates.clone());
                tls.clients.clone_from(&listener.clients);
            }
            collector.ports.entry(port).or_default().insert(&listener.hostname, listener);
            let hosts = collector.hosts.entry(port).or_default();
            hosts.insert(listener.hostname.clone(), (&listener.id, Vec::new()));
        }
        collector
    }

    /// Adds a route's matches on a listener's port and these hosts, as far as the listener has them.
    pub(super) fn add(&mut self, listener: &'a Listener, hosts: &[HostPattern], matches: &[Arc<RouteMatch>]) {
        let Some(Entrance { port, .. }) = listener.entrance() else { return };
        let Some(listeners) = self.ports.get(&port) else { return };
        let all = self.hosts.entry(port).or_default();
        for host in owned(listener, hosts, listeners) {
            let (_, known) = all.entry(host.clone()).or_insert_with(|| (&listener.id, Vec::new()));
            known.extend_from_slice(matches);
        }
    }

    /// Leads the connections for these server names past Varnish, as far as a listener has them and no route has been there
    /// before.
    pub(super) fn pass(&mut self, listener: &Listener, names: &[HostPattern], shares: &Arc<[Share]>) {
        let Some(port) = listener.served_port().filter(|_| listener.streams) else { return };
        let Some(listeners) = self.ports.get(&port) else { return };
        let streams = if listener.terminates_tls() { &mut self.plain } else { &mut self.passthrough };
        let all = streams.entry(port).or_default();
        for name in owned(listener, names, listeners) {
            all.entry(name.clone()).or_insert_with(|| shares.clone());
        }
    }

    /// The model: the virtual hosts have their matches in order of precedence, and the names of each listener whose
    /// connections go past Varnish are at least refused.
    pub(super) fn finish(mut self) -> Model {
        for (port, listeners) in &self.ports {
            for (host, listener) in listeners.iter().filter(|(_, it)| it.streams) {
                let streams = if listener.terminates_tls() { &mut self.plain } else { &mut self.passthrough };
                streams.entry(*port).or_default().entry((*host).clone()).or_default();
            }
            if listeners.values().all(|it| it.streams) {
                self.hosts.remove(port);
            }
        }
        let finished = self.hosts.into_iter().map(|(port, hosts)| (port, finish_port(hosts)));
        let (tls, passthrough, plain) = (self.tls, self.passthrough, self.plain);
        Model { ports: finished.collect(), tls, passthrough, plain, ..Model::default() }
    }
}

/// Those of the hosts that are a listener's, and no more specific one's.
fn owned<'h>(
    listener: &Listener,
    hosts: &'h [HostPattern],
    listeners: &BTreeMap<&HostPattern, &Listener>,
) -> impl Iterator<Item = &'h HostPattern> {
    hosts.iter().filter(|host| owner(listeners, host).is_some_and(|it| it.id == listener.id))
}

/// The most specific listener that has all hosts of a pattern.
fn owner<'a>(
    listeners: &BTreeMap<&'a HostPattern, &'a Listener>,
    host: &HostPattern,
) -> Option<&'a Listener> {
    listeners.get(host).or_else(|| host.wider().find_map(|wider| listeners.get(&wider))).copied()
}

fn finish_port(hosts: BTreeMap<HostPattern, Collected>) -> VirtualHosts {
    let fallback = |host: &HostPattern, listener: &ListenerId| {
        host.wider().find(|wider| {
            hosts.get(wider).is_some_and(|(id, matches)| *id == listener && !matches.is_empty())
        })
    };
    let fallbacks: Vec<_> = hosts.iter().map(|(host, (listener, _))| fallback(host, listener)).collect();
    let finished = hosts.into_iter().zip(fallbacks).map(|((host, (listener, mut matches)), fallback)| {
        matches.sort_by(|a, b| a.rank.cmp(&b.rank));
        (host, Arc::new(VirtualHost { listener: listener.clone(), matches, fallback }))
    });
    finished.collect()
}
