//! Simulates runs in every run of the tests: by seed, and by recorded choices that once violated a law.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use domain::signal::Signal;
use domain::time::Duration;
use domain::{Effect, Event};
use sim::trace::{EntryKind, Fact};
use sim::{Choices, regressions, simulate, simulate_emergency, simulate_twice};

/// How many seeds are simulated. `cargo sim` simulates more.
const SEEDS: u64 = 1_500;

#[test]
fn many_runs_violate_no_law_and_each_gives_the_same_trace_twice() {
    for seed in 0..SEEDS {
        let run = simulate_twice(&Choices::seeded(seed));
        assert_eq!(run.report.violation, None, "`cargo sim {seed}` shows it");
    }
}

#[test]
fn after_a_fault_of_the_program_itself_everything_ends_in_order() {
    let is_fault = |entry: &sim::trace::TraceEntry| entry.kind == EntryKind::Fact(Fact::Panics);
    let mut faults = 0;
    for seed in 0..300 {
        let run = simulate_emergency(&Choices::seeded(seed), true, seed);
        assert_eq!(
            run.report.violation, None,
            "`cargo sim emergency {seed}` shows it"
        );
        faults += usize::from(run.report.trace.iter().any(is_fault));
    }
    assert!(faults > 250, "a fault came in {faults} runs of 300");
}

#[test]
fn recorded_violations_violate_no_law_any_more() {
    let saved = regressions::all().unwrap();
    assert!(!saved.is_empty());
    for (name, list) in saved {
        let run = simulate_twice(&Choices::recorded(list));
        assert_eq!(run.report.violation, None, "`cargo sim replay {name}` shows it");
    }
}

#[test]
fn without_faults_an_application_runs_until_the_stop() {
    let run = simulate(Choices::recorded(vec![]), true);
    assert_eq!(run.report.violation, None);
    let trace: Vec<EntryKind> = run.report.trace.into_iter().map(|entry| entry.kind).collect();
    let place = |wanted: EntryKind| trace.iter().position(|kind| *kind == wanted);
    let stop = place(EntryKind::Event(Event::Signal(Signal::TERM))).unwrap();
    let healed = place(EntryKind::Fact(Fact::Healed)).unwrap();
    assert!(healed < stop);
    assert_eq!(trace.last(), Some(&EntryKind::Effect(Effect::Exit(143))));
    assert!(run.report.length > Duration::from_secs(60));
}

#[test]
fn a_run_starts_with_its_drawn_options_and_plan() {
    let run = simulate(Choices::seeded(7), true);
    assert!(run.drawn.contains("faults for ") && run.drawn.contains("plan: "));
    assert!(run.report.trace[0].to_string().ends_with("-> begin"));
}
