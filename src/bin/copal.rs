//! `copal`: the Gateway API on Varnish, from a folder of manifests.

use std::process::ExitCode;

use clap::Parser as _;
use copal::standalone::chain;
use copal::standalone::cli::Cli;
use copal::telemetry;

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init(cli.log_format());
    cli.execute().unwrap_or_else(|error| {
        eprintln!("copal: {}", chain(&error));
        ExitCode::FAILURE
    })
}
