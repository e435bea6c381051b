//! Gateway API resources to what the gateway must do ([`Model`]) and what is to be said of it ([`Report`]).

use crate::model::Model;
use crate::snapshot::Snapshot;

/// What the translation depends on besides the resources.
#[derive(Clone, Debug)]
pub struct Settings {
    /// GatewayClasses with this `spec.controllerName` are ours.
    pub controller_name: String,
    /// Added to each listener's port where clients connect (standalone): redirects name the sum.
    pub port_offset: u16,
}

/// Everything that conditions are made of.
#[derive(Clone, Debug, Default)]
pub struct Report {}

/// Model and report of one snapshot.
#[derive(Clone, Debug, Default)]
pub struct Translation {
    /// What the gateway must do.
    pub model: Model,
    /// What is to be said about each object.
    pub report: Report,
}

/// Total and pure: a user's mistake becomes data in both results.
#[must_use]
pub fn translate(_snapshot: &Snapshot, _settings: &Settings) -> Translation {
    Translation::default()
}
