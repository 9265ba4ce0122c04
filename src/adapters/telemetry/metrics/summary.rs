//! The quantiles 0.5, 0.9 and 0.99 of the values of the last ten minutes, and the sum and the count of all.
//!
//! The window stores all values: a sensor gives at most one value a second, so there are some 600 numbers. An
//! estimator would add an error, and its buckets would have to age. Of the estimators, `sketches-ddsketch`
//! and `tdigest` give
//! 5.003 and 5.5 as the median of 1 to 10, where the original gives 5, and `quantiles`
//! has not been released since 2018; all of them need several instances and merging for a window that slides.
//!
//! A quantile is the value whose rank is the share of the count, rounded down, as in the original; nothing is
//! interpolated. No clock is read here.

use domain::Instant;
use domain::time::Duration;
use prometheus::proto;
use std::collections::VecDeque;

/// How long a value is in the window.
const WINDOW: Duration = Duration::from_secs(600);
/// The limit on values in the window, the newest: more than a window has if each sensor runs once a second.
/// (docs/bounds.md)
const MOST: usize = 1000;
/// The quantiles, in thousandths.
const QUANTILES: [u16; 3] = [500, 900, 990];

/// The values of a metric within the window, with their sum and count.
#[derive(Debug, Default)]
pub struct Summary {
    /// The values with the time of each, oldest first.
    values: VecDeque<(Instant, f64)>,
    sum: f64,
    count: u64,
}

impl Summary {
    /// Adds a value at the time `now`.
    pub fn observe(&mut self, now: Instant, value: f64) {
        self.sum += value;
        self.count += 1;
        self.values.push_back((now, value));
        let expired = self.expired(now).max(self.values.len().saturating_sub(MOST));
        self.values.drain(..expired);
    }

    /// The present quantiles, sum and count. Without a value in the window the quantiles are NaN.
    pub fn proto(&self, now: Instant) -> proto::Summary {
        let window = self.values.range(self.expired(now)..);
        let mut sorted: Vec<f64> = window.map(|(_, value)| *value).collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let quantiles = QUANTILES.map(|share| {
            let mut quantile = proto::Quantile::default();
            quantile.set_quantile(f64::from(share) / 1000.0);
            quantile.set_value(of_sorted(&sorted, share));
            quantile
        });
        let mut summary = proto::Summary::default();
        summary.set_quantile(quantiles.into());
        summary.set_sample_sum(self.sum);
        summary.set_sample_count(self.count);
        summary
    }

    /// How many values are older than the window.
    fn expired(&self, now: Instant) -> usize {
        self.values
            .partition_point(|(came, _)| now.since(*came) >= WINDOW)
    }
}

/// The value at a share, in thousandths, of sorted values.
fn of_sorted(sorted: &[f64], share: u16) -> f64 {
    let rank = sorted.len() * usize::from(share) / 1000;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::time::Jitter;

    fn at(seconds: u64) -> Instant {
        Instant::after_start(Duration::from_secs(seconds))
    }

    fn quantiles(summary: &Summary, now: Instant) -> Vec<f64> {
        let proto = summary.proto(now);
        proto.get_quantile().iter().map(proto::Quantile::value).collect()
    }

    fn filled(values: impl IntoIterator<Item = f64>) -> Summary {
        let mut summary = Summary::default();
        for value in values {
            summary.observe(at(0), value);
        }
        summary
    }

    #[test]
    fn the_quantiles_are_those_that_the_original_gave() {
        let mut summary = filled((1..=10).map(f64::from));
        assert_eq!(quantiles(&summary, at(0)), [5.0, 9.0, 9.0]);
        for value in 1..=5 {
            summary.observe(at(0), f64::from(value));
        }
        assert_eq!(quantiles(&summary, at(0)), [4.0, 8.0, 9.0]);
    }

    #[test]
    fn with_one_value_every_quantile_is_that_value() {
        assert_eq!(quantiles(&filled([-7.0]), at(0)), [-7.0; 3]);
    }

    #[test]
    fn without_a_value_the_quantiles_are_not_numbers_and_sum_and_count_are_zero() {
        let summary = Summary::default();
        assert!(quantiles(&summary, at(0)).into_iter().all(f64::is_nan));
        let proto = summary.proto(at(0));
        assert_eq!((proto.sample_sum(), proto.sample_count()), (0.0, 0));
    }

    #[test]
    fn a_value_counts_for_ten_minutes_in_the_quantiles_and_for_ever_in_sum_and_count() {
        let mut summary = filled([100.0]);
        summary.observe(at(300), 1.0);
        assert_eq!(quantiles(&summary, at(599)), [1.0, 1.0, 1.0]);
        summary.observe(at(599), 100.0);
        assert_eq!(quantiles(&summary, at(599)), [1.0, 100.0, 100.0]);
        assert_eq!(quantiles(&summary, at(600)), [1.0, 1.0, 1.0]);
        assert_eq!(quantiles(&summary, at(900)), [100.0; 3]);
        assert!(quantiles(&summary, at(1199)).into_iter().all(f64::is_nan));
        let proto = summary.proto(at(1199));
        assert_eq!((proto.sample_sum(), proto.sample_count()), (201.0, 3));
    }

    #[test]
    fn the_number_of_stored_values_is_limited() {
        let mut summary = filled((0..100_000).map(f64::from));
        assert_eq!(summary.values.len(), MOST);
        assert_eq!(quantiles(&summary, at(0)), [99_499.0, 99_899.0, 99_989.0]);
        summary.observe(at(600), 1.0);
        assert_eq!(summary.values.len(), 1);
    }

    /// Compares quantiles of windows of every length with the exact result, for a heavy-tailed distribution
    /// (Pareto's with an infinite variance). The rank of each result is less than one below the exact share
    /// of the count.
    #[test]
    fn on_heavy_tailed_data_no_quantile_is_off_by_a_whole_rank() {
        let mut jitter = Jitter::new(1);
        let million = Duration::from_secs(1_000_000);
        let mut share = || jitter.between(Duration::ZERO, million).div_duration_f64(million);
        for count in 1..=600_u32 {
            let values: Vec<f64> = (0..count)
                .map(|_| (1.0 - share() * 0.999_999_999).powf(-1.0 / 1.1))
                .collect();
            let answers = quantiles(&filled(values.iter().copied()), at(0));
            for (answer, quantile) in answers.into_iter().zip([0.5, 0.9, 0.99]) {
                let rank = values.iter().filter(|value| **value <= answer).count();
                let error = quantile * f64::from(count) - f64::from(u32::try_from(rank).unwrap());
                let first = rank == 1 && error < 0.0;
                assert!(
                    first || (-1e-9..1.0).contains(&error),
                    "{quantile} of {count}: {error}"
                );
            }
        }
    }
}
