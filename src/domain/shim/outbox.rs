//! The effects of the current step, the children that run and the catalogue requests that are open.
//!
//! Numbers children and requests with tickets and finds the owner of each event. An answer whose requester is gone is
//! discarded; a child whose owner is gone is still counted until it is reaped.

use super::id::UnitId;
use crate::availability::{self, Availability, CatalogueStatus};
use crate::catalogue::{Answer, Request};
use crate::effect::Effect;
use crate::event::Ticket;
use crate::measurement::{CatalogueOperation, Measurement, Outcome};
use crate::notice::Notice;
use crate::notice::catalogue::CatalogueNotice;
use crate::plan::{Job, Role, SignalTarget};
use crate::probe::Probe;
use crate::process::Pid;
use crate::requests::{Change, Kind, Requests};
use crate::signal::Signal;
use crate::state_key::{Keyed, StateKey};
use crate::time::{Duration, Instant, Jitter, earliest};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Child {
    owner: Option<UnitId>,
    role: Role,
    pid: Option<Pid>,
    /// Whether processes below it outlive it.
    outlived: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct OpenRequest {
    /// The request; kept only while it may have to be sent (again).
    request: Option<Request>,
    operation: CatalogueOperation,
    limit: Duration,
    /// When it is given up if it was not sent before; none if it is not sent again.
    until: Option<Instant>,
    /// When it was sent last, if it is on its way.
    sent: Option<(Ticket, Instant)>,
    /// Why the catalogue did not take it, if it did not.
    refused: Option<String>,
}

/// An answer, its requester, and when the request was sent.
pub(super) struct Reply {
    pub requester: UnitId,
    /// None if it was never sent.
    pub sent: Option<Instant>,
    pub answer: Answer,
}

/// The effects, children and open requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Outbox {
    effects: Vec<Effect>,
    last_ticket: u64,
    children: BTreeMap<Ticket, Child>,
    /// The probes that run, and the unit of each.
    probes: BTreeMap<Ticket, UnitId>,
    open_requests: BTreeMap<UnitId, OpenRequest>,
    requesters: BTreeMap<Ticket, UnitId>,
    requests: Requests<UnitId>,
    budget: Option<u32>,
    jitter: Jitter,
    /// The renderings and writings in progress.
    works: BTreeMap<Ticket, UnitId>,
    load: Option<Ticket>,
    load_again: bool,
    /// Whether a unit has requested the stop of the shim in this step.
    stop: bool,
    availability: Availability<UnitId>,
    /// Whether the answer that is handled is the first success of its unit after an outage.
    recovers: bool,
}

impl Outbox {
    /// No request is open; `jitter` is for pauses.
    pub fn new(jitter: Jitter) -> Self {
        Self {
            effects: Vec::new(),
            last_ticket: 0,
            children: BTreeMap::new(),
            probes: BTreeMap::new(),
            open_requests: BTreeMap::new(),
            requesters: BTreeMap::new(),
            requests: Requests::new(),
            budget: None,
            jitter,
            works: BTreeMap::new(),
            load: None,
            load_again: false,
            stop: false,
            availability: Availability::new(),
            recovers: false,
        }
    }

    /// The state of the catalogue.
    pub fn catalogue_status(&self) -> CatalogueStatus {
        self.availability.status()
    }

    /// The effects of the step, in order.
    pub fn take(&mut self) -> Vec<Effect> {
        core::mem::take(&mut self.effects)
    }

    pub fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Logs a message. In an outage of the catalogue, which is logged once for all, the messages of the parts are details.
    pub fn log(&mut self, mut notice: Notice) {
        if self.recovers && notice.is_resumption() {
            return;
        }
        if self.availability.is_outage()
            && let Some(failure) = notice.request_failure()
        {
            failure.at_full_level = false;
        }
        self.push(Effect::Log(notice));
    }

    fn log_catalogue(&mut self, notice: CatalogueNotice) {
        self.push(Effect::Log(Notice::Catalogue(notice)));
    }

    pub fn measure(&mut self, measurement: Measurement) {
        self.push(Effect::Measure(measurement));
    }

    pub fn start(&mut self, owner: UnitId, job: &Job) -> Ticket {
        let ticket = self.ticket();
        let role = job.role.clone();
        self.children.insert(
            ticket,
            Child {
                owner: Some(owner),
                role,
                pid: None,
                outlived: false,
            },
        );
        self.push(Effect::Start(ticket, Box::new(job.clone())));
        ticket
    }

    pub fn probe(&mut self, owner: UnitId, probe: &Probe) -> Ticket {
        let ticket = self.ticket();
        self.probes.insert(ticket, owner);
        self.push(Effect::Probe(ticket, Box::new(probe.clone())));
        ticket
    }

    /// The probe has ended; returns its owner, unless it was cancelled.
    pub fn probed(&mut self, ticket: Ticket) -> Option<UnitId> {
        self.probes.remove(&ticket)
    }

    /// Cancels a probe, or closes the connection that was kept for the next run.
    pub fn end_probe(&mut self, ticket: Ticket) {
        self.probes.remove(&ticket);
        self.push(Effect::EndProbe(ticket));
    }

    pub fn send(&mut self, ticket: Ticket, signal: Signal, target: SignalTarget) {
        self.push(Effect::Send(ticket, signal, target));
    }

    /// The child runs; its PID is exported to children that start later, for the roles of
    /// docs/development/behaviour.md EX-15.
    pub fn child_started(&mut self, ticket: Ticket, pid: Pid) {
        let Some(child) = self.children.get_mut(&ticket) else {
            return;
        };
        child.pid = Some(pid);
        let role = child.role.clone();
        if let Some(name) = role.pid_variable() {
            let value = alloc::format!("{pid}");
            self.push(Effect::Export { name, value });
        }
        self.log(Notice::Started(role, pid));
    }

    /// The owner of a child.
    pub fn owner(&self, ticket: Ticket) -> Option<UnitId> {
        self.children.get(&ticket).and_then(|child| child.owner)
    }

    /// Processes below the child outlive it. It stays until [`Self::tree_ended`].
    pub fn child_outlived(&mut self, ticket: Ticket) {
        if let Some(child) = self.children.get_mut(&ticket) {
            child.outlived = true;
        }
    }

    /// The child has ended. Returns its owner, and whether processes outlive it.
    pub fn child_ended(&mut self, ticket: Ticket) -> Option<(UnitId, bool)> {
        let child = self.children.get_mut(&ticket)?;
        child.pid = None;
        let (owner, outlived) = (child.owner, child.outlived);
        if !outlived {
            self.children.remove(&ticket);
        }
        owner.map(|owner| (owner, outlived))
    }

    /// The processes that outlived a child have ended; returns its owner.
    pub fn tree_ended(&mut self, ticket: Ticket) -> Option<UnitId> {
        self.children.remove(&ticket).and_then(|child| child.owner)
    }

    /// The end of this child is no longer reported to its owner.
    pub fn detach(&mut self, ticket: Ticket) {
        if let Some(child) = self.children.get_mut(&ticket) {
            child.owner = None;
        }
    }

    pub fn pid(&self, ticket: Ticket) -> Option<Pid> {
        self.children.get(&ticket).and_then(|child| child.pid)
    }

    /// Kills every child that is left, with its tree.
    pub fn kill_remaining(&mut self) {
        let tickets: Vec<Ticket> = self.children.keys().copied().collect();
        for ticket in tickets {
            self.send(ticket, Signal::KILL, SignalTarget::Tree);
        }
    }

    /// Reports the children that still run.
    pub fn log_left_behind(&mut self) {
        let roles: Vec<Role> = self.children.values().map(|child| child.role.clone()).collect();
        for role in roles {
            self.log(Notice::LeftBehind(role));
        }
    }

    /// Sends a request as soon as the budget allows it; `limit` counts from then, `longest_wait` from now. With a budget,
    /// requests are sent at the end of the step, when all requests of the step are known.
    pub fn request(
        &mut self,
        now: Instant,
        requester: UnitId,
        request: Request,
        limit: Duration,
        longest_wait: Duration,
    ) {
        let kind = match &request {
            Request::Deregister(_) => Kind::Deregistration,
            Request::Register(_) | Request::Renew(_) | Request::Report(_) | Request::Inspect(_) => {
                Kind::Heartbeat
            }
            Request::Instances(_) | Request::LookUp(_) => Kind::Query,
        };
        let open = OpenRequest {
            operation: CatalogueOperation::of(&request),
            request: Some(request),
            limit,
            until: Some(now + longest_wait),
            sent: None,
            refused: None,
        };
        self.open_requests.insert(requester, open);
        self.requests.push(requester, kind);
        if self.budget.is_none() {
            self.dispatch(now);
        }
    }

    /// Sends what may go out now.
    pub fn dispatch(&mut self, now: Instant) {
        while let Some(requester) = self.requests.next(now) {
            let ticket = self.ticket();
            let may_be_refused = self.budget.is_some();
            let Some(open) = self.open_requests.get_mut(&requester) else {
                continue;
            };
            let request = if may_be_refused {
                open.request.clone()
            } else {
                open.until = None;
                open.request.take()
            };
            open.sent = Some((ticket, now));
            let limit = open.limit;
            let connections = self.requests.allowed();
            self.requesters.insert(ticket, requester);
            if let Some(request) = request {
                self.push(Effect::Request {
                    ticket,
                    request,
                    connections,
                    limit,
                });
            }
        }
    }

    /// The unit that sent a request.
    pub fn requester(&self, ticket: Ticket) -> Option<UnitId> {
        self.requesters.get(&ticket).copied()
    }

    /// The request was answered. If the catalogue was busy, the request is sent `again`, or has failed.
    pub fn answered(&mut self, now: Instant, ticket: Ticket, answer: Answer, again: bool) -> Option<Reply> {
        let requester = self.requesters.remove(&ticket)?;
        let open = self.open_requests.get(&requester)?;
        let (_, sent) = open.sent?;
        self.measure(Measurement::Answered {
            operation: open.operation.clone(),
            outcome: Outcome::of(&answer),
            took: now - sent,
        });
        self.judge_catalogue(now, requester, &answer);
        match answer {
            Answer::Busy(cause) if self.budget.is_some() => {
                self.refused(now, requester, sent, cause.clone());
                (!again).then(|| self.end(requester, Some(sent), Answer::Failed(cause)))
            }
            Answer::Busy(cause) => Some(self.end(requester, Some(sent), Answer::Failed(cause))),
            answer => {
                if !matches!(answer, Answer::Failed(_)) {
                    self.requests.taken();
                }
                Some(self.end(requester, Some(sent), answer))
            }
        }
    }

    /// Keeps whether the catalogue carries out requests. An agent that is busy says nothing about that.
    fn judge_catalogue(&mut self, now: Instant, requester: UnitId, answer: &Answer) {
        let before = self.availability.is_available();
        let change = match answer {
            Answer::Busy(_) => return,
            Answer::Failed(cause) => {
                self.recovers = false;
                self.availability.on_failure(now, requester, cause)
            }
            _ => {
                self.recovers = self.availability.recovers(&requester);
                self.availability.on_success(now)
            }
        };
        let available = self.availability.is_available();
        if available != before {
            self.measure(Measurement::CatalogueAvailable(available));
        }
        match (change, answer) {
            (Some(availability::Change::Lost), Answer::Failed(cause)) => {
                self.log_catalogue(CatalogueNotice::Lost(cause.clone()));
            }
            (Some(availability::Change::Regained(outage, failures)), _) => {
                self.log_catalogue(CatalogueNotice::Regained(outage, failures));
            }
            _ => {}
        }
    }

    /// A request that waited too long has failed: the result of a passing check expires, and a request that the
    /// catalogue keeps refusing is reported.
    pub fn give_up(&mut self, now: Instant, requester: UnitId) -> Option<Reply> {
        let over = |open: &&OpenRequest| open.given_up().is_some_and(|at| at <= now);
        let open = self.open_requests.get(&requester).filter(over)?;
        let cause = open.refused.clone();
        let sent = cause.as_ref().map(|_| now);
        let cause = cause.unwrap_or_else(|| "too many requests before it are on their way".into());
        Some(self.end(requester, sent, Answer::Failed(cause)))
    }

    /// The requesters whose requests waited too long.
    pub fn waited_too_long(&self, now: Instant) -> Vec<UnitId> {
        let over = |open: &OpenRequest| open.given_up().is_some_and(|at| at <= now);
        let waited = self.open_requests.iter().filter(|(_, open)| over(open));
        waited.map(|(requester, _)| *requester).collect()
    }

    /// Cancels the requester's request; a late answer is discarded.
    pub fn cancel(&mut self, requester: UnitId) {
        let Some(open) = self.open_requests.remove(&requester) else {
            return;
        };
        self.requests.done(requester);
        if let Some((ticket, _)) = open.sent {
            self.requesters.remove(&ticket);
            self.push(Effect::Cancel(ticket));
        }
    }

    /// Cancels a request that is not in flight, if there is one; returns whether it was never sent.
    pub fn take_back(&mut self, requester: UnitId) -> Option<bool> {
        let open = self.open_requests.get(&requester)?;
        let unsent = open.refused.is_none();
        self.requests.is_waiting(requester).then(|| {
            self.cancel(requester);
            unsent
        })
    }

    /// How many requests may be on their way from now on, to another catalogue perhaps.
    pub fn set_budget(&mut self, budget: Option<u32>) {
        self.budget = budget;
        self.requests.set_budget(budget);
    }

    /// The budget, which decides which backends' queries may block.
    pub fn requests(&mut self) -> &mut Requests<UnitId> {
        &mut self.requests
    }

    /// Called when time has passed.
    pub fn on_time(&mut self, now: Instant) {
        let change = self.requests.on_time(now);
        self.log_budget_change(change, String::new());
    }

    /// When a request has to be handled, unless something else happens first.
    pub fn deadline(&self) -> Option<Instant> {
        // Without a budget nothing waits.
        self.budget?;
        let given_up = self.open_requests.values().map(OpenRequest::given_up);
        given_up.fold(self.requests.deadline(), earliest)
    }

    fn refused(&mut self, now: Instant, requester: UnitId, sent: Instant, cause: String) {
        if let Some(open) = self.open_requests.get_mut(&requester) {
            open.sent = None;
            open.refused = Some(cause.clone());
        }
        let jitter = self.jitter.split();
        let change = self.requests.refused(now, requester, sent, jitter);
        self.log_budget_change(change, cause);
    }

    fn log_budget_change(&mut self, change: Option<Change>, cause: String) {
        let whole = self.budget.unwrap_or_default();
        match change {
            Some(Change::Cut(allowed)) => self.log_catalogue(CatalogueNotice::BudgetCut {
                allowed,
                whole,
                cause,
            }),
            Some(Change::Whole(whole)) => self.log_catalogue(CatalogueNotice::BudgetWhole(whole)),
            None => {}
        }
    }

    fn end(&mut self, requester: UnitId, sent: Option<Instant>, answer: Answer) -> Reply {
        self.open_requests.remove(&requester);
        self.requests.done(requester);
        Reply {
            requester,
            sent,
            answer,
        }
    }

    /// Reads the configuration again. There is one reading at a time: while one is under way, another one is
    /// noted and follows it, because the file may have changed after it was read.
    pub fn load(&mut self) {
        if self.load.is_none() {
            let ticket = self.ticket();
            self.load = Some(ticket);
            self.log(Notice::Reloading);
            self.push(Effect::Load(ticket));
        } else if !core::mem::replace(&mut self.load_again, true) {
            self.log(Notice::ReloadFollows);
        }
    }

    /// Whether a reading is under way.
    pub fn is_loading(&self) -> bool {
        self.load.is_some()
    }

    /// Whether this is the reading under way. It is over then.
    pub fn loaded(&mut self, ticket: Ticket) -> bool {
        self.load.take_if(|newest| *newest == ticket).is_some()
    }

    /// Whether another reading was requested while one was in progress; returned once.
    pub fn shall_load_again(&mut self) -> bool {
        core::mem::take(&mut self.load_again)
    }

    /// Requests the stop of the shim.
    pub fn stop(&mut self) {
        self.stop = true;
    }

    /// Whether the stop was requested; returned once.
    pub fn shall_stop(&mut self) -> bool {
        core::mem::take(&mut self.stop)
    }

    /// The ticket of a rendering or a writing for this unit.
    pub fn work(&mut self, owner: UnitId) -> Ticket {
        let ticket = self.ticket();
        self.works.insert(ticket, owner);
        ticket
    }

    /// A rendering or a writing has ended; returns its unit.
    pub fn worked(&mut self, ticket: Ticket) -> Option<UnitId> {
        self.works.remove(&ticket)
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }
}

impl OpenRequest {
    /// When it has waited too long. A query that was never refused only waits for its turn.
    fn given_up(&self) -> Option<Instant> {
        let is_query = matches!(
            self.operation,
            CatalogueOperation::List(_)
                | CatalogueOperation::Watch(_)
                | CatalogueOperation::LookUp(_)
                | CatalogueOperation::Await(_)
        );
        let waits = self.sent.is_none() && (!is_query || self.refused.is_some());
        self.until.filter(|_| waits)
    }
}

crate::keyed!(Outbox { effects, children, probes, open_requests, requesters, requests, budget, works, load, load_again, stop }
    without { last_ticket, jitter, availability, recovers });
crate::keyed!(OpenRequest {
    request,
    operation,
    limit,
    until,
    sent,
    refused
});

/// Left out: the PID, except whether there is one.
impl Keyed for Child {
    fn write_key(&self, key: &mut impl StateKey) {
        let Self {
            owner,
            role,
            pid,
            outlived,
        } = self;
        owner.write_key(key);
        role.write_key(key);
        pid.is_some().write_key(key);
        outlived.write_key(key);
    }
}
