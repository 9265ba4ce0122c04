//! The stream of choices that decides everything random in a simulation.
//!
//! It is a seed, a recorded list, or an odometer that yields all possible lists one after the other. All
//! choices are recorded, so a run can be repeated and shortened. Zero is always the choice that causes the
//! least trouble; a list that is too short is continued with zeros.
//!
//! No other source of randomness is used.

use domain::time::Duration;

/// The choices of one run.
#[derive(Clone, Debug)]
pub struct Choices {
    source: Source,
    taken: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Source {
    /// splitmix64.
    Seed(u64),
    Recorded(Vec<u32>),
    /// Each digit, with the number of values that it can have.
    Odometer(Vec<(u32, u32)>),
}

impl Choices {
    /// Choices by a seed.
    pub const fn seeded(seed: u64) -> Self {
        Self::from(Source::Seed(seed))
    }

    /// Choices by a recorded list.
    pub const fn recorded(list: Vec<u32>) -> Self {
        Self::from(Source::Recorded(list))
    }

    /// All zeros at first; [`Self::advance`] continues with the next list.
    pub const fn odometer() -> Self {
        Self::from(Source::Odometer(Vec::new()))
    }

    const fn from(source: Source) -> Self {
        Self {
            source,
            taken: Vec::new(),
        }
    }

    /// The choices that were made up to now.
    pub fn taken(&self) -> &[u32] {
        &self.taken
    }

    /// A number below `bound`. If `bound` is 1, no choice is used.
    pub fn below(&mut self, bound: u32) -> u32 {
        if bound <= 1 {
            return 0;
        }
        let place = self.taken.len();
        let chosen = match &mut self.source {
            Source::Seed(state) => u32::try_from(draw(state) % u64::from(bound)).unwrap_or(0),
            Source::Recorded(list) => list.get(place).copied().unwrap_or(0) % bound,
            Source::Odometer(digits) => {
                if digits.len() == place {
                    digits.push((0, bound));
                }
                digits[place].1 = bound;
                digits[place].0
            }
        };
        self.taken.push(chosen);
        chosen
    }

    /// Whether an event of this probability, in percent, happens; zero means no.
    pub fn odds(&mut self, percent: u32) -> bool {
        percent > 0 && self.below(100) >= 100 - percent.min(100)
    }

    /// One of several; the first is the choice zero.
    pub fn one_of<T: Copy>(&mut self, several: &[T]) -> T {
        let count = u32::try_from(several.len()).unwrap_or(u32::MAX);
        several[self.below(count) as usize]
    }

    /// A time from `low` up to but excluding `high`, to the millisecond.
    pub fn between(&mut self, low: u32, high: u32) -> Duration {
        Duration::from_millis(u64::from(low + self.below(high - low)))
    }

    /// The same range, but zero is the longest time: for events that cause trouble.
    pub fn until(&mut self, low: u32, high: u32) -> Duration {
        Duration::from_millis(u64::from(high - 1 - self.below(high - low)))
    }

    /// Sets the odometer to the next list that differs in a choice that was used. Returns whether there is
    /// one.
    pub fn advance(&mut self) -> bool {
        let read = self.taken.len();
        self.taken.clear();
        let Source::Odometer(digits) = &mut self.source else {
            return false;
        };
        digits.truncate(read);
        while let Some((digit, bound)) = digits.last_mut() {
            *digit += 1;
            if *digit < *bound {
                return true;
            }
            digits.pop();
        }
        false
    }
}

fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recorded_list_of_choices_repeats_the_run_of_its_seed() {
        let mut first = Choices::seeded(7);
        let drawn: Vec<u32> = (2..50).map(|bound| first.below(bound)).collect();
        assert_eq!(drawn, first.taken());
        let mut again = Choices::recorded(drawn.clone());
        assert!((2..50).map(|bound| again.below(bound)).eq(drawn));
        assert_eq!(again.below(9), 0, "a list that ends too early goes on with zeros");
    }

    #[test]
    fn an_odometer_yields_every_list_once_even_if_a_choice_adds_further_choices() {
        let mut choices = Choices::odometer();
        let mut lists = Vec::new();
        loop {
            if choices.below(2) == 1 {
                choices.below(3);
            }
            lists.push(choices.taken().to_vec());
            if !choices.advance() {
                break;
            }
        }
        assert_eq!(lists, [vec![0], vec![1, 0], vec![1, 1], vec![1, 2]]);
    }

    #[test]
    fn a_choice_of_zero_causes_no_fault() {
        let mut zeros = Choices::recorded(vec![]);
        assert!(!zeros.odds(99));
        assert_eq!(zeros.one_of(&["first", "second"]), "first");
        assert_eq!(zeros.between(3, 9), Duration::from_millis(3));
        assert_eq!(zeros.until(3, 9), Duration::from_millis(8));
    }
}
