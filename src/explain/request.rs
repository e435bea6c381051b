//! A request to be explained.

use crate::model::Scheme;

/// A request as a client would send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The URL's scheme.
    pub scheme: Scheme,
    /// The listener's port.
    pub port: u16,
    /// The method.
    pub method: String,
    /// Path and query, as in the request line.
    pub url: String,
    /// Header lines with names in lower case, `host` among them.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// A header's value; several lines are joined by commas.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<String> {
        let lines: Vec<_> =
            self.headers.iter().filter(|(key, _)| key == name).map(|(_, value)| value.as_str()).collect();
        (!lines.is_empty()).then(|| lines.join(","))
    }

    /// The `Host` header, empty if there is none.
    #[must_use]
    pub fn host(&self) -> &str {
        self.headers.iter().find(|(name, _)| name == "host").map_or("", |(_, value)| value)
    }

    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }

    /// The first value of a query parameter as it stands in the URL; names are compared decoded.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<&str> {
        let (_, query) = self.url.split_once('?')?;
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find(|(key, _)| decoded(key) == name).map(|(_, value)| value)
    }
}

/// Undoes percent-encoding. Unreserved characters (RFC 3986, section 2.3) need none; where they have it all the
/// same, they stay as they are.
pub(super) fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes().iter();
    while let Some(&byte) = rest.next() {
        let code = rest.as_slice().get(..2).and_then(|it| std::str::from_utf8(it).ok());
        let code = code.filter(|it| it.bytes().all(|b| b.is_ascii_hexdigit()));
        match (byte, code.and_then(|code| u8::from_str_radix(code, 16).ok())) {
            (b'+', _) => out.push(b' '),
            (b'%', Some(plain)) if !(plain.is_ascii_alphanumeric() || b"-._~".contains(&plain)) => {
                out.push(plain);
                rest.nth(1);
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_query_parameter_counts() {
        let url = "/?a%20b=1%202&a+b=3&c".into();
        let request =
            Request { scheme: Scheme::Http, port: 80, method: "GET".into(), url, headers: Vec::new() };
        assert_eq!(request.query("a b"), Some("1%202"));
        assert_eq!(request.query("c"), Some(""));
        assert_eq!(request.query("d"), None);
        assert_eq!(decoded("%61%2F+%zz%"), "%61/ %zz%");
    }
}
