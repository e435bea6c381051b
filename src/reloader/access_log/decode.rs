//! What varnishncsa makes of values, undone. It writes quotes, backslashes and everything that is not printable ASCII
//! as escapes of C. Pure.
//!
//! Text of clients is bytes, and JSON is UTF-8. Bytes that are UTF-8 come out as it; each other byte comes out as the
//! four characters `\xNN`.

use std::fmt::Write as _;

/// A value as it was.
#[must_use]
pub fn text(value: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((byte, _, after)) = next(rest) {
        bytes.push(byte);
        rest = after;
    }
    utf8(&bytes, "\\x")
}

/// The result of a user's format, in which text of the format stands between values. Escapes that JSON has too stay
/// as they are, and the others become such, so that a format that looks like JSON gives JSON.
#[must_use]
pub fn message(line: &[u8]) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    loop {
        let plain = rest.iter().position(|byte| *byte == b'\\').unwrap_or(rest.len());
        let (before, escapes) = rest.split_at(plain);
        out.push_str(&String::from_utf8_lossy(before));
        if escapes.is_empty() {
            return out;
        }
        rest = escaped(escapes, &mut out);
    }
}

/// Rewrites the escapes at the beginning, of which there is at least a backslash; returns what follows.
fn escaped<'a>(line: &'a [u8], out: &mut String) -> &'a [u8] {
    let (mut bytes, mut rest) = (Vec::new(), line);
    while rest.starts_with(b"\\x")
        && let Some((byte, true, after)) = next(rest)
    {
        bytes.push(byte);
        rest = after;
    }
    if !bytes.is_empty() {
        push_json(&utf8(&bytes, "\\\\x"), out);
        return rest;
    }
    match line {
        [b'\\', b'v', after @ ..] => {
            out.push_str("\\u000b");
            after
        }
        [b'\\', c, after @ ..] if c.is_ascii() => {
            out.extend(['\\', char::from(*c)]);
            after
        }
        _ => {
            out.push('\\');
            line.get(1..).unwrap_or_default()
        }
    }
}

fn push_json(text: &str, out: &mut String) {
    for c in text.chars() {
        if c.is_control() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
}

/// The first byte that is meant, whether it was escaped, and the rest.
fn next(value: &[u8]) -> Option<(u8, bool, &[u8])> {
    match value {
        [b'\\', b'x', high, low, rest @ ..] => match (digit(*high), digit(*low)) {
            (Some(high), Some(low)) => Some((high << 4 | low, true, rest)),
            _ => value.split_first().map(|(byte, rest)| (*byte, false, rest)),
        },
        [b'\\', c, rest @ ..] => match c {
            b'n' => Some((b'\n', true, rest)),
            b'r' => Some((b'\r', true, rest)),
            b't' => Some((b'\t', true, rest)),
            b'v' => Some((0x0b, true, rest)),
            b'"' | b'\\' => Some((*c, true, rest)),
            _ => value.split_first().map(|(byte, rest)| (*byte, false, rest)),
        },
        [byte, rest @ ..] => Some((*byte, false, rest)),
        [] => None,
    }
}

fn digit(c: u8) -> Option<u8> {
    char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Text, with each byte that is not UTF-8 as its digits after `mark`.
fn utf8(bytes: &[u8], mark: &str) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "{mark}{byte:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_out_as_they_were() {
        for (value, expected) in [
            (r"plain", "plain"),
            (r"a\tb\\n\x22", "a\tb\\n\""),
            (r#"\"q\""#, "\"q\""),
            (r"caf\xc3\xa9", "café"),
            (r"caf\xe9 \xff", r"caf\xe9 \xff"),
            (r"\x1b\x00", "\u{1b}\0"),
            (r"\x", r"\x"),
            (r"\xg0", r"\xg0"),
            (r"\q\", r"\q\"),
        ] {
            assert_eq!(text(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn messages_keep_the_escapes_of_json() {
        for (line, expected) in [
            (r#"GET "/a\"b\\x41" "#, r#"GET "/a\"b\\x41" "#),
            (r"caf\xc3\xa9", "café"),
            (r"caf\xe9!", r"caf\\xe9!"),
            (r"\x1b\v\t", r"\u001b\u000b\t"),
            (r"end\", r"end\"),
            ("two\nlines", "two\nlines"),
        ] {
            assert_eq!(message(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn a_message_that_looks_like_json_is_json() {
        let line = br#"{"ua": "\xff\xc3\xa4\x07 \"quoted\" \\x41 \t"}"#;
        let found: serde_json::Value = serde_json::from_str(&message(line)).unwrap();
        assert_eq!(found["ua"], "\\xff\u{e4}\u{7} \"quoted\" \\x41 \t");
    }
}
