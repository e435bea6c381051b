//! Keeps the last bundle that was entirely in force on disk, for a start without anyone to give us one.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{debug, warn};

use crate::bundle::Bundle;
use crate::bundle_folder::{BundleFolder, BundleFolderError};

/// The folder inside the state directory.
pub const FOLDER: &str = "last-good";

/// Writes one bundle at a time, always the latest, without holding anyone up.
#[derive(Debug)]
pub struct Saver {
    latest: watch::Sender<Option<Arc<Bundle>>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Saver {
    /// Writes into `folder`. `saved` is what is there already.
    #[must_use]
    pub fn start(folder: PathBuf) -> Self {
        let (latest, changes) = watch::channel(None);
        let task = tokio::spawn(write_all(folder, changes));
        Self { latest, task: Mutex::new(Some(task)) }
    }

    /// Notes that `bundle` is in force; says whether that is news.
    pub fn note(&self, bundle: &Arc<Bundle>) -> bool {
        self.latest.send_if_modified(|latest| {
            let is_news = latest.as_ref().is_none_or(|latest| latest.manifest != bundle.manifest);
            if is_news {
                *latest = Some(Arc::clone(bundle));
            }
            is_news
        })
    }

    /// Waits until the latest bundle is written.
    pub async fn finish(self) {
        drop(self.latest);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            drop(task.await);
        }
    }
}

async fn write_all(folder: PathBuf, mut changes: watch::Receiver<Option<Arc<Bundle>>>) {
    let mut writer = None;
    while changes.changed().await.is_ok() {
        let Some(bundle) = changes.borrow_and_update().clone() else { continue };
        let (folder, open) = (folder.clone(), writer.take());
        let written = spawn_blocking(move || write(&folder, open, &bundle)).await;
        match written {
            Ok(Ok(open)) => {
                writer = Some(open);
                debug!("wrote the last good bundle");
            }
            Ok(Err(error)) => warn!(
                error = &error as &dyn std::error::Error,
                "cannot keep the last good bundle; a restart will depend on the bundle folder"
            ),
            Err(error) => warn!(%error, "writing the last good bundle was cut off"),
        }
    }
}

fn write(
    folder: &Path,
    open: Option<BundleFolder>,
    bundle: &Bundle,
) -> Result<BundleFolder, BundleFolderError> {
    let mut writer = open.map_or_else(|| BundleFolder::open(folder), Ok)?;
    writer.write(bundle)?;
    Ok(writer)
}
