//! Certificates as rustls takes them. What goes wrong is told without a word of the key.

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;

use crate::bundle::relay::Certificate;

/// Why a certificate cannot be presented.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// The chain is not PEM.
    #[error("its chain cannot be read: {0}")]
    Chain(rustls::pki_types::pem::Error),
    /// No `CERTIFICATE` in the chain.
    #[error("its chain has no certificate")]
    Empty,
    /// The key is not PEM, or there is none. The parser's words could have a part of it.
    #[error("its private key cannot be read; expected PEM with PKCS #8, PKCS #1 or SEC 1")]
    Key,
    /// They do not belong together, or are of an unknown kind.
    #[error("{0}")]
    Pair(rustls::Error),
}

/// The certificates of a chain, of which there is at least one.
///
/// # Errors
/// When they cannot be read.
pub fn chain(certificate: &Certificate) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificate.chain).collect();
    let chain = chain.map_err(CertificateError::Chain)?;
    if chain.is_empty() { Err(CertificateError::Empty) } else { Ok(chain) }
}

/// Trusts those who issue certificates from now on.
///
/// # Errors
/// When one of them is no certificate.
pub fn trust(
    roots: &mut RootCertStore,
    authorities: &[CertificateDer<'static>],
) -> Result<(), rustls::Error> {
    authorities.iter().try_for_each(|certificate| roots.add(certificate.clone()))
}

/// Reads a certificate.
///
/// # Errors
/// When chain or key cannot be read, or do not belong together.
pub fn read(certificate: &Certificate) -> Result<CertifiedKey, CertificateError> {
    let chain = chain(certificate)?;
    let key = PrivateKeyDer::from_pem_slice(&certificate.key).map_err(|_| CertificateError::Key)?;
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(CertificateError::Pair)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn certificate() -> Certificate {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        Certificate { chain: cert.pem().into(), key: signing_key.serialize_pem().into() }
    }

    #[test]
    fn a_good_one_can_be_read() {
        assert_eq!(read(&certificate()).unwrap().cert.len(), 1);
    }

    #[test]
    fn what_is_wrong_is_told_without_the_key() {
        let good = certificate();
        let secret = String::from_utf8(good.key.clone()).unwrap().replace("PRIVATE", "SECRET");
        let (chain, key) = (|| good.chain.clone(), || good.key.clone());
        for (broken, expected) in [
            (Certificate { chain: Vec::new(), key: key() }, "no certificate"),
            (Certificate { chain: b"-----BEGIN CERTIFICATE-----\n!".to_vec(), key: key() }, "cannot be read"),
            (Certificate { chain: chain(), key: Vec::new() }, "private key"),
            (Certificate { chain: chain(), key: secret.into() }, "private key"),
            (Certificate { chain: chain(), key: certificate().key }, "keys may not be consistent"),
        ] {
            let error = read(&broken).unwrap_err().to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
