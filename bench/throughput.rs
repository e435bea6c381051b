//! What Copal's VCL costs: the 1,000-vhost configuration against a minimal hand-written VCL, on one varnishd.
//!
//! Both are loaded side by side and switched with `vcl.use`, in pairs, so that the noise of the machine hits
//! both. Hits are 1 KiB from the cache; passes are 1 KiB from the backend, not cacheable because the request
//! has a cookie. `hit_ratio` and `pass_ratio` are medians of the pairs' ratios, Copal ÷ minimal.
//! `hit_cpu_ratio` and `pass_cpu_ratio` say the same of varnishd's CPU time for a request, minimal ÷ Copal, which
//! suffers less from neighbours.
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

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use common::{BackendProcess, Site, VHOSTS, host, median, serve_if_asked, spread};
use support::{Gateway, free_ports, get};

const PAIRS: usize = 9;
const SECONDS: u32 = 3;
const CONNECTIONS: u32 = 64;
const MINIMAL: &str = "bench_minimal";

fn main() {
    serve_if_asked();
    let site = Site::new(BackendProcess::start(free_ports(1)));
    let gateway = site.spawn();
    let last = get(&host(VHOSTS - 1), "/r4");
    gateway.wait_for("the cold start", Duration::from_mins(3), || {
        gateway.is_ready() && gateway.try_send(&last).is_ok_and(|response| response.status == 200)
    });
    let bench = Bench::new(gateway, site.backend.port);
    println!("Copal: {VHOSTS} vhosts × 5 routes × 3 endpoints. Minimal: one backend, no subroutine.");
    println!("wrk -t1 -c{CONNECTIONS} -d{SECONDS}s, {PAIRS} pairs after a warm-up, both on one varnishd");
    println!("{:<6}{:>12}{:>12}{:>22}{:>9}", "", "Copal rps", "minimal rps", "CPU µs per request", "ratio");
    let hit = bench.compare("hit", "/r3/object?cached", None);
    let pass = bench.compare("pass", "/r3/object", Some("Cookie: session=1"));
    let figures = serde_json::json!({
        "hit_ratio": rounded(hit.ratio()), "pass_ratio": rounded(pass.ratio()),
        "hit_rps": median(&hit.copal).round(), "minimal_hit_rps": median(&hit.minimal).round(),
        "pass_rps": median(&pass.copal).round(), "minimal_pass_rps": median(&pass.minimal).round(),
        "hit_cpu_ratio": rounded(median(&hit.minimal_cpu) / median(&hit.copal_cpu)),
        "pass_cpu_ratio": rounded(median(&pass.minimal_cpu) / median(&pass.copal_cpu)),
        "pairs": PAIRS,
        "against": "minimal hand-written VCL (one backend, stock subroutines) on the same varnishd, same requests",
    });
    println!("{figures}");
}

struct Bench {
    gateway: Gateway,
    root: String,
    child: u32,
}

/// Requests a second of each side, pair by pair.
#[derive(Default)]
struct Sides {
    copal: Vec<f64>,
    minimal: Vec<f64>,
    copal_cpu: Vec<f64>,
    minimal_cpu: Vec<f64>,
}

impl Sides {
    fn ratios(&self) -> Vec<f64> {
        self.copal.iter().zip(&self.minimal).map(|(copal, minimal)| copal / minimal).collect()
    }

    fn ratio(&self) -> f64 {
        median(&self.ratios())
    }
}

impl Bench {
    /// Loads the minimal VCL beside what runs.
    fn new(gateway: Gateway, port: u16) -> Self {
        let child = *gateway.processes("cache-main").first().expect("varnishd has a child");
        let mut bench = Self { gateway, root: String::new(), child };
        bench.root = bench.active();
        let file = bench.gateway.state().join("minimal.vcl");
        let text = format!("vcl 4.1;\nbackend default {{ .host = \"127.0.1.1\"; .port = \"{port}\"; }}\n");
        std::fs::write(&file, text).expect("the state folder is ours");
        bench.cli(&["vcl.load", MINIMAL, &file.display().to_string()]);
        bench
    }

    fn compare(&self, name: &str, target: &str, header: Option<&str>) -> Sides {
        let mut sides = Sides::default();
        for vcl in [&self.root, MINIMAL] {
            self.measure(vcl, target, header);
        }
        for pair in 0..PAIRS {
            // Whoever comes first in a pair comes second in the next.
            let order = if pair % 2 == 0 { [true, false] } else { [false, true] };
            for copal in order {
                let (rps, cpu) = self.measure(if copal { &self.root } else { MINIMAL }, target, header);
                let (all, cpus) = if copal {
                    (&mut sides.copal, &mut sides.copal_cpu)
                } else {
                    (&mut sides.minimal, &mut sides.minimal_cpu)
                };
                all.push(rps);
                cpus.push(cpu);
            }
        }
        self.cli(&["vcl.use", &self.root]);
        print_sides(name, &sides);
        sides
    }

    /// Requests a second, and Varnish's CPU time for each in µs.
    fn measure(&self, vcl: &str, target: &str, header: Option<&str>) -> (f64, f64) {
        self.cli(&["vcl.use", vcl]);
        let before = cpu_seconds(self.child);
        let (rps, requests) = self.wrk(target, header);
        let cpu = (cpu_seconds(self.child) - before) / requests * 1e6;
        assert_eq!(self.active(), vcl, "someone else switched the VCL during a measurement");
        (rps, cpu)
    }

    fn wrk(&self, target: &str, header: Option<&str>) -> (f64, f64) {
        let mut command = Command::new("wrk");
        command.arg("-t1").arg(format!("-c{CONNECTIONS}")).arg(format!("-d{SECONDS}s"));
        command.args(["-H", &format!("Host: {}", host(VHOSTS - 1))]);
        header.map(|header| command.args(["-H", header]));
        command.arg(format!("http://{}{target}", self.gateway.address(80)));
        let output = command.output().expect("wrk is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
        let after = |label: &str| text.split(label).nth(1).and_then(|rest| rest.split_whitespace().next());
        let rps = after("Requests/sec:").and_then(|number| number.parse().ok());
        let requests = text.split(" requests in").next().and_then(|head| head.split_whitespace().last());
        let requests = requests.and_then(|number| number.parse().ok());
        rps.zip(requests)
            .unwrap_or_else(|| panic!("wrk said: {text} {}", String::from_utf8_lossy(&output.stderr)))
    }

    fn cli(&self, arguments: &[&str]) -> String {
        let workdir: PathBuf = self.gateway.state().join("reloader/varnish");
        let output = Command::new("varnishadm").arg("-n").arg(workdir).args(arguments).output();
        let output = output.expect("varnishadm is installed");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {text} {}", String::from_utf8_lossy(&output.stderr));
        text
    }

    /// The VCL in use.
    fn active(&self) -> String {
        let list = self.cli(&["vcl.list"]);
        let line = list.lines().find(|line| line.starts_with("active")).expect("a VCL is in use");
        let mut words = line.split_whitespace().rev();
        words.find(|word| word.starts_with("copal_") || *word == MINIMAL).unwrap_or_default().to_owned()
    }
}

/// User and system time of a process, from fields 14 and 15 of its stat, in hundredths of a second.
fn cpu_seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("varnishd's child runs");
    let fields: Vec<&str> = stat.rsplit_once(") ").expect("a stat line").1.split(' ').collect();
    let ticks = |number: usize| fields[number - 3].parse::<f64>().expect("a number");
    (ticks(14) + ticks(15)) / 100.0
}

fn print_sides(name: &str, sides: &Sides) {
    let (low, high) = spread(&sides.ratios());
    let cpu = format!("{:.1} / {:.1}", median(&sides.copal_cpu), median(&sides.minimal_cpu));
    let ratio = format!("{:.3}", sides.ratio());
    let (copal, minimal) = (median(&sides.copal), median(&sides.minimal));
    println!("{name:<6}{copal:>12.0}{minimal:>12.0}{cpu:>22}{ratio:>9}   pairs {low:.3} to {high:.3}");
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}
