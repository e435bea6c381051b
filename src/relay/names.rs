//! Which of a listener's server names a client means. Pure.

use std::collections::BTreeMap;

/// Something for each server name: an exact one, `*.` and a domain, or the empty text for the rest.
#[derive(Clone, Debug)]
pub struct ServerNames<T> {
    exact: BTreeMap<String, T>,
    /// By the domain, without `*.`.
    below: BTreeMap<String, T>,
    default: Option<T>,
}

impl<T> Default for ServerNames<T> {
    fn default() -> Self {
        Self { exact: BTreeMap::new(), below: BTreeMap::new(), default: None }
    }
}

impl<T> FromIterator<(String, T)> for ServerNames<T> {
    fn from_iter<I: IntoIterator<Item = (String, T)>>(entries: I) -> Self {
        let mut names = Self::default();
        for (name, value) in entries {
            match name.strip_prefix("*.") {
                Some(domain) => drop(names.below.insert(domain.to_owned(), value)),
                None if name.is_empty() => names.default = Some(value),
                None => drop(names.exact.insert(name, value)),
            }
        }
        names
    }
}

impl<T> ServerNames<T> {
    /// The most specific entry for a client that asks for `name`, or for none: the exact one, then the one with the
    /// longest domain, in which `*` stands for one or more labels (Gateway API, `Listener.hostname`), then the
    /// default.
    #[must_use]
    pub fn find(&self, name: Option<&str>) -> Option<&T> {
        let name = name.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
        name.and_then(|name| self.find_named(&name)).or(self.default.as_ref())
    }

    fn find_named(&self, name: &str) -> Option<&T> {
        let exact = self.exact.get(name);
        exact.or_else(|| domains(name).find_map(|domain| self.below.get(domain)))
    }
}

/// The domains that a name is in, from the narrowest: `b.c` and `c` for `a.b.c`.
fn domains(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| Some(name.split_once('.')?.1)).skip(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> ServerNames<String> {
        names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect()
    }

    #[test]
    fn the_most_specific_name_is_found() {
        let names = names(&["a.example.com", "*.example.com", "*.x.example.com", "*.com", ""]);
        for (asked, found) in [
            (Some("a.example.com"), "a.example.com"),
            (Some("A.Example.COM"), "a.example.com"),
            (Some("a.example.com."), "a.example.com"),
            (Some("b.example.com"), "*.example.com"),
            (Some("b.a.example.com"), "*.example.com"),
            (Some("y.x.example.com"), "*.x.example.com"),
            (Some("x.example.com"), "*.example.com"),
            (Some("example.com"), "*.com"),
            (Some("com"), ""),
            (Some("example.org"), ""),
            (None, ""),
        ] {
            assert_eq!(names.find(asked).map(String::as_str), Some(found), "{asked:?}");
        }
    }

    #[test]
    fn without_a_default_others_find_nothing() {
        let names = names(&["a.example.com", "*.example.com"]);
        for asked in [Some("example.com"), Some("b.org"), Some(""), Some("."), None] {
            assert_eq!(names.find(asked), None, "{asked:?}");
        }
        assert_eq!(ServerNames::<u8>::default().find(Some("a")), None);
    }
}
