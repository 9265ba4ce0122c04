//! Processes that children started and that outlive them.

use super::*;

impl Fixture {
    /// A child that was asked to stop ends, and processes that it started do not; the child's ticket.
    fn is_outlived(&mut self, role: &str) -> (Ticket, Vec<String>) {
        let ticket = self.children.remove(role).expect("it runs");
        self.others = true;
        assert_eq!(self.step(Event::Outlived(ticket)), [""; 0]);
        let done = self.step(Event::Exited(ticket, ExitStatus::Code(3)));
        (ticket, done)
    }
}

/// A fixture whose application was sent its stop signal.
fn terminating(plan: Plan) -> Fixture {
    let mut fixture = Fixture::running(plan);
    assert_eq!(
        fixture.signal(Signal::TERM),
        ["send SIGTERM to the Leader of APP"]
    );
    fixture
}

#[test]
fn what_outlives_the_application_is_asked_to_stop_and_waited_for() {
    let mut fixture = terminating(bare());
    let (ticket, done) = fixture.is_outlived("APP");
    assert_eq!(done, ["send SIGTERM to the Tree of nobody"]);
    assert!(fixture.has_logged("APP has ended, processes that it started have not: waiting for them"));
    assert_eq!(fixture.step(Event::TreeEnded(ticket)), [""; 0]);
    assert_eq!(fixture.step(Event::AllEnded), ["exit(3)"]);
}

#[test]
fn what_outlives_the_application_has_the_rest_of_the_stop_timeout() {
    let mut fixture = terminating(bare());
    fixture.after(4_000);
    let (ticket, _) = fixture.is_outlived("APP");
    assert_eq!(fixture.after(999), [""; 0]);
    assert_eq!(fixture.after(1), ["send SIGKILL to the Tree of nobody"]);
    fixture.step(Event::TreeEnded(ticket));
    assert_eq!(fixture.step(Event::AllEnded), ["exit(3)"], "not 137");
}

#[test]
fn signals_are_not_passed_on_to_what_outlives_the_application() {
    let mut fixture = terminating(bare());
    fixture.is_outlived("APP");
    assert_eq!(fixture.signal(Signal::new(12)), [""; 0]);
}

#[test]
fn what_outlives_a_coprocess_has_the_rest_of_its_grace() {
    let mut fixture = terminating(Plan {
        jobs: vec![coprocess("side")],
        ..bare()
    });
    let stops = "send SIGTERM to the Tree of coprocess[side]";
    assert_eq!(fixture.exits("APP", 0), [stops]);
    fixture.after(1_000);
    let (ticket, done) = fixture.is_outlived("coprocess[side]");
    assert_eq!(done, [""; 0], "its tree was asked to stop with it");
    assert_eq!(fixture.after(1_999), [""; 0]);
    assert_eq!(fixture.after(1), ["send SIGKILL to the Tree of nobody"]);
    assert_eq!(fixture.step(Event::TreeEnded(ticket)), [""; 0]);
    assert_eq!(fixture.step(Event::AllEnded), ["exit(0)"]);
}

#[test]
fn all_that_is_left_is_asked_to_stop_and_killed_after_five_seconds() {
    let mut fixture = terminating(bare());
    fixture.others = true;
    assert_eq!(fixture.exits("APP", 0), [""; 0]);
    assert_eq!(fixture.to_all, [Signal::TERM]);
    assert_eq!(fixture.after(4_999), [""; 0]);
    assert_eq!(fixture.after(1), ["exit(0)"]);
    assert_eq!(fixture.to_all, [Signal::TERM, Signal::KILL]);
}

#[test]
fn what_sigkill_does_not_end_holds_the_end_for_two_seconds() {
    let mut fixture = terminating(bare());
    fixture.others = true;
    fixture.exits("APP", 0);
    fixture.shim.step(at(5_000), Event::Woken);
    let end = fixture.shim.step(at(7_000), Event::Woken);
    assert!(end.contains(&Effect::Exit(0)), "{end:?}");
}

const fn at(milliseconds: u64) -> Instant {
    Instant::after_start(Duration::from_millis(milliseconds))
}
