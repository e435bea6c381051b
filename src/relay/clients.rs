//! Clients' certificates: what is asked for, and who is let in.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};

use super::certificates;

/// Certificates of those who may have issued clients' certificates.
pub type Authorities = Vec<CertificateDer<'static>>;

/// What the clients of a port have to show.
#[derive(Debug)]
pub struct Clients {
    strict: Arc<dyn ClientCertVerifier>,
    insecure_fallback: bool,
}

impl Clients {
    /// Clients have to show a certificate that one of `authorities` vouches for; with `insecure_fallback` they are
    /// asked for one, and let in whatever they show.
    ///
    /// # Errors
    /// When there is no authority, or one is no certificate.
    pub fn new(authorities: &[&Authorities], insecure_fallback: bool) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        authorities.iter().try_for_each(|chain| certificates::trust(&mut roots, chain))?;
        let provider = Arc::new(default_provider());
        let strict = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let strict = strict.map_err(|error| Error::General(format!("clients' certificates: {error}")))?;
        Ok(Self { strict, insecure_fallback })
    }

    /// What the handshake goes by.
    #[must_use]
    pub fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let strict = Arc::clone(&self.strict);
        if self.insecure_fallback { Arc::new(AnyClient(strict)) } else { strict }
    }

    /// Whether a client with this chain, its own certificate first, is let in now.
    #[must_use]
    pub fn admit(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.insecure_fallback || self.verified(chain)
    }

    /// Whether a chain is valid now. That the client has the key is the handshake's concern.
    #[must_use]
    pub fn verified(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some((own, issuers)) = chain.split_first() else { return false };
        self.strict.verify_client_cert(own, issuers, UnixTime::now()).is_ok()
    }
}

/// Asks for a certificate and takes any, or none. What it is worth is found out afterwards ([`Clients::verified`]);
/// here it only counts that the client has the key of what it shows.
#[derive(Debug)]
struct AnyClient(Arc<dyn ClientCertVerifier>);

impl AnyClient {
    /// A certificate that cannot be read has no key to check anything with, and is never verified either.
    fn or_unreadable(
        certificate: &CertificateDer<'_>,
        checked: Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        checked.or_else(|error| match ParsedCertificate::try_from(certificate) {
            Ok(_) => Err(error),
            Err(_) => Ok(HandshakeSignatureValid::assertion()),
        })
    }
}

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::or_unreadable(certificate, self.0.verify_tls12_signature(message, certificate, signed))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::or_unreadable(certificate, self.0.verify_tls13_signature(message, certificate, signed))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
