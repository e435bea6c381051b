//! Watches the bundle folder and hands on each bundle that is whole.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::{error, info};

use crate::bundle::{Bundle, Manifest};
use crate::bundle_folder::changes::Changes;
use crate::bundle_folder::{self, BundleFolderError};

use crate::telemetry::chain;

use super::compiler::VclError;
use super::state::Board;

/// The last bundle that was whole, if any.
pub type Bundles = watch::Receiver<Option<Arc<Bundle>>>;

/// Follows the folder from now on. `first` is what has been read already.
pub fn follow(folder: PathBuf, first: Option<Arc<Bundle>>, board: Arc<Board>) -> Bundles {
    let (sender, receiver) = watch::channel(first);
    let follower = Follower { folder, sender, board, problem: None };
    tokio::spawn(follower.run());
    receiver
}

/// The error that stands for a problem with the folder as a whole.
#[must_use]
pub fn as_error(problem: &BundleFolderError) -> VclError {
    VclError { file: problem.file(), line: None, message: chain(problem) }
}

struct Follower {
    folder: PathBuf,
    sender: watch::Sender<Option<Arc<Bundle>>>,
    board: Arc<Board>,
    /// What was reported last, so that it is reported once.
    problem: Option<String>,
}

impl Follower {
    async fn run(mut self) {
        let mut changes = Changes::of(self.folder.clone());
        while !self.sender.is_closed() {
            self.look().await;
            changes.next().await;
        }
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

    fn report(&mut self, problem: &BundleFolderError) {
        let text = chain(problem);
        if self.problem.as_ref() == Some(&text) {
            return;
        }
        if matches!(problem, BundleFolderError::Absent(_)) {
            info!(folder = %self.folder.display(), "there is no bundle yet, or no longer");
        } else {
            error!(problem = text, "the bundle in the folder is unusable; going on with the one before");
            self.board.error(as_error(problem));
        }
        self.problem = Some(text);
    }
}

/// Reads the bundle unless its manifest is the one that is known.
fn read_if_new(folder: &Path, current: Option<&Bundle>) -> Result<Option<Bundle>, BundleFolderError> {
    let manifest: Manifest = bundle_folder::read_manifest(folder)?;
    if current.is_some_and(|bundle| bundle.manifest == manifest) {
        return Ok(None);
    }
    bundle_folder::read_files(folder, manifest, current).map(Some)
}
