//! More services and backends than requests may be on their way to the catalogue.

use super::*;
use crate::measurement::CatalogueOperation;

/// Services without a check, `a` to `e`, and backends, `v` to `z`, with a budget.
fn with_budget(services: usize, backends: usize, budget: u32) -> Fixture {
    let unchecked = |name: &&str| Service {
        check: None,
        ..service(name)
    };
    let services = ["a", "b", "c", "d", "e"][..services].iter();
    let backends = ["v", "w", "x", "y", "z"][..backends].iter();
    Fixture::running(Plan {
        services: services.map(unchecked).collect(),
        backends: backends.map(|name| backend(name)).collect(),
        max_connections: Some(budget),
        ..bare()
    })
}

fn busy() -> Answer {
    Answer::Busy("connection closed".into())
}

/// Answers every query once, and returns those that were blocking.
fn watched(fixture: &mut Fixture, ports: &[u16]) -> Vec<String> {
    fixture.measured.clear();
    let queries = |fixture: &Fixture| {
        let mut names = fixture.requests.keys().filter(|name| name.ends_with('?'));
        names.next().cloned()
    };
    while let Some(query) = queries(fixture) {
        fixture.answers(&query, instances(ports));
    }
    let mut watched = Vec::new();
    for measurement in &fixture.measured {
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
    let mut fixture = with_budget(5, 0, 2);
    assert_eq!(fixture.after(10_000), ["register a", "register b"]);
    assert_eq!(fixture.answers("b", Answer::Done), ["register c"]);
    assert_eq!(fixture.answers("a", Answer::Done), ["register d"]);
    assert_eq!(fixture.answers("c", Answer::Done), ["register e"]);
}

#[test]
fn when_the_time_to_deregister_is_over_every_service_that_is_left_is_named() {
    let mut fixture = with_budget(5, 0, 2);
    fixture.after(10_000);
    for name in ["a", "b", "c", "d"] {
        fixture.answers(name, Answer::Done);
    }
    assert_eq!(
        fixture.signal(Signal::TERM),
        ["deregister a"],
        "b, c and d wait, and e is not answered yet"
    );
    fixture.logged.clear();
    assert_eq!(fixture.after(1_999), [""; 0]);
    // The request of a ends in the very step in which the time is over.
    fixture.now = fixture.now + Duration::from_millis(1);
    fixture.answers("a", Answer::Failed("refused".into()));
    let expected = [
        "Deregistering failed: refused (service a)",
        "Gave up deregistering b: ",
        "Gave up deregistering c: ",
        "Gave up deregistering d: ",
        "Gave up deregistering e: ",
    ];
    assert_eq!(fixture.logged.len(), expected.len(), "{:?}", fixture.logged);
    for (text, expected) in fixture.logged.iter().zip(expected) {
        assert!(text.starts_with(expected), "{text}");
    }
}

#[test]
fn requests_that_wait_too_long_are_given_up() {
    let mut fixture = with_budget(3, 0, 2);
    assert_eq!(fixture.after(10_000), ["register a", "register b"]);
    assert_eq!(fixture.after(9_999), [""; 0]);
    assert!(!fixture.has_logged("Service registration failed"));
    assert_eq!(fixture.after(1), [""; 0]);
    assert!(fixture.has_logged("Service registration failed: too many requests before it are on their way"));
    assert_eq!(
        fixture.answers("a", Answer::Done),
        ["register c"],
        "its next tick"
    );
    assert_eq!(fixture.answers("b", Answer::Done), ["renew a"]);
    fixture.signal(Signal::USR1);
    assert_eq!(fixture.after(9_999), [""; 0]);
    assert!(!fixture.has_logged("Deregistering failed"));
    fixture.after(1);
    assert!(fixture.has_logged("Deregistering failed: too many requests before it are on their way"));
}

#[test]
fn at_the_stop_queries_are_cancelled_and_deregistrations_replace_heartbeats() {
    let mut fixture = with_budget(4, 1, 4);
    assert_eq!(
        fixture.after(10_000),
        ["register a", "register b", "list v", "register c"]
    );
    assert_eq!(fixture.answers("a", Answer::Done), ["register d"]);
    assert!(fixture.requests.contains_key("v?"));
    assert_eq!(
        fixture.signal(Signal::TERM),
        ["cancel(ticket(4))", "deregister a"],
        "the others wait for the answers on their way"
    );
    assert_eq!(fixture.answers("c", Answer::Done), ["deregister c"]);
    let mut fixture = with_budget(5, 0, 2);
    fixture.after(10_000);
    fixture.signal(Signal::TERM);
    assert_eq!(
        fixture.answers("a", Answer::Done),
        ["deregister c"],
        "what was not sent is not sent any more"
    );
    assert_eq!(fixture.answers("b", Answer::Done), ["deregister d"]);
}

#[test]
fn backends_without_a_place_are_each_queried_once_in_their_poll() {
    let mut fixture = with_budget(0, 5, 2);
    assert_eq!(fixture.after(10_000), ["list v"], "one at a time");
    assert_eq!(watched(&mut fixture, &[]), [""; 0]);
    assert_eq!(fixture.after(9_999), [""; 0]);
    assert_eq!(fixture.after(1), ["list v"]);
    assert_eq!(watched(&mut fixture, &[1]), [""; 0]);
    assert_eq!(fixture.how_often("changed: 1 passing instances"), 5);
}

#[test]
fn places_for_blocking_queries_are_passed_on_among_backends_without_changes() {
    let mut fixture = with_budget(0, 3, 4);
    fixture.after(10_000);
    let mut turns = watched(&mut fixture, &[]);
    for _ in 0..5 {
        fixture.after(10_000);
        turns.extend(watched(&mut fixture, &[]));
    }
    assert_eq!(turns[..6], ["v", "w", "x", "v", "w", "x"]);
}

#[test]
fn a_reload_to_more_backends_takes_places_away() {
    let mut fixture = with_budget(0, 2, 4);
    fixture.after(10_000);
    fixture.answers("v?", instances(&[]));
    fixture.answers("w?", instances(&[]));
    assert_eq!(fixture.requests.len(), 2, "both wait for a change");
    fixture.signal(Signal::HUP);
    let names = ["v", "w", "x"];
    fixture.loads(Plan {
        backends: names.iter().map(|name| backend(name)).collect(),
        max_connections: Some(4),
        ..bare()
    });
    assert_eq!(fixture.requests.keys().collect::<Vec<_>>(), ["v?"]);
    assert_eq!(
        fixture.after(10_000),
        ["list w", "list x"][..1],
        "the share has two places"
    );
}

#[test]
fn a_request_that_a_busy_catalogue_refuses_is_sent_again_and_is_no_failure() {
    let mut fixture = with_budget(2, 1, 4);
    fixture.after(10_000);
    assert_eq!(fixture.answers("a", busy()), [""; 0]);
    assert_eq!(fixture.answers("v?", busy()), [""; 0]);
    assert_eq!(fixture.answers("b", Answer::Done), [""; 0]);
    assert_eq!(
        fixture.how_often("asking it 2 things at a time instead of 4 for a while"),
        1
    );
    assert_eq!(fixture.after(200), ["register a", "list v"]);
    fixture.answers("a", Answer::Done);
    fixture.answers("v?", instances(&[1]));
    assert!(fixture.has_logged("Service registered: a"));
    assert_eq!(fixture.how_often("ailed"), 0, "{:?}", fixture.logged);
    for _ in 0..30 {
        fixture.after(1_000);
        fixture.requests.remove("a");
        fixture.requests.remove("b");
        fixture.requests.remove("v?");
    }
    assert_eq!(fixture.how_often("asking it 4 things at a time"), 1);
}

#[test]
fn a_refused_heartbeat_is_not_sent_again_before_the_deregistration() {
    let mut fixture = with_budget(1, 0, 2);
    fixture.after(10_000);
    fixture.answers("a", Answer::Done);
    assert_eq!(fixture.after(10_000), ["renew a"]);
    fixture.signal(Signal::TERM);
    assert_eq!(fixture.answers("a", busy()), [""; 0]);
    assert_eq!(fixture.after(200), ["deregister a"]);
}

#[test]
fn a_query_that_may_not_block_any_more_before_it_is_sent_is_a_short_one() {
    let mut fixture = with_budget(0, 2, 4);
    fixture.after(10_000);
    fixture.answers("v?", instances(&[]));
    fixture.answers("w?", instances(&[]));
    fixture.answers("v?", busy());
    assert_eq!(fixture.requests.len(), 0, "nobody may block with a budget of two");
    assert_eq!(fixture.after(200), ["list v"]);
    fixture.measured.clear();
    fixture.answers("v?", instances(&[]));
    let short = |measured: &Measurement| {
        matches!(
            measured,
            Measurement::Answered {
                operation: CatalogueOperation::List(_),
                ..
            }
        )
    };
    assert!(fixture.measured.iter().any(short), "{:?}", fixture.measured);
}

#[test]
fn a_catalogue_that_stays_busy_is_a_failure_in_the_end() {
    let mut fixture = with_budget(1, 1, 2);
    fixture.after(10_000);
    let mut passed = 0;
    while !fixture.has_logged("Service registration failed: connection closed") {
        for requester in ["a", "v?"] {
            if fixture.requests.contains_key(requester) {
                fixture.answers(requester, busy());
            }
        }
        fixture.after(50);
        passed += 50;
        assert!(passed <= 10_000, "{:?}", fixture.logged);
    }
    assert!(fixture.has_logged("Failed to query v: connection closed"));
    assert_eq!(fixture.how_often("things at a time"), 1);
}

#[test]
fn a_lost_answer_and_a_refused_query_do_not_run_the_handler_again_for_the_same_list() {
    let mut fixture = with_budget(0, 1, 2);
    fixture.after(10_000);
    assert_eq!(fixture.answers("v?", instances(&[1])), ["start v.onChange"]);
    fixture.exits("v.onChange", 0);
    fixture.after(1_000);
    fixture.answers("v?", busy());
    fixture.after(1_000);
    fixture.answers("v?", Answer::Failed("no answer in time".into()));
    fixture.after(10_000);
    assert_eq!(fixture.answers("v?", instances(&[1])), ["list v"]);
}

#[test]
fn a_catalogue_without_a_budget_that_is_busy_has_failed() {
    let mut fixture = Fixture::running(Plan {
        services: vec![Service {
            check: None,
            ..service("a")
        }],
        ..bare()
    });
    fixture.after(10_000);
    fixture.answers("a", busy());
    assert!(fixture.has_logged("Service registration failed: connection closed"));
}
