//! The look-up of a path within a virtual host.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::conditions::condition;
use super::literal::{VclExpr, VclHeader, VclIdent, VclRegex, VclString};
use crate::model::{PathMatch, RouteMatch, VirtualHost};

/// Matches that share a path: tried in order, up to one without a condition.
pub(super) struct Group {
    /// The group's subroutine; none where its only match has no condition.
    pub sub: Option<VclIdent>,
    /// What to call for the path: the group's subroutine, or the one rule's.
    pub called: VclIdent,
    /// Its elements in the set that is looked up.
    pub elements: Vec<VclString>,
    pub tries: Vec<Try>,
    /// What to try when none of these fits: the group of the next shorter prefix.
    pub next: Option<VclIdent>,
}

/// One match of a group.
pub(super) struct Try {
    pub condition: Option<VclExpr>,
    pub rule: VclIdent,
}

/// A regular expression for a path, tried in turn.
pub(super) struct RegexTry {
    pub path: VclRegex,
    pub condition: Option<VclExpr>,
    pub rule: VclIdent,
}

/// The paths of a virtual host.
#[derive(Default)]
pub(super) struct Paths {
    pub exact: Vec<Group>,
    pub regexes: Vec<RegexTry>,
    pub prefixes: Vec<Group>,
    /// The group of `/`, where it is the only prefix: it needs no look-up.
    pub everything: Option<VclIdent>,
    /// Headers that are matched on; several lines of one are joined first.
    pub headers: Vec<VclHeader>,
}

impl Paths {
    /// The groups that have a subroutine.
    pub(super) fn groups(&self) -> impl Iterator<Item = &Group> {
        self.exact.iter().chain(&self.prefixes).filter(|group| group.sub.is_some())
    }

    /// Whether there are prefixes to choose from.
    pub(super) fn looks_up_prefixes(&self) -> bool {
        self.everything.is_none() && !self.prefixes.is_empty()
    }
}

/// The matches of a host where its paths alone decide: prefixes, each with the one rule for it. Others need
/// [`paths`].
pub(super) fn by_prefix_alone(it: &VirtualHost) -> Option<BTreeMap<&str, &RouteMatch>> {
    let mut prefixes = BTreeMap::new();
    for it in &it.matches {
        let PathMatch::Prefix(path) = &it.path else { return None };
        if condition(it).is_some() {
            return None;
        }
        // What comes after a match without a condition is never reached.
        prefixes.entry(path.trimmed()).or_insert(it.as_ref());
    }
    Some(prefixes)
}

/// Sorts the matches of a host, which come in order of precedence, by path. `rule` names a rule's subroutine.
pub(super) fn paths(host: usize, it: &VirtualHost, mut rule: impl FnMut(&RouteMatch) -> VclIdent) -> Paths {
    let mut exact: BTreeMap<&str, Vec<Try>> = BTreeMap::new();
    let mut prefixes: BTreeMap<&str, Vec<Try>> = BTreeMap::new();
    let mut paths = Paths::default();
    for it in &it.matches {
        paths.headers.extend(it.headers.iter().map(|header| VclHeader::new(&header.name)));
        let group = match &it.path {
            PathMatch::Exact(path) => exact.entry(path.as_str()).or_default(),
            PathMatch::Prefix(path) => prefixes.entry(path.trimmed()).or_default(),
            PathMatch::Regex(regex) => {
                let path = VclRegex::whole(regex);
                paths.regexes.push(RegexTry { path, condition: condition(it), rule: rule(it) });
                continue;
            }
        };
        // What comes after a match without a condition is never reached.
        if group.last().is_none_or(|last: &Try| last.condition.is_some()) {
            group.push(Try { condition: condition(it), rule: rule(it) });
        }
    }
    paths.headers.sort();
    paths.headers.dedup();
    let next = next_groups(&prefixes);
    paths.exact = groups("exact", host, exact, |path| vec![VclString::new(&format!("{host}{path}"))]);
    paths.prefixes = groups("prefix", host, prefixes, |path| prefix_elements(host, path));
    link(&mut paths.prefixes, &next);
    if let [Group { elements, called, .. }] = paths.prefixes.as_slice()
        && *elements == prefix_elements(host, "")
    {
        paths.everything = Some(called.clone());
    }
    paths
}

/// A URL with `/` appended begins with `PREFIX/` or `PREFIX?` if its path begins with the prefix's elements.
pub(super) fn prefix_elements(host: impl Display, path: &str) -> Vec<VclString> {
    let ends: &[&str] = if path.is_empty() { &["/"] } else { &["/", "?"] };
    ends.iter().map(|end| VclString::new(&format!("{host}{path}{end}"))).collect()
}

fn groups(
    word: &'static str,
    host: usize,
    groups: BTreeMap<&str, Vec<Try>>,
    elements: impl Fn(&str) -> Vec<VclString>,
) -> Vec<Group> {
    let made = groups.into_iter().enumerate().map(|(number, (path, tries))| {
        let own = VclIdent::new("host", &[&host.to_string(), word, &number.to_string()]);
        let (sub, called) = match tries.as_slice() {
            [Try { condition: None, rule }] => (None, rule.clone()),
            _ => (Some(own.clone()), own),
        };
        Group { sub, called, elements: elements(path), tries, next: None }
    });
    made.collect()
}

/// Where each prefix goes on when none of its matches fits: the place of the longest shorter prefix.
fn next_groups(prefixes: &BTreeMap<&str, Vec<Try>>) -> Vec<Option<usize>> {
    let places: BTreeMap<&str, usize> =
        prefixes.keys().enumerate().map(|(place, path)| (*path, place)).collect();
    let next = |(path, tries): (&&str, &Vec<Try>)| {
        let falls_through = tries.last().is_none_or(|last| last.condition.is_some());
        let shorter = falls_through.then(|| shorter(path).find_map(|shorter| places.get(shorter)));
        shorter.flatten().copied()
    };
    prefixes.iter().map(next).collect()
}

fn link(groups: &mut [Group], next: &[Option<usize>]) {
    let subs: Vec<VclIdent> = groups.iter().map(|group| group.called.clone()).collect();
    for (group, next) in groups.iter_mut().zip(next) {
        group.next = next.and_then(|place| subs.get(place)).cloned();
    }
}

/// The prefixes of a path by whole elements, the longest first, without itself.
fn shorter(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/').filter_map(|(slash, _)| path.get(..slash))
}
