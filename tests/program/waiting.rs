//! Polls a condition until it holds or a deadline has passed.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// The time limit of a condition that holds soon, on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// Waits until `holds` returns true; panics with the description `failed` after `limit`.
pub fn until(limit: Duration, failed: impl FnOnce() -> String, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {}", failed());
        sleep(Duration::from_millis(10));
    }
}
