//! Bundles on disk: `manifest.json` and beside it one `<name>.vcl` for each VCL that it names.
//!
//! The manifest is written last and by rename, and a name's text never changes, so a reader sees either the
//! old bundle or the new one. What it reads it checks against the hashes in the names.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use crate::bundle::relay::Certificates;
use crate::bundle::{Bundle, ListenSocket, Manifest, NAME_PREFIX, VclFile, VclName};

/// The file that names all others.
pub const MANIFEST: &str = "manifest.json";
/// The largest file that is read, in bytes. A shard is some 100 KiB at most.
const MAX_FILE: u64 = 16 << 20;
/// The longest name of a VCL or socket that is taken.
const MAX_NAME: usize = 128;

/// Why a folder is not a bundle.
#[derive(Debug, Error)]
pub enum StoreError {
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

impl StoreError {
    /// The file in the bundle that is to blame.
    #[must_use]
    pub fn file(&self) -> String {
        match self {
            Self::Missing { file, .. } | Self::Damaged(file) => file.clone(),
            Self::Read { path, .. } | Self::TooLarge { path, .. } | Self::Write { path, .. } => {
                path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
            }
            Self::Absent(_) | Self::Json { .. } | Self::Revision { .. } | Self::Name(_) | Self::NoRoot => {
                MANIFEST.to_owned()
            }
        }
    }
}

/// Reads the bundle in `folder`. Texts that `known` has under the same name are not read again.
///
/// # Errors
/// When there is none, or any part of it is missing or not intact.
pub fn read(folder: &Path, known: Option<&Bundle>) -> Result<Bundle, StoreError> {
    let manifest = read_manifest(folder)?;
    let mut files = BTreeMap::new();
    for name in manifest.labels.values().chain(&manifest.root) {
        let text = match known.and_then(|bundle| bundle.files.get(name)) {
            Some(text) => Arc::clone(text),
            None => read_vcl(folder, name)?,
        };
        files.insert(name.clone(), text);
    }
    Ok(Bundle { manifest, files, certificates: Certificates::new() })
}

/// Reads and checks the manifest alone.
///
/// # Errors
/// When there is none, or it is not one.
pub fn read_manifest(folder: &Path) -> Result<Manifest, StoreError> {
    let path = folder.join(MANIFEST);
    let text = match read_text(&path) {
        Err(StoreError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Absent(folder.to_owned()));
        }
        other => other?,
    };
    let manifest = serde_json::from_str(&text).map_err(|source| StoreError::Json { path, source })?;
    check(&manifest)?;
    Ok(manifest)
}

fn check(manifest: &Manifest) -> Result<(), StoreError> {
    let actual = manifest.hash();
    if manifest.revision != actual {
        return Err(StoreError::Revision { stated: manifest.revision.clone(), actual });
    }
    let ours = manifest.labels.iter().flat_map(|(label, name)| [label, name]).chain(&manifest.root);
    if let Some(name) = ours.into_iter().find(|name| !is_name(name) || !name.starts_with(NAME_PREFIX)) {
        return Err(StoreError::Name(name.clone()));
    }
    if let Some(ListenSocket { name, .. }) = manifest.listen.iter().find(|socket| !is_name(&socket.name)) {
        return Err(StoreError::Name(name.clone()));
    }
    if manifest.root.is_none() && manifest.listens() {
        return Err(StoreError::NoRoot);
    }
    Ok(())
}

/// What varnishd takes for the name of a VCL or a socket, and what is safe as the name of a file.
fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

fn read_vcl(folder: &Path, name: &VclName) -> Result<Arc<str>, StoreError> {
    let file = format!("{name}.vcl");
    let text = match read_text(&folder.join(&file)) {
        Err(StoreError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Err(StoreError::Missing { file, folder: folder.to_owned() });
        }
        other => other?,
    };
    let vcl = VclFile { name: name.clone(), text: text.into() };
    if vcl.is_intact() { Ok(vcl.text) } else { Err(StoreError::Damaged(file)) }
}

fn read_text(path: &Path) -> Result<String, StoreError> {
    let failed = |source| StoreError::Read { path: path.to_owned(), source };
    let size = fs::metadata(path).map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(StoreError::TooLarge { path: path.to_owned(), size });
    }
    fs::read_to_string(path).map_err(failed)
}

/// Writes `bundle` into `folder`, then removes VCL files that it does not name.
///
/// # Errors
/// When the folder or a file in it cannot be written; the bundle that was there is then still whole.
pub fn write(folder: &Path, bundle: &Bundle) -> Result<(), StoreError> {
    fs::create_dir_all(folder).map_err(|source| StoreError::Write { path: folder.to_owned(), source })?;
    for (name, text) in &bundle.files {
        let path = folder.join(format!("{name}.vcl"));
        if !holds(&path, text) {
            replace(&path, text.as_bytes())?;
        }
    }
    let path = folder.join(MANIFEST);
    let json = serde_json::to_vec_pretty(&bundle.manifest)
        .map_err(|source| StoreError::Json { path: path.clone(), source })?;
    replace(&path, &json)?;
    remove_others(folder, bundle)
}

/// Whether the file is there already. Its length will do: names carry hashes, and damage elsewhere is found
/// when it is read.
fn holds(path: &Path, text: &str) -> bool {
    fs::metadata(path).is_ok_and(|found| found.len() == text.len() as u64)
}

/// Writes beside the file, then renames over it, so that no reader ever sees a part.
fn replace(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let failed = |source| StoreError::Write { path: path.to_owned(), source };
    let beside = path.with_extension("new");
    fs::write(&beside, content).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

fn remove_others(folder: &Path, bundle: &Bundle) -> Result<(), StoreError> {
    let failed = |source| StoreError::Write { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_vcl = path.extension().is_some_and(|extension| extension == "vcl");
        let named = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .is_some_and(|name| bundle.files.contains_key(name));
        if is_vcl && !named {
            fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bundle(shard: &str) -> Bundle {
        let listen = vec![ListenSocket { name: "http-80".into(), port: 80 }];
        let shards = BTreeMap::from([("copal_s01".to_owned(), VclFile::new("s01", shard))]);
        Bundle::new(listen, VclFile::new("root", "vcl 4.1; # root"), shards)
    }

    fn written(shard: &str) -> (tempfile::TempDir, Bundle) {
        let folder = tempfile::tempdir().unwrap();
        let bundle = bundle(shard);
        write(folder.path(), &bundle).unwrap();
        (folder, bundle)
    }

    fn shard_path(folder: &Path, bundle: &Bundle) -> PathBuf {
        folder.join(format!("{}.vcl", bundle.manifest.labels["copal_s01"]))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (folder, bundle) = written("vcl 4.1; # a");
        assert_eq!(read(folder.path(), None).unwrap(), bundle);
    }

    #[test]
    fn a_second_bundle_replaces_the_first_and_its_files() {
        let (folder, first) = written("vcl 4.1; # a");
        let second = bundle("vcl 4.1; # b");
        write(folder.path(), &second).unwrap();
        assert_eq!(read(folder.path(), Some(&first)).unwrap(), second);
        assert!(!shard_path(folder.path(), &first).exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn known_texts_are_not_read_again() {
        let (folder, bundle) = written("vcl 4.1; # a");
        fs::remove_file(shard_path(folder.path(), &bundle)).unwrap();
        assert_eq!(read(folder.path(), Some(&bundle)).unwrap(), bundle);
    }

    #[test]
    fn a_missing_file_is_named() {
        let (folder, bundle) = written("vcl 4.1; # a");
        let path = shard_path(folder.path(), &bundle);
        fs::remove_file(&path).unwrap();
        let error = read(folder.path(), None).unwrap_err();
        assert!(matches!(error, StoreError::Missing { .. }), "{error}");
        assert_eq!(error.file(), path.file_name().unwrap().to_str().unwrap());
    }

    #[test]
    fn damage_is_found() {
        let (folder, bundle) = written("vcl 4.1; # a");
        fs::write(shard_path(folder.path(), &bundle), "vcl 4.1; #").unwrap();
        assert!(matches!(read(folder.path(), None), Err(StoreError::Damaged(_))));
        let path = folder.path().join(MANIFEST);
        let edited = fs::read_to_string(&path).unwrap().replace("http-80", "http-81");
        fs::write(&path, edited).unwrap();
        assert!(matches!(read(folder.path(), None), Err(StoreError::Revision { .. })));
        fs::write(&path, "{").unwrap();
        assert!(matches!(read(folder.path(), None), Err(StoreError::Json { .. })));
        fs::remove_file(&path).unwrap();
        assert!(matches!(read(folder.path(), None), Err(StoreError::Absent(_))));
    }

    #[test]
    fn names_that_could_escape_are_refused() {
        for name in
            ["copal_../x", "copal_a b", "copal_a\nstop", "root", "", &format!("copal_{}", "x".repeat(200))]
        {
            let mut manifest = Manifest { root: Some(name.to_owned()), ..Manifest::default() };
            manifest.revision = manifest.hash();
            assert!(matches!(check(&manifest), Err(StoreError::Name(_))), "{name:?}");
        }
        let listen = vec![ListenSocket { name: "a=b,PROXY".into(), port: 1 }];
        let mut manifest = Manifest { listen, ..Manifest::default() };
        manifest.revision = manifest.hash();
        assert!(matches!(check(&manifest), Err(StoreError::Name(_))));
    }

    #[test]
    fn an_empty_bundle_is_one_but_sockets_need_a_root() {
        let mut manifest = Manifest::default();
        manifest.revision = manifest.hash();
        assert!(check(&manifest).is_ok());
        manifest.listen.push(ListenSocket { name: "http-80".into(), port: 80 });
        manifest.revision = manifest.hash();
        assert!(matches!(check(&manifest), Err(StoreError::NoRoot)));
    }
}
