//! Spreads the health checks of many services over time, so that the shim does not start all of them at once.
//!
//! Services with the same poll interval that open together have their ticks one after the other: eight at once, and the
//! next eight a little later. How much later depends only on the number of services and on the interval, so it is the
//! same after a pause of the machine and after maintenance. Up to eight services have no delay.

use crate::time::Duration;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// How many services have their ticks at the same time: starting so many children takes a few milliseconds.
const TOGETHER: usize = 8;
/// The time from one service to the next if there are few, and if there are many.
const FEW: Duration = Duration::from_millis(5);
const MANY: Duration = Duration::from_millis(2);

/// The place of a service among the services with the same poll interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// How many come before it.
    pub number: usize,
    /// How many there are.
    pub of: usize,
}

impl Place {
    /// The place of a service that is alone.
    pub const ALONE: Self = Self { number: 0, of: 1 };

    /// The places of services with these poll intervals, in the same order.
    pub fn all(polls: impl Iterator<Item = Duration> + Clone) -> Vec<Self> {
        let mut of: BTreeMap<Duration, usize> = BTreeMap::new();
        polls.clone().for_each(|poll| *of.entry(poll).or_default() += 1);
        let mut numbers: BTreeMap<Duration, usize> = BTreeMap::new();
        let place = |poll| {
            let next = numbers.entry(poll).or_default();
            let number = core::mem::replace(next, *next + 1);
            let of = of.get(&poll).copied().unwrap_or(1);
            Self { number, of }
        };
        polls.map(place).collect()
    }

    /// How much later than at the end of each period its ticks come: for one service after the other up to 5 ms, all
    /// within a tenth of the period; if there are very many, 2 ms and all within half of it.
    pub fn delay(self, period: Duration) -> Duration {
        let of = u32::try_from(self.of).unwrap_or(u32::MAX).max(1);
        let step = (period / 10 / of).clamp(MANY, FEW).min(period / 2 / of);
        let before = self.number - self.number % TOGETHER;
        step.saturating_mul(u32::try_from(before).unwrap_or(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn delays(of: usize, period: Duration) -> Vec<Duration> {
        (0..of).map(|number| Place { number, of }.delay(period)).collect()
    }

    #[test]
    fn eight_services_have_their_ticks_together() {
        assert_eq!(delays(8, ms(10_000)), [ms(0); 8]);
        assert_eq!(Place::ALONE.delay(ms(10_000)), ms(0));
    }

    #[test]
    fn services_with_other_intervals_have_places_of_their_own() {
        let polls = [ms(10), ms(20), ms(10)];
        let place = |number, of| Place { number, of };
        assert_eq!(
            Place::all(polls.into_iter()),
            [place(0, 2), place(0, 1), place(1, 2)]
        );
    }

    #[test]
    fn further_ones_come_later() {
        let delays = delays(20, ms(10_000));
        assert_eq!(delays[..8], [ms(0); 8]);
        assert_eq!(delays[8..16], [ms(40); 8]);
        assert_eq!(delays[16..], [ms(80); 4]);
    }

    #[test]
    fn a_thousand_take_two_seconds_of_ten_and_half_a_second_of_one() {
        assert_eq!(delays(1000, ms(10_000)).last(), Some(&ms(992 * 2)));
        assert_eq!(delays(1000, ms(1_000)).last(), Some(&(992 * ms(1) / 2)));
    }

    proptest! {
        #[test]
        fn delays_grow_and_stay_within_half_a_period(of in 1usize..20_000, period in 1u64..100_000) {
            let delays = delays(of, ms(period));
            prop_assert!(delays.is_sorted());
            prop_assert!(delays.last().is_some_and(|last| *last <= ms(period) / 2));
            if of <= 50 {
                prop_assert!(delays.last().is_some_and(|last| *last <= ms(period) / 10 || *last <= MANY * 50));
            }
            let mut together = BTreeMap::<Duration, usize>::new();
            delays.iter().for_each(|delay| *together.entry(*delay).or_default() += 1);
            // A period that is too short to spread anything is the exception.
            if ms(period) / 2 / u32::try_from(of).unwrap() > ms(0) {
                prop_assert!(together.values().all(|number| *number <= TOGETHER));
            }
        }
    }
}
