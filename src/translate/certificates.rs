//! Certificates with their keys (Gateway API, `ListenerTLSConfig.certificateRefs`, `GatewayBackendTLS`): what
//! references to them come to.

use std::sync::Arc;

use gateway_api::experimental::gateways::{
    GatewayListenersTlsCertificateRefs as CertificateRef, GatewayTlsBackendClientCertificateRef as ClientRef,
};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::authorities::{self, KnownAuthorities};
use super::grants;
use super::remembered::Remembered;
use super::report::{AuthorityProblem, CertificateProblem};
use crate::model::{Certificate, ObjectKey};
use crate::snapshot::{Secret, Snapshot};

/// The type of Secrets that hold a certificate, and the keys in them (Kubernetes, "TLS Secrets").
const SECRET_TYPE: &str = "kubernetes.io/tls";
const CHAIN: &str = "tls.crt";
const KEY: &str = "tls.key";

/// What a Secret holds, or why it is no certificate.
type Checked = Result<Arc<Certificate>, String>;

/// Secrets and ConfigMaps that were looked at, and what they hold.
#[derive(Debug, Default)]
pub(super) struct KnownCertificates {
    secrets: Remembered<ObjectKey, Arc<Secret>, Checked>,
    authorities: KnownAuthorities,
}

/// Looks certificates up. What holds them is checked again only if it has changed.
pub(super) struct Certificates<'a> {
    pub(super) snapshot: &'a Snapshot,
    known: KnownCertificates,
}

impl<'a> Certificates<'a> {
    /// With what is known from the last time.
    pub(super) fn new(snapshot: &'a Snapshot, known: KnownCertificates) -> Self {
        Self { snapshot, known }
    }

    /// The certificates that references in an object of that kind and namespace name, in their order, and what is
    /// wrong with the first of the other references.
    pub(super) fn resolve(
        &mut self,
        from: (&str, &str),
        references: &[CertificateRef],
    ) -> (Vec<Arc<Certificate>>, Option<CertificateProblem>) {
        let mut certificates = Vec::new();
        let mut problem = None;
        for it in references {
            match self.one(from, it) {
                Ok(certificate) => certificates.push(certificate),
                Err(error) => {
                    problem.get_or_insert(error);
                }
            }
        }
        (certificates, problem)
    }

    /// The certificate that a Gateway of that namespace shows to backends.
    pub(super) fn client(
        &mut self,
        namespace: &str,
        it: &ClientRef,
    ) -> Result<Arc<Certificate>, CertificateProblem> {
        let ClientRef { group, kind, name, namespace: other } = it.clone();
        self.one(("Gateway", namespace), &CertificateRef { group, kind, name, namespace: other })
    }

    fn one(
        &mut self,
        from: (&str, &str),
        it: &CertificateRef,
    ) -> Result<Arc<Certificate>, CertificateProblem> {
        let (group, kind) = (it.group.as_deref().unwrap_or_default(), it.kind.as_deref().unwrap_or("Secret"));
        if !group.is_empty() || kind != "Secret" {
            let message =
                format!("certificateRef {}: kind {kind} of group {group:?} is no certificate", it.name);
            return Err(CertificateProblem::Invalid(message));
        }
        let key = ObjectKey::new(it.namespace.as_deref().unwrap_or(from.1), it.name.as_str());
        grants::permitted(self.snapshot, from, ("Secret", &key))
            .map_err(CertificateProblem::RefNotPermitted)?;
        self.secret(&key).map_err(|error| CertificateProblem::Invalid(format!("Secret {key}: {error}")))
    }

    fn secret(&mut self, key: &ObjectKey) -> Checked {
        let Some(secret) = self.snapshot.secrets.get(key) else { return Err("it does not exist".into()) };
        self.known.secrets.of(key, secret, Arc::ptr_eq, |it| check(it).map(Arc::new))
    }

    /// The authorities that a ConfigMap holds.
    pub(super) fn authority(&mut self, key: &ObjectKey) -> Result<Arc<Certificate>, AuthorityProblem> {
        authorities::of(key, self.snapshot, &mut self.known.authorities)
    }

    /// All that is known now.
    pub(super) fn finish(self) -> KnownCertificates {
        let KnownCertificates { secrets, authorities } = self.known;
        KnownCertificates { secrets: secrets.turned(), authorities: authorities.turned() }
    }
}

/// The certificate that a Secret holds, if it can be presented. Messages quote nothing of the content.
fn check(secret: &Secret) -> Result<Certificate, String> {
    if secret.kind != SECRET_TYPE {
        return Err(format!("its type is {:?}; expected {SECRET_TYPE}", secret.kind));
    }
    let content = |key| secret.get(key).ok_or_else(|| format!("{key} is missing"));
    let (chain, key) = (content(CHAIN)?, content(KEY)?);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain).collect();
    let certificates = certificates.map_err(|_| format!("{CHAIN} is not well-formed PEM"))?;
    if certificates.is_empty() {
        return Err(format!("{CHAIN} holds no certificate in PEM"));
    }
    let private =
        PrivateKeyDer::from_pem_slice(key).map_err(|_| format!("{KEY} holds no private key in PEM"))?;
    CertifiedKey::from_der(certificates, private, &default_provider()).map_err(|error| refusal(&error))?;
    Ok(Certificate { chain: chain.to_vec(), key: key.to_vec() })
}

fn refusal(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("the key in {KEY} is not that of the first certificate in {CHAIN}")
        }
        rustls::Error::InvalidCertificate(error) => {
            format!("the first certificate in {CHAIN} cannot be read: {error:?}")
        }
        _ => format!(
            "the key in {KEY} cannot be used; expected RSA of at least 2048 bits, ECDSA P-256 or P-384, or Ed25519"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Object;
    use serde_json::{Value, json};

    /// Secrets of the goldens, and one that is none.
    fn snapshot() -> Snapshot {
        let given: Vec<Value> =
            serde_saphyr::from_multiple(include_str!("../../tests/golden/given.yaml")).unwrap();
        let secrets = given.into_iter().filter(|it| it["kind"] == "Secret");
        secrets.filter_map(|it| Object::parse(it).unwrap()).collect()
    }

    fn reference(name: &str) -> CertificateRef {
        serde_json::from_value(json!({"name": name})).unwrap()
    }

    fn resolve(
        snapshot: &Snapshot,
        known: KnownCertificates,
        names: &[&str],
    ) -> (Vec<Arc<Certificate>>, KnownCertificates) {
        let mut certificates = Certificates::new(snapshot, known);
        let references: Vec<_> = names.iter().map(|name| reference(name)).collect();
        let (resolved, problem) = certificates.resolve(("Gateway", "default"), &references);
        assert_eq!(problem, None);
        (resolved, certificates.finish())
    }

    #[test]
    fn a_secret_is_checked_again_only_if_it_changed() {
        let mut snapshot = snapshot();
        let (first, known) = resolve(&snapshot, KnownCertificates::default(), &["one", "two", "one"]);
        assert_eq!(first.len(), 3);
        assert!(Arc::ptr_eq(&first[0], &first[2]));
        let mut renewed = snapshot.secrets[&ObjectKey::new("default", "two")].as_ref().clone();
        renewed.metadata.name = Some("one".into());
        snapshot.insert(Object::Secret(Arc::new(renewed)));
        let (second, _) = resolve(&snapshot, known, &["one", "two"]);
        assert!(Arc::ptr_eq(&first[1], &second[1]), "it is the same as before");
        assert_eq!(first[1], second[0], "the Secret has the other certificate now");
    }
}
