//! TLS settings towards endpoints, as rustls takes them.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::ring::default_provider;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tracing::warn;

use crate::bundle::relay::{Certificate, CertificateId, UpstreamTls};
use crate::bundle_folder::BundleFolderError;
use crate::relay::certificates;

use super::verify::NameVerifier;

/// Makes settings ready. Equal ones are made once, so that sessions are resumed.
///
/// # Errors
/// When a certificate that they name is of no use: what is wrong with it, without a word of its key.
pub fn config(
    tls: &UpstreamTls,
    http2: bool,
    client_certificate: Option<&CertificateId>,
    read: &impl Fn(&str) -> Result<Certificate, BundleFolderError>,
) -> Result<ClientConfig, String> {
    let provider = Arc::new(default_provider());
    let roots = match &tls.authorities {
        Some(ids) => Arc::new(authorities(ids, read)?),
        None => system(),
    };
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = builder.dangerous();
    let builder = if tls.names.is_empty() {
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider).build();
        builder.with_custom_certificate_verifier(verifier.map_err(|error| error.to_string())?)
    } else {
        builder.with_custom_certificate_verifier(Arc::new(NameVerifier::new(roots, tls.names.clone())))
    };
    let mut config = match client_certificate {
        None => builder.with_no_client_auth(),
        Some(id) => {
            let about = |error: String| format!("client certificate {id} cannot be presented: {error}");
            let certificate = read(id).map_err(|error| about(error.to_string()))?;
            let key = certificates::read(&certificate).map_err(|error| about(error.to_string()))?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
        }
    };
    config.alpn_protocols = vec![if http2 { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(config)
}

fn authorities(
    ids: &[String],
    read: &impl Fn(&str) -> Result<Certificate, BundleFolderError>,
) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for id in ids {
        let about = |error: String| format!("authority {id} cannot be used: {error}");
        let certificate = read(id).map_err(|error| about(error.to_string()))?;
        let chain = certificates::chain(&certificate).map_err(|error| about(error.to_string()))?;
        certificates::trust(&mut roots, &chain).map_err(|error| about(error.to_string()))?;
    }
    if roots.is_empty() { Err("there is no certificate of an authority".to_owned()) } else { Ok(roots) }
}

/// Those that the system trusts, read once.
fn system() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let load = || {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, ignored) = roots.add_parsable_certificates(found.certs);
        if added == 0 || !found.errors.is_empty() {
            warn!(added, ignored, errors = ?found.errors, "the system's certificate authorities are not all to be had");
        }
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(load))
}
