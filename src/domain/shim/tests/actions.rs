//! What a service does when its health changes: its commands, and the end of the shim.

use super::*;
use core::num::NonZeroU32;

/// No effect.
const NOTHING: [&str; 0] = [];

fn with(exit_after: u32, thresholds: Option<Thresholds>) -> Plan {
    let (name, id) = (String::from("app"), String::from("app-host"));
    let on_unhealthy = Role::OnUnhealthy {
        service: name.clone(),
        id: id.clone(),
    };
    let on_healthy = Role::OnHealthy { service: name, id };
    let actions = HealthActions {
        on_unhealthy: Some(Box::new(job(on_unhealthy, Trigger::OnDemand))),
        on_healthy: Some(Box::new(job(on_healthy, Trigger::OnDemand))),
        exit_after: NonZeroU32::new(exit_after),
    };
    Plan {
        services: vec![Service {
            thresholds,
            actions,
            ..service("app")
        }],
        ..bare()
    }
}

/// The next check prints and exits. Requests are answered; returns the other effects.
fn check(fixture: &mut Fixture, output: &str, code: u8) -> Vec<String> {
    assert_eq!(fixture.after(10_000), ["start app.health"]);
    let ticket = fixture.children["app.health"];
    fixture.step(Event::Printed(ticket, output.into()));
    let effects = fixture.exits("app.health", code);
    while fixture.requests.contains_key("app") && fixture.shim.lifecycle.phase() == Phase::Running {
        fixture.answers("app", Answer::Done);
    }
    let is_request = |brief: &String| {
        ["register", "renew", "pass", "fail", "inspect"]
            .iter()
            .any(|operation| brief.starts_with(operation))
    };
    effects.into_iter().filter(|brief| !is_request(brief)).collect()
}

#[test]
fn the_commands_run_when_the_health_changes() {
    let mut fixture = Fixture::running(with(0, None));
    assert_eq!(check(&mut fixture, "", 0), NOTHING, "healthy for the first time");
    assert_eq!(check(&mut fixture, "", 1), ["start app.onUnhealthy"]);
    assert_eq!(fixture.exits("app.onUnhealthy", 0), NOTHING);
    assert_eq!(check(&mut fixture, "", 1), NOTHING);
    assert_eq!(check(&mut fixture, "", 0), ["start app.onHealthy"]);
    fixture.exits("app.onHealthy", 3);
    assert!(fixture.warnings().any(|text| text.contains("app.onHealthy")));
    assert_eq!(check(&mut fixture, "", 0), NOTHING);
}

#[test]
fn changes_while_a_command_runs_collapse_into_the_latest() {
    let mut fixture = Fixture::running(with(0, None));
    assert_eq!(check(&mut fixture, "", 1), ["start app.onUnhealthy"]);
    for code in [0, 1, 0] {
        assert_eq!(check(&mut fixture, "", code), NOTHING, "one at a time");
    }
    assert_eq!(fixture.exits("app.onUnhealthy", 0), ["start app.onHealthy"]);
    assert_eq!(check(&mut fixture, "", 1), NOTHING);
    assert_eq!(check(&mut fixture, "", 0), NOTHING);
    assert_eq!(fixture.exits("app.onHealthy", 0), NOTHING);
}

#[test]
fn a_command_gets_the_service_its_health_and_the_reason() {
    let mut fixture = Fixture::running(with(0, None));
    fixture.after(10_000);
    let ticket = fixture.children["app.health"];
    fixture.step(Event::Printed(ticket, "refused\0\n".into()));
    let ended = Event::Exited(ticket, ExitStatus::Code(7));
    let effects = fixture.shim.step(fixture.now, ended);
    let found = effects.iter().find_map(|effect| match effect {
        Effect::Start(_, job) => Some(job.variables.clone()),
        _ => None,
    });
    let expected = [
        Variable::new("CONTAINERPILOT_SERVICE", "app"),
        Variable::new("CONTAINERPILOT_HEALTH", "unhealthy"),
        Variable::new("CONTAINERPILOT_REASON", "exit status 7: refused\u{FFFD}"),
    ];
    assert_eq!(found.as_deref(), Some(expected.as_slice()));
}

#[test]
fn with_thresholds_the_commands_follow_the_health_and_not_each_result() {
    let thresholds = Thresholds {
        failures: NonZeroU32::new(2),
        successes: NonZeroU32::new(2).unwrap(),
        start_period: Duration::from_secs(25),
    };
    let mut fixture = Fixture::running(with(0, Some(thresholds)));
    for code in [1, 1, 1, 0, 1] {
        assert_eq!(
            check(&mut fixture, "", code),
            NOTHING,
            "the start period, one failure"
        );
    }
    assert_eq!(check(&mut fixture, "", 1), ["start app.onUnhealthy"]);
    fixture.exits("app.onUnhealthy", 0);
    assert_eq!(check(&mut fixture, "", 0), NOTHING);
    assert_eq!(check(&mut fixture, "", 0), ["start app.onHealthy"]);
}

#[test]
fn a_command_that_cannot_be_started_is_tried_again_while_the_health_stays() {
    let mut fixture = Fixture::running(with(0, None));
    check(&mut fixture, "", 1);
    assert_eq!(fixture.is_missing("app.onUnhealthy"), NOTHING);
    assert!(fixture.has_logged("app.onUnhealthy"));
    assert_eq!(fixture.after(500), ["start app.onUnhealthy"]);
    fixture.exits("app.onUnhealthy", 0);
    check(&mut fixture, "", 0);
    fixture.is_missing("app.onHealthy");
    fixture.now = fixture.now + Duration::from_millis(100);
    assert_eq!(fixture.after(400), ["start app.onHealthy"]);
}

#[test]
fn a_command_that_runs_is_killed_at_the_stop_and_none_starts_after_it() {
    let mut fixture = Fixture::running(with(0, None));
    check(&mut fixture, "", 0);
    check(&mut fixture, "", 1);
    let effects = fixture.signal(Signal::TERM);
    assert!(effects.contains(&"send SIGKILL to the Tree of app.onUnhealthy".to_string()));
    assert_eq!(fixture.dies("app.onUnhealthy", Signal::KILL), NOTHING);
}

#[test]
fn in_maintenance_no_command_starts_and_no_failure_counts() {
    let mut fixture = Fixture::running(with(2, None));
    check(&mut fixture, "", 1);
    fixture.after(10_000);
    assert_eq!(fixture.signal(Signal::USR1), ["deregister app"]);
    fixture.answers("app", Answer::Done);
    assert_eq!(fixture.exits("app.health", 1), NOTHING);
    fixture.exits("app.onUnhealthy", 0);
    fixture.signal(Signal::USR1);
    assert_eq!(check(&mut fixture, "", 1), NOTHING, "the first in a row");
    assert_eq!(check(&mut fixture, "", 0), ["start app.onHealthy"]);
}

#[test]
fn so_many_failures_in_a_row_end_the_shim_with_1() {
    let mut fixture = Fixture::running(with(3, None));
    for code in [0, 1, 1, 0, 1, 1] {
        check(&mut fixture, "", code);
        for command in ["app.onUnhealthy", "app.onHealthy"] {
            if fixture.children.contains_key(command) {
                fixture.exits(command, 0);
            }
        }
    }
    assert_eq!(check(&mut fixture, "no answer", 4), ["deregister app"]);
    let sentence = "Health check of app failed 3 times in a row, the shim stops: exit status 4: no answer";
    assert!(fixture.has_logged(sentence));
    assert_eq!(
        fixture.answers("app", Answer::Done),
        ["send SIGTERM to the Leader of APP"]
    );
    assert_eq!(fixture.exits("APP", 0), ["exit(1)"]);
}

#[test]
fn the_code_of_the_application_counts_if_it_is_not_0() {
    let mut fixture = Fixture::running(with(1, None));
    assert_eq!(
        check(&mut fixture, "", 1),
        ["deregister app"],
        "no command starts"
    );
    assert_eq!(
        fixture.answers("app", Answer::Done),
        ["send SIGTERM to the Leader of APP"]
    );
    assert_eq!(fixture.exits("APP", 143), ["exit(143)"]);
}

#[test]
fn the_end_by_a_health_check_is_the_whole_stop() {
    let mut fixture = Fixture::running(Plan {
        drain: Duration::from_secs(5),
        pre_stop: hook(Role::PreStop),
        ..with(1, None)
    });
    assert_eq!(check(&mut fixture, "", 1), ["deregister app"]);
    assert_eq!(fixture.answers("app", Answer::Done), NOTHING);
    assert_eq!(fixture.shim.lifecycle.phase(), Phase::Draining);
    assert_eq!(fixture.signal(Signal::TERM), ["start preStop"]);
    assert_eq!(fixture.exits("preStop", 0), ["send SIGTERM to the Leader of APP"]);
    assert_eq!(fixture.exits("APP", 0), ["exit(1)"]);
}

#[test]
fn failures_in_the_start_period_do_not_end_the_shim() {
    let thresholds = Thresholds {
        failures: None,
        successes: NonZeroU32::MIN,
        start_period: Duration::from_secs(35),
    };
    let mut fixture = Fixture::running(with(2, Some(thresholds)));
    for _ in 0..3 {
        assert_eq!(check(&mut fixture, "", 1), NOTHING);
    }
    assert_eq!(check(&mut fixture, "", 1), ["start app.onUnhealthy"]);
    fixture.exits("app.onUnhealthy", 0);
    assert_eq!(check(&mut fixture, "", 1), ["deregister app"]);
}
