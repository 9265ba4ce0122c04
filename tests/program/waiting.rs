//! Waiting for a fact with a deadline; nobody sleeps and hopes.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long a fact may take on a busy machine before it is held to be false.
pub const SOON: Duration = Duration::from_secs(20);

/// Waits until a fact holds; fails with its description after `limit`.
pub fn until(limit: Duration, failed: impl FnOnce() -> String, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {}", failed());
        sleep(Duration::from_millis(10));
    }
}
