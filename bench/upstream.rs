//! What the hop through the relay to a TLS and to an h2c backend adds to a request, next to a backend that varnishd
//! reaches by itself: one varnishd, one client that sends one request after the other (pass), ways in turn.
//! `*_added_*` are medians over the rounds of what a way takes more than the direct one of the same round.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::format_push_string,
    dead_code,
    reason = "a bench that cannot go on says where and stops, and shares more than it needs"
)]

#[path = "../tests/upstreams/authority.rs"]
mod authority;
#[path = "../tests/reloader/client.rs"]
mod client;
#[path = "../tests/upstreams/server.rs"]
mod server;
#[path = "common/stats.rs"]
mod stats;

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use copal::bundle::relay::{Certificates, Relay, Upstream, UpstreamTls, certificate_id, upstream_socket};
use copal::bundle::{Bundle, ListenSocket, VclFile};
use copal::bundle_folder::BundleFolder;

use authority::Authority;
use client::Connection;
use server::{Http, Server};
use stats::median;

const WAYS: [&str; 3] = ["direct", "tls", "h2c"];

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn main() {
    let (rounds, requests) = (number("ROUNDS", 15), number("REQUESTS", 2000));
    let site = Site::start();
    for way in WAYS {
        site.measure(way, requests / 4);
    }
    println!("{rounds} rounds, {requests} requests a way in each, one at a time; µs");
    let mut found: Vec<Vec<(f64, f64)>> = vec![Vec::new(); WAYS.len()];
    for round in 0..rounds {
        for turn in 0..WAYS.len() {
            let way = (round + turn) % WAYS.len();
            found[way].push(site.measure(WAYS[way], requests));
        }
    }
    println!("{:<8}{:>10}{:>10}{:>12}{:>12}", "", "p50", "p99", "added p50", "added p99");
    let mut figures = serde_json::json!({"rounds": rounds, "requests": requests, "unit": "us"});
    for (way, name) in WAYS.iter().enumerate() {
        let column = |pick: fn(&(f64, f64)) -> f64| found[way].iter().map(pick).collect::<Vec<_>>();
        let added = |pick: fn(&(f64, f64)) -> f64| {
            found[way]
                .iter()
                .zip(&found[0])
                .map(|(this, direct)| pick(this) - pick(direct))
                .collect::<Vec<_>>()
        };
        let row = [column(|it| it.0), column(|it| it.1), added(|it| it.0), added(|it| it.1)];
        let row = row.map(|values| median(&values).round());
        println!("{name:<8}{:>10}{:>10}{:>12}{:>12}", row[0], row[1], row[2], row[3]);
        for (figure, value) in ["p50", "p99", "added_p50", "added_p99"].iter().zip(row) {
            figures[format!("{name}_{figure}")] = value.into();
        }
    }
    println!("{figures}");
}

/// varnishd, relay and backends.
struct Site {
    folder: tempfile::TempDir,
    reloader: Child,
    port: u16,
    servers: [Server; 3],
}

impl Drop for Site {
    fn drop(&mut self) {
        // It ends with its standard input.
        drop(self.reloader.stdin.take());
        let _ = self.reloader.wait();
    }
}

impl Site {
    fn start() -> Self {
        let authority = Authority::new();
        let certificate = authority.issue(&["a.example"]);
        let servers =
            [Server::plain(Http::One), Server::tls(Http::One, &certificate, None), Server::plain(Http::Two)];
        let (folder, port, admin) = (tempfile::tempdir().unwrap(), free_port(), free_port());
        // As root, varnishd's worker has another user.
        let passage = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        std::fs::set_permissions(folder.path(), passage).unwrap();
        let state = folder.path().join("state");
        let bundle = bundle(&authority, &servers, port, &state.join("relay"));
        BundleFolder::open(folder.path().join("bundle")).unwrap().write(&bundle).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_copal-reloader"));
        command.arg("--bundle").arg(folder.path().join("bundle")).arg("--state").arg(&state);
        command.args(["--admin", &format!("127.0.0.1:{admin}"), "--exit-with-stdin", "--drain-delay", "0"]);
        let reloader = command.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let site = Self { folder, reloader, port, servers };
        let deadline = Instant::now() + Duration::from_mins(1);
        while !client::get(site.address(), "tls", "/").is_ok_and(|answer| answer.status == 200) {
            assert!(Instant::now() < deadline, "varnishd does not serve");
            std::thread::sleep(Duration::from_millis(50));
        }
        site
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Median and 99th percentile of what a request takes, in µs.
    fn measure(&self, way: &str, requests: usize) -> (f64, f64) {
        let mut connection = Connection::open(self.address()).unwrap();
        let request = format!("GET / HTTP/1.1\r\nHost: {way}\r\n\r\n");
        let mut times: Vec<f64> = (0..requests)
            .map(|_| {
                let start = Instant::now();
                // In one piece: Nagle's algorithm would hold back a second one.
                connection.send_raw(request.as_bytes()).unwrap();
                assert_eq!(connection.receive().unwrap().status, 200);
                start.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        times.sort_by(f64::total_cmp);
        (times[times.len() / 2], times[times.len() * 99 / 100])
    }
}

fn bundle(authority: &Authority, servers: &[Server; 3], port: u16, relay: &std::path::Path) -> Bundle {
    let ours = authority.certificate();
    let tls = UpstreamTls {
        server_name: "a.example".into(),
        names: Vec::new(),
        authorities: Some(vec![certificate_id(&ours)]),
    };
    let plain =
        |server: &Server| Upstream { address: server.address, http2: false, tls: None, mirrors: Vec::new() };
    let upstreams =
        [Upstream { tls: Some(tls), ..plain(&servers[1]) }, Upstream { http2: true, ..plain(&servers[2]) }];
    let mut text = format!(
        "vcl 4.1;\nbackend direct {{ .host = \"127.0.0.1\"; .port = \"{}\"; }}\n",
        servers[0].address.port()
    );
    for (name, upstream) in WAYS[1..].iter().zip(&upstreams) {
        let path = relay.join(upstream_socket(&upstream.id()));
        text.push_str(&format!("backend {name} {{ .path = \"{}\"; }}\n", path.display()));
    }
    text.push_str("sub vcl_recv {\n");
    for name in WAYS {
        text.push_str(&format!(
            "    if (req.http.Host == \"{name}\") {{ set req.backend_hint = {name}; }}\n"
        ));
    }
    text.push_str("    return (pass);\n}\n");
    let task = Relay { upstreams: upstreams.map(|it| (it.id(), it)).into(), ..Relay::default() };
    let certificates: Certificates = [(certificate_id(&ours), ours)].into();
    let listen = vec![ListenSocket { name: "http".into(), port }];
    Bundle::new(listen, VclFile::new("root", text), [].into()).with_relay(Some(task), certificates)
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
