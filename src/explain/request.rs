//! A request to be explained.

/// Why a request cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// Not a URL of this gateway's schemes.
    #[error("{0:?} is not a URL: expected http://HOST[:PORT][/PATH][?QUERY]")]
    Url(String),
    /// Not a header line.
    #[error("{0:?} is not a header: expected \"Name: value\"")]
    Header(String),
}

/// A request as a client would send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
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
    /// Reads a URL and header lines as curl takes them. A `Host` line stands before the URL's host.
    ///
    /// # Errors
    /// When the URL or a header line cannot be read.
    pub fn parse(method: &str, url: &str, lines: &[String]) -> Result<Self, InvalidRequest> {
        let invalid = || InvalidRequest::Url(url.to_owned());
        let rest = url.strip_prefix("http://").ok_or_else(invalid)?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at_checked(end).ok_or_else(invalid)?;
        let target = target.split('#').next().unwrap_or_default();
        let port = match authority.rsplit_once(':') {
            Some((_, port)) if !port.ends_with(']') => port.parse().map_err(|_| invalid())?,
            _ => 80,
        };
        let mut headers = lines.iter().map(|line| header_line(line)).collect::<Result<Vec<_>, _>>()?;
        if headers.iter().all(|(name, _)| name != "host") {
            headers.push(("host".into(), authority.to_owned()));
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        Ok(Self { port, method: method.to_owned(), url: format!("{slash}{target}"), headers })
    }

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

fn header_line(line: &str) -> Result<(String, String), InvalidRequest> {
    let (name, value) = line.split_once(':').ok_or_else(|| InvalidRequest::Header(line.to_owned()))?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
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
    fn urls() {
        for (url, port, host, target) in [
            ("http://a.test", 80, "a.test", "/"),
            ("http://a.test:8080/x?y=1#z", 8080, "a.test:8080", "/x?y=1"),
            ("http://a.test?y", 80, "a.test", "/?y"),
            ("http://[::1]/x", 80, "[::1]", "/x"),
        ] {
            let request = Request::parse("GET", url, &[]).unwrap();
            assert_eq!((request.port, request.host(), request.url.as_str()), (port, host, target));
        }
        for url in ["a.test", "https://a.test/", "http://a.test:x/", "http://a.test:99999/"] {
            assert!(Request::parse("GET", url, &[]).is_err(), "{url}");
        }
    }

    #[test]
    fn the_first_query_parameter_counts() {
        let request = Request::parse("GET", "http://a/?a%20b=1%202&a+b=3&c", &[]).unwrap();
        assert_eq!(request.query("a b"), Some("1%202"));
        assert_eq!(request.query("c"), Some(""));
        assert_eq!(request.query("d"), None);
        assert_eq!(decoded("%61%2F+%zz%"), "%61/ %zz%");
    }
}
