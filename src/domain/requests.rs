//! The budget of requests to the catalogue: how many are in flight, which wait, and which backends' queries
//! may block.
//!
//! A catalogue may accept only a limited number of connections of one client, and a blocking query occupies
//! one until the list changes. So there is a budget, a number of requests in flight, in two shares:
//!
//! - **Services** have one half, rounded up: registrations, heartbeats and deregistrations never wait for a
//!   query. While no query waits, services may also use the free part of the other half. Deregistrations go
//!   first.
//! - **Backends** have the other half, as places. If there are more backends than places, a quarter of the
//!   places, at least one, is kept for short queries, and the others are for blocking queries. A backend
//!   whose blocking query ended without a change passes its place to the next backend in turn; one with a
//!   change keeps it. A backend whose short query returned a change is the next in turn, because what has
//!   changed is likely to change again. Backends without a place send short queries, in the order in which
//!   they become due; while a short query waits, no place is given away.
//!
//! When the catalogue reports that it accepts no more ([`Requests::refused`]), the budget becomes half of the
//! number in flight, at least [`FEWEST`]; nothing is sent during a pause, which grows with each refusal.
//! While the catalogue accepts requests again, the budget grows back, by a sixteenth of the whole every
//! [`GROWTH`].
//!
//! Without a budget nothing waits and every query may block. This module has no access to the
//! contents of requests.

use crate::state_key::{Keyed, StateKey};
use crate::time::{Backoff, Duration, Instant, Jitter, earliest};
use alloc::collections::{BTreeMap, BTreeSet};
use queue::Queue;

/// The smallest budget: one request of a service and one of a backend (docs/bounds.md).
pub const FEWEST: u32 = 2;
/// The time in which a budget that was cut grows back by a sixteenth of the whole (docs/bounds.md).
pub const GROWTH: Duration = Duration::from_secs(10);
/// The first pause after the catalogue refused a request as one too many (docs/bounds.md).
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest such pause (docs/bounds.md).
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The requests of requesters of type `A`, at most one at a time for each.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requests<A> {
    /// The whole budget; `None` if everything may be sent at once.
    most: Option<u32>,
    cut: Option<Cut>,
    in_flight: BTreeMap<A, Kind>,
    deregistrations: Queue<A>,
    heartbeats: Queue<A>,
    queries: Queue<A>,
    /// The backends whose queries may block.
    blocking: BTreeSet<A>,
    /// The other backends, in turn.
    others: Queue<A>,
}

/// The purpose of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// To deregister a service.
    Deregistration,
    /// To register a service or to keep it registered.
    Heartbeat,
    /// To list the instances of a backend.
    Query,
}

/// A budget that was cut.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Cut {
    allowed: u32,
    /// When it was last cut. The refusal of a request that was sent before does not cut it again.
    since: Instant,
    grows: Instant,
    /// Until when nothing is sent.
    pause: Option<Instant>,
    pauses: Backoff,
}

/// A change of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It was whole, and is this number now.
    Cut(u32),
    /// It is whole again, with this number.
    Whole(u32),
}

impl<A: Copy + Ord> Requests<A> {
    /// Without requests and without a budget.
    pub const fn new() -> Self {
        Self {
            most: None,
            cut: None,
            in_flight: BTreeMap::new(),
            deregistrations: Queue::new(),
            heartbeats: Queue::new(),
            queries: Queue::new(),
            blocking: BTreeSet::new(),
            others: Queue::new(),
        }
    }

    /// From now on this is the whole budget. Requests in flight are not cancelled.
    pub fn set_budget(&mut self, most: Option<u32>) {
        if self.most != most {
            self.most = most.map(|most| most.max(FEWEST));
            self.cut = None;
        }
    }

    /// Adds a backend, as the last one in turn for a blocking query.
    pub fn enter(&mut self, backend: A) {
        if !self.blocking.contains(&backend) && !self.others.contains(backend) {
            self.others.push_back(backend);
        }
    }

    /// Removes a backend.
    pub fn leave(&mut self, backend: A) {
        self.blocking.remove(&backend);
        self.others.remove(backend);
    }

    /// Whether the backend's next query may block.
    pub fn may_block(&self, backend: A) -> bool {
        self.most.is_none() || self.blocking.contains(&backend)
    }

    /// Called when the backend got an answer. `blocked`: the query was a blocking one; `changed`: the list
    /// has changed. After a blocking query without a change the place goes to another backend; after a change
    /// the backend keeps its place, or is the next to get one.
    pub fn answered(&mut self, backend: A, blocked: bool, changed: bool) {
        if !changed && blocked {
            self.failed(backend);
        } else if changed && !self.blocking.contains(&backend) && self.others.contains(backend) {
            self.others.remove(backend);
            self.others.push_front(backend);
        }
    }

    /// Called when the backend's query failed: its place goes to another backend, if one can use it.
    pub fn failed(&mut self, backend: A) {
        let is_wanted = !self.others.is_empty() || !self.queries.is_empty();
        if is_wanted && self.blocking.contains(&backend) {
            self.give_up(backend);
        }
    }

    /// Gives a free place to a backend without one. Returns the backend, whose query may block from now on.
    pub fn grant(&mut self) -> Option<A> {
        let room = self.most.is_none() || (self.queries.is_empty() && self.blocking.len() < self.places());
        let next = if room { self.others.pop_front() } else { None }?;
        self.blocking.insert(next);
        Some(next)
    }

    /// Takes a place from a backend, if there are more of them than places. Returns the backend, whose query
    /// may block no more.
    pub fn revoke(&mut self) -> Option<A> {
        let surplus = self.most.is_some() && self.blocking.len() > self.places();
        let last = self.blocking.last().copied().filter(|_| surplus)?;
        self.give_up(last);
        Some(last)
    }

    /// Adds a request to those that wait.
    pub fn push(&mut self, requester: A, kind: Kind) {
        self.queue(kind).push_back(requester);
    }

    /// The next requester that may send its request; from now on the request is in flight.
    pub fn next(&mut self, now: Instant) -> Option<A> {
        let paused = self.cut.as_ref().and_then(|cut| cut.pause);
        if paused.is_some_and(|until| now < until) {
            return None;
        }
        let kind = [Kind::Deregistration, Kind::Heartbeat, Kind::Query]
            .into_iter()
            .find(|kind| !self.queue(*kind).is_empty() && self.is_within_budget(*kind))?;
        let requester = self.queue(kind).pop_front()?;
        self.in_flight.insert(requester, kind);
        Some(requester)
    }

    /// Called when a request was answered or cancelled.
    pub fn done(&mut self, requester: A) {
        if self.in_flight.remove(&requester).is_none() {
            for queue in [&mut self.deregistrations, &mut self.heartbeats, &mut self.queries] {
                queue.remove(requester);
            }
        }
    }

    /// Whether a request waits to be sent.
    pub fn is_waiting(&self, requester: A) -> bool {
        let mut queues = [&self.deregistrations, &self.heartbeats, &self.queries].into_iter();
        queues.any(|queue| queue.contains(requester))
    }

    /// Called when the catalogue refused a request as one too many. The request, sent at `sent`, is the first
    /// to be sent again. The budget is cut, unless it was cut after `sent`. `jitter` selects the length of
    /// the pause.
    pub fn refused(&mut self, now: Instant, requester: A, sent: Instant, chance: Jitter) -> Option<Change> {
        let many = u32::try_from(self.in_flight.len()).unwrap_or(u32::MAX);
        if let Some(kind) = self.in_flight.remove(&requester) {
            self.queue(kind).push_front(requester);
        }
        let before = self.allowed()?;
        let whole = self.cut.is_none();
        let cut = self.cut.get_or_insert_with(|| Cut {
            allowed: before,
            since: Instant::START,
            grows: now,
            pause: None,
            pauses: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE, chance),
        });
        cut.grows = now + GROWTH;
        if !whole && sent <= cut.since {
            return None;
        }
        cut.allowed = (before.min(many) / 2).max(FEWEST);
        cut.since = now;
        cut.pause = Some(now + cut.pauses.delay());
        whole.then_some(Change::Cut(cut.allowed))
    }

    /// Called when the catalogue accepted a request.
    pub fn taken(&mut self) {
        if let Some(cut) = &mut self.cut {
            cut.pauses.reset();
        }
    }

    /// Called when time has passed. Returns a change of the budget.
    pub fn on_time(&mut self, now: Instant) -> Option<Change> {
        let most = self.most?;
        let cut = self.cut.as_mut()?;
        cut.pause = cut.pause.filter(|until| now < *until);
        if now < cut.grows {
            return None;
        }
        cut.grows = now + GROWTH;
        cut.allowed = most.min(cut.allowed + most.div_ceil(16));
        let whole = cut.allowed == most;
        whole.then(|| {
            self.cut = None;
            Change::Whole(most)
        })
    }

    /// When [`Self::on_time`] or [`Self::next`] may return something, unless something else happens first.
    pub fn deadline(&self) -> Option<Instant> {
        let cut = self.cut.as_ref()?;
        earliest(Some(cut.grows), cut.pause)
    }

    fn give_up(&mut self, backend: A) {
        self.blocking.remove(&backend);
        self.others.push_back(backend);
    }

    fn queue(&mut self, kind: Kind) -> &mut Queue<A> {
        match kind {
            Kind::Deregistration => &mut self.deregistrations,
            Kind::Heartbeat => &mut self.heartbeats,
            Kind::Query => &mut self.queries,
        }
    }

    /// The limit on requests in flight now; `None` if there is no budget.
    pub fn allowed(&self) -> Option<u32> {
        let most = self.most?;
        Some(self.cut.as_ref().map_or(most, |cut| cut.allowed))
    }

    /// The limit on requests of backends in flight.
    fn share_of_backends(&self) -> usize {
        self.allowed()
            .map_or(usize::MAX, |allowed| (allowed / 2) as usize)
    }

    /// How many queries may block.
    fn places(&self) -> usize {
        let share = self.share_of_backends();
        if self.blocking.len() + self.others.len() <= share {
            return share;
        }
        share - (share / 4).max(1)
    }

    fn is_within_budget(&self, kind: Kind) -> bool {
        let Some(allowed) = self.allowed() else {
            return true;
        };
        let (allowed, share) = (allowed as usize, self.share_of_backends());
        let queries = self
            .in_flight
            .values()
            .filter(|kind| **kind == Kind::Query)
            .count();
        let services = self.in_flight.len() - queries;
        let may = match kind {
            Kind::Query => queries < share,
            Kind::Deregistration | Kind::Heartbeat => services < allowed - share || self.queries.is_empty(),
        };
        may && self.in_flight.len() < allowed
    }
}

impl<A: Copy + Ord> Default for Requests<A> {
    fn default() -> Self {
        Self::new()
    }
}

mod queue;

crate::keyed!(Cut {
    allowed,
    since,
    grows,
    pause,
    pauses
});

impl<A: Keyed> Keyed for Requests<A> {
    fn write_key(&self, key: &mut impl StateKey) {
        let Self {
            most,
            cut,
            in_flight,
            deregistrations,
            heartbeats,
            queries,
            blocking,
            others,
        } = self;
        most.write_key(key);
        cut.write_key(key);
        in_flight.write_key(key);
        deregistrations.write_key(key);
        heartbeats.write_key(key);
        queries.write_key(key);
        blocking.write_key(key);
        others.write_key(key);
    }
}

crate::keyed_as_is!(Kind);

#[cfg(test)]
mod tests;
