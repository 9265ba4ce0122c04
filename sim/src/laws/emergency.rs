//! Laws of an emergency: what must be true after a fault of the program itself, until the exit.
//!
//! From then on they are asked instead of the others: nothing that was to be done goes on (src/domain/emergency.rs).

use super::observer::{Kind, Observer};
use super::{Verdict, hold};
use crate::trace::{Entry, What};
use domain::catalogue::{Answer, Request};
use domain::emergency::FAULT;
use domain::plan::StopTimeout;
use domain::signal::Signal;
use domain::time::Duration;
use domain::{Effect, Event, Instant, Ticket};
use std::collections::{BTreeMap, BTreeSet};

/// How long the deregistrations may take (docs/bounds.md).
const DEREGISTRATION: Duration = Duration::from_secs(2);
/// How long children may take to stop at the most (docs/bounds.md).
const LONGEST_GRACE: Duration = Duration::from_secs(60);
/// How long killed children may take to be gone (docs/bounds.md).
const DEATH: Duration = Duration::from_secs(2);

/// What an observer knows of an emergency.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Emergency {
    at: Instant,
    /// How long children may take to stop: the plan in force says it, or the one that just came into force.
    grace: (Duration, Duration),
    /// The fault came while this child was started: it may run.
    starting: Option<Ticket>,
    told: BTreeSet<Ticket>,
    killed: BTreeMap<Ticket, Instant>,
    /// The deregistrations asked for since, and those that were answered.
    asked: BTreeMap<Ticket, String>,
    deregistered: BTreeSet<String>,
    /// The catalogue may be another than the one that is asked.
    moves: bool,
}

impl Emergency {
    /// The fault comes now.
    pub(super) fn new(observer: &Observer) -> Self {
        let grace = |timeout: StopTimeout| timeout.grace().min(LONGEST_GRACE);
        let own = grace(observer.plan().stop_timeout);
        let other = observer
            .incoming
            .as_ref()
            .map_or(own, |(plan, _)| grace(plan.stop_timeout));
        let catalogue =
            |incoming: &super::observer::Followed| incoming.catalogue != observer.plan().catalogue;
        Self {
            at: observer.now,
            grace: (own.min(other), own.max(other)),
            starting: observer.turn.starting,
            told: BTreeSet::new(),
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
            What::Does(Effect::Send(ticket, Signal::TERM, _)) => drop(self.told.insert(*ticket)),
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
    fn bound(&self) -> Instant {
        self.at + (self.grace.1 + DEATH).max(DEREGISTRATION)
    }
}

/// Whether the first turn of the emergency is over with this entry.
fn has_begun(entry: &Entry) -> bool {
    matches!(entry.what, What::Rests(_) | What::Does(Effect::Exit(_)))
}

/// After a fault nothing begins: no child is started, nothing is read, and the catalogue is asked only to remove
/// entries, for two seconds at the most.
pub(super) fn an_emergency_begins_nothing(observer: &Observer, entry: &Entry) -> Verdict {
    let begins = match &entry.what {
        What::Does(Effect::Ask { request, limit, .. }) => {
            !matches!(request, Request::Deregister(_)) || *limit > DEREGISTRATION
        }
        What::Does(Effect::Start(..) | Effect::Load(_) | Effect::Connect(_)) => true,
        _ => false,
    };
    hold(observer.emergency.is_none() || !begins, || format!("{entry}"))
}

/// After a fault all children are told to stop at once.
pub(super) fn an_emergency_tells_all_children_to_stop(observer: &Observer, entry: &Entry) -> Verdict {
    let Some(emergency) = observer.emergency.as_ref().filter(|_| has_begun(entry)) else {
        return Ok(());
    };
    let untold = observer
        .children
        .iter()
        .find(|(ticket, _)| !emergency.told.contains(ticket));
    hold(untold.is_none(), || {
        format!("{:?} is not told", untold.map(|(_, run)| &run.whose))
    })
}

/// After a fault a child that runs is killed only when it had its grace; one that may never have been started, as soon
/// as nothing else is waited for.
pub(super) fn an_emergency_kills_after_the_grace(observer: &Observer, entry: &Entry) -> Verdict {
    let (Some(emergency), What::Does(Effect::Send(ticket, Signal::KILL, _))) =
        (&observer.emergency, &entry.what)
    else {
        return Ok(());
    };
    let runs = observer.children.contains_key(ticket) && emergency.starting != Some(*ticket);
    hold(!runs || entry.at >= emergency.at + emergency.grace.0, || {
        format!("{entry}")
    })
}

/// After a fault everything that stands in the catalogue is to be deregistered, at once.
pub(super) fn an_emergency_deregisters_what_stands(observer: &Observer, entry: &Entry) -> Verdict {
    let Some(emergency) = observer.emergency.as_ref().filter(|_| has_begun(entry)) else {
        return Ok(());
    };
    if emergency.moves || observer.landed_late {
        return Ok(());
    }
    let asked = |id: &&String| emergency.asked.values().any(|asked| asked == *id);
    let left = observer.standing.iter().find(|id| !asked(id));
    hold(left.is_none(), || format!("{left:?} stands"))
}

/// After a fault the exit comes when all children are gone, or were killed and had two seconds to be gone, and when the
/// catalogue answered, or had two seconds for it.
pub(super) fn an_emergency_waits_for_what_it_asked(observer: &Observer, entry: &Entry) -> Verdict {
    let (Some(emergency), What::Does(Effect::Exit(_))) = (&observer.emergency, &entry.what) else {
        return Ok(());
    };
    let (starting, now) = (emergency.starting, entry.at);
    let waited = |ticket: &Ticket| emergency.killed.get(ticket).is_some_and(|at| now >= *at + DEATH);
    let left = observer
        .children
        .keys()
        .find(|ticket| starting != Some(**ticket) && !waited(ticket));
    hold(left.is_none(), || "a child is left behind".into())?;
    let deregisters = observer
        .questions
        .values()
        .any(|asked| asked.kind == Kind::Deregister);
    let in_time = now < emergency.at + DEREGISTRATION;
    hold(!(deregisters && in_time), || "a deregistration is cut off".into())
}

/// After a fault the exit comes within two seconds, or the grace of children, a minute at the most, and two seconds
/// more.
pub(super) fn an_emergency_ends_in_time(observer: &Observer, entry: &Entry) -> Verdict {
    let (Some(emergency), What::Rests(deadline)) = (&observer.emergency, &entry.what) else {
        return Ok(());
    };
    // A late wake-up delays what follows from it.
    let bound = emergency.bound().max(observer.turn.began + DEATH);
    hold(deadline.is_some_and(|deadline| deadline <= bound), || {
        format!("{entry}")
    })
}

/// After a fault the exit code is 70.
pub(super) fn an_emergency_ends_with_70(observer: &Observer, entry: &Entry) -> Verdict {
    let (Some(_), What::Does(Effect::Exit(code))) = (&observer.emergency, &entry.what) else {
        return Ok(());
    };
    hold(*code == FAULT, || format!("{entry}"))
}

/// What was deregistered after a fault stays away.
pub(super) fn what_an_emergency_deregistered_stays_away(observer: &Observer, entry: &Entry) -> Verdict {
    let (Some(emergency), What::Does(Effect::Exit(_))) = (&observer.emergency, &entry.what) else {
        return Ok(());
    };
    let stands = emergency
        .deregistered
        .iter()
        .find(|id| observer.standing.contains(*id));
    hold(stands.is_none() || observer.landed_late, || {
        format!("{stands:?} stands")
    })
}
