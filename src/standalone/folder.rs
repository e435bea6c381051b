//! The folder on disk: which of its files changed since the last look, and what they say now.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::catalogue::{FilePath, Reading};
use super::manifests::{Format, Manifests};

/// Larger than any folder of manifests; keeps a wrong folder (`/`) from being read for hours.
pub const MAX_FILES: usize = 100_000;

/// Larger than any manifest: etcd refuses objects above 1.5 MiB.
pub const MAX_FILE_BYTES: u64 = 8 << 20;

/// Why a folder cannot be looked through. What was read from it before stays as it is.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The folder is not there or cannot be read.
    #[error("cannot read the manifest folder {}", path.display())]
    Read {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is something else.
    #[error("{} is not a folder: expected a folder with *.yaml, *.yml or *.json files", path.display())]
    NotAFolder {
        /// What is not a folder.
        path: PathBuf,
    },
    /// It holds too much.
    #[error("{} holds more than {MAX_FILES} manifest files", path.display())]
    TooManyFiles {
        /// The folder.
        path: PathBuf,
    },
}

/// What is known from file events about single files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Read these even if their metadata looks the same.
    pub touched: BTreeSet<PathBuf>,
    /// Someone is writing these right now: leave them as they were.
    pub being_written: BTreeSet<PathBuf>,
    /// Whether nothing else has changed: events were neither lost nor too many to keep.
    pub complete: bool,
}

/// A folder, and what was seen in it at the last look.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    seen: BTreeMap<FilePath, Stamp>,
}

/// What tells, without reading it, that a file is not the one it was.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stamp {
    /// Metadata of a regular file, symbolic links followed.
    File { device: u64, inode: u64, size: u64, modified_ns: i128, changed_ns: i128 },
    /// A file or sub-folder that cannot be looked at, and why.
    Blocked(String),
}

#[derive(Default)]
struct Listing {
    files: BTreeMap<FilePath, Stamp>,
    /// Device and inode of each folder: links that lead in circles or twice to one folder end here.
    visited: BTreeSet<(u64, u64)>,
}

impl Folder {
    /// A folder that nothing was read of yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), seen: BTreeMap::new() }
    }

    /// The folder's path as it was given.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Looks through the folder and reads what changed since the last look.
    ///
    /// # Errors
    /// When the folder as a whole cannot be looked through. A single file or sub-folder that cannot be read
    /// is [`Reading::Unreadable`].
    pub fn scan(&mut self, hints: &Hints) -> Result<BTreeMap<FilePath, Reading>, FolderError> {
        let mut readings = BTreeMap::new();
        if let Some(files) = self.only_known_files(hints) {
            self.read_all(files, hints, &mut readings);
            return Ok(readings);
        }
        let listing = self.settled_list()?;
        readings = self.gone(&listing);
        self.read_all(listing, hints, &mut readings);
        Ok(readings)
    }

    fn read_all(
        &mut self,
        files: BTreeMap<FilePath, Stamp>,
        hints: &Hints,
        readings: &mut BTreeMap<FilePath, Reading>,
    ) {
        for (path, stamp) in files {
            let same = self.seen.get(&path) == Some(&stamp) && !hints.touched.contains(&*path);
            if same || hints.being_written.contains(&*path) {
                continue;
            }
            if let Some((stamp, reading)) = read(&path, stamp) {
                readings.insert(path.clone(), reading);
                self.seen.insert(path, stamp);
            }
        }
    }

    /// The files that events are about, if all of them were there before and are files still: then the rest of the
    /// folder need not be looked through. Editors' other files, which come and go beside them, do not count.
    fn only_known_files(&self, hints: &Hints) -> Option<BTreeMap<FilePath, Stamp>> {
        let mut files = BTreeMap::new();
        for path in hints.complete.then_some(&hints.touched)? {
            match fs::symlink_metadata(path) {
                Ok(metadata) if metadata.is_file() && self.seen.contains_key(path.as_path()) => {
                    files.insert(path.as_path().into(), Stamp::of(&metadata));
                }
                Ok(metadata) if metadata.is_file() && format_of(path).is_none() => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.has_seen_in(path) => {}
                _ => return None,
            }
        }
        Some(files)
    }

    fn has_seen_in(&self, path: &Path) -> bool {
        self.seen.keys().any(|seen| seen.starts_with(path))
    }

    /// A file that moves while the folder is listed may be in neither place: what seems to be gone is looked
    /// for once more.
    fn settled_list(&self) -> Result<BTreeMap<FilePath, Stamp>, FolderError> {
        let listing = self.list()?;
        if self.seen.keys().all(|path| listing.contains_key(path)) { Ok(listing) } else { self.list() }
    }

    fn list(&self) -> Result<BTreeMap<FilePath, Stamp>, FolderError> {
        let read = |source| FolderError::Read { path: self.root.clone(), source };
        let metadata = fs::metadata(&self.root).map_err(read)?;
        if !metadata.is_dir() {
            return Err(FolderError::NotAFolder { path: self.root.clone() });
        }
        let mut listing = Listing::default();
        let within = listing.folder(&self.root, &metadata).map_err(read)?;
        within.then_some(listing.files).ok_or_else(|| FolderError::TooManyFiles { path: self.root.clone() })
    }

    /// Takes out what is not there any more. What is in a sub-folder that cannot be looked into is not gone.
    fn gone(&mut self, listing: &BTreeMap<FilePath, Stamp>) -> BTreeMap<FilePath, Reading> {
        let blocked = |path: &Path| {
            path.ancestors().skip(1).any(|it| matches!(listing.get(it), Some(Stamp::Blocked(_))))
        };
        let gone = self.seen.extract_if(.., |path, _| !listing.contains_key(path) && !blocked(path));
        gone.map(|(path, _)| (path, Reading::Gone)).collect()
    }
}

impl Listing {
    /// Lists a folder and what is below it; false when there are too many files.
    fn folder(&mut self, folder: &Path, metadata: &Metadata) -> io::Result<bool> {
        if !self.visited.insert((metadata.dev(), metadata.ino())) {
            return Ok(true);
        }
        let mut names =
            fs::read_dir(folder)?.map(|it| it.map(|it| it.file_name())).collect::<io::Result<Vec<_>>>()?;
        names.retain(|name| !name.as_encoded_bytes().starts_with(b"."));
        names.sort();
        for name in names {
            self.entry(&folder.join(name));
            if self.files.len() > MAX_FILES {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn entry(&mut self, path: &Path) {
        let result = match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.folder(path, &metadata).map(|_| ()),
            Ok(metadata) if metadata.is_file() && format_of(path).is_some() => {
                self.files.insert(path.into(), Stamp::of(&metadata));
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) => unseen(path, error),
        };
        if let Err(error) = result {
            self.files.insert(path.into(), Stamp::Blocked(error.to_string()));
        }
    }
}

/// What vanished between listing and looking is simply not there; a link that leads nowhere is an error
/// if its name says that it should be a manifest.
fn unseen(path: &Path, error: io::Error) -> io::Result<()> {
    let is_link = fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink());
    let vanished = error.kind() == io::ErrorKind::NotFound && !(is_link && format_of(path).is_some());
    if vanished { Ok(()) } else { Err(error) }
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        let nanos = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self::File {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Whether, and how, a file of that name is read.
#[must_use]
pub fn format_of(path: &Path) -> Option<Format> {
    match path.extension()?.to_str()? {
        "yaml" | "yml" => Some(Format::Yaml),
        "json" => Some(Format::Json),
        _ => None,
    }
}

/// `None` when the file changed while it was read: whoever changes it causes another look.
fn read(path: &Path, stamp: Stamp) -> Option<(Stamp, Reading)> {
    if let Stamp::Blocked(reason) = &stamp {
        let reason = format!("cannot read it: {reason}");
        return Some((stamp, Reading::Unreadable(reason)));
    }
    match content(path) {
        Ok((bytes, _)) if bytes.len() as u64 > MAX_FILE_BYTES => {
            let message = format!("expected at most {} MiB", MAX_FILE_BYTES >> 20);
            Some((stamp, Reading::Unreadable(message)))
        }
        Ok((bytes, after)) if after == stamp => {
            let format = format_of(path)?;
            Some((stamp, Reading::Content(Manifests::parse(format, &bytes))))
        }
        Ok(_) => None,
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some((stamp, Reading::Unreadable(format!("cannot read it: {error}")))),
    }
}

/// The bytes, and what the file looked like after the last of them.
fn content(path: &Path) -> io::Result<(Vec<u8>, Stamp)> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok((bytes, Stamp::of(&file.metadata()?)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn summary(readings: &BTreeMap<FilePath, Reading>, root: &Path) -> Vec<String> {
        let word = |reading: &Reading| match reading {
            Reading::Content(manifests) => format!("{} objects", manifests.objects.len()),
            Reading::Gone => "gone".into(),
            Reading::Unreadable(why) => why.clone(),
        };
        let name = |path: &Path| path.strip_prefix(root).unwrap().display().to_string();
        readings.iter().map(|(path, reading)| format!("{}: {}", name(path), word(reading))).collect()
    }

    fn space(name: &str) -> String {
        format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}}}\n")
    }

    #[test]
    fn only_what_changed_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("sub/deep")).unwrap();
        fs::write(root.join("a.yaml"), space("a")).unwrap();
        fs::write(root.join("sub/deep/b.yml"), space("b")).unwrap();
        fs::write(root.join("c.json"), r#"{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"c"}}"#)
            .unwrap();
        fs::write(root.join("note.txt"), "x").unwrap();
        fs::write(root.join(".hidden.yaml"), space("h")).unwrap();
        let mut folder = Folder::new(root);
        let mut scan = |hints: &Hints| summary(&folder.scan(hints).unwrap(), root);
        let all = ["a.yaml: 1 objects", "c.json: 1 objects", "sub/deep/b.yml: 1 objects"];
        assert_eq!(scan(&Hints::default()), all);
        assert_eq!(scan(&Hints::default()), [""; 0]);
        fs::write(root.join("a.yaml"), space("a") + "---\n" + &space("d")).unwrap();
        let writing = Hints { being_written: [root.join("a.yaml")].into(), ..Hints::default() };
        assert_eq!(scan(&writing), [""; 0]);
        assert_eq!(scan(&Hints::default()), ["a.yaml: 2 objects"]);
        let touched = Hints { touched: [root.join("c.json")].into(), ..Hints::default() };
        assert_eq!(scan(&touched), ["c.json: 1 objects"]);
        fs::write(root.join("a.yaml"), space("a")).unwrap();
        let of = |names: &[&str]| Hints {
            touched: names.iter().map(|name| root.join(name)).collect(),
            complete: true,
            ..Hints::default()
        };
        assert_eq!(scan(&of(&["c.json", "sed123"])), ["c.json: 1 objects"], "only what events name");
        fs::write(root.join("new.yaml"), space("new")).unwrap();
        let all = ["a.yaml: 1 objects", "c.json: 1 objects", "new.yaml: 1 objects"];
        assert_eq!(scan(&of(&["c.json", "new.yaml"])), all, "a new file has the whole folder looked through");
        fs::remove_file(root.join("new.yaml")).unwrap();
        assert_eq!(scan(&of(&["new.yaml"])), ["new.yaml: gone"]);
        fs::remove_dir_all(root.join("sub")).unwrap();
        assert_eq!(scan(&Hints::default()), ["sub/deep/b.yml: gone"]);
    }

    #[test]
    fn links_are_followed_and_circles_end() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for version in ["1", "2"] {
            fs::create_dir(root.join(format!("..{version}"))).unwrap();
            fs::write(root.join(format!("..{version}/a.yaml")), space(&format!("v{version}"))).unwrap();
        }
        symlink("..1", root.join("..data")).unwrap();
        symlink("..data/a.yaml", root.join("a.yaml")).unwrap();
        symlink(".", root.join("circle")).unwrap();
        symlink("nowhere.yaml", root.join("dangling.yaml")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        let mut folder = Folder::new(root);
        let first = summary(&folder.scan(&Hints::default()).unwrap(), root);
        assert_eq!(first[0], "a.yaml: 1 objects");
        assert!(first[1].starts_with("dangling.yaml: cannot read it"), "{first:?}");
        assert_eq!(first.len(), 2, "{first:?}");
        symlink("..2", root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        assert_eq!(summary(&folder.scan(&Hints::default()).unwrap(), root), ["a.yaml: 1 objects"]);
    }

    #[test]
    fn a_file_that_is_too_large_is_not_parsed() {
        let dir = tempfile::tempdir().unwrap();
        File::create(dir.path().join("a.yaml")).unwrap().set_len(MAX_FILE_BYTES + 1).unwrap();
        let found = summary(&Folder::new(dir.path()).scan(&Hints::default()).unwrap(), dir.path());
        assert_eq!(found, ["a.yaml: expected at most 8 MiB"]);
    }

    #[test]
    fn a_folder_that_vanishes_is_an_error_and_nothing_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("m");
        fs::create_dir(&root).unwrap();
        fs::write(root.join("a.yaml"), space("a")).unwrap();
        let mut folder = Folder::new(&root);
        folder.scan(&Hints::default()).unwrap();
        fs::rename(&root, dir.path().join("n")).unwrap();
        assert!(matches!(folder.scan(&Hints::default()), Err(FolderError::Read { .. })));
        fs::write(&root, "").unwrap();
        assert!(matches!(folder.scan(&Hints::default()), Err(FolderError::NotAFolder { .. })));
        fs::remove_file(&root).unwrap();
        fs::rename(dir.path().join("n"), &root).unwrap();
        assert!(folder.scan(&Hints::default()).unwrap().is_empty());
    }
}
