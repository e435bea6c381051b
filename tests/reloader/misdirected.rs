//! Requests on TLS connections that were made for another listener, through the relay and a real varnishd.

use std::net::SocketAddr;

use copal::bundle::Bundle;
use copal::bundle::relay::Certificate;
use rustls::version::TLS13;

use crate::backend::Backend;
use crate::manifests;
use crate::served::Served;
use crate::tls::{Authority, connect, request};

/// Hosts that the certificate is for: clients may use one connection for all of them.
const HOSTS: [&str; 4] = ["example.org", "second-example.org", "unknown-example.org", "*.wildcard.org"];

/// A Gateway as the conformance suite has it, and a second port with the same listeners but the one for all hosts.
fn bundle(certificate: &Certificate, backend: SocketAddr) -> Bundle {
    let listener = |name: &str, port: u16, host: &str| {
        format!(
            "  - {{name: {name}-{port}, port: {port}, hostname: {host:?}, protocol: HTTPS, tls: {{certificateRefs: [{{name: tls}}]}}}}\n"
        )
    };
    let mut listeners = listener("any", 443, "");
    for port in [443, 444] {
        listeners += &listener("exact", port, "second-example.org");
        listeners += &listener("wild", port, "*.wildcard.org");
        listeners += &listener("in-wild", port, "fourth-example.wildcard.org");
    }
    listeners +=
        "  - {name: pass, port: 444, hostname: pass-example.org, protocol: TLS, tls: {mode: Passthrough}}\n";
    let route = |name: &str, parents: &str, hosts: &str| {
        format!(
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: {name}, namespace: default}}
spec:
  parentRefs: {parents}
  hostnames: {hosts}
  rules: [{{backendRefs: [{{name: web, port: 80}}]}}]
"
        )
    };
    let routes = route("any", "[{name: gw, sectionName: any-443}]", "[example.org]")
        + &route("rest", "[{name: gw}]", "[second-example.org, '*.wildcard.org']");
    manifests::bundle(
        certificate,
        backend,
        &format!("  - {{name: http, port: 80, protocol: HTTP}}\n{listeners}"),
        &routes,
    )
}

fn served(web: &Backend) -> Served {
    let authority = Authority::new();
    let bundle = bundle(&authority.issue(&HOSTS), web.address);
    Served::serve(authority, &bundle)
}

#[test]
fn what_belongs_to_another_listener_than_the_connection_gets_421() {
    let web = Backend::start("web");
    let served = served(&web);
    for (port, name, host, status) in [
        (443, "example.org", "example.org", 200),
        (443, "example.org", "second-example.org", 421),
        (443, "example.org", "unknown-example.org", 404),
        (443, "second-example.org", "second-example.org", 200),
        (443, "second-example.org", "Second-Example.ORG.:443", 200),
        (443, "second-example.org", "example.org", 421),
        (443, "second-example.org", "unknown-example.org", 421),
        (443, "third-example.wildcard.org", "third-example.wildcard.org", 200),
        (443, "third-example.wildcard.org", "fifth-example.wildcard.org", 200),
        (443, "third-example.wildcard.org", "a.fifth-example.wildcard.org", 200),
        (443, "third-example.wildcard.org", "wildcard.org", 421),
        (443, "third-example.wildcard.org", "fourth-example.wildcard.org", 421),
        (443, "third-example.wildcard.org", "second-example.org", 421),
        (443, "third-example.wildcard.org", "unknown-example.org", 421),
        (443, "fourth-example.wildcard.org", "fourth-example.wildcard.org", 200),
        (443, "fourth-example.wildcard.org", "fifth-example.wildcard.org", 421),
        (443, "unknown-example.org", "example.org", 200),
        (443, "unknown-example.org", "unknown-example.org", 404),
        (444, "second-example.org", "second-example.org", 200),
        (444, "second-example.org", "third-example.wildcard.org", 421),
        (444, "second-example.org", "unknown-example.org", 404),
        (444, "second-example.org", "pass-example.org", 421),
        (444, "third-example.wildcard.org", "FOURTH-example.wildcard.org:444", 421),
    ] {
        let address = SocketAddr::from(([127, 0, 0, 1], served.offset + port));
        for version in ["--http1.1", "--http2"] {
            let header = format!("Host: {host}");
            let answer = served.authority.curl(address, name, "/", &[version, "-H", &header]).unwrap();
            let expected = format!("{} {status}", version.replace("--http", "HTTP/"));
            assert!(answer.starts_with(&expected), "{name} {host}: expected {expected}, not\n{answer}");
        }
    }
}

#[test]
fn one_connection_serves_the_hosts_of_its_listener_and_stays() {
    let web = Backend::start("web");
    let served = served(&web);
    let client = served.authority.client(&[&TLS13]);
    let mut stream = connect(&client, served.address, "x.wildcard.org").unwrap();
    for (host, status) in [
        ("x.wildcard.org", " 200 "),
        ("second-example.org", " 421 misdirected request"),
        ("y.wildcard.org", " 200 "),
        ("unknown-example.org", " 421 "),
    ] {
        let (head, _) = request(&mut stream, host, "/").unwrap();
        assert!(head.lines().next().unwrap().contains(status), "{host}: {head}");
    }
}

#[test]
fn no_server_name_is_that_of_the_listener_for_all_hosts_and_plain_http_has_none() {
    let web = Backend::start("web");
    let served = served(&web);
    // An address is no server name.
    for (host, status) in [("example.org", 200), ("second-example.org", 421), ("unknown-example.org", 404)] {
        let header = format!("Host: {host}");
        let answer = served.authority.curl(served.address, "127.0.0.1", "/", &["--insecure", "-H", &header]);
        let answer = answer.unwrap();
        assert!(answer.lines().next().unwrap().contains(&format!(" {status}")), "{host}: {answer}");
    }
    let plain = SocketAddr::from(([127, 0, 0, 1], served.offset + 80));
    let answer = crate::client::get(plain, "second-example.org", "/").unwrap();
    assert_eq!(answer.status, 200);
}
