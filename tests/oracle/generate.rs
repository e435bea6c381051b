//! Random configurations and requests over so few words that they often meet.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

use super::{Config, Listener, Match, PathMatch, Pattern, Request, Route, Rule, Value, ValueMatch};

/// The ports that every configuration has a listener on.
pub const PORTS: [u16; 2] = [80, 81];

const HOSTNAMES: [&str; 6] = ["a.test", "b.a.test", "c.b.a.test", "*.test", "*.a.test", "*.b.a.test"];
const HOSTS: [&str; 7] =
    ["a.test", "b.a.test", "c.b.a.test", "d.c.b.a.test", "x.test", "test", "other.example"];
const EXACT: [&str; 7] = ["/", "/a", "/a/", "/a/b", "/ab", "/b", "/a/b/c"];
const PREFIXES: [&str; 7] = ["/", "/a", "/a/b", "/a/b/", "/ab", "/b", "/a/b/c"];
const PATHS: [&str; 13] =
    ["/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/abc", "/a/bc", "/b", "/b/a", "/a/b/c", "/a/b/c/d", "/A"];
const METHODS: [&str; 3] = ["GET", "POST", "DELETE"];
const NAMES: [&str; 2] = ["x-a", "x-b"];
const PARAMETERS: [&str; 2] = ["p", "q"];
const VALUES: [&str; 3] = ["1", "12", "2"];

const PATH_PATTERNS: [Pattern; 5] = [
    Pattern { text: "/a(/.*)?", matches: |path| path == "/a" || path.starts_with("/a/") },
    Pattern { text: "/[ab]", matches: |path| path == "/a" || path == "/b" },
    Pattern { text: "/a.*", matches: |path| path.starts_with("/a") },
    Pattern { text: ".*b", matches: |path| path.ends_with('b') },
    Pattern { text: "/a|/ab", matches: |path| path == "/a" || path == "/ab" },
];
const VALUE_PATTERNS: [Pattern; 2] = [
    Pattern { text: "^[12]$", matches: |value| value == "1" || value == "2" },
    Pattern { text: "^1", matches: |value| value.starts_with('1') },
];

/// A Gateway with several listeners, and up to five routes with up to three rules each.
pub fn config() -> impl Strategy<Value = Config> {
    let listeners =
        vec((select(&PORTS[..]), option::weighted(0.6, select(&HOSTNAMES[..]))), 1..5).prop_map(listeners);
    (listeners, vec(route(), 2..7)).prop_map(|(listeners, mut routes)| {
        for (number, route) in routes.iter_mut().enumerate() {
            route.name = format!("{}{number}", route.name);
            let known = route.section.as_ref().and_then(|text| text.parse::<usize>().ok());
            route.section = known.map(|number| listeners[number % listeners.len()].name.clone());
        }
        Config { listeners, routes }
    })
}

/// No two on one port with one hostname; and on every port one that nobody asks for, so that no
/// configuration changes the ports.
fn listeners(wanted: Vec<(u16, Option<&str>)>) -> Vec<Listener> {
    let keepers = PORTS.map(|port| (port, Some("keeper.invalid")));
    let mut listeners: Vec<Listener> = Vec::new();
    for (port, hostname) in wanted.into_iter().chain(keepers) {
        let hostname = hostname.map(str::to_owned);
        if !listeners.iter().any(|known| known.port == port && known.hostname == hostname) {
            listeners.push(Listener { name: format!("l{}", listeners.len()), port, hostname });
        }
    }
    listeners
}

fn route() -> impl Strategy<Value = Route> {
    let hostnames = prop_oneof![
        1 => Just(Vec::new()),
        2 => Just(vec!["b.a.test".to_owned()]),
        3 => subsequence(&HOSTNAMES[..], 1..3).prop_map(|names| names.into_iter().map(str::to_owned).collect()),
    ];
    // The section is the number of a listener, for `config` to look up.
    let section = option::weighted(0.3, (0_usize..8).prop_map(|number| number.to_string()));
    let names = (select(&["n1", "n2"][..]), select(&["r", "q"][..]));
    (names, option::of(0_u8..3), section, hostnames, vec(rule(), 1..4)).prop_map(
        |((namespace, name), day, section, hostnames, rules)| Route {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            day,
            section,
            hostnames,
            rules,
        },
    )
}

fn rule() -> impl Strategy<Value = Rule> {
    vec(one_match(), 0..4).prop_map(|matches| Rule { matches })
}

fn one_match() -> impl Strategy<Value = Match> {
    let path = prop_oneof![
        6 => Just(None),
        3 => select(&EXACT[..]).prop_map(|path| Some(PathMatch::Exact(path.to_owned()))),
        6 => select(&PREFIXES[..]).prop_map(|path| Some(PathMatch::Prefix(path.to_owned()))),
        2 => select(&PATH_PATTERNS[..]).prop_map(|pattern| Some(PathMatch::Regex(pattern))),
    ];
    let method = option::weighted(0.35, select(&METHODS[..]).prop_map(str::to_owned));
    (path, method, values(&NAMES), values(&PARAMETERS)).prop_map(|(path, method, headers, query)| Match {
        path,
        method,
        headers,
        query,
    })
}

/// Matches of none, one or both of two names.
fn values(names: &'static [&'static str; 2]) -> impl Strategy<Value = Vec<ValueMatch>> {
    let value = prop_oneof![
        4 => select(&VALUES[..2]).prop_map(|text| Value::Exact(text.to_owned())),
        1 => select(&VALUE_PATTERNS[..]).prop_map(Value::Regex),
    ];
    (prop_oneof![4 => Just(0_usize), 3 => Just(1), 2 => Just(2)], value.clone(), value, any::<bool>())
        .prop_map(|(count, one, other, swap)| {
            let order = if swap { [names[1], names[0]] } else { *names };
            let both = order.into_iter().zip([one, other]).take(count);
            both.map(|(name, value)| ValueMatch { name: name.to_owned(), value }).collect()
        })
}

/// A configuration and requests, most of them aimed at one of its matches, so that several rules contend.
pub fn case(requests: usize) -> impl Strategy<Value = (Config, Vec<Request>)> {
    let target = option::weighted(0.85, any::<Index>());
    (config(), vec((request(), target), requests)).prop_map(|(config, shots)| {
        let requests = shots.into_iter().map(|(request, target)| match target {
            Some(target) => aimed(&config, request, target),
            None => request,
        });
        let requests = requests.collect();
        (config, requests)
    })
}

/// Changes what a match needs; the rest stays as it was.
fn aimed(config: &Config, mut request: Request, target: Index) -> Request {
    let rules = config.routes.iter().flat_map(|route| route.rules.iter().map(move |rule| (route, rule)));
    let all: Vec<(&Route, Match)> = rules
        .flat_map(|(route, rule)| {
            let matches = if rule.matches.is_empty() { vec![Match::default()] } else { rule.matches.clone() };
            matches.into_iter().map(move |it| (route, it))
        })
        .collect();
    let (route, wanted) = target.get(&all);
    if let Some(name) = route.hostnames.first() {
        request.host = name.replace('*', "b");
    }
    match &wanted.path {
        None => (),
        Some(PathMatch::Exact(path) | PathMatch::Prefix(path)) => request.path.clone_from(path),
        Some(PathMatch::Regex(pattern)) => {
            let path = PATHS.iter().find(|path| (pattern.matches)(path)).unwrap_or(&"/");
            (*path).clone_into(&mut request.path);
        }
    }
    request.method = wanted.method.clone().unwrap_or(request.method);
    demand(&mut request.headers, &wanted.headers);
    demand(&mut request.query, &wanted.query);
    request
}

/// Gives each wanted name the wanted value, and only that one.
fn demand(pairs: &mut Vec<(String, String)>, wanted: &[ValueMatch]) {
    for it in wanted {
        let value = match &it.value {
            Value::Exact(text) => text.clone(),
            Value::Regex(_) => VALUES[0].to_owned(),
        };
        pairs.retain(|(name, _)| *name != it.name);
        pairs.push((it.name.clone(), value));
    }
}

/// A request for what configurations have, or nearly.
fn request() -> impl Strategy<Value = Request> {
    let pairs = |names: &'static [&'static str; 2]| {
        vec((select(&names[..]), select(&VALUES[..])), 0..3).prop_map(|pairs| {
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
        })
    };
    let method = prop_oneof![3 => Just("GET"), 1 => select(&METHODS[..])];
    (select(&PORTS[..]), select(&HOSTS[..]), method, select(&PATHS[..]), pairs(&PARAMETERS), pairs(&NAMES))
        .prop_map(|(port, host, method, path, query, headers)| Request {
            port,
            host: host.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            query,
            headers,
        })
}
