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
pub mod cli;
mod commands;
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

/// An error with all its sources, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
