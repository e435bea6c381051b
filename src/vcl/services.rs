//! Services as VCL: a backend for each endpoint, and a director where there are several.

use std::net::SocketAddr;

use super::literal::{VclComment, VclExpr, VclIdent, VclString};
use crate::model::{Service, ServicePort};

/// A Service's port.
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
}

impl ServiceVcl {
    pub(super) fn new(port: &ServicePort, service: &Service) -> Self {
        let backend = |endpoint: &SocketAddr| BackendVcl {
            name: endpoint_name(port, endpoint),
            host: VclString::new(&endpoint.ip().to_string()),
            port: VclString::new(&endpoint.port().to_string()),
        };
        Self {
            comment: VclComment::new(format_args!("Service {port}")),
            director: (service.endpoints.len() > 1).then(|| director(port)),
            backends: service.endpoints.iter().map(backend).collect(),
        }
    }
}

/// What chooses among the endpoints of a Service that has some.
pub(super) fn backend(port: &ServicePort, service: &Service) -> VclExpr {
    match service.endpoints.first() {
        Some(only) if service.endpoints.len() == 1 => VclExpr::name(&endpoint_name(port, only)),
        _ => VclExpr::chosen_by(&director(port)),
    }
}

fn director(it: &ServicePort) -> VclIdent {
    VclIdent::new("svc", &[&it.service.namespace, &it.service.name, &it.port.to_string()])
}

fn endpoint_name(it: &ServicePort, endpoint: &SocketAddr) -> VclIdent {
    let (service, port) = (&it.service, it.port.to_string());
    let ip = endpoint.ip().to_string().replace(['.', ':'], "-");
    VclIdent::new("svc", &[&service.namespace, &service.name, &port, &ip, &endpoint.port().to_string()])
}
