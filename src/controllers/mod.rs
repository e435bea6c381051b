//! The operator: follows a cluster's resources, runs a data plane for each Gateway, and writes the truth back.
//!
//! ```text
//! watches → world → engine (translate) → data_planes (render) → publish → API server → pods
//!                     │ report             ▲                                            │
//!                     ▼                    └──────────── acknowledge ◀──── /status ─────┘
//!                   outbox → writer → API server (statuses, Events)
//! ```
//!
//! One engine for all kinds, instead of a controller each: they need the same snapshot and the same translation, and
//! whatever any of them sees can change what all of them have to say (docs/adr/0009). What decides is pure: [`world`],
//! [`outbox`], [`progress`], [`events::notable`].

pub mod acknowledge;
pub mod apply;
pub mod cluster;
pub mod data_planes;
pub mod engine;
pub mod events;
mod http;
mod lead;
pub mod metrics;
pub mod operator;
pub mod outbox;
pub mod progress;
pub mod publish;
mod readiness;
pub mod watches;
pub mod world;
pub mod writer;
