//! Watches the bundle folder and hands on each bundle that is whole.

use std::error::Error;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{debug, error, info};

use crate::bundle::{Bundle, Manifest};

use crate::telemetry::chain;

use super::compiler::VclError;
use super::state::Board;
use super::store::{self, StoreError};

/// How often the folder is looked at even if nothing was noticed: it may not have been there to be watched,
/// or be on a file system that tells nothing.
const SAFETY_NET: Duration = Duration::from_secs(2);

/// The last bundle that was whole, if any.
pub type Bundles = watch::Receiver<Option<Arc<Bundle>>>;

/// Follows the folder from now on. `first` is what has been read already.
pub fn follow(folder: PathBuf, first: Option<Arc<Bundle>>, board: Arc<Board>) -> Bundles {
    let (sender, receiver) = watch::channel(first);
    let (nudge, nudges) = mpsc::channel(1);
    let follower = Follower { folder, sender, board, problem: None, watcher: None, nudge };
    tokio::spawn(follower.run(nudges));
    receiver
}

/// The error that stands for a problem with the folder as a whole.
#[must_use]
pub fn as_error(problem: &StoreError) -> VclError {
    VclError { file: problem.file(), line: None, message: chain(problem) }
}

struct Follower {
    folder: PathBuf,
    sender: watch::Sender<Option<Arc<Bundle>>>,
    board: Arc<Board>,
    /// What was reported last, so that it is reported once.
    problem: Option<String>,
    /// The watcher, and the folder's inode that it watches.
    watcher: Option<(RecommendedWatcher, u64)>,
    nudge: mpsc::Sender<()>,
}

impl Follower {
    async fn run(mut self, mut nudges: mpsc::Receiver<()>) {
        while !self.sender.is_closed() {
            self.keep_watching();
            self.look().await;
            // Late means that the safety net is due.
            let _ = timeout(SAFETY_NET, nudges.recv()).await;
        }
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
                debug!(%error, "cannot watch the bundle folder; looking at it every other second");
                None
            }
        });
    }

    async fn look(&mut self) {
        let current = self.sender.borrow().clone();
        let folder = self.folder.clone();
        let read = spawn_blocking(move || read_if_new(&folder, current.as_deref())).await;
        match read {
            Ok(Ok(None)) => self.problem = None,
            Ok(Ok(Some(bundle))) => self.accept(bundle),
            Ok(Err(problem)) => self.report(&problem),
            Err(failed) => error!(error = &failed as &dyn Error, "reading the bundle was cut off"),
        }
    }

    fn accept(&mut self, bundle: Bundle) {
        self.problem = None;
        info!(revision = bundle.manifest.revision, vcls = bundle.files.len(), "found a new bundle");
        self.sender.send_replace(Some(Arc::new(bundle)));
    }

    fn report(&mut self, problem: &StoreError) {
        let text = chain(problem);
        if self.problem.as_ref() == Some(&text) {
            return;
        }
        if matches!(problem, StoreError::Absent(_)) {
            info!(folder = %self.folder.display(), "there is no bundle yet, or no longer");
        } else {
            error!(problem = text, "the bundle in the folder is unusable; going on with the one before");
            self.board.error(as_error(problem));
        }
        self.problem = Some(text);
    }
}

fn watcher(folder: &Path, nudge: mpsc::Sender<()>) -> notify::Result<RecommendedWatcher> {
    let mut watcher = notify::recommended_watcher(move |_| {
        // Full means that a look is due already.
        let _ = nudge.try_send(());
    })?;
    watcher.watch(folder, RecursiveMode::NonRecursive)?;
    Ok(watcher)
}

/// Reads the bundle unless its manifest is the one that is known.
fn read_if_new(folder: &Path, current: Option<&Bundle>) -> Result<Option<Bundle>, StoreError> {
    let manifest: Manifest = store::read_manifest(folder)?;
    if current.is_some_and(|bundle| bundle.manifest == manifest) {
        return Ok(None);
    }
    store::read(folder, current).map(Some)
}
