//! What the step under way will ask of the world, and which questions are still open.
//!
//! Hands out tickets, remembers who asked, and finds the owner when something comes back. A question whose
//! owner is gone is answered to nobody; a child whose owner is gone is still counted until it is reaped.

use crate::event::{Answer, Effect, Pid, Request, Ticket};
use crate::measurement::{Measurement, Outcome, Question};
use crate::notice::Notice;
use crate::plan::{Job, Reach, Role};
use crate::requests::{Change, Kind, Requests};
use crate::time::{Chance, Duration, Instant, earliest};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

pub(super) const SIGKILL: i32 = 9;
pub(super) const SIGTERM: i32 = 15;

/// The number of a room; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct RoomId(pub u32);

/// Whose child process it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Parent {
    Application,
    Hook,
    Check(RoomId),
    Handler(RoomId),
    Job(RoomId),
    Sensor(RoomId),
}

/// Whose question to the catalogue it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Asker {
    Service(RoomId),
    Backend(RoomId),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Child {
    parent: Option<Parent>,
    role: Role,
    pid: Option<Pid>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Asked {
    /// What is asked; it is kept only while it may have to be sent (again).
    request: Option<Request>,
    question: Question,
    limit: Duration,
    /// When it is given up if it was not sent before; none if it is not sent again.
    until: Option<Instant>,
    /// When it was sent last, if it is on its way.
    sent: Option<(Ticket, Instant)>,
    /// Why the catalogue did not take it, if it did not.
    refused: Option<String>,
}

/// An answer, whose it is, and when the question was sent.
pub(super) struct Reply {
    pub asker: Asker,
    /// None if it was never sent.
    pub sent: Option<Instant>,
    pub answer: Answer,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Outbox {
    effects: Vec<Effect>,
    last_ticket: u64,
    children: BTreeMap<Ticket, Child>,
    questions: BTreeMap<Asker, Asked>,
    askers: BTreeMap<Ticket, Asker>,
    requests: Requests<Asker>,
    budget: Option<u32>,
    chance: Chance,
    load: Option<Ticket>,
    load_again: bool,
}

impl Outbox {
    /// Nothing is asked yet; `chance` is for pauses.
    pub fn new(chance: Chance) -> Self {
        Self {
            effects: Vec::new(),
            last_ticket: 0,
            children: BTreeMap::new(),
            questions: BTreeMap::new(),
            askers: BTreeMap::new(),
            requests: Requests::new(),
            budget: None,
            chance,
            load: None,
            load_again: false,
        }
    }

    /// The effects of the step, in order.
    pub fn take(&mut self) -> Vec<Effect> {
        core::mem::take(&mut self.effects)
    }

    pub fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub fn tell(&mut self, notice: Notice) {
        self.push(Effect::Tell(notice));
    }

    pub fn measure(&mut self, measurement: Measurement) {
        self.push(Effect::Measure(measurement));
    }

    pub fn start(&mut self, parent: Parent, job: &Job) -> Ticket {
        let ticket = self.ticket();
        let role = job.role.clone();
        self.children.insert(
            ticket,
            Child {
                parent: Some(parent),
                role,
                pid: None,
            },
        );
        self.push(Effect::Start(ticket, Box::new(job.clone())));
        ticket
    }

    pub fn send(&mut self, ticket: Ticket, signal: i32, reach: Reach) {
        self.push(Effect::Send(ticket, signal, reach));
    }

    /// The child runs; children started later are told its PID where the contract says so.
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
        self.tell(Notice::Started(role, pid));
    }

    /// Whose child it is.
    pub fn parent(&self, ticket: Ticket) -> Option<Parent> {
        self.children.get(&ticket).and_then(|child| child.parent)
    }

    /// The child is gone; whose it was.
    pub fn child_ended(&mut self, ticket: Ticket) -> Option<Parent> {
        self.children.remove(&ticket).and_then(|child| child.parent)
    }

    /// Nobody wants to know any more how this child ends.
    pub fn disown(&mut self, ticket: Ticket) {
        if let Some(child) = self.children.get_mut(&ticket) {
            child.parent = None;
        }
    }

    pub fn pid(&self, ticket: Ticket) -> Option<Pid> {
        self.children.get(&ticket).and_then(|child| child.pid)
    }

    pub fn has_children(&self) -> bool {
        !self.children.is_empty()
    }

    /// Kills every child that is left, with its group.
    pub fn sweep(&mut self) {
        let tickets: Vec<Ticket> = self.children.keys().copied().collect();
        for ticket in tickets {
            self.send(ticket, SIGKILL, Reach::Group);
        }
    }

    /// Says which children are still there.
    pub fn tell_left_behind(&mut self) {
        let roles: Vec<Role> = self.children.values().map(|child| child.role.clone()).collect();
        for role in roles {
            self.tell(Notice::LeftBehind(role));
        }
    }

    /// Asks as soon as the budget allows it; `limit` counts from then, `patience` from now. With a budget, what may
    /// go out is known only when all has been said that is to be said in this step.
    pub fn ask(&mut self, now: Instant, asker: Asker, request: Request, limit: Duration, patience: Duration) {
        let kind = match &request {
            Request::Withdraw(_) => Kind::Withdrawal,
            Request::Register(_) | Request::Renew(_) => Kind::Heartbeat,
            Request::Instances(_) => Kind::Query,
        };
        let asked = Asked {
            question: Question::of(&request),
            request: Some(request),
            limit,
            until: Some(now + patience),
            sent: None,
            refused: None,
        };
        self.questions.insert(asker, asked);
        self.requests.push(asker, kind);
        if self.budget.is_none() {
            self.dispatch(now);
        }
    }

    /// Sends what may go out now.
    pub fn dispatch(&mut self, now: Instant) {
        while let Some(asker) = self.requests.next(now) {
            let ticket = self.ticket();
            let may_be_refused = self.budget.is_some();
            let Some(asked) = self.questions.get_mut(&asker) else {
                continue;
            };
            let request = if may_be_refused {
                asked.request.clone()
            } else {
                asked.until = None;
                asked.request.take()
            };
            asked.sent = Some((ticket, now));
            let limit = asked.limit;
            self.askers.insert(ticket, asker);
            if let Some(request) = request {
                self.push(Effect::Ask {
                    ticket,
                    request,
                    limit,
                });
            }
        }
    }

    /// Whose question it is.
    pub fn asker(&self, ticket: Ticket) -> Option<Asker> {
        self.askers.get(&ticket).copied()
    }

    /// The question was answered; whose it was. If the catalogue was busy, it is asked `again` instead, or has
    /// failed.
    pub fn answered(&mut self, now: Instant, ticket: Ticket, answer: Answer, again: bool) -> Option<Reply> {
        let asker = self.askers.remove(&ticket)?;
        let asked = self.questions.get(&asker)?;
        let (_, sent) = asked.sent?;
        self.measure(Measurement::Answered {
            question: asked.question.clone(),
            outcome: Outcome::of(&answer),
            took: now - sent,
        });
        match answer {
            Answer::Busy(cause) if self.budget.is_some() => {
                self.refused(now, asker, sent, cause.clone());
                (!again).then(|| self.end(asker, Some(sent), Answer::Failed(cause)))
            }
            Answer::Busy(cause) => Some(self.end(asker, Some(sent), Answer::Failed(cause))),
            answer => {
                if !matches!(answer, Answer::Failed(_)) {
                    self.requests.taken();
                }
                Some(self.end(asker, Some(sent), answer))
            }
        }
    }

    /// A question that waited too long: its asker is answered that it failed. What a passing check says is not
    /// true for ever, and what the catalogue does not take is told at last.
    pub fn given_up(&mut self, now: Instant) -> Option<Reply> {
        let over = |asked: &Asked| asked.given_up().is_some_and(|at| at <= now);
        let (asker, asked) = self.questions.iter().find(|(_, asked)| over(asked))?;
        let cause = asked.refused.clone();
        let sent = cause.as_ref().map(|_| now);
        let cause = cause.unwrap_or_else(|| "too many requests before it are on their way".into());
        let asker = *asker;
        Some(self.end(asker, sent, Answer::Failed(cause)))
    }

    /// Nobody waits for the answer any more.
    pub fn forget(&mut self, asker: Asker) {
        let Some(asked) = self.questions.remove(&asker) else {
            return;
        };
        self.requests.done(asker);
        if let Some((ticket, _)) = asked.sent {
            self.askers.remove(&ticket);
            self.push(Effect::Forget(ticket));
        }
    }

    /// Takes back a question that is not on its way, if there is one; says whether it never was.
    pub fn take_back(&mut self, asker: Asker) -> Option<bool> {
        let asked = self.questions.get(&asker)?;
        let unsent = asked.refused.is_none();
        self.requests.is_waiting(asker).then(|| {
            self.forget(asker);
            unsent
        })
    }

    /// How many requests may be on their way from now on, to another catalogue perhaps.
    pub fn set_budget(&mut self, budget: Option<u32>) {
        self.budget = budget;
        self.requests.set_budget(budget);
    }

    /// Who decides which backends' queries may block.
    pub fn requests(&mut self) -> &mut Requests<Asker> {
        &mut self.requests
    }

    /// Lets time pass for what waits.
    pub fn on_time(&mut self, now: Instant) {
        let change = self.requests.on_time(now);
        self.tell_change(change, String::new());
    }

    /// When there is something to be done about questions, unless something else happens first.
    pub fn deadline(&self) -> Option<Instant> {
        // Without a budget nothing waits.
        self.budget?;
        let given_up = self.questions.values().map(Asked::given_up);
        given_up.fold(self.requests.deadline(), earliest)
    }

    fn refused(&mut self, now: Instant, asker: Asker, sent: Instant, cause: String) {
        if let Some(asked) = self.questions.get_mut(&asker) {
            asked.sent = None;
            asked.refused = Some(cause.clone());
        }
        let chance = self.chance.split();
        let change = self.requests.refused(now, asker, sent, chance);
        self.tell_change(change, cause);
    }

    fn tell_change(&mut self, change: Option<Change>, cause: String) {
        let whole = self.budget.unwrap_or_default();
        match change {
            Some(Change::Cut(allowed)) => self.tell(Notice::BudgetCut {
                allowed,
                whole,
                cause,
            }),
            Some(Change::Whole(whole)) => self.tell(Notice::BudgetWhole(whole)),
            None => {}
        }
    }

    fn end(&mut self, asker: Asker, sent: Option<Instant>, answer: Answer) -> Reply {
        self.questions.remove(&asker);
        self.requests.done(asker);
        Reply { asker, sent, answer }
    }

    /// Reads the configuration again. There is one reading at a time: while one is under way, another one is
    /// remembered and follows it, because the file may have changed after it was read.
    pub fn load(&mut self) {
        if self.load.is_none() {
            let ticket = self.ticket();
            self.load = Some(ticket);
            self.tell(Notice::Reloading);
            self.push(Effect::Load(ticket));
        } else if !core::mem::replace(&mut self.load_again, true) {
            self.tell(Notice::ReloadFollows);
        }
    }

    /// Whether this is the reading under way. It is over then.
    pub fn loaded(&mut self, ticket: Ticket) -> bool {
        self.load.take_if(|newest| *newest == ticket).is_some()
    }

    /// Whether another reading was asked for while one was under way; said once.
    pub fn shall_load_again(&mut self) -> bool {
        core::mem::take(&mut self.load_again)
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        Ticket(self.last_ticket)
    }
}

impl Asked {
    /// When it has waited too long. A query that was never refused only waits for its turn.
    fn given_up(&self) -> Option<Instant> {
        let is_query = matches!(self.question, Question::List(_) | Question::Watch(_));
        let waits = self.sent.is_none() && (!is_query || self.refused.is_some());
        self.until.filter(|_| waits)
    }
}
