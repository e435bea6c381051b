//! Small bundles, written by hand.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use copal::bundle::{Bundle, ListenSocket, VclFile};

/// A shard that caches everything for a minute and says its `version`.
pub fn shard(backend: SocketAddr, version: &str) -> String {
    format!(
        r#"vcl 4.1;

backend web {{ .host = "{}"; .port = "{}"; }}

sub vcl_recv {{
    if (req.url ~ "pass") {{ return (pass); }}
    return (hash);
}}

sub vcl_backend_response {{
    set beresp.ttl = 60s;
}}

sub vcl_deliver {{
    set resp.http.X-Version = "{version}";
    set resp.http.X-Hits = obj.hits;
    if (sess.timeout_idle < 2s) {{ set resp.http.Connection = "close"; }}
}}
"#,
        backend.ip(),
        backend.port()
    )
}

/// A shard that does not compile: the fault is in line 5.
pub const BROKEN: &str = "vcl 4.1;\n\nbackend default none;\n\nsub vcl_recv { set req.nonsense = 1; }\n";

/// A shard that compiles but does not initialize.
pub const NOT_INITIALIZING: &str = r#"vcl 4.1;

import selector;

backend default none;

sub vcl_init {
    new hosts = selector.set();
    hosts.add("twice");
    hosts.add("twice");
}

sub vcl_recv {
    if (hosts.match(req.http.Host)) { return (synth(200)); }
}
"#;

/// A root over one shard a host: the host `a` is served by the label `copal_a`.
pub fn bundle(ports: &[u16], shards: &[(&str, &str)]) -> Bundle {
    bundle_with_root("", ports, shards)
}

/// The same with a statement at the beginning of the root's `vcl_recv`.
pub fn bundle_with_root(first: &str, ports: &[u16], shards: &[(&str, &str)]) -> Bundle {
    let listen =
        ports.iter().map(|port| ListenSocket { name: format!("http-{port}"), port: *port }).collect();
    let lines = shards
        .iter()
        .map(|(host, _)| format!("    if (req.http.Host == \"{host}\") {{ return (vcl(copal_{host})); }}\n"));
    let dispatch = lines.collect::<Vec<_>>().concat();
    let root = format!(
        "vcl 4.1;\n\nimport vtc;\n\nbackend default none;\n\nsub vcl_recv {{\n    {first}\n{dispatch}    return (synth(404));\n}}\n\n\
         sub vcl_synth {{\n    if (sess.timeout_idle < 2s) {{ set resp.http.Connection = \"close\"; }}\n}}\n"
    );
    let shards: BTreeMap<String, VclFile> =
        shards.iter().map(|(host, text)| (format!("copal_{host}"), VclFile::new(host, *text))).collect();
    Bundle::new(listen, VclFile::new("root", root), shards)
}
