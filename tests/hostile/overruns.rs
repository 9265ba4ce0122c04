//! Checks that never end by themselves, with a time limit three times their poll: they neither overlap nor
//! queue, everything else is on time, and they pass soon after the fault is over
//! (docs/development/behaviour.md, LC-15, LC-16).

use crate::machine::{lateness_since, since_boot};
use crate::observed::{Hostile, Observed, POLL};
use crate::slowness;
use crate::waiting::{SOON, until};
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// How many services there are, and for how many polls their checks hang: 1,500 ticks in all.
const SERVICES: usize = 75;
const POLLS: usize = 20;
/// The time limit of their checks, in polls.
const LIMIT: usize = 3;

/// A check that records that it begins, and the run before it if that has not ended. It hangs until the file `healed`
/// is there. It starts no process, and process IDs are not used again so soon in a namespace of its own.
fn service(number: usize) -> String {
    format!(
        r#", {{"name": "s{number}", "port": 2, "interfaces": "static:127.0.0.1", "poll": 1, "ttl": 30, "timeout": "{LIMIT}s",
            "health": ["sh", "-c", "echo s{number} >> @/begun; {{ read -r last < @/last.{number}; }} 2>/dev/null && [ -e /proc/$last ] && echo $last >> @/overlaps; echo $$ > @/last.{number}; [ -e @/healed ] || exec sleep 1000"]}}"#
    )
}

/// How many runs of each service have begun.
fn begun(observed: &Observed) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for name in observed.program.read("begun").lines() {
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

/// How many of the services are in the catalogue.
fn registered(observed: &Observed) -> usize {
    let entries = |number| fs::read_dir(observed.program.path(&format!("catalogue/s{number}")));
    (0..SERVICES)
        .filter(|number| entries(*number).is_ok_and(|entries| entries.count() > 0))
        .count()
}

#[test]
fn in_1500_ticks_checks_that_take_three_polls_neither_overlap_nor_queue() {
    let services: String = (0..SERVICES).map(service).collect();
    let observed = Observed::start(&Hostile {
        services: &services,
        as_pid_1: true,
        ..Hostile::default()
    });
    let all_begun = || begun(&observed).len() == SERVICES;
    until(SOON, || "each check has begun".into(), all_begun);
    let (first, before) = (since_boot(), begun(&observed));
    (0..POLLS).for_each(|_| observed.until_starts(1));
    let (took, after) = (since_boot() - first, begun(&observed));
    let late = observed.lateness(POLLS - 1);
    assert!(late < POLL * slowness(), "the other check is {late:?} late");
    // A run begins when the one before it has ended at its limit, for the one tick that waited.
    let most = took.as_secs() as usize / LIMIT + 1;
    for (name, count) in after {
        let runs = count - before[&name];
        assert!(
            runs >= POLLS / LIMIT / 2 && runs <= most,
            "{name}: {runs} runs in {took:?}"
        );
    }
    assert_eq!(registered(&observed), 0);

    observed.program.write("healed", "");
    let healed = since_boot();
    let failed = || format!("{} of {SERVICES} are registered", registered(&observed));
    until(SOON, failed, || registered(&observed) == SERVICES);
    // The rest of a run that hangs, and the check and its registration after it.
    let took = (since_boot() - healed).saturating_sub(2 * lateness_since(healed));
    assert!(took < POLL * (LIMIT as u32 + 1) * slowness(), "{took:?}");
    let (first, before) = (since_boot(), begun(&observed).values().sum::<usize>());
    observed.until_starts(3);
    let (took, runs) = (
        since_boot() - first,
        begun(&observed).values().sum::<usize>() - before,
    );
    let most = SERVICES * (took + Duration::from_secs(1)).as_secs_f64().ceil() as usize;
    assert!(runs <= most, "{runs} runs in {took:?}, not one a second each");
    assert_eq!(observed.program.read("overlaps"), "", "{:?}", observed.starts());
    observed.terminate();
}
