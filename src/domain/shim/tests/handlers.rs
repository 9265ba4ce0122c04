//! When handlers run: quiet time, splay and minimum.

use super::*;

/// A backend with this timing, whose first query is in flight.
fn with(timing: Timing) -> Fixture {
    let mut fixture = Fixture::running(plan(timing));
    assert_eq!(fixture.after(10_000), ["list db"]);
    fixture
}

fn plan(timing: Timing) -> Plan {
    Plan {
        backends: vec![Backend {
            timing,
            ..backend("db")
        }],
        ..bare()
    }
}

fn quiet(quiet: u64, most: u64) -> Timing {
    let wait = Some(Wait {
        quiet: Duration::from_millis(quiet),
        most: Duration::from_millis(most),
    });
    Timing {
        wait,
        ..Timing::default()
    }
}

fn at_least(minimum: u32) -> Timing {
    Timing {
        minimum,
        ..Timing::default()
    }
}

/// The effects of the next milliseconds, without queries.
fn within(fixture: &mut Fixture, milliseconds: u64) -> Vec<String> {
    let mut done = fixture.after(milliseconds);
    done.retain(|effect| !effect.starts_with("list"));
    done
}

#[test]
fn a_handler_runs_after_the_quiet_time_of_the_last_change() {
    let mut fixture = with(quiet(2_000, 5_000));
    assert_eq!(fixture.answers("db?", instances(&[1])), [""; 0]);
    assert_eq!(within(&mut fixture, 1_999), [""; 0]);
    fixture.answers("db?", instances(&[1, 2]));
    assert_eq!(within(&mut fixture, 1_999), [""; 0]);
    assert_eq!(within(&mut fixture, 1), ["start db.onChange"]);
    assert_eq!(fixture.exits("db.onChange", 0), [""; 0]);
}

#[test]
fn changes_without_end_delay_a_handler_up_to_the_maximum() {
    let mut fixture = with(quiet(2_000, 5_000));
    for port in 1..=5 {
        assert_eq!(fixture.answers("db?", instances(&[port])), [""; 0]);
        assert_eq!(within(&mut fixture, 999), [""; 0]);
    }
    assert_eq!(within(&mut fixture, 5), ["start db.onChange"]);
}

#[test]
fn splay_delays_a_handler_by_a_random_time() {
    let timing = Timing {
        splay: Duration::from_secs(8),
        ..Timing::default()
    };
    let delay = |seed| {
        let mut fixture = Fixture::new(plan(timing));
        fixture.shim = Shim::new(plan(timing), seed);
        fixture.step(Event::Begin);
        fixture.after(10_000);
        fixture.answers("db?", instances(&[1]));
        let changed = fixture.now;
        while !fixture.children.contains_key("db.onChange") {
            fixture.after(10);
        }
        fixture.now - changed
    };
    let delays: Vec<Duration> = (1..20).map(delay).collect();
    let (least, most) = (delays.iter().min().unwrap(), delays.iter().max().unwrap());
    assert!(*least < Duration::from_secs(2), "{delays:?}");
    assert!(
        *most > Duration::from_secs(6) && *most <= Duration::from_secs(8),
        "{delays:?}"
    );
}

#[test]
fn with_too_few_instances_a_handler_is_held_back_and_that_is_logged_once() {
    let mut fixture = with(at_least(2));
    assert_eq!(fixture.answers("db?", instances(&[1])), [""; 0]);
    within(&mut fixture, 1_000);
    assert_eq!(fixture.answers("db?", instances(&[3])), [""; 0]);
    let sentence = "db.onChange waits for more instances: there are 1, the minimum is 2";
    assert_eq!(fixture.warnings().collect::<Vec<_>>(), [sentence]);
    within(&mut fixture, 1_000);
    assert_eq!(fixture.answers("db?", instances(&[1, 2])), ["start db.onChange"]);
    fixture.exits("db.onChange", 0);
    within(&mut fixture, 1_000);
    assert_eq!(fixture.answers("db?", instances(&[])), [""; 0]);
    assert_eq!(fixture.how_often("waits for more instances"), 2);
}

#[test]
fn a_change_to_too_few_instances_while_the_handler_runs_waits_for_more() {
    let mut fixture = with(at_least(1));
    fixture.answers("db?", instances(&[1]));
    within(&mut fixture, 50);
    fixture.answers("db?", instances(&[]));
    assert_eq!(fixture.exits("db.onChange", 0), [""; 0]);
    within(&mut fixture, 50);
    assert_eq!(fixture.answers("db?", instances(&[1])), ["start db.onChange"]);
}

#[test]
fn a_reload_that_changes_only_the_timing_keeps_a_handler_that_runs() {
    let mut fixture = with(Timing::default());
    fixture.answers("db?", instances(&[1]));
    fixture.signal(Signal::HUP);
    assert_eq!(fixture.loads(plan(quiet(2_000, 4_000))), [""; 0]);
    within(&mut fixture, 50);
    fixture.answers("db?", instances(&[2]));
    assert_eq!(fixture.exits("db.onChange", 0), [""; 0]);
    assert_eq!(within(&mut fixture, 2_000), ["start db.onChange"]);
}

#[test]
fn a_reload_with_a_lower_minimum_runs_a_handler_that_was_held_back() {
    let mut fixture = with(at_least(2));
    fixture.answers("db?", instances(&[1]));
    fixture.signal(Signal::HUP);
    assert_eq!(fixture.loads(plan(at_least(1))), ["start db.onChange"]);
}

#[test]
fn a_quiet_time_that_ends_in_maintenance_runs_the_handler_after_it() {
    let mut fixture = with(quiet(2_000, 4_000));
    fixture.answers("db?", instances(&[1]));
    fixture.signal(Signal::USR1);
    assert_eq!(within(&mut fixture, 10_000), [""; 0]);
    assert_eq!(fixture.signal(Signal::USR1), ["start db.onChange"]);
}

#[test]
fn a_handler_in_its_quiet_time_does_not_run_after_the_stop_began() {
    let mut fixture = with(quiet(2_000, 4_000));
    fixture.answers("db?", instances(&[1]));
    fixture.signal(Signal::TERM);
    assert_eq!(within(&mut fixture, 3_000), [""; 0]);
}

#[test]
fn a_handler_gets_the_lists_as_variables_and_can_read_the_details() {
    let json = |json| Plan {
        backends: vec![Backend {
            json,
            ..backend("db")
        }],
        ..bare()
    };
    for reads in [false, true] {
        let mut fixture = Fixture::running(json(reads));
        fixture.now = fixture.now + Duration::from_secs(10);
        let effects = fixture.shim.step(fixture.now, Event::Woken);
        let asked = effects.iter().find_map(|effect| match effect {
            Effect::Request {
                ticket,
                request: Request::Instances(query),
                ..
            } => Some((*ticket, query.details)),
            _ => None,
        });
        let (ticket, details) = asked.expect("a query");
        assert_eq!(details, reads);
        let effects = fixture
            .shim
            .step(fixture.now, Event::Answered(ticket, instances(&[1])));
        let started = effects.iter().find_map(|effect| match effect {
            Effect::Start(_, job) => Some(job),
            _ => None,
        });
        let started = started.expect("the handler");
        let variables = started.variables.iter();
        let variables: Vec<_> = variables
            .map(|variable| (variable.name(), variable.value()))
            .collect();
        let expected = [
            ("CONTAINERPILOT_BACKEND", "db"),
            ("CONTAINERPILOT_INSTANCES", "192.0.2.2:1"),
            ("CONTAINERPILOT_ADDED", "192.0.2.2:1"),
            ("CONTAINERPILOT_REMOVED", ""),
        ];
        assert_eq!(variables, expected);
        let text =
            r#"[{"Node":{"Node":"","Address":"192.0.2.2"},"Service":{"ID":"db-1","Service":"db","Tags":[],"#;
        let found = started.text.as_deref().map(|found| found.starts_with(text));
        assert_eq!(found, reads.then_some(true));
    }
}
