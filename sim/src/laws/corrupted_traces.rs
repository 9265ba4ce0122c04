//! Shows that every law can be violated: traces of real runs are corrupted, one entry at a time, until each
//! law has detected one.
//!
//! A mutant of the core is detected by the first law that it violates, so mutants alone do not show that
//! another law would detect it, too. Corrupted traces need no fault in the core.

use super::{EMERGENCY_LAWS, LAWS, Law, Observer};
use crate::choices::Choices;
use crate::options::Options;
use crate::plans;
use crate::simulated_run::{SimulatedRun, simulate, simulate_emergency};
use crate::trace::{EntryKind, Fact, TraceEntry};
use domain::catalogue::{Answer, Report, Request};
use domain::event::Loaded;
use domain::notice::templates::TemplateNotice;
use domain::plan::{Job, Role, SignalTarget};
use domain::signal::Signal;
use domain::time::Duration;
use domain::{Effect, Event, Notice};
use std::collections::BTreeSet;

/// How many runs have their traces corrupted, at most.
const RUNS: u64 = 400;
/// How many corrupted traces are made from each run.
const CORRUPTIONS: u32 = 40;

/// Which laws a trace violates, at any of its entries.
fn violated_by(trace: &[TraceEntry], mut observer: Observer) -> BTreeSet<&'static str> {
    let mut violation = BTreeSet::new();
    for entry in trace {
        observer.begin_turn(entry);
        let breaks = observer
            .laws()
            .iter()
            .filter(|(_, holds)| holds(&observer, entry).is_err());
        violation.extend(breaks.map(|(law, _)| *law));
        observer.add(entry);
    }
    violation
}

fn starts_reaction(entry: &TraceEntry) -> bool {
    let EntryKind::Effect(Effect::Start(_, job)) = &entry.kind else {
        return false;
    };
    matches!(job.role, Role::OnUnhealthy { .. } | Role::OnHealthy { .. })
}

/// A place in a trace; often one with an entry of a rare kind.
fn somewhere(trace: &[TraceEntry], choices: &mut Choices) -> usize {
    let any: Vec<usize> = (0..trace.len()).collect();
    let is_rare = |place: &usize| {
        let kind = &trace[*place].kind;
        matches!(
            kind,
            EntryKind::Event(
                Event::Signal(_)
                    | Event::Loaded(..)
                    | Event::NotStarted(..)
                    | Event::Outlived(_)
                    | Event::Stopped(_)
                    | Event::Written(..)
            ) | EntryKind::Fact(_)
                | EntryKind::Effect(Effect::Log(Notice::FailedTooOften { .. }))
                | EntryKind::Effect(Effect::Request {
                    request: Request::Report(Report { healthy: false, .. }),
                    ..
                })
        )
    };
    let is_rare = |place: &usize| is_rare(place) || starts_reaction(&trace[*place]);
    let rare: Vec<usize> = any.iter().copied().filter(is_rare).collect();
    let among = if rare.is_empty() || choices.below(2) == 0 {
        any
    } else {
        rare
    };
    choices.one_of(&among)
}

/// At an entry about a child that processes outlive: the place at which these are asked to stop.
fn stop_signal_after_outlived(trace: &[TraceEntry], place: usize) -> Option<usize> {
    let EntryKind::Event(Event::Outlived(ticket)) = trace[place].kind else {
        return None;
    };
    let asks =
        |entry: &TraceEntry| matches!(entry.kind, EntryKind::Effect(Effect::Send(to, ..)) if to == ticket);
    Some(place + trace[place..].iter().position(asks)?)
}

/// The next start of a handler.
fn handler_after(trace: &[TraceEntry]) -> Option<EntryKind> {
    let mut kinds = trace.iter().map(|entry| &entry.kind);
    let starts = |kind: &&EntryKind| match kind {
        EntryKind::Effect(Effect::Start(_, job)) => matches!(job.role, Role::OnChange { .. }),
        _ => false,
    };
    kinds.find(starts).cloned()
}

/// The start of a run without its variables.
fn without_variables(kind: &EntryKind) -> Option<EntryKind> {
    let EntryKind::Effect(Effect::Start(ticket, job)) = kind else {
        return None;
    };
    let variables = Vec::new();
    let job = Job {
        variables,
        ..(**job).clone()
    };
    Some(EntryKind::Effect(Effect::Start(*ticket, Box::new(job))))
}

/// The report that a template was not written in time.
fn missing_template() -> EntryKind {
    EntryKind::Effect(Effect::Log(Notice::Template(TemplateNotice::Missing {
        destination: "/etc/t0".into(),
        waits_for: vec![],
        limit: Duration::ZERO,
    })))
}

fn timed_out(role: Role) -> Notice {
    Notice::TimedOut {
        role,
        limit: Duration::from_secs(1),
        program: "true".into(),
        again: false,
    }
}

/// One entry is left out, repeated elsewhere, or replaced by a wrong one.
fn corrupt(trace: &mut Vec<TraceEntry>, choices: &mut Choices) {
    let (place, other) = (somewhere(trace, choices), somewhere(trace, choices));
    let entry = &trace[place];
    let at = entry.at;
    if let Some(asked) = stop_signal_after_outlived(trace, place) {
        return drop(trace.remove(asked));
    }
    let wrong = match (&entry.kind, choices.below(4)) {
        (EntryKind::Effect(Effect::Send(ticket, signal, _)), 0) => Some(EntryKind::Effect(Effect::Send(
            *ticket,
            *signal,
            SignalTarget::Process,
        ))),
        (EntryKind::Effect(Effect::Send(ticket, signal, reach)), 1) if *signal != Signal::KILL => {
            Some(EntryKind::Effect(Effect::Send(*ticket, Signal::KILL, *reach)))
        }
        (EntryKind::Event(Event::NotStarted(ticket, _)), 0) => trace[..place]
            .iter()
            .map(|entry| &entry.kind)
            .find(|kind| matches!(kind, EntryKind::Effect(Effect::Start(started, _)) if started == ticket))
            .cloned(),
        (EntryKind::Event(Event::Answered(_, Answer::Instances(_))), 0) => handler_after(&trace[place..]),
        (EntryKind::Effect(Effect::Log(Notice::Ended(role, ending))), 0) if ending.passed() => {
            Some(EntryKind::Effect(Effect::Log(timed_out(role.clone()))))
        }
        (EntryKind::Event(Event::Loaded(_, Loaded::Refused(_))), 0 | 1) => {
            Some(EntryKind::Effect(Effect::Log(Notice::Reloaded)))
        }
        (
            EntryKind::Effect(Effect::Request {
                ticket,
                request,
                connections,
                limit,
            }),
            0,
        ) => Some(EntryKind::Effect(Effect::Request {
            ticket: *ticket,
            request: request.clone(),
            connections: *connections,
            limit: *limit * 100,
        })),
        (EntryKind::Event(Event::Written(..)), 3) => Some(missing_template()),
        (EntryKind::Wait(Some(_)), 0) => Some(EntryKind::Wait(Some(entry.at))),
        (EntryKind::Wait(Some(_)), 3) => Some(EntryKind::Wait(None)),
        (EntryKind::Effect(Effect::Exit(_)), 0) => Some(EntryKind::Effect(Effect::Exit(0))),
        (EntryKind::Wait(_), 1) => Some(EntryKind::Fact(Fact::Overdue)),
        (EntryKind::Fact(_), 0) => Some(EntryKind::Fact(Fact::Settled)),
        (EntryKind::Fact(Fact::Entered(id)), 1) => Some(EntryKind::Fact(Fact::Expired(id.clone()))),
        (_, 2) => Some(trace[other].kind.clone()),
        (kind, 0) => without_variables(kind),
        _ => None,
    };
    match wrong {
        Some(kind) => trace.insert(place + 1, TraceEntry { at, kind }),
        None => drop(trace.remove(place)),
    }
}

#[test]
fn every_law_catches_a_corrupted_trace() {
    each_catches_one(LAWS, |seed| simulate(Choices::seeded(seed), true));
}

#[test]
fn every_law_of_an_emergency_catches_a_corrupted_trace() {
    each_catches_one(EMERGENCY_LAWS, |seed| {
        simulate_emergency(&Choices::seeded(seed), true, seed)
    });
}

fn each_catches_one(laws: &[(&str, Law)], simulate: impl Fn(u64) -> SimulatedRun) {
    let mut violation = BTreeSet::new();
    for seed in 0..RUNS {
        let mut choices = Choices::seeded(seed);
        let options = Options::draw(&mut choices);
        let plan = plans::draw(&mut choices, &options);
        let trace = simulate(seed).report.trace;
        let observer = || Observer::new(&plan, options.faults.starting_takes_time);
        assert!(
            violated_by(&trace, observer()).is_empty(),
            "the true trace of {seed} breaks no law"
        );
        for _ in 0..CORRUPTIONS {
            let mut corrupted = trace.clone();
            corrupt(&mut corrupted, &mut choices);
            violation.extend(violated_by(&corrupted, observer()));
        }
        if laws.iter().all(|(law, _)| violation.contains(law)) {
            return;
        }
    }
    let never: Vec<&str> = laws
        .iter()
        .map(|(law, _)| *law)
        .filter(|law| !violation.contains(law))
        .collect();
    assert!(
        never.is_empty(),
        "no corruption of a trace of {RUNS} runs broke {never:?}"
    );
}
