//! `copal-relay`: ends TLS in front of a varnishd.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;

use copal::relay::{self, options::Options};
use copal::telemetry;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    telemetry::init(options.log_format);
    match relay::run(options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = &error as &dyn Error, "copal-relay ends");
            ExitCode::FAILURE
        }
    }
}
