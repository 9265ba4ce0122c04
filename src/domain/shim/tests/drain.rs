//! The time between the deregistration of the services and the stop of the application.

use super::*;

fn draining(plan: Plan) -> Fixture {
    let mut fixture = Fixture::running(Plan {
        drain: Duration::from_secs(10),
        services: vec![service("app")],
        ..plan
    });
    fixture.after(10_000);
    fixture.exits("app.health", 0);
    fixture.answers("app", Answer::Done);
    fixture
}

fn with_pre_stop() -> Plan {
    Plan {
        pre_stop: hook(Role::PreStop),
        ..bare()
    }
}

#[test]
fn the_application_goes_on_for_the_drain_after_the_services_left() {
    let mut fixture = draining(with_pre_stop());
    assert_eq!(fixture.signal(Signal::TERM), ["deregister app"]);
    fixture.now = fixture.now + Duration::from_secs(1);
    assert_eq!(fixture.answers("app", Answer::Done), [""; 0]);
    assert!(fixture.has_logged("Draining: the application goes on for 10s"));
    assert_eq!(fixture.after(9_999), [""; 0]);
    assert_eq!(fixture.after(1), ["start preStop"]);
    assert_eq!(fixture.exits("preStop", 0), ["send SIGTERM to the Leader of APP"]);
}

#[test]
fn the_drain_begins_after_the_time_limit_of_the_deregistrations() {
    let mut fixture = draining(bare());
    fixture.signal(Signal::TERM);
    assert_eq!(fixture.after(2_000), [""; 0]);
    assert_eq!(fixture.shim.lifecycle.phase(), Phase::Draining);
    assert_eq!(fixture.answers("app", Answer::Failed("late".into())), [""; 0]);
    assert_eq!(fixture.after(9_999), [""; 0]);
    assert_eq!(fixture.after(1), ["send SIGTERM to the Leader of APP"]);
}

#[test]
fn an_application_that_ends_ends_the_drain() {
    let mut fixture = draining(Plan {
        post_stop: hook(Role::PostStop),
        ..with_pre_stop()
    });
    fixture.signal(Signal::TERM);
    fixture.answers("app", Answer::Done);
    assert_eq!(fixture.exits("APP", 3), ["start postStop"]);
    assert_eq!(fixture.exits("postStop", 0), ["exit(3)"]);
}

#[test]
fn a_second_stop_ends_the_drain() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut fixture = draining(bare());
        fixture.signal(Signal::TERM);
        fixture.answers("app", Answer::Done);
        fixture.after(1_000);
        assert_eq!(fixture.signal(signal), ["send SIGTERM to the Leader of APP"]);
        assert!(fixture.has_logged(&format!(
            "{signal} came again: the stop continues without draining"
        )));
        assert_eq!(fixture.signal(signal), [""; 0]);
        assert!(fixture.has_logged(&format!("Ignoring {signal}")));
    }
}

#[test]
fn a_second_stop_during_the_deregistrations_prevents_the_drain() {
    let mut fixture = draining(bare());
    fixture.signal(Signal::TERM);
    assert_eq!(fixture.signal(Signal::INT), [""; 0]);
    assert!(fixture.has_logged("SIGINT came again"));
    assert_eq!(
        fixture.answers("app", Answer::Done),
        ["send SIGTERM to the Leader of APP"]
    );
    assert!(!fixture.has_logged("Draining"));
}

#[test]
fn while_draining_reloads_and_maintenance_do_nothing_and_other_signals_are_passed_on() {
    let mut fixture = draining(Plan {
        backends: vec![backend("db")],
        jobs: vec![task("clean")],
        ..bare()
    });
    fixture.requests.clear();
    fixture.signal(Signal::TERM);
    fixture.answers("app", Answer::Done);
    for signal in [Signal::HUP, Signal::USR1] {
        assert_eq!(fixture.signal(signal), [""; 0]);
        assert!(fixture.has_logged(&format!("Ignoring {signal}")));
    }
    assert_eq!(
        fixture.signal(Signal::new(28)),
        ["send SIGWINCH to the Process of APP"]
    );
    assert_eq!(
        fixture.after(9_000),
        [""; 0],
        "no check, heartbeat, query or task"
    );
}

#[test]
fn without_an_application_and_without_a_drain_there_is_no_draining() {
    for plan in [
        Plan {
            application: None,
            drain: Duration::from_secs(10),
            pre_stop: hook(Role::PreStop),
            ..bare()
        },
        with_pre_stop(),
    ] {
        let mut fixture = Fixture::running(plan);
        assert_eq!(fixture.signal(Signal::TERM), ["start preStop"]);
        assert!(!fixture.has_logged("Draining"));
    }
}

#[test]
fn a_coprocess_is_restarted_while_draining() {
    let mut fixture = draining(Plan {
        jobs: vec![coprocess("side")],
        ..bare()
    });
    fixture.signal(Signal::TERM);
    fixture.answers("app", Answer::Done);
    assert_eq!(fixture.exits("coprocess[side]", 1), ["start coprocess[side]"]);
}

#[test]
fn after_a_late_wake_up_the_drain_begins_again() {
    let mut fixture = draining(bare());
    fixture.signal(Signal::TERM);
    fixture.answers("app", Answer::Done);
    assert_eq!(fixture.after(60_000), [""; 0]);
    assert_eq!(fixture.after(9_999), [""; 0]);
    assert_eq!(fixture.after(1), ["send SIGTERM to the Leader of APP"]);
}
