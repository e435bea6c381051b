//! The only ways for text to enter VCL. VCL strings have no escapes, so each type here emits a whole token that
//! ends where it should, whatever the text.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use crate::model::{HeaderName, Regex, UserVcl, without_double_quotes};

/// A string expression that evaluates to a text, byte by byte.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VclString(String);

impl VclString {
    /// Quotes a text. Texts of the model have no control characters; any here would be dropped, as no VCL string
    /// can carry NUL, and none has a place in a header or a URL.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let text: String = text.chars().filter(|c| !c.is_control() || *c == '\t').collect();
        let mut expression = String::with_capacity(text.len() + 2);
        let mut rest = text.as_str();
        loop {
            let (piece, next) = split_quotable(rest);
            push_literal(&mut expression, piece);
            if next.is_empty() {
                return Self(expression);
            }
            expression.push_str(" + ");
            rest = next;
        }
    }
}

/// Splits after the first `"}` if there is one: what comes before its brace fits into a long string.
fn split_quotable(text: &str) -> (&str, &str) {
    text.find("\"}").and_then(|at| text.split_at_checked(at + 1)).unwrap_or((text, ""))
}

fn push_literal(out: &mut String, piece: &str) {
    let (open, close) = if piece.contains('"') { ("{\"", "\"}") } else { ("\"", "\"") };
    out.push_str(open);
    out.push_str(piece);
    out.push_str(close);
}

/// A string literal that holds a regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VclRegex(String);

impl VclRegex {
    /// A pattern that matches somewhere.
    #[must_use]
    pub fn search(regex: &Regex) -> Self {
        Self::quoted(regex.as_str())
    }

    /// A pattern that matches a whole text. The user's pattern compiles alone and in this form, so it stays in
    /// its group.
    #[must_use]
    pub fn whole(regex: &Regex) -> Self {
        Self::quoted(&regex.whole())
    }

    /// A pattern of Copal's own making.
    #[must_use]
    pub fn own(pattern: &str) -> Self {
        Self::quoted(pattern)
    }

    /// Cuts a host down to a dot and its last labels, that many, if there is more before them.
    #[must_use]
    pub fn last_labels(labels: usize) -> Self {
        Self::own(&format!(r"^.+?((?:\.[^.]+){{{labels}}})$"))
    }

    /// Regular expressions must be one literal: a double quote is written as `\x22`.
    fn quoted(pattern: &str) -> Self {
        Self(format!("\"{}\"", without_double_quotes(pattern)))
    }
}

/// Escapes a text so that PCRE2 takes it literally.
#[must_use]
pub fn regex_escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_ascii() && !c.is_ascii_alphanumeric() && !"/_- ".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// An expression, put together from the types here and fixed text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VclExpr(String);

impl VclExpr {
    /// An expression of Copal's own making.
    #[must_use]
    pub(super) fn of(expression: String) -> Self {
        Self(expression)
    }

    /// Expressions with an operator between them.
    #[must_use]
    pub(super) fn joined(parts: &[String], operator: &str) -> Self {
        Self(parts.join(operator))
    }

    /// What a director chooses.
    #[must_use]
    pub(super) fn chosen_by(director: &VclIdent) -> Self {
        Self(format!("{}.backend()", director.0))
    }

    /// A name by itself.
    #[must_use]
    pub(super) fn name(ident: &VclIdent) -> Self {
        Self(ident.0.clone())
    }
}

/// An identifier.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VclIdent(String);

impl VclIdent {
    /// An identifier out of a fixed word and parts: different parts give different identifiers, whatever they
    /// contain. What an identifier cannot have becomes `_xHH`, and parts are joined by `__`.
    #[must_use]
    pub fn new(word: &'static str, parts: &[&str]) -> Self {
        let mut ident = String::from(word);
        for (index, part) in parts.iter().enumerate() {
            ident.push_str(if index == 0 { "_" } else { "__" });
            for byte in part.bytes() {
                if byte.is_ascii_alphanumeric() || byte == b'-' {
                    ident.push(char::from(byte));
                } else {
                    // Writing to a String cannot fail.
                    let _ = write!(ident, "_x{byte:02x}");
                }
            }
        }
        Self(ident)
    }

    /// The identifier with a branch's number after it.
    #[must_use]
    pub fn with_branch(&self, number: usize) -> Self {
        Self(format!("{}__branch_{number}", self.0))
    }

    /// A fixed word.
    #[must_use]
    pub fn word(word: &'static str) -> Self {
        Self(word.to_owned())
    }

    /// An identifier out of a fixed word and a number.
    #[must_use]
    pub fn numbered(word: &'static str, number: usize) -> Self {
        Self(format!("{word}_{number}"))
    }
}

/// A header's name as it stands after `req.http.`. Names that are no identifiers are quoted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VclHeader(String);

impl VclHeader {
    /// The header of that name.
    #[must_use]
    pub fn new(name: &HeaderName) -> Self {
        let name = name.as_str();
        let simple = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        Self(if simple { name.to_owned() } else { format!("\"{name}\"") })
    }
}

/// Text for a comment that ends with its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VclComment(String);

impl VclComment {
    /// The text with everything but printable characters replaced, cut at 200.
    #[must_use]
    pub fn new(text: impl Display) -> Self {
        let printable = |c: char| if c.is_control() || c == '\u{2028}' || c == '\u{2029}' { '?' } else { c };
        Self(text.to_string().chars().map(printable).take(200).collect())
    }
}

/// VCL of the user's own, as it is: whoever may write it is trusted with all that VCL can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VclSource(String);

impl VclSource {
    /// The text, without the line break at its end.
    #[must_use]
    pub fn new(it: &UserVcl) -> Self {
        Self(it.text.strip_suffix('\n').unwrap_or(&it.text).to_owned())
    }

    /// How many lines it has.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.0.split('\n').count()
    }
}

/// A duration, in milliseconds at the finest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VclDuration(Duration);

impl VclDuration {
    /// The duration; zero means none, which is written as the longest time that poll(2) can wait for.
    #[must_use]
    pub fn timeout(duration: Duration) -> Self {
        const LONGEST: Duration = Duration::from_hours(20 * 24);
        Self(if duration.is_zero() { LONGEST } else { duration.min(LONGEST) })
    }

    /// The same in seconds, as a REAL.
    #[must_use]
    pub fn real(self) -> String {
        format!("{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }

    /// The duration itself.
    #[must_use]
    pub fn get(self) -> Duration {
        self.0
    }
}

impl Display for VclDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.real())
    }
}

macro_rules! displays_itself {
    ($($name:ty),*) => {$(
        impl Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
displays_itself!(VclExpr, VclString, VclRegex, VclIdent, VclHeader, VclComment, VclSource);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        for (text, expected) in [
            ("a", r#""a""#),
            ("", r#""""#),
            (r#"say "hi""#, r#"{"say "hi""}"#),
            (r#"a"}b"#, r#"{"a""} + "}b""#),
            ("a\nb\0", r#""ab""#),
            (r#"{"x"}"#, r#"{"{"x""} + "}""#),
        ] {
            assert_eq!(VclString::new(text).to_string(), expected, "{text}");
        }
    }

    #[test]
    fn regexes() {
        for (pattern, expected) in [
            ("^a$", r#""^a$""#),
            (r#"a"b"#, r#""a\x22b""#),
            (r#"a\"b"#, r#""a\x22b""#),
            (r#"a\\"b"#, r#""a\\\x22b""#),
        ] {
            assert_eq!(VclRegex::search(&Regex::new(pattern).unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn identifiers_differ_where_parts_differ() {
        let all =
            [["a", "b"], ["a_", "b"], ["a", "_b"], ["a__b", ""], ["a.b", "c"], ["a-b", "c"], ["a", "b-c"]];
        let idents: std::collections::BTreeSet<_> =
            all.iter().map(|parts| VclIdent::new("svc", parts)).collect();
        assert_eq!(idents.len(), all.len());
        assert_eq!(VclIdent::new("svc", &["a.b", "c"]).to_string(), "svc_a_x2eb__c");
    }

    #[test]
    fn durations_have_milliseconds() {
        assert_eq!(VclDuration::timeout(Duration::from_millis(1500)).to_string(), "1.500s");
        assert_eq!(VclDuration::timeout(Duration::ZERO).to_string(), "1728000.000s");
    }
}
