//! Another instance under a service's ID.

use super::*;
use crate::catalogue::Endpoint;

fn held(address: &str, port: u16) -> Answer {
    Answer::Holder(Some(Endpoint {
        address: address.into(),
        port,
    }))
}

/// A service without a check, registered.
fn unchecked() -> Fixture {
    let mut fixture = Fixture::running(Plan {
        services: vec![Service {
            check: None,
            ..service("app")
        }],
        ..bare()
    });
    assert_eq!(fixture.after(10_000), ["register app"]);
    fixture.answers("app", Answer::Done);
    fixture
}

/// Takes heartbeats until one is followed by a look.
fn look(fixture: &mut Fixture) {
    for _ in 0..10 {
        assert_eq!(fixture.after(10_000), ["renew app"]);
        if fixture.answers("app", Answer::Done) == ["inspect app"] {
            return;
        }
    }
    panic!("there is no look");
}

const WARNING: &str = "The ID app-host of app at 192.0.2.1:80 is used by another instance too, at 192.0.2.7:81: each needs an ID of its own";

#[test]
fn another_holder_of_the_id_is_reported_once_and_again_when_it_changes() {
    let mut fixture = unchecked();
    for _ in 0..3 {
        look(&mut fixture);
        assert_eq!(fixture.answers("app", held("192.0.2.7", 81)), [""; 0]);
    }
    assert_eq!(fixture.warnings().collect::<Vec<_>>(), [WARNING]);
    for port in [82, 81, 82] {
        look(&mut fixture);
        fixture.answers("app", held("192.0.2.7", port));
    }
    assert_eq!(fixture.how_often("is used by another instance"), 2);
    assert_eq!(fixture.how_often("at 192.0.2.7:82"), 1);
}

#[test]
fn the_own_entry_no_entry_and_a_failed_inspection_are_not_reported() {
    let mut fixture = unchecked();
    let nothing = [
        held("192.0.2.1", 80),
        Answer::Holder(None),
        Answer::Failed("refused".into()),
        Answer::Busy("too many".into()),
    ];
    for answer in nothing {
        look(&mut fixture);
        assert_eq!(fixture.answers("app", answer), [""; 0]);
    }
    assert_eq!(fixture.warnings().count(), 0);
    assert_eq!(fixture.how_often("failed requests"), 0);
}

#[test]
fn an_address_is_the_same_however_it_is_written() {
    let mut plan = Plan {
        services: vec![Service {
            check: None,
            ..service("app")
        }],
        ..bare()
    };
    plan.services[0].registration.address = "2001:db8::1".into();
    let mut fixture = Fixture::running(plan);
    fixture.after(10_000);
    fixture.answers("app", Answer::Done);
    look(&mut fixture);
    fixture.answers("app", held("2001:db8:0:0::1", 80));
    assert_eq!(fixture.warnings().count(), 0);
    look(&mut fixture);
    fixture.answers("app", held("2001:db8::2", 80));
    assert!(
        fixture.has_logged("of app at [2001:db8::1]:80 is used by another instance too, at [2001:db8::2]:80")
    );
}

#[test]
fn a_heartbeat_that_finds_another_instance_reports_it_and_registers_again() {
    let mut fixture = unchecked();
    let other = Endpoint {
        address: "192.0.2.7".into(),
        port: 81,
    };
    for _ in 0..3 {
        assert_eq!(fixture.after(10_000), ["renew app"]);
        let unknown = Answer::Unknown("the entry is another one".into(), Some(other.clone()));
        assert_eq!(fixture.answers("app", unknown), ["register app"]);
        fixture.answers("app", Answer::Done);
    }
    assert_eq!(fixture.warnings().collect::<Vec<_>>(), [WARNING]);
}

#[test]
fn invented_addresses_are_reported_a_few_times_and_shortened() {
    let mut fixture = unchecked();
    for port in 1..20 {
        look(&mut fixture);
        fixture.answers("app", held(&"x".repeat(500), port));
    }
    assert_eq!(fixture.how_often("is used by another instance"), 8);
    assert!(fixture.warnings().all(|warning| warning.len() < 400));
}

#[test]
fn addresses_of_other_instances_are_logged_on_one_line() {
    let mut fixture = unchecked();
    look(&mut fixture);
    fixture.answers("app", held("a\nb\u{1b}", 1));
    assert!(fixture.has_logged(r"at a\nb\u{1b}:1"));
}

#[test]
fn an_inspection_delays_neither_the_next_check_nor_the_deregistration() {
    let mut fixture = unchecked();
    look(&mut fixture);
    let effects = fixture.after(10_000);
    assert!(effects[0].starts_with("cancel"), "{effects:?}");
    assert_eq!(effects[1..], ["renew app"]);
    let mut fixture = unchecked();
    look(&mut fixture);
    let effects = fixture.signal(Signal::TERM);
    assert!(effects[0].starts_with("cancel"), "{effects:?}");
    assert_eq!(effects[1..], ["deregister app"]);
}

#[test]
fn an_inspection_waits_its_turn_and_is_cancelled_without_a_notice() {
    let services = ["a", "b", "c"].map(|name| Service {
        check: None,
        ..service(name)
    });
    let mut fixture = Fixture::running(Plan {
        services: services.into(),
        max_connections: Some(2),
        ..bare()
    });
    assert_eq!(fixture.after(10_000), ["register a", "register b"]);
    assert_eq!(fixture.answers("a", Answer::Done), ["register c"]);
    fixture.answers("b", Answer::Done);
    fixture.answers("c", Answer::Done);
    assert_eq!(fixture.after(10_000), ["renew a", "renew b"]);
    assert_eq!(fixture.answers("a", Answer::Done), ["renew c"]);
    assert_eq!(fixture.answers("c", Answer::Done), ["inspect a"]);
    assert_eq!(fixture.after(2_000), [""; 0]);
    // That of `c` was the next in turn, and waited for two seconds.
    assert_eq!(fixture.answers("b", Answer::Done), ["inspect b"]);
    assert_eq!(fixture.warnings().count(), 0);
    let next = fixture.after(8_000);
    assert_eq!(next[2..], ["renew a", "renew b"], "{next:?}");
}
