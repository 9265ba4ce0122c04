//! The real clocks. No other module reads a clock.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the one adapter that reads the real clock"
)]

use crate::ports::Clock;
use chrono::{DateTime, FixedOffset, Local};
use domain::Instant;
use domain::time::Duration;
use nix::time::{ClockId, clock_gettime};

/// The longest time from the start for which a timer is set; a later deadline never comes. A configuration
/// can contain a [`Duration`] for which the operating system's clocks and timers have no value
/// (docs/bounds.md).
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// The clock of timers: monotonic, it counts from the start of the program.
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

    /// An instant in the form that timers use. An instant that is too far away becomes the latest one for
    /// which a timer is set.
    pub fn as_std(&self, instant: Instant) -> std::time::Instant {
        self.start + instant.since_start().min(NEVER)
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Instant {
        Instant::after_start(self.start.elapsed())
    }
}

/// A time limit in the form that timers use. A limit that is too long never ends.
pub fn limit(limit: Duration) -> Duration {
    limit.min(NEVER)
}

/// The time since this machine booted, equal in all containers on it and independent of steps of the calendar
/// clock. `None` if the clock cannot be read.
pub fn since_boot() -> Option<Duration> {
    clock_gettime(ClockId::CLOCK_BOOTTIME).ok().map(Duration::from)
}

/// The calendar time in the local time zone, for logs.
pub fn calendar() -> DateTime<FixedOffset> {
    Local::now().fixed_offset()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    proptest! {
        #[test]
        fn every_instant_and_every_limit_can_be_waited_for(seconds: u64, nanoseconds in 0_u32..1_000_000_000) {
            let duration = Duration::new(seconds, nanoseconds);
            waits(duration);
        }

        #[test]
        fn the_latest_instants_can_be_waited_for(back in any::<u32>()) {
            waits(Duration::MAX.saturating_sub(Duration::from_nanos(back.into())));
            waits(Duration::from_secs(i64::MAX.unsigned_abs()).saturating_sub(Duration::from_nanos(back.into())));
        }
    }

    /// The runtime accepts the duration as a timeout and as a timer, and neither ends at once unless it is
    /// short.
    fn waits(duration: Duration) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let clock = MachineClock::start();
            let deadline = clock.as_std(Instant::after_start(duration)).into();
            let ready = std::future::ready(());
            assert!(tokio::time::timeout_at(deadline, ready.clone()).await.is_ok());
            assert!(tokio::time::timeout(limit(duration), ready).await.is_ok());
            let soon = tokio::time::sleep(limit(Duration::from_secs(1).min(duration)));
            let waiting = tokio::time::timeout_at(deadline, soon).await;
            assert_eq!(
                waiting.is_ok(),
                duration >= Duration::from_secs(1),
                "{duration:?}"
            );
        });
    }
}
