//! Manifests from a folder, served by a Varnish on this machine.

pub mod documents;
pub mod identity;
mod locate;
pub mod manifests;
