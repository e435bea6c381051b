//! The reloader with a real varnishd, real backends and real clients, all on the loopback interface.
#![cfg(test)]

mod access_log;
mod backend;
mod bulk;
mod bundles;
mod client;
mod crash;
mod drain;
mod harness;
mod logged;
mod manifests;
mod misdirected;
#[path = "../support/objects.rs"]
mod objects;
mod operate;
mod passthrough;
mod ports;
mod relay;
mod relay_clients;
mod relay_life;
mod relay_streams;
mod reload;
mod served;
mod tls;
mod tls_server;
#[path = "../upstreams/server.rs"]
#[allow(dead_code, clippy::format_push_string, reason = "tests of the relay alone need more of it")]
mod upstream_server;
mod upstreams;
