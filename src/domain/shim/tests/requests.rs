//! More services and backends than requests may be on their way to the catalogue.

use super::*;
use crate::measurement::CatalogueOperation;

/// Services without a check, `a` to `e`, and backends, `v` to `z`, with a budget.
fn crowd(services: usize, backends: usize, budget: u32) -> Stage {
    let unchecked = |name: &&str| Service {
        check: None,
        ..service(name)
    };
    let services = ["a", "b", "c", "d", "e"][..services].iter();
    let backends = ["v", "w", "x", "y", "z"][..backends].iter();
    Stage::running(Plan {
        services: services.map(unchecked).collect(),
        backends: backends.map(|name| backend(name)).collect(),
        max_connections: Some(budget),
        ..bare()
    })
}

fn busy() -> Answer {
    Answer::Busy("connection closed".into())
}

/// Answers every query once, and says of which the answer was waited for.
fn watched(stage: &mut Stage, ports: &[u16]) -> Vec<String> {
    stage.measured.clear();
    let queries = |stage: &Stage| {
        let mut names = stage.questions.keys().filter(|name| name.ends_with('?'));
        names.next().cloned()
    };
    while let Some(query) = queries(stage) {
        stage.answers(&query, instances(ports));
    }
    let mut watched = Vec::new();
    for measurement in &stage.measured {
        if let Measurement::Answered {
            operation: CatalogueOperation::Watch(backend),
            ..
        } = measurement
        {
            watched.push(backend.name.clone());
        }
    }
    watched
}

#[test]
fn heartbeats_beyond_the_budget_follow_as_others_are_answered() {
    let mut stage = crowd(5, 0, 2);
    assert_eq!(stage.after(10_000), ["register a", "register b"]);
    assert_eq!(stage.answers("b", Answer::Done), ["register c"]);
    assert_eq!(stage.answers("a", Answer::Done), ["register d"]);
    assert_eq!(stage.answers("c", Answer::Done), ["register e"]);
}

#[test]
fn when_the_time_to_deregister_is_over_every_service_that_is_left_is_named() {
    let mut stage = crowd(5, 0, 2);
    stage.after(10_000);
    for name in ["a", "b", "c", "d"] {
        stage.answers(name, Answer::Done);
    }
    assert_eq!(
        stage.signal(Signal::TERM),
        ["deregister a"],
        "b, c and d wait, and e is not answered yet"
    );
    stage.told.clear();
    assert_eq!(stage.after(1_999), [""; 0]);
    // The request of a ends in the very step in which the time is over.
    stage.now = stage.now + Duration::from_millis(1);
    stage.answers("a", Answer::Failed("refused".into()));
    let expected = [
        "Deregistering failed: refused (service a)",
        "Gave up deregistering b: ",
        "Gave up deregistering c: ",
        "Gave up deregistering d: ",
        "Gave up deregistering e: ",
    ];
    assert_eq!(stage.told.len(), expected.len(), "{:?}", stage.told);
    for (told, expected) in stage.told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn requests_that_wait_too_long_are_given_up() {
    let mut stage = crowd(3, 0, 2);
    assert_eq!(stage.after(10_000), ["register a", "register b"]);
    assert_eq!(stage.after(9_999), [""; 0]);
    assert!(!stage.told("Service registration failed"));
    assert_eq!(stage.after(1), [""; 0]);
    assert!(stage.told("Service registration failed: too many requests before it are on their way"));
    assert_eq!(stage.answers("a", Answer::Done), ["register c"], "its next tick");
    assert_eq!(stage.answers("b", Answer::Done), ["renew a"]);
    stage.signal(Signal::USR1);
    assert_eq!(stage.after(9_999), [""; 0]);
    assert!(!stage.told("Deregistering failed"));
    stage.after(1);
    assert!(stage.told("Deregistering failed: too many requests before it are on their way"));
}

#[test]
fn at_the_stop_queries_are_cancelled_and_deregistrations_replace_heartbeats() {
    let mut stage = crowd(4, 1, 4);
    assert_eq!(
        stage.after(10_000),
        ["register a", "register b", "list v", "register c"]
    );
    assert_eq!(stage.answers("a", Answer::Done), ["register d"]);
    assert!(stage.questions.contains_key("v?"));
    assert_eq!(
        stage.signal(Signal::TERM),
        ["forget(ticket(4))", "deregister a"],
        "the others wait for the answers on their way"
    );
    assert_eq!(stage.answers("c", Answer::Done), ["deregister c"]);
    let mut stage = crowd(5, 0, 2);
    stage.after(10_000);
    stage.signal(Signal::TERM);
    assert_eq!(
        stage.answers("a", Answer::Done),
        ["deregister c"],
        "what was not sent is not sent any more"
    );
    assert_eq!(stage.answers("b", Answer::Done), ["deregister d"]);
}

#[test]
fn backends_without_a_place_are_each_queried_once_in_their_poll() {
    let mut stage = crowd(0, 5, 2);
    assert_eq!(stage.after(10_000), ["list v"], "one at a time");
    assert_eq!(watched(&mut stage, &[]), [""; 0]);
    assert_eq!(stage.after(9_999), [""; 0]);
    assert_eq!(stage.after(1), ["list v"]);
    assert_eq!(watched(&mut stage, &[1]), [""; 0]);
    assert_eq!(stage.how_often("changed: 1 passing instances"), 5);
}

#[test]
fn places_for_blocking_queries_are_passed_on_among_backends_without_changes() {
    let mut stage = crowd(0, 3, 4);
    stage.after(10_000);
    let mut turns = watched(&mut stage, &[]);
    for _ in 0..5 {
        stage.after(10_000);
        turns.extend(watched(&mut stage, &[]));
    }
    assert_eq!(turns[..6], ["v", "w", "x", "v", "w", "x"]);
}

#[test]
fn a_reload_to_more_backends_takes_places_away() {
    let mut stage = crowd(0, 2, 4);
    stage.after(10_000);
    stage.answers("v?", instances(&[]));
    stage.answers("w?", instances(&[]));
    assert_eq!(stage.questions.len(), 2, "both wait for a change");
    stage.signal(Signal::HUP);
    let names = ["v", "w", "x"];
    stage.loads(Plan {
        backends: names.iter().map(|name| backend(name)).collect(),
        max_connections: Some(4),
        ..bare()
    });
    assert_eq!(stage.questions.keys().collect::<Vec<_>>(), ["v?"]);
    assert_eq!(
        stage.after(10_000),
        ["list w", "list x"][..1],
        "the share has two places"
    );
}

#[test]
fn a_request_that_a_busy_catalogue_refuses_is_sent_again_and_is_no_failure() {
    let mut stage = crowd(2, 1, 4);
    stage.after(10_000);
    assert_eq!(stage.answers("a", busy()), [""; 0]);
    assert_eq!(stage.answers("v?", busy()), [""; 0]);
    assert_eq!(stage.answers("b", Answer::Done), [""; 0]);
    assert_eq!(
        stage.how_often("asking it 2 things at a time instead of 4 for a while"),
        1
    );
    assert_eq!(stage.after(200), ["register a", "list v"]);
    stage.answers("a", Answer::Done);
    stage.answers("v?", instances(&[1]));
    assert!(stage.told("Service registered: a"));
    assert_eq!(stage.how_often("ailed"), 0, "{:?}", stage.told);
    for _ in 0..30 {
        stage.after(1_000);
        stage.questions.remove("a");
        stage.questions.remove("b");
        stage.questions.remove("v?");
    }
    assert_eq!(stage.how_often("asking it 4 things at a time"), 1);
}

#[test]
fn a_refused_heartbeat_is_not_sent_again_before_the_deregistration() {
    let mut stage = crowd(1, 0, 2);
    stage.after(10_000);
    stage.answers("a", Answer::Done);
    assert_eq!(stage.after(10_000), ["renew a"]);
    stage.signal(Signal::TERM);
    assert_eq!(stage.answers("a", busy()), [""; 0]);
    assert_eq!(stage.after(200), ["deregister a"]);
}

#[test]
fn a_query_that_may_not_block_any_more_before_it_is_sent_is_a_short_one() {
    let mut stage = crowd(0, 2, 4);
    stage.after(10_000);
    stage.answers("v?", instances(&[]));
    stage.answers("w?", instances(&[]));
    stage.answers("v?", busy());
    assert_eq!(stage.questions.len(), 0, "nobody may block with a budget of two");
    assert_eq!(stage.after(200), ["list v"]);
    stage.measured.clear();
    stage.answers("v?", instances(&[]));
    let short = |measured: &Measurement| {
        matches!(
            measured,
            Measurement::Answered {
                operation: CatalogueOperation::List(_),
                ..
            }
        )
    };
    assert!(stage.measured.iter().any(short), "{:?}", stage.measured);
}

#[test]
fn a_catalogue_that_stays_busy_is_a_failure_in_the_end() {
    let mut stage = crowd(1, 1, 2);
    stage.after(10_000);
    let mut passed = 0;
    while !stage.told("Service registration failed: connection closed") {
        for requester in ["a", "v?"] {
            if stage.questions.contains_key(requester) {
                stage.answers(requester, busy());
            }
        }
        stage.after(50);
        passed += 50;
        assert!(passed <= 10_000, "{:?}", stage.told);
    }
    assert!(stage.told("Failed to query v: connection closed"));
    assert_eq!(stage.how_often("things at a time"), 1);
}

#[test]
fn a_lost_answer_and_a_refused_query_do_not_run_the_handler_again_for_the_same_list() {
    let mut stage = crowd(0, 1, 2);
    stage.after(10_000);
    assert_eq!(stage.answers("v?", instances(&[1])), ["start v.onChange"]);
    stage.exits("v.onChange", 0);
    stage.after(1_000);
    stage.answers("v?", busy());
    stage.after(1_000);
    stage.answers("v?", Answer::Failed("no answer in time".into()));
    stage.after(10_000);
    assert_eq!(stage.answers("v?", instances(&[1])), ["list v"]);
}

#[test]
fn a_catalogue_without_a_budget_that_is_busy_has_failed() {
    let mut stage = Stage::running(Plan {
        services: vec![Service {
            check: None,
            ..service("a")
        }],
        ..bare()
    });
    stage.after(10_000);
    stage.answers("a", busy());
    assert!(stage.told("Service registration failed: connection closed"));
}
