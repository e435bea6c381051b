//! Bundles that are made of manifests, as Copal makes them.

use std::net::SocketAddr;

use copal::bundle::Bundle;
use copal::bundle::relay::Certificate;
use copal::snapshot::Snapshot;
use copal::translate::{Settings, translate};
use copal::vcl::Renderer;

use crate::objects::objects;

/// The bundle of Gateway `gw` with these `listeners`, Secret `tls` with the certificate, Service `web` on the port of a
/// backend, and what else is given.
pub fn bundle(certificate: &Certificate, backend: SocketAddr, listeners: &str, others: &str) -> Bundle {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().replace('\n', "\n    ");
    let manifests = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {{name: copal}}
spec: {{controllerName: copal.dev/gateway-controller}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{name: gw, namespace: default}}
spec:
  gatewayClassName: copal
  listeners:
{listeners}---
apiVersion: v1
kind: Secret
metadata: {{name: tls, namespace: default}}
type: kubernetes.io/tls
stringData:
  tls.crt: |
    {}
  tls.key: |
    {}
---
apiVersion: v1
kind: Service
metadata: {{name: web, namespace: default}}
spec: {{ports: [{{name: http, port: 80}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: web-1, namespace: default, labels: {{kubernetes.io/service-name: web}}}}
addressType: IPv4
ports: [{{name: http, port: {}}}]
endpoints: [{{addresses: [{}]}}]
{others}",
        text(&certificate.chain),
        text(&certificate.key),
        backend.port(),
        backend.ip(),
    );
    let snapshot: Snapshot = objects("the test's own", &manifests).into_iter().collect();
    Renderer::default().render(translate(&snapshot, &Settings::default()).shared_model())
}
