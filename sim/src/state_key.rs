//! When two states of an exploration are equal: a hash of the values that may affect a decision or a law.
//!
//! Tickets and units count by the order in which they are named, past instants not at all, future ones by their order.
//! Of the observer's instants only their presence counts. Which fields are left out is written beside each type, in
//! its [`domain::keyed!`] or its [`Keyed`]: jitter, the numbers of the next ticket and unit, how many runs ended at once
//! (it matters only to jobs with unlimited restarts), and what only notices, measurements or `/status` show, because no law
//! reads those.

use domain::state_key::{Keyed, StateKey};
use domain::time::Duration;
use domain::{Instant, Shim};
use std::hash::{DefaultHasher, Hasher};

/// The keys of states. It keeps its buffers.
#[derive(Debug, Default)]
pub(crate) struct StateKeys {
    futures: Futures,
    tickets: Vec<u64>,
    units: Vec<u32>,
}

impl StateKeys {
    /// Two states with the same key are equal. `limits` are the time limits of the environment.
    pub fn of(
        &mut self,
        shim: &Shim,
        limits: &impl Keyed,
        observer: &impl Keyed,
        now: Instant,
    ) -> (u64, u64) {
        let now = now.since_start();
        self.tickets.clear();
        self.units.clear();
        self.futures.collect(now, shim, limits);
        let mut writer = Writer {
            hasher: DefaultHasher::new(),
            now,
            keys: self,
            observes: false,
        };
        shim.write_key(&mut writer);
        limits.write_key(&mut writer);
        writer.observes = true;
        observer.write_key(&mut writer);
        let first = writer.hasher.finish();
        writer.hasher.write_u8(1);
        (first, writer.hasher.finish())
    }
}

/// The instants of a state that lie in the future, in order.
#[derive(Debug, Default)]
struct Futures {
    now: Duration,
    instants: Vec<Duration>,
    ignored: Ignored,
}

impl Futures {
    fn collect(&mut self, now: Duration, shim: &Shim, limits: &impl Keyed) {
        self.now = now;
        self.instants.clear();
        shim.write_key(self);
        limits.write_key(self);
        self.instants.sort_unstable();
        self.instants.dedup();
    }
}

impl StateKey for Futures {
    type Values = Ignored;

    fn values(&mut self) -> &mut Ignored {
        &mut self.ignored
    }

    fn instant(&mut self, at: Duration) {
        if at > self.now {
            self.instants.push(at);
        }
    }

    fn ticket(&mut self, _number: u64) {}

    fn unit(&mut self, _number: u32) {}
}

/// A hasher that ignores its input.
#[derive(Debug, Default)]
struct Ignored;

impl Hasher for Ignored {
    fn write(&mut self, _bytes: &[u8]) {}

    fn finish(&self) -> u64 {
        0
    }
}

struct Writer<'a> {
    hasher: DefaultHasher,
    now: Duration,
    keys: &'a mut StateKeys,
    /// Whether the observer is written, of whose instants only the presence counts.
    observes: bool,
}

impl StateKey for Writer<'_> {
    type Values = DefaultHasher;

    fn values(&mut self) -> &mut DefaultHasher {
        &mut self.hasher
    }

    fn instant(&mut self, at: Duration) {
        if self.observes {
            return;
        }
        match self.keys.futures.instants.binary_search(&at) {
            Ok(rank) => self.hasher.write_usize(rank + 2),
            Err(_) => self.hasher.write_usize(usize::from(at == self.now)),
        }
    }

    fn ticket(&mut self, number: u64) {
        let place = place(&mut self.keys.tickets, number);
        self.hasher.write_usize(place);
    }

    fn unit(&mut self, number: u32) {
        let place = place(&mut self.keys.units, number);
        self.hasher.write_usize(place);
    }
}

/// The place of a name among those that were named, which it is added to.
fn place<T: PartialEq>(named: &mut Vec<T>, name: T) -> usize {
    named
        .iter()
        .position(|earlier| *earlier == name)
        .unwrap_or_else(|| {
            named.push(name);
            named.len() - 1
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{Observer, OnceRun};
    use crate::scopes;
    use domain::Ticket;
    use domain::plan::Plan;

    /// A field of the observer, and a change of it.
    type Change = (&'static str, fn(&mut Observer));

    /// A part of a state with what the core writes: an instant, a ticket and a value.
    struct Part(u64, u64, u8);

    impl Keyed for Part {
        fn write_key(&self, key: &mut impl StateKey) {
            Instant::after_start(Duration::from_secs(self.0)).write_key(key);
            Ticket(self.1).write_key(key);
            key.values().write_u8(self.2);
        }
    }

    fn plan() -> Plan {
        let (_, scope) = scopes::all()
            .into_iter()
            .find(|(name, _)| *name == "hooks")
            .unwrap();
        scope.plans[0].clone()
    }

    /// The key at 5 s of a state with these limits.
    fn key(parts: [Part; 2]) -> (u64, u64) {
        let now = Instant::after_start(Duration::from_secs(5));
        StateKeys::default().of(
            &Shim::new(plan(), 1),
            &Vec::from(parts),
            &Observer::new(&plan(), false),
            now,
        )
    }

    #[test]
    fn instants_count_by_their_order_and_tickets_by_their_names() {
        let base = key([Part(6, 7, 0), Part(9, 8, 0)]);
        assert_eq!(base, key([Part(7, 70, 0), Part(90, 80, 0)]), "the same order");
        assert_ne!(base, key([Part(9, 7, 0), Part(6, 8, 0)]), "another order");
        assert_ne!(base, key([Part(6, 7, 0), Part(6, 8, 0)]), "at the same time");
        assert_ne!(base, key([Part(6, 7, 0), Part(9, 7, 0)]), "the same ticket");
        assert_ne!(base, key([Part(6, 7, 0), Part(9, 8, 1)]), "another value");
        assert_ne!(
            key([Part(5, 1, 0), Part(4, 2, 0)]),
            key([Part(4, 1, 0), Part(5, 2, 0)]),
            "now and past"
        );
        assert_eq!(
            key([Part(5, 1, 0), Part(4, 2, 0)]),
            key([Part(5, 1, 0), Part(1, 2, 0)]),
            "past instants"
        );
    }

    fn key_of(observer: &Observer) -> (u64, u64) {
        StateKeys::default().of(
            &Shim::new(plan(), 1),
            &Vec::<Ticket>::new(),
            observer,
            Instant::START,
        )
    }

    #[test]
    fn every_field_of_the_observer_is_in_the_key() {
        let changes: [Change; 22] = [
            ("lenient", |observer| observer.lenient = true),
            ("opened", |observer| observer.opened = Some(Instant::START)),
            ("start_cancelled", |observer| observer.start_cancelled = true),
            ("failed_start", |observer| observer.failed_start = true),
            ("maintenance", |observer| observer.maintenance = true),
            ("exited", |observer| observer.exited = true),
            ("code", |observer| observer.code = Some(1)),
            ("application", |observer| {
                observer.application = OnceRun::Running(Ticket(1))
            }),
            ("pre_start", |observer| {
                observer.pre_start = OnceRun::Running(Ticket(1))
            }),
            ("pre_stop", |observer| {
                observer.pre_stop = OnceRun::Running(Ticket(1))
            }),
            ("post_stop", |observer| {
                observer.post_stop = OnceRun::Ended(Instant::START)
            }),
            ("loading", |observer| observer.loading = Some(Ticket(1))),
            ("to_be_read", |observer| observer.to_be_read = true),
            ("left_behind", |observer| observer.left_behind = 1),
            ("remaining", |observer| observer.remaining.ended = true),
            ("entries", |observer| {
                observer.entries.insert("a".into());
            }),
            ("other_instances", |observer| {
                drop(observer.other_instances.insert("a".into(), vec![]))
            }),
            ("keys", |observer| {
                drop(observer.keys.insert("a".into(), "1".into()))
            }),
            ("arrived_late", |observer| observer.arrived_late = true),
            ("refused", |observer| observer.refused = Some(Instant::START)),
            ("cut", |observer| observer.cut = Some(2)),
            ("application_unkillable", |observer| {
                observer.application_unkillable = true
            }),
        ];
        let base = Observer::new(&plan(), false);
        for (name, change) in changes {
            let mut changed = base.clone();
            change(&mut changed);
            assert_ne!(key_of(&changed), key_of(&base), "{name}");
        }
    }
}
