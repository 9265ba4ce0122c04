//! Metrics as Prometheus' text format 0.0.4.
//!
//! The `prometheus` crate encodes them, except infinities: it writes `inf`, as Rust does, where the format
//! has `+Inf` and `-Inf`. A sample is one line that ends with its value, because line ends in labels are
//! escaped and samples have no timestamps.

use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;

/// The metrics as text.
///
/// # Errors
/// The message of the encoder.
pub fn text(families: &[MetricFamily]) -> Result<String, String> {
    let text = TextEncoder::new().encode_to_string(families);
    let text = text.map_err(|error| error.to_string())?;
    Ok(text.split_inclusive('\n').flat_map(with_infinity).collect())
}

/// A line in two pieces; only the infinity of a sample is changed.
fn with_infinity(line: &str) -> [&str; 2] {
    if line.starts_with('#') {
        return [line, ""];
    }
    let ends = [(" inf\n", " +Inf\n"), (" -inf\n", " -Inf\n")];
    let changed = ends
        .iter()
        .find_map(|(end, infinity)| Some([line.strip_suffix(end)?, infinity]));
    changed.unwrap_or([line, ""])
}

#[cfg(test)]
mod tests {
    use super::super::family::Family;
    use super::*;
    use domain::Instant;
    use domain::plan::SensorKind;

    fn exposed(family: &Family) -> String {
        text(&family.collect(Instant::START).into_iter().collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn infinities_are_changed_in_values_and_nowhere_else() {
        let mut family = Family::labelled(SensorKind::Gauge, "inf", &["a"], "Neither inf\r\nnor -inf");
        family.name_series([["x inf\n".into()].into(), [" -inf".into()].into()]);
        family.take(Instant::START, &["x inf\n"], f64::INFINITY);
        family.take(Instant::START, &[" -inf"], f64::NEG_INFINITY);
        let expected = "# HELP inf Neither inf\r\\nnor -inf\n# TYPE inf gauge\n\
                        inf{a=\" -inf\"} -Inf\ninf{a=\"x inf\\n\"} +Inf\n";
        assert_eq!(exposed(&family), expected);
    }

    #[test]
    fn a_sum_that_overflows_is_infinite_too() {
        let mut family = Family::plain(SensorKind::Histogram, "m", "Help.");
        for _ in 0..2 {
            family.take(Instant::START, &[], f64::MAX);
        }
        let text = exposed(&family);
        assert!(
            text.ends_with("m_bucket{le=\"+Inf\"} 2\nm_sum +Inf\nm_count 2\n"),
            "{text}"
        );
    }
}
