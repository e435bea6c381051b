//! Cold start, and edits under load: 1,000 vhosts × 5 routes × 3 endpoints.
//!
//! - `cold_s`: from the start of `copal run` until `/readyz` and every 25th vhost and the last answer 200.
//! - `edit_ms_p50`, `edit_ms_max`: one route changed in one file → a client sees the new answer. 200 edits.
//! - `render_ms`, `render_ms_max`: translate + render of these edits, as `copal run` logs it.
//! - `failed`: what two other clients, 500 requests a second together, got instead of the right answer.
//! - `rss_growth`: resident memory of copal, reloader and varnishd after the edits ÷ before them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_collect,
    clippy::format_push_string,
    reason = "a bench that cannot go on says where and stops"
)]

#[path = "../tests/support/mod.rs"]
mod support;

mod common;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{BackendProcess, Site, VHOSTS, file_name, host, median, millis, serve_if_asked};
use support::{Connection, Gateway, free_ports, get, resident_kib};

const EDITS: usize = 200;
/// Before the edits, so that threads, pools and Varnish's log ring have reached their size.
const WARM_UP: Duration = Duration::from_secs(10);
/// After them, until old VCLs are gone.
const SETTLE: Duration = Duration::from_secs(15);
/// Of each of the two clients.
const PAUSE: Duration = Duration::from_millis(4);

fn main() {
    serve_if_asked();
    let site = Site::new(BackendProcess::start(free_ports(1)));
    let begin = Instant::now();
    let gateway = site.spawn();
    let cold = cold_start(&gateway, begin);
    println!("{VHOSTS} vhosts × 5 routes × 3 endpoints");
    println!("cold start to serving          {:>9.2} s", cold.as_secs_f64());
    warm_up(&gateway);
    let before = memory(&gateway);
    let (edits, load) = edits_under_load(&site, &gateway);
    std::thread::sleep(SETTLE);
    let after = memory(&gateway);
    report(&gateway, cold, &edits, &load, &before, &after);
}

fn cold_start(gateway: &Gateway, begin: Instant) -> Duration {
    let sampled = (0..VHOSTS).step_by(25).chain([VHOSTS - 1]);
    let mut waiting: Vec<usize> = sampled.collect();
    gateway.wait_for("the cold start", Duration::from_mins(3), || {
        let serves = |vhost: usize| {
            let answer = gateway.try_send(&get(&host(vhost), "/r4"));
            answer.is_ok_and(|response| response.status == 200)
        };
        waiting.retain(|vhost| !serves(*vhost));
        waiting.is_empty() && gateway.is_ready()
    });
    begin.elapsed()
}

/// As many requests as two clients can send.
fn warm_up(gateway: &Gateway) {
    let load = Load::default();
    std::thread::scope(|scope| {
        for client in 0..2 {
            let load = &load;
            scope.spawn(move || load.run(gateway, client, Duration::ZERO));
        }
        std::thread::sleep(WARM_UP);
        load.done.store(true, Ordering::Relaxed);
    });
}

#[derive(Default)]
struct Load {
    done: AtomicBool,
    sent: AtomicUsize,
    failed: AtomicUsize,
    first_failure: std::sync::Mutex<Option<String>>,
}

impl Load {
    /// Requests to one vhost after the other over one connection, with a pause after each.
    fn run(&self, gateway: &Gateway, client: usize, pause: Duration) {
        let mut connection = None;
        for number in (client * 500).. {
            if self.done.load(Ordering::Relaxed) {
                return;
            }
            let open = connection.take().map_or_else(|| gateway.connect(80), Ok);
            match open.and_then(|open| expected_answer(open, number)) {
                Ok(open) => connection = Some(open),
                Err(error) => self.fail(&error),
            }
            self.sent.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(pause);
        }
    }

    fn fail(&self, error: &io::Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.first_failure.lock().unwrap().get_or_insert_with(|| error.to_string());
    }
}

fn expected_answer(mut open: Connection, number: usize) -> io::Result<Connection> {
    let route = number % 5;
    let response = open.exchange(&get(&host(number * 7 % VHOSTS), &format!("/r{route}/x")))?;
    let good = response.status == 200
        && response.body.len() == 1024
        && response.header("x-version").is_some() == (route == 0);
    if good { Ok(open) } else { Err(io::Error::other(format!("{} {:?}", response.status, response.headers))) }
}

fn edits_under_load(site: &Site, gateway: &Gateway) -> (Vec<f64>, Load) {
    let load = Load::default();
    let edits = std::thread::scope(|scope| {
        for client in 0..2 {
            let load = &load;
            scope.spawn(move || load.run(gateway, client, PAUSE));
        }
        let mut connection = gateway.connect(80).expect("the gateway serves");
        let edits = (1..=EDITS).map(|edit| millis(one_edit(site, gateway, &mut connection, edit))).collect();
        load.done.store(true, Ordering::Relaxed);
        edits
    });
    (edits, load)
}

fn one_edit(site: &Site, gateway: &Gateway, connection: &mut Connection, edit: usize) -> Duration {
    let vhost = edit * 37 % VHOSTS;
    let text = site.file(vhost, edit);
    let request = get(&host(vhost), "/r0");
    let begin = Instant::now();
    gateway.write(&file_name(vhost), &text);
    loop {
        let response = connection.exchange(&request).expect("an edit does not close connections");
        if response.header("x-version") == Some(&edit.to_string()) {
            return begin.elapsed();
        }
        assert!(
            begin.elapsed() < Duration::from_secs(30),
            "edit {edit} is not served\n{}",
            gateway.log_tail()
        );
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Process and resident MiB.
fn memory(gateway: &Gateway) -> Vec<(String, f64)> {
    let named = |name: &str| gateway.processes(name).into_iter().map(resident_kib).sum::<u64>();
    let kib = [
        ("copal", resident_kib(gateway.pid())),
        ("copal-reloader", named("copal-reloader")),
        ("varnishd", named("varnishd")),
        ("varnishd's child", named("cache-main")),
    ];
    #[expect(clippy::cast_precision_loss, reason = "no machine has 2^52 KiB")]
    kib.into_iter().map(|(name, kib)| (name.to_owned(), kib as f64 / 1024.0)).collect()
}

/// Translate + render in ms, from each log line that has both.
fn render_times(gateway: &Gateway) -> Vec<f64> {
    let lines = gateway.log();
    let objects = lines.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    objects
        .filter_map(|object| {
            let number = |name: &str| object[name].as_f64();
            Some(number("translate_ms")? + number("render_ms")?)
        })
        .collect()
}

fn report(
    gateway: &Gateway,
    cold: Duration,
    edits: &[f64],
    load: &Load,
    before: &[(String, f64)],
    after: &[(String, f64)],
) {
    let (p50, (_, max)) = (median(edits), common::spread(edits));
    let all_renders = render_times(gateway);
    let renders = &all_renders[all_renders.len().saturating_sub(EDITS)..];
    let (render, (_, render_max)) = (median(renders), common::spread(renders));
    let (sent, failed) = (load.sent.load(Ordering::Relaxed), load.failed.load(Ordering::Relaxed));
    let total = |parts: &[(String, f64)]| parts.iter().map(|(_, mib)| mib).sum::<f64>();
    let growth = total(after) / total(before);
    println!("edit to served, median         {p50:>9.1} ms   of {} edits", edits.len());
    println!("edit to served, worst          {max:>9.1} ms");
    println!(
        "translate + render, median     {render:>9.1} ms   worst {render_max:.1} ms, {} logged",
        renders.len()
    );
    println!("requests of other clients      {sent:>9}      failed {failed}");
    for ((name, before), (_, after)) in before.iter().zip(after) {
        println!("resident, {name:<20} {before:>9.1} MiB  then {after:.1} MiB");
    }
    println!("resident, all, growth          {growth:>9.3}");
    if let Some(failure) = load.first_failure.lock().unwrap().as_ref() {
        println!("first failure: {failure}");
    }
    let figures = serde_json::json!({
        "cold_s": rounded(cold.as_secs_f64()), "edit_ms_p50": rounded(p50), "edit_ms_max": rounded(max),
        "render_ms": rounded(render), "render_ms_max": rounded(render_max), "failed": failed,
        "requests": sent, "rss_growth": rounded(growth),
    });
    println!("{figures}");
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
