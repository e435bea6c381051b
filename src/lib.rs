//! Copal: the Kubernetes Gateway API on stock, open-source Varnish Cache.
//!
//! The way of the data, which is also the map of this crate:
//!
//! ```text
//! manifest files │ watches → snapshot → translate → (model, report)
//!                                  model  → vcl    → bundle → reloader → varnishd
//!                                  report → status
//! ```
//!
//! Everything that decides is pure (no clock, file, network, random or async): [`snapshot`], [`model`],
//! [`translate`], [`status`], [`vcl`], [`explain`], [`bundle`]. Everything that does I/O decides nothing:
//! [`standalone`], [`reloader`], [`relay`], [`bundle_folder`], [`telemetry`]. Dependencies point one way:
//!
//! ```text
//! bins → standalone, reloader, relay, bundle_folder, telemetry → status, vcl, explain → translate → model, snapshot
//! ```
//!
//! `vcl`, `reloader` and `relay` never see a Gateway API type. `tests/layers.rs` holds all of this.

pub mod api;
pub mod bundle;
pub mod bundle_folder;
pub mod explain;
pub mod model;
pub mod relay;
pub mod reloader;
pub mod reloader_client;
pub mod snapshot;
pub mod standalone;
pub mod status;
pub mod telemetry;
pub mod translate;
pub mod vcl;
