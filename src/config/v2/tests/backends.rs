//! The keys of backends beyond version 2.

use super::*;
use domain::plan::{Backend, Timing, Wait};

/// A backend with these members.
fn backend(members: &str) -> Result<Backend, String> {
    let text = format!(
        r#"{{"consul": "c:1", "backends": [{{"name": "db", "poll": 5, "onChange": "true"{members}}}]}}"#
    );
    let compiled = compiled_with(&text, &[], &[]);
    compiled.map(|compiled| compiled.plan.backends.into_iter().next().unwrap())
}

#[test]
fn a_handler_may_have_a_quiet_time_a_splay_and_a_minimum() {
    let wait = |quiet, most| {
        Some(Wait {
            quiet: Duration::from_millis(quiet),
            most: Duration::from_millis(most),
        })
    };
    let seconds = Duration::from_secs;
    for (members, expected) in [
        ("", (None, seconds(0), 0)),
        (r#", "wait": "2s""#, (wait(2_000, 8_000), seconds(0), 0)),
        (r#", "wait": 2"#, (wait(2_000, 8_000), seconds(0), 0)),
        (r#", "wait": "500ms:1m""#, (wait(500, 60_000), seconds(0), 0)),
        (r#", "wait": "3:3""#, (wait(3_000, 3_000), seconds(0), 0)),
        (r#", "wait": "0s", "splay": 0"#, (None, seconds(0), 0)),
        (
            r#", "wait": "", "splay": "10s", "minimum": "3""#,
            (None, seconds(10), 3),
        ),
        (r#", "splay": null, "minimum": 16384"#, (None, seconds(0), 16_384)),
    ] {
        let (wait, splay, minimum) = expected;
        let timing = Timing { wait, splay, minimum };
        assert_eq!(backend(members).unwrap().timing, timing, "{members}");
    }
}

#[test]
fn errors_in_the_keys_of_a_handler_are_reported() {
    for (members, sentence) in [
        (
            r#", "wait": "5s:2s""#,
            "backends[0].wait: `wait` in backend db has a maximum of 2s, allowed is its quiet time of 5s or more",
        ),
        (
            r#", "wait": "5s:""#,
            "backends[0].wait: `wait` in backend db: time: invalid duration : found \"5s:\"",
        ),
        (r#", "wait": "0s:2s""#, "it cannot be less than 1ms"),
        (
            r#", "wait": "2s:4s:8s""#,
            "time: unknown unit s: in duration 4s:8s",
        ),
        (
            r#", "splay": "soon""#,
            "backends[0].splay: `splay` in backend db: time: ",
        ),
        (r#", "splay": "-1s""#, "it cannot be less than 1ms"),
        (
            r#", "minimum": 16385"#,
            "backends[0].minimum: `minimum` in backend db is out of range: found 16385, allowed is a whole number of \
             instances from 0 to 16384",
        ),
        (r#", "minimum": -1"#, "`minimum` in backend db is out of range"),
        (r#", "minimum": 1.5"#, "not a whole number"),
        (
            r#", "stdin": "xml""#,
            "backends[0].stdin: `stdin` in backend db is unknown: found \"xml\", allowed is \"json\"",
        ),
        (r#", "stdin": true"#, "backends[0].stdin: not a string"),
        (r#", "minimun": 1"#, "did you mean `minimum`?"),
    ] {
        let report = backend(members).unwrap_err();
        assert!(report.contains(sentence), "{members}: {report}");
    }
}

#[test]
fn a_handler_may_read_the_instances() {
    assert!(!backend("").unwrap().json);
    assert!(!backend(r#", "stdin": null"#).unwrap().json);
    assert!(backend(r#", "stdin": "json""#).unwrap().json);
}
