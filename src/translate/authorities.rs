//! Certificates of authorities, in ConfigMaps (Gateway API, `caCertificateRefs`).

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::remembered::Remembered;
use super::report::AuthorityProblem;
use crate::model::{Certificate, ObjectKey};
use crate::snapshot::Snapshot;

/// The key in a ConfigMap under which certificates of authorities stand.
const AUTHORITIES: &str = "ca.crt";

/// The certificates in a ConfigMap, or why there are none.
type Checked = Result<Arc<Certificate>, String>;

/// ConfigMaps that were looked at, and what they hold.
pub(super) type KnownAuthorities = Remembered<ObjectKey, Arc<ConfigMap>, Checked>;

/// The certificates that a reference to an object of that namespace means.
pub(super) fn authorities(
    snapshot: &Snapshot,
    known: &mut KnownAuthorities,
    (group, kind): (&str, &str),
    key: &ObjectKey,
) -> Result<Arc<Certificate>, AuthorityProblem> {
    if !group.is_empty() || kind != "ConfigMap" {
        let message = format!(
            "kind {kind} of group {group:?} is not supported for {}; expected kind ConfigMap of the core group",
            key.name
        );
        return Err(AuthorityProblem::InvalidKind(message));
    }
    let invalid = |it: String| AuthorityProblem::Invalid(format!("ConfigMap {key}: {it}"));
    let object = snapshot.config_maps.get(key).ok_or_else(|| invalid("it does not exist".into()))?;
    known.of(key, object, Arc::ptr_eq, |it| check(it).map(Arc::new)).map_err(invalid)
}

/// The certificates that a ConfigMap holds, if they can be those of authorities.
fn check(object: &ConfigMap) -> Result<Certificate, String> {
    let text = object.data.as_ref().and_then(|it| it.get(AUTHORITIES));
    let pem = text.ok_or_else(|| format!("{AUTHORITIES} is missing"))?.as_bytes();
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|_| format!("{AUTHORITIES} is not well-formed PEM"))?;
    if certificates.is_empty() {
        return Err(format!("{AUTHORITIES} holds no certificate in PEM"));
    }
    let mut store = RootCertStore::empty();
    for (index, it) in certificates.into_iter().enumerate() {
        let failed = |error| format!("certificate {} in {AUTHORITIES} cannot be read: {error}", index + 1);
        store.add(it).map_err(failed)?;
    }
    Ok(Certificate { chain: pem.to_vec(), key: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The certificate in the goldens' ConfigMap.
    fn certificate() -> String {
        let given: Vec<serde_json::Value> =
            serde_saphyr::from_multiple(include_str!("../../tests/golden/given.yaml")).unwrap();
        let it = given.iter().find(|it| it["kind"] == "ConfigMap").unwrap();
        it["data"][AUTHORITIES].as_str().unwrap().to_owned()
    }

    #[test]
    fn only_certificates_are_authorities() {
        let one = certificate();
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let cut = one.replace("-----END CERTIFICATE-----", "");
        for (key, text, expected) in [
            ("ca.crt", one.clone(), ""),
            ("ca.crt", format!("a comment\n{one}{one}"), ""),
            ("tls.crt", one.clone(), "ca.crt is missing"),
            ("ca.crt", String::new(), "ca.crt holds no certificate"),
            ("ca.crt", key.to_owned(), "ca.crt holds no certificate"),
            ("ca.crt", cut, "ca.crt is not well-formed"),
            ("ca.crt", format!("{one}{garbage}"), "certificate 2 in ca.crt cannot be read"),
        ] {
            let data = Some([(key.to_owned(), text.clone())].into());
            let checked = check(&ConfigMap { data, ..ConfigMap::default() });
            match checked {
                Ok(it) => assert_eq!((expected, it.chain, it.key), ("", text.into_bytes(), Vec::new())),
                Err(error) => {
                    assert!(!expected.is_empty() && error.starts_with(expected), "{error}; {expected}");
                }
            }
        }
    }
}
