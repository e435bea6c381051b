//! The addresses that varnishd is to listen on, tried out before anything is given up for them.

use std::io;
use std::net::{SocketAddr, TcpListener};

use thiserror::Error;

use crate::bundle::Manifest;

use super::options::Options;
use super::varnishd::args::{self, ArgsError};

/// Why an address is not to be had.
#[derive(Debug, Error)]
pub enum SocketError {
    /// There is no such address.
    #[error(transparent)]
    Address(#[from] ArgsError),
    /// It is taken, or not ours to take.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// The manifest's sockets as addresses on this machine.
///
/// # Errors
/// When a port is out of range.
pub fn addresses(options: &Options, manifest: &Manifest) -> Result<Vec<SocketAddr>, ArgsError> {
    manifest
        .listen
        .iter()
        .map(|socket| args::address(options.bind, socket.port, options.port_offset))
        .collect()
}

/// Tries all addresses out.
///
/// # Errors
/// Names the first that cannot be had.
pub fn try_out<'a>(addresses: impl IntoIterator<Item = &'a SocketAddr>) -> Result<(), SocketError> {
    addresses.into_iter().try_for_each(|address| {
        let bound = TcpListener::bind(address);
        bound.map(drop).map_err(|source| SocketError::Bind { address: *address, source })
    })
}

/// Whether varnishd can go from the sockets of one manifest to those of another: what it listens on already
/// is its own.
///
/// # Errors
/// Names the first address that cannot be had.
pub fn can_change(options: &Options, from: &Manifest, to: &Manifest) -> Result<(), SocketError> {
    let ours = addresses(options, from)?;
    let wanted = addresses(options, to)?;
    try_out(wanted.iter().filter(|address| !ours.contains(address)))
}
