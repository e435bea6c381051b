//! Hits over connections that stay open.

use std::process::Command;
use std::time::Duration;

use crate::terminators::Terminator;
use crate::{CONNECTIONS, HOST, PATH, Sample};

/// Requests a second, and the terminator's CPU time for each in µs.
pub fn measure(terminator: &Terminator, time: Duration) -> Sample {
    let before = terminator.cpu_seconds();
    let mut command = Command::new("wrk");
    command.args(["-t1", &format!("-c{CONNECTIONS}"), &format!("-d{}s", time.as_secs())]);
    let output = command.arg(format!("https://{HOST}:{}{PATH}", terminator.port)).output();
    let output = output.expect("wrk is installed");
    let cpu = terminator.cpu_seconds() - before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{}: {text}", terminator.name);
    let after = |label: &str| text.split(label).nth(1).and_then(|rest| rest.split_whitespace().next());
    let rate = after("Requests/sec:").and_then(|number| number.parse::<f64>().ok());
    let requests = text.split(" requests in").next().and_then(|head| head.split_whitespace().last());
    let requests = requests.and_then(|number| number.parse::<f64>().ok());
    let (rate, requests) = rate
        .zip(requests)
        .unwrap_or_else(|| panic!("wrk said: {text} {}", String::from_utf8_lossy(&output.stderr)));
    (rate, cpu / requests * 1e6)
}
