//! Text that came from a user and has been checked: what may stand in a header, a URL or a pattern.

use std::fmt;

/// Why a text was refused; reads on after the name of a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Not a header field name (RFC 9110, section 5.1).
    #[error("{0:?} is not a header name")]
    HeaderName(String),
    /// A header that frames or routes the message, which a route may not change.
    #[error("header {0} cannot be changed by a route: {1}")]
    ReservedHeader(String, &'static str),
    /// Not a header field value (RFC 9110, section 5.5).
    #[error("{0:?} is not a header value: control characters are not allowed")]
    HeaderValue(String),
    /// Not an absolute path (RFC 3986, section 3.3).
    #[error(
        "{0:?} is not a path: expected text that begins with \"/\", without \"?\", \"#\", spaces and control characters"
    )]
    Path(String),
    /// Not a regular expression that Varnish would compile.
    #[error("{pattern:?} is not a regular expression: {reason}")]
    Regex {
        /// What was written.
        pattern: String,
        /// What the compiler says.
        reason: String,
    },
    /// Not a host name.
    #[error("{0:?} is not a host name: expected lower-case DNS labels, at most with a first label \"*\"")]
    Hostname(String),
    /// Not a host name without a wildcard.
    #[error("{0:?} is not a precise host name")]
    PreciseHostname(String),
    /// Not an HTTP method.
    #[error("{0:?} is not a method that routes can match")]
    Method(String),
    /// Not a query parameter's name.
    #[error("a query parameter's name is empty or has control characters")]
    QueryName,
}

/// A header field name in lower case: an RFC 9110 token that VCL can name too.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(String);

impl HeaderName {
    /// A name to match on.
    ///
    /// # Errors
    /// When it is not a token of letters, digits and `-_.!#$%&'*+^|~` that begins with a letter or digit.
    pub fn new(name: &str) -> Result<Self, InvalidText> {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || name.len() > 256 || !name.chars().all(token) {
            return Err(InvalidText::HeaderName(name.to_owned()));
        }
        Ok(Self(name.to_ascii_lowercase()))
    }

    /// A name that a route may set, add or remove.
    ///
    /// # Errors
    /// As [`HeaderName::new`], and for headers that frame or route the message or belong to Copal.
    pub fn changeable(name: &str) -> Result<Self, InvalidText> {
        let name = Self::new(name)?;
        let reason = match name.0.as_str() {
            "host" => "use URLRewrite.hostname",
            "connection" | "content-length" | "keep-alive" | "proxy-connection" | "te" | "trailer"
            | "transfer-encoding" | "upgrade" => "it frames the message",
            own if own.starts_with("x-copal-") => "it is Copal's own",
            _ => return Ok(name),
        };
        Err(InvalidText::ReservedHeader(name.0, reason))
    }

    /// The name, in lower case.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A header field value: any text without control characters other than tab.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderValue(String);

impl HeaderValue {
    /// Checks a value.
    ///
    /// # Errors
    /// When it has a control character, or is longer than Varnish's limit for a header line.
    pub fn new(value: &str) -> Result<Self, InvalidText> {
        if value.len() > 4096 || value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(InvalidText::HeaderValue(value.to_owned()));
        }
        Ok(Self(value.to_owned()))
    }

    /// The value.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An absolute path, without query.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UrlPath(String);

impl UrlPath {
    /// Checks a path.
    ///
    /// # Errors
    /// When it does not begin with `/`, or has `?`, `#`, white space or control characters.
    pub fn new(path: &str) -> Result<Self, InvalidText> {
        let bad = |c: char| c.is_control() || c.is_whitespace() || c == '?' || c == '#';
        if !path.starts_with('/') || path.len() > 1024 || path.chars().any(bad) {
            return Err(InvalidText::Path(path.to_owned()));
        }
        Ok(Self(path.to_owned()))
    }

    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path without slashes at its end: empty for `/`. Prefixes are compared by elements, so `/a/` and
    /// `/a` mean the same there.
    #[must_use]
    pub fn trimmed(&self) -> &str {
        self.0.trim_end_matches('/')
    }
}

/// A regular expression that PCRE2, the engine of Varnish, compiles.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Regex(String);

impl Regex {
    /// Checks a pattern by compiling it.
    ///
    /// # Errors
    /// When PCRE2 refuses it, alone or in the forms in which VCL has it ([`Regex::whole`],
    /// [`without_double_quotes`]): a comment or a `\Q` that goes on to the pattern's end would swallow what follows.
    /// When it has control characters, or `\Q` together with a double quote, which VCL could not carry.
    pub fn new(pattern: &str) -> Result<Self, InvalidText> {
        let refuse = |reason: String| InvalidText::Regex { pattern: pattern.to_owned(), reason };
        if pattern.len() > 4096 || pattern.chars().any(char::is_control) {
            return Err(refuse("control characters and more than 4096 bytes are not allowed".into()));
        }
        if pattern.contains("\\Q") && pattern.contains('"') {
            return Err(refuse("\\Q cannot be used together with a double quote".into()));
        }
        let regex = Self(pattern.to_owned());
        for form in [pattern, &without_double_quotes(pattern), &without_double_quotes(&regex.whole())] {
            pcre2::bytes::Regex::new(form).map_err(|error| refuse(error.to_string()))?;
        }
        Ok(regex)
    }

    /// The pattern for a whole text.
    #[must_use]
    pub fn whole(&self) -> String {
        format!("^(?:{})$", self.0)
    }

    /// The pattern.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the pattern matches somewhere in `text`, or all of it if `whole`. A match that exceeds
    /// PCRE2's limits counts as none, as in Varnish.
    #[must_use]
    pub fn is_match(&self, text: &str, whole: bool) -> bool {
        let pattern = if whole { self.whole() } else { self.0.clone() };
        pcre2::bytes::Regex::new(&pattern).is_ok_and(|regex| regex.is_match(text.as_bytes()).unwrap_or(false))
    }
}

/// A pattern with each double quote, escaped or not, written as `\x22`: VCL's literals cannot have them.
#[must_use]
pub fn without_double_quotes(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len());
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match (c, chars.clone().next()) {
            ('"', _) => out.push_str("\\x22"),
            ('\\', Some('"')) => {
                out.push_str("\\x22");
                chars.next();
            }
            ('\\', Some(escaped)) => {
                out.extend([c, escaped]);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    out
}

/// A method that an HTTPRoute can match (Gateway API, HTTPMethod).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method(String);

impl Method {
    /// Checks a method's name.
    ///
    /// # Errors
    /// When it is not an upper-case token.
    pub fn new(name: &str) -> Result<Self, InvalidText> {
        if name.is_empty() || name.len() > 32 || !name.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') {
            return Err(InvalidText::Method(name.to_owned()));
        }
        Ok(Self(name.to_owned()))
    }

    /// The method's name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
