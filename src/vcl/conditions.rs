//! What a request must be, as VCL conditions.

use super::literal::{VclExpr, VclHeader, VclRegex, VclString, regex_escape};
use crate::model::{HeaderMatch, QueryMatch, RouteMatch, ValueMatch};

/// The condition that a request on the match's path must fulfil besides; `None` if every request does.
pub(super) fn condition(it: &RouteMatch) -> Option<VclExpr> {
    let method = it.method.iter().map(|method| format!("req.method == {}", VclString::new(method.as_str())));
    let headers = it.headers.iter().map(header);
    let query = it.query.iter().map(query);
    let all: Vec<_> = method.chain(headers).chain(query).collect();
    (!all.is_empty()).then(|| VclExpr::joined(&all, " && "))
}

fn header(it: &HeaderMatch) -> String {
    let name = VclHeader::new(&it.name);
    match &it.value {
        // To VCL a header that is not there equals an empty one.
        ValueMatch::Exact(value) if value.is_empty() => {
            format!(r#"req.http.{name} && req.http.{name} == """#)
        }
        ValueMatch::Exact(value) => format!("req.http.{name} == {}", VclString::new(value)),
        // A header that is not there has no value that could match, not even with an empty pattern.
        ValueMatch::Regex(regex) => {
            format!("req.http.{name} && req.http.{name} ~ {}", VclRegex::search(regex))
        }
    }
}

/// The first parameter of the name counts. Names and values may be percent-encoded.
fn query(it: &QueryMatch) -> String {
    let name = encoded(&it.name, false);
    let before = format!(r"^[^?]*\?(?:(?!{name}(?:=|&|$))[^&]*&)*{name}");
    match &it.value {
        ValueMatch::Exact(value) if value.is_empty() => {
            format!("req.url ~ {}", VclRegex::own(&format!(r"{before}=?(?:&|$)")))
        }
        ValueMatch::Exact(value) => {
            format!("req.url ~ {}", VclRegex::own(&format!(r"{before}={}(?:&|$)", encoded(value, true))))
        }
        ValueMatch::Regex(regex) => {
            let found = VclRegex::own(&format!(r"{before}(?:=|&|$)"));
            let value = VclRegex::own(&format!(r"{before}=?([^&]*).*$"));
            format!(r#"req.url ~ {found} && regsub(req.url, {value}, "\1") ~ {}"#, VclRegex::search(regex))
        }
    }
}

/// A pattern for a text as it may stand in a query: unreserved characters (RFC 3986, section 2.3) as they are,
/// all others percent-encoded or, where they do not end a name or value, as they are; a space also as `+`.
fn encoded(text: &str, is_value: bool) -> String {
    text.chars().map(|c| encoded_char(c, is_value)).collect()
}

fn encoded_char(c: char, is_value: bool) -> String {
    let mut bytes = [0; 4];
    let plain: &str = c.encode_utf8(&mut bytes);
    let percent = || plain.bytes().map(percent_encoded).collect::<String>();
    match c {
        _ if c.is_ascii_alphanumeric() || "-._~".contains(c) => regex_escape(plain),
        ' ' => format!(r"(?:\+|{})", percent()),
        '=' if !is_value => percent(),
        '&' | '#' | '+' | '%' => percent(),
        _ => format!("(?:{}|{})", regex_escape(plain), percent()),
    }
}

fn percent_encoded(byte: u8) -> String {
    let digit = |value: u8| match char::from_digit(u32::from(value), 16) {
        Some(digit) if digit.is_ascii_digit() => digit.to_string(),
        Some(letter) => format!("[{letter}{}]", letter.to_ascii_uppercase()),
        None => String::new(),
    };
    format!("%{}{}", digit(byte >> 4), digit(byte & 15))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Regex;

    fn matches(name: &str, value: &str, url: &str) -> bool {
        let condition = query(&QueryMatch { name: name.into(), value: ValueMatch::Exact(value.into()) });
        let pattern = condition.strip_prefix("req.url ~ \"").and_then(|it| it.strip_suffix('"')).unwrap();
        Regex::new(pattern).unwrap().is_match(url, false)
    }

    #[test]
    fn exact_query_parameters() {
        for (name, value, url, expected) in [
            ("a", "1", "/?a=1", true),
            ("a", "1", "/?b=2&a=1&c=3", true),
            ("a", "1", "/?a=12", false),
            ("a", "1", "/?a=2&a=1", false),
            ("a", "1", "/?a&a=1", false),
            ("a", "1", "/?ba=1", false),
            ("a", "", "/?a", true),
            ("a", "", "/?a=", true),
            ("a", "", "/?a=x", false),
            ("a", "1", "/a=1", false),
            ("a b", "c+d", "/?a+b=c%2Bd", true),
            ("a b", "c+d", "/?a%20b=c%2bd", true),
            ("a", "ä", "/?a=%C3%A4", true),
            ("a", "x/y", "/?a=x/y", true),
            ("a", "1=2", "/?a=1%3D2", true),
            ("a", "1=2", "/?a=1=2", true),
        ] {
            assert_eq!(matches(name, value, url), expected, "{name}={value} {url}");
        }
    }
}
