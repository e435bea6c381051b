//! `copal_relay_*`: the relay's part of the pod's metrics page.

use std::fmt;

use prometheus_client::encoding::EncodeLabelValue;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Labels<T> = [(&'static str, T); 1];

/// How a handshake ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Handshake {
    /// The client is in.
    Ok,
    /// It took too long.
    Timeout,
    /// There is no certificate for the name that the client asked for.
    NoCertificate,
    /// The client has to show a certificate, and showed none that is valid.
    ClientCertificate,
    /// The client closed the connection.
    Closed,
    /// They could not agree, or the client sent something else than TLS.
    TlsError,
}

impl Handshake {
    const ALL: [Self; 6] =
        [Self::Ok, Self::Timeout, Self::NoCertificate, Self::ClientCertificate, Self::Closed, Self::TlsError];

    /// As the label has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Timeout => "timeout",
            Self::NoCertificate => "no_certificate",
            Self::ClientCertificate => "client_certificate",
            Self::Closed => "closed",
            Self::TlsError => "tls_error",
        }
    }
}

impl EncodeLabelValue for Handshake {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), fmt::Error> {
        EncodeLabelValue::encode(&self.name(), encoder)
    }
}

/// What became of a client that is not varnishd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Passed {
    /// An endpoint has it.
    Ok,
    /// No route is there for its server name, or none with a backend.
    NoRoute,
    /// The backend that it fell to has no endpoint.
    NoEndpoint,
    /// No endpoint could be reached.
    Unreachable,
}

impl Passed {
    const ALL: [Self; 4] = [Self::Ok, Self::NoRoute, Self::NoEndpoint, Self::Unreachable];

    /// As the label has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NoRoute => "no_route",
            Self::NoEndpoint => "no_endpoint",
            Self::Unreachable => "unreachable",
        }
    }
}

/// Why an endpoint of varnishd's is not to be had, or not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamFailure {
    /// TCP failed.
    Connect,
    /// Connecting or the handshake took too long.
    Timeout,
    /// The endpoint's certificate is not accepted.
    Certificate,
    /// The handshake failed otherwise.
    Tls,
    /// An exchange broke off.
    Broken,
    /// Its TLS cannot be set up.
    Configuration,
    /// There are too many connections.
    Limit,
}

impl UpstreamFailure {
    const ALL: [Self; 7] = [
        Self::Connect,
        Self::Timeout,
        Self::Certificate,
        Self::Tls,
        Self::Broken,
        Self::Configuration,
        Self::Limit,
    ];

    /// As the label has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Certificate => "certificate",
            Self::Tls => "tls",
            Self::Broken => "broken",
            Self::Configuration => "configuration",
            Self::Limit => "limit",
        }
    }
}

/// What became of the copy of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mirrored {
    /// It was answered, whatever the status.
    Ok,
    /// It failed.
    Error,
    /// There were too many, or the mirror did not keep up.
    Dropped,
    /// It took too long.
    Timeout,
}

impl Mirrored {
    const ALL: [Self; 4] = [Self::Ok, Self::Error, Self::Dropped, Self::Timeout];

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Dropped => "dropped",
            Self::Timeout => "timeout",
        }
    }
}

/// All metrics of the relay.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    handshakes: Family<Labels<Handshake>, Counter>,
    resumed: Counter,
    connections: Counter,
    active: Gauge,
    varnish_failures: Counter,
    passed: Family<Labels<&'static str>, Counter>,
    reloads: Family<Labels<&'static str>, Counter>,
    certificates: Gauge,
    upstream_connections: Counter,
    upstream_active: Gauge,
    upstream_errors: Family<Labels<&'static str>, Counter>,
    mirrored: Family<Labels<&'static str>, Counter>,
}

const SUCCESS: &str = "success";
const FAILURE: &str = "failure";

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("copal_relay"),
            handshakes: Family::default(),
            resumed: Counter::default(),
            connections: Counter::default(),
            active: Gauge::default(),
            varnish_failures: Counter::default(),
            passed: Family::default(),
            reloads: Family::default(),
            certificates: Gauge::default(),
            upstream_connections: Counter::default(),
            upstream_active: Gauge::default(),
            upstream_errors: Family::default(),
            mirrored: Family::default(),
        };
        metrics.register();
        metrics.register_upstreams();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        for result in Handshake::ALL {
            self.handshakes.get_or_create(&[("result", result)]).inc_by(0);
        }
        for result in Passed::ALL {
            self.passed.get_or_create(&[("result", result.name())]).inc_by(0);
        }
        for result in [SUCCESS, FAILURE] {
            self.reloads.get_or_create(&[("result", result)]).inc_by(0);
        }
        let registry = &mut self.registry;
        registry.register("handshakes", "TLS handshakes with clients by result", self.handshakes.clone());
        registry.register(
            "resumed_handshakes",
            "Those of the successful handshakes that resumed an earlier session",
            self.resumed.clone(),
        );
        registry.register("connections", "Connections accepted from clients", self.connections.clone());
        registry.register(
            "active_connections",
            "Connections of clients at the moment, those in handshake included",
            self.active.clone(),
        );
        registry.register(
            "varnish_connection_failures",
            "Clients that were turned away because varnishd could not be reached",
            self.varnish_failures.clone(),
        );
        registry.register(
            "passthrough_connections",
            "Connections that go past varnishd, by what became of them",
            self.passed.clone(),
        );
        registry.register(
            "config_reloads",
            "Configurations by whether all of it can be used",
            self.reloads.clone(),
        );
        registry.register("certificates", "Certificates that can be presented", self.certificates.clone());
    }

    fn register_upstreams(&mut self) {
        for reason in UpstreamFailure::ALL {
            self.upstream_errors.get_or_create(&[("reason", reason.name())]).inc_by(0);
        }
        for result in Mirrored::ALL {
            self.mirrored.get_or_create(&[("result", result.name())]).inc_by(0);
        }
        let registry = &mut self.registry;
        let help = "Connections accepted from varnishd for backends behind the relay";
        registry.register("upstream_connections", help, self.upstream_connections.clone());
        let help = "Connections of varnishd's for backends behind the relay at the moment";
        registry.register("upstream_connections_active", help, self.upstream_active.clone());
        let help = "Failures of backends behind the relay by reason";
        registry.register("upstream_errors", help, self.upstream_errors.clone());
        registry.register("mirrored_requests", "Copies of requests by result", self.mirrored.clone());
    }

    /// Counts a connection of varnishd's for as long as the returned value lives.
    #[must_use]
    pub fn upstream_connection(&self) -> Active {
        self.upstream_connections.inc();
        self.upstream_active.inc();
        Active(self.upstream_active.clone())
    }

    /// Counts a failure of an endpoint.
    pub fn upstream_failed(&self, reason: UpstreamFailure) {
        self.upstream_errors.get_or_create(&[("reason", reason.name())]).inc();
    }

    /// Counts the end of a copy.
    pub fn mirrored(&self, result: Mirrored) {
        self.mirrored.get_or_create(&[("result", result.name())]).inc();
    }

    /// Counts the end of a handshake.
    pub fn handshake(&self, result: Handshake) {
        self.handshakes.get_or_create(&[("result", result)]).inc();
    }

    /// Counts a handshake that resumed a session.
    pub fn resumed(&self) {
        self.resumed.inc();
    }

    /// Counts a connection for as long as the returned value lives.
    #[must_use]
    pub fn connection(&self) -> Active {
        self.connections.inc();
        self.active.inc();
        Active(self.active.clone())
    }

    /// Counts a client that varnishd could not be reached for.
    pub fn varnish_failed(&self) {
        self.varnish_failures.inc();
    }

    /// Counts a client that is not varnishd's.
    pub fn passed(&self, result: Passed) {
        self.passed.get_or_create(&[("result", result.name())]).inc();
    }

    /// Notes a new configuration, and whether all of it can be used.
    pub fn configured(&self, certificates: usize, entirely: bool) {
        self.reloads.get_or_create(&[("result", if entirely { SUCCESS } else { FAILURE })]).inc();
        self.certificates.set(i64::try_from(certificates).unwrap_or(i64::MAX));
    }

    /// Notes a task that is of no use.
    pub fn refused(&self) {
        self.reloads.get_or_create(&[("result", FAILURE)]).inc();
    }

    /// The page, in the `OpenMetrics` text format.
    ///
    /// # Errors
    /// Never in practice: writing to a string does not fail.
    pub fn page(&self) -> Result<String, fmt::Error> {
        let mut page = String::new();
        encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// A connection that is counted as active.
#[derive(Debug)]
pub struct Active(Gauge);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_counted() {
        let metrics = Metrics::default();
        metrics.handshake(Handshake::NoCertificate);
        metrics.configured(3, true);
        let first = metrics.connection();
        drop(metrics.connection());
        let page = metrics.page().unwrap();
        for line in [
            "copal_relay_handshakes_total{result=\"ok\"} 0",
            "copal_relay_handshakes_total{result=\"no_certificate\"} 1",
            "copal_relay_connections_total 2",
            "copal_relay_active_connections 1",
            "copal_relay_config_reloads_total{result=\"success\"} 1",
            "copal_relay_certificates 3",
        ] {
            assert!(page.lines().any(|found| found == line), "no {line:?} in\n{page}");
        }
        drop(first);
        assert!(metrics.page().unwrap().contains("copal_relay_active_connections 0\n"));
    }
}
