//! When the handler of a backend runs after changes: after a quiet time, after a random delay, and only with enough
//! instances.
//!
//! A change begins the quiet time, and each further change begins it anew, up to a maximum that counts from the first of
//! them. After it comes the random delay (*splay*), which further changes do not extend. While there are fewer instances
//! than the minimum, the changes wait; the quiet time begins when there are enough. Without any of these keys the handler
//! runs at once (SD-5).
//!
//! Whether the handler can be started, because it does not run yet and there is no maintenance, is decided elsewhere.

use crate::plan::Timing;
use crate::state_key::{Keyed, StateKey, write_variant};
use crate::time::{Duration, Instant, Jitter};

/// The changes that wait for the handler of one backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Delay {
    timing: Timing,
    state: State,
    jitter: Jitter,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum State {
    /// No change waits.
    Idle,
    /// There are fewer instances than the minimum.
    HeldBack,
    /// In the quiet time, which ends at `latest` whatever changes.
    Quiet { until: Instant, latest: Instant },
    /// In the random delay.
    Splay { until: Instant },
    /// The handler is to run as soon as it can.
    Due,
}

impl Delay {
    /// No change waits; `jitter` selects the random delays.
    pub const fn new(timing: Timing, jitter: Jitter) -> Self {
        Self {
            timing,
            state: State::Idle,
            jitter,
        }
    }

    /// When [`Self::on_time`] changes something.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Quiet { until, .. } | State::Splay { until } => Some(until),
            State::Idle | State::HeldBack | State::Due => None,
        }
    }

    /// Whether the handler is to run as soon as it can.
    pub fn is_due(&self) -> bool {
        self.state == State::Due
    }

    /// Whether changes wait only because there are fewer instances than this minimum.
    pub fn held_back(&self) -> Option<u32> {
        (self.state == State::HeldBack).then_some(self.timing.minimum)
    }

    /// The list of instances has changed; it has so many now.
    pub fn on_change(&mut self, now: Instant, instances: usize) {
        self.on_time(now);
        self.state = match self.state {
            _ if !self.timing.is_enough(instances) => State::HeldBack,
            State::Idle | State::HeldBack => self.begin(now),
            State::Quiet { latest, .. } => {
                let until = latest.min(now + self.quiet());
                State::Quiet { until, latest }
            }
            State::Splay { until } => State::Splay { until },
            State::Due => State::Due,
        };
        self.on_time(now);
    }

    /// Time passed: the quiet time or the random delay may be over.
    pub fn on_time(&mut self, now: Instant) {
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            self.state = match self.state {
                State::Quiet { until, .. } if self.timing.splay > Duration::ZERO => State::Splay {
                    until: until + self.jitter.between(Duration::ZERO, self.timing.splay),
                },
                _ => State::Due,
            };
        }
    }

    /// A run was lost: the handler is to run again, without a delay.
    pub fn run_again(&mut self, instances: usize) {
        if self.state == State::Idle {
            self.state = match self.timing.is_enough(instances) {
                true => State::Due,
                false => State::HeldBack,
            };
        }
    }

    /// The handler starts with all changes until now.
    pub fn take(&mut self) {
        self.state = State::Idle;
    }

    /// Another configuration: changes that wait begin their delay anew.
    pub fn retime(&mut self, now: Instant, timing: Timing, instances: usize) {
        if self.timing == timing {
            return;
        }
        self.timing = timing;
        if self.state != State::Idle {
            self.state = State::Idle;
            self.on_change(now, instances);
        }
    }

    fn begin(&self, now: Instant) -> State {
        let latest = now + self.timing.wait.map_or(Duration::ZERO, |wait| wait.most);
        let until = latest.min(now + self.quiet());
        State::Quiet { until, latest }
    }

    fn quiet(&self) -> Duration {
        self.timing.wait.map_or(Duration::ZERO, |wait| wait.quiet)
    }
}

crate::keyed!(Delay { timing, state } without { jitter });

impl Keyed for State {
    fn write_key(&self, key: &mut impl StateKey) {
        write_variant(self, key);
        match self {
            Self::Quiet { until, latest } => {
                until.write_key(key);
                latest.write_key(key);
            }
            Self::Splay { until } => until.write_key(key),
            Self::Idle | Self::HeldBack | Self::Due => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Wait;
    use proptest::prelude::*;

    const fn at(milliseconds: u64) -> Instant {
        Instant::after_start(ms(milliseconds))
    }

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn with(quiet: u64, most: u64, splay: u64, minimum: u32) -> Delay {
        let wait = (quiet > 0).then_some(Wait {
            quiet: ms(quiet),
            most: ms(most),
        });
        let timing = Timing {
            wait,
            splay: ms(splay),
            minimum,
        };
        Delay::new(timing, Jitter::new(1))
    }

    #[test]
    fn without_a_delay_a_change_is_due_at_once() {
        let mut delay = with(0, 0, 0, 0);
        delay.on_change(at(5), 0);
        assert!(delay.is_due());
        delay.take();
        assert!(!delay.is_due());
    }

    #[test]
    fn each_change_begins_the_quiet_time_anew_up_to_its_maximum() {
        let mut delay = with(2_000, 5_000, 0, 0);
        for (change, due) in [(0, 2_000), (1_900, 3_900), (3_800, 5_000), (4_900, 5_000)] {
            delay.on_change(at(change), 1);
            assert_eq!(delay.deadline(), Some(at(due)), "after the change at {change}");
        }
        delay.on_time(at(4_999));
        assert!(!delay.is_due());
        delay.on_time(at(5_000));
        assert!(delay.is_due());
        delay.on_change(at(6_000), 2);
        assert!(delay.is_due(), "it waits only for the handler");
    }

    #[test]
    fn the_random_delay_follows_the_quiet_time_and_is_not_extended() {
        let mut delay = with(1_000, 4_000, 3_000, 0);
        delay.on_change(at(0), 1);
        delay.on_time(at(1_000));
        let until = delay.deadline().unwrap();
        assert!(until > at(1_000) && until <= at(4_000), "{until:?}");
        delay.on_change(at(1_001), 2);
        assert_eq!(delay.deadline(), Some(until));
        delay.on_time(until);
        assert!(delay.is_due());
    }

    #[test]
    fn with_fewer_instances_than_the_minimum_changes_wait() {
        let mut delay = with(1_000, 4_000, 0, 2);
        delay.on_change(at(0), 1);
        assert_eq!((delay.held_back(), delay.deadline()), (Some(2), None));
        delay.on_change(at(60_000), 2);
        assert_eq!(delay.held_back(), None);
        assert_eq!(
            delay.deadline(),
            Some(at(61_000)),
            "the quiet time counts from here"
        );
        delay.on_change(at(60_500), 0);
        assert_eq!((delay.held_back(), delay.deadline()), (Some(2), None));
        delay.on_change(at(70_000), 3);
        delay.on_time(at(71_000));
        assert!(delay.is_due());
    }

    #[test]
    fn a_run_that_was_lost_is_due_without_a_delay_if_there_are_enough_instances() {
        let mut delay = with(1_000, 4_000, 3_000, 2);
        delay.run_again(2);
        assert!(delay.is_due());
        delay.take();
        delay.run_again(1);
        assert_eq!(delay.held_back(), Some(2));
        delay.on_change(at(5), 2);
        delay.run_again(2);
        assert_eq!(delay.deadline(), Some(at(1_005)), "a change waits already");
    }

    #[test]
    fn another_configuration_begins_the_delay_of_what_waits_anew() {
        let mut delay = with(1_000, 4_000, 0, 2);
        let other = Timing {
            minimum: 1,
            ..delay.timing
        };
        delay.retime(at(5), other, 1);
        assert_eq!(delay.deadline(), None, "nothing waits");
        let mut delay = with(1_000, 4_000, 0, 2);
        delay.on_change(at(0), 1);
        delay.retime(at(500), other, 1);
        assert_eq!(delay.deadline(), Some(at(1_500)));
        delay.retime(at(700), other, 1);
        assert_eq!(delay.deadline(), Some(at(1_500)), "the same configuration");
    }

    proptest! {
        #[test]
        fn a_handler_runs_within_its_quiet_time_its_maximum_and_its_splay(
            quiet in 1u64..5_000, more in 0u64..10_000, splay in 0u64..5_000, seed: u64,
            pauses in prop::collection::vec(0u64..4_000, 1..20)
        ) {
            let mut delay = with(quiet, quiet + more, splay, 0);
            delay.jitter = Jitter::new(seed);
            let (mut now, mut first, mut last) = (0, None, 0);
            for pause in pauses {
                now += pause;
                if delay.deadline().is_some_and(|deadline| deadline <= at(now)) {
                    break;
                }
                delay.on_change(at(now), 1);
                first.get_or_insert(now);
                last = now;
            }
            let first = first.unwrap_or_default();
            let quiet_ends = (last + quiet).min(first + quiet + more);
            let mut at_end = at(0);
            while let Some(deadline) = delay.deadline() {
                prop_assert!(deadline >= at(quiet_ends) && deadline <= at(quiet_ends + splay));
                delay.on_time(deadline);
                at_end = deadline;
            }
            prop_assert!(delay.is_due() && at_end >= at(quiet_ends));
        }
    }
}
