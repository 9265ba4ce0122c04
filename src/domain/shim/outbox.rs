//! What the step under way will ask of the world, and which questions are still open.
//!
//! Hands out tickets, remembers who asked, and finds the owner when something comes back. A question whose
//! owner is gone is answered to nobody; a child whose owner is gone is still counted until it is reaped.

use crate::event::{Answer, Effect, Pid, Request, Ticket};
use crate::measurement::{Measurement, Outcome, Question};
use crate::notice::Notice;
use crate::plan::{Job, Reach, Role};
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
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
    asker: Asker,
    question: Question,
    since: Instant,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Outbox {
    effects: Vec<Effect>,
    last_ticket: u64,
    children: BTreeMap<Ticket, Child>,
    questions: BTreeMap<Ticket, Asked>,
    load: Option<Ticket>,
    load_again: bool,
}

impl Outbox {
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

    pub fn ask(&mut self, now: Instant, asker: Asker, request: Request, limit: Duration) -> Ticket {
        let ticket = self.ticket();
        let question = Question::of(&request);
        let since = now;
        self.questions.insert(
            ticket,
            Asked {
                asker,
                question,
                since,
            },
        );
        self.push(Effect::Ask {
            ticket,
            request,
            limit,
        });
        ticket
    }

    /// The question was answered; whose it was.
    pub fn answered(&mut self, now: Instant, ticket: Ticket, answer: &Answer) -> Option<Asker> {
        let asked = self.questions.remove(&ticket)?;
        self.measure(Measurement::Answered {
            question: asked.question,
            outcome: Outcome::of(answer),
            took: now - asked.since,
        });
        Some(asked.asker)
    }

    pub fn forget(&mut self, ticket: Ticket) {
        if self.questions.remove(&ticket).is_some() {
            self.push(Effect::Forget(ticket));
        }
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
