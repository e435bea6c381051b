//! How backends are spoken to.

use std::sync::Arc;

use super::{Certificate, Hostname, Service, ServicePort};

/// How the endpoints of a Service are spoken to. Varnish itself speaks HTTP/1.1 without TLS, which is the default; for
/// all else it goes through the relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transport {
    /// HTTP/2, known beforehand (RFC 9113, section 3.3), instead of HTTP/1.1.
    pub http2: bool,
    /// TLS, and what is asked of the endpoint's certificate.
    pub tls: Option<Arc<BackendTls>>,
}

/// TLS towards backends (Gateway API, `BackendTLSPolicySpec.validation`). What to show when an endpoint asks for a
/// certificate is not a matter of the backend: [`super::Model::client_certificate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackendTls {
    /// The server name that is asked for (SNI), and the one that the certificate must be for if `names` is empty.
    pub hostname: Hostname,
    /// Names of which the certificate must have one; where there are any, `hostname` is not looked for.
    pub names: Vec<SubjectAltName>,
    /// Who may have issued the certificate: certificates in PEM, in a [`Certificate`] without a key. None stands for
    /// those that the system trusts.
    pub authorities: Option<Vec<Arc<Certificate>>>,
}

/// A name in a certificate (RFC 5280, section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectAltName {
    /// `dNSName`; the certificate may have a wildcard that is for it.
    Dns(Hostname),
    /// `uniformResourceIdentifier`, compared byte by byte.
    Uri(String),
}

/// A mirror (`HTTPRequestMirrorFilter`): a copy of requests for another Service, whose response nobody sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    /// The Service.
    pub service: ServicePort,
    /// Its endpoints.
    pub backend: Arc<Service>,
    /// Of `denominator` requests, `numerator` are copied.
    pub numerator: u32,
    /// At least 1.
    pub denominator: u32,
}

/// What a client has to show on a TLS port (Gateway API, `FrontendTLSValidation`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientValidation {
    /// Who may have issued its certificate: certificates in PEM, in [`Certificate`]s without a key.
    pub authorities: Vec<Arc<Certificate>>,
    /// Whether clients without a certificate, or with one that is not valid, are let in all the same
    /// (`AllowInsecureFallback`).
    pub insecure_fallback: bool,
}
