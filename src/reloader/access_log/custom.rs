//! A user's varnishncsa format, without what nobody may see. Pure.

use std::collections::BTreeSet;

use crate::bundle::ncsa::{FormatError, Piece, parse};

use super::super::varnishd::mask::{self, Tags};

/// What stands in place of a value that nobody may see.
pub const REDACTED: &str = "redacted";

/// Records that are headers: `NAME: VALUE`.
const HEADERS: [&str; 10] = [
    "ReqHeader",
    "ReqUnset",
    "RespHeader",
    "RespUnset",
    "BereqHeader",
    "BereqUnset",
    "BerespHeader",
    "BerespUnset",
    "ObjHeader",
    "ObjUnset",
];
/// Records that may have any header in them.
const RAW: [&str; 8] =
    ["HttpGarbage", "BogoHeader", "LostHeader", "Debug", "H2RxHdr", "H2RxBody", "H2TxHdr", "H2TxBody"];

/// A format that varnishncsa may have, and the tags that it reads.
#[derive(Debug)]
pub struct Custom {
    /// The format.
    pub text: String,
    /// Those of its tags that may be masked.
    pub tags: Tags,
}

/// Replaces what would show a redacted header. `redact` holds names in lower case.
///
/// # Errors
/// When it is no format.
pub fn rewrite(format: &str, redact: &BTreeSet<String>) -> Result<Custom, FormatError> {
    let mut custom = Custom { text: String::new(), tags: Tags::new() };
    for piece in parse(format)? {
        if shows(&piece, redact) {
            custom.text.push_str(REDACTED);
            continue;
        }
        custom.tags.extend(tags(&piece));
        match piece {
            Piece::Text(text) => custom.text.push_str(&text),
            Piece::Letter(letter) => custom.text.extend(['%', letter]),
            Piece::Named(name, kind) => custom.text.extend(["%{", &name, "}", &String::from(kind)]),
        }
    }
    Ok(custom)
}

fn shows(piece: &Piece, redact: &BTreeSet<String>) -> bool {
    let is_redacted = |name: &str| redact.iter().any(|it| it.eq_ignore_ascii_case(name.trim()));
    match piece {
        Piece::Letter('u') => is_redacted("authorization"),
        Piece::Letter('r') => is_redacted("host"),
        Piece::Text(_) | Piece::Letter(_) => false,
        // After a colon stands which of several lines is meant.
        Piece::Named(name, 'i' | 'o') => is_redacted(name.split(':').next().unwrap_or_default()),
        Piece::Named(name, _) => {
            !redact.is_empty()
                && name.strip_prefix("VSL:").is_some_and(|record| shows_record(record, is_redacted))
        }
    }
}

/// varnishncsa takes the beginning of a tag for the tag.
fn shows_record(record: &str, is_redacted: impl Fn(&str) -> bool) -> bool {
    let (tag, prefix) = match without_field(record).split_once(':') {
        Some((tag, prefix)) => (tag, Some(prefix)),
        None => (without_field(record), None),
    };
    let tag = tag.to_ascii_lowercase();
    let begins = |known: &&str| known.to_ascii_lowercase().starts_with(&tag);
    let names_header = |prefix: &str| is_redacted(prefix.split(':').next().unwrap_or_default());
    RAW.iter().any(begins) || (HEADERS.iter().any(begins) && prefix.is_none_or(names_header))
}

fn without_field(record: &str) -> &str {
    match record.rsplit_once('[') {
        Some((before, _)) if record.ends_with(']') => before,
        _ => record,
    }
}

fn tags(piece: &Piece) -> Vec<&'static str> {
    match piece {
        Piece::Text(_) => Vec::new(),
        Piece::Letter(letter) => letter_tags(*letter).to_vec(),
        Piece::Named(_, 'i') => vec!["ReqHeader", "ReqUnset", "BereqHeader", "BereqUnset", "VCL_call"],
        Piece::Named(_, 'o') => vec!["RespHeader", "RespUnset", "BerespHeader", "BerespUnset", "VCL_call"],
        Piece::Named(_, 't' | 'T') => vec!["Timestamp"],
        Piece::Named(name, _) => match name.split_once(':') {
            Some(("Varnish", "time_firstbyte")) => vec!["Timestamp"],
            Some(("Varnish", "hitmiss" | "handling")) => vec!["VCL_call", "VCL_return", "HitMiss", "HitPass"],
            Some(("VCL_Log", _)) => vec!["VCL_Log"],
            Some(("VSL", record)) => {
                mask::named(without_field(record).split(':').next().unwrap_or_default()).collect()
            }
            _ => Vec::new(),
        },
    }
}

fn letter_tags(letter: char) -> &'static [&'static str] {
    match letter {
        'b' | 'I' | 'O' => &["ReqAcct", "BereqAcct", "PipeAcct"],
        'D' | 'T' | 't' => &["Timestamp"],
        'h' => &["ReqStart", "BackendOpen"],
        'H' => &["ReqProtocol", "BereqProtocol"],
        'm' => &["ReqMethod", "BereqMethod"],
        'q' | 'U' => &["ReqURL", "BereqURL"],
        'r' => &[
            "ReqMethod",
            "BereqMethod",
            "ReqURL",
            "BereqURL",
            "ReqProtocol",
            "BereqProtocol",
            "ReqHeader",
            "BereqHeader",
        ],
        's' => &["RespStatus", "BerespStatus"],
        'u' => &["ReqHeader", "BereqHeader"],
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(format: &str, redact: &[&str]) -> String {
        rewrite(format, &redact.iter().map(|it| (*it).to_owned()).collect()).unwrap().text
    }

    #[test]
    fn a_format_without_secrets_stays_as_it_is() {
        let format = r#"%h %l %u %t "%r" %s %b "%{Referer}i" "%{User-agent}i" %{VSL:Timestamp:Resp[2]}x\n"#;
        assert_eq!(rewritten(format, &[]), format);
        assert_eq!(rewritten(format, &["cookie"]), format);
    }

    #[test]
    fn no_directive_shows_a_redacted_header() {
        for format in [
            "%u",
            "%{Authorization}i",
            "%{AUTHORIZATION}i",
            "%{authorization:first}i",
            "%{ authorization }i",
            "%{authorization}o",
            "%{VSL:ReqHeader:Authorization}x",
            "%{VSL:reqh:authorization[2]}x",
            "%{VSL:ReqHeader:authorization:Basic}x",
            "%{VSL:ReqHeader}x",
            "%{VSL:ReqHeader[2]}x",
            "%{VSL:ObjHeader}x",
            "%{VSL:BereqUnset}x",
            "%{VSL:LostHeader}x",
            "%{VSL:HttpG}x",
            "%{VSL:H2RxHdr}x",
        ] {
            assert_eq!(rewritten(&format!("a {format} b"), &["authorization"]), "a redacted b", "{format}");
        }
        assert_eq!(rewritten("%r", &["host"]), REDACTED);
        for fine in
            ["%{VSL:ReqHeader:X-A}x", "%{VSL:ReqURL}x", "%{VSL:Timestamp:Start[1]}x", "%{X-Authorization}i"]
        {
            assert_eq!(rewritten(fine, &["authorization"]), fine);
        }
    }
}
