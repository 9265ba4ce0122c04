//! The failures in a row of one operation: how many there were, and which of them are logged at their own level.
//!
//! These are the first failure, then each one at a power of ten, and each one whose cause was not logged
//! before. The others are logged at the level DEBUG. This module only counts; [`crate::notice`] has the
//! messages.

use crate::causes::Causes;
use crate::notice::Failure;
use alloc::string::String;

/// Consecutive failures of one operation.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Failures {
    times: u32,
    causes: Causes,
}

impl Failures {
    /// The number of failures in a row.
    pub fn count(&self) -> u32 {
        self.times
    }

    /// Counts one more failure.
    pub fn add(&mut self, cause: String) -> Failure {
        self.times = self.times.saturating_add(1);
        let is_new = self.causes.is_new(&cause);
        Failure {
            at_full_level: is_new || is_power_of_ten(self.times),
            times: self.times,
            cause,
        }
    }

    /// Ends the series after a success. Returns how many failures there were; `None` if there were none.
    pub fn end(&mut self) -> Option<u32> {
        let ended = core::mem::take(self);
        (ended.times > 0).then_some(ended.times)
    }
}

fn is_power_of_ten(times: u32) -> bool {
    10_u32.checked_pow(times.ilog10()) == Some(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// The numbers of the failures that are logged at their own level.
    fn logged_at_full_level(causes: impl IntoIterator<Item = &'static str>) -> Vec<u32> {
        let mut failures = Failures::default();
        let failed = causes.into_iter().map(|cause| failures.add(cause.into()));
        let logged = failed.filter(|failure| failure.at_full_level);
        logged.map(|failure| failure.times).collect()
    }

    #[test]
    fn a_repeated_failure_is_logged_at_each_power_of_ten() {
        assert_eq!(
            logged_at_full_level(core::iter::repeat_n("refused", 100_000)),
            [1, 10, 100, 1_000, 10_000, 100_000]
        );
        assert!(!is_power_of_ten(u32::MAX));
    }

    #[test]
    fn a_failure_with_a_new_cause_is_logged_at_once() {
        let mut causes = vec!["refused"; 9];
        causes[3] = "permission denied";
        causes[5] = "refused by 127.0.0.1:5000";
        causes[6] = "refused by 127.0.0.1:5001";
        assert_eq!(logged_at_full_level(causes), [1, 4, 6]);
    }

    #[test]
    fn two_alternating_causes_are_logged_once_each() {
        assert_eq!(
            logged_at_full_level(["refused", "timeout"].into_iter().cycle().take(50)),
            [1, 2, 10]
        );
    }

    #[test]
    fn after_a_success_the_first_failure_is_logged_again() {
        let mut failures = Failures::default();
        assert_eq!(failures.end(), None);
        failures.add("refused".into());
        failures.add("refused".into());
        assert_eq!(failures.end(), Some(2));
        let failure = failures.add("refused".into());
        assert!(failure.at_full_level && failure.times == 1);
    }
}
