//! Parses the output of a sensor's command as a value for its metric.
//!
//! Numbers have the syntax of Go's ParseFloat in 2018: decimal numbers, `inf` and `nan`; numbers beyond a
//! float's range are refused. This module decides which values a kind of metric accepts (a gauge every value,
//! the others only values that can be added up without end: TM-5, TM-6), and which series names a metric
//! needs, so that no two metrics share one. It changes no metric.

use crate::plan::SensorKind;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

/// How many characters of a refused text a message shows.
const SHOWN: usize = 64;

/// The metrics that are exposed beside those of sensors: those of the shim and of its process.
pub const OWN: [(&str, SensorKind); 30] = [
    ("containerpilot_backend_instances", SensorKind::Gauge),
    ("containerpilot_backend_queries_total", SensorKind::Counter),
    ("containerpilot_build_info", SensorKind::Gauge),
    (
        "containerpilot_catalogue_request_duration_seconds",
        SensorKind::Histogram,
    ),
    ("containerpilot_catalogue_up", SensorKind::Gauge),
    ("containerpilot_check_duration_seconds", SensorKind::Histogram),
    ("containerpilot_checks_total", SensorKind::Counter),
    ("containerpilot_config_last_reload_successful", SensorKind::Gauge),
    ("containerpilot_coprocess_restarts_total", SensorKind::Counter),
    ("containerpilot_deregistrations_total", SensorKind::Counter),
    ("containerpilot_handler_runs_total", SensorKind::Counter),
    ("containerpilot_heartbeats_total", SensorKind::Counter),
    ("containerpilot_maintenance", SensorKind::Gauge),
    ("containerpilot_orphans_reaped_total", SensorKind::Counter),
    ("containerpilot_reaction_runs_total", SensorKind::Counter),
    ("containerpilot_registrations_total", SensorKind::Counter),
    ("containerpilot_reloads_total", SensorKind::Counter),
    ("containerpilot_sensor_runs_total", SensorKind::Counter),
    ("containerpilot_service_healthy", SensorKind::Gauge),
    ("containerpilot_service_registered", SensorKind::Gauge),
    ("containerpilot_task_runs_total", SensorKind::Counter),
    ("containerpilot_template_command_runs_total", SensorKind::Counter),
    ("containerpilot_template_renders_total", SensorKind::Counter),
    ("containerpilot_template_writes_total", SensorKind::Counter),
    ("process_cpu_seconds_total", SensorKind::Counter),
    ("process_max_fds", SensorKind::Gauge),
    ("process_open_fds", SensorKind::Gauge),
    ("process_resident_memory_bytes", SensorKind::Gauge),
    ("process_start_time_seconds", SensorKind::Gauge),
    ("process_virtual_memory_bytes", SensorKind::Gauge),
];

/// The names that a metric needs: its own, and those of the series that its kind adds.
pub fn series_of(kind: SensorKind, name: &str) -> Vec<String> {
    let suffixes: &[&str] = match kind {
        SensorKind::Counter | SensorKind::Gauge => &[""],
        SensorKind::Histogram => &["", "_bucket", "_count", "_sum"],
        SensorKind::Summary => &["", "_count", "_sum"],
    };
    suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect()
}

/// Whether one of [`OWN`] needs this name, which is one of [`series_of`] a sensor.
pub fn is_own(series: &str) -> bool {
    OWN.iter()
        .any(|(name, kind)| series_of(*kind, name).iter().any(|own| own == series))
}

/// A number from a sensor. Two values are equal if their bits are.
#[derive(Clone, Copy, Debug)]
pub struct Value(f64);

impl Value {
    /// The number.
    pub const fn number(self) -> f64 {
        self.0
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_bits() == other.0.to_bits()
    }
}

impl Eq for Value {}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.to_bits().hash(state);
    }
}

/// Parses the output as a value for a metric of this kind.
///
/// # Errors
/// A sentence: the output is not a number, or not one that such a metric accepts.
pub fn read(kind: SensorKind, printed: &str) -> Result<Value, String> {
    let text = printed.trim();
    let shown: String = text.chars().take(SHOWN).collect();
    let number = parse(text).map_err(|cause| {
        format!(
            "strconv.ParseFloat: parsing \"{}\": {cause}",
            shown.escape_debug()
        )
    })?;
    match kind {
        SensorKind::Gauge => {}
        _ if !number.is_finite() => return Err(format!("a {kind} takes finite numbers only, not {shown}")),
        SensorKind::Counter if number < 0.0 => {
            return Err(format!("a {kind} never goes down, and {shown} is negative"));
        }
        SensorKind::Counter | SensorKind::Histogram | SensorKind::Summary => {}
    }
    Ok(Value(number))
}

/// Rust's parser differs in two ways, which are handled here: it gives infinity for a number beyond the
/// range, and accepts a sign before `nan`.
fn parse(text: &str) -> Result<f64, &'static str> {
    const SYNTAX: &str = "invalid syntax";
    let number: f64 = text.parse().map_err(|_| SYNTAX)?;
    let spelt_out = |letter: char| text.contains([letter, letter.to_ascii_uppercase()]);
    if number.is_nan() && text.starts_with(['+', '-']) {
        Err(SYNTAX)
    } else if number.is_infinite() && !spelt_out('i') {
        Err("value out of range")
    } else {
        Ok(number)
    }
}

impl fmt::Display for SensorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [SensorKind; 4] = [
        SensorKind::Counter,
        SensorKind::Gauge,
        SensorKind::Histogram,
        SensorKind::Summary,
    ];

    fn gauge(text: &str) -> Result<f64, String> {
        read(SensorKind::Gauge, text).map(Value::number)
    }

    #[test]
    fn numbers_are_those_that_go_parses() {
        for (text, number) in [
            ("42", 42.0),
            (" 1.2\n", 1.2),
            ("\u{a0}7\u{2003}", 7.0),
            ("-3e-2", -0.03),
            ("+.5", 0.5),
            ("5.", 5.0),
            ("1E3", 1000.0),
            ("inf", f64::INFINITY),
            ("+Inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
            ("1e-400", 0.0),
            ("179769313486231570000000000000000000000e270", f64::MAX),
        ] {
            assert_eq!(gauge(text), Ok(number), "{text}");
        }
        for text in ["nan", "NaN", "NAN"] {
            assert!(gauge(text).unwrap().is_nan(), "{text}");
        }
    }

    #[test]
    fn any_other_text_is_refused_in_the_words_of_the_original() {
        for text in [
            "", "abc", "0x10", "1_000", "1,5", "1 2", "1e", ".", "e5", "+nan", "-nan", "infi", "1.2.3", "٣",
            "5…",
        ] {
            let refused = Err(format!("strconv.ParseFloat: parsing \"{text}\": invalid syntax"));
            assert_eq!(gauge(text), refused, "{text}");
        }
        for text in ["1e400", "-1e400"] {
            let refused = Err(format!(
                "strconv.ParseFloat: parsing \"{text}\": value out of range"
            ));
            assert_eq!(gauge(text), refused);
        }
    }

    #[test]
    fn the_beginning_of_a_long_text_is_shown_on_one_line() {
        let sentence = gauge(&"no\nnumber ".repeat(100)).unwrap_err();
        assert!(sentence.starts_with("strconv.ParseFloat: parsing \"no\\nnumber no"));
        assert!(sentence.len() < 150);
        let sentence = read(SensorKind::Counter, &format!("-{}1", "0".repeat(1000))).unwrap_err();
        assert!(sentence.len() < 150);
    }

    #[test]
    fn a_counter_never_goes_down() {
        let refused = read(SensorKind::Counter, "-3");
        assert_eq!(
            refused,
            Err("a counter never goes down, and -3 is negative".into())
        );
        assert!(read(SensorKind::Counter, "0").is_ok());
        assert!(read(SensorKind::Histogram, "-3").is_ok());
    }

    #[test]
    fn only_a_gauge_accepts_infinities_and_nan() {
        for text in ["NaN", "+Inf", "-Inf"] {
            for kind in KINDS {
                let taken = read(kind, text).is_ok();
                assert_eq!(taken, kind == SensorKind::Gauge, "{kind} {text}");
            }
        }
        let refused = read(SensorKind::Summary, "NaN");
        assert_eq!(
            refused,
            Err("a summary takes finite numbers only, not NaN".into())
        );
    }

    #[test]
    fn histograms_and_summaries_need_the_names_of_their_sums_and_counts_too() {
        assert_eq!(series_of(SensorKind::Counter, "a"), ["a"]);
        assert_eq!(series_of(SensorKind::Gauge, "a"), ["a"]);
        let histogram = ["a", "a_bucket", "a_count", "a_sum"];
        assert_eq!(series_of(SensorKind::Histogram, "a"), histogram);
        assert_eq!(series_of(SensorKind::Summary, "a"), ["a", "a_count", "a_sum"]);
    }

    #[test]
    fn the_shims_own_names_are_taken_and_others_with_the_same_beginning_are_not() {
        for name in [
            "containerpilot_checks_total",
            "containerpilot_check_duration_seconds",
            "containerpilot_check_duration_seconds_bucket",
            "containerpilot_check_duration_seconds_sum",
            "process_open_fds",
        ] {
            assert!(is_own(name), "{name}");
        }
        for name in [
            "containerpilot_app_some_counter",
            "containerpilot_checks_total_count",
            "process_threads",
        ] {
            assert!(!is_own(name), "{name}");
        }
    }

    proptest! {
        #[test]
        fn every_finite_number_is_read_back(number in prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL) {
            prop_assert_eq!(gauge(&format!("{number:e}\n")), Ok(number));
        }

        #[test]
        fn no_output_of_a_sensor_causes_a_panic(text in ".*") {
            for kind in KINDS {
                let _ = read(kind, &text);
            }
        }
    }
}
