//! Formats of varnishncsa(1), taken apart: what is wrong with one is known before varnishncsa has to end over it.

use thiserror::Error;

/// Directives of one letter.
const LETTERS: &str = "bDhHIlmOqrstTuU";
/// varnishncsa has 256 bytes for what stands in the brackets, and aborts beyond them.
const LONGEST_NAME: usize = 250;
/// It also aborts when a formatted time takes more than this, or nothing.
const LONGEST_TIME: usize = 60;

/// A part of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Text, as it is written: with its backslashes.
    Text(String),
    /// `%h` and the like.
    Letter(char),
    /// `%{NAME}KIND`, where the kind is `i`, `o`, `t`, `T` or `x`.
    Named(String, char),
}

/// What is wrong with a format.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FormatError {
    /// A control character, which would break the line.
    #[error("the format has a control character; expected \\n and \\t for those two")]
    Control,
    /// No such directive.
    #[error("{0} is not a directive of varnishncsa")]
    Unknown(String),
    /// `%{` without its end.
    #[error("{0} has no closing bracket")]
    Open(String),
    /// Too long a name.
    #[error("{0}… is longer than the {LONGEST_NAME} bytes that varnishncsa takes")]
    Long(String),
    /// A time format that varnishncsa has no room for, or does not understand.
    #[error("%{{{0}}}t is not a time format of 1 to {LONGEST_TIME} characters")]
    Time(String),
}

/// Takes a format apart as varnishncsa does.
///
/// # Errors
/// When varnishncsa would not take it. It may have more to say: log tags differ among its releases.
pub fn parse(format: &str) -> Result<Vec<Piece>, FormatError> {
    if format.chars().any(|c| c.is_control() && c != '\t' && c != '\n') {
        return Err(FormatError::Control);
    }
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => text.extend(['\\', rest.next().unwrap_or('\\')]),
            '%' => {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(directive(&mut rest)?);
            }
            _ => text.push(c),
        }
    }
    if !text.is_empty() {
        pieces.push(Piece::Text(text));
    }
    Ok(pieces)
}

fn directive(rest: &mut std::str::Chars<'_>) -> Result<Piece, FormatError> {
    match rest.next() {
        Some('{') => {}
        Some(letter) if LETTERS.contains(letter) => return Ok(Piece::Letter(letter)),
        other => return Err(FormatError::Unknown(other.map_or_else(|| "%".into(), |it| format!("%{it}")))),
    }
    let name = bracketed(rest)?;
    match rest.next() {
        Some(kind @ ('i' | 'o')) => Ok(Piece::Named(name, kind)),
        Some('t') if is_time(&name) => Ok(Piece::Named(name, 't')),
        Some('t') => Err(FormatError::Time(name)),
        Some('T') if matches!(name.as_str(), "s" | "ms" | "us") => Ok(Piece::Named(name, 'T')),
        Some('x') if is_extension(&name) => Ok(Piece::Named(name, 'x')),
        kind => {
            Err(FormatError::Unknown(format!("%{{{name}}}{}", kind.map(String::from).unwrap_or_default())))
        }
    }
}

/// The text up to the bracket that closes one which is open.
fn bracketed(rest: &mut std::str::Chars<'_>) -> Result<String, FormatError> {
    let (mut name, mut depth) = (String::new(), 1_usize);
    for c in rest {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Ok(name);
        }
        name.push(c);
        if name.len() > LONGEST_NAME {
            return Err(FormatError::Long(name.chars().take(20).collect()));
        }
    }
    Err(FormatError::Open(format!("%{{{name}")))
}

/// Whether strftime(3) makes something of it that has room.
fn is_time(format: &str) -> bool {
    let (mut room, mut chars) = (0, format.chars());
    while let Some(c) = chars.next() {
        room += match c {
            '%' => match chars.next() {
                Some('c' | 'r') => 30,
                Some('A' | 'B' | 's' | 'D' | 'F' | 'T' | 'x' | 'X' | 'Z') => 12,
                Some('a' | 'b' | 'h' | 'd' | 'e' | 'H' | 'I' | 'j' | 'm' | 'M' | 'p' | 'R' | 'S' | 'z') => 5,
                Some('C' | 'g' | 'G' | 'k' | 'l' | 'u' | 'U' | 'V' | 'w' | 'W' | 'y' | 'Y' | '%') => 4,
                _ => return false,
            },
            _ => c.len_utf8(),
        }
    }
    (1..=LONGEST_TIME).contains(&room)
}

fn is_extension(name: &str) -> bool {
    match name.split_once(':') {
        Some(("Varnish", what)) => {
            matches!(what, "time_firstbyte" | "hitmiss" | "handling" | "side" | "vxid")
        }
        Some(("VCL_Log", _)) => true,
        Some(("VSL", record)) => is_record(record),
        _ => false,
    }
}

/// `TAG`, `TAG:PREFIX`, each with `[FIELD]` after it or not.
fn is_record(record: &str) -> bool {
    let Some(indexed) = record.strip_suffix(']') else { return !record.is_empty() };
    let Some((tag, field)) = indexed.rsplit_once('[') else { return false };
    !tag.is_empty() && field.parse::<u8>().is_ok_and(|field| field > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_taken_apart() {
        let named = |name: &str, kind| Piece::Named(name.into(), kind);
        let text = |text: &str| Piece::Text(text.into());
        let pieces = parse(r#"%h "%r" \%\n%{X-A}i%{VSL:Timestamp:Start[1]}x %{%F}t\"#).unwrap();
        let expected = [
            Piece::Letter('h'),
            text(" \""),
            Piece::Letter('r'),
            text(r#"" \%\n"#),
            named("X-A", 'i'),
            named("VSL:Timestamp:Start[1]", 'x'),
            text(" "),
            named("%F", 't'),
            text(r"\\"),
        ];
        assert_eq!(pieces, expected);
    }

    #[test]
    fn what_varnishncsa_would_refuse_or_abort_over_is_an_error() {
        let long = format!("%{{{}}}i", "x".repeat(300));
        for format in [
            "%",
            "%Z",
            "%{",
            "%{a",
            "%{a}",
            "%{a}q",
            "%{d}T",
            "%{Varnish:x}x",
            "%{VSL:}x",
            "%{VSL:a[0]}x",
            "%{VSL:a[]}x",
            "%{}t",
            "%{%}t",
            "%{%N}t",
            "%{%c %c %c}t",
            "a\u{1e}",
            "a\rb",
            &long,
        ] {
            assert!(parse(format).is_err(), "{format}");
        }
    }
}
