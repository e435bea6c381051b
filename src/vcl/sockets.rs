//! How VCL tells apart the ports that requests come in on.
//!
//! varnishd has a socket for each HTTP port, known by its name. What comes in on TLS ports arrives through the relay's
//! one socket, and has the port in the address that the relay tells (PROXY protocol, section 2.2).

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
    /// Its name; that of its socket, where it has one of its own.
    pub(super) fn name(self) -> String {
        format!("{}-{}", self.scheme.as_str(), self.number)
    }

    /// The ports of a model.
    pub(super) fn all(model: &Model) -> impl Iterator<Item = Self> + '_ {
        model.ports.keys().map(|number| Self { number: *number, scheme: model.scheme(*number) })
    }
}

/// Which sockets there are. With one port, nothing is to be told apart and requests need not be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sockets {
    /// Those of one port.
    One(Scheme),
    /// Those of several HTTP ports.
    Direct,
    /// The relay's, for several ports.
    Relay,
    /// The relay's and others.
    Both,
}

impl Sockets {
    pub(super) fn of(model: &Model) -> Self {
        let tls = Port::all(model).filter(|port| port.scheme == Scheme::Https).count();
        match (model.ports.len(), tls) {
            (0 | 1, 0) => Self::One(Scheme::Http),
            (1, _) => Self::One(Scheme::Https),
            (_, 0) => Self::Direct,
            (ports, tls) if ports == tls => Self::Relay,
            _ => Self::Both,
        }
    }

    /// The condition for a port; none where there is no other.
    pub(super) fn condition(self, port: Port) -> Option<VclExpr> {
        let direct = || format!("local.socket == {}", VclString::new(&port.name()));
        match (self, port.scheme) {
            (Self::One(_), _) => None,
            (_, Scheme::Http) => Some(VclExpr::of(direct())),
            (Self::Relay, Scheme::Https) => self.relayed_condition(port),
            (_, Scheme::Https) => Some(VclExpr::of(format!("{} && {}", through_relay("=="), number(port)))),
        }
    }

    /// The condition for a port of requests that came through the relay; none where there is no other port.
    pub(super) fn relayed_condition(self, port: Port) -> Option<VclExpr> {
        (!matches!(self, Self::One(_))).then(|| VclExpr::of(number(port)))
    }

    /// Whether the table `requests` has what begins with a request's port, `host` (an expression) and URL. Between the
    /// last two is a space, which no host has: else a part of a host's name could be sent as part of the URL.
    pub(super) fn finds(self, host: &'static str) -> VclExpr {
        let request = |port: &str| format!(r#"requests.hasprefix({port}{host} + " " + req.url + "/")"#);
        let direct = || request(r#"local.socket + "/" + "#);
        let relayed = || request(r#""https-" + std.port(server.ip) + "/" + "#);
        VclExpr::of(match self {
            Self::One(_) => request(""),
            Self::Direct => direct(),
            Self::Relay => relayed(),
            Self::Both => format!(
                "({} && {})\n\t\t|| ({} && {})",
                through_relay("!="),
                direct(),
                through_relay("=="),
                relayed()
            ),
        })
    }

    /// Whether a request came through the relay.
    pub(super) fn relayed() -> VclExpr {
        VclExpr::of(through_relay("=="))
    }

    /// The scheme, where all ports have one.
    pub(super) fn scheme(self) -> Option<VclString> {
        let scheme = match self {
            Self::One(scheme) => Some(scheme),
            Self::Direct => Some(Scheme::Http),
            Self::Relay => Some(Scheme::Https),
            Self::Both => None,
        };
        scheme.map(|scheme| VclString::new(scheme.as_str()))
    }
}

fn number(port: Port) -> String {
    format!("std.port(server.ip) == {}", port.number)
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
        assert_eq!(sockets(&[80, 81], &[]), Sockets::Direct);
        assert_eq!(sockets(&[], &[443, 8443]), Sockets::Relay);
        assert_eq!(sockets(&[80], &[443]), Sockets::Both);
    }
}
