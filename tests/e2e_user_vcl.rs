//! VCL of the user's own through a real Varnish: it acts where it is called, a broken edit changes nothing but the
//! status, a mended one acts.
#![cfg(test)]

mod support;

use std::process::Command;
use std::time::Duration;

use support::{Backend, Gateway, Response, get, indent, route, service_of, services};

const GATEWAY: &str = "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  gatewayClassName: copal
  infrastructure: {parametersRef: {group: copal.dev, kind: GatewayClassParameters, name: tuned}}
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: copal.dev/v1alpha1
kind: GatewayClassParameters
metadata: {name: tuned, namespace: default}
spec:
  vcl: {configMapRef: {name: own, key: site.vcl}}
";

fn config_map(vcl: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: own, namespace: default}}\ndata:\n  site.vcl: |\n{}",
        indent(vcl, 4)
    )
}

/// Hooks that tell when they ran; `version` is what the last of them says.
fn vcl(version: &str) -> String {
    format!(
        r#"
        import std;
        acl nobody {{ "192.0.2.1"; }}
        sub copal_before_routing {{
          if (req.url == "/closed" && client.ip !~ nobody) {{ return (synth(403, "Closed")); }}
          set req.http.X-Before = req.url;
          if (req.url ~ "^/old/") {{ set req.url = regsub(req.url, "^/old/", "/new/"); }}
        }}
        sub copal_after_routing {{
          set req.http.X-After = req.http.X-Before + " as " + req.url;
          if (req.http.X-Elsewhere) {{ set req.backend_hint = elsewhere; return (pass); }}
          if (req.url ~ "^/private/") {{ return (pass); }}
        }}
        sub copal_backend_fetch {{ set bereq.http.X-Fetch = "fetched"; }}
        sub copal_backend_response {{
          if (bereq.url ~ "^/keep/") {{ set beresp.ttl = 60s; }}
        }}
        sub copal_deliver {{ set resp.http.X-Version = "{version}"; set resp.http.X-Hits = obj.hits; }}
        "#
    )
}

fn status(gateway: &Gateway) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_copal"))
        .arg("status")
        .arg(gateway.folder())
        .args(["--port-offset", &gateway.offset().to_string(), "--admin", &gateway.admin().to_string()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| line.starts_with("Gateway ") && line.contains("default/gw "));
    let mut lines = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.find(|line| line.starts_with("Gateway default/gw Programmed ")).unwrap_or_default()
}

fn version(response: &Response) -> Option<&str> {
    response.header("x-version")
}

#[test]
fn hooks_act_and_a_broken_edit_leaves_the_last_good_vcl_in_force() {
    let [one, elsewhere, socket] = Backend::group(["one", "elsewhere", "socket"]);
    let own_backend = format!(
        "backend elsewhere {{ .host = \"{}\"; .port = \"{}\"; }}\n",
        elsewhere.address.ip(),
        elsewhere.address.port()
    );
    let good = |version: &str| config_map(&(own_backend.clone() + &vcl(version).replace("        ", "")));
    let rules = "
        - backendRefs: [{name: one, port: 80}]
        - matches: [{path: {value: /changed}}]
          filters:
          - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-rule, value: changed}]}}
          - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-version, value: of the rule}]}}
          backendRefs: [{name: one, port: 80}]
        - matches: [{path: {value: /socket}}]
          backendRefs: [{name: socket, port: 80}]
    ";
    let sockets = service_of("socket", "appProtocol: kubernetes.io/ws", &[socket.address]);
    let files = [
        ("gateway.yaml", GATEWAY.to_owned()),
        ("vcl.yaml", good("1")),
        ("route.yaml", services(&[&one]) + &sockets + &route("r", &["v.test"], rules)),
    ];
    let gateway = Gateway::start(&[80], &files);
    let send = |path: &str| gateway.send(&get("v.test", path));

    let plain = send("/x");
    assert_eq!(plain.received("x-after"), ["/x as /x"], "after routing");
    assert_eq!((plain.received("x-fetch"), version(&plain)), (vec!["fetched".to_owned()], Some("1")));
    assert_eq!(send("/closed").status, 403, "before routing, an answer ends it");
    let moved = send("/old/a");
    assert_eq!(
        (moved.told("path"), moved.received("x-after")),
        ("/new/a".into(), vec!["/old/a as /new/a".into()])
    );
    let changed = send("/changed");
    assert_eq!(changed.received("x-rule"), ["changed"]);
    assert_eq!(version(&changed), Some("1"), "the user has the last word");
    let elsewhere = gateway.send(&get("v.test", "/y").header("X-Elsewhere", "1"));
    assert_eq!(elsewhere.backend(), "elsewhere", "a backend chosen after routing counts");
    assert_eq!(send("/y").backend(), "one");
    let upgraded = get("v.test", "/socket").header("Connection", "Upgrade").header("Upgrade", "websocket");
    assert_eq!(gateway.send(&upgraded).status, 101);
    let (first, second) = (send("/keep/a"), send("/keep/a"));
    assert_eq!(
        (first.header("x-hits"), second.header("x-hits")),
        (Some("0"), Some("1")),
        "kept in the cache"
    );
    for _ in 0..2 {
        assert_eq!(
            send("/private/a?cc=max-age=60").header("x-hits"),
            Some("0"),
            "passed, since the user says so"
        );
    }
    let programmed = "Gateway default/gw Programmed True Programmed Varnish serves this configuration";
    assert_eq!(status(&gateway), programmed);

    let broken = good("2").replace("set resp.http.X-Hits = obj.hits;", "set resp.http.X-Hits = obj.nosuch;");
    let line =
        broken.lines().skip_while(|line| !line.contains("site.vcl")).position(|it| it.contains("nosuch"));
    let place = format!("ConfigMap default/own, key site.vcl, line {}", line.unwrap());
    gateway.write("vcl.yaml", &broken);
    let failed = format!("Gateway default/gw Programmed False Invalid {place}: ");
    gateway.wait_for("the compiler's verdict", Duration::from_secs(30), || {
        status(&gateway).starts_with(&failed)
    });
    let told = status(&gateway);
    assert!(told.ends_with("; the last good configuration serves on"), "{told}");
    assert_eq!(told.matches("ConfigMap").count(), 1, "each fault is said once: {told}");
    assert!(gateway.log().contains(&place), "{}", gateway.log_tail());
    assert_eq!((version(&send("/x")), send("/keep/a").header("x-hits")), (Some("1"), Some("2")));
    assert!(gateway.is_ready());

    gateway.apply("vcl.yaml", &good("3"));
    assert_eq!(version(&send("/x")), Some("3"));
    assert_eq!(status(&gateway), programmed);

    gateway.apply(
        "gateway.yaml",
        &GATEWAY.replace("vcl: {configMapRef: {name: own, key: site.vcl}}", "replicas: 1"),
    );
    assert_eq!(version(&send("/x")), None, "nothing of it is left");
    gateway.apply("gateway.yaml", &GATEWAY.replace("site.vcl", "no.vcl"));
    let refused = "Gateway default/gw Accepted False InvalidParameters";
    let output =
        Command::new(env!("CARGO_BIN_EXE_copal")).arg("status").arg(gateway.folder()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(refused) && text.contains("ConfigMap default/own has no key no.vcl"), "{text}");
}
