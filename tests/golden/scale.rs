//! Hundreds of paths on one host: found by a look-up, not by a walk.

use std::fmt::Write as _;

use copal::snapshot::Snapshot;
use copal::standalone::manifests::{Format, Manifests};
use copal::translate::{Settings, translate};
use copal::vcl::Renderer;

use super::case::{Rendered, given};
use super::varnish::Varnish;

const ROUTES: usize = 40;
const RULES: usize = 16;

/// 640 rules for one host: a prefix each, and an exact path for every other.
fn manifests() -> String {
    let mut text = String::new();
    for route in 0..ROUTES {
        let _ = write!(
            text,
            "---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: r{route}, namespace: default}}
spec:
  parentRefs: [{{name: gw}}]
  hostnames: [big.test]
  rules:
"
        );
        for rule in 0..RULES {
            let kind = if rule % 2 == 0 { "PathPrefix" } else { "Exact" };
            let _ = writeln!(
                text,
                "  - matches: [{{path: {{type: {kind}, value: /r{route}/p{rule}}}}}]
    backendRefs: [{{name: a, port: 80}}]"
            );
        }
    }
    text
}

#[test]
fn hundreds_of_paths_on_one_host_are_looked_up_by_selectors() {
    let objects = Manifests::parse(Format::Yaml, manifests().as_bytes());
    assert!(objects.faults.is_empty(), "{:?}", objects.faults);
    let objects = given().into_iter().chain(objects.objects.into_iter().map(|it| it.object));
    let snapshot: Snapshot = objects.collect();
    let translation = translate(&snapshot, &Settings::default());
    let model = translation.shared_model();
    let rendered = Rendered::of_bundle(&Renderer::default().render(model));
    let shard =
        rendered.files.values().find(|text| text.contains("# big.test")).expect("a shard has the host");
    let (host, _) = shard.split_once("# big.test, Gateway").unwrap().1.split_once("\n}\n").unwrap();
    let lines: Vec<_> = host.lines().skip(1).filter(|line| !line.trim().is_empty()).collect();
    assert!(lines.len() < 15, "the host's subroutine grows with its routes:\n{host}");
    assert!(
        host.contains("subroutine(select=LONGEST)") && host.contains("subroutine(select=UNIQUE)"),
        "{host}"
    );
    let added = |set: &str| shard.lines().filter(|line| line.contains(&format!("\t{set}.add("))).count();
    assert_eq!((added("prefixes"), added("exact_paths")), (ROUTES * RULES, ROUTES * RULES / 2));
    Varnish::start().compile("hundreds of paths", &rendered).unwrap();
}
