//! The folder `certificates`: `ID.crt` and `ID.key`, for nobody but their owner.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bundle::relay::{Certificate, CertificateId, Certificates, certificate_id, is_certificate_id};

use super::BundleFolderError;
use super::files::{self, Access};

/// The folder's name.
pub const FOLDER: &str = "certificates";
const CHAIN: &str = "crt";
const KEY: &str = "key";

/// Reads one certificate of those in `folder`, which is the one that [`FOLDER`] is in.
///
/// # Errors
/// When one of its files is missing, or they are not what their name says.
pub fn read(folder: &Path, id: &str) -> Result<Certificate, BundleFolderError> {
    if !is_certificate_id(id) {
        return Err(BundleFolderError::Name(id.to_owned()));
    }
    let read = |extension| files::read(folder, &format!("{FOLDER}/{id}.{extension}"));
    let certificate = Certificate { chain: read(CHAIN)?, key: read(KEY)? };
    let damaged = || BundleFolderError::Damaged(format!("{FOLDER}/{id}.{CHAIN}"));
    (certificate_id(&certificate) == id).then_some(certificate).ok_or_else(damaged)
}

/// The certificates on disk, written incrementally.
#[derive(Debug)]
pub struct CertificateFolder {
    folder: PathBuf,
    /// Those that are there and whole.
    present: BTreeSet<CertificateId>,
    /// Whether there is nothing else in the folder.
    is_swept: bool,
}

impl CertificateFolder {
    /// Looks at what is in `folder` already. What is damaged counts as missing.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(folder: &Path) -> Result<Self, BundleFolderError> {
        let ids = files::stems(&folder.join(FOLDER), KEY)?;
        let present = ids.into_iter().filter(|id| read(folder, id).is_ok()).collect();
        Ok(Self { folder: folder.to_owned(), present, is_swept: false })
    }

    /// Writes those that are not there yet; of a pair, the key goes first.
    ///
    /// # Errors
    /// When something cannot be written.
    pub fn write(&mut self, certificates: &Certificates) -> Result<(), BundleFolderError> {
        if certificates.is_empty() {
            return Ok(());
        }
        files::make_folder(&self.folder.join(FOLDER), Access::Owner)?;
        for (id, certificate) in certificates {
            if !self.present.contains(id) {
                self.write_one(id, certificate)?;
            }
        }
        Ok(())
    }

    fn write_one(
        &mut self,
        id: &CertificateId,
        certificate: &Arc<Certificate>,
    ) -> Result<(), BundleFolderError> {
        if !is_certificate_id(id) {
            return Err(BundleFolderError::Name(id.clone()));
        }
        let is_swept = std::mem::replace(&mut self.is_swept, false);
        files::replace(&self.path(id, KEY), &certificate.key, Access::Owner)?;
        files::replace(&self.path(id, CHAIN), &certificate.chain, Access::Owner)?;
        self.present.insert(id.clone());
        self.is_swept = is_swept;
        Ok(())
    }

    /// Removes those that are not to be kept. The folder is looked through the first time only.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn sweep(&mut self, is_kept: impl Fn(&str) -> bool) -> Result<(), BundleFolderError> {
        let mut stale: BTreeSet<_> = self.present.iter().filter(|id| !is_kept(id)).cloned().collect();
        if !self.is_swept {
            for extension in [KEY, CHAIN] {
                let found = files::stems(&self.folder.join(FOLDER), extension)?;
                stale.extend(found.into_iter().filter(|id| !is_kept(id)));
            }
        }
        // One that cannot be removed is looked for again.
        self.is_swept = false;
        for id in &stale {
            self.present.remove(id);
            files::remove(&self.path(id, KEY))?;
            files::remove(&self.path(id, CHAIN))?;
        }
        self.is_swept = true;
        Ok(())
    }

    fn path(&self, id: &str, extension: &str) -> PathBuf {
        self.folder.join(FOLDER).join(format!("{id}.{extension}"))
    }
}
