//! Which virtual hosts share a VCL.
//!
//! The cost of compiling a VCL is quadratic in its symbols, and each VCL has a fixed cost, so shards are kept
//! between the two. Hosts are put into a binary tree by the bits of their hash, and a node with too many symbols is
//! split: a host that comes or goes changes its own shard and at most splits or joins that one.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::model::{HostPattern, Model, Outcome, RouteMatch, VirtualHost};

/// Symbols that a shard may have before it is split. With 1,000 hosts of 5 routes and 15 backends, loading one
/// shard takes 30 to 60 ms at this size, and loading all is near its minimum.
const SYMBOLS: usize = 400;

/// Deepest level of the tree: hashes that agree in so many bits stay together.
const DEPTH: usize = 32;

/// Divides the hosts of a model. Names are paths in the tree: `s` for the root, `s0`, `s01`….
pub(super) fn divide(model: &Model) -> BTreeMap<String, Vec<&HostPattern>> {
    let mut weights: BTreeMap<&HostPattern, usize> = BTreeMap::new();
    for (host, it) in model.ports.values().flatten() {
        *weights.entry(host).or_default() += symbols(it);
    }
    let leaves = weights.into_iter().map(|(host, weight)| Leaf { bits: bits(host), host, weight }).collect();
    let mut shards = BTreeMap::new();
    split("s".to_owned(), leaves, 0, &mut shards);
    shards
}

struct Leaf<'a> {
    bits: u32,
    host: &'a HostPattern,
    weight: usize,
}

fn split<'a>(
    name: String,
    leaves: Vec<Leaf<'a>>,
    depth: usize,
    shards: &mut BTreeMap<String, Vec<&'a HostPattern>>,
) {
    let weight: usize = leaves.iter().map(|leaf| leaf.weight).sum();
    if leaves.len() > 1 && weight > SYMBOLS && depth < DEPTH {
        let (right, left) = leaves.into_iter().partition(|leaf| leaf.bits >> (DEPTH - 1 - depth) & 1 == 1);
        split(format!("{name}0"), left, depth + 1, shards);
        split(format!("{name}1"), right, depth + 1, shards);
    } else if !leaves.is_empty() {
        shards.insert(name, leaves.into_iter().map(|leaf| leaf.host).collect());
    }
}

fn bits(host: &HostPattern) -> u32 {
    let digest = Sha256::digest(host.to_string().as_bytes());
    digest.iter().take(4).fold(0, |bits, byte| bits << 8 | u32::from(*byte))
}

/// About as many symbols as a virtual host adds to its shard. Endpoints are rounded up to a power of two, so that
/// scaling a backend rarely moves a host.
fn symbols(it: &VirtualHost) -> usize {
    2 + it.matches.iter().map(|it| 1 + backends(it)).sum::<usize>()
}

fn backends(it: &RouteMatch) -> usize {
    let services = it.rule.branches.iter().filter_map(|branch| match &branch.outcome {
        Outcome::Forward(forward) => Some(&forward.backend),
        Outcome::Redirect(_) | Outcome::Fail(_) => None,
    });
    services.map(|service| 1 + service.endpoints.len().next_power_of_two()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn leaves(hosts: &[HostPattern]) -> Vec<Leaf<'_>> {
        hosts.iter().map(|host| Leaf { bits: bits(host), host, weight: 21 }).collect()
    }

    fn shards(hosts: &[HostPattern]) -> BTreeMap<String, Vec<&HostPattern>> {
        let mut shards = BTreeMap::new();
        split("s".to_owned(), leaves(hosts), 0, &mut shards);
        shards
    }

    #[test]
    fn one_more_host_changes_one_shard() {
        let hosts: Vec<_> = (0..1001).map(|n| HostPattern::parse(&format!("h{n}.test")).unwrap()).collect();
        let before = shards(hosts.get(..1000).unwrap());
        let after = shards(&hosts);
        assert_eq!(after.values().flatten().collect::<BTreeSet<_>>().len(), 1001);
        assert!(after.values().all(|hosts| hosts.len() * 21 <= SYMBOLS));
        let changed = before.iter().filter(|(name, hosts)| after.get(*name) != Some(hosts)).count();
        assert_eq!(changed, 1);
    }

    #[test]
    fn a_host_too_large_for_a_shard_has_one_of_its_own() {
        let host = HostPattern::parse("a.test").unwrap();
        let mut shards = BTreeMap::new();
        split("s".to_owned(), vec![Leaf { bits: 0, host: &host, weight: 10_000 }], 0, &mut shards);
        assert_eq!(shards.keys().collect::<Vec<_>>(), ["s"]);
    }
}
