//! When the health check of one service runs: one run per poll interval, and one run at a time.
//!
//! Ticks that pass while a check runs collapse into one. What the check does and what its result means is
//! decided elsewhere.

use crate::time::{Cadence, Duration, Instant};

/// The schedule of one health check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckSchedule {
    cadence: Cadence,
    checking: bool,
}

impl CheckSchedule {
    /// A check that is due for the first time one `poll` after `now` (LC-15).
    pub fn new(now: Instant, poll: Duration) -> Self {
        Self {
            cadence: Cadence::new(now, poll),
            checking: false,
        }
    }

    /// When the next run is due; none while a check runs.
    pub fn deadline(&self) -> Option<Instant> {
        (!self.checking).then(|| self.cadence.next())
    }

    /// Starts a run if one is due; returns whether the caller is to run the check now.
    #[must_use]
    pub fn start_if_due(&mut self, now: Instant) -> bool {
        let is_due = self.deadline().is_some_and(|deadline| deadline <= now);
        if is_due {
            self.cadence.take(now);
            self.checking = true;
        }
        is_due
    }

    /// The check has ended.
    pub fn end(&mut self) {
        self.checking = false;
    }

    /// Drops the ticks up to `now`: the next run is due at the first tick after it (LC-12).
    pub fn skip_to(&mut self, now: Instant) {
        self.cadence.take(now);
    }

    /// The process did not run for a while: the ticks that it missed collapse into one, or into none if a check runs
    /// or is `held` back by a request.
    pub fn after_standstill(&mut self, now: Instant, held: bool) {
        self.cadence.after_standstill(now, self.checking || held);
    }
}

crate::keyed!(CheckSchedule { cadence, checking });

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Instant {
        Instant::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn one_check_runs_at_a_time_and_missed_ticks_collapse() {
        let mut schedule = CheckSchedule::new(at(0), Duration::from_secs(10));
        assert!(!schedule.start_if_due(at(9)));
        assert!(schedule.start_if_due(at(10)));
        assert_eq!(schedule.deadline(), None);
        assert!(!schedule.start_if_due(at(45)), "a check runs");
        schedule.end();
        assert!(schedule.start_if_due(at(45)));
        schedule.end();
        assert_eq!(schedule.deadline(), Some(at(50)));
    }

    #[test]
    fn ticks_that_are_skipped_are_not_made_up_for() {
        let mut schedule = CheckSchedule::new(at(0), Duration::from_secs(10));
        schedule.skip_to(at(34));
        assert!(!schedule.start_if_due(at(34)));
        assert_eq!(schedule.deadline(), Some(at(40)));
    }
}
