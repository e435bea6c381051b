//! Random configurations and requests over so few words that they often meet.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

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
const VALUES: [&str; 3] = ["1", "2", "12"];

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
    let listeners = vec((select(&PORTS[..]), option::of(select(&HOSTNAMES[..]))), 0..5).prop_map(listeners);
    (listeners, vec(route(), 1..6)).prop_map(|(listeners, mut routes)| {
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
        4 => subsequence(&HOSTNAMES[..], 1..3).prop_map(|names| names.into_iter().map(str::to_owned).collect()),
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
    vec(one_match(), 0..3).prop_map(|matches| Rule { matches })
}

fn one_match() -> impl Strategy<Value = Match> {
    let path = prop_oneof![
        1 => Just(None),
        3 => select(&EXACT[..]).prop_map(|path| Some(PathMatch::Exact(path.to_owned()))),
        5 => select(&PREFIXES[..]).prop_map(|path| Some(PathMatch::Prefix(path.to_owned()))),
        2 => select(&PATH_PATTERNS[..]).prop_map(|pattern| Some(PathMatch::Regex(pattern))),
    ];
    let method = option::weighted(0.25, select(&METHODS[..]).prop_map(str::to_owned));
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
        3 => select(&VALUES[..]).prop_map(|text| Value::Exact(text.to_owned())),
        1 => select(&VALUE_PATTERNS[..]).prop_map(Value::Regex),
    ];
    (prop_oneof![5 => Just(0_usize), 3 => Just(1), 1 => Just(2)], value.clone(), value, any::<bool>())
        .prop_map(|(count, one, other, swap)| {
            let order = if swap { [names[1], names[0]] } else { *names };
            let both = order.into_iter().zip([one, other]).take(count);
            both.map(|(name, value)| ValueMatch { name: name.to_owned(), value }).collect()
        })
}

/// A request for what configurations have, or nearly.
pub fn request() -> impl Strategy<Value = Request> {
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
