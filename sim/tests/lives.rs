//! Simulates runs in every run of the tests: by seed, and by recorded choices that once violated a law.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use domain::signal::Signal;
use domain::time::Duration;
use domain::{Effect, Event};
use sim::trace::{Fact, What};
use sim::{Choices, live, live_in_emergency, live_twice, regressions};

/// How many seeds are simulated. `cargo sim` simulates more.
const SEEDS: u64 = 1_500;

#[test]
fn many_runs_violate_no_law_and_each_gives_the_same_trace_twice() {
    for seed in 0..SEEDS {
        let life = live_twice(&Choices::seeded(seed));
        assert_eq!(life.report.violation, None, "`cargo sim {seed}` shows it");
    }
}

#[test]
fn after_a_fault_of_the_program_itself_everything_ends_in_order() {
    let is_fault = |entry: &sim::trace::Entry| entry.what == What::World(Fact::Panics);
    let mut faults = 0;
    for seed in 0..300 {
        let life = live_in_emergency(&Choices::seeded(seed), true, seed);
        assert_eq!(
            life.report.violation, None,
            "`cargo sim emergency {seed}` shows it"
        );
        faults += usize::from(life.report.trace.iter().any(is_fault));
    }
    assert!(faults > 250, "a fault came in {faults} lives of 300");
}

#[test]
fn recorded_violations_violate_no_law_any_more() {
    let saved = regressions::all().unwrap();
    assert!(!saved.is_empty());
    for (name, list) in saved {
        let life = live_twice(&Choices::recorded(list));
        assert_eq!(life.report.violation, None, "`cargo sim replay {name}` shows it");
    }
}

#[test]
fn without_faults_an_application_runs_until_the_stop() {
    let life = live(Choices::recorded(vec![]), true);
    assert_eq!(life.report.violation, None);
    let trace: Vec<What> = life.report.trace.into_iter().map(|entry| entry.what).collect();
    let place = |wanted: What| trace.iter().position(|what| *what == wanted);
    let stop = place(What::Happens(Event::Signal(Signal::TERM))).unwrap();
    let healed = place(What::World(Fact::Healed)).unwrap();
    assert!(healed < stop);
    assert_eq!(trace.last(), Some(&What::Does(Effect::Exit(143))));
    assert!(life.report.length > Duration::from_secs(60));
}

#[test]
fn a_run_starts_with_its_drawn_options_and_plan() {
    let life = live(Choices::seeded(7), true);
    assert!(life.drawn.contains("faults for ") && life.drawn.contains("plan: "));
    assert!(life.report.trace[0].to_string().ends_with("-> begin"));
}
