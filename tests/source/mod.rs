//! Just enough of Rust's grammar to see which paths a file names.

/// Every path in the code, `use` groups taken apart: `std::{fs, io}` gives `std::fs` and `std::io`.
/// Comments, literals and what is compiled for tests only do not count.
pub fn paths(text: &str) -> Vec<Vec<String>> {
    let tokens = words(text);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_name(&tokens[at]) && (at == 0 || tokens[at - 1] != "::") {
            at = path(&tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads the path that begins at `at` below `parent`; yields where it ends.
fn path(tokens: &[String], mut at: usize, parent: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut parts = parent.to_vec();
    while at < tokens.len() && is_name(&tokens[at]) {
        parts.push(tokens[at].clone());
        at += 1;
        if tokens.get(at).is_none_or(|token| token != "::") {
            break;
        }
        at += 1;
        if tokens.get(at).is_some_and(|token| token == "{") {
            return group(tokens, at + 1, &parts, found);
        }
    }
    found.push(parts);
    at
}

fn group(tokens: &[String], mut at: usize, parent: &[String], found: &mut Vec<Vec<String>>) -> usize {
    while at < tokens.len() && tokens[at] != "}" {
        at = if is_name(&tokens[at]) { path(tokens, at, parent, found) } else { at + 1 };
    }
    at + 1
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// Names and signs of the code, in order.
pub fn words(text: &str) -> Vec<String> {
    without_tests(&tokens(text))
}

/// Leaves out what stands after `#[cfg(test)]`, up to the end of its block or statement.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if tokens[at..].iter().map(String::as_str).take(MARK.len()).eq(MARK) {
            at = end_of_item(tokens, at + MARK.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

fn end_of_item(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0_usize;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" => depth += 1,
            "}" if depth <= 1 => return at + 1,
            "}" => depth -= 1,
            ";" if depth == 0 => return at + 1,
            _ => (),
        }
        at += 1;
    }
    at
}

fn tokens(text: &str) -> Vec<String> {
    let text: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let length = match rest {
            ['/', '/', ..] => until(rest, 0, &['\n']),
            ['/', '*', ..] => block_comment(rest),
            ['"', ..] => string(rest),
            ['r', '"' | '#', ..] if raw_string(rest) > 0 => raw_string(rest),
            ['\'', '\\', ..] => 1 + until(&rest[1..], 2, &['\'']),
            ['\'', _, '\'', ..] => 3,
            [first, ..] if first.is_alphanumeric() || *first == '_' => {
                let length = rest.iter().take_while(|it| it.is_alphanumeric() || **it == '_').count();
                found.push(rest[..length].iter().collect());
                length
            }
            [':', ':', ..] => {
                found.push("::".into());
                2
            }
            [other, ..] => {
                if !other.is_whitespace() {
                    found.push(other.to_string());
                }
                1
            }
            [] => break,
        };
        at += length;
    }
    found
}

/// How many characters up to and with the next of these, after the first `skip`.
fn until(text: &[char], skip: usize, ends: &[char]) -> usize {
    let length = text.iter().skip(skip).position(|it| ends.contains(it));
    length.map_or(text.len(), |length| skip + length + 1)
}

fn block_comment(text: &[char]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < text.len() {
        match &text[at..] {
            ['/', '*', ..] => (depth, at) = (depth + 1, at + 2),
            ['*', '/', ..] if depth == 1 => return at + 2,
            ['*', '/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    at
}

fn string(text: &[char]) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            '"' => return at + 1,
            '\\' => at += 2,
            _ => at += 1,
        }
    }
    at
}

/// The length of `r"…"` or `r#"…"#`; 0 if it is none.
fn raw_string(text: &[char]) -> usize {
    let hashes = text[1..].iter().take_while(|it| **it == '#').count();
    if text.get(1 + hashes) != Some(&'"') {
        return 0;
    }
    let mut at = 2 + hashes;
    while at < text.len() {
        let closing = text[at + 1..].iter().take(hashes).filter(|it| **it == '#').count();
        if text[at] == '"' && closing == hashes {
            return at + 1 + hashes;
        }
        at += 1;
    }
    at
}
