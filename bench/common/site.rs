//! 1,000 vhosts × 5 routes × 3 endpoints, one file for each vhost.

use std::fmt::Write as _;

use super::server::{BackendProcess, address};
use crate::support::{Gateway, gateway, listener};

pub const VHOSTS: usize = 1_000;
const ROUTES: usize = 5;
const ENDPOINTS: usize = 3;

/// The host of a vhost.
pub fn host(vhost: usize) -> String {
    format!("v{vhost:04}.bench.test")
}

/// The file of a vhost.
pub fn file_name(vhost: usize) -> String {
    format!("vhosts/v{vhost:04}.yaml")
}

/// The configuration, with its backend running.
pub struct Site {
    pub backend: BackendProcess,
}

impl Site {
    pub fn new(backend: BackendProcess) -> Self {
        Self { backend }
    }

    /// Starts `copal run` on it, and waits for nothing.
    pub fn spawn(&self) -> Gateway {
        let mut files = vec![("gateway.yaml".to_owned(), gateway("gw", &listener("http", 80)))];
        files.extend((0..VHOSTS).map(|vhost| (file_name(vhost), self.file(vhost, 0))));
        let files: Vec<(&str, String)> =
            files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
        Gateway::spawn(&[80], &files, &["--log-format", "json"])
    }

    /// One vhost: an HTTPRoute with five rules, each with its own Service of three endpoints. The answers of
    /// the first rule carry `x-version`.
    pub fn file(&self, vhost: usize, version: usize) -> String {
        let mut text = String::new();
        for route in 0..ROUTES {
            self.service(&mut text, vhost, route);
        }
        let _ = write!(
            text,
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: v{vhost}, namespace: default}}
spec:
  parentRefs: [{{name: gw}}]
  hostnames: [{}]
  rules:
  - matches: [{{path: {{type: PathPrefix, value: /r0}}}}]
    filters:
    - type: ResponseHeaderModifier
      responseHeaderModifier: {{set: [{{name: x-version, value: '{version}'}}]}}
    backendRefs: [{{name: v{vhost}-r0, port: 80}}]
",
            host(vhost)
        );
        for route in 1..ROUTES {
            let _ = write!(
                text,
                "  - matches: [{{path: {{type: PathPrefix, value: /r{route}}}}}]
    backendRefs: [{{name: v{vhost}-r{route}, port: 80}}]
"
            );
        }
        text
    }

    fn service(&self, text: &mut String, vhost: usize, route: usize) {
        let name = format!("v{vhost}-r{route}");
        let first = (vhost * ROUTES + route) * ENDPOINTS;
        let _ = write!(
            text,
            "---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: default}}
spec: {{ports: [{{name: http, port: 80, protocol: TCP}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: {name}, namespace: default, labels: {{kubernetes.io/service-name: {name}}}}}
addressType: IPv4
ports: [{{name: http, port: {}, protocol: TCP}}]
endpoints:
",
            self.backend.port
        );
        for number in first..first + ENDPOINTS {
            let _ = writeln!(text, "- {{addresses: [{}], conditions: {{ready: true}}}}", address(number));
        }
    }
}
