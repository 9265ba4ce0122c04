//! What becomes of processes that children started, and that outlive them.

use super::*;

impl Stage {
    /// A child that was asked to stop ends, and processes that it started do not; the child's ticket.
    fn is_outlived(&mut self, role: &str) -> (Ticket, Vec<String>) {
        let ticket = self.children.remove(role).expect("it runs");
        self.others = true;
        assert_eq!(self.step(Event::Outlived(ticket)), [""; 0]);
        let done = self.step(Event::Exited(ticket, ExitStatus::Code(3)));
        (ticket, done)
    }
}

/// A stage whose application was sent its stop signal.
fn terminating(plan: Plan) -> Stage {
    let mut stage = Stage::running(plan);
    assert_eq!(stage.signal(Signal::TERM), ["send SIGTERM to the Leader of APP"]);
    stage
}

#[test]
fn what_outlives_the_application_is_asked_to_stop_and_waited_for() {
    let mut stage = terminating(bare());
    let (ticket, done) = stage.is_outlived("APP");
    assert_eq!(done, ["send SIGTERM to the Tree of nobody"]);
    assert!(stage.told("APP has ended, processes that it started have not: waiting for them"));
    assert_eq!(stage.step(Event::TreeEnded(ticket)), [""; 0]);
    assert_eq!(stage.step(Event::AllEnded), ["exit(3)"]);
}

#[test]
fn what_outlives_the_application_has_the_rest_of_the_stop_timeout() {
    let mut stage = terminating(bare());
    stage.after(4_000);
    let (ticket, _) = stage.is_outlived("APP");
    assert_eq!(stage.after(999), [""; 0]);
    assert_eq!(stage.after(1), ["send SIGKILL to the Tree of nobody"]);
    stage.step(Event::TreeEnded(ticket));
    assert_eq!(stage.step(Event::AllEnded), ["exit(3)"], "not 137");
}

#[test]
fn signals_are_not_passed_on_to_what_outlives_the_application() {
    let mut stage = terminating(bare());
    stage.is_outlived("APP");
    assert_eq!(stage.signal(Signal::new(12)), [""; 0]);
}

#[test]
fn what_outlives_a_coprocess_has_the_rest_of_its_grace() {
    let mut stage = terminating(Plan {
        jobs: vec![coprocess("side")],
        ..bare()
    });
    let stops = "send SIGTERM to the Tree of coprocess[side]";
    assert_eq!(stage.exits("APP", 0), [stops]);
    stage.after(1_000);
    let (ticket, done) = stage.is_outlived("coprocess[side]");
    assert_eq!(done, [""; 0], "its tree was asked to stop with it");
    assert_eq!(stage.after(1_999), [""; 0]);
    assert_eq!(stage.after(1), ["send SIGKILL to the Tree of nobody"]);
    assert_eq!(stage.step(Event::TreeEnded(ticket)), [""; 0]);
    assert_eq!(stage.step(Event::AllEnded), ["exit(0)"]);
}

#[test]
fn all_that_is_left_is_asked_to_stop_and_killed_after_five_seconds() {
    let mut stage = terminating(bare());
    stage.others = true;
    assert_eq!(stage.exits("APP", 0), [""; 0]);
    assert_eq!(stage.to_all, [Signal::TERM]);
    assert_eq!(stage.after(4_999), [""; 0]);
    assert_eq!(stage.after(1), ["exit(0)"]);
    assert_eq!(stage.to_all, [Signal::TERM, Signal::KILL]);
}

#[test]
fn what_sigkill_does_not_end_holds_the_end_for_two_seconds() {
    let mut stage = terminating(bare());
    stage.others = true;
    stage.exits("APP", 0);
    stage.shim.step(at(5_000), Event::Woken);
    let end = stage.shim.step(at(7_000), Event::Woken);
    assert!(end.contains(&Effect::Exit(0)), "{end:?}");
}

const fn at(milliseconds: u64) -> Instant {
    Instant::after_start(Duration::from_millis(milliseconds))
}
