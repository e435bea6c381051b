//! What the tests and benches that drive the real binaries share: backends, a gateway, clients, manifests.
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of this module")]
#![allow(clippy::format_collect, clippy::format_push_string, reason = "texts of tests are short")]

mod backend;
mod cases;
mod client;
mod gateway;
mod manifests;
mod objects;
mod ports;
mod process;
mod varnish;
mod varnishd;

pub use backend::{Backend, Step};
pub use client::{Connection, Request, Response, get, h2c};
pub use gateway::{Gateway, Shared};
pub use manifests::{
    CONTROLLER, dedent, gateway, gateway_class, in_namespace, indent, listener, namespace, route, route_on,
    service, service_of, services,
};
pub use objects::objects;
pub use ports::free_ports;
pub use process::{Process, descendants, resident_kib};
pub use varnish::{Varnish, bundle_of};
pub use varnishd::Varnishd;
