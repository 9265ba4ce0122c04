//! How late the machine itself is: other tests and other programs keep its processors busy, and what it gives late to
//! a thread that does nothing is not the fault of the program under test.

use nix::time::ClockId;
use std::collections::VecDeque;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread::{sleep, spawn};
use std::time::Duration;

/// How long the thread sleeps each time.
const NAP: Duration = Duration::from_millis(10);
/// How many naps are remembered: those of ten minutes.
const MOST: usize = 60_000;

/// When each nap ended, in time since boot, and how much later than it should have.
type Naps = VecDeque<(Duration, Duration)>;

/// The time since the machine booted, as starts of processes are counted.
pub fn since_boot() -> Duration {
    ClockId::CLOCK_BOOTTIME.now().expect("a clock").into()
}

/// By how much the machine has been late since then, at the most.
pub fn lateness_since(begin: Duration) -> Duration {
    let naps = naps();
    let newest = naps.iter().rev().take_while(|(end, _)| *end >= begin);
    let late = newest.map(|(_, late)| *late).max().unwrap_or_default();
    // It may have been late for a while just now.
    let last = naps.back().map_or(begin, |(end, _)| *end);
    late.max(since_boot().saturating_sub(last + NAP))
}

/// Begins to look, unless that was done.
pub fn observe() {
    drop(naps());
}

fn naps() -> MutexGuard<'static, Naps> {
    static NAPS: LazyLock<Mutex<Naps>> = LazyLock::new(|| {
        spawn(|| take_naps(&NAPS));
        Mutex::default()
    });
    NAPS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn take_naps(naps: &Mutex<Naps>) {
    loop {
        let begin = since_boot();
        sleep(NAP);
        let end = since_boot();
        let mut naps = naps.lock().unwrap_or_else(PoisonError::into_inner);
        naps.push_back((end, (end - begin).saturating_sub(NAP)));
        if naps.len() > MOST {
            naps.pop_front();
        }
    }
}
