//! The oracle is plain enough to be right by reading; these lines keep it so.

use super::{Config, Decision, Listener, Match, PathMatch, Request, Route, Rule, decide};

fn listener(hostname: Option<&str>) -> Listener {
    Listener { name: format!("{hostname:?}"), port: 80, hostname: hostname.map(str::to_owned) }
}

fn route(name: &str, hostnames: &[&str], prefixes: &[&str]) -> Route {
    let prefix =
        |path: &&str| Match { path: Some(PathMatch::Prefix((*path).to_owned())), ..Match::default() };
    Route {
        namespace: "n".into(),
        name: name.into(),
        day: None,
        section: None,
        hostnames: hostnames.iter().map(|&host| host.to_owned()).collect(),
        rules: prefixes.iter().map(|path| Rule { matches: vec![prefix(path)] }).collect(),
    }
}

fn decided(config: &Config, host: &str, path: &str) -> String {
    let request = Request {
        port: 80,
        host: host.into(),
        method: "GET".into(),
        path: path.into(),
        query: vec![],
        headers: vec![],
    };
    match decide(config, &request) {
        Decision::NotFound => "404".into(),
        Decision::Rule { route, rule, .. } => format!("{route} {rule}"),
    }
}

#[test]
fn prefixes_are_of_whole_elements_and_the_longest_wins() {
    let routes = vec![route("r", &[], &["/", "/a", "/a/b/"])];
    let config = Config { listeners: vec![listener(None)], routes };
    let table =
        [("/", "r 0"), ("/ab", "r 0"), ("/a", "r 1"), ("/a/", "r 1"), ("/a/b", "r 2"), ("/a/bc", "r 1")];
    for (path, expected) in table {
        assert_eq!(decided(&config, "x.test", path), expected, "{path}");
    }
}

#[test]
fn hosts_go_from_exact_to_wide_and_listeners_are_apart() {
    let listeners = vec![listener(None), listener(Some("*.a.test"))];
    let routes = vec![
        route("exact", &["b.a.test"], &["/b"]),
        route("wild", &["*.test"], &["/b/c", "/w"]),
        Route { section: Some("None".into()), ..route("any", &[], &["/"]) },
    ];
    let config = Config { listeners, routes };
    let table = [
        ("b.a.test", "/b/c", "exact 0"),
        ("b.a.test", "/w", "wild 1"),
        ("b.a.test", "/none", "404"),
        ("c.a.test", "/b", "404"),
        ("x.test", "/w", "wild 1"),
        ("x.test", "/none", "any 0"),
        ("test", "/w", "any 0"),
    ];
    for (host, path, expected) in table {
        assert_eq!(decided(&config, host, path), expected, "{host}{path}");
    }
}

#[test]
fn answers_are_read_back() {
    let rule = Some(Decision::Rule { namespace: "n1".into(), route: "r0".into(), rule: 2 });
    assert_eq!(Decision::parse("http://a.test:8080/n1/r0/2?p=1"), rule);
    assert_eq!(Decision::parse("n1/r0/2"), rule);
    assert_eq!(Decision::parse("nothing"), None);
}
