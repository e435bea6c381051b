//! Endpoints that varnishd goes to through the relay: those that it does not speak to by itself (TLS, HTTP/2), and those
//! whose requests are copied. Each is a unix socket of the relay's.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use super::literal::VclString;
use super::services::Target;
use crate::bundle::relay::{
    self, Certificates, SubjectAltName, Upstream, UpstreamId, UpstreamTls, certificate_id, upstream_socket,
};
use crate::model::{self, BackendTls, Certificate, Forward, Mirror, Service, Transport};

/// The longest path of a socket: the size of `sun_path` in unix(7), less the zero at its end.
const LONGEST_SOCKET: usize = 107;

/// The folder of the relay's sockets, as VCL names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketFolder(String);

/// Why VCL cannot name the relay's sockets.
#[derive(Debug, thiserror::Error)]
pub enum SocketFolderError {
    /// The system has no such long addresses.
    #[error(
        "the sockets in {folder} have paths of {length} bytes, more than the {LONGEST_SOCKET} that Linux allows: use a shorter --state"
    )]
    TooLong {
        /// The relay's folder.
        folder: String,
        /// Bytes in the path of a socket.
        length: usize,
    },
    /// A path that VCL has no literal for.
    #[error(
        "the path {0} cannot stand in VCL: expected an absolute one without quotes and control characters; use another --state"
    )]
    Unquotable(String),
}

impl SocketFolder {
    /// The relay's folder: where it finds its task.
    ///
    /// # Errors
    /// When the path is too long for sockets, or VCL cannot name it.
    pub fn new(relay: &Path) -> Result<Self, SocketFolderError> {
        let plain = |text: &&str| !text.chars().any(|c| c == '"' || c.is_control());
        let Some(text) = relay.to_str().filter(|_| relay.is_absolute()).filter(plain) else {
            return Err(SocketFolderError::Unquotable(relay.display().to_string()));
        };
        let folder = Self(text.to_owned());
        let length = folder.path(&Way::direct(UNSPECIFIED).id()).len();
        if length > LONGEST_SOCKET {
            return Err(SocketFolderError::TooLong { folder: folder.0, length });
        }
        Ok(folder)
    }

    /// The socket of an upstream.
    pub(super) fn socket(&self, id: &str) -> VclString {
        VclString::new(&self.path(id))
    }

    fn path(&self, id: &str) -> String {
        format!("{}/{}", self.0, upstream_socket(id))
    }
}

impl Default for SocketFolder {
    /// The one in a pod.
    fn default() -> Self {
        Self(format!("{}/{}", relay::POD_STATE, relay::FOLDER))
    }
}

/// In the place of an endpoint that does not matter.
const UNSPECIFIED: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What the relay does between varnishd and the endpoints of a Service: the same for all of them.
pub(super) struct Way {
    /// An upstream without its address.
    template: Upstream,
    /// What tells it from other ways: follows from the content, endpoints of mirrors included.
    pub name: String,
}

impl Way {
    /// `None` where varnishd goes by itself.
    pub(super) fn of(forward: &Forward) -> Option<Self> {
        let mirrors = forward.mirrors.iter().filter(|mirror| !mirror.backend.endpoints.is_empty());
        let mirrors: Vec<_> = mirrors.map(copies).collect();
        if mirrors.is_empty() && forward.backend.transport == Transport::default() {
            return None;
        }
        let template = Upstream { mirrors, ..upstream(UNSPECIFIED, &forward.backend.transport) };
        Some(Self { name: template.id(), template })
    }

    /// The upstream of an endpoint.
    pub(super) fn to(&self, endpoint: SocketAddr) -> Upstream {
        Upstream { address: endpoint, ..self.template.clone() }
    }

    fn direct(address: SocketAddr) -> Upstream {
        upstream(address, &Transport::default())
    }
}

fn copies(it: &Mirror) -> relay::Mirror {
    let Mirror { service: _, backend, numerator, denominator } = it;
    let endpoints = backend.endpoints.iter().map(|endpoint| upstream(*endpoint, &backend.transport));
    relay::Mirror { endpoints: endpoints.collect(), numerator: *numerator, denominator: *denominator }
}

fn upstream(address: SocketAddr, transport: &Transport) -> Upstream {
    let Transport { http2, tls } = transport;
    Upstream { address, http2: *http2, tls: tls.as_deref().map(upstream_tls), mirrors: Vec::new() }
}

fn upstream_tls(it: &BackendTls) -> UpstreamTls {
    let BackendTls { hostname, names, authorities, client_certificate } = it;
    let name = |it: &model::SubjectAltName| match it {
        model::SubjectAltName::Dns(name) => SubjectAltName::Dns(name.to_string()),
        model::SubjectAltName::Uri(uri) => SubjectAltName::Uri(uri.clone()),
    };
    UpstreamTls {
        server_name: hostname.to_string(),
        names: names.iter().map(name).collect(),
        authorities: authorities.as_ref().map(|it| it.iter().map(|it| certificate_id(it)).collect()),
        client_certificate: client_certificate.as_ref().map(|it| certificate_id(it)),
    }
}

/// What the relay has to do for a shard.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    pub all: BTreeMap<UpstreamId, Upstream>,
    /// The certificates that they take.
    pub certificates: Certificates,
}

impl Upstreams {
    /// Those of what rules forward to.
    pub(super) fn of(targets: &[Target<'_>]) -> Self {
        let mut upstreams = Self::default();
        for Target { forward, way } in targets {
            let Some(way) = way else { continue };
            let all = forward.backend.endpoints.iter().map(|endpoint| way.to(*endpoint));
            upstreams.all.extend(all.map(|it| (it.id(), it)));
            let mirrors = forward.mirrors.iter().map(|mirror| &mirror.backend);
            let taken = std::iter::once(&forward.backend).chain(mirrors).flat_map(|it| certificates(it));
            upstreams.certificates.extend(taken.map(|it| (certificate_id(it), it.clone())));
        }
        upstreams
    }
}

fn certificates(it: &Service) -> impl Iterator<Item = &Arc<Certificate>> {
    let authorities = it.transport.tls.iter().filter_map(|tls| tls.authorities.as_ref()).flatten();
    authorities.chain(it.transport.tls.iter().filter_map(|tls| tls.client_certificate.as_ref()))
}
