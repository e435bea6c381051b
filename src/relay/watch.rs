//! Watches the folder and hands on each task, made ready.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tracing::{error, info};

use crate::bundle_folder::changes::Changes;
use crate::bundle_folder::relay::{self, TASK, Task};
use crate::bundle_folder::{BundleFolderError, certificates};

use super::Context;
use super::configuration::Configuration;
use super::state::Problem;

/// The configuration in force.
pub type Configurations = watch::Receiver<Arc<Configuration>>;

/// Follows the folder from now on.
pub fn follow(context: Arc<Context>) -> Configurations {
    let (sender, receiver) = watch::channel(Arc::default());
    tokio::spawn(Follower { context, sender, task: None }.run());
    receiver
}

struct Follower {
    context: Arc<Context>,
    sender: watch::Sender<Arc<Configuration>>,
    /// The task that is in force.
    task: Option<Task>,
}

impl Follower {
    async fn run(mut self) {
        let mut changes = Changes::of(self.context.options.folder.clone());
        while !self.sender.is_closed() {
            self.look().await;
            changes.next().await;
        }
    }

    async fn look(&mut self) {
        let before = Arc::clone(&self.sender.borrow());
        let (folder, task) = (self.context.options.folder.clone(), self.task.clone());
        match spawn_blocking(move || read_if_new(&folder, task.as_ref(), &before)).await {
            Ok(Ok(Some((task, configuration)))) => self.accept(task, configuration),
            Ok(Ok(None)) => {
                let _ = self.context.board.task(None);
            }
            Ok(Err(problem)) => self.report(&problem),
            Err(failed) => error!(error = &failed as &dyn Error, "reading the task was cut off"),
        }
    }

    fn accept(&mut self, task: Task, configuration: Configuration) {
        let (certificates, problems) = (configuration.certificates(), configuration.problems.clone());
        info!(
            revision = task.revision,
            ports = configuration.listen().count(),
            certificates,
            "took up a new configuration"
        );
        self.context.metrics.configured(certificates, problems.is_empty());
        let _ = self.context.board.task(None);
        self.context.board.configured(certificates, problems);
        self.task = Some(task);
        self.sender.send_replace(Arc::new(configuration));
    }

    fn report(&self, problem: &BundleFolderError) {
        let message = match problem.source() {
            Some(source) => format!("{problem}: {source}"),
            None => problem.to_string(),
        };
        if self.context.board.task(Some(Problem { file: TASK.to_owned(), message: message.clone() })) {
            error!(problem = message, "the task is unusable; going on with the one before");
            self.context.metrics.refused();
        }
    }
}

/// Reads the task and makes it ready, unless it is the one in force.
fn read_if_new(
    folder: &Path,
    current: Option<&Task>,
    before: &Configuration,
) -> Result<Option<(Task, Configuration)>, BundleFolderError> {
    let Some(task) = relay::read(folder)?.filter(|task| Some(task) != current) else { return Ok(None) };
    let configuration = before
        .renamed(&task)
        .unwrap_or_else(|| Configuration::build(task.clone(), before, |id| certificates::read(folder, id)));
    Ok(Some((task, configuration)))
}
