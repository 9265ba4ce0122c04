//! The health of a service by the results of its checks and its thresholds, computed from the trace alone.

use domain::Instant;
use domain::plan::Thresholds;
use std::num::NonZeroU32;

/// The results of a service's checks so far.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HealthFacts {
    thresholds: Thresholds,
    state: State,
    /// The results in a row that are contrary to the state; in [`State::Unsure`] the successes in a row.
    row: u32,
    /// The earliest and the latest instant from which the start period counts.
    starts: (Instant, Instant),
    passed_once: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Unknown,
    Healthy,
    Unhealthy,
    /// A result came so close to the end of the start period that the trace does not show whether it counts.
    Unsure,
}

impl HealthFacts {
    pub fn new(turn: Instant, now: Instant, thresholds: Thresholds) -> Self {
        Self {
            thresholds,
            state: State::Unknown,
            row: 0,
            starts: (turn, now),
            passed_once: false,
        }
    }

    pub fn is_healthy(&self) -> bool {
        self.state == State::Healthy
    }

    pub fn is_unhealthy(&self) -> bool {
        self.state == State::Unhealthy
    }

    /// Whether the trace does not show the health.
    pub fn is_unsure(&self) -> bool {
        self.state == State::Unsure
    }

    /// Whether the catalogue gets reports.
    pub fn reports(&self) -> bool {
        self.thresholds.failures.is_some()
    }

    /// Whether a failure between these instants does not count because the start period lasts; `None` if the trace does
    /// not show it.
    pub fn is_starting(&self, from: Instant, to: Instant) -> Option<bool> {
        let period = self.thresholds.start_period;
        match self.state {
            State::Unsure => None,
            State::Unknown if !self.passed_once && to < self.starts.0 + period => Some(true),
            State::Unknown if !self.passed_once && from < self.starts.1 + period => None,
            State::Unknown | State::Healthy | State::Unhealthy => Some(false),
        }
    }

    /// A check ended between these instants.
    pub fn add(&mut self, from: Instant, to: Instant, passed: bool) {
        let limit = self.thresholds.failures.map_or(1, NonZeroU32::get);
        self.passed_once |= passed;
        match (self.state, passed) {
            (State::Unknown, true) => self.enter(State::Healthy),
            (State::Unknown, false) if !self.passed_once => {
                let period = self.thresholds.start_period;
                if to < self.starts.0 + period {
                    return;
                }
                if from < self.starts.1 + period {
                    return self.enter(State::Unsure);
                }
                self.count(limit, State::Unhealthy);
            }
            (State::Unknown | State::Healthy, false) => self.count(limit, State::Unhealthy),
            (State::Unhealthy | State::Unsure, true) => {
                self.count(self.thresholds.successes.get(), State::Healthy);
            }
            (State::Healthy, true) | (State::Unhealthy | State::Unsure, false) => self.row = 0,
        }
    }

    fn count(&mut self, limit: u32, next: State) {
        self.row += 1;
        if self.row == limit {
            self.enter(next);
        }
    }

    fn enter(&mut self, state: State) {
        (self.state, self.row) = (state, 0);
    }

    /// Maintenance ended.
    pub fn resume(&mut self) {
        self.enter(State::Unknown);
    }

    /// The machine was paused: the start period begins anew if nothing has counted yet.
    pub fn after_standstill(&mut self, now: Instant) {
        if (self.state, self.row) == (State::Unknown, 0) {
            self.starts = (now, now);
        }
    }
}

domain::keyed_as_is!(State);
domain::keyed!(HealthFacts {
    thresholds,
    state,
    row,
    starts,
    passed_once,
});

#[cfg(test)]
mod tests {
    use super::*;
    use domain::time::Duration;

    const fn at(seconds: u64) -> Instant {
        Instant::after_start(Duration::from_secs(seconds))
    }

    #[test]
    fn a_result_that_comes_close_to_the_end_of_the_start_period_is_unsure() {
        let thresholds = Thresholds {
            failures: NonZeroU32::new(1),
            successes: NonZeroU32::new(2).unwrap(),
            start_period: Duration::from_secs(10),
        };
        for (from, to, unhealthy, unsure) in [
            (10, 10, false, false),
            (10, 11, false, true),
            (11, 12, false, true),
            (12, 12, true, false),
        ] {
            let mut facts = HealthFacts::new(at(1), at(2), thresholds);
            facts.add(at(from), at(to), false);
            assert_eq!(
                (facts.is_unhealthy(), facts.is_unsure()),
                (unhealthy, unsure),
                "{from} {to}"
            );
        }
    }
}
