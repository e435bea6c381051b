//! Which commands failed, why, and when each may be tried again. Time is an argument.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::compiler::VclError;
use super::plan::Command;

/// The wait after a first failure; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// How long to wait before attempt number `attempts + 1`.
#[must_use]
pub fn back_off(attempts: u32) -> Duration {
    let doublings = attempts.saturating_sub(1).min(16);
    FIRST_WAIT.saturating_mul(1 << doublings).min(LONGEST_WAIT)
}

/// The commands that failed.
#[derive(Debug, Default)]
pub struct Failures {
    by_command: BTreeMap<Command, Failure>,
}

#[derive(Debug)]
struct Failure {
    error: VclError,
    attempts: u32,
    retry_at: Instant,
}

impl Failures {
    /// Notes that `command` failed at `now`.
    pub fn record(&mut self, command: Command, error: VclError, now: Instant) {
        let attempts = self.by_command.get(&command).map_or(0, |failure| failure.attempts).saturating_add(1);
        let retry_at = now + back_off(attempts);
        self.by_command.insert(command, Failure { error, attempts, retry_at });
    }

    /// Forgets `command`, which succeeded.
    pub fn clear(&mut self, command: &Command) {
        self.by_command.remove(command);
    }

    /// Makes everything due at once and the waits short again, because another bundle is wanted. Failed
    /// loads of programs that are not in it are forgotten.
    pub fn renew(&mut self, is_wanted: impl Fn(&str) -> bool, now: Instant) {
        self.by_command.retain(|command, _| matches!(command, Command::Load(name) if is_wanted(name)));
        for failure in self.by_command.values_mut() {
            failure.attempts = 0;
            failure.retry_at = now;
        }
    }

    /// Everything that failed, due or not.
    #[must_use]
    pub fn all(&self) -> BTreeSet<Command> {
        self.by_command.keys().cloned().collect()
    }

    /// The commands that must not be tried yet.
    #[must_use]
    pub fn blocked(&self, now: Instant) -> BTreeSet<Command> {
        let waiting = self.by_command.iter().filter(|(_, failure)| failure.retry_at > now);
        waiting.map(|(command, _)| command.clone()).collect()
    }

    /// When the next one is due: in the past if it is already.
    #[must_use]
    pub fn next_retry(&self) -> Option<Instant> {
        self.by_command.values().map(|failure| failure.retry_at).min()
    }

    /// Why the program `name` could not be loaded, until it is.
    #[must_use]
    pub fn of_program(&self, name: &str) -> Option<&VclError> {
        self.by_command.get(&Command::Load(name.to_owned())).map(|failure| &failure.error)
    }

    /// How many programs could not be loaded.
    #[must_use]
    pub fn programs(&self) -> usize {
        self.by_command.keys().filter(|command| matches!(command, Command::Load(_))).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(message: &str) -> VclError {
        VclError { file: "copal_a_1.vcl".into(), line: None, message: message.into() }
    }

    fn load(name: &str) -> Command {
        Command::Load(name.into())
    }

    #[test]
    fn waits_double_up_to_a_minute() {
        let waits: Vec<u64> = [0, 1, 2, 3, 4, 5, 6, 7, 8, 1000].map(|n| back_off(n).as_secs()).to_vec();
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_failure_blocks_until_its_wait_is_over() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        failures.record(load("a"), error("bad"), start);
        assert_eq!(failures.blocked(start), BTreeSet::from([load("a")]));
        assert_eq!(failures.next_retry(), Some(start + FIRST_WAIT));
        let later = start + FIRST_WAIT;
        assert!(failures.blocked(later).is_empty());
        assert_eq!(failures.of_program("a"), Some(&error("bad")), "it stays known while it is tried again");
        failures.record(load("a"), error("still bad"), later);
        assert_eq!(failures.next_retry(), Some(later + 2 * FIRST_WAIT));
        failures.clear(&load("a"));
        assert_eq!((failures.next_retry(), failures.programs()), (None, 0));
    }

    #[test]
    fn another_bundle_makes_failures_due_and_forgets_what_it_does_not_name() {
        let (mut failures, start) = (Failures::default(), Instant::now());
        for command in [load("a"), load("b"), Command::Discard("c".into())] {
            failures.record(command.clone(), error("bad"), start);
            failures.record(command, error("bad"), start);
        }
        failures.renew(|name| name == "a", start);
        assert!(failures.blocked(start).is_empty());
        assert!(failures.of_program("a").is_some() && failures.of_program("b").is_none());
        failures.record(load("a"), error("bad"), start);
        assert_eq!(failures.next_retry(), Some(start + FIRST_WAIT));
    }
}
