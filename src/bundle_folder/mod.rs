//! Bundles on disk: `manifest.json`, beside it one `<name>.vcl` for each VCL that it names, and the folder
//! `certificates`.
//!
//! The manifest is written last and by rename, and a name's content never changes, so a reader sees either the
//! old bundle or the new one. What it reads it checks against the hashes in the names.

pub mod certificates;
pub mod changes;
mod files;
pub mod relay;
pub mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::bundle::relay::{CertificateId, Relay, is_certificate_id};
use crate::bundle::{Bundle, ListenSocket, Manifest, NAME_PREFIX, VclFile, VclName};

use certificates::CertificateFolder;
use files::{Access, MAX_FILE};

/// The file that names all others.
pub const MANIFEST: &str = "manifest.json";
const VCL: &str = "vcl";
/// The longest name of a VCL or socket that is taken.
const MAX_NAME: usize = 128;
/// The longest server name that is taken, as in the DNS, with room for `*.`.
const MAX_SERVER_NAME: usize = 255;

/// Why a folder is not a bundle.
#[derive(Debug, Error)]
pub enum BundleFolderError {
    /// There is no manifest: nobody has written a bundle yet.
    #[error("there is no {MANIFEST} in {}", .0.display())]
    Absent(PathBuf),
    /// A file that the manifest names is not there.
    #[error("{MANIFEST} names {file}, which is not in {}", folder.display())]
    Missing {
        /// The file's name.
        file: String,
        /// The bundle's folder.
        folder: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A file is larger than any VCL that Copal makes.
    #[error("{} has {size} bytes, more than the {MAX_FILE} that are read", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size in bytes.
        size: u64,
    },
    /// The manifest is not the JSON that is expected.
    #[error("{} is not a manifest", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Where it goes wrong.
        #[source]
        source: serde_json::Error,
    },
    /// The manifest's revision is not the hash of its content.
    #[error("{MANIFEST} says revision {stated}, but its content is {actual}: it was cut off or edited")]
    Revision {
        /// What it says.
        stated: String,
        /// What it should say.
        actual: String,
    },
    /// A file's text is not what its name says.
    #[error("{0} is not what its name says: it was cut off or edited")]
    Damaged(String),
    /// A name could not stand in a command or in an argument to varnishd.
    #[error(
        "{MANIFEST} has the name {0:?}; names are letters, digits, '_' and '-', and a VCL's begins with {NAME_PREFIX}"
    )]
    Name(String),
    /// Something that cannot be a server name.
    #[error("{MANIFEST} has the server name {0:?}; expected a host name, `*.` and a host name, or nothing")]
    ServerName(String),
    /// Sockets, but nothing to serve on them.
    #[error("{MANIFEST} has sockets to listen on but no root VCL")]
    NoRoot,
    /// Writing failed.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl BundleFolderError {
    /// The file in the bundle that is to blame.
    #[must_use]
    pub fn file(&self) -> String {
        match self {
            Self::Missing { file, .. } | Self::Damaged(file) => file.clone(),
            Self::Read { path, .. } | Self::TooLarge { path, .. } | Self::Write { path, .. } => {
                path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
            }
            Self::Absent(_)
            | Self::Json { .. }
            | Self::Revision { .. }
            | Self::Name(_)
            | Self::ServerName(_)
            | Self::NoRoot => MANIFEST.to_owned(),
        }
    }
}

/// The folder that bundles are written to, one after the other.
#[derive(Debug)]
pub struct BundleFolder {
    folder: PathBuf,
    /// VCL files that are there and whole.
    present: BTreeSet<VclName>,
    certificates: CertificateFolder,
    /// What the manifest on disk names.
    named: Named,
}

/// What a manifest names.
#[derive(Clone, Debug, Default)]
struct Named {
    vcls: BTreeSet<VclName>,
    certificates: BTreeSet<CertificateId>,
}

impl Named {
    fn by(manifest: &Manifest) -> Self {
        let certificates = manifest.relay.iter().flat_map(Relay::certificates).cloned().collect();
        Self { vcls: manifest.labels.values().chain(&manifest.root).cloned().collect(), certificates }
    }
}

impl BundleFolder {
    /// Opens the folder, making it if needed. Damaged files are taken for missing.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self, BundleFolderError> {
        let folder = folder.into();
        files::make_folder(&folder, Access::Usual)?;
        let found = files::stems(&folder, VCL)?;
        let present = found.into_iter().filter(|name| read_vcl(&folder, name).is_ok()).collect();
        let named = read_manifest(&folder).map(|manifest| Named::by(&manifest)).unwrap_or_default();
        let certificates = CertificateFolder::open(&folder)?;
        Ok(Self { folder, present, certificates, named })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Makes the folder hold `bundle`, and the files of the one before for whoever is still reading it.
    /// Returns how many VCL files were written.
    ///
    /// # Errors
    /// When a file cannot be written; the bundle before is still whole then.
    pub fn write(&mut self, bundle: &Bundle) -> Result<usize, BundleFolderError> {
        let mut written = 0;
        for (name, text) in &bundle.files {
            if !self.present.contains(name) {
                files::replace(&self.vcl_path(name), text.as_bytes(), Access::Usual)?;
                self.present.insert(name.clone());
                written += 1;
            }
        }
        self.certificates.write(&bundle.certificates)?;
        let path = self.folder.join(MANIFEST);
        let json = serde_json::to_vec_pretty(&bundle.manifest);
        let json = json.map_err(|source| BundleFolderError::Json { path: path.clone(), source })?;
        files::replace(&path, &json, Access::Usual)?;
        let before = std::mem::replace(&mut self.named, Named::by(&bundle.manifest));
        self.sweep(&before)?;
        Ok(written)
    }

    /// Removes files that neither this manifest nor the one before names.
    fn sweep(&mut self, before: &Named) -> Result<(), BundleFolderError> {
        for name in files::stems(&self.folder, VCL)? {
            if !self.named.vcls.contains(&name) && !before.vcls.contains(&name) {
                self.present.remove(&name);
                files::remove(&self.vcl_path(&name))?;
            }
        }
        let named = &self.named.certificates;
        self.certificates.sweep(|id| named.contains(id) || before.certificates.contains(id))
    }

    fn vcl_path(&self, name: &str) -> PathBuf {
        self.folder.join(vcl_file(name))
    }
}

/// Reads the bundle in `folder`. What `known` has under the same name is not read again.
///
/// # Errors
/// When there is none, or any part of it is missing or not intact.
pub fn read(folder: &Path, known: Option<&Bundle>) -> Result<Bundle, BundleFolderError> {
    read_files(folder, read_manifest(folder)?, known)
}

/// As [`read`], for a manifest that has been read already.
///
/// # Errors
/// When any part of the bundle is missing or not intact.
pub fn read_files(
    folder: &Path,
    manifest: Manifest,
    known: Option<&Bundle>,
) -> Result<Bundle, BundleFolderError> {
    let named = Named::by(&manifest);
    let mut files = BTreeMap::new();
    for name in named.vcls {
        let text = match known.and_then(|bundle| bundle.files.get(&name)) {
            Some(text) => Arc::clone(text),
            None => read_vcl(folder, &name)?,
        };
        files.insert(name, text);
    }
    let mut certificates = BTreeMap::new();
    for id in named.certificates {
        let certificate = match known.and_then(|bundle| bundle.certificates.get(&id)) {
            Some(certificate) => Arc::clone(certificate),
            None => Arc::new(certificates::read(folder, &id)?),
        };
        certificates.insert(id, certificate);
    }
    Ok(Bundle { manifest, files, certificates })
}

/// Reads and checks the manifest alone.
///
/// # Errors
/// When there is none, or it is not one.
pub fn read_manifest(folder: &Path) -> Result<Manifest, BundleFolderError> {
    let json = match files::read(folder, MANIFEST) {
        Err(BundleFolderError::Missing { .. }) => return Err(BundleFolderError::Absent(folder.to_owned())),
        json => json?,
    };
    let path = || folder.join(MANIFEST);
    let manifest =
        serde_json::from_slice(&json).map_err(|source| BundleFolderError::Json { path: path(), source })?;
    check(&manifest)?;
    Ok(manifest)
}

/// Checks that a manifest is whole, and that its names can stand in commands, arguments and file names.
///
/// # Errors
/// Says what is wrong with it.
pub fn check(manifest: &Manifest) -> Result<(), BundleFolderError> {
    let actual = manifest.hash();
    // The empty bundle has no revision.
    if manifest.revision != actual && *manifest != Manifest::default() {
        return Err(BundleFolderError::Revision { stated: manifest.revision.clone(), actual });
    }
    let ours = manifest.labels.iter().flat_map(|(label, name)| [label, name]).chain(&manifest.root);
    if let Some(name) = ours.into_iter().find(|name| !is_name(name) || !name.starts_with(NAME_PREFIX)) {
        return Err(BundleFolderError::Name(name.clone()));
    }
    if let Some(ListenSocket { name, .. }) = manifest.listen.iter().find(|socket| !is_name(&socket.name)) {
        return Err(BundleFolderError::Name(name.clone()));
    }
    manifest.relay.as_ref().map_or(Ok(()), check_relay)?;
    if manifest.root.is_none() && manifest.listens() {
        return Err(BundleFolderError::NoRoot);
    }
    Ok(())
}

fn check_relay(relay: &Relay) -> Result<(), BundleFolderError> {
    let names = relay.listen.values().flat_map(|listener| listener.certificates.keys());
    if let Some(name) = names.into_iter().find(|name| !is_server_name(name)) {
        return Err(BundleFolderError::ServerName(name.clone()));
    }
    if let Some((id, _)) = relay.upstreams.iter().find(|(id, upstream)| **id != upstream.id()) {
        return Err(BundleFolderError::Name(id.clone()));
    }
    let strange = relay.certificates().into_iter().find(|id| !is_certificate_id(id));
    strange.map_or(Ok(()), |id| Err(BundleFolderError::Name(id.clone())))
}

/// What varnishd takes for the name of a VCL or a socket, and what is safe as the name of a file.
fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

fn is_server_name(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    let is_host = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    name.len() <= MAX_SERVER_NAME && (name.is_empty() || !host.is_empty()) && host.chars().all(is_host)
}

fn vcl_file(name: &str) -> String {
    format!("{name}.{VCL}")
}

fn read_vcl(folder: &Path, name: &str) -> Result<Arc<str>, BundleFolderError> {
    let file = vcl_file(name);
    let text = String::from_utf8(files::read(folder, &file)?);
    let vcl = text.ok().map(|text| VclFile { name: name.to_owned(), text: text.into() });
    vcl.filter(VclFile::is_intact).map(|vcl| vcl.text).ok_or(BundleFolderError::Damaged(file))
}

#[cfg(test)]
mod tests;
