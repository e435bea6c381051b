//! The reloader with a real varnishd, real backends and real clients, all on the loopback interface.

mod backend;
mod bundles;
mod client;
mod crash;
mod drain;
mod harness;
mod operate;
mod reload;
