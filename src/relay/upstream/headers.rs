//! What of a head is passed on, and how it is written for HTTP/2. Pure.

use hyper::header::{
    CONNECTION, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{Uri, Version};

/// Headers that are about one connection (RFC 9110, section 7.6.1), beside those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 4] = [
    CONNECTION,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The elements of all lines of a header that is a list.
fn elements<'a>(headers: &'a HeaderMap, list: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(list).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

/// Whether the client asks for another protocol, WebSocket say.
#[must_use]
pub fn asks_for_upgrade(headers: &HeaderMap) -> bool {
    let mut options = elements(headers, &CONNECTION);
    headers.contains_key(UPGRADE) && options.any(|option| option.eq_ignore_ascii_case("upgrade"))
}

/// Removes what is about the connection that the head came on. `Expect` is answered where the request is received.
pub fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = elements(headers, &CONNECTION)
        .filter_map(|name| name.parse().ok())
        // Whoever names these would take away what frames the message or says where it goes.
        .filter(|name| *name != HOST && *name != hyper::header::CONTENT_LENGTH && *name != TE)
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP).chain([&UPGRADE, &EXPECT]) {
        headers.remove(name);
    }
    let wants_trailers = elements(headers, &TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
    headers.remove(TE);
    if wants_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Says again that the connection is to change its protocol, after [`strip`].
pub fn keep_upgrade(headers: &mut HeaderMap, protocol: Option<HeaderValue>) {
    if let Some(protocol) = protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

/// Rewrites a request for HTTP/2: `Host` becomes `:authority`. Says no if it has no usable host.
#[must_use]
pub fn for_http2(parts: &mut Parts, is_tls: bool) -> bool {
    let host = parts.headers.remove(HOST);
    let authority = match host {
        Some(host) => Authority::try_from(host.as_bytes()).ok(),
        None => parts.uri.authority().cloned(),
    };
    let Some(authority) = authority else { return false };
    let mut uri = hyper::http::uri::Parts::default();
    uri.scheme = Some(if is_tls { Scheme::HTTPS } else { Scheme::HTTP });
    uri.authority = Some(authority);
    let path = parts.uri.path_and_query().cloned();
    uri.path_and_query = Some(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    parts.version = Version::HTTP_2;
    Uri::from_parts(uri).map(|uri| parts.uri = uri).is_ok()
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn parts(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/a?b=c");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn what_is_about_the_connection_goes() {
        let mut parts = parts(&[
            ("connection", "X-Gone, close, host, content-length"),
            ("x-gone", "1"),
            ("keep-alive", "5"),
            ("proxy-connection", "close"),
            ("te", "gzip, Trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
            ("x-stays", "1"),
            ("host", "a.example"),
            ("content-length", "3"),
        ]);
        strip(&mut parts.headers);
        let mut left: Vec<_> =
            parts.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [("content-length", "3"), ("host", "a.example"), ("te", "trailers"), ("x-stays", "1")]
        );
    }

    #[test]
    fn host_becomes_authority() {
        let mut parts = parts(&[("host", "a.example:81")]);
        assert!(for_http2(&mut parts, true));
        assert_eq!((parts.uri.to_string().as_str(), parts.headers.len()), ("https://a.example:81/a?b=c", 0));
    }

    #[test]
    fn a_request_without_a_usable_host_is_refused() {
        assert!(!for_http2(&mut parts(&[]), false));
        assert!(!for_http2(&mut parts(&[("host", "a b")]), false));
    }

    #[test]
    fn an_upgrade_needs_both_headers() {
        let asks = |headers: &[(&str, &str)]| asks_for_upgrade(&parts(headers).headers);
        assert!(asks(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]));
        assert!(!asks(&[("upgrade", "websocket")]) && !asks(&[("connection", "upgrade")]));
    }
}
