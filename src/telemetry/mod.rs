//! What all binaries have in common towards those who watch them: logging here, endpoints in [`http`].
//!
//! Logging is one subscriber, on standard error, as text or JSON lines.
//!
//! Standard output stays free for what a command was asked for. The level comes from `RUST_LOG`
//! (`info` without it); it takes the usual directives, so `RUST_LOG=info,varnishd=debug` shows all that
//! varnishd says.

pub mod http;

use std::fmt;

use clap::ValueEnum;
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for collectors.
    Json,
}

/// Starts logging for this process. The first call counts; a later one changes nothing.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = match format {
        LogFormat::Text => builder.with_ansi(stderr_is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).map_event_format(Agent).try_init(),
    };
    if let Err(error) = outcome {
        tracing::debug!(error = &*error, "logging was already set up");
    }
}

/// A format of JSON lines that says of each that it is not of the access log, since both may reach one collector.
struct Agent<F>(F);

impl<S, N, F> FormatEvent<S, N> for Agent<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        ctx: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.0.format_event(ctx, Writer::new(&mut line), event)?;
        write!(out, r#"{{"log":"agent",{}"#, line.trim_start_matches('{'))
    }
}

fn stderr_is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}

/// An error with all its sources, in one line.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(Some(error), |error| error.source());
    sources.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
