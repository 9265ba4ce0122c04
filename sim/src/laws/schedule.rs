//! The schedule of something periodic, as the observer of the laws knows it: when it may run, and when it must have run.
//!
//! Where starting a process takes time, the observer knows the instant of a step only within its turn; so
//! what may be is judged from one end of the turn and what must be from the other.

use super::turn::Turn;
use domain::Instant;
use domain::time::Duration;

/// When something periodic may run, and when it has to have run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Schedule {
    /// The earliest and the latest instant from which it may count.
    opened: (Instant, Instant),
    period: Duration,
    /// Up to where its ticks are used up, at least and at most.
    used: (Instant, Instant),
    /// The turn in which it was last free again.
    freed: Option<Instant>,
}

impl Schedule {
    pub fn new(turn: Instant, now: Instant, period: Duration) -> Self {
        Self {
            opened: (turn, now),
            period,
            used: (turn, now),
            freed: None,
        }
    }

    pub fn period(&self) -> Duration {
        self.period
    }

    /// It began.
    pub fn begin(&mut self, turn: Instant, now: Instant) {
        self.used = (turn, now);
    }

    /// The ticks up to now count for nothing.
    pub fn resume(&mut self, turn: Instant, now: Instant) {
        self.used = (turn, now);
    }

    /// It is free to begin again, in this turn.
    pub fn end(&mut self, turn: Instant) {
        self.freed = Some(turn);
    }

    /// Whether it may begin now: a tick comes in this turn, or waited for the end of the last run (LC-15,
    /// LC-16).
    pub fn may_begin(&self, turn: &Turn, now: Instant) -> bool {
        if self.opened.0 != self.opened.1 {
            return now >= self.opened.0 + self.period;
        }
        match self.last_tick(self.opened.0, now) {
            Some(tick) => tick > self.used.0 && (tick >= turn.looked || self.freed == Some(turn.began)),
            None => false,
        }
    }

    /// Whether a tick that came at most so long ago was not used, or may have waited for an end as long ago.
    pub fn waits(&self, now: Instant, patience: Duration) -> bool {
        let tick = self.last_tick(self.opened.0, now);
        let since = self.used.0.max(self.freed.unwrap_or_default());
        let unused = tick.is_some_and(|tick| tick > self.used.0) && now - since <= self.period + patience;
        unused || self.freed.is_some_and(|freed| now - freed <= patience)
    }

    /// Whether it should have begun before now, if nothing kept it.
    pub fn is_overdue(&self, turn: Instant) -> bool {
        let exact = self.opened.0 == self.opened.1;
        exact
            && self
                .last_tick(self.opened.1, turn)
                .is_some_and(|tick| tick > self.used.1)
    }

    /// The machine stood still until now: of the ticks that were missed one is due now, or none if it is busy, and
    /// the schedule counts from now.
    pub fn after_standstill(&mut self, now: Instant, busy: bool) {
        let exact = self.opened.0 == self.opened.1;
        let next = self.used.0.max(self.opened.0);
        let next = self.last_tick(self.opened.0, next).unwrap_or(self.opened.0) + self.period;
        if !exact || next >= now {
            return;
        }
        let opened = if busy {
            now
        } else {
            Instant::after_start(now.since_start().saturating_sub(self.period))
        };
        (self.opened, self.used) = ((opened, opened), (opened, opened));
    }

    /// From now on the times of its ticks are not known.
    pub fn blur(&mut self, now: Instant) {
        self.opened.1 = now;
    }

    fn last_tick(&self, opened: Instant, now: Instant) -> Option<Instant> {
        let ticks = (now - opened).as_nanos() / self.period.as_nanos();
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        (ticks > 0).then(|| opened + self.period * ticks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Instant {
        Instant::after_start(Duration::from_millis(milliseconds))
    }

    #[test]
    fn after_a_standstill_one_tick_is_left_and_the_beat_counts_from_then() {
        let mut schedule = Schedule::new(at(0), at(0), Duration::from_millis(100));
        schedule.begin(at(100), at(100));
        schedule.after_standstill(at(180), false);
        assert!(
            !schedule.is_overdue(at(199)) && schedule.is_overdue(at(200)),
            "nothing was missed"
        );
        schedule.after_standstill(at(5_070), false);
        assert!(schedule.may_begin(&Turn::at(at(5_070)), at(5_070)) && schedule.is_overdue(at(5_070)));
        schedule.begin(at(5_070), at(5_070));
        assert!(!schedule.may_begin(&Turn::at(at(5_100)), at(5_100)));
        assert!(schedule.is_overdue(at(5_170)));
        schedule.after_standstill(at(9_000), true);
        assert!(!schedule.is_overdue(at(9_099)) && schedule.is_overdue(at(9_100)));
    }

    #[test]
    fn a_schedule_allows_a_run_at_each_tick_and_one_for_a_missed_tick() {
        let mut schedule = Schedule::new(at(0), at(0), Duration::from_millis(100));
        let may_begin = |schedule: &Schedule, now| schedule.may_begin(&Turn::at(now), now);
        assert!(!may_begin(&schedule, at(99)));
        assert!(may_begin(&schedule, at(100)));
        assert!(!schedule.is_overdue(at(99)));
        schedule.begin(at(100), at(100));
        assert!(!may_begin(&schedule, at(150)));
        schedule.end(at(230));
        assert!(may_begin(&schedule, at(230)), "a tick waited");
        assert!(!may_begin(&schedule, at(231)), "but not for ever");
        assert!(schedule.is_overdue(at(231)));
        schedule.resume(at(240), at(240));
        assert!(!may_begin(&schedule, at(240)));
        assert!(!schedule.is_overdue(at(299)));
    }
}
