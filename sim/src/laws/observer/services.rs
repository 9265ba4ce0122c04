//! The state of each service: its checks, the catalogue's answers, and whether it has to be deregistered.

use super::Observer;
use super::checks::OwnChecks;
use super::health::HealthFacts;
use super::reactions::ReactionFacts;
use super::requests::{InFlight, Kind};
use crate::laws::bounds::{LONGEST_HEARTBEAT_WAIT, MOST_HOLDERS, REQUEST};
use crate::laws::schedule::Schedule;
use domain::Instant;
use domain::catalogue::{Answer, Endpoint};
use domain::plan::Service;
use domain::time::Duration;
use std::collections::BTreeSet;

/// The state of a service's registration, according to the catalogue's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KnownRegistration {
    Unknown,
    Registered,
    Absent,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServiceFacts {
    pub schedule: Schedule,
    pub ttl: Duration,
    pub checked: bool,
    pub closing: bool,
    pub registration: KnownRegistration,
    /// Whether its deregistration must be sent.
    pub must_deregister: bool,
    /// Its health, if its check has thresholds.
    pub health: Option<HealthFacts>,
    /// Its checks, if they have schedules of their own. Then `schedule` is that of its heartbeats, `passed` says that the
    /// change to passing was not sent yet, and `critical` that the change to unhealthy was not.
    pub own: Option<OwnChecks>,
    /// What its health calls for.
    pub reactions: ReactionFacts,
    /// Whether a check passed, in this turn or earlier, and its heartbeat was not sent yet; with thresholds, whether a
    /// check ended and the service counts as healthy.
    pub passed: bool,
    /// Whether a check failed, the service counts as unhealthy, and the catalogue did not get that yet.
    pub critical: bool,
    /// Since when that, or `passed` or `unknown`, is so.
    pub since: Instant,
    /// Since when its deregistration waits, if it must be deregistered and no request is in flight.
    must_deregister_since: Instant,
    /// Since when the last heartbeat waited that was due by the schedule alone.
    pushed: Instant,
    /// Whether the catalogue answered in this turn that it has no such service.
    pub unknown: bool,
    /// When its heartbeats were last delayed for a permitted reason.
    pub delayed: Instant,
    pub generation: u32,
    /// Whether the catalogue ever accepted its registration.
    pub was_registered: bool,
    /// The other instances under its ID that were reported.
    pub other_holders: BTreeSet<Endpoint>,
}

impl ServiceFacts {
    fn new(turn: Instant, now: Instant, service: &Service, generation: u32) -> Self {
        Self {
            schedule: Schedule::new(turn, now, service.poll),
            ttl: service.registration.ttl,
            checked: service.all_checks().next().is_some(),
            closing: false,
            registration: KnownRegistration::Unknown,
            must_deregister: false,
            health: service
                .thresholds
                .map(|thresholds| HealthFacts::new(turn, now, thresholds)),
            own: OwnChecks::new(turn, now, service),
            reactions: ReactionFacts::new(service),
            passed: false,
            critical: false,
            since: turn,
            must_deregister_since: turn,
            pushed: turn,
            unknown: false,
            delayed: now,
            generation,
            was_registered: false,
            other_holders: BTreeSet::new(),
        }
    }

    /// Since when a heartbeat waits, if one does.
    pub fn heartbeat_waits_since(&self) -> Option<Instant> {
        if self.passed || self.unknown || self.critical {
            return Some(self.since);
        }
        (!self.checked || self.own.is_some()).then(|| self.schedule.next_due(self.pushed))
    }

    /// Whether a heartbeat has to be sent at once.
    pub fn owes_heartbeat(&self, now: Instant) -> bool {
        let passing = self.own.as_ref().is_none_or(|own| own.is_passing(now));
        (self.passed || self.unknown) && passing
    }

    /// The labels of its checks.
    pub fn check_labels(&self, id: &str) -> Vec<String> {
        match &self.own {
            None => vec![check_of(id)],
            Some(own) => own.checks.keys().cloned().collect(),
        }
    }

    /// Since when its deregistration waits, if it does.
    pub fn deregistration_waits_since(&self) -> Option<Instant> {
        self.must_deregister.then_some(self.must_deregister_since)
    }

    /// How long a heartbeat may wait to be sent.
    pub fn longest_wait(&self) -> Duration {
        self.schedule.period().max(LONGEST_HEARTBEAT_WAIT)
    }

    /// How long a request about it may take (SD-10).
    pub fn request_limit(&self) -> Duration {
        self.schedule.period().min(REQUEST)
    }

    fn delay(&mut self, now: Instant) {
        self.delayed = self.delayed.max(now);
    }
}

/// The label of the health check of a service that has no array of checks.
fn check_of(id: &str) -> String {
    format!("{}.health", id.trim_end_matches("-host"))
}

impl Observer {
    /// The request in flight of this generation of the service's unit, without inspections, because they
    /// delay nothing.
    pub(crate) fn request_of(&self, id: &str, facts: &ServiceFacts) -> Option<&InFlight> {
        let own = |request: &&InFlight| {
            request.owner == id && request.generation == facts.generation && request.kind != Kind::Inspect
        };
        self.requests.values().find(own)
    }

    /// The services with a request in flight.
    pub(super) fn requesting(&self) -> BTreeSet<String> {
        let requesting = |(id, facts): &(&String, &ServiceFacts)| self.request_of(id, facts).is_some();
        let requesting = self.services.iter().filter(requesting);
        requesting.map(|(id, _)| id.clone()).collect()
    }

    /// Whether its deregistration is over, if one was necessary.
    pub(super) fn has_deregistered(&self, id: &str, facts: &ServiceFacts) -> bool {
        !facts.must_deregister && self.request_of(id, facts).is_none()
    }

    /// Its deregistration must be sent, unless the catalogue does not have it or the deregistration has just
    /// been sent.
    pub(super) fn must_deregister(&mut self, id: &str) {
        let Some(facts) = self.services.get(id) else {
            return;
        };
        let due = match self.request_of(id, facts).map(|request| request.kind) {
            Some(Kind::Deregister) => false,
            Some(_) => true,
            None => facts.registration != KnownRegistration::Absent,
        };
        let turn = self.turn.began;
        if let Some(facts) = self.services.get_mut(id) {
            // One that waits already keeps its time.
            if !facts.must_deregister {
                facts.must_deregister_since = turn;
            }
            facts.must_deregister = due;
        }
    }

    /// Maintenance ends.
    pub(super) fn services_resume(&mut self) {
        let (now, turn) = (self.now, self.turn.began);
        // A deregistration that waits to be sent is sent nevertheless.
        let (limited, requesting) = (self.has_budget(), self.requesting());
        for (id, facts) in self.services.iter_mut().filter(|(_, facts)| !facts.closing) {
            facts.must_deregister &= limited && !requesting.contains(id);
            facts.schedule.resume(turn, now);
            if let Some(health) = &mut facts.health {
                health.resume();
            }
            if let Some(own) = &mut facts.own {
                own.resume(turn, now);
                (facts.passed, facts.unknown, facts.critical) = (false, false, false);
            }
            facts.pushed = turn;
            facts.delay(now);
        }
    }

    /// The driver waits.
    pub(super) fn services_on_wait(&mut self) {
        let (turn, limited) = (self.turn.began, self.has_budget());
        let has_own = self.services.values().any(|facts| facts.own.is_some());
        let requesting = if limited || has_own {
            self.requesting()
        } else {
            BTreeSet::new()
        };
        let now = self.now;
        for (id, facts) in &mut self.services {
            let in_time = turn < facts.since + facts.longest_wait();
            let mut waits = limited && !self.maintenance && in_time && !requesting.contains(id);
            if let Some(own) = &mut facts.own {
                // A change is sent after the request in flight.
                waits |= requesting.contains(id) || limited;
                facts.unknown &= own.is_passing(now);
                own.may_pass &= waits;
                own.may_fail &= waits;
                if !own.is_passing(now) {
                    facts.delayed = facts.delayed.max(now);
                }
            }
            facts.passed &= waits;
            facts.unknown &= waits;
            facts.critical &= waits;
        }
    }

    /// A check of the service starts; its label tells which one.
    pub(super) fn check_starts(&mut self, id: &str, label: &str) {
        let (now, turn) = (self.now, self.turn.began);
        let Some(facts) = self.services.get_mut(id) else {
            return;
        };
        match &mut facts.own {
            None => facts.schedule.begin(turn, now),
            Some(own) => {
                if let Some(check) = own.checks.get_mut(label) {
                    check.schedule.begin(turn, now);
                }
            }
        }
    }

    /// A check with a schedule of its own ended.
    fn own_checked(&mut self, id: &str, label: &str, passed: bool) {
        let (now, turn) = (self.now, self.turn.began);
        let facts = self.services.get(id);
        let in_flight = facts.and_then(|facts| self.request_of(id, facts)?.says());
        let Some(facts) = self.services.get_mut(id) else {
            return;
        };
        let Some(own) = &mut facts.own else {
            return;
        };
        let (was_healthy, was_passing, was_critical) =
            (own.is_healthy(), own.is_passing(now), own.is_critical());
        if let Some(check) = own.checks.get_mut(label) {
            check.add(turn, now, passed);
        }
        own.may_pass = own.can_pass(turn) && (own.may_pass || !was_passing);
        own.may_fail = own.can_be_critical() && (own.may_fail || !was_critical);
        let is_there = facts.registration != KnownRegistration::Absent;
        let (passes, fails) = (own.is_passing(now), own.is_critical() && is_there);
        let changed = (passes && !was_healthy) || (fails && !was_critical);
        // What the request in flight says already is not sent again.
        facts.passed = passes && in_flight != Some(true) && (facts.passed || !was_healthy);
        facts.critical = fails && in_flight != Some(false) && (facts.critical || !was_critical);
        if changed {
            facts.since = turn;
        }
        if !passes {
            facts.delay(now);
        }
    }

    pub(super) fn checked(&mut self, id: &str, label: &str, since: Instant, passed: bool) {
        let (now, turn) = (self.now, self.turn.began);
        let counts = self.result_counts(id, label, passed);
        if self.services.get(id).is_some_and(|facts| facts.own.is_some()) {
            self.own_checked(id, label, passed);
        } else if let Some(facts) = self.services.get_mut(id) {
            facts.schedule.end(turn);
            (facts.passed, facts.since) = (passed, turn);
            if let Some(health) = &mut facts.health {
                health.add(turn, now, passed);
                facts.passed = health.is_healthy();
                facts.critical = !passed
                    && health.is_unhealthy()
                    && health.reports()
                    && facts.registration != KnownRegistration::Absent;
            }
            if !passed || !facts.passed || now - since >= facts.schedule.period() / 2 {
                facts.delay(now);
            }
        }
        if counts {
            self.react(id, label, passed);
        }
    }

    /// A request about a service is sent.
    pub(super) fn service_request_sent(&mut self, request: &mut InFlight) {
        let (turn, now) = (self.turn.began, self.now);
        let Some(facts) = self.services.get_mut(&request.owner) else {
            return;
        };
        request.generation = facts.generation;
        match request.kind {
            Kind::Deregister => {
                facts.must_deregister = false;
                request.due = facts.must_deregister_since;
                return;
            }
            Kind::Fail => {
                request.due = facts.heartbeat_waits_since().unwrap_or(turn);
                facts.critical = false;
                if let Some(own) = &mut facts.own {
                    own.may_fail = false;
                    facts.schedule.begin(turn, now);
                    facts.pushed = request.due;
                }
                return;
            }
            Kind::Inspect | Kind::List | Kind::LookUp => return,
            Kind::Register | Kind::Renew => {}
        }
        request.due = facts.heartbeat_waits_since().unwrap_or(turn);
        if facts.unknown {
            facts.unknown = false;
        } else if let Some(own) = &mut facts.own {
            (own.may_pass, facts.passed) = (false, false);
            facts.schedule.begin(turn, now);
            (facts.since, facts.pushed) = (request.due, request.due);
        } else if !facts.checked && !facts.passed {
            facts.schedule.begin(turn, now);
            (facts.since, facts.pushed) = (request.due, request.due);
        } else {
            facts.passed = false;
        }
    }

    pub(super) fn service_answered(&mut self, request: &InFlight, answer: &Answer) {
        self.delay_others(request, answer);
        if let Answer::Holder(Some(holder)) | Answer::Unknown(_, Some(holder)) = answer {
            self.finds_holder(request, holder);
        }
        if request.kind == Kind::Inspect {
            return;
        }
        if !matches!(answer, Answer::Done | Answer::Removed) {
            self.turn.unsuccessful.push(request.owner.clone());
        }
        let (now, turn) = (self.now, self.turn.began);
        let Some(facts) = self.services.get_mut(&request.owner) else {
            return;
        };
        if facts.generation != request.generation {
            return;
        }
        facts.schedule.end(turn);
        facts.must_deregister_since = turn;
        facts.was_registered |= (request.kind, answer) == (Kind::Register, &Answer::Done);
        facts.registration = match (request.kind, answer) {
            (Kind::Register | Kind::Renew, Answer::Done) => KnownRegistration::Registered,
            (Kind::Deregister, Answer::Done | Answer::Unknown(..))
            | (Kind::Fail, Answer::Removed | Answer::Unknown(..)) => KnownRegistration::Absent,
            (Kind::Renew, Answer::Failed(_)) | (Kind::Fail, Answer::Done | Answer::Failed(_)) => {
                facts.registration
            }
            _ => KnownRegistration::Unknown,
        };
        // What the catalogue does not have is not deregistered.
        facts.must_deregister &=
            request.kind != Kind::Fail || facts.registration != KnownRegistration::Absent;
        facts.unknown = request.kind == Kind::Renew && matches!(answer, Answer::Unknown(..));
        if facts.unknown {
            facts.since = turn;
        }
        if *answer != Answer::Done || now - request.at >= facts.schedule.period() / 2 {
            facts.delay(now);
        }
    }

    /// With a budget, heartbeats may have to wait for those of other services.
    fn delay_others(&mut self, request: &InFlight, answer: &Answer) {
        let (now, took) = (self.now, self.now - request.at);
        let (limited, is_good) = (
            self.has_budget(),
            matches!(answer, Answer::Done | Answer::Removed | Answer::Holder(_)),
        );
        for facts in self.services.values_mut() {
            let slow = !is_good || took >= facts.schedule.period() / 2;
            if slow && limited {
                facts.delay(now);
            }
        }
    }

    /// Each other instance is reported once, eight at most, and only if the service was registered before.
    fn finds_holder(&mut self, request: &InFlight, holder: &Endpoint) {
        let mut services = self.plan.services.iter();
        let own = services.find(|service| service.registration.id == request.owner);
        let is_ours = own.is_some_and(|service| {
            let registration = &service.registration;
            (registration.address.to_string(), registration.port) == (holder.address.clone(), holder.port)
        });
        let facts = self.services.get(&request.owner);
        let is_new = facts.is_some_and(|facts| {
            let few = facts.other_holders.len() < MOST_HOLDERS && !facts.other_holders.contains(holder);
            few && facts.generation == request.generation && facts.was_registered
        });
        if !is_ours && is_new {
            self.turn.other_holder = Some((request.owner.clone(), holder.clone()));
        }
    }

    /// The catalogue refused this request as one too many: it may be sent again.
    pub(super) fn service_not_taken(&mut self, request: &InFlight) {
        let turn = self.turn.began;
        let Some(facts) = self.services.get_mut(&request.owner) else {
            return;
        };
        if facts.generation != request.generation || request.kind == Kind::Inspect {
            return;
        }
        if !matches!(request.kind, Kind::Renew | Kind::Fail) {
            facts.registration = KnownRegistration::Unknown;
        }
        if request.kind == Kind::Deregister {
            (facts.must_deregister, facts.must_deregister_since) = (true, request.due);
        } else if facts.must_deregister {
            // It is not sent again; the deregistration follows.
            facts.schedule.end(turn);
            facts.must_deregister_since = turn;
            self.turn.unsuccessful.push(request.owner.clone());
        } else {
            let fails = request.kind == Kind::Fail;
            if let Some(own) = &mut facts.own {
                (own.may_pass, own.may_fail) = (!fails, fails);
            }
            (facts.passed, facts.critical, facts.since) = (!fails, fails, request.due);
        }
    }

    /// Whether an answer of this turn says that a request of the service or the backend failed.
    pub(crate) fn was_unsuccessful(&self, owner: &str) -> bool {
        self.turn.unsuccessful.iter().any(|other| other == owner)
    }

    /// A request of the service is reported as failed. Returns whether the reason is that it waited for too
    /// long, and not an answer.
    pub(super) fn given_up(&mut self, id: &str) -> bool {
        let (turn, now) = (self.turn.began, self.now);
        let waited = self.has_budget() && !self.was_unsuccessful(id);
        let Some(facts) = self.services.get_mut(id).filter(|_| waited) else {
            return false;
        };
        if let Some(since) = facts.heartbeat_waits_since().filter(|_| !facts.must_deregister) {
            facts.pushed = since;
        }
        facts.schedule.end(turn);
        (facts.passed, facts.unknown, facts.critical) = (false, false, false);
        if let Some(own) = &mut facts.own {
            (own.may_pass, own.may_fail) = (false, false);
            // Its tick is used, although nothing was sent.
            facts.schedule.begin(turn, now);
        }
        true
    }

    /// The deregistration of the service is reported as failed.
    pub(super) fn deregistration_given_up(&mut self, id: &str) {
        if self.given_up(id)
            && let Some(facts) = self.services.get_mut(id)
        {
            facts.must_deregister = false;
        }
    }

    /// Another instance under the service's ID is reported.
    pub(super) fn holder_reported(&mut self, id: &str, other: &Endpoint) {
        self.turn.other_holder = None;
        if let Some(facts) = self.services.get_mut(id) {
            facts.other_holders.insert(other.clone());
        }
    }

    /// The heartbeats of this service were delayed for a permitted reason.
    pub(super) fn delay(&mut self, id: &str) {
        let now = self.now;
        if let Some(facts) = self.services.get_mut(id) {
            facts.delay(now);
        }
    }

    /// The heartbeats of all services were delayed for a permitted reason.
    pub(super) fn delay_all(&mut self) {
        let now = self.now;
        for facts in self.services.values_mut() {
            facts.delay(now);
        }
    }

    /// Adds a service of the plan in force.
    pub(super) fn open_service(&mut self, service: &Service) {
        self.generation += 1;
        let (now, turn, generation) = (self.now, self.turn.began, self.generation);
        let facts = || ServiceFacts::new(turn, now, service, generation);
        let id = service.registration.id.clone();
        self.services.entry(id).or_insert_with(facts);
    }
}

domain::keyed_as_is!(KnownRegistration);
domain::keyed!(ServiceFacts {
    schedule, ttl, checked, closing, registration, must_deregister, health, own, reactions, passed, critical, since, must_deregister_since, pushed, unknown, delayed,
    was_registered, other_holders,
} without { generation });
