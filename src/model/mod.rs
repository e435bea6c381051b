//! What the gateway must do, in the field's terms: no Kubernetes types, every text checked, every reference
//! resolved or marked as broken.
//!
//! A request's way through the model: its port and host choose a [`VirtualHost`]; the first of its
//! [`RouteMatch`]es that fits chooses a [`Rule`]; one of the rule's [`Branch`]es answers. Parts are shared, so that
//! equal models compare fast.

mod certificate;
mod host;
mod matching;
mod names;
mod rule;
mod streams;
mod text;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

pub use certificate::Certificate;
pub use host::{HostPattern, Hostname, normalise};
pub use matching::{HeaderMatch, PathMatch, QueryMatch, Rank, RouteMatch, ValueMatch};
pub use names::{ListenerId, ObjectKey, RuleId, ServicePort};
pub use rule::{
    Branch, Cors, Filters, Forward, HeaderChange, HeaderChanges, HeaderList, Origin, Outcome, PathRewrite,
    Redirect, Retry, Rewrite, Rule, Scheme, Timeouts,
};
pub use streams::{Share, Streams};
pub use text::{HeaderName, HeaderValue, InvalidText, Method, Regex, UrlPath, without_double_quotes};
pub use transport::{BackendTls, ClientValidation, Mirror, SubjectAltName, Transport};

/// What one Varnish must do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Virtual hosts by listener port and host. A port without virtual hosts listens all the same.
    pub ports: BTreeMap<u16, VirtualHosts>,
    /// Those of the ports on which TLS is terminated; on all others HTTP is spoken without it.
    pub tls: BTreeMap<u16, TlsPort>,
    /// Ports on which TLS is passed on, past Varnish; a port may be one of `tls` too, with other names.
    pub passthrough: BTreeMap<u16, Streams>,
    /// Those of the ports of `tls` on which what is in TLS goes past Varnish, for some names.
    pub plain: BTreeMap<u16, Streams>,
    /// What to show to backends that are spoken to by TLS and ask for a certificate (Gateway API,
    /// `GatewayBackendTLS`).
    pub client_certificate: Option<Arc<Certificate>>,
    /// VCL of the user's own, a part of all that is generated.
    pub user_vcl: Option<UserVcl>,
    /// Whether there is an access log that rules are to name themselves to.
    pub logs: bool,
}

/// What is presented to TLS clients on a port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsPort {
    /// By the host of a listener, its certificates in their order, at least one.
    pub certificates: BTreeMap<HostPattern, Vec<Arc<Certificate>>>,
    /// What clients have to show; none if nothing.
    pub clients: Option<ClientValidation>,
}

/// VCL of the user's own. Whoever may write it is trusted with all that VCL can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserVcl {
    /// The ConfigMap that it stands in.
    pub config_map: ObjectKey,
    /// The key under which it stands there.
    pub key: String,
    /// The VCL, without `vcl 4.1;`.
    pub text: Arc<str>,
}

/// The virtual hosts of a port, the most specific host first.
pub type VirtualHosts = BTreeMap<HostPattern, Arc<VirtualHost>>;

/// What answers for a host on a port. It belongs to the most specific listener for that host, so that
/// listeners are isolated from each other (Gateway API, `Listener.hostname`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualHost {
    /// The listener.
    pub listener: ListenerId,
    /// Its matches in order of precedence: the first that fits wins.
    pub matches: Vec<Arc<RouteMatch>>,
    /// The next wider host of the same listener, whose matches are tried when none here fits.
    pub fallback: Option<HostPattern>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Ready endpoints of all EndpointSlices.
    pub endpoints: BTreeSet<SocketAddr>,
    /// Whether `appProtocol` says that it speaks WebSocket (GEP-1911).
    pub websocket: bool,
    /// How its endpoints are spoken to.
    pub transport: Transport,
}

impl Model {
    /// What clients speak on a port.
    #[must_use]
    pub fn scheme(&self, port: u16) -> Scheme {
        if self.tls.contains_key(&port) { Scheme::Https } else { Scheme::Http }
    }

    /// Among whom the connections for a server name are divided that go past Varnish, and what the name was found as; none if
    /// they are Varnish's, or nobody's.
    #[must_use]
    pub fn stream(&self, port: u16, name: &str) -> Option<(&HostPattern, &[Share])> {
        let streams = [&self.passthrough, &self.plain].into_iter().filter_map(|it| it.get(&port)).flatten();
        let (pattern, shares) =
            streams.filter(|(pattern, _)| pattern.matches(name)).min_by_key(|(pattern, _)| *pattern)?;
        let others = self.tls.get(&port).map(|it| it.certificates.keys());
        let more_specific = others.into_iter().flatten().any(|it| it < pattern && it.matches(name));
        (!more_specific).then_some((pattern, shares.as_ref()))
    }

    /// The most specific virtual host for a host that [`normalise`] has been applied to.
    #[must_use]
    pub fn virtual_host(&self, port: u16, host: &str) -> Option<(&HostPattern, &VirtualHost)> {
        let hosts = self.ports.get(&port)?;
        hosts.iter().find(|(pattern, _)| pattern.matches(host)).map(|(pattern, it)| (pattern, it.as_ref()))
    }
}
