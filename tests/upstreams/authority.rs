//! Certificates made for a test.

use std::sync::Arc;

use copal::bundle::relay::Certificate;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, SanType};

pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        // OpenSSL takes a certificate for self-signed whose issuer is called as it is.
        params.distinguished_name.push(DnType::CommonName, "Authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Its own certificate, as the relay is handed it.
    pub fn certificate(&self) -> Arc<Certificate> {
        Arc::new(Certificate { chain: self.pem.clone().into(), key: Vec::new() })
    }

    /// A new certificate for these names, each time another one; those with `://` are URIs.
    pub fn issue(&self, names: &[&str]) -> Arc<Certificate> {
        let (uris, dns): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.contains("://"));
        let mut params =
            CertificateParams::new(dns.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        self.sign(&params)
    }

    /// A certificate as asked for, with a new key.
    pub fn sign(&self, params: &CertificateParams) -> Arc<Certificate> {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Arc::new(Certificate { chain: certificate.pem().into(), key: key.serialize_pem().into() })
    }
}
