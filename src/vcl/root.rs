//! The root VCL: which shard serves a host.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;

use super::hosts::HostTable;
use super::literal::{VclExpr, VclIdent, VclString};
use super::misdirected::{self, Check, Listeners};
use super::shards::{Members, Ranges};
use super::sockets::{Port, Sockets};
use crate::model::{HostPattern, Model, VirtualHosts};

/// What the root is made from: equal contents give equal VCL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    ranges: Option<Ranges>,
    /// By port, the wildcards and what is served instead of them, each with its shard.
    listed: BTreeMap<Port, BTreeMap<HostPattern, String>>,
    sockets: Sockets,
    listeners: Listeners,
}

impl Content {
    pub(super) fn new(model: &Model, ranges: Option<Ranges>, members: &Members<'_>) -> Self {
        let sockets = Sockets::of(model);
        let listeners = misdirected::listeners(model);
        // All hosts of one shard are looked up there.
        if !matches!(ranges, Some(Ranges::Split { .. })) {
            return Self { ranges, listed: BTreeMap::new(), sockets, listeners };
        }
        let by_host: BTreeMap<&HostPattern, &String> =
            members.iter().flat_map(|(name, hosts)| hosts.iter().map(move |host| (*host, name))).collect();
        let shard = |host: &HostPattern| Some((host.clone(), (*by_host.get(host)?).clone()));
        let ports = Port::all(model)
            .zip(model.ports.values())
            .map(|(port, hosts)| (port, listed(hosts).filter_map(shard).collect::<BTreeMap<_, _>>()));
        let listed = ports.filter(|(_, listed)| !listed.is_empty()).collect();
        Self { ranges, listed, sockets, listeners }
    }
}

/// Wildcards, and the hosts that they must not serve. A wildcard without rules counts only where it keeps hosts from
/// a wider one that has some: else its hosts are not found whichever shard they lead to, and a listener for all hosts
/// does not make each of them known here.
fn listed(hosts: &VirtualHosts) -> impl Iterator<Item = &HostPattern> {
    let is_wild = |host: &HostPattern| !matches!(host, HostPattern::Exact(_));
    let serves = |host: &HostPattern| is_wild(host) && has_rules(hosts, host);
    let wild: BTreeSet<&HostPattern> = hosts
        .keys()
        .filter(|host| is_wild(host) && (serves(host) || host.wider().any(|wide| serves(&wide))))
        .collect();
    hosts.keys().filter(move |host| wild.contains(host) || host.wider().any(|wide| wild.contains(&wide)))
}

/// Whether a host of a port, or one that it falls back to, has rules.
fn has_rules(hosts: &VirtualHosts, host: &HostPattern) -> bool {
    let mut next = hosts.get(host);
    while let Some(it) = next.filter(|it| it.matches.is_empty()) {
        next = it.fallback.as_ref().and_then(|host| hosts.get(host));
    }
    next.is_some()
}

/// The template of the root.
#[derive(Template)]
#[template(path = "root.vcl", escape = "none")]
pub(super) struct RootVcl {
    /// The shards of listed hosts.
    labels: Vec<VclIdent>,
    ports: Vec<PortVcl>,
    /// How requests that came in where they do not belong are found.
    checks: Vec<Check>,
    /// Whether a request came through the relay, where not all did that may be misdirected.
    relayed: Option<VclExpr>,
    steps: Vec<Step>,
}

struct PortVcl {
    /// How it is told from others, where there are any.
    condition: Option<VclExpr>,
    table: HostTable,
}

/// One line of the comparisons that lead to a shard, after the tabs that it is indented by.
enum Step {
    If(String, VclString),
    Else(String),
    To(String, VclIdent),
    End(String),
}

impl RootVcl {
    pub(super) fn new(content: &Content) -> Self {
        let ports = content.listed.iter().map(|(port, hosts)| {
            let entries = hosts.iter().map(|(host, shard)| (host, to(shard)));
            PortVcl {
                condition: content.sockets.condition(*port),
                table: HostTable::new(port.number, entries),
            }
        });
        let mut steps = Vec::new();
        if let Some(ranges) = &content.ranges {
            walk(ranges, 1, &mut steps);
        }
        let listed: BTreeSet<&String> = content.listed.values().flat_map(BTreeMap::values).collect();
        let labels = listed.into_iter().map(|shard| label(shard)).collect();
        let sockets = &content.sockets;
        let checks = content.listeners.iter().map(|(port, hosts)| Check::new(*port, hosts, sockets));
        Self { labels, ports: ports.collect(), checks: checks.collect(), relayed: sockets.relayed(), steps }
    }
}

fn label(shard: &str) -> VclIdent {
    VclIdent::new("copal", &[shard])
}

/// The subroutine that hands over to a shard.
fn to(shard: &str) -> VclIdent {
    VclIdent::new("to_copal", &[shard])
}

fn walk(ranges: &Ranges, depth: usize, steps: &mut Vec<Step>) {
    let tabs = || "\t".repeat(depth);
    match ranges {
        Ranges::Shard(name) => steps.push(Step::To(tabs(), label(name))),
        Ranges::Split { limit, below, others } => {
            steps.push(Step::If(tabs(), VclString::new(limit)));
            walk(below, depth + 1, steps);
            steps.push(Step::Else(tabs()));
            walk(others, depth + 1, steps);
            steps.push(Step::End(tabs()));
        }
    }
}
