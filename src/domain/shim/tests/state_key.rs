//! The key of a state: which fields of the core are in it.

use super::*;
use crate::state_key::{Keyed, StateKey};
use std::hash::{DefaultHasher, Hasher};

/// A field of the core, and a change of it with another core at hand.
type Change = (&'static str, fn(&mut Shim, &Shim));

/// Writes everything as it is.
#[derive(Default)]
struct Exact(DefaultHasher);

impl StateKey for Exact {
    type Values = DefaultHasher;

    fn values(&mut self) -> &mut DefaultHasher {
        &mut self.0
    }

    fn instant(&mut self, since_start: Duration) {
        since_start.write_key(self);
    }

    fn ticket(&mut self, number: u64) {
        self.0.write_u64(number);
    }

    fn unit(&mut self, number: u32) {
        self.0.write_u32(number);
    }
}

fn key(shim: &Shim) -> u64 {
    let mut exact = Exact::default();
    shim.write_key(&mut exact);
    exact.0.finish()
}

fn other_plan() -> Plan {
    let mut other = full();
    other.stop_timeout = StopTimeout::Immediately;
    other
}

#[test]
fn every_field_of_the_core_that_affects_a_decision_is_in_the_key() {
    let base = Fixture::running(full()).shim;
    let other = Fixture::running(other_plan()).shim;
    let changes: [Change; 9] = [
        ("plan", |shim, other| shim.plan = other.plan.clone()),
        ("lifecycle", |shim, _| shim.lifecycle.will_exit_with(9)),
        ("maintenance", |shim, _| shim.maintenance = true),
        ("units", |shim, _| shim.units.retain(|_, _| false)),
        ("pending_plan", |shim, other| {
            shim.receive(Instant::START, other.plan.clone(), Vec::new())
        }),
        ("kept", |shim, _| shim.kept.push(Signal::HUP)),
        ("standstill", |shim, _| {
            let late = Instant::after_start(Duration::from_secs(9));
            shim.standstill.on_step(Some(Instant::START), late);
        }),
        ("out: the reading", |shim, _| shim.out.load()),
        ("out: the budget", |shim, _| shim.out.set_budget(Some(5))),
    ];
    for (name, change) in changes {
        let mut changed = base.clone();
        change(&mut changed, &other);
        assert_ne!(key(&changed), key(&base), "{name}");
    }
}

#[test]
fn what_affects_no_decision_is_not_in_the_key() {
    let base = Fixture::running(full()).shim;
    let mut changed = base.clone();
    changed.jitter.split();
    changed.last_unit += 1;
    assert_ne!(changed, base);
    assert_eq!(key(&changed), key(&base));
}
