//! Which rule answers a request: the Gateway API's text, evaluated the plain way.
//!
//! This shares nothing with Copal, so that the two can be compared: own types, no indexes, no regular
//! expression engine, one linear walk over everything. Sources are the comments of `Listener.hostname`,
//! `HTTPRouteSpec.hostnames` and `HTTPRouteRule.matches`. Where they leave a choice, Copal's is written here:
//! - regular expressions match the whole path; they come after exact paths and before prefixes, longer first;
//! - the hostname of a route on a listener is the narrower of the two (a route without hostnames has the
//!   listener's, and `*.test` on a listener for `a.test` counts as `a.test`).
#![allow(dead_code, reason = "not every test that uses the oracle uses all of it")]

pub mod generate;
pub mod manifest;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;

/// One Gateway and the routes that name it.
#[derive(Clone, Debug)]
pub struct Config {
    pub listeners: Vec<Listener>,
    pub routes: Vec<Route>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub name: String,
    pub port: u16,
    pub hostname: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Route {
    pub namespace: String,
    pub name: String,
    /// Day of creation; none counts as the youngest.
    pub day: Option<u8>,
    /// The listener that its parentRef names; none means all.
    pub section: Option<String>,
    pub hostnames: Vec<String>,
    pub rules: Vec<Rule>,
}

#[derive(Clone, Debug)]
pub struct Rule {
    /// None means every path.
    pub matches: Vec<Match>,
}

#[derive(Clone, Debug, Default)]
pub struct Match {
    pub path: Option<PathMatch>,
    pub method: Option<String>,
    pub headers: Vec<ValueMatch>,
    pub query: Vec<ValueMatch>,
}

#[derive(Clone, Debug)]
pub enum PathMatch {
    Exact(String),
    Prefix(String),
    Regex(Pattern),
}

#[derive(Clone, Debug)]
pub struct ValueMatch {
    pub name: String,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Exact(String),
    Regex(Pattern),
}

/// A regular expression, and by hand what it means for a whole value.
#[derive(Clone, Copy, Debug)]
pub struct Pattern {
    pub text: &'static str,
    pub matches: fn(&str) -> bool,
}

#[derive(Clone, Debug)]
pub struct Request {
    pub port: u16,
    pub host: String,
    pub method: String,
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: Vec<(String, String)>,
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    NotFound,
    Rule { namespace: String, route: String, rule: usize },
}

/// What makes one match win over another: the smaller.
type Precedence =
    (u8, Reverse<usize>, Reverse<bool>, Reverse<usize>, Reverse<usize>, u8, String, String, usize, usize);

/// The rule that answers the request.
pub fn decide(config: &Config, request: &Request) -> Decision {
    let Some(listener) = listener_of(config, request) else { return Decision::NotFound };
    let mut found: Vec<(Reverse<HostRank>, Precedence)> = Vec::new();
    for route in config.routes.iter().filter(|route| attaches(route, listener)) {
        let Some(host) = best_host(route, listener, &request.host) else { continue };
        for (number, rule) in route.rules.iter().enumerate() {
            let every_path = [Match::default()];
            let matches = if rule.matches.is_empty() { &every_path[..] } else { &rule.matches[..] };
            for (index, it) in matches.iter().enumerate().filter(|(_, it)| holds(it, request)) {
                found.push((Reverse(host), precedence(it, route, number, index)));
            }
        }
    }
    let winner = found.into_iter().min();
    winner.map_or(Decision::NotFound, |(_, (_, _, _, _, _, _, namespace, route, rule, _))| Decision::Rule {
        namespace,
        route,
        rule,
    })
}

/// How specific a hostname is: exact before wildcard before none, then by length.
type HostRank = (u8, usize);

fn host_rank(pattern: Option<&str>) -> HostRank {
    match pattern {
        None => (0, 0),
        Some(wildcard) if wildcard.starts_with("*.") => (1, wildcard.len()),
        Some(exact) => (2, exact.len()),
    }
}

/// A wildcard stands for one label or more.
fn host_matches(pattern: Option<&str>, host: &str) -> bool {
    let Some(pattern) = pattern else { return true };
    match pattern.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => pattern == host,
    }
}

/// A request belongs to one listener, the most specific of its port, and to no other.
fn listener_of<'a>(config: &'a Config, request: &Request) -> Option<&'a Listener> {
    let all = config.listeners.iter().filter(|listener| listener.port == request.port);
    let for_host = all.filter(|listener| host_matches(listener.hostname.as_deref(), &request.host));
    for_host.max_by_key(|listener| host_rank(listener.hostname.as_deref()))
}

fn attaches(route: &Route, listener: &Listener) -> bool {
    route.section.as_ref().is_none_or(|section| *section == listener.name)
}

/// The most specific of the route's hostnames on that listener that the host matches.
fn best_host(route: &Route, listener: &Listener, host: &str) -> Option<HostRank> {
    let listeners = host_rank(listener.hostname.as_deref());
    if route.hostnames.is_empty() {
        return Some(listeners);
    }
    let own = route.hostnames.iter().filter(|name| host_matches(Some(name), host));
    own.map(|name| host_rank(Some(name)).max(listeners)).max()
}

fn holds(it: &Match, request: &Request) -> bool {
    let path = match &it.path {
        None => true,
        Some(PathMatch::Exact(path)) => request.path == *path,
        Some(PathMatch::Prefix(prefix)) => has_prefix(&request.path, prefix),
        Some(PathMatch::Regex(pattern)) => (pattern.matches)(&request.path),
    };
    path && it.method.as_ref().is_none_or(|method| *method == request.method)
        && it.headers.iter().all(|wanted| value_holds(wanted, joined(&request.headers, &wanted.name)))
        && it.query.iter().all(|wanted| value_holds(wanted, first(&request.query, &wanted.name)))
}

/// By whole path elements; a trailing slash of the prefix means nothing.
fn has_prefix(path: &str, prefix: &str) -> bool {
    let wanted = prefix.split('/').filter(|element| !element.is_empty());
    let mut elements = path.split('/').skip(1);
    wanted.map(Some).all(|element| elements.next() == element)
}

fn value_holds(wanted: &ValueMatch, value: Option<String>) -> bool {
    value.is_some_and(|value| match &wanted.value {
        Value::Exact(text) => *text == value,
        Value::Regex(pattern) => (pattern.matches)(&value),
    })
}

/// Header names have no case; several lines are one value.
fn joined(headers: &[(String, String)], name: &str) -> Option<String> {
    let lines = headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    let values: Vec<&str> = lines.map(|(_, value)| value.as_str()).collect();
    (!values.is_empty()).then(|| values.join(", "))
}

fn first(query: &[(String, String)], name: &str) -> Option<String> {
    query.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

fn precedence(it: &Match, route: &Route, rule: usize, index: usize) -> Precedence {
    let (kind, length) = match &it.path {
        Some(PathMatch::Exact(path)) => (0, path.len()),
        Some(PathMatch::Regex(pattern)) => (1, pattern.text.len()),
        Some(PathMatch::Prefix(prefix)) => (2, prefix.trim_end_matches('/').len()),
        None => (2, 0),
    };
    let day = route.day.unwrap_or(u8::MAX);
    let counts = (Reverse(it.method.is_some()), Reverse(it.headers.len()), Reverse(it.query.len()));
    let name = (route.namespace.clone(), route.name.clone());
    (kind, Reverse(length), counts.0, counts.1, counts.2, day, name.0, name.1, rule, index)
}
