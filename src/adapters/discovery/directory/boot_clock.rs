//! The time since the machine booted, equal in every container.
//!
//! A time namespace (`unshare --time`, CRIU) shifts the clock that processes in it see; the kernel lists the
//! shift in a file. The shift is subtracted, so that shims in different time namespaces agree on when an
//! entry expires.

use crate::adapters::clock;
use domain::time::Duration;
use std::fs;

/// The file in which the kernel lists how much clocks are shifted in this time namespace. It does not exist
/// in kernels without time namespaces.
const OFFSETS: &str = "/proc/self/timens_offsets";

/// Reads the time since the machine booted.
#[derive(Clone, Copy, Debug)]
pub(super) struct BootClock {
    /// By how many nanoseconds the clock in this namespace is ahead of the machine's own clock.
    shift: i128,
}

impl BootClock {
    /// The clock as this process sees it.
    pub fn new() -> Self {
        let offsets = fs::read_to_string(OFFSETS).unwrap_or_default();
        Self {
            shift: shift(&offsets).unwrap_or(0),
        }
    }

    /// The time since the machine booted; `None` if the clock cannot be read.
    pub fn now(&self) -> Option<Duration> {
        let shown = i128::try_from(clock::since_boot()?.as_nanos()).ok()?;
        let nanoseconds = u64::try_from(shown.checked_sub(self.shift)?).ok()?;
        Some(Duration::from_nanos(nanoseconds))
    }
}

/// Parses the shift of the boot clock: a line with `boottime`, seconds and nanoseconds.
fn shift(offsets: &str) -> Option<i128> {
    let mut lines = offsets.lines().map(str::split_whitespace);
    let mut words = lines.find_map(|mut words| (words.next() == Some("boottime")).then_some(words))?;
    let seconds: i64 = words.next()?.parse().ok()?;
    let nanoseconds: i64 = words.next()?.parse().ok()?;
    Some(i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shift_of_a_time_namespace_is_read() {
        let text = "monotonic           5         0\nboottime       -86400 500000000\n";
        assert_eq!(shift(text), Some(-86_399_500_000_000));
        assert_eq!(shift("monotonic 0 0\nboottime 0 0\n"), Some(0));
        assert_eq!(shift(""), None);
        assert_eq!(shift("boottime x 0"), None);
    }
}
