//! Goes through the virtual hosts of a shard and collects what they need.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::actions::{PlainVcl, Programs, RuleVcl, plain};
use super::literal::{VclComment, VclIdent, VclString};
use super::paths::{Paths, by_prefix_alone, paths, prefix_elements};
use crate::model::{HostPattern, ListenerId, RouteMatch, Rule, VirtualHost};

/// An entry of the look-up by host and path, which decides most requests.
pub(super) struct RequestVcl {
    /// What port, host and URL begin with.
    pub text: VclString,
    pub sub: VclIdent,
    /// What is to be known of a rule that only forwards.
    pub plain: Option<PlainVcl>,
    /// The place of its name, from 1, if there is an access log.
    pub name: Option<usize>,
}

/// A host whose requests are not decided by that look-up alone.
pub(super) struct HostVcl {
    pub sub: VclIdent,
    pub comment: VclComment,
    pub paths: Paths,
    /// What its paths begin with in the look-up tables.
    pub number: VclString,
    pub fallback: Option<VclIdent>,
}

type Hosts = [(HostPattern, Arc<VirtualHost>)];
type Subs<'a> = BTreeMap<&'a HostPattern, VclIdent>;

/// Names of rules that only forward, each with its place, from 1.
#[derive(Default)]
pub(super) struct Names(BTreeMap<VclString, usize>);

impl Names {
    fn place(&mut self, name: &VclString) -> usize {
        let next = self.0.len() + 1;
        *self.0.entry(name.clone()).or_insert(next)
    }

    /// All names in the order of their places.
    pub(super) fn in_order(self) -> Vec<VclString> {
        let mut names: Vec<_> = self.0.into_iter().collect();
        names.sort_by_key(|(_, place)| *place);
        names.into_iter().map(|(name, _)| name).collect()
    }
}

/// What the virtual hosts of a shard share.
#[derive(Default)]
pub(super) struct Writer {
    pub comments: Vec<VclComment>,
    pub requests: Vec<RequestVcl>,
    pub hosts: Vec<HostVcl>,
    pub rules: Vec<RuleVcl>,
    /// Names of rules that only forward, if there is an access log.
    pub names: Option<Names>,
    /// The rules that have a subroutine, in the order of `rules`.
    known: Vec<(ListenerId, Arc<Rule>)>,
    pub programs: Programs,
    /// Hosts so far.
    count: usize,
}

impl Writer {
    /// A writer that collects names for the access log, or does not.
    pub(super) fn new(logs: bool) -> Self {
        Self { names: logs.then(Names::default), ..Self::default() }
    }

    /// Adds the hosts of a port; wildcards are returned, with what to call for them.
    pub(super) fn port<'a>(
        &mut self,
        socket: Option<&str>,
        own: &'a Hosts,
        fallbacks: &'a Hosts,
    ) -> Vec<(&'a HostPattern, VclIdent)> {
        let all = || own.iter().chain(fallbacks).zip(self.count..);
        let subs: Subs<'_> = all().map(|((host, _), n)| (host, VclIdent::numbered("host", n))).collect();
        let numbered: Vec<_> = all().collect();
        self.count += numbered.len();
        for ((host, it), number) in numbered {
            self.comments.push(comment(host, it));
            match host {
                HostPattern::Exact(name) => {
                    let key = socket.map_or_else(|| format!("{name} "), |socket| format!("{socket}/{name} "));
                    self.exact(&key, number, host, it, &subs);
                }
                HostPattern::Wildcard(_) | HostPattern::Any => self.host(number, host, it, &subs),
            }
        }
        let wide = own.iter().map(|(host, _)| host).filter(|host| !matches!(host, HostPattern::Exact(_)));
        wide.filter_map(|host| Some((host, subs.get(host)?.clone()))).collect()
    }

    /// A host without a wildcard: where its paths alone decide, they are looked up together with it.
    fn exact(&mut self, key: &str, number: usize, host: &HostPattern, it: &VirtualHost, subs: &Subs<'_>) {
        let Some(prefixes) = by_prefix_alone(it) else {
            self.host(number, host, it, subs);
            self.request(key, "", &VclIdent::numbered("host", number));
            return;
        };
        if !prefixes.contains_key("") {
            let fallback = it.fallback.as_ref().and_then(|host| subs.get(host)).cloned();
            self.request(key, "", &fallback.unwrap_or_else(not_found));
        }
        for (path, route_match) in prefixes {
            if let Some(rule) = plain(&it.listener, &route_match.rule) {
                self.plain(key, path, &rule);
            } else {
                let rule = self.rule(&it.listener, route_match);
                self.request(key, path, &rule);
            }
        }
    }

    fn request(&mut self, key: &str, path: &str, sub: &VclIdent) {
        let elements = prefix_elements(key, path).into_iter();
        self.requests.extend(elements.map(|text| RequestVcl {
            text,
            sub: sub.clone(),
            plain: None,
            name: None,
        }));
    }

    fn plain(&mut self, key: &str, path: &str, rule: &PlainVcl) {
        let name = self.names.as_mut().map(|names| names.place(&rule.name));
        let sub = || VclIdent::word("forward_only");
        let entry = |text| RequestVcl { text, sub: sub(), plain: Some(rule.clone()), name };
        self.requests.extend(prefix_elements(key, path).into_iter().map(entry));
    }

    fn host(&mut self, number: usize, host: &HostPattern, it: &VirtualHost, subs: &Subs<'_>) {
        let vcl = HostVcl {
            sub: VclIdent::numbered("host", number),
            comment: comment(host, it),
            paths: paths(number, it, |route_match| self.rule(&it.listener, route_match)),
            number: VclString::new(&number.to_string()),
            fallback: it.fallback.as_ref().and_then(|host| subs.get(host)).cloned(),
        };
        self.hosts.push(vcl);
    }

    /// The subroutine of a match's rule; rules of several matches and hosts of a listener share one.
    fn rule(&mut self, listener: &ListenerId, it: &RouteMatch) -> VclIdent {
        let same = |(known, rule): &(ListenerId, Arc<Rule>)| known == listener && Arc::ptr_eq(rule, &it.rule);
        if let Some(place) = self.known.iter().position(same) {
            return VclIdent::numbered("rule", place);
        }
        let sub = VclIdent::numbered("rule", self.known.len());
        self.known.push((listener.clone(), it.rule.clone()));
        self.rules.push(RuleVcl::new(sub.clone(), listener, &it.rule, &mut self.programs));
        sub
    }
}

fn comment(host: &HostPattern, it: &VirtualHost) -> VclComment {
    VclComment::new(format_args!("{host}, {}", it.listener))
}

/// What answers where a host has no route for a path.
pub(super) fn not_found() -> VclIdent {
    VclIdent::word("not_found")
}
