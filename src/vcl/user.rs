//! VCL of the user's own: a block in each shard, with subroutines that generated VCL calls.
//!
//! The block stands before everything generated. So its `vcl_recv` and the like, if it has any, run before Copal's
//! (VCL puts subroutines of one name together in their order), and its backends and ACLs are known where it needs them.

use std::collections::BTreeSet;

use super::literal::{VclComment, VclSource};
use crate::model::{ObjectKey, UserVcl};

/// What the line before the user's own begins with.
const HEAD: &str = "User VCL: ConfigMap ";

/// Which of the subroutines that Copal calls the user has defined.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each place, and independent of each other")]
pub(super) struct Hooks {
    /// `copal_before_routing`.
    pub before_routing: bool,
    /// `copal_after_routing`.
    pub after_routing: bool,
    /// `copal_backend_fetch`.
    pub backend_fetch: bool,
    /// `copal_backend_response`.
    pub backend_response: bool,
    /// `copal_deliver`.
    pub deliver: bool,
}

impl Hooks {
    /// Those of a text.
    pub(super) fn of(text: &str) -> Self {
        let subs = subs(text);
        Self {
            before_routing: subs.contains("copal_before_routing"),
            after_routing: subs.contains("copal_after_routing"),
            backend_fetch: subs.contains("copal_backend_fetch"),
            backend_response: subs.contains("copal_backend_response"),
            deliver: subs.contains("copal_deliver"),
        }
    }
}

/// The user's VCL for the template of a shard.
pub(super) struct UserBlock {
    /// Where it comes from, so that its lines can be found again.
    pub head: VclComment,
    pub text: VclSource,
}

impl UserBlock {
    pub(super) fn new(it: &UserVcl) -> Self {
        let text = VclSource::new(it);
        let head = format!("{HEAD}{}, key {}, {} lines", it.config_map, it.key, text.lines());
        Self { head: VclComment::new(head), text }
    }
}

/// A line of the user's own VCL.
struct UserLine {
    config_map: ObjectKey,
    /// The key in it.
    key: String,
    /// From 1.
    line: usize,
}

/// Where a line of a shard (from 1) stands in the user's own VCL; `None` if it is Copal's.
fn locate(shard: &str, line: usize) -> Option<UserLine> {
    let (before, head) = shard.lines().enumerate().find_map(|(index, text)| {
        text.strip_prefix("# ")?.strip_prefix(HEAD).map(|head| (index + 1, head))
    })?;
    let (config_map, rest) = head.split_once(", key ")?;
    let (key, lines) = rest.rsplit_once(", ")?;
    let lines: usize = lines.strip_suffix(" lines")?.parse().ok()?;
    let (namespace, name) = config_map.split_once('/')?;
    let line = line.checked_sub(before).filter(|line| (1..=lines).contains(line))?;
    Some(UserLine { config_map: ObjectKey::new(namespace, name), key: key.to_owned(), line })
}

/// What the compiler has against a line of the user's own VCL, for people; `None` if the line is Copal's. `message` is
/// the compiler's, with its excerpts of the VCL.
#[must_use]
pub fn complaint(shard: &str, line: usize, message: &str) -> Option<String> {
    let UserLine { config_map, key, line } = locate(shard, line)?;
    let is_place =
        |text: &str| text.contains("Line ") && text.contains(" Pos ") || text.starts_with("(program line");
    let words: Vec<_> = message.lines().map(str::trim).take_while(|text| !is_place(text)).collect();
    let words = words.join(" ");
    let words = words.trim().trim_end_matches(['.', ':']);
    Some(format!(
        "ConfigMap {config_map}, key {key}, line {line}: {words}; the last good configuration serves on"
    ))
}

/// The names of all subroutines that a text defines.
fn subs(text: &str) -> BTreeSet<&str> {
    let words = words(text);
    let pairs = words.iter().zip(words.iter().skip(1));
    pairs.filter(|(word, _)| **word == "sub").map(|(_, name)| *name).collect()
}

/// The words of a text, without comments and strings; what else there is counts as a word by itself.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (token, is_word) = token(rest, first);
        if is_word {
            words.extend(rest.get(..token));
        }
        rest = rest.get(token..).unwrap_or_default();
    }
    words
}

/// The length of the next token, and whether it is to be kept.
fn token(rest: &str, first: char) -> (usize, bool) {
    let until = |open: usize, close: &str| {
        let length = rest.get(open..).and_then(|it| it.find(close)).map(|at| open + at + close.len());
        length.unwrap_or(rest.len())
    };
    if rest.starts_with('#') || rest.starts_with("//") {
        return (until(1, "\n"), false);
    }
    for (open, close) in [("/*", "*/"), ("{\"", "\"}"), ("\"\"\"", "\"\"\""), ("\"", "\""), ("C{", "}C")] {
        if rest.starts_with(open) {
            return (until(open.len(), close), false);
        }
    }
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let length = rest.find(|c: char| !part_of_word(c)).unwrap_or(rest.len());
    if length > 0 { (length, true) } else { (first.len_utf8(), !first.is_whitespace()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subroutines_are_found_where_they_are_defined() {
        for (text, expected) in [
            ("", vec![]),
            ("sub copal_deliver { }", vec!["copal_deliver"]),
            ("sub\n\tcopal_deliver{}\nsub a{}", vec!["a", "copal_deliver"]),
            ("sub /* x */ copal_deliver # y\n{ }", vec!["copal_deliver"]),
            ("# sub a {}\n// sub b {}\n/* sub c {} */", vec![]),
            ("sub a { set req.http.x = \"sub b\"; }", vec!["a"]),
            ("sub a { synthetic({\"sub b { \"\" }\"}); } sub c { }", vec!["a", "c"]),
            ("sub a { set req.http.x = \"\"\"sub b \" \"\"\"; } sub c { }", vec!["a", "c"]),
            ("C{ sub a }C sub b { }", vec!["b"]),
            ("subs a { } req.sub b", vec![]),
            ("sub a {} /* never ends sub b {}", vec!["a"]),
            ("sub é {} sub a {}", vec!["a", "é"]),
            ("sub", vec![]),
        ] {
            assert_eq!(subs(text).into_iter().collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn only_hooks_that_are_defined_are_called() {
        let hooks =
            Hooks::of("sub copal_deliver { call copal_after_routing; } # sub copal_before_routing {}");
        assert_eq!(hooks, Hooks { deliver: true, ..Hooks::default() });
    }

    fn shard(text: &str) -> String {
        let user =
            UserVcl { config_map: ObjectKey::new("a", "b"), key: "main.vcl".into(), text: text.into() };
        let block = UserBlock::new(&user);
        format!("# Copal\nvcl 4.1;\n\n# {}\n{}\n# End of it.\nsub vcl_recv {{ }}\n", block.head, block.text)
    }

    #[test]
    fn lines_of_a_shard_are_found_in_the_users_own() {
        let text = "sub a {\n# User VCL: ConfigMap x/y, key z, 100 lines\n}\n";
        let shard = shard(text);
        let line = |line| locate(&shard, line).map(|it| (it.config_map.to_string(), it.key, it.line));
        let is = |line: usize| Some(("a/b".to_owned(), "main.vcl".to_owned(), line));
        let all: Vec<_> = (0..=10).map(line).collect();
        assert_eq!(all[..8], [None, None, None, None, None, is(1), is(2), is(3)]);
        assert!(all[8..].iter().all(Option::is_none));
        assert!(locate("vcl 4.1;\n", 1).is_none());
    }

    #[test]
    fn a_complaint_names_the_users_line() {
        let message =
            "Symbol not found: 'nosuch'\nAt: ('copal_s_1.vcl' Line 5 Pos 9) -- (Pos 12)\nsub a {\n---###";
        let expected = "ConfigMap a/b, key main.vcl, line 1: Symbol not found: 'nosuch'; the last good configuration serves on";
        assert_eq!(complaint(&shard("sub a {\n"), 5, message).as_deref(), Some(expected));
        assert_eq!(complaint(&shard("sub a {\n"), 1, message), None);
    }
}
