//! Which virtual hosts share a VCL.
//!
//! The cost of compiling a VCL is quadratic in its symbols, and each VCL has a fixed cost, so shards are kept
//! between the two. A shard is a range of host names: a range with too many symbols is split in two where its names
//! begin to differ. A host that comes or goes changes its own shard and at most splits or joins that one, and
//! whoever knows the ranges' limits knows a host's shard without a list of hosts.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::bundle::hex;
use crate::model::{HostPattern, Model, Outcome, RouteMatch, VirtualHost};

/// Symbols that a shard may have before it is split. With 1,000 hosts of 5 routes and 15 backends, loading one
/// shard takes 30 to 60 ms at this size, and loading all is near its minimum.
const SYMBOLS: usize = 250;

/// How a host's name leads to its shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ranges {
    /// All names of the range are in this shard.
    Shard(String),
    /// Names below a limit, and the others. The limit is no host's name, but a text to compare with.
    Split { limit: String, below: Box<Ranges>, others: Box<Ranges> },
}

/// The hosts of each shard, in order.
pub(super) type Members<'a> = BTreeMap<String, Vec<&'a HostPattern>>;

/// A virtual host and its number of symbols.
struct Weighted<'a> {
    text: String,
    host: &'a HostPattern,
    weight: usize,
}

/// Divides the hosts of a model; there are no ranges where there are no hosts.
pub(super) fn divide(model: &Model) -> (Option<Ranges>, Members<'_>) {
    let mut weights: BTreeMap<&HostPattern, usize> = BTreeMap::new();
    for (host, it) in model.ports.values().flatten() {
        *weights.entry(host).or_default() += symbols(it);
    }
    let weighted = |(host, weight): (_, usize)| Weighted { text: HostPattern::to_string(host), host, weight };
    let mut hosts: Vec<_> = weights.into_iter().map(weighted).collect();
    hosts.sort_by(|a, b| a.text.cmp(&b.text));
    let mut members = Members::new();
    let ranges = (!hosts.is_empty()).then(|| split("s".to_owned(), &hosts, &mut members));
    (ranges, members)
}

fn split<'a>(name: String, hosts: &[Weighted<'a>], members: &mut Members<'a>) -> Ranges {
    let weight: usize = hosts.iter().map(|it| it.weight).sum();
    let Some(limit) = limit(hosts).filter(|_| weight > SYMBOLS) else {
        members.insert(name.clone(), hosts.iter().map(|it| it.host).collect());
        return Ranges::Shard(name);
    };
    let (below, others) = hosts.split_at(hosts.partition_point(|it| it.text < limit));
    // A split further up, when one is added, does not rename what is below.
    let id = hex(&Sha256::digest(limit.as_bytes()), 5);
    let below = Box::new(split(format!("{id}a"), below, members));
    let others = Box::new(split(format!("{id}b"), others, members));
    Ranges::Split { limit, below, others }
}

/// Where sorted names are split: at the highest bit in which they differ, after what they have in common. So the
/// place depends little on which names there are, and both sides have some.
fn limit(hosts: &[Weighted<'_>]) -> Option<String> {
    let (first, last) = (hosts.first()?.text.as_bytes(), hosts.last()?.text.as_bytes());
    let same = first.iter().zip(last).take_while(|(a, b)| a == b).count();
    let above = *last.get(same)?;
    // The end of a name sorts before all else.
    let bit = (first.get(same).unwrap_or(&0) ^ above).checked_ilog2()?;
    let mut limit = last.get(..same)?.to_vec();
    limit.push(above >> bit << bit);
    String::from_utf8(limit).ok()
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
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn shards(hosts: &[HostPattern]) -> (Ranges, Members<'_>) {
        let weighted = |host| Weighted { text: HostPattern::to_string(host), host, weight: 21 };
        let mut hosts: Vec<_> = hosts.iter().map(weighted).collect();
        hosts.sort_by(|a, b| a.text.cmp(&b.text));
        let mut members = Members::new();
        (split("s".to_owned(), &hosts, &mut members), members)
    }

    fn parse(name: &str) -> HostPattern {
        HostPattern::parse(name).unwrap()
    }

    /// What the root does.
    fn find<'a>(ranges: &'a Ranges, host: &str) -> &'a String {
        match ranges {
            Ranges::Shard(name) => name,
            Ranges::Split { limit, below, .. } if host < limit.as_str() => find(below, host),
            Ranges::Split { others, .. } => find(others, host),
        }
    }

    #[test]
    fn one_more_host_changes_one_shard() {
        let hosts: Vec<_> = (0..1001).map(|n| parse(&format!("h{n}.test"))).collect();
        let (before, after) = (shards(hosts.get(..1000).unwrap()).1, shards(&hosts).1);
        assert_eq!(after.values().map(Vec::len).sum::<usize>(), 1001);
        assert!(after.values().all(|hosts| hosts.len() * 21 <= SYMBOLS));
        assert_eq!(before.iter().filter(|(name, hosts)| after.get(*name) != Some(hosts)).count(), 1);
    }

    #[test]
    fn a_host_too_large_for_a_shard_has_one_of_its_own() {
        let host = parse("a.test");
        let hosts = [Weighted { text: host.to_string(), host: &host, weight: 10_000 }];
        let mut members = Members::new();
        assert_eq!(split("s".to_owned(), &hosts, &mut members), Ranges::Shard("s".to_owned()));
        assert_eq!(members.into_keys().collect::<Vec<_>>(), ["s"]);
    }

    #[test]
    fn a_split_added_further_up_renames_nothing_below_it() {
        let mut hosts: Vec<_> = (0..100).map(|n| parse(&format!("h{n}.test"))).collect();
        let before = shards(&hosts).1.into_keys().collect::<BTreeSet<_>>();
        hosts.push(parse("a.test"));
        let after = shards(&hosts).1.into_keys().collect::<BTreeSet<_>>();
        assert_eq!(after.difference(&before).count(), 1);
    }

    proptest! {
        #[test]
        fn each_host_is_where_its_name_leads(names in prop::collection::btree_set("(\\*|[a-c0-9-]{1,3})(\\.[a-b-]{1,2}){1,3}", 1..200)) {
            let hosts: Vec<_> = names.iter().filter_map(|name| HostPattern::parse(name).ok()).collect();
            prop_assume!(!hosts.is_empty());
            let (ranges, members) = shards(&hosts);
            prop_assert_eq!(members.values().map(Vec::len).sum::<usize>(), hosts.len());
            for (name, host) in members.iter().flat_map(|(name, hosts)| hosts.iter().map(move |host| (name, host))) {
                prop_assert_eq!(find(&ranges, &host.to_string()), name);
            }
        }
    }
}
