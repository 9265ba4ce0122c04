//! Many services do not all run their checks at once.

use super::*;

/// The checks of these services start.
fn checks(numbers: core::ops::Range<usize>) -> Vec<String> {
    numbers.map(|n| format!("start app{n}.health")).collect()
}

fn twenty() -> Plan {
    let services = (0..20).map(|n| service(&format!("app{n}"))).collect();
    Plan { services, ..bare() }
}

fn all_exit(fixture: &mut Fixture, numbers: core::ops::Range<usize>) {
    for n in numbers {
        fixture.exits(&format!("app{n}.health"), 1);
    }
}

#[test]
fn eight_checks_start_at_once_and_the_next_eight_later_in_every_period() {
    let mut fixture = Fixture::running(twenty());
    let mut rest = 10_000;
    for _ in 0..3 {
        assert_eq!(fixture.after(rest - 1), [""; 0]);
        assert_eq!(fixture.after(1), checks(0..8));
        assert_eq!(fixture.after(39), [""; 0]);
        assert_eq!(fixture.after(1), checks(8..16));
        assert_eq!(fixture.after(40), checks(16..20));
        all_exit(&mut fixture, 0..20);
        rest = 10_000 - 80;
    }
}

#[test]
fn after_a_pause_of_the_machine_they_come_one_after_the_other_again() {
    let mut fixture = Fixture::running(twenty());
    assert_eq!(fixture.after(75_000), checks(0..8));
    assert_eq!(fixture.after(40), checks(8..16));
    assert_eq!(fixture.after(40), checks(16..20));
    all_exit(&mut fixture, 0..20);
    assert_eq!(
        fixture.after(9_920),
        checks(0..8),
        "the period counts from the end of the pause"
    );
}

#[test]
fn a_reload_delays_only_the_services_that_it_opens() {
    let mut fixture = Fixture::running(twenty());
    fixture.signal(Signal::HUP);
    let mut plan = twenty();
    plan.services.insert(0, service("new"));
    plan.services.remove(20);
    let gone = fixture.loads(plan);
    assert_eq!(gone, ["deregister app19"]);
    fixture.answers("app19", Answer::Done);
    let mut first = checks(0..8);
    first.push("start new.health".into());
    assert_eq!(fixture.after(10_000), first);
    assert_eq!(fixture.after(40), checks(8..16));
    assert_eq!(fixture.after(40), checks(16..19));
}
