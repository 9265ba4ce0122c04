//! One service's heartbeats: joins the schedule of its health check to its registration.
//!
//! A check runs at every tick of the poll interval. One that passes leads to a registration or a renewal; one
//! that fails leads to no request, so the TTL in the catalogue expires and the catalogue marks the service as
//! critical (docs/development/behaviour.md EX-18). With thresholds, each check of a service that counts as
//! healthy leads to a heartbeat, and each failed check of one that counts as unhealthy to a report, if the
//! thresholds have a number of failures. No check starts while a request other than an inspection is in
//! flight.
//!
//! If the service has [`crate::checks::Checks`] with schedules of their own, there is one heartbeat at every tick of the
//! poll interval while they pass, or one report while they call for it, and a change is sent at once.

use crate::check::{CheckResults, CheckSchedule, Health};
use crate::checks::Standing;
use crate::plan::Thresholds;
use crate::registration::{DesiredState, Operation, RegistrationState, Reply};
use crate::spread::Place;
use crate::time::{Duration, Instant};

/// The heartbeats of one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Heartbeat {
    schedule: CheckSchedule,
    /// The results so far, if thresholds say which of them count.
    results: Option<CheckResults>,
    /// What is sent, if the checks have schedules of their own; the schedule is that of the heartbeats then.
    pace: Option<Pace>,
    registration: RegistrationState,
}

/// What the checks called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Pace {
    /// When they were last looked at.
    present: Standing,
    /// When a request was sent last; [`Standing::Silent`] if they called for none after that.
    sent: Standing,
}

/// The next action of the service's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Run the health check. An inspection in flight is cancelled.
    RunCheck,
    /// Send this request to the catalogue.
    Send(Operation),
}

impl Heartbeat {
    /// A service whose first check is due one `poll` after `now` (LC-15).
    pub fn new(now: Instant, poll: Duration, heartbeats_per_inspection: u8, desired: DesiredState) -> Self {
        Self {
            schedule: CheckSchedule::new(now, poll),
            results: None,
            pace: None,
            registration: RegistrationState::new(desired, heartbeats_per_inspection),
        }
    }

    /// The same with thresholds; the start period begins `now`.
    #[must_use]
    pub fn with(self, now: Instant, thresholds: Option<Thresholds>) -> Self {
        Self {
            results: thresholds.map(|thresholds| CheckResults::new(now, thresholds)),
            ..self
        }
    }

    /// The same for a service with this place among others.
    #[must_use]
    pub fn at(self, place: Place) -> Self {
        Self {
            schedule: self.schedule.at(place),
            ..self
        }
    }

    /// The same for checks with schedules of their own.
    #[must_use]
    pub fn paced(self) -> Self {
        let pace = Pace {
            present: Standing::Silent,
            sent: Standing::Silent,
        };
        Self {
            pace: Some(pace),
            ..self
        }
    }

    /// The results of the check, if thresholds say which of them count.
    pub const fn results(&self) -> Option<&CheckResults> {
        self.results.as_ref()
    }

    /// The registration, read-only.
    pub const fn registration(&self) -> &RegistrationState {
        &self.registration
    }

    /// When [`Self::on_time`] or [`Self::on_standing`] returns an action, unless something else happens first.
    pub fn deadline(&self) -> Option<Instant> {
        let waits = self
            .pace
            .is_some_and(|pace| self.has_nothing_to_say(pace.present));
        self.schedule
            .deadline()
            .filter(|_| self.registration.allows_check() && !waits)
    }

    /// Called when time has passed. An inspection that is in flight when the next check starts is discarded.
    pub fn on_time(&mut self, now: Instant) -> Option<Action> {
        let starts = self.registration.allows_check() && self.schedule.start_if_due(now);
        starts.then(|| {
            self.registration.discard_inspection();
            Action::RunCheck
        })
    }

    /// Called after the machine was paused: missed ticks collapse into one, or into none if a check runs or
    /// has to wait for a request in flight.
    pub fn after_standstill(&mut self, now: Instant) {
        self.schedule
            .after_standstill(now, self.registration.holds_check());
        if let Some(results) = &mut self.results {
            results.after_standstill(now);
        }
    }

    /// Called when the health check has ended. Its result is ignored if the service is to be absent by now
    /// (SD-9).
    pub fn on_checked(&mut self, now: Instant, passed: bool) -> Option<Action> {
        self.schedule.end();
        let (health, reports) = match &mut self.results {
            None => (Health::of(passed), false),
            Some(results) => {
                let reports = !passed && results.thresholds().failures.is_some();
                (results.add(now, passed), reports)
            }
        };
        let operation = match health {
            Health::Healthy => self.registration.on_healthy(),
            Health::Unhealthy if reports => self.registration.on_unhealthy(),
            Health::Unhealthy | Health::Unknown => None,
        };
        operation.map(Action::Send).or_else(|| self.on_time(now))
    }

    /// Called when the health check was cancelled.
    pub fn on_check_cancelled(&mut self) {
        self.schedule.end();
    }

    /// Called when the request in flight has ended. If a check is due as well as an inspection, the check
    /// comes first.
    pub fn on_reply(&mut self, now: Instant, reply: Reply) -> Option<Action> {
        match self.registration.on_reply(reply) {
            inspection @ (Some(Operation::Inspect) | None) => {
                self.on_time(now).or_else(|| inspection.map(Action::Send))
            }
            operation => operation.map(Action::Send),
        }
    }

    /// Called when something has happened to checks with schedules of their own, or time has passed: what they call for
    /// now is sent if that has changed, or if a heartbeat is due. An inspection in flight is discarded then.
    pub fn on_standing(&mut self, now: Instant, standing: Standing) -> Option<Action> {
        let is_silent = self.has_nothing_to_say(standing);
        let pace = self.pace.as_mut()?;
        pace.present = standing;
        if !self.registration.allows_check() {
            return None;
        }
        if is_silent {
            pace.sent = Standing::Silent;
            return None;
        }
        let changes = core::mem::replace(&mut pace.sent, standing) != standing;
        let is_due = self.schedule.start_if_due(now);
        self.schedule.end();
        if !changes && !is_due {
            return None;
        }
        self.registration.discard_inspection();
        let operation = match standing {
            Standing::Silent => None,
            Standing::Passing => self.registration.on_healthy(),
            Standing::Critical => self.registration.on_unhealthy(),
        };
        operation.map(Action::Send)
    }

    /// Whether the checks call for no request: also because the service is unhealthy and the catalogue has no entry that
    /// could be one of it. Ticks wait until they do.
    fn has_nothing_to_say(&self, standing: Standing) -> bool {
        match standing {
            Standing::Silent => true,
            Standing::Passing => false,
            Standing::Critical => self.registration.is_absent(),
        }
    }

    /// Whether the request in flight says another thing than what the checks call for now.
    pub fn is_outdated(&self) -> bool {
        self.pace.is_some_and(|pace| match self.registration.in_flight() {
            Some(Operation::Register | Operation::Renew) => pace.present != Standing::Passing,
            Some(Operation::Fail) => pace.present != Standing::Critical,
            Some(Operation::Inspect | Operation::Deregister) | None => false,
        })
    }

    /// The same as [`Self::on_reply`] for checks with schedules of their own. What the answer calls for is not sent if
    /// the checks call for another thing by now.
    pub fn on_paced_reply(&mut self, now: Instant, reply: Reply, standing: Standing) -> Option<Action> {
        let follows = self.registration.on_reply(reply);
        match follows {
            Some(Operation::Register | Operation::Renew) if standing != Standing::Passing => {
                self.registration.on_cancelled(Reply::Unsent);
                self.on_standing(now, standing)
            }
            Some(Operation::Inspect) | None => self
                .on_standing(now, standing)
                .or_else(|| follows.map(Action::Send)),
            Some(_) => follows.map(Action::Send),
        }
    }

    /// Called when the request in flight was cancelled: it was never sent, or the catalogue refused it for
    /// now.
    pub fn on_cancelled(&mut self, reply: Reply) {
        self.registration.on_cancelled(reply);
    }

    /// The service is to be absent from the catalogue: see [`RegistrationState::deregister`].
    pub fn deregister(&mut self) -> Option<Action> {
        self.registration.deregister().map(Action::Send)
    }

    /// The service is to be registered again, from the next tick on, when a check has passed (LC-12).
    pub fn resume(&mut self, now: Instant) {
        self.registration.resume();
        self.schedule.skip_to(now);
        if let Some(results) = &mut self.results {
            results.forget();
        }
        if let Some(pace) = &mut self.pace {
            (pace.present, pace.sent) = (Standing::Silent, Standing::Silent);
        }
    }
}

#[cfg(test)]
mod model;

crate::keyed_as_is!(Pace);
crate::keyed!(Heartbeat {
    schedule,
    results,
    pace,
    registration
});

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const fn at(seconds: u64) -> Instant {
        Instant::after_start(Duration::from_secs(seconds))
    }

    fn fresh() -> Heartbeat {
        Heartbeat::new(at(0), Duration::from_secs(10), 10, DesiredState::Registered)
    }

    /// A heartbeat that is registered, at second 10.
    fn registered() -> Heartbeat {
        let mut heartbeat = fresh();
        register(&mut heartbeat);
        heartbeat
    }

    /// Takes its registration at second 10.
    fn register(heartbeat: &mut Heartbeat) {
        heartbeat.on_time(at(10));
        heartbeat.on_checked(at(10), true);
        heartbeat.on_reply(at(10), Reply::Done);
    }

    #[test]
    fn the_first_check_comes_after_one_poll_and_registers_when_it_passes() {
        let mut heartbeat = fresh();
        assert_eq!(heartbeat.on_time(at(9)), None);
        assert_eq!(heartbeat.on_time(at(10)), Some(Action::RunCheck));
        assert_eq!(
            heartbeat.on_checked(at(11), true),
            Some(Action::Send(Operation::Register))
        );
        assert_eq!(heartbeat.on_reply(at(11), Reply::Done), None);
    }

    #[test]
    fn after_the_registration_a_passing_check_renews() {
        let mut heartbeat = registered();
        assert_eq!(heartbeat.on_time(at(20)), Some(Action::RunCheck));
        assert_eq!(
            heartbeat.on_checked(at(20), true),
            Some(Action::Send(Operation::Renew))
        );
    }

    #[test]
    fn a_failing_check_sends_no_request() {
        let mut heartbeat = registered();
        heartbeat.on_time(at(20));
        assert_eq!(heartbeat.on_checked(at(20), false), None);
        assert_eq!(heartbeat.on_time(at(30)), Some(Action::RunCheck));
    }

    #[test]
    fn a_service_that_never_passed_is_never_registered() {
        let mut heartbeat = fresh();
        for tick in 1..10 {
            assert_eq!(heartbeat.on_time(at(tick * 10)), Some(Action::RunCheck));
            assert_eq!(heartbeat.on_checked(at(tick * 10), false), None);
        }
    }

    #[test]
    fn an_unknown_registration_is_registered_again_at_once() {
        let mut heartbeat = registered();
        heartbeat.on_time(at(20));
        heartbeat.on_checked(at(20), true);
        assert_eq!(
            heartbeat.on_reply(at(20), Reply::NotRegistered),
            Some(Action::Send(Operation::Register))
        );
        assert_eq!(heartbeat.on_reply(at(20), Reply::Done), None);
    }

    #[test]
    fn a_failed_registration_is_tried_again_at_the_next_passing_check() {
        let mut heartbeat = fresh();
        heartbeat.on_time(at(10));
        heartbeat.on_checked(at(10), true);
        assert_eq!(heartbeat.on_reply(at(12), Reply::Failed), None);
        heartbeat.on_time(at(20));
        assert_eq!(
            heartbeat.on_checked(at(20), true),
            Some(Action::Send(Operation::Register))
        );
    }

    #[test]
    fn a_failed_renewal_is_followed_by_a_renewal() {
        let mut heartbeat = registered();
        heartbeat.on_time(at(20));
        heartbeat.on_checked(at(20), true);
        assert_eq!(heartbeat.on_reply(at(22), Reply::Failed), None);
        heartbeat.on_time(at(30));
        assert_eq!(
            heartbeat.on_checked(at(30), true),
            Some(Action::Send(Operation::Renew))
        );
    }

    #[test]
    fn a_check_that_overruns_is_followed_by_one_tick_only() {
        let mut heartbeat = fresh();
        heartbeat.on_time(at(10));
        assert_eq!(heartbeat.on_time(at(45)), None, "one check at a time");
        assert_eq!(heartbeat.on_checked(at(45), false), Some(Action::RunCheck));
        assert_eq!(heartbeat.on_checked(at(46), false), None);
        assert_eq!(heartbeat.deadline(), Some(at(50)));
    }

    #[test]
    fn after_a_pause_there_is_one_check_a_poll() {
        let mut idle = registered();
        idle.after_standstill(at(95));
        assert_eq!(idle.on_time(at(95)), Some(Action::RunCheck));
        assert_eq!(idle.on_checked(at(95), false), None);
        assert_eq!(idle.deadline(), Some(at(105)));
        let mut busy = registered();
        busy.on_time(at(20));
        busy.after_standstill(at(95));
        assert_eq!(
            busy.on_checked(at(96), false),
            None,
            "the ticks of the pause are gone"
        );
        assert_eq!(busy.deadline(), Some(at(105)));
    }

    /// Makes heartbeats succeed, and returns the numbers of those that an inspection follows.
    fn inspections(heartbeat: &mut Heartbeat, beats: core::ops::Range<u64>) -> std::vec::Vec<u64> {
        let mut inspections = std::vec::Vec::new();
        for beat in beats {
            let now = at((beat + 1) * 10);
            assert_eq!(heartbeat.on_time(now), Some(Action::RunCheck));
            assert_eq!(
                heartbeat.on_checked(now, true),
                Some(Action::Send(Operation::Renew))
            );
            let next = heartbeat.on_reply(now, Reply::Done);
            inspections.extend((next == Some(Action::Send(Operation::Inspect))).then_some(beat));
            if next == Some(Action::Send(Operation::Inspect)) && beat % 20 == 1 {
                assert_eq!(heartbeat.on_reply(now, Reply::Done), None);
            }
        }
        inspections
    }

    #[test]
    fn the_first_heartbeat_after_a_registration_and_every_tenth_are_followed_by_an_inspection() {
        let mut heartbeat = registered();
        assert_eq!(inspections(&mut heartbeat, 1..25), [1, 11, 21]);
        heartbeat.on_time(at(260));
        heartbeat.on_checked(at(260), true);
        assert_eq!(
            heartbeat.on_reply(at(260), Reply::NotRegistered),
            Some(Action::Send(Operation::Register))
        );
        assert_eq!(heartbeat.on_reply(at(260), Reply::Done), None);
        assert_eq!(inspections(&mut heartbeat, 26..30), [26]);
    }

    #[test]
    fn so_many_heartbeats_as_the_plan_says_are_followed_by_one_inspection() {
        for (per_inspection, expected) in [(0, vec![1, 2, 3]), (1, vec![1, 2, 3]), (2, vec![1, 3])] {
            let mut heartbeat = Heartbeat::new(
                at(0),
                Duration::from_secs(10),
                per_inspection,
                DesiredState::Registered,
            );
            register(&mut heartbeat);
            assert_eq!(inspections(&mut heartbeat, 1..4), expected);
        }
    }

    #[test]
    fn a_heartbeat_that_failed_is_not_followed_by_an_inspection() {
        let mut heartbeat = registered();
        heartbeat.on_time(at(20));
        heartbeat.on_checked(at(20), true);
        assert_eq!(heartbeat.on_reply(at(22), Reply::Failed), None);
        assert_eq!(inspections(&mut heartbeat, 2..4), [2]);
    }

    /// A heartbeat whose inspection is in flight, at second 10.
    fn inspecting() -> Heartbeat {
        let mut heartbeat = registered();
        heartbeat.on_time(at(20));
        heartbeat.on_checked(at(20), true);
        let action = heartbeat.on_reply(at(20), Reply::Done);
        assert_eq!(action, Some(Action::Send(Operation::Inspect)));
        heartbeat
    }

    #[test]
    fn an_inspection_delays_neither_a_check_nor_a_deregistration() {
        assert_eq!(inspecting().deadline(), Some(at(30)));
        assert_eq!(
            inspecting().deregister(),
            Some(Action::Send(Operation::Deregister))
        );
        let mut checked = inspecting();
        assert_eq!(checked.on_time(at(30)), Some(Action::RunCheck));
        assert_eq!(
            checked.on_checked(at(30), true),
            Some(Action::Send(Operation::Renew))
        );
        let mut failed = inspecting();
        assert_eq!(failed.on_reply(at(21), Reply::Failed), None);
        assert!(failed.registration().is_registered());
    }

    #[test]
    fn a_check_that_is_due_goes_before_an_inspection() {
        let mut heartbeat = registered();
        heartbeat.on_time(at(20));
        heartbeat.on_checked(at(20), true);
        assert_eq!(heartbeat.on_reply(at(31), Reply::Done), Some(Action::RunCheck));
    }

    #[test]
    fn while_a_request_is_in_flight_there_is_no_deadline() {
        let mut heartbeat = fresh();
        heartbeat.on_time(at(10));
        assert_eq!(heartbeat.deadline(), None);
        heartbeat.on_checked(at(10), true);
        assert_eq!(heartbeat.deadline(), None);
        assert_eq!(
            heartbeat.on_reply(at(25), Reply::Done),
            Some(Action::RunCheck),
            "a tick waited"
        );
    }

    #[test]
    fn a_deregistration_waits_for_the_request_in_flight() {
        let mut heartbeat = fresh();
        heartbeat.on_time(at(10));
        heartbeat.on_checked(at(10), true);
        assert_eq!(heartbeat.deregister(), None);
        assert!(!heartbeat.registration().has_deregistered());
        assert_eq!(
            heartbeat.on_reply(at(12), Reply::Failed),
            Some(Action::Send(Operation::Deregister)),
            "it may have landed"
        );
        assert!(!heartbeat.registration().has_deregistered());
        assert_eq!(heartbeat.on_reply(at(13), Reply::Done), None);
        assert!(heartbeat.registration().has_deregistered());
    }

    #[test]
    fn a_service_is_deregistered_twice_only_if_the_first_time_failed() {
        let mut heartbeat = registered();
        assert_eq!(heartbeat.deregister(), Some(Action::Send(Operation::Deregister)));
        heartbeat.on_reply(at(11), Reply::Failed);
        assert_eq!(heartbeat.deregister(), Some(Action::Send(Operation::Deregister)));
        heartbeat.on_reply(at(11), Reply::Done);
        assert_eq!(heartbeat.deregister(), None);
        assert!(heartbeat.registration().has_deregistered());
    }

    #[test]
    fn an_entry_of_an_earlier_process_is_deregistered_too() {
        assert_eq!(fresh().deregister(), Some(Action::Send(Operation::Deregister)));
    }

    #[test]
    fn a_check_that_ends_after_the_deregistration_sends_no_heartbeat() {
        let mut heartbeat = registered();
        heartbeat.on_time(at(20));
        heartbeat.deregister();
        heartbeat.on_reply(at(20), Reply::Done);
        assert_eq!(heartbeat.on_checked(at(21), true), None);
        assert!(heartbeat.registration().has_deregistered());
        assert_eq!(heartbeat.deadline(), None);
    }

    #[test]
    fn a_service_that_resumes_registers_at_its_next_tick() {
        let mut heartbeat = registered();
        heartbeat.deregister();
        heartbeat.on_reply(at(11), Reply::Done);
        heartbeat.resume(at(34));
        assert_eq!(heartbeat.on_time(at(34)), None, "ticks of the pause are gone");
        assert_eq!(heartbeat.on_time(at(40)), Some(Action::RunCheck));
        assert_eq!(
            heartbeat.on_checked(at(40), true),
            Some(Action::Send(Operation::Register))
        );
    }

    #[test]
    fn a_service_that_resumes_while_its_deregistration_is_in_flight_registers_after_it() {
        let mut heartbeat = registered();
        heartbeat.deregister();
        heartbeat.resume(at(12));
        assert_eq!(heartbeat.on_time(at(20)), None, "the answer comes first");
        assert_eq!(heartbeat.on_reply(at(21), Reply::Done), Some(Action::RunCheck));
        assert_eq!(
            heartbeat.on_checked(at(21), true),
            Some(Action::Send(Operation::Register))
        );
    }

    use crate::checks::Standing::{Critical, Passing, Silent};

    fn paced() -> Heartbeat {
        fresh().paced()
    }

    fn sends(operation: Operation) -> Option<Action> {
        Some(Action::Send(operation))
    }

    #[test]
    fn checks_that_pass_lead_to_one_heartbeat_a_poll_and_the_first_at_once() {
        let mut heartbeat = paced();
        assert_eq!(heartbeat.on_standing(at(3), Silent), None);
        assert_eq!(heartbeat.on_standing(at(4), Passing), sends(Operation::Register));
        assert_eq!(
            heartbeat.on_standing(at(5), Passing),
            None,
            "a request is in flight"
        );
        assert_eq!(heartbeat.on_paced_reply(at(5), Reply::Done, Passing), None);
        assert_eq!(heartbeat.on_standing(at(9), Passing), None, "nothing new");
        assert_eq!(heartbeat.deadline(), Some(at(10)));
        assert_eq!(heartbeat.on_standing(at(10), Passing), sends(Operation::Renew));
        assert_eq!(
            heartbeat.on_paced_reply(at(10), Reply::Done, Passing),
            sends(Operation::Inspect)
        );
        assert_eq!(heartbeat.on_standing(at(20), Passing), sends(Operation::Renew));
    }

    /// Registered at second 4.
    fn passing() -> Heartbeat {
        let mut heartbeat = paced();
        heartbeat.on_standing(at(4), Passing);
        heartbeat.on_paced_reply(at(4), Reply::Done, Passing);
        heartbeat
    }

    #[test]
    fn a_change_is_sent_at_once_and_repeated_at_each_tick() {
        let mut heartbeat = passing();
        assert_eq!(heartbeat.on_standing(at(6), Critical), sends(Operation::Fail));
        assert_eq!(heartbeat.on_paced_reply(at(6), Reply::Failed, Critical), None);
        assert_eq!(heartbeat.on_standing(at(7), Critical), None);
        assert_eq!(heartbeat.on_standing(at(10), Critical), sends(Operation::Fail));
        assert_eq!(heartbeat.on_paced_reply(at(10), Reply::Done, Critical), None);
        assert_eq!(heartbeat.on_standing(at(11), Passing), sends(Operation::Renew));
    }

    #[test]
    fn while_the_checks_call_for_nothing_nothing_is_sent_and_then_a_heartbeat_at_once() {
        let mut heartbeat = passing();
        assert_eq!(heartbeat.on_standing(at(10), Silent), None);
        assert_eq!(heartbeat.deadline(), None);
        assert_eq!(heartbeat.on_standing(at(47), Passing), sends(Operation::Renew));
        assert_eq!(heartbeat.on_paced_reply(at(47), Reply::Failed, Passing), None);
        assert_eq!(heartbeat.deadline(), Some(at(50)));
    }

    #[test]
    fn what_changes_while_a_request_is_in_flight_is_sent_after_it() {
        let mut heartbeat = passing();
        assert_eq!(heartbeat.on_standing(at(10), Passing), sends(Operation::Renew));
        assert!(!heartbeat.is_outdated());
        assert_eq!(heartbeat.on_standing(at(11), Critical), None);
        assert!(heartbeat.is_outdated());
        assert_eq!(
            heartbeat.on_paced_reply(at(12), Reply::NotRegistered, Critical),
            sends(Operation::Fail),
            "and not the registration that a healthy service would get"
        );
        let mut silent = passing();
        silent.on_standing(at(10), Passing);
        assert_eq!(silent.on_paced_reply(at(11), Reply::NotRegistered, Silent), None);
        assert_eq!(silent.on_standing(at(12), Passing), sends(Operation::Register));
    }

    #[test]
    fn after_maintenance_nothing_is_sent_before_the_checks_pass() {
        let mut heartbeat = passing();
        assert_eq!(heartbeat.deregister(), sends(Operation::Deregister));
        assert_eq!(heartbeat.on_standing(at(20), Passing), None);
        heartbeat.on_paced_reply(at(20), Reply::Done, Passing);
        heartbeat.resume(at(34));
        assert_eq!(heartbeat.deadline(), None);
        assert_eq!(heartbeat.on_standing(at(36), Passing), sends(Operation::Register));
    }

    #[test]
    fn while_it_is_unhealthy_and_has_no_entry_no_tick_is_taken() {
        let mut heartbeat = paced();
        heartbeat.on_standing(at(4), Passing);
        heartbeat.on_paced_reply(at(4), Reply::Done, Passing);
        assert_eq!(heartbeat.on_standing(at(6), Critical), sends(Operation::Fail));
        assert_eq!(heartbeat.deadline(), None, "one request is in flight");
        assert_eq!(
            heartbeat.on_paced_reply(at(6), Reply::NotRegistered, Critical),
            None
        );
        assert_eq!(heartbeat.deadline(), None);
        assert_eq!(heartbeat.on_standing(at(10), Critical), None);
        assert_eq!(heartbeat.deadline(), None);
        assert_eq!(heartbeat.on_standing(at(14), Passing), sends(Operation::Register));
        heartbeat.on_paced_reply(at(14), Reply::Done, Passing);
        assert_eq!(
            heartbeat.deadline(),
            Some(at(20)),
            "the ticks stay where they were"
        );
    }
}
