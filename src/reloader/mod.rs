//! Keeps a varnishd serving the wanted bundle.

pub mod cli;
pub mod compiler;
pub mod failures;
pub mod listing;
pub mod options;
pub mod plan;
pub mod store;
pub mod varnishd;
