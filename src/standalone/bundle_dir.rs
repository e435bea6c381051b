//! A bundle on disk: `<VclName>.vcl` files and, written last, the `manifest.json` that names them.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bundle::relay::Certificates;
use crate::bundle::{Bundle, Manifest, VclFile, VclName};

const MANIFEST: &str = "manifest.json";
const EXTENSION: &str = "vcl";

/// Why a bundle could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BundleDirError {
    /// A file or folder.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A manifest that is not one.
    #[error("{} is not the manifest of a bundle", path.display())]
    Manifest {
        /// Its path.
        path: PathBuf,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// A file that is not what the manifest or its name says.
    #[error("{} is damaged: its content does not have the hash in its name", path.display())]
    Damaged {
        /// Its path.
        path: PathBuf,
    },
}

/// The folder that bundles are written to, one after the other.
#[derive(Debug)]
pub struct BundleDir {
    dir: PathBuf,
    /// Files that are there and whole.
    present: BTreeSet<VclName>,
    /// What the manifest on disk names.
    named: BTreeSet<VclName>,
}

impl BundleDir {
    /// Opens the folder, making it if needed. Damaged files are taken for missing.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self, BundleDirError> {
        let dir = dir.into();
        fs::create_dir_all(&dir).map_err(failed("make", &dir))?;
        let present = vcl_names(&dir)?.into_iter().filter(|name| vcl_file(&dir, name).is_ok()).collect();
        let named = read_manifest(&dir).ok().flatten().map(|it| names(&it)).unwrap_or_default();
        Ok(Self { dir, present, named })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Makes the folder hold `bundle`, and the files of the one before for whoever is still reading it.
    /// Returns how many VCL files were written.
    ///
    /// # Errors
    /// When a file cannot be written; the bundle before is still whole then.
    pub fn write(&mut self, bundle: &Bundle) -> Result<usize, BundleDirError> {
        let mut written = 0;
        for (name, text) in &bundle.files {
            if !self.present.contains(name) {
                replace(&vcl_path(&self.dir, name), text.as_bytes())?;
                self.present.insert(name.clone());
                written += 1;
            }
        }
        let path = self.dir.join(MANIFEST);
        let text = serde_json::to_vec_pretty(&bundle.manifest)
            .map_err(|source| BundleDirError::Manifest { path: path.clone(), source })?;
        replace(&path, &text)?;
        let before = std::mem::replace(&mut self.named, names(&bundle.manifest));
        self.sweep(&before)?;
        Ok(written)
    }

    /// Removes files that neither this manifest nor the one before names.
    fn sweep(&mut self, before: &BTreeSet<VclName>) -> Result<(), BundleDirError> {
        for name in vcl_names(&self.dir)? {
            if !self.named.contains(&name) && !before.contains(&name) {
                let path = vcl_path(&self.dir, &name);
                self.present.remove(&name);
                fs::remove_file(&path).map_err(failed("remove", &path))?;
            }
        }
        Ok(())
    }
}

/// Reads a bundle; `None` where none was ever written.
///
/// # Errors
/// When a file cannot be read or is not what its name or the manifest says.
pub fn read(dir: &Path) -> Result<Option<Bundle>, BundleDirError> {
    let Some(manifest) = read_manifest(dir)? else { return Ok(None) };
    let mut files = std::collections::BTreeMap::new();
    for name in names(&manifest) {
        let file = vcl_file(dir, &name)?;
        files.insert(file.name, file.text);
    }
    Ok(Some(Bundle { manifest, files, certificates: Certificates::new() }))
}

fn read_manifest(dir: &Path) -> Result<Option<Manifest>, BundleDirError> {
    let path = dir.join(MANIFEST);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(failed("read", &path))?,
    };
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|source| BundleDirError::Manifest { path: path.clone(), source })?;
    // The empty bundle has no revision.
    let empty = manifest == Manifest::default();
    if empty || manifest.revision == manifest.hash() {
        Ok(Some(manifest))
    } else {
        Err(BundleDirError::Damaged { path })
    }
}

fn vcl_file(dir: &Path, name: &str) -> Result<VclFile, BundleDirError> {
    let path = vcl_path(dir, name);
    let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
    let file = VclFile { name: name.to_owned(), text: Arc::from(text) };
    if file.is_intact() { Ok(file) } else { Err(BundleDirError::Damaged { path }) }
}

fn names(manifest: &Manifest) -> BTreeSet<VclName> {
    manifest.labels.values().chain(&manifest.root).cloned().collect()
}

fn vcl_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.{EXTENSION}"))
}

fn vcl_names(dir: &Path) -> Result<Vec<VclName>, BundleDirError> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let paths = entries.map_err(failed("list", dir))?.into_iter().map(|it| it.path());
    let paths = paths.filter(|path| path.extension().is_some_and(|it| it == EXTENSION));
    Ok(paths.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect())
}

/// Readers see the old content or the new one, never a part.
fn replace(path: &Path, content: &[u8]) -> Result<(), BundleDirError> {
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, content).map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("write", path))
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> BundleDirError + use<'a> {
    move |source| BundleDirError::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bundle::ListenSocket;

    fn bundle(shards: &[&str]) -> Bundle {
        let listen = vec![ListenSocket { name: "http".into(), port: 80 }];
        let shards: BTreeMap<_, _> = shards
            .iter()
            .map(|text| (format!("copal_s{}", text.len()), VclFile::new(&format!("s{}", text.len()), *text)))
            .collect();
        Bundle::new(listen, VclFile::new("root", format!("root of {}", shards.len())), shards)
    }

    fn files(dir: &Path) -> usize {
        fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn what_is_written_can_be_read_and_old_files_go_after_one_more_bundle() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("state/bundle");
        let (one, two, three) = (bundle(&["a", "bb"]), bundle(&["c", "bb"]), bundle(&["c", "dd"]));
        assert_eq!(BundleDir::open(&dir).unwrap().write(&one).unwrap(), 3);
        assert_eq!(read(&dir).unwrap(), Some(one.clone()));
        let mut again = BundleDir::open(&dir).unwrap();
        assert_eq!(again.write(&one).unwrap(), 0);
        assert_eq!(again.write(&two).unwrap(), 1);
        assert_eq!((read(&dir).unwrap(), files(&dir)), (Some(two), 5));
        assert_eq!(again.write(&three).unwrap(), 1);
        assert_eq!((read(&dir).unwrap(), files(&dir)), (Some(three), 5));
    }

    #[test]
    fn damage_is_told_and_mended_by_the_next_writer() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path();
        assert_eq!(read(dir).unwrap(), None);
        let one = bundle(&["a"]);
        BundleDir::open(dir).unwrap().write(&one).unwrap();
        let name = one.manifest.root.clone().unwrap();
        fs::write(vcl_path(dir, &name), "ro").unwrap();
        assert!(matches!(read(dir), Err(BundleDirError::Damaged { .. })));
        assert_eq!(BundleDir::open(dir).unwrap().write(&one).unwrap(), 1);
        assert_eq!(read(dir).unwrap(), Some(one));
        fs::write(dir.join(MANIFEST), "{").unwrap();
        assert!(matches!(read(dir), Err(BundleDirError::Manifest { .. })));
    }

    #[test]
    fn an_empty_bundle_can_be_written_and_read() {
        let tmp = tempfile::tempdir().unwrap();
        BundleDir::open(tmp.path()).unwrap().write(&Bundle::default()).unwrap();
        assert_eq!(read(tmp.path()).unwrap(), Some(Bundle::default()));
    }
}
