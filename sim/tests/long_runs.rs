//! Long runs with one fault that lasts: a catalogue that is silent for an hour, and checks that overrun in
//! 1,500 ticks. All laws are checked, and what they leave open: how often each check starts
//! (docs/development/pid1.md, statements 34 and 35).
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use domain::plan::{Check, Plan, Role};
use domain::time::Duration;
use domain::{Effect, Instant};
use sim::options::{Faults, Options};
use sim::trace::{EntryKind, Fact, TraceEntry};
use sim::{Choices, SimulatedRun, plans, simulate_with};
use std::collections::BTreeMap;

/// A run with this fault alone, for a plan that this seed draws and `change` changes.
fn run(seed: u64, options: Options, change: impl FnOnce(&mut Plan)) -> (Plan, SimulatedRun) {
    let mut choices = Choices::seeded(seed);
    let mut plan = plans::draw(&mut choices, &options);
    change(&mut plan);
    let run = simulate_with(choices, options, plan.clone(), true);
    assert_eq!(run.report.violation, None, "seed {seed}");
    (plan, run)
}

/// When the check of each service was started, up to the end of the fault.
fn starts(trace: &[TraceEntry]) -> BTreeMap<String, Vec<Instant>> {
    let mut starts: BTreeMap<String, Vec<Instant>> = BTreeMap::new();
    let healed = |entry: &&TraceEntry| entry.kind != EntryKind::Fact(Fact::Healed);
    for entry in trace.iter().take_while(healed) {
        let role = match &entry.kind {
            EntryKind::Effect(Effect::Start(_, job)) => &job.role,
            EntryKind::Effect(Effect::Probe(_, probe)) => &probe.role,
            _ => continue,
        };
        if let Role::Health { id, .. } = role {
            starts.entry(id.clone()).or_default().push(entry.at);
        }
    }
    starts
}

fn longest_gap(starts: &[Instant]) -> Duration {
    starts
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or_default()
}

/// A heartbeat ends after two seconds or one poll, and so does its wait for a place. The tick after that is used.
#[test]
fn a_catalogue_that_is_silent_for_an_hour_holds_no_check_up_and_is_used_again_afterwards() {
    let mut checked = 0;
    for (seed, connections) in [
        (0, None),
        (1, None),
        (2, Some(4)),
        (3, Some(2)),
        (4, None),
        (5, Some(16)),
    ] {
        let options = Options {
            application: true,
            services: 3,
            backends: 2,
            jobs: 2,
            sensors: 1,
            seconds: 3_600,
            cursors: true,
            connections,
            faults: Faults {
                catalogue_is_silent: true,
                ..Faults::default()
            },
            ..Options::default()
        };
        let (plan, run) = run(seed, options, |_| {});
        let starts = starts(&run.report.trace);
        for service in plan.services.iter().filter(|service| service.check.is_some()) {
            let starts = &starts[&service.registration.id];
            let gap = longest_gap(starts);
            let most = 3 * service.poll + Duration::from_secs(4);
            assert!(
                gap <= most,
                "seed {seed}: {} is not checked for {gap:?}",
                service.registration.id
            );
            let last = starts.last().unwrap().since_start();
            assert!(last > Duration::from_secs(3_600) - most, "seed {seed}: {last:?}");
            checked += 1;
        }
    }
    assert!(checked >= 6, "{checked} services have a check");
}

#[test]
fn in_1500_ticks_a_check_that_hangs_runs_once_in_its_time_limit_and_ticks_do_not_add_up() {
    const LIMIT: Duration = Duration::from_secs(3);
    for seed in 0..20 {
        let options = Options {
            application: true,
            services: 1,
            seconds: 1_500,
            faults: Faults {
                checks_hang: true,
                ..Faults::default()
            },
            ..Options::default()
        };
        let mut has_check = false;
        let (_, run) = run(seed, options, |plan| {
            let service = &mut plan.services[0];
            service.poll = Duration::from_secs(1);
            has_check = service.check.is_some();
            match &mut service.check {
                Some(Check::Command(check)) => check.time_limit = Some(LIMIT),
                Some(Check::Probe(probe)) => probe.time_limit = LIMIT,
                None => {}
            }
        });
        if has_check {
            let starts = starts(&run.report.trace);
            let starts = starts.values().next().unwrap();
            assert!(
                (495..=500).contains(&starts.len()),
                "seed {seed}: {} runs",
                starts.len()
            );
            let shortest = starts.windows(2).map(|pair| pair[1] - pair[0]).min();
            assert!(shortest >= Some(LIMIT), "seed {seed}: {shortest:?}");
            return;
        }
    }
    panic!("no plan has a check");
}
