//! The requests to the catalogue in flight, and the limit on their number.

use super::Observer;
use super::plan::backend_key;
use crate::laws::bounds::{BUDGET_GROWTH, FIRST_PAUSE, LONGEST_PAUSE};
use domain::catalogue::{Answer, Report, Request};
use domain::time::Duration;
use domain::{Instant, Ticket};

/// A request that is in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InFlight {
    pub owner: String,
    pub kind: Kind,
    pub at: Instant,
    /// The turn in which it was sent.
    pub turn: Instant,
    /// Since when it had waited to be sent.
    pub due: Instant,
    pub wait: Duration,
    pub generation: u32,
}

/// The purpose of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Register,
    Renew,
    Fail,
    Inspect,
    Deregister,
    List,
    LookUp,
}

impl InFlight {
    fn new(request: &Request, at: Instant, turn: Instant) -> Self {
        let (kind, owner, wait) = match request {
            Request::Register(r) => (Kind::Register, r.id.clone(), Duration::ZERO),
            Request::Renew(r) => (Kind::Renew, r.id.clone(), Duration::ZERO),
            Request::Report(Report {
                registration: r,
                healthy,
                ..
            }) => {
                let kind = if *healthy { Kind::Renew } else { Kind::Fail };
                (kind, r.id.clone(), Duration::ZERO)
            }
            Request::Inspect(r) => (Kind::Inspect, r.id.clone(), Duration::ZERO),
            Request::Deregister(r) => (Kind::Deregister, r.id.clone(), Duration::ZERO),
            Request::LookUp(q) => (Kind::LookUp, q.dependency.to_string(), q.wait),
            Request::Instances(q) => (Kind::List, backend_key(&q.service, q.tag.as_deref()), q.wait),
        };
        Self {
            owner,
            kind,
            at,
            turn,
            due: turn,
            wait,
            generation: 0,
        }
    }
}

impl InFlight {
    /// Whether it says that the service is healthy, if it says anything about that.
    pub fn says(&self) -> Option<bool> {
        match self.kind {
            Kind::Register | Kind::Renew => Some(true),
            Kind::Fail => Some(false),
            Kind::Inspect | Kind::Deregister | Kind::List | Kind::LookUp => None,
        }
    }
}

impl Observer {
    /// Whether this request in flight is a query for a backend; `None` if it is not in flight.
    pub(crate) fn is_list_request(&self, ticket: Ticket) -> Option<bool> {
        self.requests
            .get(&ticket)
            .map(|request| request.kind == Kind::List)
    }

    /// Whether this request in flight is for templates.
    pub(crate) fn is_look_up(&self, ticket: Ticket) -> bool {
        let request = self.requests.get(&ticket);
        request.is_some_and(|request| request.kind == Kind::LookUp)
    }

    /// Whether this request in flight is for the value of a key.
    pub(crate) fn is_look_up_of_key(&self, ticket: Ticket) -> bool {
        let request = self.requests.get(&ticket);
        request.is_some_and(|request| request.kind == Kind::LookUp && request.owner.starts_with("key "))
    }

    /// Whether this request in flight is a heartbeat.
    pub(crate) fn is_renewal(&self, ticket: Ticket) -> bool {
        let request = self.requests.get(&ticket);
        request.is_some_and(|request| request.kind == Kind::Renew)
    }

    /// Whether this request in flight reports that a service is unhealthy.
    pub(crate) fn is_report_request(&self, ticket: Ticket) -> bool {
        let request = self.requests.get(&ticket);
        request.is_some_and(|request| request.kind == Kind::Fail)
    }

    /// Whether this request in flight is an inspection.
    pub(crate) fn is_inspection(&self, ticket: Ticket) -> bool {
        let request = self.requests.get(&ticket);
        request.is_some_and(|request| request.kind == Kind::Inspect)
    }

    /// How many requests of this service or backend are in flight.
    pub(crate) fn requests_of(&self, owner: &str) -> usize {
        let requests = self.requests.values();
        requests.filter(|request| request.owner == owner).count()
    }

    /// How many of the requests in flight are about backends.
    pub(crate) fn queries(&self) -> usize {
        let requests = self.requests.values();
        requests
            .filter(|request| matches!(request.kind, Kind::List | Kind::LookUp))
            .count()
    }

    /// How many of the requests in flight may block.
    pub(crate) fn blocking_queries(&self) -> usize {
        let requests = self.requests.values();
        requests.filter(|request| request.wait > Duration::ZERO).count()
    }

    /// Whether the number of requests in flight is limited.
    pub(crate) fn has_budget(&self) -> bool {
        self.plan.max_connections.is_some()
    }

    /// The limit on requests in flight, according to the notices.
    pub(crate) fn budget(&self) -> Option<usize> {
        let whole = self.plan.max_connections?;
        let grew = self.refused.is_none_or(|at| self.now >= at + BUDGET_GROWTH);
        Some(self.cut.filter(|_| !grew).unwrap_or(whole) as usize)
    }

    /// Whether the catalogue refused a request so recently that sending may pause.
    fn may_pause(&self) -> bool {
        let refused = self.refused;
        refused.is_some_and(|at| self.turn.began < at + LONGEST_PAUSE)
    }

    /// Whether the budget is cut; it may be as small as one request of a service and one of a backend.
    fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// Whether the services' own share of the budget is used up.
    pub(crate) fn services_may_wait(&self) -> bool {
        let Some(whole) = self.plan.max_connections else {
            return false;
        };
        let whole = whole as usize;
        let own = if self.is_cut() { 1 } else { whole - whole / 2 };
        self.may_pause() || self.requests.len() - self.queries() >= own
    }

    /// Whether the backends' share of the budget, or all of it, is used up.
    pub(crate) fn queries_may_wait(&self) -> bool {
        let Some(whole) = self.plan.max_connections else {
            return false;
        };
        let whole = if self.is_cut() { 2 } else { whole as usize };
        self.may_pause() || self.queries() >= whole / 2 || self.requests.len() >= whole
    }

    /// Nothing is sent for a while, unless the request was sent before the last such pause began.
    fn pause(&mut self, request: &InFlight) {
        if !self.is_cut() {
            (self.pauses, self.paused) = (0, None);
        }
        if self.paused.is_some_and(|(since, _)| request.turn <= since) {
            return;
        }
        let longest = FIRST_PAUSE
            .saturating_mul(1 << self.pauses.min(31))
            .min(LONGEST_PAUSE);
        self.pauses += 1;
        let turn = self.turn.began;
        self.paused = Some((turn, turn + longest / 2));
    }

    /// Another budget is in force.
    pub(super) fn other_budget(&mut self) {
        (self.cut, self.paused, self.refused) = (None, None, None);
    }

    pub(super) fn request_sent(&mut self, ticket: Ticket, request: &Request) {
        let mut request = InFlight::new(request, self.now, self.turn.began);
        if let Some(facts) = self.backends.get_mut(&request.owner) {
            facts.refused = false;
        }
        self.service_request_sent(&mut request);
        self.requests.insert(ticket, request);
    }

    pub(super) fn request_cancelled(&mut self, ticket: Ticket) {
        let Some(request) = self.requests.remove(&ticket) else {
            return;
        };
        let limited = self.has_budget();
        if let Some(facts) = self.backends.get_mut(&request.owner).filter(|_| limited) {
            facts.not_after = facts.not_after.max(request.at + facts.poll);
        }
    }

    pub(super) fn answered(&mut self, ticket: Ticket, answer: &Answer) {
        let Some(request) = self.requests.remove(&ticket) else {
            return;
        };
        if matches!(answer, Answer::Busy(_)) && self.has_budget() {
            return self.not_taken(&request);
        }
        if !matches!(answer, Answer::Failed(_) | Answer::Busy(_)) {
            self.pauses = 0;
        }
        match request.kind {
            Kind::List => self.listed(&request, answer),
            Kind::LookUp => {}
            _ => self.service_answered(&request, answer),
        }
    }

    /// The catalogue refused this request as one too many: it may be sent again.
    fn not_taken(&mut self, request: &InFlight) {
        self.pause(request);
        self.refused = Some(self.now);
        match request.kind {
            Kind::List => {
                if let Some(facts) = self.backends.get_mut(&request.owner) {
                    facts.refused = true;
                }
            }
            Kind::LookUp => {}
            _ => self.service_not_taken(request),
        }
        let delayed = self.now + LONGEST_PAUSE;
        for facts in self.services.values_mut() {
            facts.delayed = delayed;
        }
    }
}

domain::keyed_as_is!(Kind);
domain::keyed!(InFlight { owner, kind, at, turn, due, wait } without { generation });
