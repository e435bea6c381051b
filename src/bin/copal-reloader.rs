//! `copal-reloader`: starts varnishd and keeps it serving the bundle in a folder.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use copal::reloader::{self, options::Options};
use copal::telemetry;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    telemetry::init(options.log_format);
    match reloader::run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "copal-reloader ends");
            ExitCode::FAILURE
        }
    }
}
