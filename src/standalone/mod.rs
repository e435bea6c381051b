//! Manifests from a folder, served by a Varnish on this machine: `copal run`, `render`, `status`, `explain`.
//!
//! ```text
//! watch → folder → manifests → catalogue ──snapshot──▶ site (translate, render)
//!                                                        │ bundle
//!                    reloader_client ◀── run ──▶ bundle_folder ──▶ copal-reloader ◀── supervisor
//! ```
//!
//! Pure: [`documents`], [`manifests`], [`identity`], [`catalogue`], [`problem`], [`output`].

pub mod catalogue;
pub mod documents;
pub mod folder;
mod follow;
pub mod identity;
mod locate;
pub mod manifests;
pub mod output;
pub mod problem;
pub mod run;
pub mod site;
mod state;
pub mod supervisor;
pub mod watch;

pub use crate::telemetry::chain;
