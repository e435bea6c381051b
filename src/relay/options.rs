//! The command line of `copal-relay`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::telemetry::LogFormat;

/// Ends TLS in front of a varnishd. Started by copal-reloader.
///
/// On SIGTERM it drains: it goes on accepting for the drain delay, lets every connection finish, and exits 0. When
/// its standard input ends, so has whoever started it: it drains without delay.
#[derive(Clone, Debug, Parser)]
#[command(name = "copal-relay", version)]
pub struct Options {
    /// Folder with its task (relay.json and certificates); watched for changes.
    #[arg(long, value_name = "DIR")]
    pub folder: PathBuf,

    /// The socket on which varnishd expects PROXY protocol.
    #[arg(long, value_name = "PATH")]
    pub socket: PathBuf,

    /// Address to listen on.
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub bind: IpAddr,

    /// Added to every listener's port.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub port_offset: u16,

    /// How long to go on accepting connections after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub drain_delay: Duration,

    /// How log lines look.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}
