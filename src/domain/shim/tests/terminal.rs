//! What the shim does when a terminal stops its application, or is gone.

use super::*;

impl Fixture {
    /// The terminal stops the application: all effects.
    fn is_stopped(&mut self) -> Vec<String> {
        let ticket = self.children["APP"];
        let effects = self.shim.step(self.now, Event::Stopped(ticket));
        effects
            .iter()
            .map(|effect| brief(effect, &self.children))
            .collect()
    }
}

const CONTINUES: &str = "send SIGCONT to the Process of APP";

#[test]
fn the_shim_stops_with_the_application_and_continues_it() {
    let mut fixture = Fixture::running(bare());
    assert_eq!(fixture.is_stopped(), ["suspend", CONTINUES]);
    assert_eq!(fixture.is_stopped(), ["suspend", CONTINUES], "each time");
}

#[test]
fn during_a_stop_the_shim_does_not_stop_itself() {
    let mut fixture = Fixture::running(Plan {
        pre_stop: hook(Role::PreStop),
        ..bare()
    });
    assert_eq!(fixture.signal(Signal::TERM), ["start preStop"]);
    assert_eq!(fixture.is_stopped(), [CONTINUES]);
    assert_eq!(fixture.exits("preStop", 0), ["send SIGTERM to the Leader of APP"]);
    assert_eq!(fixture.is_stopped(), [CONTINUES]);
}

#[test]
fn a_stop_of_another_child_changes_nothing() {
    let mut fixture = Fixture::running(Plan {
        jobs: vec![coprocess("side")],
        ..bare()
    });
    let ticket = fixture.children["coprocess[side]"];
    assert_eq!(fixture.step(Event::Stopped(ticket)), [""; 0]);
}

#[test]
fn when_the_terminal_is_gone_the_application_gets_sighup_and_nothing_is_read() {
    let mut fixture = Fixture::running(bare());
    assert_eq!(fixture.step(Event::HungUp), ["send SIGHUP to the Process of APP"]);
    assert_eq!(
        fixture.signal(Signal::TERM),
        ["send SIGTERM to the Leader of APP"]
    );
    assert_eq!(fixture.step(Event::HungUp), ["send SIGHUP to the Process of APP"]);
}
