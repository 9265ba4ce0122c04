//! Whether the machine stood still: a paused container, a suspended or overloaded machine.
//!
//! It is noticed by a late wake-up: a step that comes more than a second after the deadline that the core had
//! asked for. Time limits count anew from such a step, because what they limit could not run either, and its end
//! may wait to be seen. A pause that is over before the next deadline is not noticed. Decides nothing about what
//! counts anew.

use crate::time::{Duration, Instant};

/// A step that comes later than this after its deadline is a late wake-up (docs/bounds.md).
const LATE: Duration = Duration::from_secs(1);
/// How many late wake-ups without a punctual one between them let time limits count anew; a machine that is always
/// late is slow, and its limits hold (docs/bounds.md).
const MOST_IN_A_ROW: u32 = 3;

/// Notices late wake-ups.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Standstill {
    late_in_a_row: u32,
}

impl Standstill {
    /// A step comes at `now`, and the one before asked for `deadline`. How late it is, if time limits count anew.
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
    fn a_machine_that_is_always_late_has_its_limits() {
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
