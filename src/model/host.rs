//! Host names and the patterns that Gateways and routes give for them.

use std::cmp::Ordering;
use std::fmt;

use super::text::InvalidText;

/// A host name without a wildcard, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hostname(String);

impl Hostname {
    /// Checks a precise host name (Gateway API, PreciseHostname).
    ///
    /// # Errors
    /// When it is empty, too long, or has a label with anything but lower-case letters, digits and inner `-`.
    pub fn new(name: &str) -> Result<Self, InvalidText> {
        let label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if name.len() > 253 || !name.split('.').all(label) {
            return Err(InvalidText::PreciseHostname(name.to_owned()));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which hosts are meant: one, all below a domain, or all (Gateway API, Hostname).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This host.
    Exact(Hostname),
    /// `*.DOMAIN`: every host with at least one label before the domain, and not the domain itself.
    Wildcard(Hostname),
    /// No host name given: every host.
    Any,
}

impl HostPattern {
    /// Reads `spec.hostname` or an entry of `spec.hostnames`; an empty text means every host.
    ///
    /// # Errors
    /// When it is no host name, with or without `*.` before it.
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        if text.is_empty() {
            return Ok(Self::Any);
        }
        let pattern = match text.strip_prefix("*.") {
            Some(domain) => Hostname::new(domain).map(Self::Wildcard),
            None => Hostname::new(text).map(Self::Exact),
        };
        pattern.map_err(|_| InvalidText::Hostname(text.to_owned()))
    }

    /// Whether a host, normalised by [`normalise`], is meant.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name.as_str() == host,
            Self::Wildcard(domain) => is_below(host, domain.as_str()),
            Self::Any => true,
        }
    }

    /// The hosts that both mean, if there are any: always one of the two.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        if self.contains(other) {
            Some(other.clone())
        } else if other.contains(self) {
            Some(self.clone())
        } else {
            None
        }
    }

    /// Whether all that `other` means is meant by this one too.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (_, Self::Any) | (Self::Exact(_), Self::Wildcard(_)) => false,
            (Self::Exact(a), Self::Exact(b)) => a == b,
            (Self::Wildcard(domain), Self::Exact(name)) => is_below(name.as_str(), domain.as_str()),
            (Self::Wildcard(a), Self::Wildcard(b)) => a == b || is_below(b.as_str(), a.as_str()),
        }
    }

    /// The patterns that contain this one, the most specific first, without itself.
    pub fn wider(&self) -> impl Iterator<Item = HostPattern> + '_ {
        let name = match self {
            Self::Exact(name) | Self::Wildcard(name) => name.as_str(),
            Self::Any => "",
        };
        let domains = name.match_indices('.').map(|(dot, _)| name.get(dot + 1..).unwrap_or_default());
        let any = (!matches!(self, Self::Any)).then_some(Self::Any);
        domains.map(|domain| Self::Wildcard(Hostname(domain.to_owned()))).chain(any)
    }

    fn specificity(&self) -> (u8, usize) {
        match self {
            Self::Exact(name) => (2, name.as_str().len()),
            Self::Wildcard(domain) => (1, domain.as_str().len()),
            Self::Any => (0, 0),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Exact(name) | Self::Wildcard(name) => name.as_str(),
            Self::Any => "",
        }
    }
}

fn is_below(host: &str, domain: &str) -> bool {
    host.strip_suffix(domain).and_then(|rest| rest.strip_suffix('.')).is_some_and(|label| !label.is_empty())
}

/// The most specific pattern first: exact before wildcard before any, then the longer one.
impl Ord for HostPattern {
    fn cmp(&self, other: &Self) -> Ordering {
        other.specificity().cmp(&self.specificity()).then_with(|| self.text().cmp(other.text()))
    }
}

impl PartialOrd for HostPattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name.as_str()),
            Self::Wildcard(domain) => write!(f, "*.{domain}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// The form in which a `Host` header is looked up: lower case, without port and trailing dot. The header
/// itself reaches the backend as it was sent (Gateway API, `HTTPRouteSpec.hostnames`).
#[must_use]
pub fn normalise(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let digits = host.trim_end_matches(|c: char| c.is_ascii_digit());
    let name = match digits.strip_suffix(':') {
        Some(name) => name,
        None => host.as_str(),
    };
    name.strip_suffix('.').unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> HostPattern {
        HostPattern::parse(text).unwrap()
    }

    #[test]
    fn intersections() {
        for (a, b, both) in [
            ("", "a.test", Some("a.test")),
            ("*.test", "a.test", Some("a.test")),
            ("*.test", "b.a.test", Some("b.a.test")),
            ("*.test", "*.a.test", Some("*.a.test")),
            ("*.test", "test", None),
            ("a.test", "b.test", None),
            ("*.a.test", "*.b.test", None),
            ("*.a.test", "xa.test", None),
        ] {
            let expected = both.map(pattern);
            assert_eq!(pattern(a).intersection(&pattern(b)), expected, "{a} {b}");
            assert_eq!(pattern(b).intersection(&pattern(a)), expected, "{b} {a}");
        }
    }

    #[test]
    fn wider_patterns_come_most_specific_first() {
        let wider: Vec<String> = pattern("a.b.test").wider().map(|p| p.to_string()).collect();
        assert_eq!(wider, ["*.b.test", "*.test", "*"]);
        assert_eq!(pattern("*.b.test").wider().count(), 2);
        assert_eq!(HostPattern::Any.wider().count(), 0);
    }

    #[test]
    fn order_is_by_specificity() {
        let mut patterns = ["", "*.test", "a.test", "*.long.test", "longer.test"].map(pattern);
        patterns.sort();
        assert_eq!(patterns.map(|p| p.to_string()), ["longer.test", "a.test", "*.long.test", "*.test", "*"]);
    }

    #[test]
    fn hosts_are_normalised_for_look_up() {
        for (host, normal) in [
            ("A.Test:80", "a.test"),
            ("a.test.", "a.test"),
            ("a.test.:8080", "a.test"),
            ("a:", "a"),
            ("[::1]:80", "[::1]"),
        ] {
            assert_eq!(normalise(host), normal);
        }
    }

    #[test]
    fn what_is_no_host_name_is_refused() {
        for text in ["*", "*.", "a..b", "A.test", "a_b", "-a", "*.*.a", "a b", "a\"b"] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }
}
