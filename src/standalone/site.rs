//! From the folder to the bundle, keeping from one change to the next what need not be done again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::catalogue::{Catalogue, Changes};
use super::folder::{Folder, FolderError, Hints};
use super::problem::Problem;
use crate::bundle::Bundle;
use crate::snapshot::Snapshot;
use crate::translate::{Settings, Translation, translate};
use crate::vcl::Renderer;

/// A GatewayClass with this `spec.controllerName` is Copal's.
pub const CONTROLLER_NAME: &str = "copal.dev/gateway-controller";

/// A folder of manifests and everything that follows from it.
#[derive(Debug)]
pub struct Site {
    folder: Folder,
    catalogue: Catalogue,
    settings: Settings,
    renderer: Renderer,
}

/// What a snapshot has come to.
#[derive(Debug)]
pub struct Outcome {
    /// Model and report.
    pub translation: Translation,
    /// What Varnish is to load.
    pub bundle: Bundle,
    /// How long translating took.
    pub translate: Duration,
    /// How long rendering took.
    pub render: Duration,
}

impl Site {
    /// A site that nothing was read of yet.
    pub fn new(folder: impl Into<PathBuf>, port_offset: u16) -> Self {
        let settings = Settings { controller_name: CONTROLLER_NAME.to_owned(), port_offset };
        let (folder, catalogue, renderer) = (Folder::new(folder), Catalogue::default(), Renderer::default());
        Self { folder, catalogue, settings, renderer }
    }

    /// Reads what has changed in the folder.
    ///
    /// # Errors
    /// When the folder cannot be looked through: everything is in force as before then.
    pub fn refresh(&mut self, hints: &Hints) -> Result<Changes, FolderError> {
        Ok(self.catalogue.apply(self.folder.scan(hints)?))
    }

    /// Translates and renders what is in force.
    pub fn build(&mut self) -> Outcome {
        let start = Instant::now();
        let translation = translate(self.catalogue.snapshot(), &self.settings);
        let translated = Instant::now();
        let bundle = self.renderer.render(&translation.model);
        Outcome { translation, bundle, translate: translated - start, render: translated.elapsed() }
    }

    /// The objects in force.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        self.catalogue.snapshot()
    }

    /// What is wrong with the files.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.catalogue.problems()
    }
}
