//! What is to be said about each object: the facts behind its conditions.

use std::collections::BTreeMap;

use crate::api::logging_policy::TargetRef;
use crate::model::ObjectKey;
use crate::snapshot::{Kind, ParentRef};

/// Everything that conditions are made of, for the objects that are ours to speak about.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// GatewayClasses of our controller.
    pub classes: BTreeMap<ObjectKey, ClassReport>,
    /// Gateways of those classes.
    pub gateways: BTreeMap<ObjectKey, GatewayReport>,
    /// ListenerSets of those Gateways.
    pub listener_sets: BTreeMap<ObjectKey, ListenerSetReport>,
    /// HTTPRoutes with at least one parent among those.
    pub routes: BTreeMap<ObjectKey, RouteReport>,
    /// TLSRoutes, as above.
    pub tls_routes: BTreeMap<ObjectKey, RouteReport>,
    /// VarnishLoggingPolicies with at least one target that is ours, or nobody's.
    pub logging_policies: BTreeMap<ObjectKey, PolicyReport>,
    /// BackendTLSPolicies for a Service that a route of those goes to.
    pub backend_tls_policies: BTreeMap<ObjectKey, BackendTlsPolicyReport>,
}

impl Report {
    /// The routes of a kind; none of a kind that is no route's.
    #[must_use]
    pub fn routes_of(&self, kind: Kind) -> &BTreeMap<ObjectKey, RouteReport> {
        static NONE: BTreeMap<ObjectKey, RouteReport> = BTreeMap::new();
        match kind {
            Kind::HttpRoute => &self.routes,
            Kind::TlsRoute => &self.tls_routes,
            _ => &NONE,
        }
    }
}

/// A GatewayClass.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassReport {
    /// `metadata.generation` of what was looked at.
    pub generation: Option<i64>,
    /// Why its parameters cannot be used.
    pub invalid_parameters: Option<String>,
}

/// A Gateway.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GatewayReport {
    /// `metadata.generation` of what was looked at.
    pub generation: Option<i64>,
    /// Why nothing of it is served.
    pub problem: Option<GatewayProblem>,
    /// Its own listeners, in their order.
    pub listeners: Vec<ListenerReport>,
    /// Whether clients are let in on some port although they show no valid certificate that is asked for.
    pub insecure_frontend: bool,
    /// The certificate to be shown to backends; none if it asks for none.
    pub client_certificate: Option<ClientCertificate>,
    /// ListenerSets that it has accepted: allowed, and with a listener that can be served.
    pub attached_listener_sets: i32,
}

/// What became of a Gateway's certificate for backends.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientCertificate {
    /// It is shown to those that ask for one.
    Shown,
    /// It is valid, but another Gateway's is shown on the data plane that they share; the text says whose.
    Shadowed(String),
    /// Its reference does not resolve.
    Unresolved(CertificateProblem),
}

/// Why a Gateway as a whole is not accepted.
#[derive(Clone, Debug, PartialEq)]
pub enum GatewayProblem {
    /// `infrastructure.parametersRef`, or its class's, cannot be used.
    InvalidParameters(String),
    /// An address of a type that is not supported.
    UnsupportedAddress(String),
}

/// A ListenerSet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListenerSetReport {
    /// `metadata.generation` of what was looked at.
    pub generation: Option<i64>,
    /// The Gateway that it names.
    pub gateway: ObjectKey,
    /// Why nothing of it is served.
    pub problem: Option<ListenerSetProblem>,
    /// Its listeners, in their order; empty when it is not allowed.
    pub listeners: Vec<ListenerReport>,
}

/// Why a ListenerSet as a whole is not accepted.
#[derive(Clone, Debug, PartialEq)]
pub enum ListenerSetProblem {
    /// The Gateway's `allowedListeners` does not allow it.
    NotAllowed,
    /// The Gateway itself is not accepted.
    ParentNotAccepted,
}

/// A listener.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ListenerReport {
    /// Its name.
    pub name: String,
    /// Routes that are attached to it.
    pub attached_routes: i32,
    /// Kinds of routes that it takes.
    pub supported_kinds: Vec<&'static str>,
    /// Why it is not served.
    pub problem: Option<ListenerProblem>,
    /// Why it is not served although it is valid: another Gateway has its place on the address that they share.
    pub shadowed: Option<String>,
    /// Kinds that it names and that do not exist here.
    pub invalid_kinds: Option<String>,
    /// What is wrong with the first of its certificate references that do not resolve.
    pub unresolved: Option<CertificateProblem>,
    /// Whether it needs a certificate, and no reference resolves to one.
    pub lacks_certificate: bool,
}

impl ListenerReport {
    /// Whether it is accepted.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.problem.is_none()
    }

    /// Whether there is all that it needs to be served.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.is_valid() && !self.lacks_certificate
    }
}

/// Why a listener is not served.
#[derive(Clone, Debug, PartialEq)]
pub enum ListenerProblem {
    /// Its protocol is not supported.
    UnsupportedProtocol(String),
    /// Its port cannot be listened on.
    PortUnavailable(String),
    /// A field has a value that it must not have.
    Invalid(String),
    /// Clients are to show certificates, and there is nobody who could have issued them.
    NoValidAuthority(String),
    /// Another listener has the same port and host.
    HostnameConflict(String),
    /// Another listener speaks another protocol on the same port.
    ProtocolConflict(String),
}

/// Why a reference to a certificate does not resolve.
#[derive(Clone, Debug, PartialEq)]
pub enum CertificateProblem {
    /// No ReferenceGrant allows it.
    RefNotPermitted(String),
    /// It names nothing that holds a certificate and its key.
    Invalid(String),
    /// It was to name those who issue clients' certificates.
    Authority(AuthorityProblem),
}

impl CertificateProblem {
    /// What is wrong, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::RefNotPermitted(message) | Self::Invalid(message) => message,
            Self::Authority(problem) => problem.message(),
        }
    }
}

/// Why a reference to certificates of authorities does not resolve.
#[derive(Clone, Debug, PartialEq)]
pub enum AuthorityProblem {
    /// It names a kind that cannot hold them.
    InvalidKind(String),
    /// It names nothing that holds certificates.
    Invalid(String),
}

impl AuthorityProblem {
    /// What is wrong, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::InvalidKind(message) | Self::Invalid(message) => message,
        }
    }
}

/// The most entries that a policy's status can have (Gateway API, `PolicyStatus.ancestors`).
pub const MAX_ANCESTORS: usize = 16;

/// A policy that is attached to Gateways.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyReport {
    /// `metadata.generation` of what was looked at.
    pub generation: Option<i64>,
    /// One entry for each target that is ours to speak about, in their order.
    pub targets: Vec<(TargetRef, PolicyAccepted)>,
}

/// Whether a policy acts on a target (GEP-713, "Policy Status").
#[derive(Clone, Debug, PartialEq)]
pub enum PolicyAccepted {
    /// It does.
    Yes,
    /// Another policy has the target; the text names it.
    Conflicted(String),
    /// It has a field that must not be as it is.
    Invalid(String),
    /// There is no such target.
    TargetNotFound(String),
    /// None of its references to certificates of authorities resolves.
    NoValidAuthority(String),
}

impl PolicyAccepted {
    /// Why it does not act, for people; empty if it does.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::Yes => "",
            Self::Conflicted(message)
            | Self::Invalid(message)
            | Self::TargetNotFound(message)
            | Self::NoValidAuthority(message) => message,
        }
    }
}

/// A BackendTLSPolicy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BackendTlsPolicyReport {
    /// `metadata.generation` of what was looked at.
    pub generation: Option<i64>,
    /// One entry for each Gateway with a route to a Service that it is for, by name.
    pub ancestors: Vec<(ObjectKey, PolicyAccepted)>,
    /// The first reference that does not resolve.
    pub unresolved: Option<AuthorityProblem>,
}

/// A route.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RouteReport {
    /// `metadata.generation` of what was looked at.
    pub generation: Option<i64>,
    /// One entry for each parentRef that is ours, in their order.
    pub parents: Vec<ParentReport>,
}

/// What one parent makes of a route.
#[derive(Clone, Debug, PartialEq)]
pub struct ParentReport {
    /// The reference, as the route has it.
    pub parent: ParentRef,
    /// Whether it is attached.
    pub accepted: RouteAccepted,
    /// The first reference that does not resolve.
    pub unresolved: Option<RefProblem>,
    /// What was left out of an accepted route, by rule.
    pub dropped: Vec<String>,
    /// What is done otherwise than the route asks for.
    pub notes: Vec<String>,
}

/// Whether a route is attached to a parent.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteAccepted {
    /// To at least one listener.
    Yes,
    /// No listener allows it.
    NotAllowedByListeners,
    /// No listener has the section name and port of the reference.
    NoMatchingParent,
    /// No listener has a host of the route.
    NoMatchingListenerHostname,
    /// None of its rules can be served.
    UnsupportedValue(String),
    /// None of its rules can be served, because of filters that do not go together.
    IncompatibleFilters(String),
}

/// Why a reference does not resolve.
#[derive(Clone, Debug, PartialEq)]
pub enum RefProblem {
    /// No ReferenceGrant allows it.
    RefNotPermitted(String),
    /// It names a kind that cannot be a backend.
    InvalidKind(String),
    /// The Service, or its port, does not exist.
    BackendNotFound(String),
    /// The Service speaks a protocol that is not supported.
    UnsupportedProtocol(String),
    /// The policy that says how the Service is spoken to by TLS cannot be honoured.
    InvalidBackendTls(String),
}

impl RefProblem {
    /// What is wrong, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::RefNotPermitted(message)
            | Self::InvalidKind(message)
            | Self::BackendNotFound(message)
            | Self::UnsupportedProtocol(message)
            | Self::InvalidBackendTls(message) => message,
        }
    }
}
