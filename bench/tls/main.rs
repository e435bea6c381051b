//! What ending TLS costs: copal-relay against Hitch and HAProxy, each in front of the same varnishd.
//!
//! All three hand plain bytes to one unix socket of varnishd's, with the PROXY protocol (version 2) in front; all have one
//! certificate (P-256), TLS 1.3, two workers, and else their defaults. Each round measures all of them, in
//! another order, so that the noise of the machine hits them alike. Two things are measured:
//! - keep-alive: hits of 1 KiB from the cache over 64 connections that stay open (wrk);
//! - handshakes: a new connection for each hit, a full handshake, no resumption (rustls, in this program).
//!
//! Ratios are medians of the rounds' ratios, copal-relay ÷ the better of the others; `..._cpu_ratio` says the same of CPU
//! time for a request, the others' best ÷ copal-relay's, which suffers less from neighbours.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::cast_precision_loss,
    reason = "a bench that cannot go on says where and stops"
)]

#[path = "../../tests/support/mod.rs"]
mod support;

#[path = "../common/mod.rs"]
mod common;

mod client;
mod keep_alive;
mod terminators;
mod varnish;

use std::time::Duration;

use common::{BackendProcess, median, serve_if_asked, spread};
use support::free_ports;

use client::Client;
use terminators::Terminator;
use varnish::Varnish;

/// The server name.
const HOST: &str = "localhost";
const PATH: &str = "/object?cached";
const CONNECTIONS: usize = 64;
const WORKERS: usize = 2;

/// How much is measured; the defaults can be set by the environment for a look at one thing.
struct Plan {
    rounds: usize,
    time: Duration,
}

/// Requests a second, and CPU time of each in µs.
type Sample = (f64, f64);

fn main() {
    serve_if_asked();
    let number =
        |name: &str, default| std::env::var(name).ok().and_then(|it| it.parse().ok()).unwrap_or(default);
    let plan = Plan {
        rounds: number("BENCH_ROUNDS", 9),
        time: Duration::from_secs(number("BENCH_SECONDS", 3) as u64),
    };
    // Hitch reaches the socket in it as another user.
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    let folder = tempfile::Builder::new().permissions(open).tempdir().expect("a temporary folder");
    let backend = BackendProcess::start(free_ports(1));
    let varnish = Varnish::start(folder.path(), backend.port);
    let certificate = terminators::certificate(HOST);
    let all = terminators::start_all(folder.path(), &varnish.socket, &certificate);
    let client = Client::new(&certificate);
    for terminator in &all {
        let agreed = client.wait_for(terminator);
        println!("{:<12}{agreed}, {}", terminator.name, terminator.version);
    }
    println!("{} rounds of {:?} each, {CONNECTIONS} connections, {WORKERS} workers", plan.rounds, plan.time);
    let keep_alive = rounds("keep-alive", &plan, &all, |it| keep_alive::measure(it, plan.time));
    let handshakes = rounds("handshakes", &plan, &all, |it| client.measure(it, plan.time));
    println!("{}", report(&plan, &keep_alive, &handshakes));
}

/// One column of samples for each terminator, the relay's first.
fn rounds(
    name: &str,
    plan: &Plan,
    all: &[Terminator],
    measure: impl Fn(&Terminator) -> Sample,
) -> Vec<Vec<Sample>> {
    let mut columns = vec![Vec::new(); all.len()];
    for terminator in all {
        measure(terminator);
    }
    for round in 0..plan.rounds {
        for step in 0..all.len() {
            let number = (round + step) % all.len();
            columns[number].push(measure(&all[number]));
        }
    }
    println!("\n{name:<12}{:>12}{:>16}{:>22}", "a second", "CPU µs for one", "relay ÷ this one");
    for (terminator, column) in all.iter().zip(&columns) {
        let ratios = ratios(&columns[0], column, |it| it.0);
        let (low, high) = spread(&ratios);
        let (rate, cpu) = (middle(column, |it| it.0), middle(column, |it| it.1));
        let ratio = median(&ratios);
        println!("{:<12}{rate:>12.0}{cpu:>16.1}{ratio:>12.3}   {low:.3} to {high:.3}", terminator.name);
    }
    columns
}

fn middle(column: &[Sample], part: impl Fn(&Sample) -> f64) -> f64 {
    median(&column.iter().map(part).collect::<Vec<_>>())
}

/// Round by round, the first column ÷ the other.
fn ratios(relay: &[Sample], other: &[Sample], part: impl Fn(&Sample) -> f64) -> Vec<f64> {
    relay.iter().zip(other).map(|(relay, other)| part(relay) / part(other)).collect()
}

/// The least of the relay's ratios, thus that to the best of the others.
fn against_best(columns: &[Vec<Sample>]) -> f64 {
    let all = columns.iter().skip(1).map(|column| median(&ratios(&columns[0], column, |it| it.0)));
    rounded(all.fold(f64::MAX, f64::min))
}

fn cpu_against_best(columns: &[Vec<Sample>]) -> f64 {
    let all = columns.iter().skip(1).map(|column| 1.0 / median(&ratios(&columns[0], column, |it| it.1)));
    rounded(all.fold(f64::MAX, f64::min))
}

fn report(plan: &Plan, keep_alive: &[Vec<Sample>], handshakes: &[Vec<Sample>]) -> serde_json::Value {
    let figures = |columns: &[Vec<Sample>]| -> serde_json::Value {
        let entries = terminators::NAMES.iter().zip(columns);
        let entries = entries.map(|(name, column)| {
            let (rate, cpu) = (middle(column, |it| it.0).round(), rounded(middle(column, |it| it.1)));
            ((*name).to_owned(), serde_json::json!({"per_second": rate, "cpu_us": cpu}))
        });
        serde_json::Value::Object(entries.collect())
    };
    serde_json::json!({
        "keepalive_ratio": against_best(keep_alive), "keepalive_cpu_ratio": cpu_against_best(keep_alive),
        "handshake_ratio": against_best(handshakes), "handshake_cpu_ratio": cpu_against_best(handshakes),
        "keepalive": figures(keep_alive), "handshakes": figures(handshakes),
        "rounds": plan.rounds,
        "against": "the better of Hitch and HAProxy (tcp mode), same varnishd, certificate, TLS version and workers",
    })
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
