//! varnishd's counters, by `varnishstat -j`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

/// How old a snapshot may be that is given to a scrape.
const FRESH: Duration = Duration::from_secs(1);
/// How long varnishstat may take, attaching to varnishd's memory included.
const LIMIT: Duration = Duration::from_secs(10);
/// How long varnishstat itself waits for varnishd, in seconds.
const ATTACH: &str = "2";

/// What the metrics page shows. Of each backend only what tells something: with all 20 fields of thousands of
/// backends the page would be mostly zeros.
const PAGE: [&str; 10] = [
    "MGT.*",
    "MAIN.*",
    "MEMPOOL.*",
    "SMA.*",
    "SMF.*",
    "SMU.*",
    "VBE.*.conn",
    "VBE.*.req",
    "VBE.*.unhealthy",
    "VBE.*.fail",
];

/// Why there are no counters.
#[derive(Debug, Error)]
pub enum StatsError {
    /// varnishstat cannot be run.
    #[error("cannot run {}", .0.display())]
    Spawn(PathBuf, #[source] std::io::Error),
    /// It does not come to an end.
    #[error("varnishstat did not answer within {} s", LIMIT.as_secs())]
    Timeout,
    /// varnishd is not running, or not on this working directory.
    #[error("varnishstat failed: {0}")]
    Failed(String),
    /// Its output is not the known JSON.
    #[error("cannot read the output of varnishstat")]
    Json(#[from] serde_json::Error),
}

/// One counter or gauge.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Counter {
    /// What it counts.
    pub description: String,
    /// `c` for a counter, `g` for a gauge, `b` for a bitmap.
    pub flag: String,
    /// Its value.
    pub value: u64,
}

/// All counters by name, such as `MAIN.client_req`.
pub type Counters = BTreeMap<String, Counter>;

#[derive(Deserialize)]
struct Report {
    counters: Counters,
}

/// Reads the output of `varnishstat -j`.
///
/// # Errors
/// When it is not JSON of the known shape (version 1, since Varnish 6.5).
pub fn parse(output: &str) -> Result<Counters, StatsError> {
    Ok(serde_json::from_str::<Report>(output)?.counters)
}

/// Live client sessions: what is to become zero before varnishd may stop. None while no child runs.
///
/// This is the sum over the thread pools of the sessions in memory. `MAIN.sess_conn` never goes down, and
/// minus `MAIN.sess_closed` it is wrong as well: connections that the client closed are not all in there.
#[must_use]
pub fn live_sessions(counters: &Counters) -> Option<u64> {
    let is_gauge = |name: &str| {
        let pool = name.strip_prefix("MEMPOOL.sess").and_then(|rest| rest.strip_suffix(".live"));
        pool.is_some_and(|pool| pool.chars().all(|c| c.is_ascii_digit()))
    };
    let gauges: Vec<u64> =
        counters.iter().filter(|(name, _)| is_gauge(name)).map(|(_, counter)| counter.value).collect();
    if gauges.is_empty() { None } else { Some(gauges.iter().sum()) }
}

/// Runs varnishstat, one at a time.
#[derive(Debug)]
pub struct Varnishstat {
    program: PathBuf,
    workdir: PathBuf,
    page: Mutex<Option<(Instant, Arc<Counters>)>>,
}

impl Varnishstat {
    /// For the varnishd on `workdir`.
    #[must_use]
    pub fn new(program: &Path, workdir: &Path) -> Self {
        Self { program: program.to_owned(), workdir: workdir.to_owned(), page: Mutex::new(None) }
    }

    /// The counters of the metrics page, at most one second old. Scrapes that come together share one run.
    ///
    /// # Errors
    /// When varnishstat fails; varnishd may not be running.
    pub async fn page(&self) -> Result<Arc<Counters>, StatsError> {
        let mut page = self.page.lock().await;
        if let Some((taken, counters)) = page.as_ref()
            && taken.elapsed() < FRESH
        {
            return Ok(Arc::clone(counters));
        }
        let counters = Arc::new(self.run(&PAGE).await?);
        *page = Some((Instant::now(), Arc::clone(&counters)));
        Ok(counters)
    }

    /// The live sessions of this moment; see [`live_sessions`].
    ///
    /// # Errors
    /// When varnishstat fails.
    pub async fn live_sessions(&self) -> Result<Option<u64>, StatsError> {
        let _one_at_a_time = self.page.lock().await;
        Ok(live_sessions(&self.run(&["MEMPOOL.sess*.live"]).await?))
    }

    async fn run(&self, fields: &[&str]) -> Result<Counters, StatsError> {
        let mut command = Command::new(&self.program);
        command.arg("-n").arg(&self.workdir).args(["-j", "-t", ATTACH]).kill_on_drop(true);
        for field in fields {
            command.args(["-f", field]);
        }
        let output = timeout(LIMIT, command.output()).await.map_err(|_| StatsError::Timeout)?;
        let output = output.map_err(|source| StatsError::Spawn(self.program.clone(), source))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(StatsError::Failed(said.trim_matches(['.', '\n', ' ']).to_owned()));
        }
        // Thousands of backends make megabytes, which take a while.
        let parsed = spawn_blocking(move || parse(&String::from_utf8_lossy(&output.stdout))).await;
        parsed.unwrap_or_else(|cut_off| Err(StatsError::Failed(cut_off.to_string())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(text: &str) -> Counters {
        parse(&format!(r#"{{"version": 1, "timestamp": "x", "counters": {{{text}}}}}"#)).unwrap()
    }

    fn entry(name: &str, flag: &str, value: u64) -> String {
        format!(r#""{name}": {{"description": "d", "flag": "{flag}", "format": "i", "value": {value}}}"#)
    }

    #[test]
    fn live_sessions_are_summed_over_the_pools() {
        let text = [
            entry("MEMPOOL.sess0.live", "g", 3),
            entry("MEMPOOL.sess1.live", "g", 4),
            entry("MEMPOOL.sess1.pool", "g", 10),
            entry("MEMPOOL.req0.live", "g", 100),
            entry("MAIN.sess_conn", "c", 1000),
        ];
        assert_eq!(live_sessions(&counters(&text.join(","))), Some(7));
    }

    #[test]
    fn without_a_child_sessions_are_unknown() {
        assert_eq!(live_sessions(&counters(&entry("MGT.uptime", "c", 3))), None);
        assert_eq!(live_sessions(&counters("")), None);
    }

    #[test]
    fn another_shape_is_an_error() {
        assert!(parse("{}").is_err());
        assert!(parse("MAIN.uptime 1").is_err());
    }
}
