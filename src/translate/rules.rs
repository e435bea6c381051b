//! The rules of an HTTPRoute, for listeners on one port and scheme.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use gateway_api::experimental::httproutes::{HttpRouteRulesRetry, HttpRouteRulesTimeouts};

use super::backends::Resolved;
use super::filters::{FilterList, RuleProblem, Site, filters};
use super::listeners::Entrance;
use super::matches::{Conditions, conditions, every_request};
use super::mirrors;
use super::report::RefProblem;
use crate::model::{
    Branch, Filters, Forward, HostPattern, ObjectKey, Outcome, PathMatch, Rank, Retry, RouteMatch, Rule,
    RuleId, Timeouts, UrlPath,
};
use crate::snapshot::{BackendRef, HttpRoute, Lenient, Rule as RuleSpec};

/// Varnish's `max_retries` as the reloader sets it.
pub const MAX_RETRIES: u32 = 50;
/// Tries after the first where a retry stanza does not say how many.
const DEFAULT_RETRIES: u32 = 2;

/// A route's rules, translated.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub matches: Vec<Arc<RouteMatch>>,
    /// Rules that cannot be served as they are written, and why.
    pub problems: Vec<(usize, RuleProblem)>,
    pub unresolved: Option<RefProblem>,
    pub notes: Vec<String>,
    /// Services that it goes to and that a BackendTLSPolicy is for.
    pub secured: BTreeSet<ObjectKey>,
    /// Whether there is a rule without a problem, or no rule at all.
    pub any_valid: bool,
}

/// Translates all rules. One that cannot be served answers 500 where it would have answered otherwise, so that
/// no other rule takes its requests.
pub(super) fn rules(key: &ObjectKey, route: &HttpRoute, entrance: Entrance, resolved: &[Resolved]) -> Rules {
    // Whether a reference resolves does not depend on what else is wrong with its rule.
    let unresolved = resolved.iter().find_map(|it| it.as_ref().err().cloned());
    let mut all = Rules { unresolved, ..Rules::default() };
    for it in route.spec.hostnames.iter().filter(|it| HostPattern::parse(it).is_err()) {
        all.notes.push(format!("hostnames: {it:?} is not a host name and is left out"));
    }
    let created = route.metadata.creation_timestamp.as_ref().map(|time| time.0.as_second());
    let mut rest = resolved;
    for (index, spec) in route.spec.rules.iter().enumerate() {
        let (resolved, next) = rest.split_at_checked(references(spec).len()).unwrap_or_default();
        rest = next;
        let reader = Reader { key, created, index, entrance, resolved };
        reader.rule(spec, &mut all);
    }
    all.any_valid = route.spec.rules.len() > all.problems.len() || route.spec.rules.is_empty();
    all
}

struct Reader<'a> {
    key: &'a ObjectKey,
    created: Option<i64>,
    index: usize,
    /// With the port that clients connect to.
    entrance: Entrance,
    /// What the rule's [`references`] resolve to.
    resolved: &'a [Resolved],
}

impl Reader<'_> {
    fn rule(&self, spec: &Lenient<RuleSpec>, all: &mut Rules) {
        let spec = match &spec.0 {
            Ok(spec) => spec,
            Err(error) => return all.problems.push((self.index, RuleProblem::Unsupported(error.clone()))),
        };
        let (matches, match_problem) = read_matches(spec);
        let rule = match_problem.map_or_else(|| self.valid_rule(spec, &matches, all), Err);
        let rule = rule.unwrap_or_else(|problem| {
            let rule = self.broken_rule(spec, &problem);
            all.problems.push((self.index, problem));
            rule
        });
        let rule = Arc::new(rule);
        all.matches
            .extend(matches.into_iter().map(|(index, it)| Arc::new(self.route_match(index, it, &rule))));
    }

    fn route_match(&self, index: usize, it: Conditions, rule: &Arc<Rule>) -> RouteMatch {
        let parts = (&it.path, it.method.is_some(), it.headers.len(), it.query.len());
        let rank = Rank::new(&parts, self.created, self.key, self.index, index);
        let Conditions { path, method, headers, query } = it;
        RouteMatch { path, method, headers, query, rank, rule: rule.clone() }
    }

    fn valid_rule(
        &self,
        spec: &RuleSpec,
        matches: &[(usize, Conditions)],
        all: &mut Rules,
    ) -> Result<Rule, RuleProblem> {
        if spec.session_persistence.is_some() {
            return Err(RuleProblem::Unsupported("sessionPersistence is not supported".into()));
        }
        let site = Site { entrance: self.entrance, prefix: only_prefix(matches) };
        let (backends, mirrors) = self.resolved.split_at_checked(spec.backend_refs.len()).unwrap_or_default();
        let mut mirrors = mirrors.iter();
        let list = filters(&spec.filters, &site, &mut mirrors)?;
        let timeouts = spec.timeouts.as_ref().map(timeouts).transpose()?.unwrap_or_default();
        let retry = spec.retry.as_ref().map(retry).transpose()?;
        if spec.retry.as_ref().is_some_and(|it| it.backoff.is_some()) {
            all.notes
                .push(format!("rule {}: retry.backoff is not applied: tries follow at once", self.index));
        }
        let branches = branches(spec, &list, &site, (backends, &mut mirrors))?;
        Ok(Rule { id: self.id(spec), filters: list.filters, branches, timeouts, retry })
    }

    fn id(&self, spec: &RuleSpec) -> RuleId {
        RuleId { route: self.key.clone(), index: self.index, name: spec.name.clone() }
    }

    fn broken_rule(&self, spec: &RuleSpec, problem: &RuleProblem) -> Rule {
        Rule {
            id: self.id(spec),
            filters: Filters::default(),
            branches: vec![failing(1, problem.to_string())],
            timeouts: Timeouts::default(),
            retry: None,
        }
    }
}

/// A rule's branches; what its backendRefs resolve to is given, and what the mirrors among their filters do.
fn branches<'a>(
    spec: &RuleSpec,
    list: &FilterList,
    site: &Site,
    (backends, mirrors): (&[Resolved], &mut impl Iterator<Item = &'a Resolved>),
) -> Result<Vec<Branch>, RuleProblem> {
    if let Some(redirect) = &list.redirect {
        if !spec.backend_refs.is_empty() {
            return Err(RuleProblem::Incompatible(
                "RequestRedirect and backendRefs exclude each other".into(),
            ));
        }
        let outcome = Outcome::Redirect(redirect.clone());
        return Ok(vec![Branch { weight: 1, filters: Filters::default(), outcome }]);
    }
    let mut branches = Vec::new();
    for (it, resolved) in spec.backend_refs.iter().zip(backends) {
        let own = filters(&it.filters, site, mirrors)?;
        own.check_redirect(own.copies || list.copies)?;
        branches.extend(branch(it, own, resolved.clone(), list)?);
    }
    if branches.is_empty() {
        branches.push(failing(1, "no backendRefs with a weight above 0".into()));
    }
    Ok(branches)
}

/// One backendRef with its own filters; none if its weight is 0.
fn branch(
    it: &BackendRef,
    own: FilterList,
    resolved: Resolved,
    rule: &FilterList,
) -> Result<Option<Branch>, RuleProblem> {
    let weight = weight(it)?;
    let outcome = match (own.redirect, resolved) {
        (Some(redirect), _) => Outcome::Redirect(redirect),
        (None, Ok((service, backend))) => {
            let rewrite = own.rewrite.or_else(|| rule.rewrite.clone()).unwrap_or_default();
            let mirrors = rule.mirrors.iter().cloned().chain(own.mirrors).collect();
            Outcome::Forward(Forward { service, backend, rewrite, mirrors })
        }
        (None, Err(problem)) => Outcome::Fail(problem.message().to_owned()),
    };
    Ok((weight > 0).then_some(Branch { weight, filters: own.filters, outcome }))
}

/// Its part of all weights together.
pub(super) fn weight(it: &BackendRef) -> Result<u32, RuleProblem> {
    let weight = u32::try_from(it.weight.unwrap_or(1)).ok().filter(|weight| *weight <= 1_000_000);
    weight.ok_or_else(|| RuleProblem::Unsupported("weight is not between 0 and 1000000".into()))
}

/// The references of a rule, as far as it can be read: its backendRefs, the mirrors of its own filters, and those of the
/// backendRefs' filters.
pub(super) fn references(rule: &Lenient<RuleSpec>) -> Vec<Cow<'_, BackendRef>> {
    let Ok(rule) = &rule.0 else { return Vec::new() };
    let lists = std::iter::once(&rule.filters).chain(rule.backend_refs.iter().map(|it| &it.filters));
    let mirrors = lists.flat_map(|list| mirrors::references(list)).map(Cow::Owned);
    rule.backend_refs.iter().map(Cow::Borrowed).chain(mirrors).collect()
}

fn failing(weight: u32, reason: String) -> Branch {
    Branch { weight, filters: Filters::default(), outcome: Outcome::Fail(reason) }
}

/// The matches that can be read, each with its index, and what is wrong with the first of the others.
fn read_matches(spec: &RuleSpec) -> (Vec<(usize, Conditions)>, Option<RuleProblem>) {
    if spec.matches.is_empty() {
        return (every_request().into_iter().map(|it| (0, it)).collect(), None);
    }
    let mut read = Vec::new();
    let mut problem = None;
    for (index, it) in spec.matches.iter().enumerate() {
        let parsed = it.0.as_ref().map_err(Clone::clone);
        match parsed.and_then(|it| conditions(it).map_err(|error| error.to_string())) {
            Ok(it) => read.push((index, it)),
            Err(error) => {
                problem.get_or_insert(RuleProblem::Unsupported(format!("matches[{index}]: {error}")));
            }
        }
    }
    (read, problem)
}

fn only_prefix(matches: &[(usize, Conditions)]) -> Option<&UrlPath> {
    match matches {
        [(_, Conditions { path: PathMatch::Prefix(prefix), .. })] => Some(prefix),
        _ => None,
    }
}

fn timeouts(it: &HttpRouteRulesTimeouts) -> Result<Timeouts, RuleProblem> {
    let request = it.request.as_deref().map(duration).transpose()?;
    let backend_request = it.backend_request.as_deref().map(duration).transpose()?;
    Ok(Timeouts { request, backend_request })
}

/// A Gateway API duration (GEP-2257).
fn duration(text: &str) -> Result<Duration, RuleProblem> {
    let parsed = gateway_api::Duration::from_str(text).map_err(|error| {
        RuleProblem::Unsupported(format!("timeouts: {text:?} is not a duration: {error}"))
    })?;
    Ok(Duration::new(parsed.as_secs(), parsed.subsec_nanos()))
}

fn retry(it: &HttpRouteRulesRetry) -> Result<Retry, RuleProblem> {
    let unsupported = |message: String| RuleProblem::Unsupported(format!("retry: {message}"));
    let attempts =
        it.attempts.map_or(Ok(DEFAULT_RETRIES), u32::try_from).ok().filter(|it| *it <= MAX_RETRIES);
    let attempts =
        attempts.ok_or_else(|| unsupported(format!("attempts is not between 0 and {MAX_RETRIES}")))?;
    let codes = it.codes.iter().flatten().map(|code| {
        let code = u16::try_from(*code).ok().filter(|code| (400..600).contains(code));
        code.ok_or_else(|| unsupported("codes are between 400 and 599".into()))
    });
    if let Some(backoff) = it.backoff.as_deref() {
        duration(backoff)?;
    }
    Ok(Retry { codes: codes.collect::<Result<_, _>>()?, attempts })
}
