//! Goldens by behaviour: a folder below `tests/golden/` is named for what it shows, and holds manifests
//! (`in.yaml`, on top of `given.yaml`), the VCL that they become and the statuses. A real varnishd compiles all VCL.
//!
//! `COPAL_UPDATE_GOLDENS=1 cargo test --test golden` writes them anew, to be read before they are committed;
//! with `CI=true` it refuses to.
#![cfg(test)]

#[path = "golden/case.rs"]
mod case;
#[path = "golden/memory.rs"]
mod memory;
#[path = "support/objects.rs"]
mod objects;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod process;
#[path = "golden/scale.rs"]
mod scale;
#[path = "golden/varnish.rs"]
mod varnish;
#[path = "support/varnishd.rs"]
mod varnishd;

use case::Case;
use varnish::Varnish;

#[test]
fn manifests_become_the_vcl_and_the_statuses_that_are_here() {
    let update = update();
    let varnish = Varnish::start();
    let cases = Case::all();
    assert!(!cases.is_empty(), "there are no goldens");
    let mut failures = Vec::new();
    for case in &cases {
        let rendered = case.render();
        failures.extend(varnish.compile(&case.name, &rendered).err());
        if update {
            case.write(&rendered);
        }
        failures.extend(case.differences(&rendered));
    }
    assert!(
        failures.is_empty(),
        "{}\n{} of {} goldens fail; COPAL_UPDATE_GOLDENS=1 writes them anew",
        failures.join("\n"),
        failures.len(),
        cases.len()
    );
}

/// Whether to write the goldens. Never where nobody reads them.
fn update() -> bool {
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|it| it == value);
    let update = is("COPAL_UPDATE_GOLDENS", "1");
    assert!(!(update && is("CI", "true")), "COPAL_UPDATE_GOLDENS=1 is refused where CI=true");
    update
}
