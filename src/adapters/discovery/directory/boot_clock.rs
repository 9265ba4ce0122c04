//! The time since the machine booted, the same in every container.
//!
//! A time namespace (`unshare --time`, CRIU) shifts the clock that the kernel shows inside it, and tells by how
//! much. That is taken back, so that shims in different time namespaces agree on when an entry expires.

use crate::adapters::clock;
use domain::time::Duration;
use std::fs;

/// Where the kernel tells by how much clocks are shifted here; there is no such file without time namespaces.
const OFFSETS: &str = "/proc/self/timens_offsets";

/// Reads the time since the machine booted.
#[derive(Clone, Copy, Debug)]
pub(super) struct BootClock {
    /// How much more the kernel shows here than the machine's own clock, in nanoseconds.
    shift: i128,
}

impl BootClock {
    /// The clock as it is seen from this process.
    pub fn new() -> Self {
        let offsets = fs::read_to_string(OFFSETS).unwrap_or_default();
        Self {
            shift: shift(&offsets).unwrap_or(0),
        }
    }

    /// The time since the machine booted; none if the kernel does not tell.
    pub fn now(&self) -> Option<Duration> {
        let shown = i128::try_from(clock::since_boot()?.as_nanos()).ok()?;
        let nanoseconds = u64::try_from(shown.checked_sub(self.shift)?).ok()?;
        Some(Duration::from_nanos(nanoseconds))
    }
}

/// The shift of the boot clock: a line `boottime`, seconds, nanoseconds.
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
