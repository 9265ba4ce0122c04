//! Thresholds of health checks: what the catalogue gets, and what is reported.

use super::*;
use crate::check::Health;
use crate::control::{ControlAnswer, ControlRequest, RequestNumber};
use core::num::NonZeroU32;

/// A machine with one service whose check has these thresholds.
fn with(failures: u32, successes: u32, start_period: u64) -> Fixture {
    let thresholds = Thresholds {
        failures: NonZeroU32::new(failures),
        successes: NonZeroU32::new(successes).unwrap(),
        start_period: Duration::from_secs(start_period),
    };
    Fixture::running(Plan {
        services: vec![Service {
            thresholds: Some(thresholds),
            ..service("app")
        }],
        ..bare()
    })
}

/// The next check prints and exits, and the catalogue answers what follows.
fn check(fixture: &mut Fixture, output: &str, code: u8, answer: Answer) -> Vec<String> {
    assert_eq!(fixture.after(10_000), ["start app.health"]);
    let ticket = fixture.children["app.health"];
    fixture.step(Event::Printed(ticket, output.into()));
    let asked = fixture.exits("app.health", code);
    if !asked.is_empty() && fixture.answers("app", answer) == ["inspect app"] {
        fixture.answers("app", Answer::Holder(None));
    }
    asked
}

fn health(fixture: &mut Fixture) -> Health {
    let request = Event::Requested(RequestNumber(1), ControlRequest::Status);
    let effects = fixture.shim.step(fixture.now, request);
    let healths = effects.iter().find_map(|effect| match effect {
        Effect::Answer(_, ControlAnswer::Status(status)) => Some(status.services[0].health),
        _ => None,
    });
    healths.expect("a status")
}

#[test]
fn the_catalogue_gets_critical_after_so_many_failures_with_the_output() {
    let mut fixture = with(3, 1, 0);
    assert_eq!(health(&mut fixture), Health::Unknown);
    assert_eq!(check(&mut fixture, "fine\n", 0, Answer::Done), ["register app"]);
    assert_eq!(
        check(&mut fixture, "fine\n", 0, Answer::Done),
        ["pass app (fine)"]
    );
    assert_eq!(
        check(&mut fixture, "refused\n", 7, Answer::Done),
        ["pass app (exit status 7: refused)"]
    );
    assert_eq!(health(&mut fixture), Health::Healthy);
    assert_eq!(
        check(&mut fixture, "", 7, Answer::Done),
        ["pass app (exit status 7)"]
    );
    assert_eq!(
        check(&mut fixture, "refused\n", 7, Answer::Done),
        ["fail app (exit status 7: refused)"]
    );
    assert_eq!(health(&mut fixture), Health::Unhealthy);
    assert_eq!(check(&mut fixture, "", 0, Answer::Done), ["pass app (ok)"]);
    assert_eq!(health(&mut fixture), Health::Healthy);
}

#[test]
fn a_failing_check_is_logged_with_the_end_of_its_output_in_one_line() {
    let mut fixture = with(1, 1, 0);
    let long = format!("{}\n\n  refused \nat last\n", "x".repeat(400));
    check(&mut fixture, &long, 7, Answer::Done);
    let sentences: Vec<&String> = fixture
        .logged
        .iter()
        .filter(|text| text.contains("does not pass yet"))
        .collect();
    let [sentence] = sentences.as_slice() else {
        panic!("{sentences:?}");
    };
    assert!(sentence.starts_with("Health check of app does not pass yet: exit status 7: …x"));
    assert!(
        sentence.ends_with("x | refused | at last") && sentence.len() < 320,
        "{sentence}"
    );
    check(&mut fixture, "", 0, Answer::Done);
    check(&mut fixture, "again\n", 7, Answer::Done);
    assert!(fixture.has_logged("Health check of app does not pass any more: exit status 7: again"));
}

#[test]
fn while_it_is_unhealthy_no_heartbeat_is_sent_and_each_failure_is_reported() {
    let mut fixture = with(1, 3, 0);
    assert_eq!(check(&mut fixture, "", 0, Answer::Done), ["register app"]);
    assert_eq!(
        check(&mut fixture, "", 1, Answer::Done),
        ["fail app (exit status 1)"]
    );
    assert_eq!(check(&mut fixture, "", 0, Answer::Done), [""; 0]);
    assert_eq!(check(&mut fixture, "", 0, Answer::Done), [""; 0]);
    assert_eq!(
        check(&mut fixture, "", 2, Answer::Done),
        ["fail app (exit status 2)"]
    );
    for _ in 0..2 {
        assert_eq!(check(&mut fixture, "", 0, Answer::Done), [""; 0]);
    }
    assert_eq!(check(&mut fixture, "", 0, Answer::Done), ["pass app (ok)"]);
}

#[test]
fn an_entry_that_was_removed_is_registered_again_and_not_reported_twice() {
    let mut fixture = with(1, 1, 0);
    assert_eq!(check(&mut fixture, "", 0, Answer::Done), ["register app"]);
    assert_eq!(
        check(&mut fixture, "", 1, Answer::Removed),
        ["fail app (exit status 1)"]
    );
    assert_eq!(check(&mut fixture, "", 1, Answer::Removed), [""; 0]);
    assert_eq!(check(&mut fixture, "", 0, Answer::Done), ["register app"]);
    assert!(
        !fixture.has_logged("Service not registered"),
        "the shim removed it"
    );
}

#[test]
fn a_report_that_failed_is_repeated_and_told() {
    let mut fixture = with(1, 1, 0);
    assert_eq!(check(&mut fixture, "", 0, Answer::Done), ["register app"]);
    let failed = Answer::Failed("refused".into());
    assert_eq!(check(&mut fixture, "", 1, failed), ["fail app (exit status 1)"]);
    assert!(fixture.has_logged("Failed to write heartbeat: refused (service app)"));
    assert_eq!(
        check(&mut fixture, "", 1, Answer::Done),
        ["fail app (exit status 1)"]
    );
    assert!(fixture.has_logged("The catalogue answers again for app after 1 failed requests"));
}

#[test]
fn failures_in_the_start_period_are_not_reported_to_the_catalogue() {
    let mut fixture = with(2, 1, 30);
    for _ in 0..2 {
        assert_eq!(check(&mut fixture, "", 1, Answer::Done), [""; 0]);
    }
    assert_eq!(
        fixture.how_often("Health check of app failed in its start period: exit status 1"),
        1
    );
    assert_eq!(check(&mut fixture, "", 1, Answer::Done), [""; 0]);
    assert_eq!(
        check(&mut fixture, "", 1, Answer::Removed),
        ["fail app (exit status 1)"]
    );
}

#[test]
fn without_a_number_of_failures_the_ttl_decides() {
    let mut fixture = with(0, 2, 0);
    assert_eq!(check(&mut fixture, "", 0, Answer::Done), ["register app"]);
    assert_eq!(check(&mut fixture, "", 1, Answer::Done), [""; 0]);
    assert_eq!(check(&mut fixture, "", 0, Answer::Done), [""; 0]);
    assert_eq!(check(&mut fixture, "fine", 0, Answer::Done), ["renew app"]);
}

#[test]
fn the_log_has_the_first_failure_that_counts_the_change_and_the_recovery() {
    let mut fixture = with(3, 2, 0);
    for code in [0, 7, 7, 7, 7, 0, 0, 7] {
        check(&mut fixture, "", code, Answer::Done);
    }
    let about: Vec<_> = fixture
        .logged
        .iter()
        .filter(|text| text.starts_with("Health check"))
        .collect();
    assert_eq!(
        about,
        [
            "Health check of app failed, 1 of 3 times in a row: exit status 7",
            "Health check of app does not pass any more: exit status 7",
            "Health check of app passes again after 50s and 4 failures",
            "Health check of app failed, 1 of 3 times in a row: exit status 7",
        ]
    );
}

#[test]
fn after_maintenance_a_check_has_to_pass_before_the_service_is_registered() {
    let mut fixture = with(2, 1, 0);
    assert_eq!(check(&mut fixture, "", 0, Answer::Done), ["register app"]);
    assert_eq!(fixture.signal(Signal::USR1), ["deregister app"]);
    fixture.answers("app", Answer::Done);
    fixture.signal(Signal::USR1);
    assert_eq!(check(&mut fixture, "", 1, Answer::Done), [""; 0]);
    assert_eq!(check(&mut fixture, "", 0, Answer::Done), ["register app"]);
}

#[test]
fn a_service_that_leaves_while_its_report_is_on_its_way_is_deregistered_after_it() {
    let mut fixture = with(1, 1, 0);
    assert_eq!(check(&mut fixture, "", 0, Answer::Done), ["register app"]);
    assert_eq!(fixture.after(10_000), ["start app.health"]);
    assert_eq!(fixture.exits("app.health", 1), ["fail app (exit status 1)"]);
    assert_eq!(fixture.signal(Signal::USR1), [""; 0]);
    assert_eq!(fixture.answers("app", Answer::Done), ["deregister app"]);
}

#[test]
fn only_a_service_that_this_run_has_registered_is_said_to_be_deregistered() {
    let stopped = |checked: Option<(u8, Answer)>| {
        let mut fixture = Fixture::running(Plan {
            services: vec![service("app")],
            ..bare()
        });
        if let Some((code, answer)) = checked {
            fixture.after(10_000);
            fixture.exits("app.health", code);
            if code == 0 {
                fixture.answers("app", answer);
            }
        }
        let effects = fixture.signal(Signal::TERM);
        assert!(effects.contains(&"deregister app".into()), "{effects:?}");
        let logged = fixture.logged.iter().zip(&fixture.levels);
        let found = logged.filter(|(sentence, _)| sentence.starts_with("Deregistering service: app"));
        let found: Vec<_> = found
            .map(|(sentence, level)| (sentence.contains("in case an earlier run"), *level))
            .collect();
        found
    };
    let failed = || Answer::Failed("refused".into());
    assert_eq!(stopped(None), [(true, Level::Debug)]);
    assert_eq!(stopped(Some((1, Answer::Done))), [(true, Level::Debug)]);
    assert_eq!(stopped(Some((0, Answer::Done))), [(false, Level::Info)]);
    assert_eq!(
        stopped(Some((0, failed()))),
        [(false, Level::Info)],
        "it may be registered"
    );
}
