//! Waiting for a folder to change.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::debug;

/// How often the folder is worth a look even if nothing was noticed: it may not have been there to be watched,
/// or be on a file system that tells nothing.
const SAFETY_NET: Duration = Duration::from_secs(2);

/// The changes of one folder, which need not be there yet and may be made anew.
#[derive(Debug)]
pub struct Changes {
    folder: PathBuf,
    /// The watcher, and the folder's inode that it watches.
    watcher: Option<(RecommendedWatcher, u64)>,
    nudge: mpsc::Sender<()>,
    nudges: mpsc::Receiver<()>,
}

impl Changes {
    /// Watches from now on.
    #[must_use]
    pub fn of(folder: PathBuf) -> Self {
        let (nudge, nudges) = mpsc::channel(1);
        let mut changes = Self { folder, watcher: None, nudge, nudges };
        changes.keep_watching();
        changes
    }

    /// Waits until there may be something new: what changes from now on is not missed.
    pub async fn next(&mut self) {
        // Late means that the safety net is due.
        let _ = timeout(SAFETY_NET, self.nudges.recv()).await;
        self.keep_watching();
    }

    /// Watches the folder, anew if it was made anew.
    fn keep_watching(&mut self) {
        let inode = std::fs::metadata(&self.folder).map(|found| found.ino()).ok();
        if inode.is_some() && inode == self.watcher.as_ref().map(|(_, watched)| *watched) {
            return;
        }
        self.watcher = inode.and_then(|inode| match watcher(&self.folder, self.nudge.clone()) {
            Ok(watcher) => Some((watcher, inode)),
            Err(error) => {
                debug!(%error, folder = %self.folder.display(), "cannot watch a folder; looking at it every other second");
                None
            }
        });
    }
}

fn watcher(folder: &Path, nudge: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // Our own reading is told as well, and must not make us read again.
        if !event.is_ok_and(|event| event.kind.is_access()) {
            // Full means that a look is due already.
            let _ = nudge.try_send(());
        }
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::*;

    /// Whether it was noticed, and not the safety net.
    async fn is_noticed(changes: &mut Changes) -> bool {
        let start = Instant::now();
        changes.next().await;
        start.elapsed() < SAFETY_NET
    }

    #[tokio::test]
    async fn writing_is_noticed_and_reading_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut changes = Changes::of(folder.path().to_owned());
        fs::write(&path, "1").unwrap();
        assert!(is_noticed(&mut changes).await);
        // What one write is told by may come one by one.
        while is_noticed(&mut changes).await {}
        assert_eq!(fs::read_to_string(&path).unwrap(), "1");
        assert!(!is_noticed(&mut changes).await);
    }

    #[tokio::test]
    async fn a_folder_may_be_made_later_and_anew() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("folder");
        let mut changes = Changes::of(folder.clone());
        for _ in 0..2 {
            fs::create_dir(&folder).unwrap();
            while is_noticed(&mut changes).await {}
            fs::write(folder.join("file"), "1").unwrap();
            assert!(is_noticed(&mut changes).await);
            fs::remove_dir_all(&folder).unwrap();
            while is_noticed(&mut changes).await {}
        }
    }
}
