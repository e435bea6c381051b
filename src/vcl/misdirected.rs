//! Requests on a connection that is not meant for them (Gateway API, `Listener.hostname`; RFC 9110, section 15.5.20).
//!
//! Clients may send requests for several hosts over one TLS connection if its certificate is for all of them. That
//! connection was made for one listener, the one that its server name belongs to: what belongs to another one gets 421,
//! so that the client opens a connection of its own for it. No server name is one that no listener names.

use std::collections::{BTreeMap, BTreeSet};

use super::literal::{VclExpr, VclIdent, VclRegex, VclString};
use super::sockets::{Port, Sockets};
use crate::model::{HostPattern, Model};

/// The hosts of the listeners of each port on which requests can go astray: with one listener, none can.
pub(super) type Listeners = BTreeMap<Port, BTreeSet<HostPattern>>;

pub(super) fn listeners(model: &Model) -> Listeners {
    let ports = Port::all(model).filter_map(|port| Some((port, model.tls.get(&port.number)?)));
    let hosts = ports.map(|(port, tls)| (port, tls.certificates.keys().cloned().collect::<BTreeSet<_>>()));
    hosts.filter(|(_, hosts)| hosts.len() > 1).collect()
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
