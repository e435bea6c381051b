//! The operator's metrics.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::outbox::Written;
use crate::snapshot::Kind;

type Labels = Vec<(&'static str, String)>;

/// All metrics of the operator.
#[derive(Debug)]
pub struct Metrics {
    registry: Mutex<Registry>,
    translate: Histogram,
    render: Histogram,
    statuses: Family<Labels, Counter>,
    planes: Gauge,
    leading: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        // 0.1 ms to 3 s: from one route to tens of thousands.
        let times = || Histogram::new(exponential_buckets(0.0001, 2.0, 16));
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("copal_operator")),
            translate: times(),
            render: times(),
            statuses: Family::default(),
            planes: Gauge::default(),
            leading: Gauge::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&self) {
        let mut registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        registry.register_with_unit(
            "translate_duration",
            "Reading all resources anew after a change",
            Unit::Seconds,
            self.translate.clone(),
        );
        registry.register_with_unit(
            "render_duration",
            "Rendering the VCL of the data planes that changed",
            Unit::Seconds,
            self.render.clone(),
        );
        registry.register(
            "status_writes",
            "Statuses written, by kind and result: done, gone or failed",
            self.statuses.clone(),
        );
        registry.register("data_planes", "Gateways that have a data plane", self.planes.clone());
        registry.register(
            "leading",
            "1 while this operator holds the lease and writes",
            self.leading.clone(),
        );
    }

    /// All resources have been translated, and all data planes rendered that changed.
    pub fn translated(&self, translate: Duration, render: Duration) {
        self.translate.observe(translate.as_secs_f64());
        self.render.observe(render.as_secs_f64());
    }

    /// A status has been written, or not.
    pub fn status_written(&self, kind: Kind, outcome: Written) {
        let result = match outcome {
            Written::Done => "done",
            Written::Gone => "gone",
            Written::Failed => "failed",
        };
        self.statuses.get_or_create(&vec![("kind", kind.to_string()), ("result", result.to_owned())]).inc();
    }

    /// So many data planes there are.
    pub fn planes(&self, count: usize) {
        self.planes.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// Whether this operator writes.
    pub fn leading(&self, leading: bool) {
        self.leading.set(leading.into());
    }

    /// The page, in the `OpenMetrics` text format.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn page(&self) -> Result<String, fmt::Error> {
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut page = String::new();
        encode(&mut page, &registry)?;
        Ok(page)
    }
}
