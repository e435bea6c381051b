//! A certificate with its private key, which is not for anyone's eyes.

use std::fmt;

/// A certificate chain and its private key, both PEM (RFC 7468). It can be compared, and never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The holder's certificate, then those that lead to its issuer; or, without a key, issuers that are trusted.
    pub chain: Vec<u8>,
    /// The private key: PKCS #8, PKCS #1 or SEC 1. Empty where only the certificates are of interest.
    pub key: Vec<u8>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("chain_bytes", &self.chain.len()).finish_non_exhaustive()
    }
}
