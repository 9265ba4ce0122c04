//! Which requests to the catalogue are on their way at a time, which wait, and whether a backend's query may
//! block.
//!
//! A catalogue may take only so many connections of one client, and a blocking query keeps one for as long as
//! nothing changes. So there is a budget, a number of requests in flight, in two shares:
//!
//! - **Services** have one half, rounded up: registrations, heartbeats and deregistrations never wait for a query.
//!   What backends leave of the other half is theirs, too, as long as no query waits. Deregistrations go first.
//! - **Backends** have the other half. If there are more backends than it has places, a quarter of it, at least
//!   one place, is kept for short queries, and the others are for blocking ones. A backend whose blocking
//!   query ended without a change leaves its place to the next in turn; one that saw a change keeps it, and one
//!   whose short query saw a change is the next in turn: what has changed is likely to change again. Backends
//!   without a place ask with short queries, first come, first served; while one of those waits, no place is
//!   given away.
//!
//! When the catalogue says that it takes no more ([`Requests::refused`]), the budget becomes half of what is on
//! its way, never less than [`FEWEST`]; nothing goes out for a pause that grows; and while it takes requests
//! again the budget grows back, a sixteenth every [`GROWTH`].
//!
//! Without a budget nothing waits and every query may block. Knows no requests: only whose they are.

use crate::time::{Backoff, Duration, Instant, Jitter, earliest};
use alloc::collections::{BTreeMap, BTreeSet};
use queue::Queue;

/// The smallest budget: one request of a service and one of a backend (docs/bounds.md).
pub const FEWEST: u32 = 2;
/// The time in which a budget that was cut grows back by a sixteenth of the whole (docs/bounds.md).
pub const GROWTH: Duration = Duration::from_secs(10);
/// The first pause after the catalogue took no more (docs/bounds.md).
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest one (docs/bounds.md).
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The requests of requesters `A`, each of whom has one at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Requests<A> {
    /// The whole budget; none if everything may go out at once.
    most: Option<u32>,
    cut: Option<Cut>,
    in_flight: BTreeMap<A, Kind>,
    deregistrations: Queue<A>,
    heartbeats: Queue<A>,
    queries: Queue<A>,
    /// The backends whose queries may block.
    blocking: BTreeSet<A>,
    /// The others, the next one first.
    others: Queue<A>,
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// To take a service out of the catalogue.
    Deregistration,
    /// To register a service or to keep it registered.
    Heartbeat,
    /// To list the instances of a backend.
    Query,
}

/// A budget that is smaller than it was, for a while.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Cut {
    allowed: u32,
    /// When it was cut last: what was sent before and refused after says nothing new.
    since: Instant,
    grows: Instant,
    /// Nothing goes out before.
    pause: Option<Instant>,
    pauses: Backoff,
}

/// How the budget changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// It was whole, and is this much now.
    Cut(u32),
    /// It is whole again.
    Whole(u32),
}

impl<A: Copy + Ord> Requests<A> {
    /// Nothing is asked yet, and there is no budget.
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

    /// From now on this is the whole budget. What is on its way stays there.
    pub fn set_budget(&mut self, most: Option<u32>) {
        if self.most != most {
            self.most = most.map(|most| most.max(FEWEST));
            self.cut = None;
        }
    }

    /// There is a backend that will ask; it is the last in turn for a blocking query.
    pub fn enter(&mut self, backend: A) {
        if !self.blocking.contains(&backend) && !self.others.contains(backend) {
            self.others.push_back(backend);
        }
    }

    /// A backend will ask no more.
    pub fn leave(&mut self, backend: A) {
        self.blocking.remove(&backend);
        self.others.remove(backend);
    }

    /// Whether the backend's next query may block.
    pub fn may_block(&self, backend: A) -> bool {
        self.most.is_none() || self.blocking.contains(&backend)
    }

    /// The backend got an answer to its query, which blocked or did not. After a blocking one without a change its
    /// place is for another; after a change it keeps its place, or is the next to get one.
    pub fn answered(&mut self, backend: A, blocked: bool, changed: bool) {
        if !changed && blocked {
            self.failed(backend);
        } else if changed && !self.blocking.contains(&backend) && self.others.contains(backend) {
            self.others.remove(backend);
            self.others.push_front(backend);
        }
    }

    /// The backend's query failed: its place is for another, if one can use it.
    pub fn failed(&mut self, backend: A) {
        let is_wanted = !self.others.is_empty() || !self.queries.is_empty();
        if is_wanted && self.blocking.contains(&backend) {
            self.give_up(backend);
        }
    }

    /// A backend that may block from now on, if there is a place for one and a backend without.
    pub fn grant(&mut self) -> Option<A> {
        let room = self.most.is_none() || (self.queries.is_empty() && self.blocking.len() < self.places());
        let next = if room { self.others.pop_front() } else { None }?;
        self.blocking.insert(next);
        Some(next)
    }

    /// A backend whose query may block no more, if there are more of them than places.
    pub fn revoke(&mut self) -> Option<A> {
        let surplus = self.most.is_some() && self.blocking.len() > self.places();
        let last = self.blocking.last().copied().filter(|_| surplus)?;
        self.give_up(last);
        Some(last)
    }

    /// Somebody wants to ask.
    pub fn push(&mut self, requester: A, kind: Kind) {
        self.queue(kind).push_back(requester);
    }

    /// Somebody who may ask now; it is on its way with this.
    pub fn next(&mut self, now: Instant) -> Option<A> {
        let paused = self.cut.as_ref().and_then(|cut| cut.pause);
        if paused.is_some_and(|until| now < until) {
            return None;
        }
        let kind = [Kind::Deregistration, Kind::Heartbeat, Kind::Query]
            .into_iter()
            .find(|kind| !self.queue(*kind).is_empty() && self.has_room(*kind))?;
        let requester = self.queue(kind).pop_front()?;
        self.in_flight.insert(requester, kind);
        Some(requester)
    }

    /// A request was answered or cancelled.
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

    /// The catalogue took no more: the request, which was sent then, is the next to be sent again, and the
    /// budget is cut unless it was since. `jitter` decides the length of the pause.
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

    /// The catalogue takes requests.
    pub fn taken(&mut self) {
        if let Some(cut) = &mut self.cut {
            cut.pauses.reset();
        }
    }

    /// Time passed.
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

    /// When [`Self::on_time`] or [`Self::next`] has something to say, unless something else happens first.
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

    /// How many requests may be on their way at a time now; none if there is no budget.
    pub fn allowed(&self) -> Option<u32> {
        let most = self.most?;
        Some(self.cut.as_ref().map_or(most, |cut| cut.allowed))
    }

    /// How many requests of backends may be on their way.
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

    fn has_room(&self, kind: Kind) -> bool {
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
#[cfg(test)]
mod tests;
