//! A reloader with an access log, and what `copal render` makes of manifests.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use copal::bundle::Bundle;
use copal::bundle::logging::{Field, Format, Logging};
use copal::bundle_folder;
use serde_json::Value;

use crate::backend::Backend;
use crate::client::{Answer, Connection, get};
use crate::harness::{Place, Reloader};

/// Everything for the host `a`: rules that only forward, that redirect, that fail, and a WebSocket.
pub fn manifests(port: u16, backend: &Backend) -> String {
    let rule =
        |path: &str, more: &str| format!("    - matches: [{{path: {{value: {path}}}}}]\n      {more}\n");
    let rules = [
        rule("/plain", "backendRefs: [{name: web, port: 80}]"),
        rule("/named", "name: second\n      backendRefs: [{name: web, port: 80}]"),
        rule("/redirect", "filters: [{type: RequestRedirect, requestRedirect: {statusCode: 302}}]"),
        rule("/empty", "backendRefs: [{name: empty, port: 80}]"),
        rule("/broken", "backendRefs: [{name: nothing, port: 80}]"),
        rule("/ws", "backendRefs: [{name: ws, port: 80}]"),
        rule(
            "/cors",
            "backendRefs: [{name: web, port: 80}]\n      filters: [{type: CORS, cors: {allowOrigins: [\"*\"]}}]",
        ),
    ];
    let service = |name: &str, fields: &str| {
        format!(
            "---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec: {{ports: [{{port: 80{fields}}}]}}
"
        )
    };
    let endpoint = |name: &str| {
        format!(
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}-1, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{port: {}}}]
endpoints: [{{addresses: [127.0.0.1]}}]
",
            backend.address.port()
        )
    };
    format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: copal}}
spec: {{controllerName: copal.dev/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: gw}}
spec:
  gatewayClassName: copal
  listeners: [{{name: http, port: {port}, protocol: HTTP}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop}}
spec:
  parentRefs: [{{name: gw}}]
  hostnames: [a]
  rules:
{}{}{}{}{}{}",
        rules.concat(),
        service("web", ""),
        service("empty", ""),
        service("ws", ", appProtocol: kubernetes.io/ws"),
        endpoint("web"),
        endpoint("ws"),
    )
}

/// Makes rules name themselves; what is logged, each test says itself.
const POLICY: &str = "---
apiVersion: copal.dev/v1alpha1
kind: VarnishLoggingPolicy
metadata: {name: log}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
";

pub fn rendered(place: &Place, backend: &Backend) -> Bundle {
    let bundle = render(&(manifests(place.port, backend) + POLICY));
    assert_eq!(bundle.manifest.logging, Some(Logging::default()));
    bundle
}

pub fn render(manifests: &str) -> Bundle {
    let folder = tempfile::tempdir().unwrap();
    let (manifests_folder, out) = (folder.path().join("in"), folder.path().join("out"));
    fs::create_dir(&manifests_folder).unwrap();
    fs::write(manifests_folder.join("all.yaml"), manifests).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_copal"));
    command.arg("render").arg(&manifests_folder).arg("--out").arg(&out).args(["--port-offset", "0"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    bundle_folder::read(&out, None).unwrap()
}

pub fn lines(reloader: &Reloader) -> Vec<Value> {
    let output = reloader.output();
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    // The last line may not have come whole.
    output.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(line).collect()
}

/// Waits for a line.
pub fn line(reloader: &Reloader, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    reloader.wait_for(what, || lines(reloader).into_iter().find(&is_it))
}

pub fn line_of(reloader: &Reloader, url: &str) -> Value {
    line(reloader, url, |line| line["url"] == url)
}

/// Asks until the log has it: the reader needs a moment to find varnishd's log.
pub fn wait_for_reader(place: &Place, reloader: &Reloader) {
    let mut number = 0;
    reloader.wait_for("a line of the access log", || {
        let before = reloader.output().len();
        get(place.address(), "a", &format!("/warm-up-{number}")).unwrap();
        number += 1;
        thread::sleep(Duration::from_millis(100));
        (reloader.output().len() > before).then_some(())
    });
}

pub fn served(place: &Place, bundle: &Bundle) -> Reloader {
    let reloader = place.serve(bundle);
    wait_for_reader(place, &reloader);
    reloader
}

pub fn ask(place: &Place, request: &[u8]) -> Answer {
    let mut connection = Connection::open(place.address()).unwrap();
    connection.send_raw(request).unwrap();
    connection.receive().unwrap()
}

pub fn json_of(fields: &[Field]) -> Logging {
    Logging { format: Format::Json(fields.to_vec()), ..Logging::default() }
}
