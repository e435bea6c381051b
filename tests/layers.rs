//! Holds the layer rule of `src/lib.rs`: which module may name which, and what pure modules may not touch.
#![cfg(test)]

mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use source::paths;

/// What one module may name of this crate, whether it is pure, and what it may see of Kubernetes.
struct Layer {
    module: &'static str,
    may_use: &'static [&'static str],
    pure: bool,
    sees: Sees,
}

/// What of Kubernetes' types and clients a module may name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sees {
    Nothing,
    /// All but the Gateway API.
    Kubernetes,
    All,
}

use Sees::{All, Kubernetes, Nothing};

/// From the bottom up. Nothing may name `bin`.
const LAYERS: &[Layer] = &[
    Layer { module: "model", may_use: &[], pure: true, sees: Nothing },
    Layer { module: "bundle", may_use: &["model"], pure: true, sees: Nothing },
    Layer { module: "api", may_use: &[], pure: true, sees: All },
    Layer { module: "snapshot", may_use: &["api", "model"], pure: true, sees: All },
    Layer { module: "translate", may_use: &["api", "bundle", "model", "snapshot"], pure: true, sees: All },
    Layer { module: "vcl", may_use: &["model", "bundle"], pure: true, sees: Nothing },
    Layer {
        module: "infra",
        may_use: &["api", "bundle", "model", "snapshot", "translate"],
        pure: true,
        sees: All,
    },
    Layer { module: "status", may_use: &["api", "model", "snapshot", "translate"], pure: true, sees: All },
    Layer { module: "explain", may_use: &["model", "snapshot", "translate"], pure: true, sees: Nothing },
    Layer { module: "telemetry", may_use: &[], pure: false, sees: Nothing },
    Layer { module: "bundle_folder", may_use: &["bundle"], pure: false, sees: Nothing },
    Layer { module: "relay", may_use: &["bundle", "bundle_folder", "telemetry"], pure: false, sees: Nothing },
    Layer {
        module: "reloader",
        may_use: &["bundle", "bundle_folder", "telemetry"],
        pure: false,
        sees: Kubernetes,
    },
    Layer { module: "reloader_client", may_use: &["bundle", "status", "vcl"], pure: false, sees: Nothing },
    Layer {
        module: "standalone",
        may_use: &[
            "api",
            "bundle",
            "bundle_folder",
            "explain",
            "model",
            "reloader_client",
            "snapshot",
            "status",
            "telemetry",
            "translate",
            "vcl",
        ],
        pure: false,
        sees: All,
    },
    Layer {
        module: "controllers",
        may_use: &[
            "api",
            "bundle",
            "infra",
            "model",
            "reloader_client",
            "snapshot",
            "status",
            "telemetry",
            "translate",
            "vcl",
        ],
        pure: false,
        sees: All,
    },
    Layer {
        module: "cli",
        may_use: &[
            "api",
            "bundle",
            "bundle_folder",
            "controllers",
            "explain",
            "model",
            "reloader_client",
            "standalone",
            "status",
            "telemetry",
            "translate",
        ],
        pure: false,
        sees: All,
    },
];

/// I/O, clocks, chance and concurrency: what makes equal input give unequal output.
const IMPURE: &[&str] = &[
    "axum",
    "hyper",
    "hyper_util",
    "notify",
    "rand",
    "rustix",
    "tokio",
    "tracing",
    "std::env",
    "std::fs",
    "std::process",
    "std::thread",
    "std::io::stdin",
    "std::io::stdout",
    "std::io::stderr",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::net::ToSocketAddrs",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::collections::hash_map::RandomState",
];

const KUBERNETES: &[&str] = &["gateway_api", "k8s_openapi", "kube"];
const GATEWAY_API: &[&str] = &["gateway_api"];

/// What a file of that module does that its layer may not.
fn violations(module: &str, depth: usize, text: &str) -> Vec<String> {
    let Some(layer) = LAYERS.iter().find(|layer| layer.module == module) else {
        return vec![format!("module {module} is not in the table of layers")];
    };
    let found = paths(text);
    let mut wrong: Vec<String> = found.iter().filter_map(|path| forbidden(layer, depth, path)).collect();
    if layer.pure && source::words(text).iter().any(|word| word == "async") {
        wrong.push("is pure, but has async code".into());
    }
    wrong.sort();
    wrong.dedup();
    wrong
}

fn forbidden(layer: &Layer, depth: usize, path: &[String]) -> Option<String> {
    let name = path.join("::");
    if let Some(other) = named_module(depth, path) {
        let known = LAYERS.iter().any(|layer| layer.module == other);
        let fine = !known || other == layer.module || layer.may_use.contains(&other);
        return (!fine).then(|| format!("may not use {other} ({name})"));
    }
    // A single word is a variable or a method, whatever it is called.
    if path.len() < 2 {
        return None;
    }
    let begins = |prefix: &&&str| name == **prefix || name.starts_with(&format!("{prefix}::"));
    let impure = layer.pure.then(|| IMPURE.iter().find(begins)).flatten();
    let unseen = match layer.sees {
        Nothing => KUBERNETES,
        Kubernetes => GATEWAY_API,
        All => &[],
    };
    impure.or(unseen.iter().find(begins)).map(|_| format!("may not use {name}"))
}

/// The module of this crate that a path goes to, from the root: `crate::vcl`, `copal::vcl`, `super::…::vcl`.
fn named_module(depth: usize, path: &[String]) -> Option<&str> {
    let supers = path.iter().take_while(|part| *part == "super").count();
    match path.first().map(String::as_str) {
        Some("crate" | "copal") => path.get(1).map(String::as_str),
        Some("super") if supers >= depth => path.get(supers).map(String::as_str),
        _ => None,
    }
}

/// Every Rust file below `src`, with its module and how deep it is below the crate's root.
fn sources() -> Vec<(PathBuf, String, usize)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(&root).unwrap().with_extension("");
                let mut parts: Vec<String> =
                    below.iter().map(|part| part.to_string_lossy().into_owned()).collect();
                parts.retain(|part| part != "mod");
                found.push((path, parts[0].clone(), parts.len()));
            }
        }
    }
    found
}

#[test]
fn every_module_keeps_to_its_layer() {
    let mut wrong: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let mut seen = 0;
    for (path, module, depth) in sources() {
        if module == "lib" || module == "bin" {
            continue;
        }
        seen += 1;
        let found = violations(&module, depth, &fs::read_to_string(&path).unwrap());
        if !found.is_empty() {
            wrong.insert(path, found);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(seen >= LAYERS.len(), "only {seen} files were found");
}

#[test]
fn the_layers_are_in_order() {
    for (number, layer) in LAYERS.iter().enumerate() {
        let below: Vec<&str> = LAYERS[..number].iter().map(|layer| layer.module).collect();
        let above = layer.may_use.iter().find(|used| !below.contains(used));
        assert_eq!(above, None, "{} may only use what stands before it", layer.module);
    }
}

/// The check itself must be able to fail, and to pass what only looks bad.
#[test]
fn the_check_tells_good_from_bad() {
    let bad = [
        ("vcl", 1, "use gateway_api::experimental::httproutes::HttpRoute;"),
        ("vcl", 2, "use crate::snapshot::Snapshot;"),
        ("vcl", 2, "use crate::{model::Model, snapshot::Snapshot};"),
        ("vcl", 1, "use super::translate;"),
        ("vcl", 2, "fn f(x: &super::super::snapshot::Snapshot) {}"),
        ("reloader", 2, "use gateway_api::experimental::gateways::Gateway;"),
        ("vcl", 2, "let x = k8s_openapi::api::core::v1::Service::default();"),
        ("reloader", 2, "use crate::model::Model;"),
        ("translate", 2, "use std::{fmt, fs};"),
        ("translate", 1, "use crate::vcl;"),
        ("translate", 1, "use crate::status::build;"),
        ("translate", 1, "use crate::standalone::run;"),
        ("translate", 1, "let now = std::time::SystemTime::now();"),
        ("model", 1, "use std::time::{Duration, Instant};"),
        ("model", 1, "use std::{net::{IpAddr, TcpStream}};"),
        ("model", 1, "pub async fn f() {}"),
        ("bundle", 1, "use tokio::fs;"),
        ("status", 1, "use rand::random;"),
        ("explain", 1, "use kube::Api;"),
        ("nowhere", 1, ""),
    ];
    for (module, depth, text) in bad {
        assert!(!violations(module, depth, text).is_empty(), "{module}: {text}");
    }
    let good = [
        ("vcl", 1, "use crate::model::Model; use crate::bundle::{Bundle, VclFile}; use super::vcl;"),
        (
            "vcl",
            2,
            "// use crate::snapshot::Snapshot;\n/* tokio::spawn */ const X: &str = \"std::fs::read\";",
        ),
        ("vcl", 2, "use super::snapshot; mod snapshot {}"),
        ("translate", 1, "#[cfg(test)]\nmod tests { use std::fs; fn f() { crate::vcl::render(); } }"),
        ("translate", 1, "use std::net::{IpAddr, SocketAddr}; use std::time::Duration;"),
        ("translate", 1, "const C: char = '\"'; fn f<'a>(x: &'a str) -> &'a str { x } // std::fs"),
        ("model", 1, "const R: &str = r#\"use \"tokio::fs\" here\"#;"),
        ("standalone", 2, "use tokio::fs; use crate::{snapshot, translate, vcl};"),
    ];
    for (module, depth, text) in good {
        assert_eq!(violations(module, depth, text), Vec::<String>::new(), "{module}: {text}");
    }
}
