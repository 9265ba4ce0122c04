//! What is known of an emergency: what was done since the fault of the program itself.

use super::{Observer, SharedPlan};
use crate::laws::bounds::{EMERGENCY_DEATH, EMERGENCY_DEREGISTRATION, EMERGENCY_GRACE};
use crate::trace::{Entry, What};
use domain::catalogue::{Answer, Request};
use domain::plan::StopTimeout;
use domain::signal::Signal;
use domain::time::Duration;
use domain::{Effect, Event, Instant, Ticket};
use std::collections::{BTreeMap, BTreeSet};

/// What an observer knows of an emergency.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Emergency {
    pub at: Instant,
    /// How long children may take to stop: the plan in force says it, or the one that just came into force.
    pub grace: (Duration, Duration),
    /// The fault came while this child was started: it may run.
    pub starting: Option<Ticket>,
    pub termed: BTreeSet<Ticket>,
    pub killed: BTreeMap<Ticket, Instant>,
    /// The deregistrations asked for since, and those that were answered.
    pub asked: BTreeMap<Ticket, String>,
    pub deregistered: BTreeSet<String>,
    /// The catalogue may be another than the one that is asked.
    pub moves: bool,
}

impl Emergency {
    /// The fault comes now.
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

    /// Remembers what happened since.
    pub(super) fn remembers(&mut self, entry: &Entry) {
        match &entry.what {
            What::Does(Effect::Send(ticket, Signal::TERM, _)) => drop(self.termed.insert(*ticket)),
            What::Does(Effect::Send(ticket, Signal::KILL, _)) => {
                self.killed.entry(*ticket).or_insert(entry.at);
            }
            What::Does(Effect::Ask {
                ticket,
                request: Request::Deregister(registration),
                ..
            }) => {
                self.asked.insert(*ticket, registration.id.clone());
            }
            What::Happens(Event::Answered(ticket, Answer::Done)) => {
                self.deregistered.extend(self.asked.get(ticket).cloned());
            }
            _ => {}
        }
    }

    /// The time by which it is over.
    pub fn bound(&self) -> Instant {
        self.at + (self.grace.1 + EMERGENCY_DEATH).max(EMERGENCY_DEREGISTRATION)
    }
}
