//! Requests on a connection that is not meant for them (Gateway API, `Listener.hostname`; RFC 9110, section 15.5.20).
//!
//! Clients may send requests for several hosts over one TLS connection if its certificate is for all of them. That
//! connection was made for one listener, the one that its server name belongs to: what belongs to another one gets 421,
//! so that the client opens a connection of its own for it. No server name is one that no listener names.

use std::collections::{BTreeMap, BTreeSet};

use super::literal::{VclExpr, VclIdent, VclRegex, VclString};
use super::sockets::{Port, Sockets};
use crate::model::{HostPattern, Model, Streams, TlsPort};

/// The hosts of the listeners of each port on which requests can go astray: with one listener, none can.
pub(super) type Listeners = BTreeMap<Port, BTreeSet<HostPattern>>;

pub(super) fn listeners(model: &Model) -> Listeners {
    let ports = Port::all(model).filter_map(|port| Some((port, model.tls.get(&port.number)?)));
    let hosts = ports.map(|(port, tls)| {
        let own = tls.certificates.keys();
        let others = passed_on(tls, model.passthrough.get(&port.number));
        (port, own.chain(others).cloned().collect::<BTreeSet<_>>())
    });
    hosts.filter(|(_, hosts)| hosts.len() > 1).collect()
}

/// The names of a port that the relay passes on as they are: they are other listeners' too. Without those that add
/// nothing, since they are among the hosts of another one: they come and go with routes.
fn passed_on<'a>(tls: &TlsPort, streams: Option<&'a Streams>) -> impl Iterator<Item = &'a HostPattern> {
    let adds = move |name: &&HostPattern| {
        let known = |it: &HostPattern| {
            tls.certificates.contains_key(it) || streams.is_some_and(|streams| streams.contains_key(it))
        };
        name.wider().find(known).is_none_or(|it| tls.certificates.contains_key(&it))
    };
    streams.into_iter().flat_map(|it| it.keys()).filter(adds)
}

/// How a port's listeners are told apart.
pub(super) struct Check {
    /// How the port is told from the relay's others, where there are any.
    pub condition: Option<VclExpr>,
    /// The subroutine that compares.
    pub sub: VclIdent,
    /// The one that puts the listener of a host in the host's place.
    pub find: VclIdent,
    pub exact_set: VclIdent,
    pub exact: Vec<VclString>,
    /// The set of domains of wildcards, each with a dot before it.
    pub wild_set: VclIdent,
    pub wild: Vec<VclString>,
    /// Patterns that cut a host down to its last labels, those with more labels first.
    pub suffixes: Vec<VclRegex>,
    /// Whether a listener has all other hosts.
    pub any: bool,
}

impl Check {
    pub(super) fn new(port: Port, hosts: &BTreeSet<HostPattern>, sockets: &Sockets) -> Self {
        let ident = |word| VclIdent::numbered(word, port.number.into());
        let mut check = Self {
            condition: sockets.relayed_condition(port),
            sub: ident("check"),
            find: ident("listener"),
            exact_set: ident("listeners"),
            exact: Vec::new(),
            wild_set: ident("listener_domains"),
            wild: Vec::new(),
            suffixes: Vec::new(),
            any: hosts.contains(&HostPattern::Any),
        };
        let mut labels = BTreeSet::new();
        for host in hosts {
            match host {
                HostPattern::Exact(name) => check.exact.push(VclString::new(name.as_str())),
                HostPattern::Wildcard(domain) => {
                    labels.insert(domain.as_str().split('.').count());
                    check.wild.push(VclString::new(&format!(".{domain}")));
                }
                HostPattern::Any => {}
            }
        }
        check.suffixes = labels.into_iter().rev().map(VclRegex::last_labels).collect();
        check
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ListenerId, ObjectKey, VirtualHost, VirtualHosts};

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap()
    }

    /// The names that are told apart on a port with HTTPS listeners, and others whose TLS is passed on.
    fn told_apart(https: &[&str], passed_on: &[&str]) -> Vec<String> {
        let id = ListenerId { kind: "Gateway", parent: ObjectKey::new("default", "gw"), name: "l".into() };
        let host = |name: &&str| {
            let host = VirtualHost { listener: id.clone(), matches: Vec::new(), fallback: None };
            (pattern(name), std::sync::Arc::new(host))
        };
        let hosts: VirtualHosts = https.iter().map(host).collect();
        let certificates = https.iter().map(|name| (pattern(name), Vec::new())).collect();
        let streams = passed_on.iter().map(|name| (pattern(name), [].into())).collect();
        let model = Model {
            ports: [(443, hosts)].into(),
            tls: [(443, TlsPort { certificates, ..TlsPort::default() })].into(),
            passthrough: [(443, streams)].into(),
            ..Model::default()
        };
        listeners(&model).into_values().flatten().map(|it| it.to_string()).collect()
    }

    #[test]
    fn names_that_are_passed_on_are_other_listeners() {
        for (https, passed_on, expected) in [
            (&["a.test"][..], &[][..], &[][..]),
            (&["a.test"], &["b.test"], &["a.test", "b.test"]),
            (&[""], &["b.test"], &["*", "b.test"]),
            (&["a.test"], &["*.test", "x.test"], &["*.test", "a.test"]),
            (&["*.a.test"], &["*.test", "x.a.test"], &["*.a.test", "*.test", "x.a.test"]),
        ] {
            let mut found = told_apart(https, passed_on);
            found.sort();
            assert_eq!(found, expected, "{https:?} {passed_on:?}");
        }
    }
}
