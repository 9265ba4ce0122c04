//! Time in the core: durations since the start of the program, which the caller passes in.
//!
//! This module decides when a periodic action is due ([`Cadence`]) and how long to wait after a failure
//! ([`Backoff`]). It reads no clock. A step of the machine's calendar clock has no effect, because only
//! durations are passed in.

use crate::state_key::{Keyed, StateKey};
use core::ops::{Add, Sub};
pub use core::time::Duration;

/// A point in time, as the time since the start of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(Duration);

impl Instant {
    /// The start of the program.
    pub const START: Self = Self(Duration::ZERO);

    /// The instant this long after the start.
    pub const fn after_start(after: Duration) -> Self {
        Self(after)
    }

    /// The time since the start.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// The time from `earlier` to this instant; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl Sub for Instant {
    type Output = Duration;
    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// The earlier of two deadlines, where `None` means "never".
pub fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (only, None) | (None, only) => only,
    }
}

/// The schedule of a periodic action: the first tick comes one full period after the start (LC-15). However long an
/// action takes, at most one tick waits for it, and the others are dropped (LC-16).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cadence {
    period: Duration,
    next: Instant,
    /// How much later the ticks come than at the ends of the periods.
    delay: Duration,
}

impl Cadence {
    /// Ticks with this period, counted from `now`. A period of zero becomes one millisecond.
    pub fn new(now: Instant, period: Duration) -> Self {
        let period = period.max(Duration::from_millis(1));
        Self {
            period,
            next: now + period,
            delay: Duration::ZERO,
        }
    }

    /// Ticks with this period, the first of which comes after `first`.
    pub fn beginning(now: Instant, first: Duration, period: Duration) -> Self {
        Self {
            next: now + first,
            ..Self::new(now, period)
        }
    }

    /// The same ticks, each later by this time.
    #[must_use]
    pub fn delayed(self, by: Duration) -> Self {
        Self {
            next: self.next + by,
            delay: by,
            ..self
        }
    }

    /// How much later the ticks come than at the ends of the periods.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// When the next tick comes; in the past if a tick waits.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// The time between two ticks.
    pub fn period(&self) -> Duration {
        self.period
    }

    /// Takes the tick that waits, and with it all ticks up to `now`. Returns whether there was one.
    pub fn take(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        let missed = (now - self.next).as_nanos() / self.period.as_nanos();
        let ticks = u32::try_from(missed.saturating_add(1)).unwrap_or(u32::MAX);
        self.next = self.next + self.period.saturating_mul(ticks);
        if self.next <= now {
            self.next = now + self.period;
        }
        true
    }

    /// Called after the machine was paused. If ticks were missed, one remains: it is due now, or after the delay, or
    /// dropped if the action is `busy`. The period is counted from now on.
    pub fn after_standstill(&mut self, now: Instant, busy: bool) {
        if self.next < now {
            let first = now + self.delay;
            self.next = if busy { first + self.period } else { first };
        }
    }
}

/// The waiting time after failures in a row. It doubles from `first` to `most`, and each wait is chosen from
/// the upper half of its step, so that many shims that failed at the same time do not retry at the same time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    failures: u32,
    jitter: Jitter,
}

impl Backoff {
    /// Waits of between half of `first` and `most`; `jitter` selects the value.
    pub fn new(first: Duration, most: Duration, jitter: Jitter) -> Self {
        Self {
            first,
            most,
            failures: 0,
            jitter,
        }
    }

    /// Counts one more failure. Returns how long to wait after it.
    pub fn delay(&mut self) -> Duration {
        let doublings = self.failures.min(31);
        self.failures = self.failures.saturating_add(1);
        let step = self.first.saturating_mul(1 << doublings).min(self.most);
        self.jitter.between(step / 2, step)
    }

    /// Called after a success: the next failure has the first waiting time.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The number of failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

/// A reproducible source of jitter (splitmix64): the same seed gives the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Jitter(u64);

impl Jitter {
    /// A source that starts from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A second source, independent of this one.
    pub fn split(&mut self) -> Self {
        Self(self.draw())
    }

    /// A duration from `low` up to and including `high`, to the millisecond.
    pub fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let span = high.saturating_sub(low).as_millis();
        let span = u64::try_from(span).unwrap_or(u64::MAX - 1);
        low.saturating_add(Duration::from_millis(self.draw() % (span + 1)))
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

crate::keyed!(Cadence { period, next, delay });

/// Left out: how many failures there were in a row, except whether there were any.
impl Keyed for Backoff {
    fn write_key(&self, key: &mut impl StateKey) {
        let Self {
            first,
            most,
            failures,
            jitter: _,
        } = self;
        first.write_key(key);
        most.write_key(key);
        (*failures > 0).write_key(key);
    }
}

impl Keyed for Instant {
    fn write_key(&self, key: &mut impl StateKey) {
        key.instant(self.since_start());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn at(milliseconds: u64) -> Instant {
        Instant::after_start(Duration::from_millis(milliseconds))
    }

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_first_tick_comes_after_one_full_period() {
        let mut cadence = Cadence::new(at(500), ms(1000));
        assert!(!cadence.take(at(500)));
        assert!(!cadence.take(at(1499)));
        assert!(cadence.take(at(1500)));
        assert!(!cadence.take(at(1500)));
    }

    #[test]
    fn after_an_overrun_one_tick_remains_and_the_period_does_not_shift() {
        let mut cadence = Cadence::new(at(0), ms(100));
        assert!(cadence.take(at(100)));
        assert!(cadence.take(at(570)), "one tick waited");
        assert!(!cadence.take(at(599)), "the others were dropped");
        assert!(cadence.take(at(600)), "and the beat is the old one");
    }

    #[test]
    fn after_a_pause_one_tick_remains_and_the_period_counts_from_then() {
        let mut cadence = Cadence::new(at(0), ms(100));
        cadence.after_standstill(at(90), false);
        assert_eq!(cadence.next(), at(100), "nothing was missed");
        cadence.after_standstill(at(5_070), false);
        assert!(cadence.take(at(5_070)));
        assert!(!cadence.take(at(5_169)), "no second one within a period");
        assert!(cadence.take(at(5_170)));
        cadence.after_standstill(at(9_000), true);
        assert!(!cadence.take(at(9_099)));
        assert!(cadence.take(at(9_100)));
    }

    #[test]
    fn delayed_ticks_keep_their_delay_after_a_pause() {
        let mut cadence = Cadence::new(at(0), ms(100)).delayed(ms(30));
        assert!(!cadence.take(at(129)));
        assert!(cadence.take(at(130)));
        assert_eq!(cadence.next(), at(230));
        cadence.after_standstill(at(5_000), false);
        assert_eq!(cadence.next(), at(5_030));
        assert!(cadence.take(at(5_030)));
        cadence.after_standstill(at(9_000), true);
        assert_eq!(cadence.next(), at(9_130));
    }

    #[test]
    fn a_period_of_zero_is_one_millisecond() {
        let mut cadence = Cadence::new(at(0), ms(0));
        assert!(cadence.take(at(5)));
        assert!(!cadence.take(at(5)));
    }

    #[test]
    fn the_earliest_of_two_deadlines_is_selected() {
        assert_eq!(earliest(None, None), None);
        assert_eq!(earliest(Some(at(2)), None), Some(at(2)));
        assert_eq!(earliest(None, Some(at(2))), Some(at(2)));
        assert_eq!(earliest(Some(at(3)), Some(at(2))), Some(at(2)));
    }

    proptest! {
        #[test]
        fn after_a_tick_was_taken_the_next_lies_in_the_future(
            period in 0u64..100_000, start in 0u64..1_000, waits in prop::collection::vec(0u64..1_000_000, 1..50)
        ) {
            let mut cadence = Cadence::new(at(start), ms(period));
            let mut now = start;
            for wait in waits {
                now += wait;
                let due = cadence.next() <= at(now);
                prop_assert_eq!(cadence.take(at(now)), due);
                prop_assert!(cadence.next() > at(now));
                let beats = (cadence.next() - at(start)).as_millis();
                prop_assert_eq!(beats % u128::from(period.max(1)), 0, "the beat is kept");
            }
        }

        #[test]
        fn backoff_stays_within_its_bounds(seed: u64, first in 1u64..1_000, factor in 1u64..100, failures in 1usize..80) {
            let most = first * factor;
            let mut backoff = Backoff::new(ms(first), ms(most), Jitter::new(seed));
            for failure in 0..failures {
                let step = ms(first).saturating_mul(1 << failure.min(31)).min(ms(most));
                let wait = backoff.delay();
                prop_assert!(wait >= step / 2 && wait <= step, "{wait:?} of {step:?}");
            }
            backoff.reset();
            prop_assert!(backoff.delay() <= ms(first));
        }
    }

    #[test]
    fn the_waiting_time_depends_on_the_seed_only() {
        let waits = |seed| {
            let mut backoff = Backoff::new(ms(250), ms(30_000), Jitter::new(seed));
            core::array::from_fn::<_, 8, _>(|_| backoff.delay())
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }
}
