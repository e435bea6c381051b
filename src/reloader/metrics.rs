//! The metrics page: `varnish_*` are varnishd's own counters, `copal_*` are ours.

mod varnish;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::state::{State, Status, VclState};
use super::stats::Counters;
use varnish::VarnishCollector;

type Labels = Vec<(&'static str, String)>;

/// All metrics of the reloader.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    varnish: Arc<VarnishCollector>,
    revision: Family<Labels, Gauge>,
    reloads: Family<Labels, Counter>,
    duration: Histogram,
    last_success: Gauge<f64, std::sync::atomic::AtomicU64>,
    draining: Gauge,
    ready: Gauge,
    child_restarts: Counter,
    relay_up: Gauge,
    relay_restarts: Counter,
    access_log: AccessLogCounters,
    vcls: Family<Labels, Gauge>,
    /// Held while a page is put together, so that pages asked for at once do not mix.
    one_page: Mutex<()>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            varnish: Arc::default(),
            revision: Family::default(),
            reloads: Family::default(),
            // 10 ms to 80 s: from one shard to a first load of thousands of hosts.
            duration: Histogram::new(exponential_buckets(0.01, 2.0, 14)),
            last_success: Gauge::default(),
            draining: Gauge::default(),
            ready: Gauge::default(),
            child_restarts: Counter::default(),
            relay_up: Gauge::default(),
            relay_restarts: Counter::default(),
            access_log: AccessLogCounters::default(),
            vcls: Family::default(),
            one_page: Mutex::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        for result in [SUCCESS, FAILURE] {
            self.reloads.get_or_create(&vec![("result", result.to_owned())]).inc_by(0);
        }
        let copal = self.registry.sub_registry_with_prefix("copal");
        copal.register(
            "revision_info",
            "Revisions of the bundle by role, wanted or loaded",
            self.revision.clone(),
        );
        copal.register("reloads", "Attempts to bring another bundle into force", self.reloads.clone());
        copal.register_with_unit(
            "reload_duration",
            "From a bundle's arrival until it was entirely in force",
            Unit::Seconds,
            self.duration.clone(),
        );
        copal.register_with_unit(
            "last_reload_success_timestamp",
            "When a bundle last came into force, since 1970",
            Unit::Seconds,
            self.last_success.clone(),
        );
        copal.register("draining", "1 while connections are drained before the end", self.draining.clone());
        copal.register("ready", "1 while /readyz answers 200", self.ready.clone());
        copal.register(
            "varnish_child_restarts",
            "Starts of varnishd's child after its first, each with an empty cache",
            self.child_restarts.clone(),
        );
        copal.register("relay_up", "1 while the relay runs and answers", self.relay_up.clone());
        copal.register(
            "relay_restarts",
            "Starts of the relay after its first, each of which has cut its connections off",
            self.relay_restarts.clone(),
        );
        self.access_log.register(copal);
        copal.register("vcls", "VCLs by state: active, labelled, failed or old", self.vcls.clone());
        self.registry.register_collector(Box::new(Arc::clone(&self.varnish)));
    }

    /// Notes that a bundle came into force, `took` after it arrived.
    pub fn reloaded(&self, took: Duration) {
        self.reloads.get_or_create(&vec![("result", SUCCESS.to_owned())]).inc();
        self.duration.observe(took.as_secs_f64());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_success.set(now.as_secs_f64());
    }

    /// Notes that something of a bundle could not be loaded.
    pub fn reload_failed(&self) {
        self.reloads.get_or_create(&vec![("result", FAILURE.to_owned())]).inc();
    }

    /// Notes that varnishd's child was started once more after its first start.
    pub fn child_restarted(&self) {
        self.child_restarts.inc();
    }

    /// Notes that the relay was started once more after its first start.
    pub fn relay_restarted(&self) {
        self.relay_restarts.inc();
    }

    /// Notes that lines of the access log were written.
    pub fn access_lines_written(&self, lines: u64) {
        self.access_log.lines.inc_by(lines);
    }

    /// Notes that lines of the access log were dropped.
    pub fn access_lines_dropped(&self, lines: u64) {
        self.access_log.dropped.inc_by(lines);
    }

    /// Notes that the access log's reader ended unasked.
    pub fn access_log_restarted(&self) {
        self.access_log.restarts.inc();
    }

    /// Notes that varnishd's log was not read fast enough.
    pub fn access_log_overrun(&self) {
        self.access_log.overruns.inc();
    }

    /// The page, in the `OpenMetrics` text format. The relay's page is made part of it.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn page(
        &self,
        status: &Status,
        counters: Option<Arc<Counters>>,
        relay: Option<&str>,
    ) -> Result<String, fmt::Error> {
        let _one_page = self.one_page.lock().unwrap_or_else(PoisonError::into_inner);
        self.observe(status);
        self.varnish.show(counters);
        self.relay_up.set(relay.is_some().into());
        // Each page ends in `# EOF`, and only the end of the whole may say so.
        let mut page = relay.map_or("", |relay| relay.trim_end().trim_end_matches(END)).to_owned();
        encode(&mut page, &self.registry)?;
        Ok(page)
    }

    fn observe(&self, status: &Status) {
        self.draining.set((status.state == State::Draining).into());
        self.ready.set(status.not_ready().is_none().into());
        self.revision.clear();
        for (role, revision) in [("wanted", &status.wanted), ("loaded", &status.loaded)] {
            if let Some(revision) = revision {
                let labels = vec![("role", role.to_owned()), ("revision", revision.clone())];
                self.revision.get_or_create(&labels).set(1);
            }
        }
        for state in [VclState::Active, VclState::Labelled, VclState::Failed, VclState::Old] {
            let count = status.vcls.iter().filter(|vcl| vcl.state == state).count();
            let labels = vec![("state", state.name().to_owned())];
            self.vcls.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// What a page ends in.
const END: &str = "# EOF";

/// What is counted of the access log.
#[derive(Debug, Default)]
struct AccessLogCounters {
    lines: Counter,
    dropped: Counter,
    restarts: Counter,
    overruns: Counter,
}

impl AccessLogCounters {
    fn register(&self, copal: &mut Registry) {
        copal.register("access_log_lines", "Lines of the access log that were written", self.lines.clone());
        copal.register(
            "access_log_dropped",
            "Lines of the access log that standard output did not take in time",
            self.dropped.clone(),
        );
        copal.register(
            "access_log_restarts",
            "Starts of the access log's reader after it ended unasked",
            self.restarts.clone(),
        );
        copal.register(
            "access_log_overruns",
            "Gaps in the access log, since varnishd wrote its log faster than it was read",
            self.overruns.clone(),
        );
    }
}

const SUCCESS: &str = "success";
const FAILURE: &str = "failure";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_says_when_varnishd_cannot_be_read() {
        let page = Metrics::default().page(&Status::default(), None, None).unwrap();
        assert!(page.contains("varnish_up 0\n") && page.contains("copal_ready 0\n"), "{page}");
        assert!(page.ends_with("# EOF\n"));
    }

    #[test]
    fn the_relays_page_becomes_part_of_ours() {
        let relay = "# TYPE copal_relay_connections counter\ncopal_relay_connections_total 3\n# EOF\n";
        let page = Metrics::default().page(&Status::default(), None, Some(relay)).unwrap();
        assert!(page.contains("copal_relay_connections_total 3\n# HELP "), "{page}");
        assert!(page.contains("\ncopal_relay_up 1\n"), "{page}");
        assert_eq!((page.matches("# EOF").count(), page.ends_with("# EOF\n")), (1, true));
    }

    #[test]
    fn reloads_are_counted_by_result() {
        let metrics = Metrics::default();
        metrics.reloaded(Duration::from_millis(50));
        metrics.reload_failed();
        metrics.child_restarted();
        let page = metrics.page(&Status::default(), None, None).unwrap();
        for line in [
            "copal_reloads_total{result=\"success\"} 1",
            "copal_reloads_total{result=\"failure\"} 1",
            "copal_reload_duration_seconds_count 1",
            "copal_varnish_child_restarts_total 1",
        ] {
            assert!(page.lines().any(|found| found == line), "no {line:?} in\n{page}");
        }
    }
}
