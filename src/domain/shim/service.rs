//! The unit of one service: its heartbeat, its health check, and the notices about them.

use super::checker::Checker;
use super::id::UnitId;
use super::outbox::{self, Outbox};
use super::reaction::HealthReactions;
use super::unit::Unit;
use crate::catalogue::{Answer, Endpoint, Report, Request};
use crate::causes::{Causes, MOST_CAUSES, shortened};
use crate::check::{CheckResults, FailureLimit, Health};
use crate::event::Ticket;
use crate::failures::Failures;
use crate::heartbeat::{Action, Heartbeat};
use crate::measurement::RunResult;
use crate::notice::{Named, Notice};
use crate::plan::{Host, REQUEST_LIMIT, Service};
use crate::process::Ending;
use crate::registration::{DesiredState, Operation, Reply};
use crate::status::{JobStatus, Run, ServiceStatus};
use crate::time::{Duration, Instant, Jitter, earliest};
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// How long a deregistration may wait for others before it (docs/bounds.md). A stop does not wait for it so long.
const LONGEST_DEREGISTRATION_WAIT: Duration = Duration::from_secs(10);

/// The longest description of a check's result for the commands of its service, in bytes (docs/bounds.md).
const LONGEST_REASON: usize = 1024;

/// One service of the plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ServiceUnit {
    pub service: Service,
    id: UnitId,
    heartbeat: Heartbeat,
    check: Option<Checker>,
    reactions: HealthReactions,
    /// How many failures in a row end the shim, if any number does.
    exit: Option<FailureLimit>,
    /// Whether it was reported as unhealthy.
    unhealthy: bool,
    reasons: Causes,
    failures: Failures,
    /// Other instances that held this ID and were reported.
    others: Vec<Endpoint>,
    closing: bool,
}

impl ServiceUnit {
    pub fn new(now: Instant, id: UnitId, service: &Service, desired: DesiredState, jitter: Jitter) -> Self {
        let check = service.check.as_ref();
        let (name, paused) = (&service.registration.name, desired == DesiredState::Absent);
        let reactions = HealthReactions::new(now, id, name, &service.actions, paused, jitter);
        Self {
            service: service.clone(),
            id,
            heartbeat: Heartbeat::new(now, service.poll, service.heartbeats_per_inspection, desired)
                .with(now, service.thresholds),
            check: check.map(|check| Checker::new(now, id, check, jitter)),
            reactions,
            exit: service.actions.exit_after.map(FailureLimit::new),
            unhealthy: false,
            reasons: Causes::default(),
            failures: Failures::default(),
            others: Vec::new(),
            closing: false,
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
            registered: self.heartbeat.registration().is_registered(),
            health: self.health(),
            check: self.check.as_ref().map(|check| check.status(out)),
        }
    }

    /// The commands for changes of its health.
    pub fn actions(&self, out: &Outbox) -> Vec<JobStatus> {
        self.reactions.status(out).collect()
    }

    /// The health by the results so far; a service without a check is always healthy.
    fn health(&self) -> Health {
        let Some(check) = &self.check else {
            return Health::Healthy;
        };
        let last = || {
            check
                .last()
                .map_or(Health::Unknown, |run| Health::of(run.ending.passed()))
        };
        self.heartbeat.results().map_or_else(last, CheckResults::health)
    }

    /// A registration, a heartbeat or a report that waits to be sent is cancelled.
    fn deregister(&mut self, now: Instant, notice: Notice, out: &mut Outbox) {
        match self.heartbeat.registration().in_flight() {
            Some(Operation::Inspect) => out.cancel(self.id),
            Some(Operation::Register | Operation::Renew | Operation::Fail) => self.cancel_waiting(out),
            Some(Operation::Deregister) | None => {}
        }
        let action = self.heartbeat.deregister();
        if action.is_some() || !self.has_deregistered() {
            out.log(notice);
        }
        self.perform(now, action, out);
    }

    fn cancel_waiting(&mut self, out: &mut Outbox) {
        if let Some(unsent) = out.take_back(self.id) {
            let reply = if unsent { Reply::Unsent } else { Reply::Failed };
            self.heartbeat.on_cancelled(reply);
        }
    }

    fn perform(&mut self, now: Instant, action: Option<Action>, out: &mut Outbox) {
        match action {
            Some(Action::RunCheck) => self.run_check(now, out),
            Some(Action::Send(operation)) => self.request(now, operation, out),
            None => {}
        }
    }

    /// Only an inspection can be in flight when a check starts; it is cancelled.
    fn run_check(&mut self, now: Instant, out: &mut Outbox) {
        out.cancel(self.id);
        match &mut self.check {
            Some(check) => check.start(now, out),
            None => self.on_checked(now, None, out),
        }
    }

    /// A service without a health check is always healthy.
    fn on_checked(&mut self, now: Instant, ending: Option<&Ending>, out: &mut Outbox) {
        let failed = ending.filter(|ending| !ending.passed());
        let counts = self.counts(now, failed.is_none());
        let action = self.heartbeat.on_checked(now, failed.is_none());
        self.log_health(failed, out);
        if counts && self.ends_shim(failed.is_none(), out) {
            return self.leave_out(action);
        }
        if counts {
            let (health, check) = (self.health(), &self.check);
            self.reactions
                .on_health(now, health, || described_last(check), out);
        }
        self.perform(now, action, out);
    }

    /// Whether a result of its check counts for its reactions: not after it was closed, in maintenance, and no failure in the
    /// start period.
    fn counts(&self, now: Instant, passed: bool) -> bool {
        let wanted = self.heartbeat.registration().desired() == DesiredState::Registered;
        let starting = self
            .heartbeat
            .results()
            .is_some_and(|results| results.is_starting(now));
        wanted && !self.closing && (passed || !starting)
    }

    /// Counts a result, and requests the stop of the shim if the check has failed too often.
    fn ends_shim(&mut self, passed: bool, out: &mut Outbox) -> bool {
        let Some(exit) = &mut self.exit else {
            return false;
        };
        if !exit.add(passed) {
            return false;
        }
        let failures = exit.limit().get();
        let (named, reason) = (self.named(), shortened(&described_last(&self.check)));
        out.log(Notice::FailedTooOften {
            named,
            failures,
            reason,
        });
        out.stop();
        true
    }

    /// The stop follows: what the check led to is not done, and the service is deregistered.
    fn leave_out(&mut self, action: Option<Action>) {
        if let Some(Action::Send(_)) = action {
            self.heartbeat.on_cancelled(Reply::Unsent);
        }
    }

    fn request(&mut self, now: Instant, operation: Operation, out: &mut Outbox) {
        let registration = self.service.registration.clone();
        let request = match operation {
            Operation::Register => Request::Register(registration),
            Operation::Renew => match self.report() {
                Some(output) => Request::Report(Report {
                    registration,
                    healthy: true,
                    output,
                }),
                None => Request::Renew(registration),
            },
            Operation::Fail => Request::Report(Report {
                registration,
                healthy: false,
                output: self.report().unwrap_or_default(),
            }),
            Operation::Inspect => Request::Inspect(registration),
            Operation::Deregister => Request::Deregister(registration),
        };
        let limit = REQUEST_LIMIT.min(self.service.poll);
        // The result of a passing check is valid until the next check is due.
        let longest_wait = match operation {
            Operation::Deregister => LONGEST_DEREGISTRATION_WAIT,
            Operation::Inspect => limit,
            Operation::Register | Operation::Renew | Operation::Fail => REQUEST_LIMIT.max(self.service.poll),
        };
        out.request(now, self.id, request, limit, longest_wait);
    }

    /// What the catalogue gets as the result of the check, if its thresholds have a number of failures.
    fn report(&self) -> Option<String> {
        self.service.thresholds.as_ref()?.failures?;
        self.check.as_ref()?.last().map(described)
    }

    fn log_health(&mut self, failed: Option<&Ending>, out: &mut Outbox) {
        if self.closing {
            return;
        }
        let (named, health) = (self.named(), self.health());
        let Some(ending) = failed else {
            if health == Health::Healthy {
                self.reasons.clear();
                if core::mem::take(&mut self.unhealthy) {
                    out.log(Notice::Healthy(named));
                }
            }
            return;
        };
        let is_new = self.reasons.is_new(&ending.to_string());
        let ending = ending.clone();
        if health != Health::Unhealthy {
            if is_new {
                let counted = self.counted();
                out.log(Notice::Failing {
                    named,
                    ending,
                    counted,
                });
            }
        } else if !core::mem::replace(&mut self.unhealthy, true) {
            out.log(Notice::Unhealthy(named, ending));
        } else if is_new {
            out.log(Notice::UnhealthyAnew(named, ending));
        }
    }

    /// How many failures in a row count, and how many make the service unhealthy.
    fn counted(&self) -> Option<(u32, u32)> {
        let results = self.heartbeat.results()?;
        let times = results.failures();
        (times > 0).then(|| (times, results.thresholds().failures_in_a_row()))
    }

    fn log_answer(&mut self, operation: Operation, answer: Answer, out: &mut Outbox) {
        match (operation, answer) {
            (Operation::Deregister, Answer::Failed(cause) | Answer::Busy(cause)) => {
                out.log(Notice::DeregisteringFailed(self.named(), cause));
            }
            (Operation::Inspect, Answer::Holder(holder)) => self.log_holder(holder, out),
            (Operation::Deregister | Operation::Inspect, _) | (Operation::Fail, Answer::Unknown(..)) => {}
            (Operation::Renew, Answer::Unknown(cause, holder)) => {
                out.log(Notice::NotRegistered(self.named(), cause));
                self.log_holder(holder, out);
            }
            (Operation::Register, Answer::Done) => {
                self.log_recovery(out);
                out.log(Notice::Registered(self.named()));
            }
            (_, Answer::Failed(cause) | Answer::Busy(cause) | Answer::Unknown(cause, _)) => {
                self.log_failure(operation, cause, out)
            }
            (
                _,
                Answer::Done | Answer::Removed | Answer::Instances(_) | Answer::Found(_) | Answer::Holder(_),
            ) => self.log_recovery(out),
        }
    }

    /// Reports another instance that holds this service's ID. The holder was read after a registration succeeded, so
    /// another instance's entry is newer than it. Each instance is reported once, and at most [`MOST_CAUSES`] of them.
    fn log_holder(&mut self, holder: Option<Endpoint>, out: &mut Outbox) {
        let Some(holder) = holder else {
            return;
        };
        let registration = &self.service.registration;
        let is_our_address = Host::from(holder.address.as_str()) == registration.address;
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
            out.log(Notice::HeldByAnother { named, ours, other });
        }
    }

    fn log_failure(&mut self, operation: Operation, cause: String, out: &mut Outbox) {
        let failure = self.failures.add(cause);
        out.log(match operation {
            Operation::Register => Notice::RegistrationFailed(self.named(), failure),
            _ => Notice::HeartbeatFailed(self.named(), failure),
        });
    }

    fn log_recovery(&mut self, out: &mut Outbox) {
        if let Some(failures) = self.failures.end() {
            out.log(Notice::HeartbeatsResumed(self.named(), failures));
        }
    }
}

impl Unit for ServiceUnit {
    fn deadline(&self) -> Option<Instant> {
        let check = self.check.as_ref().and_then(Checker::deadline);
        let reactions = self.reactions.deadline();
        earliest(earliest(self.heartbeat.deadline(), check), reactions)
    }

    /// Whether its deregistration is over, successful or not.
    fn has_deregistered(&self) -> bool {
        self.heartbeat.registration().has_deregistered()
    }

    /// Whether its request is sent again after the catalogue refused it for now: an inspection never is, and a
    /// registration or a heartbeat is not if the service is to be absent by now.
    fn is_sent_again(&self) -> bool {
        let registration = self.heartbeat.registration();
        match registration.in_flight() {
            Some(Operation::Deregister) => true,
            Some(Operation::Inspect) => false,
            _ => registration.desired() == DesiredState::Registered,
        }
    }

    fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        let action = self.heartbeat.on_time(now);
        self.perform(now, action, out);
        if let Some(check) = &mut self.check {
            check.on_time(now, out);
        }
        self.reactions.on_time(now, out);
    }

    fn after_standstill(&mut self, now: Instant) {
        self.heartbeat.after_standstill(now);
        if let Some(check) = &mut self.check {
            check.after_standstill(now);
        }
        self.reactions.after_standstill(now);
    }

    fn on_printed(&mut self, ticket: Ticket, text: String) {
        if self.reactions.owns(ticket) {
            self.reactions.on_printed(ticket, text);
        } else if let Some(check) = &mut self.check {
            check.keep_output(text);
        }
    }

    fn on_ended(&mut self, now: Instant, ticket: Ticket, ending: &Ending, _outlived: bool, out: &mut Outbox) {
        if self.reactions.owns(ticket) {
            return self.reactions.on_ended(now, ticket, ending, out);
        }
        if let Some(check) = &mut self.check {
            check.on_ended(now, ending, out);
        }
        self.on_checked(now, Some(ending), out);
    }

    fn on_reply(&mut self, now: Instant, reply: outbox::Reply, _listed: usize, out: &mut Outbox) {
        let Some(operation) = self.heartbeat.registration().in_flight() else {
            return;
        };
        let outcome = outcome(&reply);
        self.log_answer(operation, reply.answer, out);
        let action = self.heartbeat.on_reply(now, outcome);
        self.perform(now, action, out);
    }

    /// Deregisters the service for good and ends its children (LC-5).
    fn close(&mut self, now: Instant, out: &mut Outbox) {
        if let Some(check) = &mut self.check {
            check.end(out);
        }
        self.reactions.end(out);
        self.closing = true;
        self.deregister(now, Notice::Deregistering(self.named()), out);
    }

    /// Deregisters the service until [`Unit::resume`]. A command that runs as health check may finish, its result is
    /// ignored; a probe is cancelled.
    fn pause(&mut self, now: Instant, out: &mut Outbox) {
        if !self.closing {
            self.reactions.pause();
            if self.check.as_mut().is_some_and(|check| check.cancel_probe(out)) {
                self.heartbeat.on_check_cancelled();
            }
            self.deregister(now, Notice::MarkedForMaintenance(self.named()), out);
        }
    }

    /// Registers the service again, unless it is closed: from the next passing check on (LC-12).
    fn resume(&mut self, now: Instant, _out: &mut Outbox) {
        if !self.closing {
            self.heartbeat.resume(now);
            self.reactions.resume();
            if let Some(exit) = &mut self.exit {
                exit.forget();
            }
        }
    }

    fn is_closing(&self) -> bool {
        self.closing
    }

    fn delays_plan(&self) -> bool {
        let runs = self.check.as_ref().is_some_and(Checker::is_running) || self.reactions.is_running();
        self.closing && runs
    }
}

/// How the last run of a check ended and the end of its output; empty before the first one.
fn described_last(check: &Option<Checker>) -> String {
    let last = check.as_ref().and_then(Checker::last);
    last.map_or_else(String::new, |run| described_within(run, LONGEST_REASON))
}

/// The end of the check's output, and how it ended if it failed; `ok` if there is nothing to say.
fn described(run: &Run) -> String {
    let output = run.output.trim();
    let ending = match run.result {
        _ if matches!(run.ending, Ending::Probed(_)) => run.ending.to_string(),
        RunResult::Passed if output.is_empty() => "ok".into(),
        RunResult::Passed => return output.into(),
        RunResult::TimedOut => "it took too long".into(),
        RunResult::Failed | RunResult::Stopped => run.ending.to_string(),
    };
    if output.is_empty() {
        return ending;
    }
    alloc::format!("{ending}: {output}")
}

/// The same without NUL, and with the end of the output only if it is longer than `most` bytes.
fn described_within(run: &Run, most: usize) -> String {
    // U+FFFD replaces NUL before the length counts, because a variable does the same.
    let without_nul = |text: &str| text.replace('\0', "\u{FFFD}");
    let whole = without_nul(&described(run));
    if whole.len() <= most {
        return whole;
    }
    let output = without_nul(run.output.trim());
    let output = output.as_str();
    let ending = whole.strip_suffix(output).unwrap_or_default();
    let ending = shortened(ending.trim_end());
    let longest = most.saturating_sub(ending.len() + " …".len());
    let mut begin = output.len().saturating_sub(longest);
    while !output.is_char_boundary(begin) {
        begin += 1;
    }
    let mut text = ending;
    if !text.is_empty() {
        text.push(' ');
    }
    text.push('…');
    text.push_str(&output[begin..]);
    text
}

fn outcome(reply: &outbox::Reply) -> Reply {
    match &reply.answer {
        _ if reply.sent.is_none() => Reply::Unsent,
        Answer::Done => Reply::Done,
        Answer::Unknown(..) | Answer::Removed => Reply::NotRegistered,
        Answer::Failed(_) | Answer::Busy(_) | Answer::Instances(_) | Answer::Found(_) | Answer::Holder(_) => {
            Reply::Failed
        }
    }
}

crate::keyed!(ServiceUnit { service, id, heartbeat, check, reactions, exit, others, closing } without { unhealthy, reasons, failures });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{ExitStatus, StartFailure};
    use std::format;

    fn run(ending: Ending, output: &str) -> Run {
        Run {
            ended: Instant::START,
            took: Duration::ZERO,
            result: RunResult::Failed,
            ending,
            output: output.into(),
        }
    }

    #[test]
    fn a_reason_has_a_limited_length_and_keeps_the_ending_and_the_end_of_the_output() {
        let failed = || Ending::Exited(ExitStatus::Code(1));
        assert_eq!(
            described_within(&run(failed(), "no\n"), 1024),
            "exit status 1: no"
        );
        for output in [
            "x".repeat(1024),
            "\0".repeat(600),
            "é".repeat(600),
            format!("…{}", "€".repeat(340)),
        ] {
            let text = described_within(&run(failed(), &format!("{output}end")), 1024);
            assert!((1018..=1024).contains(&text.len()), "{}", text.len());
            assert!(
                text.starts_with("exit status 1: …") && text.ends_with("end"),
                "{text}"
            );
        }
        let cause = "c".repeat(5_000);
        let missing = Ending::NotStarted(StartFailure {
            not_found: false,
            cause,
        });
        let text = described_within(&run(missing, ""), 1024);
        assert!(text.len() <= 1024, "{}", text.len());
    }
}
