//! When the commands run that a service has for changes of its health: one when it becomes unhealthy, and one when it
//! becomes healthy after that.
//!
//! There is one run at a time. Changes while one runs, or while it waits to be started again, collapse: only the latest
//! health counts. A command that cannot be started is tried again as long as the health calls for it, so that no change
//! is lost. What the commands are is decided elsewhere.

use crate::time::{Backoff, Duration, Instant, Jitter};

/// The first wait before a command that could not be started is started again, and the longest.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// Whether a service can be used, as far as its commands are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Healthy, or never unhealthy so far.
    Healthy,
    /// Unhealthy.
    Unhealthy,
}

/// The runs of the commands of one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reactions {
    /// Whether there is a command for unhealthy and one for healthy.
    has_command: (bool, bool),
    /// The side that a command ran for last.
    handled: Side,
    /// The side of the latest result.
    latest: Side,
    running: bool,
    paused: bool,
    retries: Backoff,
    retry_at: Option<Instant>,
}

impl Reactions {
    /// No change so far. The service may have a command for unhealthy and one for healthy.
    pub fn new(on_unhealthy: bool, on_healthy: bool, paused: bool, jitter: Jitter) -> Self {
        Self {
            has_command: (on_unhealthy, on_healthy),
            handled: Side::Healthy,
            latest: Side::Healthy,
            running: false,
            paused,
            retries: Backoff::new(RETRY_DELAYS.0, RETRY_DELAYS.1, jitter),
            retry_at: None,
        }
    }

    /// When [`Self::on_time`] returns a command, unless something else happens first.
    pub fn deadline(&self) -> Option<Instant> {
        self.retry_at.filter(|_| self.is_due())
    }

    /// The side of the latest result.
    pub const fn latest(&self) -> Side {
        self.latest
    }

    /// The health by the latest result. Returns the side whose command is to be started.
    pub fn on_health(&mut self, now: Instant, side: Side) -> Option<Side> {
        self.latest = side;
        self.on_time(now)
    }

    /// Time passed.
    pub fn on_time(&mut self, now: Instant) -> Option<Side> {
        let is_early = self.retry_at.is_some_and(|at| now < at);
        if !self.is_due() || is_early {
            return None;
        }
        self.retry_at = None;
        self.handled = self.latest;
        self.running = self.has(self.latest);
        self.running.then_some(self.latest)
    }

    /// The command that ran ended.
    pub fn on_ended(&mut self, now: Instant) -> Option<Side> {
        self.running = false;
        self.retries.reset();
        self.on_time(now)
    }

    /// The command could not be started. Returns after which time it is started again, unless the health changes before.
    pub fn on_not_started(&mut self, now: Instant) -> Duration {
        let delay = self.retries.delay();
        self.running = false;
        self.handled = match self.handled {
            Side::Healthy => Side::Unhealthy,
            Side::Unhealthy => Side::Healthy,
        };
        self.retry_at = Some(now + delay);
        if self.paused {
            self.latest = self.handled;
        }
        delay
    }

    /// Whether the command could not be started last time.
    pub fn has_failed(&self) -> bool {
        self.retries.failures() > 0
    }

    /// Whether a command waits to be started again.
    pub fn waits(&self) -> bool {
        self.deadline().is_some()
    }

    /// Starts nothing until [`Self::resume`] (LC-11). A change that no command ran for is forgotten: only results after
    /// that count.
    pub fn pause(&mut self) {
        self.paused = true;
        self.latest = self.handled;
        self.retry_at = None;
    }

    /// Continues after [`Self::pause`] (LC-12).
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// Whether a command is to be started now or after the wait.
    fn is_due(&self) -> bool {
        self.latest != self.handled && !self.running && !self.paused
    }

    fn has(&self, side: Side) -> bool {
        match side {
            Side::Unhealthy => self.has_command.0,
            Side::Healthy => self.has_command.1,
        }
    }
}

crate::keyed_as_is!(Side);
crate::keyed!(Reactions {
    has_command,
    handled,
    latest,
    running,
    paused,
    retries,
    retry_at
});

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Instant {
        Instant::after_start(Duration::from_millis(milliseconds))
    }

    fn reactions() -> Reactions {
        Reactions::new(true, true, false, Jitter::new(1))
    }

    #[test]
    fn a_service_that_becomes_healthy_for_the_first_time_has_not_changed() {
        assert_eq!(reactions().on_health(at(0), Side::Healthy), None);
    }

    #[test]
    fn each_change_has_one_run() {
        let mut reactions = reactions();
        assert_eq!(reactions.on_health(at(0), Side::Unhealthy), Some(Side::Unhealthy));
        assert_eq!(reactions.on_ended(at(1)), None);
        assert_eq!(reactions.on_health(at(2), Side::Unhealthy), None);
        assert_eq!(reactions.on_health(at(3), Side::Healthy), Some(Side::Healthy));
        assert_eq!(reactions.on_ended(at(4)), None);
        assert_eq!(reactions.on_health(at(5), Side::Healthy), None);
    }

    #[test]
    fn changes_during_a_run_collapse_into_the_latest() {
        for (sides, after) in [
            ([Side::Healthy, Side::Unhealthy], None),
            ([Side::Unhealthy, Side::Healthy], Some(Side::Healthy)),
        ] {
            let mut reactions = reactions();
            reactions.on_health(at(0), Side::Unhealthy);
            for side in sides {
                assert_eq!(reactions.on_health(at(1), side), None, "one at a time");
            }
            assert_eq!(reactions.on_ended(at(2)), after);
        }
    }

    #[test]
    fn a_side_without_a_command_only_ends_the_other() {
        let mut reactions = Reactions::new(true, false, false, Jitter::new(1));
        for _ in 0..2 {
            assert_eq!(reactions.on_health(at(0), Side::Unhealthy), Some(Side::Unhealthy));
            reactions.on_ended(at(1));
            assert_eq!(reactions.on_health(at(2), Side::Healthy), None);
        }
        let mut reactions = Reactions::new(false, true, false, Jitter::new(1));
        assert_eq!(reactions.on_health(at(0), Side::Unhealthy), None);
        assert_eq!(reactions.on_health(at(1), Side::Healthy), Some(Side::Healthy));
    }

    #[test]
    fn a_command_that_cannot_be_started_is_tried_again_while_the_health_stays() {
        let mut reactions = reactions();
        reactions.on_health(at(0), Side::Unhealthy);
        let delay = reactions.on_not_started(at(0));
        assert_eq!(reactions.deadline(), Some(at(0) + delay));
        assert_eq!(reactions.on_health(at(1), Side::Unhealthy), None, "not at once");
        assert_eq!(reactions.on_time(at(0) + delay), Some(Side::Unhealthy));
        reactions.on_not_started(at(1_000));
        assert!(reactions.waits());
        assert_eq!(reactions.on_health(at(1_001), Side::Healthy), None);
        assert_eq!(
            (reactions.waits(), reactions.deadline()),
            (false, None),
            "nothing was done about it"
        );
    }

    #[test]
    fn a_pause_forgets_what_no_command_ran_for() {
        let mut reactions = reactions();
        reactions.on_health(at(0), Side::Unhealthy);
        reactions.on_health(at(1), Side::Healthy);
        reactions.pause();
        assert_eq!(reactions.on_ended(at(2)), None);
        assert_eq!(reactions.on_health(at(3), Side::Unhealthy), None);
        reactions.pause();
        reactions.resume();
        assert_eq!(
            reactions.on_health(at(4), Side::Unhealthy),
            None,
            "it ran for that"
        );
        assert_eq!(reactions.on_health(at(5), Side::Healthy), Some(Side::Healthy));
    }
}
