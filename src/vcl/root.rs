//! The root VCL: which shard serves a host.

use std::collections::{BTreeMap, BTreeSet};

use askama::Template;

use super::hosts::HostTable;
use super::literal::{VclIdent, VclString};
use super::shard::socket;
use crate::model::{HostPattern, Model};

/// Hosts by port, and the label that serves each.
pub(super) type Hosts = BTreeMap<u16, BTreeMap<HostPattern, String>>;

/// The hosts of a model, given the shards that they are in.
pub(super) fn hosts(model: &Model, shards: &BTreeMap<String, Vec<&HostPattern>>) -> Hosts {
    let by_host: BTreeMap<&HostPattern, &String> =
        shards.iter().flat_map(|(shard, hosts)| hosts.iter().map(move |host| (*host, shard))).collect();
    let shard = |host: &HostPattern| Some((host.clone(), (*by_host.get(host)?).clone()));
    model.ports.iter().map(|(port, hosts)| (*port, hosts.keys().filter_map(shard).collect())).collect()
}

/// The template of the root.
#[derive(Template)]
#[template(path = "root.vcl", escape = "none")]
pub(super) struct RootVcl {
    labels: Vec<VclIdent>,
    ports: Vec<PortVcl>,
}

struct PortVcl {
    socket: Option<VclString>,
    table: HostTable,
}

impl RootVcl {
    pub(super) fn new(hosts: &Hosts) -> Self {
        let shards: BTreeSet<&String> = hosts.values().flat_map(BTreeMap::values).collect();
        let single = hosts.len() == 1;
        let ports = hosts.iter().map(|(port, hosts)| {
            let entries = hosts.iter().map(|(host, shard)| (host, VclIdent::new("to_copal", &[shard])));
            let socket = (!single).then(|| VclString::new(&socket(*port)));
            PortVcl { socket, table: HostTable::new(*port, entries) }
        });
        Self {
            labels: shards.into_iter().map(|shard| VclIdent::new("copal", &[shard])).collect(),
            ports: ports.collect(),
        }
    }
}
