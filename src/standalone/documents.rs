//! The documents of a YAML stream, cut apart so that one malformed document costs only itself.
//!
//! `---` and `...` at the start of a line end a document wherever they stand, also inside block and quoted
//! scalars (YAML 1.2.2 section 9.1.2), so cutting by line is exact.

/// One document: a part of the stream's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Document<'a> {
    /// The line of the stream on which `text` begins, from 1.
    pub line: usize,
    /// From its `---`, if it has one, up to the next marker.
    pub text: &'a str,
}

impl Document<'_> {
    /// The line of the stream on which the content begins, from 1.
    #[must_use]
    pub fn first_line(&self) -> usize {
        let before = self.text.lines().take_while(|line| !has_content(line)).count();
        self.line + before
    }

    fn has_content(&self) -> bool {
        self.text.lines().any(has_content)
    }
}

/// Cuts a stream into the documents that have content, in order.
#[must_use]
pub fn split(stream: &str) -> Vec<Document<'_>> {
    let stream = stream.strip_prefix('\u{feff}').unwrap_or(stream);
    let mut documents = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 1, 0);
    for (index, line) in stream.split_inclusive('\n').enumerate() {
        if is_marker(line, "---") || is_marker(line, "...") {
            documents.extend(document(stream, start..offset, start_line));
            let skipped = if is_marker(line, "...") { (line.len(), 1) } else { (0, 0) };
            (start, start_line) = (offset + skipped.0, index + 1 + skipped.1);
        }
        offset += line.len();
    }
    documents.extend(document(stream, start..offset, start_line));
    documents
}

fn document(stream: &str, range: std::ops::Range<usize>, line: usize) -> Option<Document<'_>> {
    let document = Document { line, text: stream.get(range)? };
    document.has_content().then_some(document)
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Comments, directives and a bare marker say nothing.
fn has_content(line: &str) -> bool {
    let line = if is_marker(line, "---") { line.get(3..).unwrap_or_default() } else { line };
    let text = line.trim();
    !text.is_empty() && !text.starts_with('#') && !line.starts_with('%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_cut_at_markers_only() {
        let cases: &[(&str, &[(usize, &str)])] = &[
            ("", &[]),
            ("\n# nothing\n---\n---\n...\n", &[]),
            ("a: 1\n", &[(1, "a: 1\n")]),
            ("a: 1\n---\nb: 2", &[(1, "a: 1\n"), (2, "---\nb: 2")]),
            ("---\na: 1\n---\n---\nb: 2\n", &[(1, "---\na: 1\n"), (4, "---\nb: 2\n")]),
            ("a: 1\r\n---\r\nb: 2\r\n", &[(1, "a: 1\r\n"), (2, "---\r\nb: 2\r\n")]),
            ("a: 1\n...\nb: 2\n", &[(1, "a: 1\n"), (3, "b: 2\n")]),
            ("--- {a: 1}\n--- # why\nb: 2\n", &[(1, "--- {a: 1}\n"), (2, "--- # why\nb: 2\n")]),
            ("text: |\n  ---\n  more\n", &[(1, "text: |\n  ---\n  more\n")]),
            ("---a: 1\n", &[(1, "---a: 1\n")]),
            ("%YAML 1.2\n---\na: 1\n", &[(2, "---\na: 1\n")]),
            ("\u{feff}a: 1\n", &[(1, "a: 1\n")]),
        ];
        for (stream, expected) in cases {
            let found: Vec<_> = split(stream).iter().map(|it| (it.line, it.text)).collect();
            assert_eq!(found, *expected, "{stream:?}");
        }
    }

    #[test]
    fn the_first_line_is_that_of_the_content() {
        let cases = [("a: 1\n", 1), ("---\n# why\n\na: 1\n", 4), ("--- {a: 1}\n", 1)];
        for (stream, expected) in cases {
            let lines: Vec<_> = split(stream).iter().map(Document::first_line).collect();
            assert_eq!(lines, [expected], "{stream:?}");
        }
    }
}
