//! Copal's own resources: `copal.dev/v1alpha1`. The CRDs in `crds/` are made from these types by `copal crds`.

pub mod logging_policy;
pub mod parameters;

/// The API group of Copal's own resources.
pub const GROUP: &str = "copal.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";
