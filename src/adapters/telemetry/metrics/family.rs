//! A metric and its series, one for each set of label values that the plan names.
//!
//! Decides what a value does to a series of each kind. A value for a series that was not named is dropped, so
//! no value creates a series. The crate `prometheus` is used for the exposition only: its vectors join label
//! values without a separator, so `ab`, `c` and `a`, `bc` would be one series, and its registry refuses a
//! known name with another help text.

use super::summary::Summary;
use domain::Instant;
use domain::plan::SensorKind;
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};
use std::collections::BTreeMap;

/// The bounds of a sensor's histogram, which are the defaults of Prometheus' client libraries.
pub const USUAL: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The values of the labels of one series.
pub type Labels = Box<[Box<str>]>;

/// A metric and its series.
#[derive(Debug)]
pub struct Family {
    name: String,
    help: String,
    kind: SensorKind,
    labels: &'static [&'static str],
    bounds: &'static [f64],
    series: BTreeMap<Labels, Series>,
}

#[derive(Debug)]
enum Series {
    Counter(f64),
    Gauge {
        last: f64,
        /// From then on the value is zero.
        until: Option<Instant>,
    },
    Histogram(Histogram),
    Summary(Summary),
}

#[derive(Debug)]
struct Histogram {
    bounds: &'static [f64],
    /// For each bucket, how many values it has that the bucket before has not; there is one more bucket than
    /// bounds.
    counts: Vec<u64>,
    sum: f64,
}

impl Family {
    /// A metric without labels. Its only series begins at zero.
    pub fn plain(kind: SensorKind, name: &str, help: &str) -> Self {
        let mut family = Self::labelled(kind, name, &[], help);
        family.name_series([Labels::default()]);
        family
    }

    /// A metric with labels and without series.
    pub fn labelled(kind: SensorKind, name: &str, labels: &'static [&'static str], help: &str) -> Self {
        Self {
            name: name.into(),
            help: help.into(),
            kind,
            labels,
            bounds: USUAL,
            series: BTreeMap::new(),
        }
    }

    /// The same metric with other bounds for its histograms.
    pub fn with_bounds(self, bounds: &'static [f64]) -> Self {
        Self { bounds, ..self }
    }

    /// The kind of the metric.
    pub fn kind(&self) -> SensorKind {
        self.kind
    }

    /// Replaces the help text.
    pub fn set_help(&mut self, help: &str) {
        self.help = help.into();
    }

    /// From now on there are these series and no others. Existing ones keep their values; new ones begin at
    /// zero.
    pub fn name_series(&mut self, named: impl IntoIterator<Item = Labels>) {
        let mut before = std::mem::take(&mut self.series);
        for labels in named {
            let kept = before.remove(&labels);
            self.series
                .entry(labels)
                .or_insert_with(|| kept.unwrap_or_else(|| Series::new(self.kind, self.bounds)));
        }
    }

    /// Records a value in the series with these labels, if it was named.
    pub fn take(&mut self, now: Instant, labels: &[&str], value: f64) {
        if self.series.is_empty() {
            return;
        }
        let labels: Labels = labels.iter().copied().map(Box::from).collect();
        if let Some(series) = self.series.get_mut(&labels) {
            series.take(now, value);
        }
    }

    /// Sets a gauge to one until an instant, from which on it is zero.
    pub fn hold_until(&mut self, end: Instant, labels: &[&str]) {
        let labels: Labels = labels.iter().copied().map(Box::from).collect();
        if let Some(Series::Gauge { last, until }) = self.series.get_mut(&labels) {
            (*last, *until) = (1.0, Some(end));
        }
    }

    /// The metric with its present values; `None` without series.
    pub fn collect(&self, now: Instant) -> Option<MetricFamily> {
        let metric = |(labels, series): (&Labels, &Series)| {
            let mut metric = proto::Metric::from_label(self.pairs(labels));
            series.expose(now, &mut metric);
            metric
        };
        let mut family = MetricFamily::default();
        family.set_name(self.name.clone());
        family.set_help(self.help.clone());
        family.set_field_type(match self.kind {
            SensorKind::Counter => MetricType::COUNTER,
            SensorKind::Gauge => MetricType::GAUGE,
            SensorKind::Histogram => MetricType::HISTOGRAM,
            SensorKind::Summary => MetricType::SUMMARY,
        });
        family.set_metric(self.series.iter().map(metric).collect());
        (!self.series.is_empty()).then_some(family)
    }

    fn pairs(&self, values: &Labels) -> Vec<LabelPair> {
        let pair = |(name, value): (&&str, &str)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).into());
            pair.set_value(value.into());
            pair
        };
        let values = values.iter().map(Box::as_ref);
        self.labels.iter().zip(values).map(pair).collect()
    }
}

impl Series {
    fn new(kind: SensorKind, bounds: &'static [f64]) -> Self {
        match kind {
            SensorKind::Counter => Self::Counter(0.0),
            SensorKind::Gauge => Self::Gauge {
                last: 0.0,
                until: None,
            },
            SensorKind::Histogram => Self::Histogram(Histogram {
                bounds,
                counts: vec![0; bounds.len() + 1],
                sum: 0.0,
            }),
            SensorKind::Summary => Self::Summary(Summary::default()),
        }
    }

    fn take(&mut self, now: Instant, value: f64) {
        match self {
            Self::Counter(sum) => *sum += value,
            Self::Gauge { last, until } => (*last, *until) = (value, None),
            Self::Histogram(histogram) => histogram.observe(value),
            Self::Summary(summary) => summary.observe(now, value),
        }
    }

    fn expose(&self, now: Instant, metric: &mut proto::Metric) {
        match self {
            Self::Counter(sum) => {
                let mut counter = proto::Counter::default();
                counter.set_value(*sum);
                metric.set_counter(counter);
            }
            Self::Gauge { last, until } => {
                let is_over = until.is_some_and(|until| until <= now);
                let mut gauge = proto::Gauge::default();
                gauge.set_value(if is_over { 0.0 } else { *last });
                metric.set_gauge(gauge);
            }
            Self::Histogram(histogram) => metric.set_histogram(histogram.proto()),
            Self::Summary(summary) => metric.set_summary(summary.proto(now)),
        }
    }
}

impl Histogram {
    /// Records a value in its bucket; a value that equals a bound belongs to the bucket of that bound.
    fn observe(&mut self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count += 1;
            self.sum += value;
        }
    }

    fn proto(&self) -> proto::Histogram {
        let mut cumulative = 0;
        let bucket = |(bound, count): (&f64, &u64)| {
            cumulative += count;
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(cumulative);
            bucket
        };
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(self.bounds.iter().zip(&self.counts).map(bucket).collect());
        histogram.set_sample_count(self.counts.iter().sum());
        histogram.set_sample_sum(self.sum);
        histogram
    }
}

#[cfg(test)]
mod tests {
    use super::super::exposition;
    use super::*;

    const NOW: Instant = Instant::START;

    fn labels(values: &[&str]) -> Labels {
        values.iter().copied().map(Box::from).collect()
    }

    fn text(family: &Family) -> String {
        let families: Vec<MetricFamily> = family.collect(NOW).into_iter().collect();
        exposition::text(&families).unwrap()
    }

    /// The sample lines of a metric without labels after these values.
    fn lines(kind: SensorKind, values: &[f64]) -> Vec<String> {
        let mut family = Family::plain(kind, "m", "Help.");
        for value in values {
            family.take(NOW, &[], *value);
        }
        let text = text(&family);
        text.lines().skip(2).map(str::to_owned).collect()
    }

    #[test]
    fn a_counter_adds_and_begins_at_zero() {
        assert_eq!(lines(SensorKind::Counter, &[]), ["m 0"]);
        assert_eq!(lines(SensorKind::Counter, &[1.0]), ["m 1"]);
        assert_eq!(lines(SensorKind::Counter, &[1.0, 2.0]), ["m 3"]);
        assert_eq!(lines(SensorKind::Counter, &[42.0]), ["m 42"]);
    }

    #[test]
    fn a_gauge_shows_the_last_value_exactly() {
        assert_eq!(lines(SensorKind::Gauge, &[]), ["m 0"]);
        assert_eq!(lines(SensorKind::Gauge, &[1.2]), ["m 1.2"]);
        assert_eq!(lines(SensorKind::Gauge, &[1.2, 2.3]), ["m 2.3"]);
        assert_eq!(lines(SensorKind::Gauge, &[f64::NAN]), ["m NaN"]);
    }

    #[test]
    fn numbers_are_written_without_exponents_and_infinities_as_the_format_has_them() {
        for (value, line) in [
            (3e6, "m 3000000"),
            (1e21, "m 1000000000000000000000"),
            (1e-7, "m 0.0000001"),
            (f64::INFINITY, "m +Inf"),
            (f64::NEG_INFINITY, "m -Inf"),
        ] {
            assert_eq!(lines(SensorKind::Gauge, &[value]), [line]);
        }
    }

    #[test]
    fn a_histogram_counts_a_value_in_every_bucket_it_is_not_above() {
        let counts = |values: &[f64]| {
            let count = |line: &String| line.split(' ').next_back().unwrap().to_owned();
            let lines = lines(SensorKind::Histogram, values);
            lines.iter().map(count).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(counts(&[]), "0 0 0 0 0 0 0 0 0 0 0 0 0 0");
        assert_eq!(counts(&[1.2]), "0 0 0 0 0 0 0 0 1 1 1 1 1.2 1");
        assert_eq!(counts(&[1.2, 1.2]), "0 0 0 0 0 0 0 0 2 2 2 2 2.4 2");
        assert_eq!(counts(&[1.2, 1.2, 4.5]), "0 0 0 0 0 0 0 0 2 3 3 3 6.9 3");
        assert_eq!(counts(&[2.5, -1.0, 11.0]), "1 1 1 1 1 1 1 1 2 2 2 3 12.5 3");
    }

    #[test]
    fn a_histogram_has_the_usual_buckets_then_the_sum_and_the_count() {
        let names: Vec<String> = lines(SensorKind::Histogram, &[])
            .into_iter()
            .map(|line| line.replace("m_bucket{le=", "").replace(['"', '}'], ""))
            .collect();
        let expected =
            "0.005 0,0.01 0,0.025 0,0.05 0,0.1 0,0.25 0,0.5 0,1 0,2.5 0,5 0,10 0,+Inf 0,m_sum 0,m_count 0";
        assert_eq!(names.join(","), expected);
    }

    #[test]
    fn a_summary_has_three_quantiles_then_the_sum_and_the_count() {
        let empty = lines(SensorKind::Summary, &[]);
        let expected = [
            "m{quantile=\"0.5\"} NaN",
            "m{quantile=\"0.9\"} NaN",
            "m{quantile=\"0.99\"} NaN",
            "m_sum 0",
            "m_count 0",
        ];
        assert_eq!(empty, expected);
        let values: Vec<f64> = (1..=10).map(f64::from).collect();
        let expected = [
            "m{quantile=\"0.5\"} 5",
            "m{quantile=\"0.9\"} 9",
            "m{quantile=\"0.99\"} 9",
            "m_sum 55",
            "m_count 10",
        ];
        assert_eq!(lines(SensorKind::Summary, &values), expected);
    }

    #[test]
    fn help_and_type_come_first_and_what_would_break_a_line_is_escaped() {
        let mut family = Family::labelled(SensorKind::Gauge, "m", &["a"], "One\\two\nthree.");
        family.name_series([labels(&["x\"\\\n"])]);
        let expected = "# HELP m One\\\\two\\nthree.\n# TYPE m gauge\nm{a=\"x\\\"\\\\\\n\"} 0\n";
        assert_eq!(text(&family), expected);
    }

    #[test]
    fn a_value_for_a_series_that_was_not_named_is_dropped() {
        let mut family = Family::labelled(SensorKind::Counter, "m", &["a"], "Help.");
        family.take(NOW, &["x"], 1.0);
        assert_eq!(text(&family), "");
        family.name_series([labels(&["x"])]);
        assert!(text(&family).ends_with("m{a=\"x\"} 0\n"));
    }

    #[test]
    fn series_that_are_named_again_keep_their_values_and_others_are_removed() {
        let mut family = Family::labelled(SensorKind::Counter, "m", &["a"], "Help.");
        family.name_series([labels(&["x"]), labels(&["y"])]);
        family.take(NOW, &["x"], 1.0);
        family.take(NOW, &["y"], 2.0);
        family.name_series([labels(&["z"]), labels(&["y"]), labels(&["y"])]);
        assert!(text(&family).ends_with("counter\nm{a=\"y\"} 2\nm{a=\"z\"} 0\n"));
    }

    #[test]
    fn label_values_that_read_the_same_when_joined_are_two_series() {
        let mut family = Family::labelled(SensorKind::Counter, "m", &["a", "b"], "Help.");
        family.name_series([labels(&["app", "1"]), labels(&["app1", ""])]);
        family.take(NOW, &["app", "1"], 1.0);
        assert!(text(&family).ends_with("m{a=\"app\",b=\"1\"} 1\nm{a=\"app1\",b=\"\"} 0\n"));
    }
}
