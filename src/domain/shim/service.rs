//! The unit of one service: its heartbeat, its health check, and the notices about them.

use super::id::UnitId;
use super::outbox::{self, Outbox};
use super::reaction::HealthReactions;
use super::service_check::ServiceCheck;
use super::unit::Unit;
use crate::catalogue::{Answer, Endpoint, Report, Request};
use crate::causes::{MOST_CAUSES, beginning, shortened};
use crate::check::{CheckResults, Health};
use crate::checks::{Checks, Standing};
use crate::event::Ticket;
use crate::failures::Failures;
use crate::heartbeat::{Action, Heartbeat};
use crate::measurement::{Measurement, RunResult};
use crate::notice::{Named, Notice};
use crate::plan::{Host, REQUEST_LIMIT, Service};
use crate::process::Ending;
use crate::registration::{DesiredState, Operation, Reply};
use crate::spread::Place;
use crate::status::{CheckStatus, JobStatus, Run, ServiceStatus};
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
    /// What the results say, if its checks have schedules of their own.
    own: Option<Checks>,
    /// Its checks; at most one if it has no schedule of its own.
    checks: Vec<ServiceCheck>,
    reactions: HealthReactions,
    failures: Failures,
    /// Other instances that held this ID and were reported.
    others: Vec<Endpoint>,
    closing: bool,
    shown: Shown,
}

/// What is only shown of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Shown {
    /// When the catalogue last accepted a registration, a heartbeat or a report.
    confirmed: Option<Instant>,
    /// The health after the last result, and since when it is that.
    health: Option<(Health, Instant)>,
    /// Whether the catalogue was asked to register the service, so that its entry may be one of this run.
    asked: bool,
    /// What was measured last: whether it is healthy, and when its entry expires.
    measured: Option<(bool, Option<Instant>)>,
}

impl ServiceUnit {
    pub fn new(
        now: Instant,
        id: UnitId,
        service: &Service,
        place: Place,
        desired: DesiredState,
        jitter: Jitter,
    ) -> Self {
        let (name, paused) = (&service.registration.name, desired == DesiredState::Absent);
        let own = Checks::new(now, service.poll, &service.checks).map(|own| own.at(place));
        let heartbeat = Heartbeat::new(now, service.poll, service.heartbeats_per_inspection, desired)
            .with(now, service.thresholds)
            .at(place);
        let reactions = HealthReactions::new(now, id, name, &service.actions, paused, jitter);
        Self {
            service: service.clone(),
            id,
            heartbeat: if own.is_some() {
                heartbeat.paced()
            } else {
                heartbeat
            },
            own,
            checks: ServiceCheck::all(now, id, service, jitter),
            reactions,
            failures: Failures::default(),
            others: Vec::new(),
            closing: false,
            shown: Shown::default(),
        }
    }

    pub fn named(&self) -> Named {
        Named {
            service: self.service.registration.name.clone(),
            id: self.service.registration.id.clone(),
            check: None,
        }
    }

    /// The same with the name of a check, if it has one.
    fn named_with(&self, number: usize) -> Named {
        let check = self.checks.get(number).and_then(|check| check.name.clone());
        Named {
            check,
            ..self.named()
        }
    }

    pub fn status(&self, now: Instant, out: &Outbox) -> ServiceStatus {
        let health = self.health();
        ServiceStatus {
            registration: self.service.registration.clone(),
            registered: self.registered_until().is_some_and(|until| now < until),
            health,
            since: self
                .shown
                .health
                .filter(|(shown, _)| *shown == health)
                .map(|(_, since)| since),
            last_heartbeat: self.shown.confirmed,
            heartbeat_failures: self.failures.count(),
            check: self.only_check().map(|check| check.checker.status(out)),
            recent: self.only_check().map(ServiceCheck::recent).unwrap_or_default(),
            checks: self.check_states(out),
        }
    }

    /// When its entry expires unless another heartbeat succeeds; `None` if it has none.
    fn registered_until(&self) -> Option<Instant> {
        let confirmed = self.shown.confirmed?;
        let is_registered = self.heartbeat.registration().is_registered();
        is_registered.then(|| confirmed + self.service.registration.ttl)
    }

    /// Measures its state, whether it has changed or not.
    pub fn announce(&mut self, out: &mut Outbox) {
        self.shown.measured = None;
        self.measure(out);
    }

    /// Measures its state if that has changed.
    fn measure(&mut self, out: &mut Outbox) {
        let healthy = self.health() == Health::Healthy;
        let registered_until = self.registered_until();
        let measured = Some((healthy, registered_until));
        if self.shown.measured != measured {
            self.shown.measured = measured;
            out.measure(Measurement::ServiceState {
                service: self.service.registration.name.clone(),
                healthy,
                registered_until,
            });
        }
    }

    /// The check that has no name.
    fn only_check(&self) -> Option<&ServiceCheck> {
        self.checks.first().filter(|check| check.name.is_none())
    }

    /// The checks that have names.
    fn check_states(&self, out: &Outbox) -> Vec<CheckStatus> {
        let numbered = self.checks.iter().zip(&self.service.checks).enumerate();
        let states = numbered.filter_map(|(number, (check, own))| {
            Some(CheckStatus {
                name: check.name.clone()?,
                interval: own.interval,
                health: self.health_of(number),
                job: check.checker.status(out),
                recent: check.recent(),
            })
        });
        states.collect()
    }

    /// The commands for changes of its health.
    pub fn actions(&self, out: &Outbox) -> Vec<JobStatus> {
        self.reactions.status(out).collect()
    }

    /// The health by the results so far; a service without a check is always healthy.
    fn health(&self) -> Health {
        match &self.own {
            Some(checks) => checks.health(),
            None => self.health_of(0),
        }
    }

    /// The health by the results of one check.
    fn health_of(&self, number: usize) -> Health {
        let Some(check) = self.checks.get(number) else {
            return Health::Healthy;
        };
        let last = || {
            check
                .checker
                .last()
                .map_or(Health::Unknown, |run| Health::of(run.ending.passed()))
        };
        self.results(number).map_or_else(last, CheckResults::health)
    }

    /// The results of one check, if thresholds say which of them count.
    fn results(&self, number: usize) -> Option<&CheckResults> {
        match &self.own {
            Some(checks) => checks.results(number),
            None => self.heartbeat.results(),
        }
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
        match self.checks.first_mut() {
            Some(check) => check.checker.start(now, out),
            None => self.on_checked(now, None, out),
        }
    }

    /// A service without a health check is always healthy.
    fn on_checked(&mut self, now: Instant, ending: Option<&Ending>, out: &mut Outbox) {
        let failed = ending.filter(|ending| !ending.passed());
        let counts = self.counts(now, 0, failed.is_none());
        let action = self.heartbeat.on_checked(now, failed.is_none());
        self.log_health(now, 0, failed, out);
        if counts && self.ends_shim(0, failed.is_none(), out) {
            return self.leave_out(action);
        }
        if counts {
            self.react(now, 0, out);
        }
        self.perform(now, action, out);
    }

    /// A check with a schedule of its own has ended.
    fn on_own_checked(&mut self, now: Instant, number: usize, ending: &Ending, out: &mut Outbox) {
        let passed = ending.passed();
        let counts = self.counts(now, number, passed);
        if let Some(checks) = &mut self.own {
            checks.on_ended(now, number, passed);
        }
        self.log_health(now, number, Some(ending).filter(|_| !passed), out);
        if counts && self.ends_shim(number, passed, out) {
            return;
        }
        if counts {
            self.react(now, number, out);
        }
        self.proceed(now, out);
    }

    /// A result of this check counts. What makes a service unhealthy is the reason as long as it is.
    fn react(&mut self, now: Instant, number: usize, out: &mut Outbox) {
        let health = self.health();
        let blamed = self.own.as_ref().and_then(Checks::blamed);
        let (checks, number) = (&self.checks, blamed.unwrap_or(number));
        let reason = || described_last(checks, number, LONGEST_REASON);
        self.reactions.on_health(now, health, reason, out);
    }

    /// Starts the checks with schedules of their own that are due, and sends what they call for.
    fn proceed(&mut self, now: Instant, out: &mut Outbox) {
        if self.heartbeat.registration().desired() == DesiredState::Registered {
            while let Some(number) = self.own.as_mut().and_then(|checks| checks.start_due(now)) {
                if let Some(check) = self.checks.get_mut(number) {
                    check.checker.start(now, out);
                }
            }
        }
        let standing = self.standing(now);
        let mut action = self.heartbeat.on_standing(now, standing);
        if self.heartbeat.is_outdated() {
            self.cancel_waiting(out);
            action = self.heartbeat.on_standing(now, standing);
        }
        self.perform_paced(now, action, out);
    }

    /// Only an inspection can be in flight when a request is sent; it is cancelled.
    fn perform_paced(&mut self, now: Instant, action: Option<Action>, out: &mut Outbox) {
        if action.is_some() {
            out.cancel(self.id);
        }
        self.perform(now, action, out);
    }

    fn standing(&self, now: Instant) -> Standing {
        let checks = self.own.as_ref();
        checks.map_or(Standing::Silent, |checks| checks.standing(now))
    }

    /// Whether a result of a check counts for the reactions: not after the service was closed, in maintenance, and no failure
    /// in the start period.
    fn counts(&self, now: Instant, number: usize, passed: bool) -> bool {
        let wanted = self.heartbeat.registration().desired() == DesiredState::Registered;
        let starting = self
            .results(number)
            .is_some_and(|results| results.is_starting(now));
        wanted && !self.closing && (passed || !starting)
    }

    /// Counts a result, and requests the stop of the shim if the check has failed too often.
    fn ends_shim(&mut self, number: usize, passed: bool, out: &mut Outbox) -> bool {
        let exit = self.checks.get_mut(number).and_then(|check| check.exit.as_mut());
        let Some(exit) = exit else {
            return false;
        };
        if !exit.add(passed) {
            return false;
        }
        let failures = exit.limit().get();
        let (named, reason) = (
            self.named_with(number),
            shortened(&described_last(&self.checks, number, LONGEST_REASON)),
        );
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
            Operation::Register => {
                self.shown.asked = true;
                Request::Register(registration)
            }
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
        let valid_until = self.own.as_ref().and_then(Checks::valid_until);
        let valid_for = valid_until.map_or(Duration::MAX, |until| until - now);
        let longest = REQUEST_LIMIT.max(self.service.poll);
        // The result of a passing check is valid until the next check is due.
        let longest_wait = match operation {
            Operation::Deregister => LONGEST_DEREGISTRATION_WAIT,
            Operation::Inspect => limit,
            Operation::Fail => longest,
            Operation::Register | Operation::Renew => longest.min(valid_for),
        };
        out.request(now, self.id, request, limit, longest_wait);
    }

    /// What the catalogue gets as the result of the check, if its thresholds have a number of failures.
    fn report(&self) -> Option<String> {
        if let Some(checks) = &self.own {
            return self.report_of(checks);
        }
        self.service.thresholds.as_ref()?.failures?;
        self.checks.first()?.checker.last().map(described)
    }

    /// The check that made the service unhealthy, or a line for each check.
    fn report_of(&self, checks: &Checks) -> Option<String> {
        let mut all = self.service.checks.iter();
        if !all.any(|own| own.thresholds.failures.is_some()) {
            return None;
        }
        if let Some(number) = checks.blamed() {
            return Some(described_last(&self.checks, number, LONGEST_REASON));
        }
        let share = LONGEST_REASON / self.checks.len().max(1);
        let lines: Vec<String> = (0..self.checks.len())
            .map(|number| described_last(&self.checks, number, share.saturating_sub(1)))
            .collect();
        Some(beginning(&lines.join("\n"), LONGEST_REASON).into())
    }

    fn log_health(&mut self, now: Instant, number: usize, failed: Option<&Ending>, out: &mut Outbox) {
        if self.closing {
            return;
        }
        let service_health = self.health();
        let shown = self.shown.health.map(|(shown, _)| shown);
        if shown != Some(service_health) {
            self.shown.health = Some((service_health, now));
        }
        let (health, counted) = (self.health_of(number), self.counted(number));
        let registration = &self.service.registration;
        let Some(check) = self.checks.get_mut(number) else {
            return;
        };
        let named = || Named {
            service: registration.name.clone(),
            id: registration.id.clone(),
            check: check.name.clone(),
        };
        let notice = match failed {
            None => check.log.on_passed(now, named, health == Health::Healthy),
            Some(ending) => {
                let last = check.checker.last();
                let reason = || last.map_or_else(String::new, described_in_line);
                let is_unhealthy = health == Health::Unhealthy;
                check
                    .log
                    .on_failed(now, named(), ending, reason, counted, is_unhealthy)
            }
        };
        if let Some(notice) = notice {
            out.log(notice);
        }
    }

    /// How many failures of a check in a row count, and how many make the service unhealthy.
    fn counted(&self, number: usize) -> Option<(u32, u32)> {
        let results = self.results(number)?;
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
        let wanted = self.heartbeat.registration().desired() == DesiredState::Registered;
        let own = self.own.as_ref().filter(|_| wanted).and_then(Checks::deadline);
        let running = self.checks.iter().map(|check| check.checker.deadline());
        let checks = running.fold(own, earliest);
        let reactions = self.reactions.deadline();
        earliest(earliest(self.heartbeat.deadline(), checks), reactions)
    }

    /// Whether its deregistration is over, successful or not.
    fn has_deregistered(&self) -> bool {
        self.heartbeat.registration().has_deregistered()
    }

    /// Whether its request is sent again after the catalogue refused it for now: an inspection never is, and a
    /// registration or a heartbeat is not if the service is to be absent by now, or if it says what is not so any more.
    fn is_sent_again(&self) -> bool {
        let registration = self.heartbeat.registration();
        match registration.in_flight() {
            Some(Operation::Deregister) => true,
            Some(Operation::Inspect) => false,
            _ => registration.desired() == DesiredState::Registered && !self.heartbeat.is_outdated(),
        }
    }

    fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        if self.own.is_some() {
            self.proceed(now, out);
        } else {
            let action = self.heartbeat.on_time(now);
            self.perform(now, action, out);
        }
        for check in &mut self.checks {
            check.checker.on_time(now, out);
        }
        self.reactions.on_time(now, out);
    }

    fn after_standstill(&mut self, now: Instant) {
        self.heartbeat.after_standstill(now);
        if let Some(checks) = &mut self.own {
            checks.after_standstill(now);
        }
        for check in &mut self.checks {
            check.checker.after_standstill(now);
        }
        self.reactions.after_standstill(now);
    }

    fn on_printed(&mut self, ticket: Ticket, text: String) {
        if self.reactions.owns(ticket) {
            self.reactions.on_printed(ticket, text);
        } else if let Some(check) = self.checks.iter_mut().find(|check| check.checker.owns(ticket)) {
            check.checker.keep_output(text);
        }
    }

    fn on_ended(&mut self, now: Instant, ticket: Ticket, ending: &Ending, _outlived: bool, out: &mut Outbox) {
        if self.reactions.owns(ticket) {
            return self.reactions.on_ended(now, ticket, ending, out);
        }
        let Some(number) = self.checks.iter().position(|check| check.checker.owns(ticket)) else {
            return;
        };
        if let Some(check) = self.checks.get_mut(number) {
            check.on_ended(now, ending, out);
        }
        match self.own {
            Some(_) => self.on_own_checked(now, number, ending, out),
            None => self.on_checked(now, Some(ending), out),
        }
        self.measure(out);
    }

    fn on_reply(&mut self, now: Instant, reply: outbox::Reply, _listed: usize, out: &mut Outbox) {
        let Some(operation) = self.heartbeat.registration().in_flight() else {
            return;
        };
        let outcome = outcome(&reply);
        match (operation, outcome) {
            (Operation::Register | Operation::Renew | Operation::Fail, Reply::Done) => {
                self.shown.confirmed = Some(now);
            }
            (Operation::Deregister, Reply::Done) | (_, Reply::NotRegistered) => self.shown.confirmed = None,
            _ => {}
        }
        self.log_answer(operation, reply.answer, out);
        if self.own.is_some() {
            let standing = self.standing(now);
            let action = self.heartbeat.on_paced_reply(now, outcome, standing);
            self.perform_paced(now, action, out);
        } else {
            let action = self.heartbeat.on_reply(now, outcome);
            self.perform(now, action, out);
        }
        self.measure(out);
    }

    /// Deregisters the service for good and ends its children (LC-5).
    fn close(&mut self, now: Instant, out: &mut Outbox) {
        for check in &mut self.checks {
            check.checker.end(out);
        }
        self.reactions.end(out);
        self.closing = true;
        let notice = match self.shown.asked {
            true => Notice::Deregistering(self.named()),
            false => Notice::DeregisteringInCase(self.named()),
        };
        self.deregister(now, notice, out);
    }

    /// Deregisters the service until [`Unit::resume`]. A command that runs as health check may finish, its result is
    /// ignored; a probe is cancelled.
    fn pause(&mut self, now: Instant, out: &mut Outbox) {
        if !self.closing {
            self.reactions.pause();
            for (number, check) in self.checks.iter_mut().enumerate() {
                if check.checker.cancel_probe(out) {
                    match &mut self.own {
                        Some(checks) => checks.on_cancelled(number),
                        None => self.heartbeat.on_check_cancelled(),
                    }
                }
            }
            self.deregister(now, Notice::MarkedForMaintenance(self.named()), out);
        }
    }

    /// Registers the service again, unless it is closed: from the next passing check on (LC-12).
    fn resume(&mut self, now: Instant, out: &mut Outbox) {
        if !self.closing {
            self.heartbeat.resume(now);
            self.reactions.resume();
            if let Some(checks) = &mut self.own {
                checks.resume(now);
            }
            self.checks.iter_mut().for_each(ServiceCheck::forget);
            self.measure(out);
        }
    }

    fn is_closing(&self) -> bool {
        self.closing
    }

    fn delays_plan(&self) -> bool {
        let mut checks = self.checks.iter();
        self.closing && (checks.any(|check| check.checker.is_running()) || self.reactions.is_running())
    }
}

/// The longest description of a run in one line of the log, in bytes. (docs/bounds.md)
const LONGEST_LINE: usize = 256;

/// How a run ended and the end of its output, in one line.
fn described_in_line(run: &Run) -> String {
    let text = described_within(run, LONGEST_LINE);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" | ")
}

/// How the last run of a check ended and the end of its output, after its name if it has one, in at most so many bytes;
/// empty before the first run.
fn described_last(checks: &[ServiceCheck], number: usize, most: usize) -> String {
    let check = checks.get(number);
    let Some((check, last)) = check.and_then(|check| Some((check, check.checker.last()?))) else {
        return String::new();
    };
    match &check.name {
        None => described_within(last, most),
        Some(name) => {
            let most = most.saturating_sub(name.len() + ": ".len());
            alloc::format!("{name}: {}", described_within(last, most))
        }
    }
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

crate::keyed!(ServiceUnit { service, id, heartbeat, own, checks, reactions, others, closing } without { failures, shown });

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
