//! Requests of clients: what they change, and when they are answered.

use super::*;
use crate::control::{ControlAnswer, ControlRequest, Obstacle, RequestNumber};

const DONE: &str = "done";
const STOPPING: &str = "the shim is stopping";
const SUPERSEDED: &str = "another request has changed maintenance meanwhile";

fn asks(fixture: &mut Fixture, number: u64, request: ControlRequest) -> Vec<String> {
    fixture.step(Event::Requested(RequestNumber(number), request))
}

/// How the request with this number is answered.
fn answered(number: u64, answer: &str) -> String {
    let answer = match answer {
        DONE => ControlAnswer::Done,
        STOPPING => ControlAnswer::Ineffective(Obstacle::Stopping),
        SUPERSEDED => ControlAnswer::Ineffective(Obstacle::Superseded),
        report => ControlAnswer::Refused(report.into()),
    };
    brief(&Effect::Answer(RequestNumber(number), answer), &BTreeMap::new())
}

/// A machine whose service is registered.
fn registered() -> Fixture {
    let mut fixture = Fixture::running(Plan {
        services: vec![service("app")],
        ..bare()
    });
    fixture.after(10_000);
    fixture.exits("app.health", 0);
    fixture.answers("app", Answer::Done);
    fixture
}

fn refuses(fixture: &mut Fixture, report: &str) -> Vec<String> {
    let ticket = fixture.loads.pop().expect("nothing is being loaded");
    fixture.step(Event::Loaded(ticket, Loaded::Refused(report.into())))
}

#[test]
fn a_ping_is_answered_in_every_phase() {
    let mut fixture = Fixture::new(Plan {
        pre_start: hook(Role::PreStart),
        ..bare()
    });
    fixture.step(Event::Begin);
    assert_eq!(asks(&mut fixture, 1, ControlRequest::Ping), [answered(1, DONE)]);
    fixture.exits("preStart", 0);
    assert_eq!(asks(&mut fixture, 2, ControlRequest::Ping), [answered(2, DONE)]);
    fixture.signal(Signal::TERM);
    assert_eq!(asks(&mut fixture, 3, ControlRequest::Ping), [answered(3, DONE)]);
}

#[test]
fn a_reload_is_answered_when_the_configuration_was_judged() {
    let mut fixture = Fixture::running(bare());
    assert_eq!(
        asks(&mut fixture, 1, ControlRequest::Reload).len(),
        1,
        "it is read"
    );
    assert_eq!(fixture.loads(bare()), [answered(1, DONE)]);
    asks(&mut fixture, 2, ControlRequest::Reload);
    assert_eq!(refuses(&mut fixture, "wrong"), [answered(2, "wrong")]);
    fixture.signal(Signal::HUP);
    assert_eq!(fixture.loads(bare()), [""; 0], "nothing waits");
}

#[test]
fn a_reload_during_a_reading_is_answered_after_the_next_one() {
    let mut fixture = Fixture::running(bare());
    asks(&mut fixture, 1, ControlRequest::Reload);
    assert_eq!(asks(&mut fixture, 2, ControlRequest::Reload), [""; 0]);
    let next = refuses(&mut fixture, "old");
    assert_eq!(next[0], answered(1, "old"));
    assert!(next[1].starts_with("load("), "{next:?}");
    assert_eq!(next.len(), 2);
    assert_eq!(fixture.loads(bare()), [answered(2, DONE)]);
}

#[test]
fn maintenance_is_answered_after_the_deregistrations() {
    let mut fixture = registered();
    assert_eq!(
        asks(&mut fixture, 1, ControlRequest::Maintenance(true)),
        ["deregister app"]
    );
    assert_eq!(
        asks(&mut fixture, 2, ControlRequest::Maintenance(true)),
        [""; 0],
        "it has begun already"
    );
    assert_eq!(
        fixture.answers("app", Answer::Done),
        [answered(1, DONE), answered(2, DONE)]
    );
    assert_eq!(
        asks(&mut fixture, 3, ControlRequest::Maintenance(true)),
        [answered(3, DONE)]
    );
    assert_eq!(fixture.how_often("Entering maintenance"), 1);
    for number in [4, 5] {
        let disable = ControlRequest::Maintenance(false);
        assert_eq!(asks(&mut fixture, number, disable), [answered(number, DONE)]);
    }
    assert_eq!(fixture.how_often("Leaving maintenance"), 1);
    assert_eq!(fixture.after(10_000), ["start app.health"]);
}

#[test]
fn a_deregistration_that_fails_ends_the_wait_too() {
    let mut fixture = registered();
    asks(&mut fixture, 1, ControlRequest::Maintenance(true));
    assert_eq!(
        fixture.answers("app", Answer::Failed("no".into())),
        [answered(1, DONE)]
    );
}

#[test]
fn a_request_that_another_one_undoes_is_answered_so() {
    let mut fixture = registered();
    asks(&mut fixture, 1, ControlRequest::Maintenance(true));
    assert_eq!(
        asks(&mut fixture, 2, ControlRequest::Maintenance(false)),
        [answered(1, SUPERSEDED), answered(2, DONE)]
    );
    fixture.signal(Signal::USR1);
    asks(&mut fixture, 3, ControlRequest::Maintenance(true));
    assert_eq!(fixture.signal(Signal::USR1), [answered(3, SUPERSEDED)]);
}

#[test]
fn when_the_shim_stops_what_waits_is_answered_and_nothing_further_has_an_effect() {
    let mut fixture = registered();
    asks(&mut fixture, 1, ControlRequest::Reload);
    asks(&mut fixture, 2, ControlRequest::Maintenance(true));
    assert_eq!(
        fixture.signal(Signal::TERM),
        [answered(1, STOPPING), answered(2, STOPPING)]
    );
    for (number, request) in [
        (3, ControlRequest::Reload),
        (4, ControlRequest::Maintenance(true)),
    ] {
        assert_eq!(asks(&mut fixture, number, request), [answered(number, STOPPING)]);
    }
    assert_eq!(fixture.loads(bare()), [""; 0]);
}

#[test]
fn beyond_the_limit_a_request_does_not_wait() {
    let mut fixture = Fixture::running(bare());
    for number in 0..32 {
        asks(&mut fixture, number, ControlRequest::Reload);
    }
    let refused = ControlAnswer::Ineffective(Obstacle::TooMany);
    let refused = brief(&Effect::Answer(RequestNumber(32), refused), &BTreeMap::new());
    assert_eq!(
        asks(&mut fixture, 32, ControlRequest::Maintenance(true)),
        [refused]
    );
    assert_eq!(fixture.how_often("Entering maintenance"), 0);
    assert_eq!(refuses(&mut fixture, "wrong").len(), 2, "an answer and a reading");
    assert_eq!(refuses(&mut fixture, "wrong").len(), 31);
}

#[test]
fn the_socket_of_the_plan_is_served_from_the_beginning_and_a_reload_moves_it() {
    let socket = |path: &str| {
        let path = path.into();
        Some(ControlSocket { path, group: None })
    };
    let with = |path: &str| Plan {
        control: socket(path),
        ..bare()
    };
    let listens = |socket| brief(&Effect::Listen(socket), &BTreeMap::new());
    let mut fixture = Fixture::new(Plan {
        pre_start: hook(Role::PreStart),
        ..with("/run/a")
    });
    assert_eq!(fixture.step(Event::Begin)[0], listens(socket("/run/a")));
    assert!(fixture.has_logged("control: serving at /run/a"));
    fixture.exits("preStart", 0);
    fixture.signal(Signal::HUP);
    assert_eq!(fixture.loads(with("/run/a")), [""; 0]);
    fixture.signal(Signal::HUP);
    assert_eq!(fixture.loads(with("/run/b")), [listens(socket("/run/b"))]);
    assert!(fixture.has_logged("control: serving at /run/b"));
    fixture.signal(Signal::HUP);
    assert_eq!(fixture.loads(bare()), [listens(None)]);
    assert_eq!(fixture.how_often("control: serving at"), 2);
}
