//! Verifies an endpoint's certificate by other names than the one that is asked for: the chain as ever, and of the
//! names one must be in the certificate.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::ring::default_provider;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use webpki::EndEntityCert;

use crate::bundle::relay::SubjectAltName;

/// Asks for one of these names.
#[derive(Debug)]
pub struct NameVerifier {
    roots: Arc<RootCertStore>,
    names: Vec<SubjectAltName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl NameVerifier {
    /// Certificates issued by `roots` for one of `names`.
    #[must_use]
    pub fn new(roots: Arc<RootCertStore>, names: Vec<SubjectAltName>) -> Self {
        let algorithms = default_provider().signature_verification_algorithms;
        Self { roots, names, algorithms }
    }
}

/// Whether the certificate has the name. A `*.` in the certificate stands for one label; one in `name` must be there
/// as it is.
fn has_name(certificate: &CertificateDer<'_>, name: &SubjectAltName) -> Result<bool, Error> {
    let bad = |_| Error::InvalidCertificate(CertificateError::BadEncoding);
    let parsed = EndEntityCert::try_from(certificate).map_err(bad)?;
    Ok(match name {
        SubjectAltName::Uri(uri) => parsed.valid_uri_names().any(|found| found == uri),
        SubjectAltName::Dns(name) if name.starts_with("*.") => {
            parsed.valid_dns_names().any(|found| found.eq_ignore_ascii_case(name))
        }
        SubjectAltName::Dns(name) => match ServerName::try_from(name.as_str()) {
            Ok(name) => verify_server_name(&ParsedCertificate::try_from(certificate)?, &name).is_ok(),
            Err(_) => false,
        },
    })
}

impl ServerCertVerifier for NameVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _asked_for: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, &self.roots, intermediates, now, algorithms)?;
        for name in &self.names {
            if has_name(end_entity, name)? {
                return Ok(ServerCertVerified::assertion());
            }
        }
        Err(Error::InvalidCertificate(CertificateError::NotValidForName))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    #[test]
    fn names_are_found_in_a_certificate() {
        let mut params = CertificateParams::new(["a.example".to_owned(), "*.b.example".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://x/y".try_into().unwrap()));
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let dns = |name: &str| has_name(made.der(), &SubjectAltName::Dns(name.into())).unwrap();
        let uri = |name: &str| has_name(made.der(), &SubjectAltName::Uri(name.into())).unwrap();
        assert!(dns("a.example") && dns("x.b.example") && dns("*.b.example") && uri("spiffe://x/y"));
        assert!(!dns("b.example") && !dns("x.y.b.example") && !dns("*.example") && !dns("spiffe://x/y"));
        assert!(!uri("spiffe://x/Y") && !uri("spiffe://x/y/") && !uri("a.example") && !dns("no name"));
    }
}
