//! The state of an emergency since the fault of the program itself.

use super::{Observer, SharedPlan};
use crate::laws::bounds::{EMERGENCY_DEATH, EMERGENCY_DEREGISTRATION, EMERGENCY_GRACE};
use crate::trace::{EntryKind, TraceEntry};
use domain::catalogue::{Answer, Request};
use domain::plan::StopTimeout;
use domain::signal::Signal;
use domain::time::Duration;
use domain::{Effect, Event, Instant, Ticket};
use std::collections::{BTreeMap, BTreeSet};

/// The state of an emergency.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Emergency {
    pub at: Instant,
    /// The time between SIGTERM and SIGKILL, according to the plan in force or the one that has just come
    /// into force.
    pub grace: (Duration, Duration),
    /// The child that was being started when the fault came; it may run.
    pub starting: Option<Ticket>,
    pub termed: BTreeSet<Ticket>,
    pub killed: BTreeMap<Ticket, Instant>,
    /// The deregistrations that were sent since, and those that were answered.
    pub asked: BTreeMap<Ticket, String>,
    pub deregistered: BTreeSet<String>,
    /// Whether the registrations may be in another catalogue than the one in use.
    pub moves: bool,
}

impl Emergency {
    /// The state at the time of the fault.
    pub(super) fn new(observer: &Observer) -> Self {
        let grace = |timeout: StopTimeout| timeout.grace().min(EMERGENCY_GRACE);
        let own = grace(observer.plan().stop_timeout);
        let other = observer
            .incoming
            .as_ref()
            .map_or(own, |(plan, _)| grace(plan.stop_timeout));
        let catalogue = |incoming: &SharedPlan| incoming.catalogue != observer.plan().catalogue;
        Self {
            at: observer.now,
            grace: (own.min(other), own.max(other)),
            starting: observer.turn.starting,
            termed: BTreeSet::new(),
            killed: BTreeMap::new(),
            asked: BTreeMap::new(),
            deregistered: BTreeSet::new(),
            moves: observer
                .incoming
                .as_ref()
                .is_some_and(|(plan, _)| catalogue(plan)),
        }
    }

    /// Adds an entry.
    pub(super) fn add(&mut self, entry: &TraceEntry) {
        match &entry.kind {
            EntryKind::Effect(Effect::Send(ticket, Signal::KILL, _)) => {
                self.killed.entry(*ticket).or_insert(entry.at);
            }
            EntryKind::Effect(Effect::Send(ticket, ..)) => drop(self.termed.insert(*ticket)),
            EntryKind::Effect(Effect::Request {
                ticket,
                request: Request::Deregister(registration),
                ..
            }) => {
                self.asked.insert(*ticket, registration.id.clone());
            }
            EntryKind::Event(Event::Answered(ticket, Answer::Done)) => {
                self.deregistered.extend(self.asked.get(ticket).cloned());
            }
            _ => {}
        }
    }

    /// When the exit must have come.
    pub fn bound(&self) -> Instant {
        self.at + (self.grace.1 + EMERGENCY_DEATH).max(EMERGENCY_DEREGISTRATION)
    }
}

domain::keyed!(Emergency {
    at,
    grace,
    starting,
    termed,
    killed,
    asked,
    deregistered,
    moves
});
