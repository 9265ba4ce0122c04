//! When the health check of one service runs, and what its results mean.
//!
//! There is one run per poll interval, and one run at a time; ticks that pass while a check runs collapse into one.
//! Without [`Thresholds`] each run decides whether the service is healthy. With them the results in a row count: a
//! service is unhealthy after so many failures, and healthy again after so many successes. Failures do not count in
//! the start period, which ends early with the first success. What the check does, and what follows from the health
//! of a service, is decided elsewhere.

use crate::plan::Thresholds;
use crate::spread::Place;
use crate::time::{Cadence, Duration, Instant};
use core::num::NonZeroU32;

/// What the results of a service's health check say about the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// No success yet, and too few failures.
    Unknown,
    /// The service can be used.
    Healthy,
    /// The service cannot be used.
    Unhealthy,
}

impl Health {
    /// The health by one result, without thresholds.
    pub const fn of(passed: bool) -> Self {
        if passed { Self::Healthy } else { Self::Unhealthy }
    }
}

/// The results of a health check with thresholds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckResults {
    thresholds: Thresholds,
    health: Health,
    /// How many results in a row were contrary to the health, without those that do not count.
    contrary: u32,
    /// The end of the start period, if the check has not passed yet.
    start_ends: Option<Instant>,
}

impl CheckResults {
    /// No results yet; the start period begins `now`.
    pub fn new(now: Instant, thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            health: Health::Unknown,
            contrary: 0,
            start_ends: Some(now + thresholds.start_period),
        }
    }

    /// The health after the results so far.
    pub const fn health(&self) -> Health {
        self.health
    }

    /// The thresholds.
    pub const fn thresholds(&self) -> &Thresholds {
        &self.thresholds
    }

    /// How many failures in a row counted since the service was last healthy, if it is not unhealthy.
    pub const fn failures(&self) -> u32 {
        match self.health {
            Health::Unknown | Health::Healthy => self.contrary,
            Health::Unhealthy => 0,
        }
    }

    /// Whether a failure does not count because the start period lasts.
    pub fn is_starting(&self, now: Instant) -> bool {
        self.health == Health::Unknown && self.start_ends.is_some_and(|end| now < end)
    }

    /// Counts the result of a run that has ended `now`. Returns the health.
    pub fn add(&mut self, now: Instant, passed: bool) -> Health {
        if passed {
            self.start_ends = None;
        }
        self.contrary = match (self.health, passed) {
            (Health::Healthy, true) | (Health::Unhealthy, false) => 0,
            (Health::Unknown, false) if self.is_starting(now) => 0,
            _ => self.contrary.saturating_add(1),
        };
        let limit = match self.health {
            Health::Unhealthy => self.thresholds.successes.get(),
            Health::Unknown if passed => 1,
            Health::Unknown | Health::Healthy => self.thresholds.failures_in_a_row(),
        };
        if self.contrary >= limit {
            (self.health, self.contrary) = (Health::of(passed), 0);
        }
        self.health
    }

    /// The check was not run for a while, so the earlier results say nothing.
    pub fn forget(&mut self) {
        (self.health, self.contrary) = (Health::Unknown, 0);
    }

    /// The process did not run for a while: the start period begins anew if no result has counted yet.
    pub fn after_standstill(&mut self, now: Instant) {
        if (self.health, self.contrary) == (Health::Unknown, 0) {
            self.start_ends = self.start_ends.map(|_| now + self.thresholds.start_period);
        }
    }
}

/// How many failures of a health check in a row end the shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FailureLimit {
    limit: NonZeroU32,
    failures: u32,
}

impl FailureLimit {
    /// No failure so far.
    pub const fn new(limit: NonZeroU32) -> Self {
        Self { limit, failures: 0 }
    }

    /// Counts a result. Returns whether the limit is reached by it.
    pub fn add(&mut self, passed: bool) -> bool {
        self.failures = if passed {
            0
        } else {
            self.failures.saturating_add(1)
        };
        self.failures == self.limit.get()
    }

    /// The limit.
    pub const fn limit(&self) -> NonZeroU32 {
        self.limit
    }

    /// The check was not run for a while, so the earlier results say nothing.
    pub fn forget(&mut self) {
        self.failures = 0;
    }
}

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

    /// A check that is due for the first time after `first`, and then once in each `interval`.
    pub fn beginning(now: Instant, first: Duration, interval: Duration) -> Self {
        Self {
            cadence: Cadence::beginning(now, first, interval),
            checking: false,
        }
    }

    /// The same schedule for a service with this place among others.
    #[must_use]
    pub fn at(self, place: Place) -> Self {
        let delay = place.delay(self.cadence.period());
        Self {
            cadence: self.cadence.delayed(delay),
            ..self
        }
    }

    /// The schedule begins anew: the next run is due after `first` and the delay of its place. A run in progress goes on.
    pub fn begin_anew(&mut self, now: Instant, first: Duration) {
        let (period, delay) = (self.cadence.period(), self.cadence.delay());
        self.cadence = Cadence::beginning(now, first, period).delayed(delay);
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

crate::keyed_as_is!(Health, Thresholds);
crate::keyed!(CheckResults {
    thresholds,
    health,
    contrary,
    start_ends
});
crate::keyed_as_is!(FailureLimit);
crate::keyed!(CheckSchedule { cadence, checking });

#[cfg(test)]
mod tests {
    use super::*;
    use core::num::NonZeroU32;
    use std::vec::Vec;

    const fn at(seconds: u64) -> Instant {
        Instant::after_start(Duration::from_secs(seconds))
    }

    const UNKNOWN: Health = Health::Unknown;
    const HEALTHY: Health = Health::Healthy;
    const UNHEALTHY: Health = Health::Unhealthy;

    fn results(failures: u32, successes: u32, start_period: u64) -> CheckResults {
        let thresholds = Thresholds {
            failures: NonZeroU32::new(failures),
            successes: NonZeroU32::new(successes).unwrap(),
            start_period: Duration::from_secs(start_period),
        };
        CheckResults::new(at(0), thresholds)
    }

    /// The health after each of these results, `+` for a success and `-` for a failure, ten seconds apart.
    fn after(results: &mut CheckResults, written: &str) -> Vec<Health> {
        let numbered = (1..).zip(written.chars());
        let healths = numbered.map(|(number, result)| results.add(at(number * 10), result == '+'));
        healths.collect()
    }

    #[test]
    fn a_service_is_unhealthy_after_so_many_failures_in_a_row() {
        assert_eq!(
            after(&mut results(3, 1, 0), "+--+---+"),
            [
                HEALTHY, HEALTHY, HEALTHY, HEALTHY, HEALTHY, HEALTHY, UNHEALTHY, HEALTHY
            ]
        );
    }

    #[test]
    fn a_service_is_healthy_again_after_so_many_successes_in_a_row() {
        assert_eq!(
            after(&mut results(1, 3, 0), "+-++-+++"),
            [
                HEALTHY, UNHEALTHY, UNHEALTHY, UNHEALTHY, UNHEALTHY, UNHEALTHY, UNHEALTHY, HEALTHY
            ]
        );
    }

    #[test]
    fn the_first_success_is_enough_and_failures_before_it_count() {
        assert_eq!(after(&mut results(3, 2, 0), "--+"), [UNKNOWN, UNKNOWN, HEALTHY]);
        assert_eq!(
            after(&mut results(2, 2, 0), "--+"),
            [UNKNOWN, UNHEALTHY, UNHEALTHY]
        );
    }

    #[test]
    fn failures_in_the_start_period_do_not_count_until_the_first_success() {
        let mut slow = results(2, 1, 30);
        assert_eq!(after(&mut slow, "----"), [UNKNOWN, UNKNOWN, UNKNOWN, UNHEALTHY]);
        let mut early = results(2, 1, 300);
        assert_eq!(after(&mut early, "-+--"), [UNKNOWN, HEALTHY, HEALTHY, UNHEALTHY]);
    }

    #[test]
    fn after_a_pause_the_start_period_begins_anew_if_nothing_counted_yet() {
        let mut waiting = results(1, 1, 30);
        waiting.after_standstill(at(600));
        assert_eq!(waiting.add(at(629), false), UNKNOWN);
        assert_eq!(waiting.add(at(630), false), UNHEALTHY);
        waiting.after_standstill(at(700));
        assert_eq!(waiting.health(), UNHEALTHY);
        let mut counted = results(2, 1, 30);
        counted.add(at(30), false);
        counted.after_standstill(at(600));
        assert_eq!(counted.add(at(601), false), UNHEALTHY);
    }

    #[test]
    fn without_a_number_of_failures_the_first_one_is_enough() {
        let mut results = results(0, 2, 0);
        assert_eq!(
            after(&mut results, "+-++"),
            [HEALTHY, UNHEALTHY, UNHEALTHY, HEALTHY]
        );
        results.forget();
        assert_eq!(results.health(), UNKNOWN);
        assert_eq!(results.add(at(90), true), HEALTHY);
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
