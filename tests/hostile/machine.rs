//! Measures how late the machine wakes an idle thread. Other tests and programs keep the processors busy; this lateness
//! is subtracted from what the tests measure, because the program under test does not cause it.

use nix::time::ClockId;
use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{sleep, spawn};
use std::time::Duration;

/// How long the thread sleeps each time.
const INTERVAL: Duration = Duration::from_millis(10);
/// How many measurements are kept: those of ten minutes.
const MOST: usize = 60_000;

/// For each sleep, the time since boot at its end, and how late that was.
type Measurements = VecDeque<(Duration, Duration)>;

/// The time since the machine booted. `/proc/PID/stat` gives process starts on the same clock.
pub fn since_boot() -> Duration {
    ClockId::CLOCK_BOOTTIME.now().expect("a clock").into()
}

/// The largest lateness that was measured since `begin`.
pub fn lateness_since(begin: Duration) -> Duration {
    let measurements = measurements();
    let newest = measurements.iter().rev().take_while(|(end, _)| *end >= begin);
    let late = newest.map(|(_, late)| *late).max().unwrap_or_default();
    // A sleep that is late now has not ended yet.
    let last = measurements.back().map_or(begin, |(end, _)| *end);
    late.max(since_boot().saturating_sub(last + INTERVAL))
}

/// Starts the measurements, unless they have been started.
pub fn observe() {
    drop(measurements());
}

fn measurements() -> MutexGuard<'static, Measurements> {
    static MEASUREMENTS: LazyLock<Mutex<Measurements>> = LazyLock::new(|| {
        spawn(|| measure_lateness(&MEASUREMENTS));
        Mutex::default()
    });
    MEASUREMENTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn measure_lateness(measurements: &Mutex<Measurements>) {
    loop {
        let begin = since_boot();
        sleep(INTERVAL);
        let end = since_boot();
        let mut measurements = measurements.lock().unwrap_or_else(PoisonError::into_inner);
        measurements.push_back((end, (end - begin).saturating_sub(INTERVAL)));
        if measurements.len() > MOST {
            measurements.pop_front();
        }
    }
}
