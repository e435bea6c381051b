//! Names of certificates, which cost a hash over each: kept from one rendering to the next.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::bundle::relay::{CertificateId, certificate_id};
use crate::model::Certificate;

/// Certificates by address, with their names. They are kept, so that no other one gets the address of one of them.
type ById = BTreeMap<usize, (Arc<Certificate>, CertificateId)>;

/// The names that one rendering needed.
#[derive(Debug, Default)]
pub(super) struct CertificateIds(ById);

impl CertificateIds {
    /// Begins the next rendering: what that does not ask for is forgotten at its end.
    pub(super) fn next(&mut self) -> NextIds<'_> {
        NextIds { before: std::mem::take(&mut self.0), now: &mut self.0 }
    }
}

/// The names that a rendering needs.
pub(super) struct NextIds<'a> {
    before: ById,
    now: &'a mut ById,
}

impl NextIds<'_> {
    /// The name of a certificate.
    pub(super) fn of(&mut self, it: &Arc<Certificate>) -> CertificateId {
        let address = Arc::as_ptr(it).addr();
        let known = || self.before.remove(&address).unwrap_or_else(|| (it.clone(), certificate_id(it)));
        self.now.entry(address).or_insert_with(known).1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_content_and_kept_for_one_rendering_more() {
        let certificate =
            |key: &str| Arc::new(Certificate { chain: b"x".into(), key: key.as_bytes().into() });
        let (a, b) = (certificate("a"), certificate("b"));
        let mut ids = CertificateIds::default();
        for asked in [&[&a, &b, &a][..], &[&b], &[&a]] {
            let mut next = ids.next();
            assert!(asked.iter().all(|it| next.of(it) == certificate_id(it)));
            let distinct: std::collections::BTreeSet<_> = asked.iter().map(|it| Arc::as_ptr(it)).collect();
            assert_eq!(ids.0.len(), distinct.len());
        }
        assert_eq!(
            (Arc::strong_count(&a), Arc::strong_count(&b)),
            (2, 1),
            "what was not asked for is let go"
        );
    }
}
