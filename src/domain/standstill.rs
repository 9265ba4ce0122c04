//! Detects that the machine was paused: a frozen container, a suspended or overloaded machine.
//!
//! The sign is a late wake-up: a step that comes more than a second after the deadline that the core had set.
//! Time limits start again from such a step, because the process that they limit was paused, too, or its end
//! has not been reported yet. A pause that ends before the next deadline is not detected. Which time limits
//! start again is decided elsewhere.

use crate::time::{Duration, Instant};

/// A step that is later than this after its deadline is a late wake-up (docs/bounds.md).
const LATE: Duration = Duration::from_secs(1);
/// After how many late wake-ups in a row time limits no longer start again. A machine that is always late is
/// slow, and its limits apply (docs/bounds.md).
const MOST_IN_A_ROW: u32 = 3;

/// Detects late wake-ups.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Standstill {
    late_in_a_row: u32,
}

impl Standstill {
    /// Called at each step; `deadline` is the one that the step before had set. Returns how late the step is
    /// if time limits start again.
    pub fn on_step(&mut self, deadline: Option<Instant>, now: Instant) -> Option<Duration> {
        let deadline = deadline.filter(|deadline| *deadline <= now)?;
        let late = now - deadline;
        if late <= LATE {
            self.late_in_a_row = 0;
            return None;
        }
        self.late_in_a_row = self.late_in_a_row.saturating_add(1);
        (self.late_in_a_row <= MOST_IN_A_ROW).then_some(late)
    }
}

crate::keyed_as_is!(Standstill);

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Instant {
        Instant::after_start(Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_step_more_than_a_second_after_its_deadline_is_late() {
        let mut standstill = Standstill::default();
        assert_eq!(standstill.on_step(None, at(90_000)), None);
        assert_eq!(standstill.on_step(Some(at(5_000)), at(4_000)), None);
        assert_eq!(standstill.on_step(Some(at(5_000)), at(6_000)), None);
        let late = Some(Duration::from_millis(1_001));
        assert_eq!(standstill.on_step(Some(at(5_000)), at(6_001)), late);
    }

    #[test]
    fn on_a_machine_that_is_always_late_time_limits_apply() {
        let mut standstill = Standstill::default();
        let mut late = || standstill.on_step(Some(at(0)), at(2_000)).is_some();
        assert_eq!(
            [late(), late(), late(), late(), late()],
            [true, true, true, false, false]
        );
        standstill.on_step(Some(at(0)), at(1));
        assert!(
            standstill.on_step(Some(at(0)), at(2_000)).is_some(),
            "after a punctual one"
        );
    }
}
