//! Copal: the Kubernetes Gateway API on stock, open-source Varnish Cache.
//!
//! The way of the data, which is also the map of this crate:
//!
//! ```text
//! manifest files │ watches → snapshot → translate → (model, data plane, report)
//!                                  model      → vcl    → bundle → reloader → varnishd, relay
//!                                  data plane → infra  → Deployment, Service …
//!                                  report     → status
//! ```
//!
//! Everything that decides is pure (no clock, file, network, random or async): [`api`], [`snapshot`],
//! [`model`], [`translate`], [`status`], [`vcl`], [`infra`], [`explain`], [`bundle`]. Everything that does I/O decides
//! nothing: [`controllers`], [`standalone`], [`cli`], [`reloader`], [`reloader_client`], [`relay`], [`bundle_folder`],
//! [`telemetry`]. Dependencies point one way:
//!
//! ```text
//! bins → cli → controllers, standalone → status, vcl, infra, explain → translate → snapshot, api, bundle → model
//! bins → reloader, relay → bundle_folder → bundle
//! ```
//!
//! `vcl`, `reloader` and `relay` never see a Gateway API type. `tests/layers.rs` holds all of this; what happens to a
//! change and to a request is in `docs/architecture.md`.

pub mod api;
pub mod bundle;
pub mod bundle_folder;
pub mod cli;
pub mod controllers;
pub mod explain;
pub mod infra;
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
