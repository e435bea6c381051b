//! The relay's part of a bundle, in a folder of its own: `relay.json`, written last, and `certificates/`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::bundle::Bundle;
use crate::bundle::relay::{CertificateId, Relay};

use super::BundleFolderError;
use super::certificates::CertificateFolder;
use super::files::{self, Access};

/// The file that says what to do.
pub const TASK: &str = "relay.json";

/// What the relay has to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// The bundle's revision.
    pub revision: String,
    /// The bundle's part for the relay.
    pub relay: Relay,
    /// Listeners' ports, before any offset, on which HTTP is spoken without TLS, and which varnishd has no socket for.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub http: BTreeSet<u16>,
}

/// Writes the relay's part of one bundle after the other.
#[derive(Debug)]
pub struct RelayFolder {
    folder: PathBuf,
    certificates: CertificateFolder,
    /// The certificates of the task on disk.
    named: BTreeSet<CertificateId>,
    /// The task on disk.
    written: Option<Task>,
}

impl RelayFolder {
    /// Opens the folder, making it if needed. A task that an earlier process left there is not trusted.
    ///
    /// # Errors
    /// When it cannot be made or read.
    pub fn open(folder: &Path) -> Result<Self, BundleFolderError> {
        files::make_folder(folder, Access::Owner)?;
        let certificates = CertificateFolder::open(folder)?;
        Ok(Self { folder: folder.to_owned(), certificates, named: BTreeSet::new(), written: None })
    }

    /// Hands the relay its part of `bundle`, and the HTTP ports that it has to listen on for varnishd. A bundle without
    /// such a part leaves it nothing else to do.
    ///
    /// # Errors
    /// When something cannot be written; the task before is still whole then.
    pub fn write(&mut self, bundle: &Bundle, http: &BTreeSet<u16>) -> Result<(), BundleFolderError> {
        let relay = bundle.manifest.relay.clone().unwrap_or_default();
        let task = Task { revision: bundle.manifest.revision.clone(), relay, http: http.clone() };
        if self.written.as_ref() == Some(&task) {
            return Ok(());
        }
        self.certificates.write(&bundle.certificates)?;
        let path = self.folder.join(TASK);
        let json = serde_json::to_vec_pretty(&task);
        let json = json.map_err(|source| BundleFolderError::Json { path: path.clone(), source })?;
        files::replace(&path, &json, Access::Owner)?;
        let named: BTreeSet<_> = task.relay.certificates().into_iter().cloned().collect();
        let before = std::mem::replace(&mut self.named, named);
        self.written = Some(task);
        // The relay may still be reading those of the task before.
        self.certificates.sweep(|id| self.named.contains(id) || before.contains(id))
    }
}

/// Reads the task; none where nobody has written one yet.
///
/// # Errors
/// When it cannot be read or is not one.
pub fn read(folder: &Path) -> Result<Option<Task>, BundleFolderError> {
    let json = match files::read(folder, TASK) {
        Err(BundleFolderError::Missing { .. }) => return Ok(None),
        json => json?,
    };
    let task = serde_json::from_slice(&json);
    task.map(Some).map_err(|source| BundleFolderError::Json { path: folder.join(TASK), source })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    use super::super::certificates;
    use super::*;
    use crate::bundle::VclFile;
    use crate::bundle::relay::{Certificate, Certificates, TlsListener, certificate_id};

    fn bundle(keys: &[&str]) -> Bundle {
        let certificates: Certificates = keys
            .iter()
            .map(|key| Arc::new(Certificate { chain: b"chain".into(), key: key.as_bytes().into() }))
            .map(|certificate| (certificate_id(&certificate), certificate))
            .collect();
        let listener = TlsListener {
            certificates: certificates.keys().map(|id| (id.clone(), vec![id.clone()])).collect(),
            clients: None,
        };
        let relay = Relay { listen: [(443, listener)].into(), ..Relay::default() };
        Bundle::new(Vec::new(), VclFile::new("root", "r"), BTreeMap::new())
            .with_relay(Some(relay), certificates)
    }

    fn count(folder: &Path) -> usize {
        fs::read_dir(folder.join(certificates::FOLDER)).unwrap().count()
    }

    #[test]
    fn what_is_written_is_read_back_and_old_certificates_go_after_one_more_task() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("relay");
        let mut folder = RelayFolder::open(&dir).unwrap();
        assert_eq!(read(&dir).unwrap(), None);
        for (keys, files) in [(&["a", "b"][..], 4), (&["b", "c"], 6), (&["c"], 4), (&["c", "d"], 4)] {
            let bundle = bundle(keys);
            folder.write(&bundle, &BTreeSet::new()).unwrap();
            let task = read(&dir).unwrap().unwrap();
            assert_eq!(task.revision, bundle.manifest.revision);
            for id in task.relay.certificates() {
                assert_eq!(&certificates::read(&dir, id).unwrap(), &*bundle.certificates[id]);
            }
            assert_eq!(count(&dir), files, "{keys:?}");
        }
    }

    #[test]
    fn nobody_else_may_read_it() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("relay");
        RelayFolder::open(&dir).unwrap().write(&bundle(&["a"]), &BTreeSet::new()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir), mode(&dir.join("certificates"))), (0o700, 0o700));
        for file in fs::read_dir(dir.join("certificates")).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
        }
    }

    #[test]
    fn damaged_certificates_are_told_and_mended_by_the_next_writer() {
        let tmp = tempfile::tempdir().unwrap();
        let bundle = bundle(&["a"]);
        let id = bundle.certificates.keys().next().unwrap();
        RelayFolder::open(tmp.path()).unwrap().write(&bundle, &BTreeSet::new()).unwrap();
        fs::write(tmp.path().join(format!("certificates/{id}.key")), "b").unwrap();
        assert!(matches!(certificates::read(tmp.path(), id), Err(BundleFolderError::Damaged(_))));
        assert!(matches!(certificates::read(tmp.path(), "../x"), Err(BundleFolderError::Name(_))));
        RelayFolder::open(tmp.path()).unwrap().write(&bundle, &BTreeSet::new()).unwrap();
        assert!(certificates::read(tmp.path(), id).is_ok());
    }

    #[test]
    fn a_bundle_without_relay_leaves_nothing_to_do() {
        let tmp = tempfile::tempdir().unwrap();
        let mut folder = RelayFolder::open(tmp.path()).unwrap();
        folder.write(&bundle(&["a"]), &BTreeSet::new()).unwrap();
        folder.write(&Bundle::default(), &BTreeSet::new()).unwrap();
        assert_eq!(read(tmp.path()).unwrap(), Some(Task::default()));
        folder.write(&Bundle::default(), &[80].into()).unwrap();
        assert_eq!(read(tmp.path()).unwrap(), Some(Task { http: [80].into(), ..Task::default() }));
    }
}
