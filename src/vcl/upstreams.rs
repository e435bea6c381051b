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
    let BackendTls { hostname, names, authorities } = it;
    let name = |it: &model::SubjectAltName| match it {
        model::SubjectAltName::Dns(name) => SubjectAltName::Dns(name.to_string()),
        model::SubjectAltName::Uri(uri) => SubjectAltName::Uri(uri.clone()),
    };
    UpstreamTls {
        server_name: hostname.to_string(),
        names: names.iter().map(name).collect(),
        authorities: authorities.as_ref().map(|it| it.iter().map(|it| certificate_id(it)).collect()),
    }
}

/// What the relay has to do for a shard.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    pub all: BTreeMap<UpstreamId, Upstream>,
    /// The authorities of their certificates.
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
    it.transport.tls.iter().filter_map(|tls| tls.authorities.as_ref()).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::Renderer;
    use super::*;
    use crate::bundle::Bundle;
    use crate::model::{
        Branch, Filters, HostPattern, Hostname, ListenerId, Model, ObjectKey, Outcome, PathMatch, Rank,
        Rewrite, RouteMatch, Rule, RuleId, ServicePort, Timeouts, UrlPath, VirtualHost,
    };

    fn certificate(text: &str, key: &str) -> Arc<Certificate> {
        Arc::new(Certificate { chain: text.as_bytes().into(), key: key.as_bytes().into() })
    }

    fn tls() -> Transport {
        let tls = BackendTls {
            hostname: Hostname::new("backend.test").unwrap(),
            names: vec![model::SubjectAltName::Uri("spiffe://a".into())],
            authorities: Some(vec![certificate("ca", "")]),
        };
        Transport { http2: true, tls: Some(Arc::new(tls)) }
    }

    fn port(name: &str) -> ServicePort {
        ServicePort { service: ObjectKey::new("default", name), port: 443 }
    }

    fn service(address: &str, transport: Transport) -> Arc<Service> {
        let endpoints = [address.parse().unwrap()].into();
        Arc::new(Service { endpoints, transport, ..Service::default() })
    }

    fn forward(transport: Transport, mirrors: Vec<Mirror>) -> Forward {
        let backend = service("10.0.0.1:443", transport);
        Forward { service: port("a"), backend, rewrite: Rewrite::default(), mirrors }
    }

    fn mirror(numerator: u32, transport: Transport) -> Mirror {
        let backend = service("10.0.0.2:443", transport);
        Mirror { service: port("b"), backend, numerator, denominator: 10 }
    }

    /// A host for each, with one rule for all paths.
    fn model(forwards: &[Forward]) -> Model {
        let mut model = Model::default();
        let hosts = model.ports.entry(80).or_default();
        let key = ObjectKey::new("default", "r");
        for (index, forward) in forwards.iter().enumerate() {
            let branch =
                Branch { weight: 1, filters: Filters::default(), outcome: Outcome::Forward(forward.clone()) };
            let rule = Rule {
                id: RuleId { route: key.clone(), index, name: None },
                filters: Filters::default(),
                branches: vec![branch],
                timeouts: Timeouts::default(),
                retry: None,
            };
            let path = PathMatch::Prefix(UrlPath::new("/").unwrap());
            let rank = Rank::new(&(&path, false, 0, 0), None, &key, index, 0);
            let (method, headers, query) = (None, Vec::new(), Vec::new());
            let it = RouteMatch { path, method, headers, query, rank, rule: Arc::new(rule) };
            let listener = ListenerId { kind: "Gateway", parent: key.clone(), name: "l".into() };
            let host = VirtualHost { listener, matches: vec![Arc::new(it)], fallback: None };
            hosts.insert(HostPattern::parse(&format!("h{index}.test")).unwrap(), Arc::new(host));
        }
        model
    }

    fn text(bundle: &Bundle) -> String {
        bundle.files.values().map(AsRef::as_ref).collect()
    }

    #[test]
    fn what_varnish_cannot_speak_goes_through_the_relay() {
        let sockets = SocketFolder::new(Path::new("/state/relay")).unwrap();
        let mut model = model(&[forward(tls(), Vec::new()), forward(tls(), Vec::new())]);
        model.client_certificate = Some(certificate("own", "secret"));
        let bundle = Renderer::new(sockets).render(&model);
        let relay = bundle.manifest.relay.as_ref().expect("it is needed without TLS listeners too");
        let [(id, upstream)] = &relay.upstreams.iter().collect::<Vec<_>>()[..] else { panic!("{relay:?}") };
        assert_eq!((&upstream.id(), upstream.http2, upstream.address.port()), (*id, true, 443));
        let tls = upstream.tls.as_ref().unwrap();
        assert_eq!((tls.server_name.as_str(), tls.names.len()), ("backend.test", 1));
        let ids: Vec<_> = relay.certificates().into_iter().collect();
        assert_eq!(ids, bundle.certificates.keys().collect::<Vec<_>>());
        assert_eq!(ids.len(), 2);
        let text = text(&bundle);
        assert_eq!(text.matches(&format!(".path = \"/state/relay/up/{id}\"")).count(), 1, "{text}");
        assert_eq!(text.matches("sub=forward_only").count(), 2, "it is cached as any other:\n{text}");
    }

    #[test]
    fn ways_to_one_service_are_kept_apart() {
        let plain = Transport::default;
        let forwards = [
            forward(plain(), Vec::new()),
            forward(tls(), Vec::new()),
            forward(plain(), vec![mirror(1, plain())]),
            forward(plain(), vec![mirror(2, plain())]),
            forward(plain(), vec![mirror(1, tls())]),
            forward(plain(), vec![mirror(1, plain()), mirror(2, plain())]),
        ];
        let bundle = Renderer::default().render(&model(&forwards));
        let names: std::collections::BTreeSet<_> =
            forwards.iter().map(|it| Target::of(it).backend().to_string()).collect();
        assert_eq!(names.len(), forwards.len());
        let text = text(&bundle);
        let declared = |name: &String| text.matches(&format!("backend {name} {{")).count();
        assert!(names.iter().all(|name| declared(name) == 1), "{text}");
        assert_eq!(bundle.manifest.relay.unwrap().upstreams.len(), forwards.len() - 1);
    }

    #[test]
    fn upstreams_come_and_go_with_their_shard() {
        let mut renderer = Renderer::default();
        let (with, without) = (forward(tls(), Vec::new()), forward(Transport::default(), Vec::new()));
        for forwards in [vec![with.clone()], vec![without.clone(), with.clone()], vec![without]] {
            let model = model(&forwards);
            assert_eq!(renderer.render(&model), Renderer::default().render(&model));
        }
        let none = renderer.render(&Model::default());
        assert_eq!((none.manifest.relay, none.certificates.len()), (None, 0));
    }

    #[test]
    fn a_folder_has_to_fit_into_a_socket_and_into_vcl() {
        let folder = |length: usize| format!("/{}", "x".repeat(length - 1));
        let longest = LONGEST_SOCKET - "/up/".len() - 24;
        for (path, fits) in [
            ("/run/copal/relay".to_owned(), true),
            (folder(longest), true),
            (folder(longest + 1), false),
            ("state/relay".to_owned(), false),
            ("/a\"b".to_owned(), false),
            ("/a\nb".to_owned(), false),
        ] {
            let outcome = SocketFolder::new(Path::new(&path));
            assert_eq!(outcome.is_ok(), fits, "{path}: {outcome:?}");
        }
        assert_eq!(SocketFolder::default(), SocketFolder::new(Path::new("/run/copal/relay")).unwrap());
    }
}
