//! Services as VCL: a backend for each endpoint, and a director where there are several.

use std::net::SocketAddr;

use super::literal::{VclComment, VclExpr, VclIdent, VclString};
use super::upstreams::{SocketFolder, Way};
use crate::model::{Forward, ServicePort};

/// A Service's port, reached in one way.
pub(super) struct ServiceVcl {
    pub comment: VclComment,
    /// Chooses among the backends; one backend needs no choice, and a director costs time to compile.
    pub director: Option<VclIdent>,
    pub backends: Vec<BackendVcl>,
}

/// One endpoint.
pub(super) struct BackendVcl {
    pub name: VclIdent,
    pub host: VclString,
    pub port: VclString,
    /// The relay's socket, where varnishd does not go by itself.
    pub path: Option<VclString>,
}

/// What a rule forwards to. The same Service may be reached in several ways: with and without copies, say.
pub(super) struct Target<'a> {
    pub forward: &'a Forward,
    /// None where varnishd goes by itself.
    pub way: Option<Way>,
}

impl<'a> Target<'a> {
    pub(super) fn of(forward: &'a Forward) -> Self {
        Self { forward, way: Way::of(forward) }
    }

    /// Equal keys are equal backends.
    pub(super) fn key(&self) -> (&'a ServicePort, Option<String>) {
        (&self.forward.service, self.way.as_ref().map(|way| way.name.clone()))
    }

    /// What chooses among the endpoints of a Service that has some.
    pub(super) fn backend(&self) -> VclExpr {
        let endpoints = &self.forward.backend.endpoints;
        match endpoints.first() {
            Some(only) if endpoints.len() == 1 => VclExpr::name(&self.endpoint(only)),
            _ => VclExpr::chosen_by(&self.ident(&[])),
        }
    }

    /// Its endpoints; `sockets` is where the relay has its own.
    pub(super) fn declaration(&self, sockets: &SocketFolder) -> ServiceVcl {
        let endpoints = &self.forward.backend.endpoints;
        let backend = |endpoint: &SocketAddr| BackendVcl {
            name: self.endpoint(endpoint),
            host: VclString::new(&endpoint.ip().to_string()),
            port: VclString::new(&endpoint.port().to_string()),
            path: self.way.as_ref().map(|way| sockets.socket(&way.to(*endpoint).id())),
        };
        ServiceVcl {
            comment: self.comment(),
            director: (endpoints.len() > 1).then(|| self.ident(&[])),
            backends: endpoints.iter().map(backend).collect(),
        }
    }

    fn comment(&self) -> VclComment {
        let Forward { service, backend, rewrite: _, mirrors } = self.forward;
        if self.way.is_none() {
            return VclComment::new(format_args!("Service {service}"));
        }
        let http2 = backend.transport.http2.then(|| ", HTTP/2".to_owned());
        let tls = backend.transport.tls.as_ref().map(|tls| format!(", TLS as {}", tls.hostname));
        let mirrors = mirrors
            .iter()
            .map(|it| format!(", {}/{} copied to {}", it.numerator, it.denominator, it.service));
        let how: String = http2.into_iter().chain(tls).chain(mirrors).collect();
        VclComment::new(format_args!("Service {service} through the relay{how}"))
    }

    fn endpoint(&self, endpoint: &SocketAddr) -> VclIdent {
        let ip = endpoint.ip().to_string().replace(['.', ':'], "-");
        self.ident(&[&ip, &endpoint.port().to_string()])
    }

    /// The way's name keeps several ways to one Service apart, and stays as long as the way does.
    fn ident(&self, endpoint: &[&str]) -> VclIdent {
        let ServicePort { service, port } = &self.forward.service;
        let port = port.to_string();
        let mut parts = vec![service.namespace.as_str(), service.name.as_str(), port.as_str()];
        parts.extend(self.way.as_ref().map(|way| way.name.as_str()));
        parts.extend(endpoint);
        VclIdent::new("svc", &parts)
    }
}
