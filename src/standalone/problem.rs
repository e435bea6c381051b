//! What is wrong with the manifests, in words for the person who writes them.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub file: Arc<Path>,
    /// Its line from 1; 0 when the file as a whole is meant.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return self.file.display().fmt(f);
        }
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// One thing that is wrong: `FILE:LINE: OBJECT: what was expected; what happens meanwhile`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// Kind, namespace and name, as far as they could be read.
    pub object: Option<String>,
    /// What was expected there.
    pub expected: String,
    /// What happens until it is mended.
    pub meanwhile: String,
}

impl Problem {
    /// Whether it is the same problem; its line may have moved.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.identity() == other.identity()
    }

    fn identity(&self) -> (&Path, Option<&str>, &str) {
        (&self.place.file, self.object.as_deref(), &self.expected)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if let Some(object) = &self.object {
            write!(f, "{object}: ")?;
        }
        write!(f, "{}; {}", self.expected, self.meanwhile)
    }
}

/// The problems of `now` that `before` does not have.
#[must_use]
pub fn fresh<'a>(before: &[Problem], now: &'a [Problem]) -> Vec<&'a Problem> {
    let known: BTreeSet<_> = before.iter().map(Problem::identity).collect();
    now.iter().filter(|it| !known.contains(&it.identity())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: usize, expected: &str) -> Problem {
        Problem {
            place: Place { file: Path::new("m/a.yaml").into(), line },
            object: Some("HTTPRoute default/web".into()),
            expected: expected.into(),
            meanwhile: "it is left out".into(),
        }
    }

    #[test]
    fn a_problem_reads_as_place_object_expectation_and_consequence() {
        let text = problem(3, "expected a name").to_string();
        assert_eq!(text, "m/a.yaml:3: HTTPRoute default/web: expected a name; it is left out");
        let whole = Problem { object: None, ..problem(0, "expected UTF-8 text") };
        assert_eq!(whole.to_string(), "m/a.yaml: expected UTF-8 text; it is left out");
    }

    #[test]
    fn a_problem_that_moves_to_another_line_is_not_new() {
        let (before, now) = ([problem(3, "a")], [problem(5, "a"), problem(5, "b")]);
        assert!(before[0].is_same(&now[0]));
        assert_eq!(fresh(&before, &now), [&now[1]]);
    }
}
