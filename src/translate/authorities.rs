//! Who may have issued certificates: what is in a ConfigMap under `ca.crt`.

use std::sync::Arc;

use k8s_openapi::api::core::v1::ConfigMap;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::remembered::Remembered;
use super::report::AuthorityProblem;
use crate::model::{Certificate, ObjectKey};
use crate::snapshot::Snapshot;

/// The key in a ConfigMap (Gateway API, `FrontendTLSValidation.caCertificateRefs`).
const KEY: &str = "ca.crt";

/// ConfigMaps that were looked at, and the authorities that they hold.
pub(super) type KnownAuthorities = Remembered<ObjectKey, Arc<ConfigMap>, Result<Arc<Certificate>, String>>;

/// The authorities of a ConfigMap, which is read again only if it has changed.
pub(super) fn of(
    key: &ObjectKey,
    snapshot: &Snapshot,
    known: &mut KnownAuthorities,
) -> Result<Arc<Certificate>, AuthorityProblem> {
    let invalid = |it: String| AuthorityProblem::Invalid(format!("ConfigMap {key}: {it}"));
    let object = snapshot.config_maps.get(key).ok_or_else(|| invalid("it does not exist".into()))?;
    known.of(key, object, Arc::ptr_eq, |it| read(it).map(Arc::new)).map_err(invalid)
}

/// The authorities that a ConfigMap holds, in a [`Certificate`] without a key.
///
/// # Errors
/// When it holds none, or one that no certificate can be verified with; the text says so.
fn read(config_map: &ConfigMap) -> Result<Certificate, String> {
    let text = config_map.data.as_ref().and_then(|it| it.get(KEY));
    let text = text.ok_or_else(|| format!("{KEY} is missing"))?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let certificates = certificates.map_err(|_| format!("{KEY} is not well-formed PEM"))?;
    if certificates.is_empty() {
        return Err(format!("{KEY} holds no certificate in PEM"));
    }
    let mut store = RootCertStore::empty();
    for (number, certificate) in certificates.into_iter().enumerate() {
        let error = |error| format!("certificate {} in {KEY} cannot be read: {error}", number + 1);
        store.add(certificate).map_err(error)?;
    }
    Ok(Certificate { chain: text.as_bytes().to_vec(), key: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn config_map(entries: &[(&str, &str)]) -> ConfigMap {
        let data: BTreeMap<_, _> =
            entries.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        ConfigMap { data: Some(data), ..ConfigMap::default() }
    }

    #[test]
    fn several_authorities_are_one_bundle() {
        let pem = |name: &str| rcgen::generate_simple_self_signed([name.to_owned()]).unwrap().cert.pem();
        let both = format!("# both\n{}{}", pem("a"), pem("b"));
        let read = read(&config_map(&[(KEY, &both)])).unwrap();
        assert_eq!((read.chain.as_slice(), read.key.len()), (both.as_bytes(), 0));
    }

    #[test]
    fn what_is_no_authority_is_refused() {
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (given, expected) in [
            (config_map(&[]), "ca.crt is missing"),
            (config_map(&[("tls.crt", "x")]), "ca.crt is missing"),
            (config_map(&[(KEY, "")]), "holds no certificate"),
            (config_map(&[(KEY, "-----BEGIN CERTIFICATE-----\n!")]), "not well-formed PEM"),
            (config_map(&[(KEY, garbage)]), "certificate 1 in ca.crt cannot be read"),
        ] {
            let error = read(&given).unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
