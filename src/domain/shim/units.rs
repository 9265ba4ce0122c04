//! All units in one map, with an index of their deadlines.
//!
//! Decides the order in which units act that are due at the same time: the order of their IDs. What a unit does at an
//! event is decided by the unit.

use super::backend::BackendUnit;
use super::dependency::DependencyUnit;
use super::id::UnitId;
use super::job::JobUnit;
use super::outbox::{Outbox, Reply};
use super::sensor::SensorUnit;
use super::service::ServiceUnit;
use super::template::TemplateUnit;
use super::unit::Unit;
use crate::event::Ticket;
use crate::process::Ending;
use crate::state_key::{Keyed, StateKey, write_variant};
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

/// A unit of any kind. Only a pointer to it is in the map, so that a small unit does not take the memory of the largest kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum AnyUnit {
    Service(Box<ServiceUnit>),
    Backend(Box<BackendUnit>),
    /// The application, a hook, a task or a coprocess.
    Job(Box<JobUnit>),
    Sensor(Box<SensorUnit>),
    Dependency(Box<DependencyUnit>),
    Template(Box<TemplateUnit>),
}

/// Does the same with a unit of any kind.
macro_rules! each {
    ($any:expr, $unit:ident => $call:expr) => {
        match $any {
            AnyUnit::Service($unit) => $call,
            AnyUnit::Backend($unit) => $call,
            AnyUnit::Job($unit) => $call,
            AnyUnit::Sensor($unit) => $call,
            AnyUnit::Dependency($unit) => $call,
            AnyUnit::Template($unit) => $call,
        }
    };
}

impl Unit for AnyUnit {
    fn deadline(&self) -> Option<Instant> {
        each!(self, unit => unit.deadline())
    }

    fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        each!(self, unit => unit.on_time(now, out));
    }

    fn after_standstill(&mut self, now: Instant) {
        each!(self, unit => unit.after_standstill(now));
    }

    fn on_printed(&mut self, ticket: Ticket, text: String) {
        each!(self, unit => unit.on_printed(ticket, text));
    }

    fn on_ended(&mut self, now: Instant, ticket: Ticket, ending: &Ending, outlived: bool, out: &mut Outbox) {
        each!(self, unit => unit.on_ended(now, ticket, ending, outlived, out));
    }

    fn on_tree_ended(&mut self) {
        each!(self, unit => unit.on_tree_ended());
    }

    fn on_reply(&mut self, now: Instant, reply: Reply, listed: usize, out: &mut Outbox) {
        each!(self, unit => unit.on_reply(now, reply, listed, out));
    }

    fn let_block(&mut self, now: Instant) {
        each!(self, unit => unit.let_block(now));
    }

    fn stop_blocking(&mut self, out: &mut Outbox) {
        each!(self, unit => unit.stop_blocking(out));
    }

    fn is_sent_again(&self) -> bool {
        each!(self, unit => unit.is_sent_again())
    }

    fn pause(&mut self, now: Instant, out: &mut Outbox) {
        each!(self, unit => unit.pause(now, out));
    }

    fn resume(&mut self, now: Instant, out: &mut Outbox) {
        each!(self, unit => unit.resume(now, out));
    }

    fn close(&mut self, now: Instant, out: &mut Outbox) {
        each!(self, unit => unit.close(now, out));
    }

    fn terminate(&mut self, now: Instant, out: &mut Outbox) {
        each!(self, unit => unit.terminate(now, out));
    }

    fn is_closing(&self) -> bool {
        each!(self, unit => unit.is_closing())
    }

    fn delays_plan(&self) -> bool {
        each!(self, unit => unit.delays_plan())
    }

    fn has_deregistered(&self) -> bool {
        each!(self, unit => unit.has_deregistered())
    }

    fn listed(&self) -> usize {
        each!(self, unit => unit.listed())
    }
}

/// A unit with what the indexes hold about it.
#[derive(Clone)]
struct Entry {
    unit: AnyUnit,
    deadline: Option<Instant>,
    listed: usize,
}

/// The units, in the order of their IDs. Two are equal if they hold the same units: the indexes follow from them.
#[derive(Clone, Default)]
pub(super) struct Units {
    entries: BTreeMap<UnitId, Entry>,
    indexes: Indexes,
}

#[derive(Clone, Default)]
struct Indexes {
    /// The units that have a deadline, the first one first.
    due: BTreeSet<(Instant, UnitId)>,
    /// How many bytes the lists of all backends take.
    listed: usize,
}

impl Indexes {
    /// The unit was changed.
    fn update(&mut self, id: UnitId, entry: &mut Entry) {
        let (deadline, listed) = (entry.unit.deadline(), entry.unit.listed());
        if deadline != entry.deadline {
            self.remove(id, entry.deadline);
            self.due.extend(deadline.map(|at| (at, id)));
            entry.deadline = deadline;
        }
        self.listed = self.listed - entry.listed + listed;
        entry.listed = listed;
    }

    fn remove(&mut self, id: UnitId, deadline: Option<Instant>) {
        if let Some(at) = deadline {
            self.due.remove(&(at, id));
        }
    }
}

impl Units {
    /// When the first unit is due.
    pub fn deadline(&self) -> Option<Instant> {
        self.indexes.due.first().map(|(at, _)| *at)
    }

    /// The units that are due, in the order in which they act.
    pub fn due(&self, now: Instant) -> Vec<UnitId> {
        let due = self.indexes.due.iter().take_while(|(at, _)| *at <= now);
        let mut due: Vec<UnitId> = due.map(|(_, id)| *id).collect();
        due.sort_unstable();
        due
    }

    /// How many bytes the lists of all backends take.
    pub fn listed(&self) -> usize {
        self.indexes.listed
    }

    pub fn insert(&mut self, id: UnitId, unit: AnyUnit) {
        self.remove(id);
        let entry = Entry {
            unit,
            deadline: None,
            listed: 0,
        };
        let entry = self.entries.entry(id).or_insert(entry);
        self.indexes.update(id, entry);
    }

    pub fn remove(&mut self, id: UnitId) -> Option<AnyUnit> {
        let entry = self.entries.remove(&id)?;
        self.indexes.remove(id, entry.deadline);
        self.indexes.listed -= entry.listed;
        Some(entry.unit)
    }

    pub fn get(&self, id: UnitId) -> Option<&AnyUnit> {
        self.entries.get(&id).map(|entry| &entry.unit)
    }

    pub fn iter(&self) -> impl Iterator<Item = (UnitId, &AnyUnit)> {
        self.entries.iter().map(|(id, entry)| (*id, &entry.unit))
    }

    /// Changes a unit, if it is there.
    pub fn change<T>(&mut self, id: UnitId, change: impl FnOnce(&mut AnyUnit) -> T) -> Option<T> {
        let entry = self.entries.get_mut(&id)?;
        let changed = change(&mut entry.unit);
        self.indexes.update(id, entry);
        Some(changed)
    }

    /// Changes every unit, in order.
    pub fn change_all(&mut self, mut change: impl FnMut(&mut AnyUnit)) {
        self.retain(|_, unit| {
            change(unit);
            true
        });
    }

    /// Changes every unit, in order, and keeps those for which `change` returns true.
    pub fn retain(&mut self, mut change: impl FnMut(UnitId, &mut AnyUnit) -> bool) {
        let indexes = &mut self.indexes;
        self.entries.retain(|id, entry| {
            let stays = change(*id, &mut entry.unit);
            if stays {
                indexes.update(*id, entry);
            } else {
                indexes.remove(*id, entry.deadline);
                indexes.listed -= entry.listed;
            }
            stays
        });
    }

    pub fn services(&self) -> impl Iterator<Item = &ServiceUnit> {
        self.iter().filter_map(|(_, unit)| match unit {
            AnyUnit::Service(unit) => Some(&**unit),
            _ => None,
        })
    }

    pub fn backends(&self) -> impl Iterator<Item = (UnitId, &BackendUnit)> {
        self.iter().filter_map(|(id, unit)| match unit {
            AnyUnit::Backend(unit) => Some((id, &**unit)),
            _ => None,
        })
    }

    pub fn jobs(&self) -> impl Iterator<Item = &JobUnit> {
        self.iter().filter_map(|(_, unit)| match unit {
            AnyUnit::Job(unit) => Some(&**unit),
            _ => None,
        })
    }

    pub fn sensors(&self) -> impl Iterator<Item = &SensorUnit> {
        self.iter().filter_map(|(_, unit)| match unit {
            AnyUnit::Sensor(unit) => Some(&**unit),
            _ => None,
        })
    }

    pub fn job(&self, id: UnitId) -> Option<&JobUnit> {
        match self.get(id) {
            Some(AnyUnit::Job(unit)) => Some(unit),
            _ => None,
        }
    }

    pub fn change_job<T>(&mut self, id: UnitId, change: impl FnOnce(&mut JobUnit) -> T) -> Option<T> {
        let change = |unit: &mut AnyUnit| match unit {
            AnyUnit::Job(unit) => Some(change(unit)),
            _ => None,
        };
        self.change(id, change).flatten()
    }

    pub fn templates(&self) -> impl Iterator<Item = (UnitId, &TemplateUnit)> {
        self.iter().filter_map(|(id, unit)| match unit {
            AnyUnit::Template(unit) => Some((id, &**unit)),
            _ => None,
        })
    }

    pub fn dependencies(&self) -> impl Iterator<Item = (UnitId, &DependencyUnit)> {
        self.iter().filter_map(|(id, unit)| match unit {
            AnyUnit::Dependency(unit) => Some((id, &**unit)),
            _ => None,
        })
    }

    pub fn change_template<T>(
        &mut self,
        id: UnitId,
        change: impl FnOnce(&mut TemplateUnit) -> T,
    ) -> Option<T> {
        let change = |unit: &mut AnyUnit| match unit {
            AnyUnit::Template(unit) => Some(change(unit)),
            _ => None,
        };
        self.change(id, change).flatten()
    }

    pub fn change_dependency<T>(
        &mut self,
        id: UnitId,
        change: impl FnOnce(&mut DependencyUnit) -> T,
    ) -> Option<T> {
        let change = |unit: &mut AnyUnit| match unit {
            AnyUnit::Dependency(unit) => Some(change(unit)),
            _ => None,
        };
        self.change(id, change).flatten()
    }

    /// Whether the indexes are those that follow from the units.
    pub fn is_indexed(&self) -> bool {
        let deadlines = self.iter().filter_map(|(id, unit)| Some((unit.deadline()?, id)));
        let (mut number, mut known) = (0, true);
        for deadline in deadlines {
            number += 1;
            known &= self.indexes.due.contains(&deadline);
        }
        let listed: usize = self.iter().map(|(_, unit)| unit.listed()).sum();
        known && number == self.indexes.due.len() && listed == self.indexes.listed
    }
}

impl fmt::Debug for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl PartialEq for Units {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Units {}

impl PartialOrd for Units {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Units {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl Hash for Units {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entries.len().hash(state);
        self.iter().for_each(|unit| unit.hash(state));
    }
}

/// The units; the indexes follow from them.
impl Keyed for Units {
    fn write_key(&self, key: &mut impl StateKey) {
        let Self { entries, indexes: _ } = self;
        entries.len().write_key(key);
        for (id, entry) in entries {
            let Entry {
                unit,
                deadline: _,
                listed: _,
            } = entry;
            id.write_key(key);
            unit.write_key(key);
        }
    }
}

impl Keyed for AnyUnit {
    fn write_key(&self, key: &mut impl StateKey) {
        write_variant(self, key);
        each!(self, unit => unit.write_key(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Command, Job, Output, Role, Trigger};
    use crate::shim::id::Serial;
    use crate::time::{Duration, Jitter};
    use std::hash::DefaultHasher;

    const fn at(seconds: u64) -> Instant {
        Instant::after_start(Duration::from_secs(seconds))
    }

    /// A task that is due for the first time after one period.
    fn task(id: UnitId, period: u64) -> AnyUnit {
        let role = Role::Task { name: "t".into() };
        let trigger = Trigger::Every(Duration::from_secs(period));
        let job = Job::new(role, Command::new("true", []), trigger, Output::Log);
        AnyUnit::Job(Box::new(JobUnit::new(at(0), id, &job, Jitter::new(1))))
    }

    fn hash(units: &Units) -> u64 {
        let mut hasher = DefaultHasher::new();
        units.hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn units_that_are_due_act_in_the_order_of_their_ids() {
        let mut units = Units::default();
        let ids = [3, 1, 2, 4].map(|number| UnitId::Job(Serial(number)));
        for (id, period) in ids.into_iter().zip([5, 7, 6, 9]) {
            units.insert(id, task(id, period));
        }
        assert_eq!(units.deadline(), Some(at(5)));
        assert_eq!(units.due(at(4)), []);
        assert_eq!(
            units.due(at(7)),
            [1, 2, 3].map(|number| UnitId::Job(Serial(number)))
        );
    }

    #[test]
    fn the_index_follows_each_change() {
        let mut units = Units::default();
        let [first, second] = [1, 2].map(|number| UnitId::Job(Serial(number)));
        units.insert(first, task(first, 5));
        units.insert(second, task(second, 6));
        let mut out = Outbox::new(Jitter::new(1));
        units.change(first, |unit| unit.on_time(at(5), &mut out));
        assert_eq!(units.deadline(), Some(at(6)), "a task that runs is not due");
        units.change_all(|unit| unit.pause(at(5), &mut out));
        assert_eq!(units.deadline(), None);
        units.change_all(|unit| unit.resume(at(5), &mut out));
        units.insert(second, task(second, 7));
        assert_eq!(units.deadline(), Some(at(7)), "it replaced the one before");
        assert!(units.is_indexed());
        units.retain(|id, _| id == first);
        assert_eq!(units.deadline(), None);
        units.remove(first);
        assert_eq!(units, Units::default());
        assert!(units.is_indexed());
    }

    #[test]
    fn units_are_equal_whatever_happened_before() {
        let [first, second] = [1, 2].map(|number| UnitId::Job(Serial(number)));
        let (mut one, mut other) = (Units::default(), Units::default());
        one.insert(first, task(first, 5));
        other.insert(second, task(second, 6));
        assert_ne!(one, other);
        other.insert(first, task(first, 5));
        other.remove(second);
        assert_eq!((&one, hash(&one)), (&other, hash(&other)));
        assert_eq!(one.cmp(&other), Ordering::Equal);
    }
}
