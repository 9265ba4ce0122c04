//! Measures how the core's time for a plan grows with the size of the plan: `cargo bench -p containerpilot-domain --bench plan`. Fails if a
//! step takes more than a second with ten thousand services and as many backends.
//!
//! One step each is measured: the one that opens a plan, the one in which everything is due, one that concerns no unit,
//! the answer to one heartbeat, the one that receives the same plan again, the one that receives a plan in which every
//! service has changed, and the one that begins to stop. Only the core runs, with and without a budget of requests;
//! its effects are not performed.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a measurement reads the clock, prints what it found and may fail by panicking"
)]

use domain::catalogue::Answer;
use domain::event::Loaded;
use domain::plan::{
    Backend, Catalogue, Command, Filter, HEARTBEATS_PER_INSPECTION, HealthActions, Job, Output, Plan,
    Registration, Role, Service, StopTimeout, Timing, Trigger,
};
use domain::process::Pid;
use domain::signal::Signal;
use domain::{Effect, Event, Instant, Shim};
use std::time::Duration;

const FEW: u16 = 1_000;
const MANY: u16 = 10_000;
const LIMIT: Duration = Duration::from_secs(1);
/// How many times each step is measured; the shortest time counts.
const TIMES: usize = 5;

fn main() {
    let mut failed = false;
    for budget in [None, Some(16), Some(1000)] {
        let few = measured(FEW, budget);
        let many = measured(MANY, budget);
        for ((what, few), (_, many)) in few.into_iter().zip(many) {
            let ratio = many.as_secs_f64() / few.as_secs_f64();
            failed |= many > LIMIT;
            println!("budget {budget:?}, {what}: {few:.2?} and {many:.2?}, ratio {ratio:.1}");
        }
    }
    assert!(!failed, "a step takes more than {LIMIT:?}");
}

/// The shortest time of each step with this number of services and of backends.
fn measured(number: u16, budget: Option<u32>) -> Vec<(&'static str, Duration)> {
    let mut shortest: Vec<(&'static str, Duration)> = Vec::new();
    for _ in 0..TIMES {
        for (place, (what, took)) in life(number, budget).into_iter().enumerate() {
            match shortest.get_mut(place) {
                Some(known) => known.1 = known.1.min(took),
                None => shortest.push((what, took)),
            }
        }
    }
    shortest
}

fn life(number: u16, budget: Option<u32>) -> Vec<(&'static str, Duration)> {
    let (plan, changed) = (plan(number, 1, budget), self::plan(number, 2, budget));
    let mut shim = Shim::new(plan.clone(), 1);
    let mut took = Vec::new();
    let mut step = |shim: &mut Shim, what, second, event| {
        let began = std::time::Instant::now();
        let effects = shim.step(at(second), event);
        took.push((what, began.elapsed()));
        effects
    };
    step(&mut shim, "opening", 0, Event::Begin);
    let effects = step(&mut shim, "a first heartbeat of all", 10, Event::Woken);
    assert!(effects.len() > 4, "they send requests");
    step(&mut shim, "an orphan", 10, Event::OrphanReaped(Pid(1)));
    let answered = Event::Answered(first_request(&effects), Answer::Done);
    step(&mut shim, "one answer", 10, answered);
    for (what, plan) in [("the same plan again", plan), ("every service changed", changed)] {
        let ticket = asked_to_load(&shim.step(at(10), Event::Signal(Signal::HUP)));
        let loaded = Loaded::Plan {
            plan: plan.into(),
            notices: Vec::new(),
        };
        step(&mut shim, what, 10, Event::Loaded(ticket, loaded));
    }
    step(&mut shim, "stopping", 11, Event::Signal(Signal::TERM));
    took
}

fn first_request(effects: &[Effect]) -> domain::Ticket {
    let ask = effects.iter().find_map(|effect| match effect {
        Effect::Request { ticket, .. } => Some(*ticket),
        _ => None,
    });
    ask.unwrap()
}

fn asked_to_load(effects: &[Effect]) -> domain::Ticket {
    let load = effects.iter().find_map(|effect| match effect {
        Effect::Load(ticket) => Some(*ticket),
        _ => None,
    });
    load.unwrap()
}

const fn at(seconds: u64) -> Instant {
    Instant::after_start(Duration::from_secs(seconds))
}

fn plan(number: u16, port: u16, budget: Option<u32>) -> Plan {
    Plan {
        services: (0..number).map(|number| service(number, port)).collect(),
        backends: (0..number).map(backend).collect(),
        stop_timeout: StopTimeout::After(Duration::from_secs(5)),
        max_connections: budget,
        ..Plan::new(Catalogue::Directory { path: "/run".into() })
    }
}

fn service(number: u16, port: u16) -> Service {
    let name = format!("service-with-a-name-of-some-length-{number}");
    Service {
        registration: Registration {
            id: format!("{name}-host"),
            name,
            address: [192, 0, 2, 1].into(),
            port,
            tags: Vec::new(),
            ttl: Duration::from_secs(30),
            enable_tag_override: false,
            deregister_critical_after: None,
            attributes: Box::default(),
        },
        poll: Duration::from_secs(10),
        check: None,
        thresholds: None,
        checks: vec![],
        actions: HealthActions::default(),
        heartbeats_per_inspection: HEARTBEATS_PER_INSPECTION,
    }
}

fn backend(number: u16) -> Backend {
    let name = format!("backend-with-a-name-of-some-length-{number}");
    let role = Role::OnChange {
        backend: name.clone(),
    };
    Backend {
        name,
        tag: None,
        poll: Duration::from_secs(10),
        on_change: Job::new(role, Command::new("true", []), Trigger::OnDemand, Output::Inherit),
        filter: Filter::default(),
        timing: Timing::default(),
        json: false,
    }
}
