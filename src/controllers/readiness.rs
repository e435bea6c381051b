//! Whether all watches have listed what there is: before that, what is missing may only not have been seen yet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::info;

use super::watches::sources;
use super::world::Source;

/// Which watches have not listed all their objects yet.
#[derive(Debug)]
pub struct Readiness {
    missing: BTreeSet<Source>,
    ready: Arc<AtomicBool>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self { missing: sources().into_iter().collect(), ready: Arc::default() }
    }
}

impl Readiness {
    /// Tells others, from any thread.
    #[must_use]
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ready)
    }

    /// A watch has listed all its objects.
    pub fn listed(&mut self, source: Source) {
        if self.missing.remove(&source) && self.missing.is_empty() {
            info!("everything has been listed once");
            self.ready.store(true, Ordering::Relaxed);
        }
    }

    /// Whether all have.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.missing.is_empty()
    }
}
