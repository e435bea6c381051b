//! Manifests as text, the way users write them.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::Backend;

/// The `controllerName` that makes a GatewayClass Copal's.
pub const CONTROLLER: &str = "copal.dev/gateway-controller";

/// A GatewayClass `copal` of Copal's.
pub fn gateway_class() -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata:
  name: copal
spec:
  controllerName: {CONTROLLER}
"
    )
}

/// A Namespace with labels, written `{team: a}`.
pub fn namespace(name: &str, labels: &str) -> String {
    format!(
        "---
apiVersion: v1
kind: Namespace
metadata:
  name: {name}
  labels: {labels}
"
    )
}

/// A Gateway `default/NAME` with these listeners.
pub fn gateway(name: &str, listeners: &str) -> String {
    format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: {name}
  namespace: default
spec:
  gatewayClassName: copal
  listeners:
{}",
        indent(listeners, 2)
    )
}

/// A listener NAME for HTTP on that port, for every host and the routes of every namespace.
pub fn listener(name: &str, port: u16) -> String {
    format!(
        "- name: {name}
  port: {port}
  protocol: HTTP
  allowedRoutes: {{namespaces: {{from: All}}}}
"
    )
}

/// A Service `default/NAME` with port 80, and one EndpointSlice for each backend.
pub fn service(name: &str, backends: &[&Backend]) -> String {
    let addresses: Vec<SocketAddr> = backends.iter().map(|backend| backend.address).collect();
    service_of(name, "", &addresses)
}

/// For each backend a Service of its name.
pub fn services(backends: &[&Backend]) -> String {
    backends.iter().map(|backend| service(&backend.name, &[backend])).collect()
}

/// As [`service`], with more fields of the Service's port (`appProtocol: kubernetes.io/ws`).
pub fn service_of(name: &str, port_fields: &str, addresses: &[SocketAddr]) -> String {
    let mut text = format!(
        "---
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: default
spec:
  ports:
  - name: http
    port: 80
    protocol: TCP
{}",
        indent(port_fields, 4)
    );
    for (number, address) in addresses.iter().enumerate() {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        let _ = write!(
            text,
            "---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: {name}-{number}
  namespace: default
  labels:
    kubernetes.io/service-name: {name}
addressType: {family}
ports:
- name: http
  port: {}
  protocol: TCP
endpoints:
- addresses: [\"{}\"]
  conditions: {{ready: true}}
",
            address.port(),
            address.ip()
        );
    }
    text
}

/// An HTTPRoute `default/NAME` on Gateway `default/gw`, for these hosts, with these rules.
pub fn route(name: &str, hosts: &[&str], rules: &str) -> String {
    route_on("- {name: gw, namespace: default}", name, hosts, rules)
}

/// As [`route`], with these parentRefs.
pub fn route_on(parents: &str, name: &str, hosts: &[&str], rules: &str) -> String {
    let mut text = format!(
        "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: {name}
  namespace: default
spec:
  parentRefs:
{}",
        indent(parents, 2)
    );
    if !hosts.is_empty() {
        let _ = writeln!(text, "  hostnames: {}", serde_json::json!(hosts));
    }
    let _ = write!(text, "  rules:\n{}", indent(rules, 2));
    text
}

/// The same manifests in another namespace than `default`.
pub fn in_namespace(namespace: &str, manifests: &str) -> String {
    manifests.replace("\n  namespace: default\n", &format!("\n  namespace: {namespace}\n"))
}

/// Takes the indentation that all lines have in common off them, and drops empty lines.
pub fn dedent(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let depth = |line: &&str| line.len() - line.trim_start().len();
    let common = lines.iter().map(depth).min().unwrap_or(0);
    lines.iter().map(|line| format!("{}\n", &line[common..])).collect()
}

/// [`dedent`]s, then moves every line to the right.
pub fn indent(text: &str, depth: usize) -> String {
    dedent(text).lines().map(|line| format!("{:depth$}{line}\n", "")).collect()
}
