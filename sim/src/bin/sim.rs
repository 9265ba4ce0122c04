//! `cargo sim`: simulates runs by their seeds, and prints the first that violates a law.
//!
//! ```text
//! cargo sim                  simulates seed after seed until one violates a law
//! cargo sim 7                simulates seed 7 and prints its timeline
//! cargo sim 1..1000          simulates these seeds
//! cargo sim survey 1..1000   prints which laws these seeds violate, the first seed of each, and how often
//! cargo sim emergencies 0..9 simulates these seeds with a fault of the program itself in each
//! cargo sim emergency 7      prints the timeline of one of them
//! cargo sim judge            prints the first law that is violated, in small worlds or in many runs
//! cargo sim shrink 7         shortens seed 7 and saves it in sim/regressions
//! cargo sim replay NAME      prints the timeline of a saved list
//! ```
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a tool for a terminal, and no part of the shim"
)]

use sim::explore::explore;
use sim::{Choices, SimulatedRun, regressions, scopes, shrink, simulate, simulate_emergency, simulate_twice};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let object = std::env::args().nth(2).unwrap_or_default();
    match argument.as_str() {
        "judge" => return judge(),
        "shrink" => return save(&object),
        "replay" => return replay(&object),
        "emergency" => return emergency(object.parse().unwrap_or(0)),
        _ => {}
    }
    if argument == "survey" {
        let (first, last) = range(&object);
        return survey(first, last, |seed| simulate(Choices::seeded(seed), false));
    }
    if argument == "emergencies" {
        let (first, last) = range(&object);
        return survey(first, last, |seed| {
            simulate_emergency(&Choices::seeded(seed), false, seed)
        });
    }
    if let Ok(seed) = argument.parse() {
        return show(seed);
    }
    let (first, last) = range(&argument);
    search(first, last)
}

/// Prints one line for the table of mutants.
fn judge() -> ExitCode {
    for (name, mut scope) in scopes::all() {
        scope.most = 20_000;
        if let Some((violation, _)) = scopes::QUICK
            .contains(&name)
            .then(|| explore(&scope))
            .and_then(|explored| explored.violation)
        {
            println!("{} (exploring {name})", violation.law.replace('_', " "));
            return ExitCode::FAILURE;
        }
    }
    for (name, list) in regressions::all().unwrap_or_default() {
        if let Some(violation) = simulate(Choices::recorded(list), false).report.violation {
            println!("{} (replaying {name})", violation.law.replace('_', " "));
            return ExitCode::FAILURE;
        }
    }
    for seed in 0..300 {
        let run = simulate_emergency(&Choices::seeded(seed), false, seed);
        if let Some(violation) = run.report.violation {
            println!("{} (emergency {seed})", violation.law.replace('_', " "));
            return ExitCode::FAILURE;
        }
    }
    for seed in 0..5_000 {
        if let Some(violation) = simulate(Choices::seeded(seed), false).report.violation {
            println!("{} (seed {seed})", violation.law.replace('_', " "));
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn range(argument: &str) -> (u64, u64) {
    match argument.split_once("..") {
        Some((first, last)) => (first.parse().unwrap_or(0), last.parse().unwrap_or(u64::MAX)),
        None => (0, u64::MAX),
    }
}

fn survey(first: u64, last: u64, simulate: impl Fn(u64) -> SimulatedRun) -> ExitCode {
    let mut violation = BTreeMap::new();
    for seed in first..last {
        if let Some(found) = simulate(seed).report.violation {
            violation.entry(found.law).or_insert((seed, 0)).1 += 1;
        }
    }
    for (law, (seed, times)) in &violation {
        println!("{times:>6} times, first by seed {seed}: {law}");
    }
    if violation.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn show(seed: u64) -> ExitCode {
    println!("seed {seed}");
    let run = simulate(Choices::seeded(seed), true);
    print(&run)
}

fn emergency(seed: u64) -> ExitCode {
    print(&simulate_emergency(&Choices::seeded(seed), true, seed))
}

fn replay(name: &str) -> ExitCode {
    let saved = regressions::all().unwrap_or_default();
    match saved.into_iter().find(|(known, _)| known == name) {
        Some((_, list)) => print(&simulate(Choices::recorded(list), true)),
        None => {
            println!("there is no sim/regressions/{name}.txt");
            ExitCode::FAILURE
        }
    }
}

fn save(seed: &str) -> ExitCode {
    let run = simulate(Choices::seeded(seed.parse().unwrap_or(0)), false);
    let Some(violation) = run.report.violation else {
        println!("seed {seed} breaks no law");
        return ExitCode::FAILURE;
    };
    let list = shrink::shrink(&run.report.choices);
    let shown = simulate(Choices::recorded(list.clone()), true);
    let text = regressions::write(
        &list,
        &format!(
            "found by seed {seed}, which violated this law:\n{}",
            violation.law
        ),
    );
    let path = regressions::folder().join(format!("{}-{seed}.txt", violation.law));
    if let Err(error) = std::fs::write(&path, text) {
        println!("{}: {error}", path.display());
    }
    println!(
        "{} choices instead of {}: {}",
        list.len(),
        run.report.choices.len(),
        path.display()
    );
    print(&shown)
}

fn print(run: &SimulatedRun) -> ExitCode {
    println!("{}", run.drawn);
    for entry in run.report.trace.iter().filter(|entry| entry.is_printed()) {
        println!("{entry}");
    }
    match &run.report.violation {
        Some(violation) => {
            println!("\nviolated: {violation}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn search(first: u64, last: u64) -> ExitCode {
    let began = Instant::now();
    let (mut hours, mut entries) = (0.0, 0);
    for seed in first..last {
        let run = simulate_twice(&Choices::seeded(seed));
        hours += run.report.length.as_secs_f64() / 3600.0;
        entries += run.report.entries;
        if let Some(violation) = &run.report.violation {
            println!("seed {seed}: {violation}\n(cargo sim {seed} shows it)");
            return ExitCode::FAILURE;
        }
        if (seed + 1) % 1000 == 0 {
            let seconds = began.elapsed().as_secs_f64();
            println!(
                "{} runs, {hours:.0} hours simulated twice, {entries} entries, in {seconds:.1} s",
                seed + 1 - first
            );
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} runs, {hours:.0} hours simulated twice, {entries} entries, in {seconds:.1} s",
        last - first
    );
    ExitCode::SUCCESS
}
