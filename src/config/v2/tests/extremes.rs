//! Tests of the smallest and largest numbers and durations: each is refused, or a simulated run with it
//! works.

use super::*;
use domain::catalogue::Answer;
use domain::process::{ExitStatus, Pid};
use domain::signal::Signal;
use domain::time::Instant;
use domain::{Effect, Event, Shim};
use proptest::prelude::*;

/// Every key with a number or a duration, as members of a document, with `#` in place of the value.
const KEYS: [&str; 15] = [
    r##""stopTimeout": #, "preStop": "true""##,
    r##""services": [{"name": "a", "port": 1, "poll": #, "ttl": 5, "health": "true"}]"##,
    r##""services": [{"name": "a", "port": 1, "poll": 1, "ttl": #}]"##,
    r##""services": [{"name": "a", "port": #, "poll": 1, "ttl": 5}]"##,
    r##""services": [{"name": "a", "port": 1, "poll": 1, "ttl": 5, "health": "true", "timeout": #}]"##,
    r##""services": [{"name": "a", "port": 1, "poll": 1, "ttl": 5, "consul": {"deregisterCriticalServiceAfter": #}}]"##,
    r##""backends": [{"name": "b", "poll": #, "onChange": "true"}]"##,
    r##""backends": [{"name": "b", "poll": 1, "onChange": "true", "timeout": #}]"##,
    r##""tasks": [{"command": "true", "frequency": #}]"##,
    r##""tasks": [{"command": "true", "frequency": "1s", "timeout": #}]"##,
    r##""coprocesses": [{"command": "true", "restarts": #}]"##,
    r##""telemetry": {"port": #, "interfaces": "lo"}"##,
    r##""telemetry": {"interfaces": "lo", "sensors": [{"name": "s", "help": "h", "type": "gauge", "check": "true", "poll": #}]}"##,
    r##""preStart": {"command": "true", "timeout": #}"##,
    r##""coprocesses": [{"command": {"command": "true", "timeout": #}, "restarts": "unlimited"}]"##,
];

/// The limits of the number types, and of durations.
const EXTREMES: [&str; 24] = [
    "0",
    "-1",
    "1",
    "65535",
    "65536",
    "4294967295",
    "9223372036",
    "9223372037",
    "9223372036854775806",
    "9223372036854775807",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "-9223372036854775808",
    "1e18",
    "1e308",
    "-1e308",
    "340282366920938463463374607431768211456",
    r#""9223372036854775807ns""#,
    r#""9223372036854775808ns""#,
    r#""100000000h""#,
    r#""2562047h47m16.854775807s""#,
    r#""-2562047h""#,
    r#""0.000000000000000000001h""#,
];

/// Runs the plan in virtual time, which advances from deadline to deadline and then to the last possible
/// instant.
fn run_briefly(plan: Plan) {
    let mut shim = Shim::new(plan, 1);
    let mut now = Instant::START;
    let mut events = vec![Event::Begin];
    for turn in 0..40 {
        for event in std::mem::take(&mut events) {
            for effect in shim.step(now, event) {
                events.extend(what_comes_of(effect));
            }
        }
        match turn {
            10 => events.push(Event::Signal(Signal::USR1)),
            12 => events.push(Event::Signal(Signal::USR1)),
            20 => now = Instant::after_start(Duration::MAX),
            30 => events.push(Event::Signal(Signal::TERM)),
            _ => events.push(Event::Woken),
        }
        now = shim.deadline().map_or(now, |deadline| deadline.max(now));
    }
}

fn what_comes_of(effect: Effect) -> Vec<Event> {
    match effect {
        Effect::Start(ticket, _) => vec![
            Event::Started(ticket, Pid(1)),
            Event::Exited(ticket, ExitStatus::Code(0)),
        ],
        Effect::Request { ticket, .. } => vec![Event::Answered(ticket, Answer::Failed("no".into()))],
        _ => vec![],
    }
}

fn is_refused_or_runs(key: &str, value: &str) {
    let text = format!("{{\"consul\": \"c:8500\", {}}}", key.replace('#', value));
    match compiled_with(&text, &[], &["true"]) {
        Ok(compiled) => run_briefly(compiled.plan),
        Err(report) => assert!(!report.is_empty()),
    }
}

#[test]
fn no_extreme_number_in_any_key_causes_a_panic() {
    for key in KEYS {
        for value in EXTREMES {
            is_refused_or_runs(key, value);
            is_refused_or_runs(key, &format!("\"{}\"", value.trim_matches('"')));
        }
    }
}

#[test]
fn more_seconds_than_go_can_count_are_refused() {
    for (key, subject) in [
        (KEYS[0], "`stopTimeout`"),
        (KEYS[1], "`poll` in service a"),
        (KEYS[2], "`ttl` in service a"),
        (KEYS[6], "`poll` in backend b"),
        (KEYS[12], "`poll` in sensor s"),
    ] {
        let refused = report_of(&key.replace('#', "9223372037"));
        let sentence =
            format!("{subject} must be <= 9223372036: found 9223372037, allowed is a whole number");
        assert!(refused.contains(&sentence), "{refused}");
        plan_of(&key.replace('#', "9223372036"));
    }
}

proptest! {
    #[test]
    fn no_number_in_any_key_causes_a_panic(
        key in prop::sample::select(KEYS.to_vec()), number: i128, small: i64, unit in prop::sample::select(vec!["ns", "us", "ms", "s", "m", "h"])
    ) {
        is_refused_or_runs(key, &number.to_string());
        is_refused_or_runs(key, &small.to_string());
        is_refused_or_runs(key, &format!("\"{small}{unit}\""));
    }
}
