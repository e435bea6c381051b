//! How VCL tells apart the ports that requests come in on.
//!
//! varnishd has a socket for each HTTP port that was there when it started, known by its name. What comes in on TLS
//! ports and on HTTP ports that came later arrives through the relay's one socket, and has the port in the address that
//! the relay tells (PROXY protocol, section 2.2). A port has one protocol, however requests come in.

use std::collections::BTreeSet;

use super::literal::{VclExpr, VclString};
use crate::model::{Model, Scheme};

/// varnishd's name of the socket that the relay connects to.
const RELAY: &str = "relay";

/// A port that requests come in on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    pub number: u16,
    pub scheme: Scheme,
}

impl Port {
    /// What it is called in look-ups: as the socket of an HTTP port, whatever is spoken there.
    pub(super) fn name(self) -> String {
        format!("http-{}", self.number)
    }

    /// The ports of a model.
    pub(super) fn all(model: &Model) -> impl Iterator<Item = Self> + '_ {
        model.ports.keys().map(|number| Self { number: *number, scheme: model.scheme(*number) })
    }
}

/// Which ports there are. With one, nothing is to be told apart and requests need not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sockets {
    /// One.
    One(Scheme),
    /// Several HTTP ports.
    Http,
    /// Several TLS ports, all of the relay's.
    Tls,
    /// TLS ports and these HTTP ports.
    Both(BTreeSet<u16>),
}

impl Sockets {
    pub(super) fn of(model: &Model) -> Self {
        let http = Port::all(model).filter(|port| port.scheme == Scheme::Http);
        let http: BTreeSet<_> = http.map(|port| port.number).collect();
        match (model.ports.len(), http.len()) {
            (1, 0) => Self::One(Scheme::Https),
            (0 | 1, _) => Self::One(Scheme::Http),
            (_, 0) => Self::Tls,
            (ports, http) if ports == http => Self::Http,
            _ => Self::Both(http),
        }
    }

    /// The condition for a port; none where there is no other.
    pub(super) fn condition(&self, port: Port) -> Option<VclExpr> {
        let relayed = || format!("{} && {}", through_relay("=="), number("==", port.number));
        match (self, port.scheme) {
            (Self::One(_), _) => None,
            (Self::Tls, _) => self.relayed_condition(port),
            (_, Scheme::Https) => Some(VclExpr::of(relayed())),
            (_, Scheme::Http) => {
                let own = VclString::new(&port.name());
                Some(VclExpr::of(format!("local.socket == {own} || ({})", relayed())))
            }
        }
    }

    /// The condition for a port of requests that came through the relay; none where there is no other port.
    pub(super) fn relayed_condition(&self, port: Port) -> Option<VclExpr> {
        (!matches!(self, Self::One(_))).then(|| VclExpr::of(number("==", port.number)))
    }

    /// Whether the table `requests` has what begins with a request's port, `host` (an expression) and URL. Between the
    /// last two is a space, which no host has: else a part of a host's name could be sent as part of the URL.
    pub(super) fn finds(&self, host: &'static str) -> VclExpr {
        let request = |port: &str| format!(r#"requests.hasprefix({port}{host} + " " + req.url + "/")"#);
        let relayed = || request(r#""http-" + std.port(server.ip) + "/" + "#);
        VclExpr::of(match self {
            Self::One(_) => request(""),
            Self::Tls => relayed(),
            Self::Http | Self::Both(_) => format!(
                "({} && {})\n\t\t|| ({} && {})",
                through_relay("!="),
                request(r#"local.socket + "/" + "#),
                through_relay("=="),
                relayed()
            ),
        })
    }

    /// Whether a request came through the relay, where that is not so for all that may be misdirected.
    pub(super) fn relayed(&self) -> Option<VclExpr> {
        matches!(self, Self::Both(_)).then(|| VclExpr::of(through_relay("==")))
    }

    /// The scheme, where all ports have one.
    pub(super) fn scheme(&self) -> Option<VclString> {
        let scheme = match self {
            Self::One(scheme) => Some(scheme),
            Self::Http => Some(&Scheme::Http),
            Self::Tls => Some(&Scheme::Https),
            Self::Both(_) => None,
        };
        scheme.map(|scheme| VclString::new(scheme.as_str()))
    }

    /// Whether a request's scheme is `https`.
    pub(super) fn is_https(&self) -> VclExpr {
        let http = if let Self::Both(http) = self { http.iter().copied().collect() } else { Vec::new() };
        let others = http.into_iter().map(|port| number("!=", port));
        let parts: Vec<_> = std::iter::once(through_relay("==")).chain(others).collect();
        VclExpr::joined(&parts, " && ")
    }
}

fn number(operator: &'static str, port: u16) -> String {
    format!("std.port(server.ip) {operator} {port}")
}

fn through_relay(operator: &'static str) -> String {
    format!("local.socket {operator} {}", VclString::new(RELAY))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{TlsPort, VirtualHosts};

    fn sockets(http: &[u16], https: &[u16]) -> Sockets {
        let mut model = Model::default();
        model.ports.extend(http.iter().chain(https).map(|port| (*port, VirtualHosts::new())));
        model.tls.extend(https.iter().map(|port| (*port, TlsPort::default())));
        Sockets::of(&model)
    }

    #[test]
    fn requests_are_asked_for_their_port_only_where_there_are_several() {
        assert_eq!(sockets(&[], &[]), Sockets::One(Scheme::Http));
        assert_eq!(sockets(&[80], &[]), Sockets::One(Scheme::Http));
        assert_eq!(sockets(&[], &[443]), Sockets::One(Scheme::Https));
        assert_eq!(sockets(&[80, 81], &[]), Sockets::Http);
        assert_eq!(sockets(&[], &[443, 8443]), Sockets::Tls);
        assert_eq!(sockets(&[80], &[443]), Sockets::Both([80].into()));
    }

    #[test]
    fn the_scheme_follows_from_the_port_and_not_from_the_way() {
        let both = sockets(&[80, 81], &[443]);
        let text = |it: Option<VclExpr>| it.unwrap().to_string();
        let port = |number, scheme| Port { number, scheme };
        assert_eq!(
            text(both.condition(port(80, Scheme::Http))),
            r#"local.socket == "http-80" || (local.socket == "relay" && std.port(server.ip) == 80)"#
        );
        assert_eq!(
            text(both.condition(port(443, Scheme::Https))),
            r#"local.socket == "relay" && std.port(server.ip) == 443"#
        );
        assert_eq!(
            both.is_https().to_string(),
            r#"local.socket == "relay" && std.port(server.ip) != 80 && std.port(server.ip) != 81"#
        );
        assert!(both.scheme().is_none());
        assert_eq!(sockets(&[80, 81], &[]).scheme(), Some(VclString::new("http")));
    }
}
