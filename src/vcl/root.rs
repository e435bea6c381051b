//! The root VCL: which shard serves a host.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;

use super::hosts::HostTable;
use super::literal::{VclExpr, VclIdent, VclString};
use super::shards::{Members, Ranges};
use super::sockets::{Port, Sockets};
use crate::model::{HostPattern, Model};

/// What the root is made from: equal contents give equal VCL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    ranges: Option<Ranges>,
    /// By port, the wildcards and what is served instead of them, each with its shard.
    listed: BTreeMap<Port, BTreeMap<HostPattern, String>>,
    sockets: Sockets,
}

impl Content {
    pub(super) fn new(model: &Model, ranges: Option<Ranges>, members: &Members<'_>) -> Self {
        let sockets = Sockets::of(model);
        // All hosts of one shard are looked up there.
        if !matches!(ranges, Some(Ranges::Split { .. })) {
            return Self { ranges, listed: BTreeMap::new(), sockets };
        }
        let by_host: BTreeMap<&HostPattern, &String> =
            members.iter().flat_map(|(name, hosts)| hosts.iter().map(move |host| (*host, name))).collect();
        let shard = |host: &HostPattern| Some((host.clone(), (*by_host.get(host)?).clone()));
        let ports = Port::all(model).zip(model.ports.values()).map(|(port, hosts)| {
            let has_wildcards =
                hosts.keys().next_back().is_some_and(|host| !matches!(host, HostPattern::Exact(_)));
            let listed = hosts
                .keys()
                .filter(|host| has_wildcards && !goes_by_ranges(host, |wide| hosts.contains_key(wide)));
            (port, listed.filter_map(shard).collect::<BTreeMap<_, _>>())
        });
        Self { ranges, listed: ports.filter(|(_, listed)| !listed.is_empty()).collect(), sockets }
    }
}

/// Whether no wildcard of the port covers a host.
fn goes_by_ranges(host: &HostPattern, is_there: impl Fn(&HostPattern) -> bool) -> bool {
    matches!(host, HostPattern::Exact(_)) && !host.wider().any(|wide| is_there(&wide))
}

/// The template of the root.
#[derive(Template)]
#[template(path = "root.vcl", escape = "none")]
pub(super) struct RootVcl {
    labels: Vec<VclIdent>,
    ports: Vec<PortVcl>,
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
    Call(String, VclIdent),
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
        let (mut steps, mut shards) = (Vec::new(), BTreeSet::new());
        if let Some(ranges) = &content.ranges {
            walk(ranges, 1, &mut steps, &mut shards);
        }
        let labels = shards.into_iter().map(|shard| VclIdent::new("copal", &[shard]));
        Self { labels: labels.collect(), ports: ports.collect(), steps }
    }
}

/// The subroutine that hands over to a shard.
fn to(shard: &str) -> VclIdent {
    VclIdent::new("to_copal", &[shard])
}

fn walk<'a>(ranges: &'a Ranges, depth: usize, steps: &mut Vec<Step>, shards: &mut BTreeSet<&'a str>) {
    let tabs = || "\t".repeat(depth);
    match ranges {
        Ranges::Shard(name) => {
            shards.insert(name);
            steps.push(Step::Call(tabs(), to(name)));
        }
        Ranges::Split { limit, below, others } => {
            steps.push(Step::If(tabs(), VclString::new(limit)));
            walk(below, depth + 1, steps, shards);
            steps.push(Step::Else(tabs()));
            walk(others, depth + 1, steps, shards);
            steps.push(Step::End(tabs()));
        }
    }
}
