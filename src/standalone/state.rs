//! The state folder of `copal run`, which one run at a time may use.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::bundle::relay::FOLDER;

/// The reloader's state folder in ours.
const RELOADER: &str = "reloader";

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Nobody said where it is, and the environment does not say either.
    #[error("no state folder: neither XDG_STATE_HOME nor HOME is set; name one with --state")]
    Nowhere,
    /// Another run uses it.
    #[error("state folder {} is in use by another `copal run`{holder}; give each its own --state", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// ` (process N)`, if that could be read.
        holder: String,
    },
    /// It cannot be made or locked.
    #[error("cannot use state folder {}", path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A state folder; the lock on it ends with this value, or with the process.
#[derive(Debug)]
pub struct State {
    path: PathBuf,
    #[expect(dead_code, reason = "the lock lasts as long as the file is open")]
    lock: File,
}

impl State {
    /// Makes the folder if needed, and locks it. The default follows the XDG base directory specification.
    ///
    /// # Errors
    /// When another process has it locked, or it cannot be used.
    pub fn lock(path: Option<PathBuf>) -> Result<Self, StateError> {
        let path = path.or_else(default_path).ok_or(StateError::Nowhere)?;
        let failed = |source| StateError::Io { path: path.clone(), source };
        fs::create_dir_all(&path).map_err(failed)?;
        let file = path.join("lock");
        let options = File::options().read(true).write(true).create(true).truncate(false).open(file);
        let mut lock = options.map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::InUse { holder: holder(&mut lock), path });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(failed)?;
        Ok(Self { path, lock })
    }

    /// Where bundles are written to.
    #[must_use]
    pub fn bundle(&self) -> PathBuf {
        self.path.join("bundle")
    }

    /// The reloader's own state folder.
    #[must_use]
    pub fn reloader(&self) -> PathBuf {
        self.path.join(RELOADER)
    }

    /// The relay's folder: the reloader's as it will be called, whatever links lead to it.
    #[must_use]
    pub fn relay(&self) -> PathBuf {
        let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        path.join(RELOADER).join(FOLDER)
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn default_path() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|it| !it.is_empty()).map(PathBuf::from);
    let base = variable("XDG_STATE_HOME").filter(|it| it.is_absolute());
    Some(base.or_else(|| variable("HOME").map(|home| home.join(".local/state")))?.join("copal"))
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.rewind().and_then(|()| lock.take(20).read_to_string(&mut text));
    match text.trim().parse::<u32>() {
        Ok(pid) if read.is_ok() => format!(" (process {pid})"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_used_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let first = State::lock(Some(path.clone())).unwrap();
        let error = State::lock(Some(path.clone())).unwrap_err().to_string();
        let expected = format!("in use by another `copal run` (process {})", std::process::id());
        assert!(error.contains(&expected), "{error}");
        drop(first);
        State::lock(Some(path)).unwrap();
    }
}
