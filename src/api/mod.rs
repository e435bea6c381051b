//! Copal's own resources: `copal.dev/v1alpha1`. The CRDs in `crds/` are made from these types by `copal crds`.
//!
//! What a field may hold is said once, as CEL rules of the schema: the API server applies them, and `validation`
//! applies the same ones where there is no API server.

pub mod crds;
pub mod logging_policy;
pub mod parameters;
mod validation;

/// The API group of Copal's own resources.
pub const GROUP: &str = "copal.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";
