//! From the folder to the bundle, keeping from one change to the next what need not be done again.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::catalogue::{Catalogue, Changes};
use super::folder::{Folder, FolderError, Hints};
use super::problem::Problem;
use crate::bundle::Bundle;
use crate::status::{self, Statuses};
use crate::translate::{Settings, Translation, Translator};
use crate::vcl::{Renderer, SocketFolder};

/// A folder of manifests and everything that follows from it.
#[derive(Debug)]
pub struct Site {
    folder: Folder,
    catalogue: Catalogue,
    settings: Settings,
    translator: Translator,
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
        Self {
            folder: Folder::new(folder),
            catalogue: Catalogue::default(),
            settings: Settings { port_offset, ..Settings::default() },
            translator: Translator::default(),
            renderer: Renderer::default(),
        }
    }

    /// The same site for a Varnish beside a relay with these sockets; without, it is rendered as for a pod.
    #[must_use]
    pub fn with_sockets(self, sockets: SocketFolder) -> Self {
        Self { renderer: Renderer::new(sockets), ..self }
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
        let translation = self.translator.translate(self.catalogue.snapshot(), &self.settings);
        let translated = Instant::now();
        let bundle = self.renderer.render(translation.shared_model());
        let bundle = bundle.with_logging(translation.shared_logging().cloned());
        Outcome { translation, bundle, translate: translated - start, render: translated.elapsed() }
    }

    /// What is to be said about the objects in force.
    #[must_use]
    pub fn statuses(&self, translation: &Translation, context: &status::Context) -> Statuses {
        status::build(&translation.report, &self.settings, context)
    }

    /// What is wrong with the files.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.catalogue.problems()
    }
}
