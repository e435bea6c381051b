//! Reading the VCL compiler's complaints: what is wrong, and in which line.

use serde::{Deserialize, Serialize};

/// What varnishd has against a VCL, in terms of the file that the operator knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VclError {
    /// The file in the bundle.
    pub file: String,
    /// The line in it, from 1, where the compiler gives one.
    pub line: Option<u32>,
    /// The complaint; the compiler's excerpts follow it line by line.
    pub message: String,
}

/// How the compiler names a program that came by `vcl.inline`.
const SOURCE: &str = "<vcl.inline>";
/// What it begins with and ends in, which says nothing.
const CHATTER: [&str; 3] =
    ["Message from VCC-compiler:", "Running VCC-compiler failed, exited with 2", "VCL compilation failed"];

/// Reads a refusal of the VCL `name`.
#[must_use]
pub fn read(name: &str, refusal: &str) -> VclError {
    let file = format!("{name}.vcl");
    let kept: Vec<&str> = refusal.trim().lines().filter(|line| !CHATTER.contains(&line.trim())).collect();
    let message = kept.join("\n").trim().replace(SOURCE, &file);
    VclError { line: line_number(refusal), file, message }
}

/// The first place that is named is the culprit; places after it say how the compiler got there.
fn line_number(refusal: &str) -> Option<u32> {
    let (_, place) = refusal.split_once("('<vcl.inline>' Line ")?;
    place.split_once(' ').and_then(|(digits, _)| digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compilers_complaint_names_file_and_line() {
        let refusal = "Message from VCC-compiler:\nSymbol not found: 'nosuch'\n\
            At: ('<vcl.inline>' Line 4 Pos 24) -- (Pos 29)\nsub vcl_recv { std.log(nosuch); \n\
            -----------------------######---\n\nWhile compiling function call:\n\n\
            ('<vcl.inline>' Line 3 Pos 16) -- (Pos 29)\n\n\
            Running VCC-compiler failed, exited with 2\nVCL compilation failed\n";
        let error = read("copal_s01_ab12", refusal);
        assert_eq!((error.file.as_str(), error.line), ("copal_s01_ab12.vcl", Some(4)));
        assert!(
            error.message.starts_with("Symbol not found: 'nosuch'\nAt: ('copal_s01_ab12.vcl' Line 4 Pos 24)")
        );
        assert!(!error.message.contains("VCC-compiler"), "{}", error.message);
    }

    #[test]
    fn a_failed_initialization_has_no_line() {
        let refusal = "VCL \"copal_s01_a\" Failed initialization\nMessage:\n\tvmod selector failure\n";
        let error = read("copal_s01_a", refusal);
        assert_eq!(error.line, None);
        assert_eq!(error.message, refusal.trim());
    }
}
