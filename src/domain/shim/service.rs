//! The unit of one service: its heartbeat, its health check, and what operators hear of them.

use super::outbox::{Outbox, Owner, Requester, UnitId};
use super::runner::JobRunner;
use crate::catalogue::{Answer, Endpoint, Request};
use crate::causes::{Causes, MOST_CAUSES, shortened};
use crate::failures::Failures;
use crate::heartbeat::{Action, DesiredState, Heartbeat, Reply};
use crate::notice::{Named, Notice};
use crate::plan::{REQUEST_LIMIT, Service};
use crate::process::Ending;
use crate::status::ServiceStatus;
use crate::time::{Duration, Instant, Jitter, earliest};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::IpAddr;

/// How long a deregistration may wait for others before it (docs/bounds.md). A stop does not wait for it so long.
const DEREGISTRATION_PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ServiceUnit {
    pub service: Service,
    id: UnitId,
    heartbeat: Heartbeat,
    check: Option<JobRunner>,
    asked: Option<Action>,
    unhealthy: bool,
    reasons: Causes,
    failures: Failures,
    /// Who else held our ID, as far as operators were told.
    others: Vec<Endpoint>,
    closing: bool,
}

impl ServiceUnit {
    pub fn new(now: Instant, id: UnitId, service: &Service, desired: DesiredState, jitter: Jitter) -> Self {
        let check = service.check.as_ref();
        Self {
            service: service.clone(),
            id,
            heartbeat: Heartbeat::new(now, service.poll, desired),
            check: check.map(|job| JobRunner::new(now, Owner::Check(id), job, jitter)),
            asked: None,
            unhealthy: false,
            reasons: Causes::default(),
            failures: Failures::default(),
            others: Vec::new(),
            closing: false,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        let check = self.check.as_ref().and_then(JobRunner::deadline);
        earliest(self.heartbeat.deadline(), check)
    }

    /// Whether nothing of it is left: no entry it could still remove, no question, no process.
    pub fn is_empty(&self) -> bool {
        self.has_left() && !self.check.as_ref().is_some_and(JobRunner::is_running)
    }

    pub fn has_left(&self) -> bool {
        self.heartbeat.has_left()
    }

    /// Whether its question is sent again if the catalogue did not take it: a look never is, and a heartbeat is not if
    /// the service is to leave meanwhile.
    pub fn asks_again(&self) -> bool {
        match self.asked {
            Some(Action::Deregister) => true,
            Some(Action::Inspect) => false,
            _ => self.heartbeat.desired() == DesiredState::In,
        }
    }

    /// Whether the unit is closed for good.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    pub fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        let action = self.heartbeat.on_time(now);
        self.perform(now, action, out);
        if let Some(check) = &mut self.check {
            check.on_time(now, out);
        }
    }

    pub fn after_standstill(&mut self, now: Instant) {
        self.heartbeat.after_standstill(now);
        if let Some(check) = &mut self.check {
            check.after_standstill(now);
        }
    }

    pub fn on_printed(&mut self, text: String) {
        if let Some(check) = &mut self.check {
            check.on_printed(text);
        }
    }

    pub fn on_check_ended(&mut self, now: Instant, ending: &Ending, out: &mut Outbox) {
        if let Some(check) = &mut self.check {
            check.on_ended(now, ending, out);
        }
        self.on_checked(now, Some(ending), out);
    }

    /// The catalogue answered the question; or it was given up, `unsent` or not.
    pub fn on_answer(&mut self, now: Instant, unsent: bool, answer: Answer, out: &mut Outbox) {
        let Some(asked) = self.asked.take() else {
            return;
        };
        let reply = if unsent { Reply::Unsent } else { reply(&answer) };
        self.tell_answer(asked, answer, out);
        let action = self.heartbeat.on_reply(now, reply);
        self.perform(now, action, out);
    }

    /// Leaves the catalogue for good; a health check that runs is killed (LC-5).
    pub fn close(&mut self, now: Instant, out: &mut Outbox) {
        if let Some(check) = &mut self.check {
            check.end(out);
        }
        self.closing = true;
        self.leave(now, Notice::Deregistering(self.named()), out);
    }

    /// Leaves the catalogue until [`Self::enter`]; a health check that runs may finish, for nothing.
    pub fn mark_for_maintenance(&mut self, now: Instant, out: &mut Outbox) {
        self.leave(now, Notice::MarkedForMaintenance(self.named()), out);
    }

    pub fn enter(&mut self, now: Instant) {
        if !self.closing {
            self.heartbeat.enter(now);
        }
    }

    pub fn named(&self) -> Named {
        Named {
            service: self.service.registration.name.clone(),
            id: self.service.registration.id.clone(),
        }
    }

    pub fn status(&self, out: &Outbox) -> ServiceStatus {
        ServiceStatus {
            registration: self.service.registration.clone(),
            registered: self.heartbeat.is_registered(),
            check: self.check.as_ref().map(|check| check.status(out)),
        }
    }

    /// A heartbeat that was not sent yet is not sent any more.
    fn leave(&mut self, now: Instant, notice: Notice, out: &mut Outbox) {
        self.forget_look(out);
        if self.asked != Some(Action::Deregister)
            && let Some(unsent) = out.take_back(Requester::Service(self.id))
        {
            self.asked = None;
            let reply = if unsent { Reply::Unsent } else { Reply::Failed };
            self.heartbeat.on_taken_back(reply);
        }
        let action = self.heartbeat.leave();
        if action.is_some() || !self.has_left() {
            out.tell(notice);
        }
        self.perform(now, action, out);
    }

    /// Nothing waits for a look.
    fn forget_look(&mut self, out: &mut Outbox) {
        if self.asked == Some(Action::Inspect) {
            self.asked = None;
            out.forget(Requester::Service(self.id));
        }
    }

    fn perform(&mut self, now: Instant, action: Option<Action>, out: &mut Outbox) {
        match action {
            Some(Action::Check) => self.run_check(now, out),
            Some(question) => self.ask(now, question, out),
            None => {}
        }
    }

    fn run_check(&mut self, now: Instant, out: &mut Outbox) {
        self.forget_look(out);
        match &mut self.check {
            Some(check) => check.start(now, out),
            None => self.on_checked(now, None, out),
        }
    }

    /// A service without a health check is always healthy.
    fn on_checked(&mut self, now: Instant, ending: Option<&Ending>, out: &mut Outbox) {
        let failed = ending.filter(|ending| !ending.passed());
        self.tell_health(failed, out);
        let action = self.heartbeat.on_checked(now, failed.is_none());
        self.perform(now, action, out);
    }

    fn ask(&mut self, now: Instant, question: Action, out: &mut Outbox) {
        let registration = self.service.registration.clone();
        let request = match question {
            Action::Register => Request::Register(registration),
            Action::Inspect => Request::Inspect(registration),
            Action::Deregister => Request::Deregister(registration),
            Action::Renew | Action::Check => Request::Renew(registration),
        };
        self.asked = Some(question);
        let limit = REQUEST_LIMIT.min(self.service.poll);
        // What a passing check says is true until the next check is due.
        let patience = match question {
            Action::Deregister => DEREGISTRATION_PATIENCE,
            Action::Inspect => limit,
            _ => REQUEST_LIMIT.max(self.service.poll),
        };
        out.ask(now, Requester::Service(self.id), request, limit, patience);
    }

    fn tell_health(&mut self, failed: Option<&Ending>, out: &mut Outbox) {
        if self.closing {
            return;
        }
        let was_unhealthy = core::mem::replace(&mut self.unhealthy, failed.is_some());
        let named = self.named();
        match failed {
            None if was_unhealthy => {
                self.reasons.clear();
                out.tell(Notice::Healthy(named));
            }
            None => {}
            Some(ending) if !self.reasons.is_new(&ending.to_string()) => {}
            Some(ending) if was_unhealthy => out.tell(Notice::UnhealthyAnew(named, ending.clone())),
            Some(ending) => out.tell(Notice::Unhealthy(named, ending.clone())),
        }
    }

    fn tell_answer(&mut self, asked: Action, answer: Answer, out: &mut Outbox) {
        match (asked, answer) {
            (Action::Deregister, Answer::Failed(cause) | Answer::Busy(cause)) => {
                out.tell(Notice::DeregisteringFailed(self.named(), cause));
            }
            (Action::Inspect, Answer::Holder(holder)) => self.tell_holder(holder, out),
            (Action::Deregister | Action::Inspect, _) => {}
            (Action::Renew, Answer::Unknown(cause, holder)) => {
                out.tell(Notice::NotRegistered(self.named(), cause));
                self.tell_holder(holder, out);
            }
            (Action::Register, Answer::Done) => {
                self.tell_recovery(out);
                out.tell(Notice::Registered(self.named()));
            }
            (_, Answer::Failed(cause) | Answer::Busy(cause) | Answer::Unknown(cause, _)) => {
                self.tell_failure(asked, cause, out)
            }
            (_, Answer::Done | Answer::Instances(_) | Answer::Holder(_)) => self.tell_recovery(out),
        }
    }

    /// Who holds our ID was asked after a registration of ours was done, so another's entry was written later and
    /// is not left from before. Each other instance is told of once, and not more of them than texts about one thing.
    fn tell_holder(&mut self, holder: Option<Endpoint>, out: &mut Outbox) {
        let Some(holder) = holder else {
            return;
        };
        let registration = &self.service.registration;
        let is_our_address = holder.address.parse() == Ok::<IpAddr, _>(registration.address);
        if is_our_address && holder.port == registration.port {
            return;
        }
        let other = Endpoint {
            address: shortened(&holder.address),
            port: holder.port,
        };
        if self.others.len() < MOST_CAUSES && !self.others.contains(&other) {
            self.others.push(other.clone());
            let ours = Endpoint {
                address: registration.address.to_string(),
                port: registration.port,
            };
            let named = self.named();
            out.tell(Notice::HeldByAnother { named, ours, other });
        }
    }

    fn tell_failure(&mut self, asked: Action, cause: String, out: &mut Outbox) {
        let failure = self.failures.add(cause);
        out.tell(match asked {
            Action::Register => Notice::RegistrationFailed(self.named(), failure),
            _ => Notice::HeartbeatFailed(self.named(), failure),
        });
    }

    fn tell_recovery(&mut self, out: &mut Outbox) {
        if let Some(failures) = self.failures.end() {
            out.tell(Notice::HeartbeatsResumed(self.named(), failures));
        }
    }
}

fn reply(answer: &Answer) -> Reply {
    match answer {
        Answer::Done => Reply::Done,
        Answer::Unknown(..) => Reply::Unknown,
        Answer::Failed(_) | Answer::Busy(_) | Answer::Instances(_) | Answer::Holder(_) => Reply::Failed,
    }
}
