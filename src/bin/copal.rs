//! `copal`: the Gateway API on Varnish, in a cluster or from a folder of manifests.

use std::process::ExitCode;

use clap::Parser as _;
use copal::cli::Cli;
use copal::telemetry::{self, chain};

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init(cli.log_format());
    cli.execute().unwrap_or_else(|error| {
        eprintln!("copal: {}", chain(&error));
        ExitCode::FAILURE
    })
}
