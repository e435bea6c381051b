//! What the tests and benches that drive the real binaries share: backends, a gateway, clients, manifests.
#![allow(dead_code, unused_imports, reason = "each test binary uses its own part of this module")]

mod backend;
mod cases;
mod client;
mod gateway;
mod manifests;
mod ports;
mod process;

pub use backend::{Backend, Step};
pub use client::{Connection, Request, Response, get, h2c};
pub use gateway::{Gateway, Shared};
pub use manifests::{
    CONTROLLER, dedent, gateway, gateway_class, in_namespace, indent, listener, namespace, route, route_on,
    service, service_of, services,
};
pub use ports::free_ports;
pub use process::{Process, descendants, resident_kib};
