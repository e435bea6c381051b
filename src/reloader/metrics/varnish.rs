//! varnishd's own counters, under the names that they have for Prometheus.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::super::stats::Counters;

/// Passes varnishd's counters on.
#[derive(Debug, Default)]
pub(super) struct VarnishCollector {
    counters: Mutex<Option<Arc<Counters>>>,
}

impl VarnishCollector {
    /// These are the counters from now on; none if they could not be read.
    pub(super) fn show(&self, counters: Option<Arc<Counters>>) {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = counters;
    }
}

impl Collector for VarnishCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone();
        gauge(
            &mut encoder,
            "varnish_up",
            "1 if varnishstat could read varnishd's counters",
            counters.is_some(),
        )?;
        for (name, metric) in metrics(counters.as_deref().unwrap_or(&Counters::new())) {
            let kind = if metric.is_counter { MetricType::Counter } else { MetricType::Gauge };
            let mut encoder = encoder.encode_descriptor(&name, &metric.help, None, kind)?;
            for (label, value) in &metric.samples {
                match label {
                    Some((key, label)) => {
                        let labels = [(*key, label.as_str())];
                        write(&mut encoder.encode_family(&labels)?, metric.is_counter, *value)?;
                    }
                    None => write(&mut encoder, metric.is_counter, *value)?,
                }
            }
        }
        Ok(())
    }
}

fn gauge(encoder: &mut DescriptorEncoder, name: &str, help: &str, value: bool) -> Result<(), fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&u64::from(value))
}

fn write(encoder: &mut MetricEncoder, is_counter: bool, value: u64) -> Result<(), fmt::Error> {
    if is_counter {
        encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
    } else {
        encoder.encode_gauge(&value)
    }
}

/// One metric, with a sample for each value of its label.
#[derive(Debug, Default, PartialEq, Eq)]
struct Metric {
    help: String,
    is_counter: bool,
    samples: BTreeMap<Option<(&'static str, String)>, u64>,
}

/// Gives varnishd's counters their names for Prometheus. Several counters with one name are added up: a
/// backend has one in each version of its VCL that still serves requests.
fn metrics(counters: &Counters) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for (key, counter) in counters {
        let Some((name, label)) = name(key).filter(|_| matches!(counter.flag.as_str(), "c" | "g")) else {
            continue;
        };
        let metric = metrics.entry(name).or_default();
        metric.help.clone_from(&counter.description);
        metric.is_counter = counter.flag == "c";
        let sample = metric.samples.entry(label).or_default();
        *sample = sample.saturating_add(counter.value);
    }
    metrics
}

type Named = (String, Option<(&'static str, String)>);

/// `MAIN.x` is `varnish_main_x`; `SMA.s0.x` is `varnish_sma_x{id="s0"}`; `VBE.vcl.name.x` is
/// `varnish_backend_x{backend="name"}`.
fn name(key: &str) -> Option<Named> {
    let (group, rest) = key.split_once('.')?;
    match (group, rest.rsplit_once('.')) {
        ("MAIN" | "MGT", _) => Some((format!("varnish_{}_{rest}", group.to_lowercase()), None)),
        ("VBE", Some((vcl_and_backend, field))) => {
            let (_, backend) = vcl_and_backend.split_once('.')?;
            Some((format!("varnish_backend_{field}"), Some(("backend", backend.to_owned()))))
        }
        (_, Some((id, field))) => {
            Some((format!("varnish_{}_{field}", group.to_lowercase()), Some(("id", id.to_owned()))))
        }
        (_, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::state::Status;
    use super::super::super::stats;
    use super::super::Metrics;
    use super::*;

    fn counters(entries: &[(&str, &str, u64)]) -> Counters {
        let counter =
            |flag: &str, value| stats::Counter { description: "help".into(), flag: flag.into(), value };
        entries.iter().map(|(name, flag, value)| ((*name).to_owned(), counter(flag, *value))).collect()
    }

    fn page(entries: &[(&str, &str, u64)]) -> String {
        Metrics::default().page(&Status::default(), Some(Arc::new(counters(entries))), None).unwrap()
    }

    #[test]
    fn counters_and_gauges_are_told_apart() {
        let page =
            page(&[("MAIN.client_req", "c", 3), ("MAIN.n_object", "g", 4), ("MGT.child_start", "c", 1)]);
        for line in [
            "# HELP varnish_main_client_req help",
            "# TYPE varnish_main_client_req counter",
            "varnish_main_client_req_total 3",
            "# TYPE varnish_main_n_object gauge",
            "varnish_main_n_object 4",
            "varnish_mgt_child_start_total 1",
            "varnish_up 1",
        ] {
            assert!(page.lines().any(|found| found == line), "no {line:?} in\n{page}");
        }
    }

    #[test]
    fn pools_and_storages_are_labels() {
        let page =
            page(&[("MEMPOOL.sess0.live", "g", 1), ("MEMPOOL.sess1.live", "g", 2), ("SMA.s0.c_req", "c", 5)]);
        assert!(
            page.contains("varnish_mempool_live{id=\"sess0\"} 1\nvarnish_mempool_live{id=\"sess1\"} 2\n"),
            "{page}"
        );
        assert!(page.contains("varnish_sma_c_req_total{id=\"s0\"} 5\n"), "{page}");
        assert_eq!(page.matches("# TYPE varnish_mempool_live gauge").count(), 1);
    }

    #[test]
    fn a_backend_is_summed_over_the_versions_of_its_vcl() {
        let page = page(&[
            ("VBE.copal_s01_a.web_1.req", "c", 3),
            ("VBE.copal_s01_b.web_1.req", "c", 4),
            ("VBE.copal_s01_b.web_2.req", "c", 5),
            ("VBE.copal_s01_b.web_2.happy", "b", 255),
        ]);
        assert!(page.contains("varnish_backend_req_total{backend=\"web_1\"} 7\n"), "{page}");
        assert!(page.contains("varnish_backend_req_total{backend=\"web_2\"} 5\n"), "{page}");
        assert!(!page.contains("happy"));
    }
}
