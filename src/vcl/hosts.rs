//! The look-up of a host: the same in the root and in a shard, but for what is called.

use std::collections::BTreeSet;

use super::literal::{VclIdent, VclRegex, VclString};
use crate::model::HostPattern;

/// The hosts of a port, and what to call for each.
pub(super) struct HostTable {
    /// The subroutine that does the look-up.
    pub sub: VclIdent,
    /// The set of exact hosts.
    pub exact_set: VclIdent,
    pub exact: Vec<Entry>,
    /// The set of domains of wildcards, each with a dot before it.
    pub wild_set: VclIdent,
    pub wild: Vec<Entry>,
    /// Patterns that cut a host down to its last labels, one for each number of labels that a domain has.
    pub suffixes: Vec<VclRegex>,
    /// What to call for all other hosts.
    pub any: Option<VclIdent>,
}

/// A host, or a domain, and what to call for it.
pub(super) struct Entry {
    pub text: VclString,
    pub sub: VclIdent,
}

impl HostTable {
    /// The table of one port.
    pub(super) fn new<'a>(port: u16, hosts: impl Iterator<Item = (&'a HostPattern, VclIdent)>) -> Self {
        let mut table = Self {
            sub: VclIdent::numbered("port", port.into()),
            exact_set: VclIdent::numbered("hosts", port.into()),
            exact: Vec::new(),
            wild_set: VclIdent::numbered("domains", port.into()),
            wild: Vec::new(),
            suffixes: Vec::new(),
            any: None,
        };
        let mut labels = BTreeSet::new();
        for (host, sub) in hosts {
            match host {
                HostPattern::Exact(name) => {
                    table.exact.push(Entry { text: VclString::new(name.as_str()), sub });
                }
                HostPattern::Wildcard(domain) => {
                    labels.insert(domain.as_str().split('.').count());
                    table.wild.push(Entry { text: VclString::new(&format!(".{domain}")), sub });
                }
                HostPattern::Any => table.any = Some(sub),
            }
        }
        table.suffixes = labels.into_iter().rev().map(VclRegex::last_labels).collect();
        table
    }
}
