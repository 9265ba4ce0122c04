//! Checks with schedules of their own: when each runs, and what follows from all of them together.

use super::*;
use crate::check::Health;
use crate::probe::{Place, Probe, ProbeEnd, ProbeTarget, Verdict};
use core::num::NonZeroU32;

/// No effect.
const NOTHING: [&str; 0] = [];

fn named(name: &str) -> Role {
    Role::Health {
        service: "app".into(),
        id: "app-host".into(),
        check: Some(name.into()),
    }
}

fn check(name: &str, interval: u64, failures: u32) -> OwnCheck {
    OwnCheck {
        name: Some(name.into()),
        check: Check::Command(Job {
            time_limit: Some(Duration::from_secs(4)),
            ..job(named(name), Trigger::OnDemand)
        }),
        interval: Duration::from_secs(interval),
        thresholds: Thresholds {
            failures: NonZeroU32::new(failures),
            ..Thresholds::default()
        },
    }
}

fn probe(name: &str, interval: u64) -> OwnCheck {
    let probe = Probe {
        role: named(name),
        target: ProbeTarget::Tcp(Place {
            host: name.into(),
            port: 80,
        }),
        time_limit: Duration::from_secs(2),
        keeps_connection: true,
    };
    OwnCheck {
        check: Check::Probe(probe),
        ..check(name, interval, 0)
    }
}

/// A service with a poll of ten seconds and these checks.
fn with(checks: Vec<OwnCheck>) -> Plan {
    Plan {
        services: vec![Service {
            check: None,
            checks,
            ..service("app")
        }],
        ..bare()
    }
}

/// Every 5 s and every 20 s, each with two failures.
fn two() -> Plan {
    with(vec![check("a", 5, 2), check("b", 20, 2)])
}

/// A machine whose service is registered at second 10, when both checks of [`two`] have passed.
fn registered() -> Fixture {
    let mut fixture = Fixture::running(two());
    assert_eq!(fixture.after(5_000), ["start app.health[a]"]);
    assert_eq!(fixture.exits("app.health[a]", 0), NOTHING, "b has not passed yet");
    assert_eq!(
        fixture.after(5_000),
        ["start app.health[a]", "start app.health[b]"]
    );
    assert_eq!(fixture.exits("app.health[a]", 0), NOTHING);
    assert_eq!(fixture.exits("app.health[b]", 0), ["register app"]);
    assert_eq!(fixture.answers("app", Answer::Done), NOTHING);
    fixture
}

/// Time passes, and every check that starts passes; requests succeed. Returns the requests.
fn pass(fixture: &mut Fixture, seconds: u64) -> Vec<String> {
    let mut requests = Vec::new();
    for _ in 0..seconds {
        let mut effects = fixture.after(1_000);
        for name in ["app.health[a]", "app.health[b]"] {
            if fixture.children.contains_key(name) {
                effects.extend(fixture.exits(name, 0));
            }
        }
        while fixture.requests.contains_key("app") {
            effects.extend(fixture.answers("app", Answer::Done));
        }
        effects.retain(|brief| !brief.starts_with("start") && !brief.starts_with("inspect"));
        requests.extend(effects);
    }
    requests
}

fn status(fixture: &mut Fixture) -> crate::status::ServiceStatus {
    fixture.status().services.remove(0)
}

#[test]
fn the_service_is_registered_when_all_checks_have_passed_and_gets_one_heartbeat_a_poll() {
    let mut fixture = registered();
    assert_eq!(pass(&mut fixture, 9), NOTHING, "only a result of a");
    assert_eq!(pass(&mut fixture, 20), ["pass app (a: ok\nb: ok)"; 2]);
}

#[test]
fn a_check_that_fails_so_often_makes_it_critical_at_once_and_passing_again_at_once() {
    let mut fixture = registered();
    fixture.after(5_000);
    let prints = |fixture: &mut Fixture| {
        let ticket = fixture.children["app.health[a]"];
        fixture.step(Event::Printed(ticket, "refused\n".into()));
    };
    prints(&mut fixture);
    assert_eq!(fixture.exits("app.health[a]", 1), NOTHING, "one failure of two");
    assert_eq!(
        fixture.after(5_000),
        [
            "start app.health[a]",
            "pass app (a: exit status 1: refused\nb: ok)"
        ]
    );
    prints(&mut fixture);
    assert_eq!(
        fixture.exits("app.health[a]", 1),
        NOTHING,
        "a request is in flight"
    );
    assert_eq!(
        fixture.answers("app", Answer::Done),
        ["fail app (a: exit status 1: refused)"]
    );
    assert!(fixture.has_logged("Health check a of app failed, 1 of 2 times in a row: exit status 1"));
    assert!(fixture.has_logged("Health check a of app does not pass any more: exit status 1"));
    fixture.answers("app", Answer::Done);
    assert_eq!(status(&mut fixture).health, Health::Unhealthy);
    assert_eq!(fixture.after(5_000), ["start app.health[a]"]);
    assert_eq!(fixture.exits("app.health[a]", 0), ["pass app (a: ok\nb: ok)"]);
    assert!(fixture.has_logged("Health check a of app passes again"));
}

#[test]
fn while_it_is_critical_the_report_is_repeated_each_poll_and_names_the_first_culprit() {
    let mut fixture = registered();
    let mut sent = Vec::new();
    for _ in 0..40 {
        let mut effects = fixture.after(1_000);
        for name in ["app.health[b]", "app.health[a]"] {
            if fixture.children.contains_key(name) {
                effects.extend(fixture.exits(name, 3));
            }
        }
        while fixture.requests.contains_key("app") {
            effects.extend(fixture.answers("app", Answer::Done));
        }
        effects.retain(|brief| !brief.starts_with("inspect"));
        sent.extend(effects.into_iter().filter(|brief| !brief.starts_with("start")));
    }
    let mut expected = vec!["pass app (a: exit status 3\nb: ok)"];
    expected.extend(["fail app (a: exit status 3)"; 4]);
    assert_eq!(sent, expected);
    assert_eq!(
        fixture.how_often("Health check b of app"),
        2,
        "{:?}",
        fixture.logged
    );
}

#[test]
fn without_a_number_of_failures_a_failing_check_stops_the_heartbeats() {
    let mut fixture = Fixture::running(with(vec![check("a", 5, 0), check("b", 10, 0)]));
    assert_eq!(pass(&mut fixture, 30), ["register app", "renew app", "renew app"]);
    fixture.after(5_000);
    assert_eq!(fixture.exits("app.health[a]", 1), NOTHING);
    assert_eq!(
        fixture.after(5_000),
        ["start app.health[a]", "start app.health[b]"]
    );
    assert_eq!(fixture.exits("app.health[b]", 0), NOTHING);
    assert_eq!(fixture.exits("app.health[a]", 0), ["renew app"], "at once");
}

#[test]
fn a_check_that_hangs_keeps_no_entry_alive_and_delays_no_other_check() {
    let mut fixture = Fixture::running(with(vec![check("a", 10, 0), probe("b", 10)]));
    fixture.after(10_000);
    fixture.exits("app.health[a]", 0);
    let passed = |fixture: &mut Fixture| {
        let ticket = fixture.probes.remove("app.health[b]").expect("a probe runs");
        let end = ProbeEnd {
            verdict: Verdict::Passed,
            detail: "connected".into(),
        };
        fixture.step(Event::Probed(ticket, end, String::new()))
    };
    assert_eq!(passed(&mut fixture), ["register app"]);
    fixture.answers("app", Answer::Done);
    // The probe never ends from now on; its result is valid for ten seconds and two.
    let mut sent = Vec::new();
    for _ in 0..6 {
        sent.extend(fixture.after(10_000));
        sent.extend(fixture.exits("app.health[a]", 0));
        while fixture.requests.contains_key("app") {
            fixture.answers("app", Answer::Done);
        }
    }
    let renewals = sent.iter().filter(|brief| *brief == "renew app").count();
    assert_eq!(renewals, 1, "{sent:?}");
    assert_eq!(
        passed(&mut fixture),
        ["probe app.health[b]", "renew app"],
        "a tick waited"
    );
}

#[test]
fn a_request_of_a_service_that_turned_unhealthy_is_not_followed_by_a_registration() {
    let mut fixture = Fixture::running(with(vec![check("a", 10, 0)]));
    fixture.after(10_000);
    assert_eq!(fixture.exits("app.health[a]", 0), ["register app"]);
    fixture.answers("app", Answer::Done);
    fixture.after(9_000);
    assert_eq!(fixture.after(1_000), ["start app.health[a]", "renew app"]);
    assert_eq!(fixture.exits("app.health[a]", 1), NOTHING);
    let unknown = Answer::Unknown("it is gone".into(), None);
    assert_eq!(fixture.answers("app", unknown), NOTHING);
    fixture.after(10_000);
    assert_eq!(fixture.exits("app.health[a]", 0), ["register app"]);
}

#[test]
fn with_a_budget_a_heartbeat_that_waits_is_taken_back_when_a_check_fails() {
    let other = |name| Service {
        check: None,
        ..service(name)
    };
    let mut plan = with(vec![check("a", 10, 1)]);
    plan.services.extend([other("x"), other("y")]);
    plan.services.rotate_left(1);
    let mut fixture = Fixture::running(Plan {
        max_connections: Some(2),
        ..plan
    });
    assert_eq!(
        fixture.after(10_000),
        ["start app.health[a]", "register x", "register y"]
    );
    assert_eq!(
        fixture.exits("app.health[a]", 0),
        NOTHING,
        "it waits for its turn"
    );
    fixture.after(1_000);
    assert_eq!(fixture.answers("x", Answer::Done), ["register app"]);
    fixture.answers("y", Answer::Done);
    fixture.answers("app", Answer::Done);
    assert_eq!(
        fixture.after(9_000),
        ["start app.health[a]", "renew x", "renew y"]
    );
    assert_eq!(fixture.exits("app.health[a]", 1), NOTHING);
    assert_eq!(
        fixture.answers("x", Answer::Done),
        ["fail app (a: exit status 1)"],
        "and not the heartbeat that was due at the tick"
    );
}

#[test]
fn the_commands_for_changes_of_health_get_the_name_of_the_check() {
    let (service, id) = (String::from("app"), String::from("app-host"));
    let mut plan = two();
    plan.services[0].actions.on_unhealthy = Some(Box::new(job(
        Role::OnUnhealthy { service, id },
        Trigger::OnDemand,
    )));
    plan.services[0].checks[0].thresholds.failures = None;
    let mut fixture = Fixture::running(plan);
    pass(&mut fixture, 14);
    fixture.after(1_000);
    let ticket = fixture.children.remove("app.health[a]").expect("it runs");
    let effects = fixture
        .shim
        .step(fixture.now, Event::Exited(ticket, ExitStatus::Code(1)));
    let found = effects.iter().find_map(|effect| match effect {
        Effect::Start(_, job) => Some(job.variables[2].clone()),
        _ => None,
    });
    let reason = Variable::new("CONTAINERPILOT_REASON", "a: exit status 1");
    assert_eq!(found, Some(reason));
}

#[test]
fn so_many_failures_of_one_check_in_a_row_stop_the_shim() {
    let mut plan = two();
    plan.services[0].actions.exit_after = NonZeroU32::new(3);
    let mut fixture = Fixture::running(plan);
    pass(&mut fixture, 10);
    for _ in 0..2 {
        fixture.after(5_000);
        fixture.exits("app.health[a]", 1);
        if fixture.requests.contains_key("app") {
            fixture.answers("app", Answer::Done);
        }
    }
    fixture.after(5_000);
    // b fails as well, which does not count for a.
    assert_eq!(fixture.shim.lifecycle.phase(), Phase::Running);
    fixture.exits("app.health[a]", 1);
    assert_ne!(fixture.shim.lifecycle.phase(), Phase::Running);
    assert!(
        fixture.has_logged("Health check a of app failed 3 times in a row, the shim stops: a: exit status 1"),
        "{:?}",
        fixture.logged
    );
}

#[test]
fn maintenance_ends_the_probes_and_after_it_all_checks_have_to_pass() {
    let mut fixture = Fixture::running(with(vec![check("a", 60, 0), probe("b", 5)]));
    fixture.after(5_000);
    assert_eq!(
        fixture.signal(Signal::USR1),
        ["end the probe of app.health[b]", "deregister app"]
    );
    fixture.answers("app", Answer::Done);
    assert_eq!(fixture.after(60_000), NOTHING);
    assert_eq!(fixture.signal(Signal::USR1), NOTHING);
    assert_eq!(status(&mut fixture).health, Health::Unknown);
    assert_eq!(fixture.after(4_999), NOTHING);
    assert_eq!(fixture.after(1), ["probe app.health[b]"]);
    assert_eq!(fixture.after(5_000), ["start app.health[a]"], "after one poll");
}

#[test]
fn a_reload_that_changes_one_check_replaces_the_service_and_ends_every_run() {
    let mut fixture = registered();
    fixture.after(5_000);
    assert_eq!(fixture.children.len(), 2, "the application and a");
    fixture.signal(Signal::HUP);
    let mut plan = two();
    plan.services[0].checks[1].interval = Duration::from_secs(21);
    let effects = fixture.loads(plan);
    assert!(
        effects.contains(&"send SIGKILL to the Tree of app.health[a]".to_owned())
            && effects.contains(&"deregister app".to_owned()),
        "{effects:?}"
    );
    let mut same = registered();
    same.signal(Signal::HUP);
    assert_eq!(same.loads(two()), NOTHING);
}

#[test]
fn the_status_lists_the_checks() {
    let mut fixture = registered();
    let status = status(&mut fixture);
    assert_eq!(status.check, None);
    let checks = status.checks.iter();
    let found: Vec<_> = checks
        .map(|check| (check.name.as_str(), check.interval.as_secs(), check.health))
        .collect();
    assert_eq!(found, [("a", 5, Health::Healthy), ("b", 20, Health::Healthy)]);
    assert!(status.checks[1].job.last.is_some());
}

#[test]
fn a_single_check_with_an_interval_has_no_name() {
    let mut only = check("a", 60, 1);
    only.name = None;
    if let Check::Command(job) = &mut only.check {
        job.role = Role::Health {
            service: "app".into(),
            id: "app-host".into(),
            check: None,
        };
    }
    let mut fixture = Fixture::running(with(vec![only]));
    assert_eq!(fixture.after(10_000), ["start app.health"]);
    assert_eq!(fixture.exits("app.health", 0), ["register app"]);
    fixture.answers("app", Answer::Done);
    assert_eq!(
        fixture.after(10_000),
        ["pass app (ok)"],
        "its result is valid for 64 s"
    );
    fixture.answers("app", Answer::Done);
    fixture.answers("app", Answer::Holder(None));
    for _ in 0..4 {
        assert_eq!(fixture.after(10_000), ["pass app (ok)"]);
        fixture.answers("app", Answer::Done);
    }
    assert_eq!(fixture.after(10_000), ["start app.health", "pass app (ok)"]);
    fixture.answers("app", Answer::Done);
    assert_eq!(fixture.exits("app.health", 2), ["fail app (exit status 2)"]);
    assert!(fixture.has_logged("Health check of app does not pass any more: exit status 2"));
    assert!(status(&mut fixture).check.is_some());
}

#[test]
fn the_output_of_many_checks_with_long_names_has_a_limited_length() {
    let names = (0..16).map(|number| format!("{}{number:02}", "€".repeat(62)));
    let names: Vec<String> = names.collect();
    let checks = names.iter().map(|name| check(name, 10, 1)).collect();
    let mut fixture = Fixture::running(with(checks));
    fixture.after(10_000);
    for name in &names {
        let role = format!("app.health[{name}]");
        let ticket = fixture.children[&role];
        fixture.step(Event::Printed(ticket, "x".repeat(1024)));
        fixture.exits(&role, 0);
    }
    fixture.answers("app", Answer::Done);
    let sent = fixture.after(10_000);
    let report = sent
        .iter()
        .find(|brief| brief.starts_with("pass"))
        .expect("a report");
    let output = report.len() - "pass app ()".len();
    assert!((1000..=1024).contains(&output), "{output}");
    fixture.answers("app", Answer::Done);
    let role = format!("app.health[{}]", names[3]);
    fixture.step(Event::Printed(fixture.children[&role], "y".repeat(1024)));
    let sent = fixture.exits(&role, 1);
    let report = sent.last().expect("a report");
    let output = report.len() - "fail app ()".len();
    assert!((1000..=1024).contains(&output), "{report}");
    assert!(report.contains("exit status 1: …y"), "{report}");
}
