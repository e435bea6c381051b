//! How far a data plane is with what it was given. Pure: time is an argument.

use std::time::Duration;

use super::acknowledge::Acknowledged;
use crate::status::Programmed;

/// For so long after a change a Gateway that was programmed counts as programmed: its pods load a change within
/// fractions of a second, and a condition that flickers with each route helps nobody.
const GRACE: Duration = Duration::from_secs(2);

/// How far a data plane is.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    revision: String,
    since: Duration,
    /// The Gateway's generation when its pods last served what was wanted.
    good: Option<i64>,
    acknowledged: Option<Acknowledged>,
    /// Why its objects could not be applied.
    trouble: Option<String>,
}

impl Progress {
    /// A revision is wanted.
    pub fn want(&mut self, revision: &str, now: Duration) {
        if self.revision != revision {
            revision.clone_into(&mut self.revision);
            self.since = now;
        }
    }

    /// The pods have answered, while the Gateway had this generation.
    pub fn acknowledged(&mut self, answer: Acknowledged, generation: Option<i64>) {
        if answer.revision == self.revision && answer.programmed() == Programmed::Yes {
            self.good = generation;
        }
        self.acknowledged = Some(answer);
    }

    /// Applying its objects has ended, and how.
    pub fn applied(&mut self, trouble: Option<String>) {
        self.trouble = trouble;
    }

    /// What is to be said of the Gateway of that generation.
    #[must_use]
    pub fn programmed(&self, generation: Option<i64>, now: Duration) -> Programmed {
        if let Some(trouble) = &self.trouble {
            return Programmed::Pending(trouble.clone());
        }
        let answer = self.acknowledged.as_ref().filter(|answer| answer.revision == self.revision);
        match answer.map(Acknowledged::programmed) {
            Some(answered @ (Programmed::Yes | Programmed::Failed(_))) => answered,
            _ if self.is_in_grace(generation, now) => Programmed::Yes,
            Some(pending) => pending,
            None => Programmed::Pending(
                "the data plane has not yet said that it serves this configuration".into(),
            ),
        }
    }

    /// When [`Self::programmed`] may say something else without anything having happened.
    #[must_use]
    pub fn next_change(&self, now: Duration) -> Option<Duration> {
        Some(self.since + GRACE).filter(|time| *time > now)
    }

    fn is_in_grace(&self, generation: Option<i64>, now: Duration) -> bool {
        self.good.is_some() && self.good == generation && now < self.since + GRACE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(50);

    fn answer(revision: &str, serving: usize, ready: usize, pods: usize) -> Acknowledged {
        Acknowledged { revision: revision.into(), serving, ready, pods, refused: None }
    }

    fn is_yes(progress: &Progress, generation: i64, now: Duration) -> bool {
        progress.programmed(Some(generation), now) == Programmed::Yes
    }

    #[test]
    fn it_is_programmed_when_all_ready_pods_serve_the_revision() {
        let mut progress = Progress::default();
        progress.want("a", NOW);
        assert!(!is_yes(&progress, 1, NOW));
        for (serving, ready, pods, expected) in
            [(0, 0, 0, false), (0, 0, 1, false), (1, 2, 2, false), (1, 1, 2, true), (2, 2, 2, true)]
        {
            let mut progress = progress.clone();
            progress.acknowledged(answer("a", serving, ready, pods), Some(1));
            assert_eq!(is_yes(&progress, 1, NOW), expected, "{serving} of {pods}, {ready} ready");
        }
    }

    #[test]
    fn a_change_that_is_being_loaded_is_no_step_back_unless_it_takes_too_long() {
        let mut progress = Progress::default();
        progress.want("a", NOW);
        progress.acknowledged(answer("a", 1, 1, 1), Some(1));
        let later = NOW + Duration::from_secs(10);
        progress.want("b", later);
        assert!(is_yes(&progress, 1, later));
        assert!(!is_yes(&progress, 2, later), "the Gateway itself has changed");
        assert_eq!(progress.next_change(later), Some(later + GRACE));
        assert!(!is_yes(&progress, 1, later + GRACE));
        progress.acknowledged(answer("b", 1, 1, 1), Some(2));
        assert!(is_yes(&progress, 2, later + GRACE));
    }

    #[test]
    fn what_varnish_refuses_is_said_at_once() {
        let mut progress = Progress::default();
        progress.want("a", NOW);
        progress.acknowledged(answer("a", 1, 1, 1), Some(1));
        progress.want("b", NOW);
        let refused = Some("no".to_owned());
        progress.acknowledged(Acknowledged { refused, ..answer("b", 0, 1, 1) }, Some(1));
        assert!(
            matches!(progress.programmed(Some(1), NOW), Programmed::Failed(message) if message.contains("no"))
        );
    }
}
