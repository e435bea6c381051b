//! Reading and writing one file.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::BundleFolderError;

/// The largest file that is read, in bytes. A shard is some 100 KiB at most.
pub const MAX_FILE: u64 = 16 << 20;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever the umask lets.
    Usual,
    /// Its owner.
    Owner,
}

/// Reads a file that `folder` should have.
pub fn read(folder: &Path, file: &str) -> Result<Vec<u8>, BundleFolderError> {
    let path = folder.join(file);
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => {
            BundleFolderError::Missing { file: file.to_owned(), folder: folder.to_owned() }
        }
        _ => BundleFolderError::Read { path: path.clone(), source },
    };
    let size = fs::metadata(&path).map_err(failed)?.len();
    if size > MAX_FILE {
        return Err(BundleFolderError::TooLarge { path, size });
    }
    fs::read(&path).map_err(failed)
}

/// Writes beside the file, then renames over it, so that no reader ever sees a part.
pub fn replace(path: &Path, content: &[u8], access: Access) -> Result<(), BundleFolderError> {
    let failed = |source| BundleFolderError::Write { path: path.to_owned(), source };
    let beside = path.with_extension("new");
    let mode = match access {
        Access::Usual => 0o666,
        Access::Owner => 0o600,
    };
    // One that was left half written may have another mode.
    remove(&beside)?;
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside);
    file.and_then(|mut file| file.write_all(content)).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> Result<(), BundleFolderError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(BundleFolderError::Write { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Makes a folder that is not there.
pub fn make_folder(path: &Path, access: Access) -> Result<(), BundleFolderError> {
    let mode = match access {
        Access::Usual => 0o777,
        Access::Owner => 0o700,
    };
    let created = DirBuilder::new().recursive(true).mode(mode).create(path);
    created.map_err(|source| BundleFolderError::Write { path: path.to_owned(), source })
}

/// The files of a folder with that extension, by their names without it. None in a folder that is not there.
pub fn stems(folder: &Path, extension: &str) -> Result<Vec<String>, BundleFolderError> {
    let failed = |source| BundleFolderError::Read { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>).map_err(failed)?,
    };
    let paths = entries.into_iter().map(|entry| entry.path());
    let paths = paths.filter(|path: &PathBuf| path.extension().is_some_and(|it| it == extension));
    Ok(paths.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect())
}
