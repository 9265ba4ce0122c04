//! Shows that every law can be violated: traces of real runs are corrupted, one entry at a time, until each
//! law has detected one.
//!
//! A mutant of the core is detected by the first law that it violates, so mutants alone do not show that
//! another law would detect it, too. Corrupted traces need no fault in the core.

use super::{EMERGENCY_LAWS, LAWS, Law, Observer};
use crate::choices::Choices;
use crate::life::{Life, live, live_in_emergency};
use crate::options::Options;
use crate::plans;
use crate::trace::{Entry, Fact, What};
use domain::event::Loaded;
use domain::plan::SignalTarget;
use domain::signal::Signal;
use domain::time::Duration;
use domain::{Effect, Event, Notice};
use std::collections::BTreeSet;

/// How many runs have their traces corrupted, at most.
const LIVES: u64 = 400;
/// How many corrupted traces are made from each run.
const FORGERIES: u32 = 40;

/// Which laws a trace violates, at any of its entries.
fn violated_by(story: &[Entry], mut observer: Observer) -> BTreeSet<&'static str> {
    let mut violation = BTreeSet::new();
    for entry in story {
        observer.turns_to(entry);
        let breaks = observer
            .laws()
            .iter()
            .filter(|(_, holds)| holds(&observer, entry).is_err());
        violation.extend(breaks.map(|(law, _)| *law));
        observer.remembers(entry);
    }
    violation
}

/// A place in a trace; often one with an entry of a rare kind.
fn somewhere(story: &[Entry], choices: &mut Choices) -> usize {
    let any: Vec<usize> = (0..story.len()).collect();
    let is_rare = |place: &usize| {
        let what = &story[*place].what;
        matches!(
            what,
            What::Happens(
                Event::Signal(_)
                    | Event::Loaded(..)
                    | Event::NotStarted(..)
                    | Event::Outlived(_)
                    | Event::Stopped(_)
            ) | What::World(_)
        )
    };
    let rare: Vec<usize> = any.iter().copied().filter(is_rare).collect();
    let among = if rare.is_empty() || choices.below(2) == 0 {
        any
    } else {
        rare
    };
    choices.one_of(&among)
}

/// At an entry about a child that processes outlive: the place at which these are asked to stop.
fn asked_after_outlived(story: &[Entry], place: usize) -> Option<usize> {
    let What::Happens(Event::Outlived(ticket)) = story[place].what else {
        return None;
    };
    let asks = |entry: &Entry| matches!(entry.what, What::Does(Effect::Send(to, ..)) if to == ticket);
    Some(place + story[place..].iter().position(asks)?)
}

/// One entry is left out, repeated elsewhere, or replaced by a wrong one.
fn corrupt(story: &mut Vec<Entry>, choices: &mut Choices) {
    let place = somewhere(story, choices);
    let other = somewhere(story, choices);
    let entry = &story[place];
    if let Some(asked) = asked_after_outlived(story, place) {
        story.remove(asked);
        return;
    }
    let wrong = match (&entry.what, choices.below(4)) {
        (What::Does(Effect::Send(ticket, signal, _)), 0) => {
            Some(What::Does(Effect::Send(*ticket, *signal, SignalTarget::Process)))
        }
        (What::Does(Effect::Send(ticket, signal, reach)), 1) if *signal != Signal::KILL => {
            Some(What::Does(Effect::Send(*ticket, Signal::KILL, *reach)))
        }
        (What::Happens(Event::NotStarted(ticket, _)), 0) => story[..place]
            .iter()
            .map(|entry| &entry.what)
            .find(|what| matches!(what, What::Does(Effect::Start(started, _)) if started == ticket))
            .cloned(),
        (What::Does(Effect::Log(Notice::Ended(role, ending))), 0) if ending.passed() => {
            Some(What::Does(Effect::Log(Notice::TimedOut {
                role: role.clone(),
                limit: Duration::from_secs(1),
            })))
        }
        (What::Happens(Event::Loaded(_, Loaded::Refused(_))), 0 | 1) => {
            Some(What::Does(Effect::Log(Notice::Reloaded)))
        }
        (
            What::Does(Effect::Ask {
                ticket,
                request,
                connections,
                limit,
            }),
            0,
        ) => Some(What::Does(Effect::Ask {
            ticket: *ticket,
            request: request.clone(),
            connections: *connections,
            limit: *limit * 100,
        })),
        (What::Rests(Some(_)), 0) => Some(What::Rests(Some(entry.at))),
        (What::Rests(Some(_)), 3) => Some(What::Rests(None)),
        (What::Does(Effect::Exit(_)), 0) => Some(What::Does(Effect::Exit(0))),
        (What::Rests(_), 1) => Some(What::World(Fact::Overdue)),
        (What::World(_), 0) => Some(What::World(Fact::Settled)),
        (What::World(Fact::Entered(id)), 1) => Some(What::World(Fact::Expired(id.clone()))),
        (_, 2) => Some(story[other].what.clone()),
        _ => None,
    };
    match wrong {
        Some(what) => {
            let at = entry.at;
            story.insert(place + 1, Entry { at, what });
        }
        None => drop(story.remove(place)),
    }
}

#[test]
fn every_law_catches_a_corrupted_trace() {
    each_catches_one(LAWS, |seed| live(Choices::seeded(seed), true));
}

#[test]
fn every_law_of_an_emergency_catches_a_corrupted_trace() {
    each_catches_one(EMERGENCY_LAWS, |seed| {
        live_in_emergency(&Choices::seeded(seed), true, seed)
    });
}

fn each_catches_one(laws: &[(&str, Law)], live: impl Fn(u64) -> Life) {
    let mut violation = BTreeSet::new();
    for seed in 0..LIVES {
        let mut choices = Choices::seeded(seed);
        let options = Options::draw(&mut choices);
        let plan = plans::draw(&mut choices, &options);
        let story = live(seed).report.trace;
        let observer = || Observer::new(&plan, options.faults.starting_takes_time);
        assert!(
            violated_by(&story, observer()).is_empty(),
            "the true story of {seed} breaks no law"
        );
        for _ in 0..FORGERIES {
            let mut corrupted = story.clone();
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
    assert!(never.is_empty(), "no forgery of {LIVES} lives broke {never:?}");
}
