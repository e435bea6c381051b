//! `copal`: the Gateway API on Varnish, from a folder of manifests.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use copal::standalone::chain;
use copal::standalone::cli::{Cli, LogFormat};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.log_format());
    cli.execute().unwrap_or_else(|error| {
        eprintln!("copal: {}", chain(&error));
        ExitCode::FAILURE
    })
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    let logging =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colours);
    match format {
        LogFormat::Text => logging.with_target(false).init(),
        LogFormat::Json => logging.json().init(),
    }
}
