//! The schedule of a periodic action, as far as the trace shows it: when the action may run, and when it must
//! have run.
//!
//! If starting a process takes time, the trace shows only in which turn a step was; so whether an action may
//! run is computed for one end of the turn, and whether it must have run for the other.

use super::turn::Turn;
use domain::Instant;
use domain::time::Duration;

/// When a periodic action may run, and when it must have run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Schedule {
    /// The earliest and the latest instant from which the period counts.
    opened: (Instant, Instant),
    period: Duration,
    /// How much earlier than after one period the first tick comes.
    ahead: Duration,
    /// The instant up to which ticks are used, at least and at most.
    used: (Instant, Instant),
    /// The turn in which the action last ended.
    freed: Option<Instant>,
}

impl Schedule {
    pub fn new(turn: Instant, now: Instant, period: Duration) -> Self {
        Self {
            opened: (turn, now),
            period,
            ahead: Duration::ZERO,
            used: (turn, now),
            freed: None,
        }
    }

    pub fn period(&self) -> Duration {
        self.period
    }

    /// The action started.
    pub fn begin(&mut self, turn: Instant, now: Instant) {
        self.used = (turn, now);
    }

    /// The ticks up to now are dropped.
    pub fn resume(&mut self, turn: Instant, now: Instant) {
        self.used = (turn, now);
    }

    /// The period counts from now on, and the first tick comes `ahead` of its end.
    pub fn begin_anew(&mut self, turn: Instant, now: Instant, ahead: Duration) {
        (self.opened, self.used, self.ahead) = ((turn, now), (turn, now), ahead);
    }

    /// The action ended in this turn, so it may start again.
    pub fn end(&mut self, turn: Instant) {
        self.freed = Some(turn);
    }

    /// Whether the action may start now: a tick comes in this turn, or waited for the end of the last run
    /// (LC-15, LC-16).
    pub fn may_begin(&self, turn: &Turn, now: Instant) -> bool {
        if self.opened.0 != self.opened.1 {
            return now >= self.opened.0 + (self.period - self.ahead);
        }
        match self.last_tick(self.opened.0, now) {
            Some(tick) => tick > self.used.0 && (tick >= turn.ticks_since || self.freed == Some(turn.began)),
            None => false,
        }
    }

    /// Whether a tick of the last `longest_wait` was not used, or may have waited for an end in that time.
    pub fn waits(&self, now: Instant, longest_wait: Duration) -> bool {
        let tick = self.last_tick(self.opened.0, now);
        let since = self.used.0.max(self.freed.unwrap_or_default());
        let unused = tick.is_some_and(|tick| tick > self.used.0) && now - since <= self.period + longest_wait;
        unused || self.freed.is_some_and(|freed| now - freed <= longest_wait)
    }

    /// From when on the next run is due if the last one was due at `last`, as far as that is known: the tick after it,
    /// or the end of what kept that tick waiting.
    pub fn next_due(&self, last: Instant) -> Instant {
        let exact = self.opened.0 == self.opened.1;
        let tick = if exact {
            let last = self.last_tick(self.opened.0, last);
            last.map_or(self.opened.0 + (self.period - self.ahead), |last| {
                last + self.period
            })
        } else {
            last
        };
        self.freed.map_or(tick, |freed| tick.max(freed))
    }

    /// Whether the action should have started before now, if nothing prevented it.
    pub fn is_overdue(&self, turn: Instant) -> bool {
        let exact = self.opened.0 == self.opened.1;
        exact
            && self
                .last_tick(self.opened.1, turn)
                .is_some_and(|tick| tick > self.used.1)
    }

    /// The machine was paused until now: of the missed ticks one is due now, or none if the action is busy,
    /// and the period counts from now.
    pub fn after_standstill(&mut self, now: Instant, busy: bool) {
        let exact = self.opened.0 == self.opened.1;
        let next = self.used.0.max(self.opened.0);
        let next = match self.last_tick(self.opened.0, next) {
            Some(tick) => tick + self.period,
            None => self.opened.0 + (self.period - self.ahead),
        };
        if !exact || next >= now {
            return;
        }
        let passed = now.since_start();
        let before = |by| Instant::after_start(passed.saturating_sub(by));
        let (opened, used, ahead) = if busy {
            (now, now, Duration::ZERO)
        } else if passed < self.period {
            (now, before(Duration::from_nanos(1)), self.period)
        } else {
            (before(self.period), before(self.period), Duration::ZERO)
        };
        (self.opened, self.used, self.ahead) = ((opened, opened), (used, used), ahead);
    }

    /// From now on the times of its ticks are unknown.
    pub fn blur(&mut self, now: Instant) {
        self.opened.1 = now;
    }

    fn last_tick(&self, opened: Instant, now: Instant) -> Option<Instant> {
        let ticks = (now - opened + self.ahead).as_nanos() / self.period.as_nanos();
        let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
        (ticks > 0).then(|| opened + (self.period * ticks - self.ahead))
    }
}

domain::keyed!(Schedule {
    opened,
    period,
    ahead,
    used,
    freed
});

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Instant {
        Instant::after_start(Duration::from_millis(milliseconds))
    }

    #[test]
    fn after_a_pause_one_tick_remains_and_the_period_counts_from_then() {
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
