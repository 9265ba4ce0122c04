//! The real clocks; nothing else in the program reads one.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the one adapter that asks the real clock"
)]

use crate::ports::Clock;
use chrono::{DateTime, FixedOffset, Local};
use domain::Instant;
use domain::time::Duration;
use nix::time::{ClockId, clock_gettime};

/// The clock timers go by: it counts from the start of the program and is untouched by clock steps.
#[derive(Clone, Copy, Debug)]
pub struct MachineClock {
    start: std::time::Instant,
}

impl MachineClock {
    /// A clock whose start is now.
    pub fn start() -> Self {
        Self {
            start: std::time::Instant::now(),
        }
    }

    /// The machine's own name for an instant of ours, as timers take it.
    pub fn as_std(&self, instant: Instant) -> std::time::Instant {
        self.start + instant.since_start()
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Instant {
        Instant::after_start(self.start.elapsed())
    }
}

/// The time since this machine booted, the same for all containers on it, untouched by clock steps. `None`
/// if the kernel does not tell.
pub fn since_boot() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_BOOTTIME).ok().map(Duration::from)
}

/// The calendar time in the local zone, for people to read.
pub fn calendar() -> DateTime<FixedOffset> {
    Local::now().fixed_offset()
}
