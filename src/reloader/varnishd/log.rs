//! What varnishd says on its standard output and error, line by line. Pure.

use tracing::Level;

/// Something that a line tells about the child, which does the serving.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was started.
    ChildStarted,
    /// It ended or died.
    ChildGone,
    /// It panicked, which varnishd can tell more about.
    ChildPanicked,
    /// It could not start because a program does not initialize. varnishd says so nowhere else.
    InitFailed {
        /// The program.
        name: String,
        /// What varnishd says about it.
        message: String,
    },
}

/// A line, understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// How much it matters.
    pub level: Level,
    /// The line without its prefix; empty lines come out empty.
    pub text: String,
    /// What it tells.
    pub event: Option<Event>,
}

/// Reads one of varnishd's streams. A message of several lines has a prefix on its first one only.
#[derive(Debug)]
pub struct LogReader {
    /// The level of lines without prefix.
    level: Level,
    /// The complaint about a program's initialization that is being read.
    complaint: Option<Vec<String>>,
}

impl Default for LogReader {
    fn default() -> Self {
        Self { level: Level::INFO, complaint: None }
    }
}

impl LogReader {
    /// Takes the next line.
    pub fn read(&mut self, line: &str) -> Line {
        let line = line.trim_end();
        match prefix(line) {
            Some((level, text)) => self.begin(level, text),
            None => self.go_on(line),
        }
    }

    fn begin(&mut self, level: Level, text: &str) -> Line {
        let ended = self.end_of_complaint();
        self.level = level;
        if text.starts_with("Child (") && text.contains(") Panic at") {
            // The reloader asks for the panic and logs its beginning; the rest is for those who look closer.
            self.level = Level::DEBUG;
        }
        // It is we who send it, after everything is done.
        let level = if text.starts_with("Manager got SIGTERM") { Level::INFO } else { level };
        if text.ends_with("Pushing vcls failed:") {
            self.complaint = Some(Vec::new());
        }
        Line { level, text: text.to_owned(), event: ended.or_else(|| child_event(text)) }
    }

    fn go_on(&mut self, line: &str) -> Line {
        let ended = if line.is_empty() { self.end_of_complaint() } else { None };
        if let Some(complaint) = &mut self.complaint {
            complaint.push(line.to_owned());
        }
        let level = if is_chatter(line) { Level::DEBUG } else { self.level };
        Line { level, text: line.to_owned(), event: ended }
    }

    fn end_of_complaint(&mut self) -> Option<Event> {
        let message = self.complaint.take()?.join("\n");
        Some(Event::InitFailed { name: uninitialized(&message)?, message })
    }
}

/// The program that a complaint of a failed initialization is about.
#[must_use]
pub fn uninitialized(complaint: &str) -> Option<String> {
    let (_, rest) = complaint.split_once("VCL \"")?;
    let (name, rest) = rest.split_once('"')?;
    rest.trim_start().starts_with("Failed initialization").then(|| name.to_owned())
}

fn prefix(line: &str) -> Option<(Level, &str)> {
    let levels = [
        ("Error:", Level::ERROR),
        ("Warning:", Level::WARN),
        ("Info:", Level::INFO),
        ("Debug:", Level::DEBUG),
        // At start, that parameters act on VCLs loaded later: there are none yet.
        ("Warnings:", Level::DEBUG),
    ];
    levels.into_iter().find_map(|(prefix, level)| Some((level, line.strip_prefix(prefix)?.trim_start())))
}

/// Lines without prefix that matter to nobody; the second is about a file that a failed compilation left out.
fn is_chatter(line: &str) -> bool {
    line == "Child launched OK" || line.starts_with("Could not delete 'vcl_")
}

fn child_event(text: &str) -> Option<Event> {
    let (_, what) = text.strip_prefix("Child (")?.split_once(") ")?;
    match what.split(' ').next()? {
        "Started" => Some(Event::ChildStarted),
        "died" | "ended" => Some(Event::ChildGone),
        "Panic" => Some(Event::ChildPanicked),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<Line> {
        let mut reader = LogReader::default();
        text.lines().map(|line| reader.read(line)).collect()
    }

    #[test]
    fn prefixes_are_levels() {
        let lines = read(
            "Debug: Version: varnish-7.1.1\nInfo: manager dies\nError: Could not get socket x\n(-? gives usage)",
        );
        let levels: Vec<Level> = lines.iter().map(|line| line.level).collect();
        assert_eq!(levels, [Level::DEBUG, Level::INFO, Level::ERROR, Level::ERROR]);
        assert_eq!(lines[2].text, "Could not get socket x");
    }

    #[test]
    fn the_childs_life_is_noticed() {
        let lines = read(
            "Debug: Child (11) Started\nChild launched OK\nInfo: Child (11) said Child starts\n\
             Error: Child (11) died signal=6\nInfo: Child (11) ended",
        );
        let events: Vec<Option<Event>> = lines.into_iter().map(|line| line.event).collect();
        let gone = Some(Event::ChildGone);
        assert_eq!(events, [Some(Event::ChildStarted), None, None, gone.clone(), gone]);
    }

    #[test]
    fn a_panic_is_an_error_and_its_dump_is_not() {
        let lines =
            read("Error: Child (11) Panic at: Sat\nWrong turn at x.c:325:\n\nDebug: Child cleanup complete");
        let levels: Vec<Level> = lines.iter().map(|line| line.level).collect();
        assert_eq!(levels, [Level::ERROR, Level::DEBUG, Level::DEBUG, Level::DEBUG]);
        assert_eq!(lines[0].event, Some(Event::ChildPanicked));
    }

    #[test]
    fn a_program_that_does_not_initialize_is_named() {
        let lines = read(
            "Error: Child (34) Pushing vcls failed:\nVCL \"copal_bad\" Failed initialization\nMessage:\n\
             \tset: \"x\" added more than once\n\nDebug: Stopping Child",
        );
        let events: Vec<Option<Event>> = lines.into_iter().map(|line| line.event).collect();
        let message = "VCL \"copal_bad\" Failed initialization\nMessage:\n\tset: \"x\" added more than once";
        let failed = Event::InitFailed { name: "copal_bad".into(), message: message.into() };
        assert_eq!(events, [None, None, None, None, Some(failed), None]);
    }
}
