//! The health checks of one service that have schedules of their own, and what they say about the service together.
//!
//! Each check has its schedule, its thresholds and at most one run at a time. The service is unhealthy while one of them
//! is, healthy while all of them are, and otherwise unknown. It may get heartbeats only while it is healthy and no check
//! is overdue: the last result of each is younger than its interval and its time limit together, so that a check that
//! hangs does not keep the entry alive. What a check does, and which requests follow, is decided elsewhere.

use crate::check::{CheckResults, CheckSchedule, Health};
use crate::plan::OwnCheck;
use crate::spread::Place;
use crate::time::{Duration, Instant, earliest};
use alloc::vec::Vec;

/// What the catalogue is to get about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// Nothing: its TTL decides.
    Silent,
    /// Heartbeats.
    Passing,
    /// That it is unhealthy, because a check with a number of failures is.
    Critical,
}

/// The checks of one service, numbered in the order of the plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Checks {
    members: Vec<Member>,
    /// The check that made the service unhealthy, while it is.
    blamed: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Member {
    /// How long after the begin of the schedule the first run is due.
    first: Duration,
    /// How long a result counts for heartbeats.
    valid_for: Duration,
    schedule: CheckSchedule,
    results: CheckResults,
    /// Until when the last result counts for heartbeats; none without a result.
    valid_until: Option<Instant>,
}

impl Member {
    /// The first run is due after one `poll`, or one interval if that is shorter.
    fn new(now: Instant, poll: Duration, own: &OwnCheck) -> Self {
        let first = own.interval.min(poll);
        Self {
            first,
            valid_for: own.interval + own.check.time_limit().unwrap_or(own.interval),
            schedule: CheckSchedule::beginning(now, first, own.interval),
            results: CheckResults::new(now, own.thresholds),
            valid_until: None,
        }
    }

    fn is_unhealthy(&self) -> bool {
        self.results.health() == Health::Unhealthy
    }
}

impl Checks {
    /// No results yet; the schedules and the start periods begin `now`. `None` if there is no check.
    pub fn new(now: Instant, poll: Duration, checks: &[OwnCheck]) -> Option<Self> {
        let members = checks.iter().map(|own| Member::new(now, poll, own));
        (!checks.is_empty()).then(|| Self {
            members: members.collect(),
            blamed: None,
        })
    }

    /// The same checks of a service with this place among others.
    #[must_use]
    pub fn at(self, place: Place) -> Self {
        let at = |member: Member| Member {
            schedule: member.schedule.at(place),
            ..member
        };
        Self {
            members: self.members.into_iter().map(at).collect(),
            ..self
        }
    }

    /// When a run is due, unless something else happens first.
    pub fn deadline(&self) -> Option<Instant> {
        let due = self.members.iter().map(|member| member.schedule.deadline());
        due.fold(None, earliest)
    }

    /// Starts one run that is due; returns the number of the check that the caller is to run now.
    #[must_use]
    pub fn start_due(&mut self, now: Instant) -> Option<usize> {
        let mut members = self.members.iter_mut();
        members.position(|member| member.schedule.start_if_due(now))
    }

    /// A run has ended, and its result counts.
    pub fn on_ended(&mut self, now: Instant, number: usize, passed: bool) {
        if let Some(member) = self.members.get_mut(number) {
            member.schedule.end();
            member.results.add(now, passed);
            member.valid_until = Some(now + member.valid_for);
        }
        let still = self.blamed.filter(|number| self.is_unhealthy(*number));
        self.blamed = still.or_else(|| self.members.iter().position(Member::is_unhealthy));
    }

    /// A run was cancelled.
    pub fn on_cancelled(&mut self, number: usize) {
        if let Some(member) = self.members.get_mut(number) {
            member.schedule.end();
        }
    }

    fn is_unhealthy(&self, number: usize) -> bool {
        self.members.get(number).is_some_and(Member::is_unhealthy)
    }

    /// The health of the service.
    pub fn health(&self) -> Health {
        let mut healths = self.members.iter().map(|member| member.results.health());
        if self.blamed.is_some() {
            Health::Unhealthy
        } else if healths.all(|health| health == Health::Healthy) {
            Health::Healthy
        } else {
            Health::Unknown
        }
    }

    /// The results of one check.
    pub fn results(&self, number: usize) -> Option<&CheckResults> {
        self.members.get(number).map(|member| &member.results)
    }

    /// The check that made the service unhealthy, while it is; if that is healthy again, the first one that is not.
    pub const fn blamed(&self) -> Option<usize> {
        self.blamed
    }

    /// What the catalogue is to get now.
    pub fn standing(&self, now: Instant) -> Standing {
        let reports = |member: &Member| {
            let has_number = member.results.thresholds().failures.is_some();
            has_number && member.is_unhealthy()
        };
        match self.health() {
            Health::Unhealthy if self.members.iter().any(reports) => Standing::Critical,
            Health::Healthy if self.valid_until().is_some_and(|until| now < until) => Standing::Passing,
            Health::Unhealthy | Health::Healthy | Health::Unknown => Standing::Silent,
        }
    }

    /// Until when the last results of all checks count for heartbeats.
    pub fn valid_until(&self) -> Option<Instant> {
        let mut ends = self.members.iter().map(|member| member.valid_until);
        let first = ends.next()??;
        ends.try_fold(first, |first, end| end.map(|end| first.min(end)))
    }

    /// The checks were not run for a while, so the earlier results say nothing, and the schedules begin anew.
    pub fn resume(&mut self, now: Instant) {
        for member in &mut self.members {
            member.results.forget();
            member.schedule.begin_anew(now, member.first);
            member.valid_until = None;
        }
        self.blamed = None;
    }

    /// The process did not run for a while: the ticks that a check missed collapse into one, or into none if it runs.
    pub fn after_standstill(&mut self, now: Instant) {
        for member in &mut self.members {
            member.schedule.after_standstill(now, false);
            member.results.after_standstill(now);
        }
    }
}

crate::keyed_as_is!(Standing);
crate::keyed!(Member {
    schedule,
    results,
    valid_until
} without { first, valid_for });
crate::keyed!(Checks { members, blamed });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Check, Command, Job, Output, Role, Thresholds, Trigger};
    use core::num::NonZeroU32;
    use std::vec::Vec;

    const fn at(seconds: u64) -> Instant {
        Instant::after_start(Duration::from_secs(seconds))
    }

    fn check(interval: u64, limit: u64, failures: u32) -> OwnCheck {
        let role = Role::Health {
            service: "app".into(),
            id: "app-host".into(),
            check: None,
        };
        let job = Job::new(role, Command::new("c", []), Trigger::OnDemand, Output::Log);
        OwnCheck {
            name: None,
            check: Check::Command(Job {
                time_limit: Some(Duration::from_secs(limit)),
                ..job
            }),
            interval: Duration::from_secs(interval),
            thresholds: Thresholds {
                failures: NonZeroU32::new(failures),
                ..Thresholds::default()
            },
        }
    }

    /// Two checks, every 5 s and every 60 s, of a service with a poll of 10 s.
    fn two() -> Checks {
        let checks = [check(5, 1, 0), check(60, 10, 2)];
        Checks::new(at(0), Duration::from_secs(10), &checks).unwrap()
    }

    /// The checks that start at this second.
    fn started(checks: &mut Checks, seconds: u64) -> Vec<usize> {
        core::iter::from_fn(|| checks.start_due(at(seconds))).collect()
    }

    #[test]
    fn each_check_has_its_own_schedule_and_begins_after_one_poll_at_the_latest() {
        let mut checks = two();
        let mut runs = Vec::new();
        for second in 0..=75 {
            for number in started(&mut checks, second) {
                runs.push((second, number));
                checks.on_ended(at(second), number, true);
            }
        }
        let slow = runs.iter().filter(|(_, number)| *number == 1);
        assert_eq!(slow.map(|(second, _)| *second).collect::<Vec<_>>(), [10, 70]);
        let fast = runs.iter().filter(|(_, number)| *number == 0);
        assert!(
            fast.map(|(second, _)| *second).eq((5..=75).step_by(5)),
            "{runs:?}"
        );
        assert_eq!(checks.deadline(), Some(at(80)));
    }

    #[test]
    fn two_runs_of_one_check_never_overlap_and_others_go_on_beside_one_that_hangs() {
        let mut checks = two();
        assert_eq!(started(&mut checks, 10), [0, 1]);
        checks.on_ended(at(10), 0, true);
        assert_eq!(started(&mut checks, 300), [0]);
        checks.on_cancelled(1);
        assert_eq!(started(&mut checks, 300), [1]);
    }

    #[test]
    fn the_service_is_healthy_when_all_checks_are_and_unhealthy_when_one_is() {
        let mut checks = two();
        checks.on_ended(at(5), 0, true);
        assert_eq!(checks.health(), Health::Unknown, "the other did not pass yet");
        assert_eq!(checks.standing(at(5)), Standing::Silent);
        checks.on_ended(at(6), 1, true);
        assert_eq!(checks.health(), Health::Healthy);
        assert_eq!(checks.standing(at(6)), Standing::Passing);
        checks.on_ended(at(7), 1, false);
        assert_eq!(checks.health(), Health::Healthy, "one failure of two");
        checks.on_ended(at(8), 0, false);
        assert_eq!((checks.health(), checks.blamed()), (Health::Unhealthy, Some(0)));
        assert_eq!(
            checks.standing(at(8)),
            Standing::Silent,
            "without a number of failures"
        );
    }

    #[test]
    fn the_check_that_made_the_service_unhealthy_is_blamed_until_it_is_healthy() {
        let mut checks = two();
        for (seconds, number, passed, blamed, standing) in [
            (5, 0, true, None, Standing::Silent),
            (6, 1, false, None, Standing::Silent),
            (7, 1, false, Some(1), Standing::Critical),
            (8, 0, false, Some(1), Standing::Critical),
            (9, 1, true, Some(0), Standing::Silent),
            (10, 0, true, None, Standing::Passing),
        ] {
            checks.on_ended(at(seconds), number, passed);
            assert_eq!(checks.blamed(), blamed, "{seconds}");
            assert_eq!(checks.standing(at(seconds)), standing, "{seconds}");
        }
    }

    #[test]
    fn a_check_without_a_result_within_its_interval_and_time_limit_prevents_heartbeats() {
        let mut checks = two();
        checks.on_ended(at(10), 0, true);
        checks.on_ended(at(10), 1, true);
        assert_eq!(checks.standing(at(15)), Standing::Passing);
        assert_eq!(checks.standing(at(16)), Standing::Silent, "5 s and 1 s");
        assert_eq!(checks.health(), Health::Healthy);
        checks.on_ended(at(20), 0, true);
        assert_eq!(checks.standing(at(20)), Standing::Passing);
        for second in 21..=80 {
            checks.on_ended(at(second), 0, true);
            let expected = if second < 80 {
                Standing::Passing
            } else {
                Standing::Silent
            };
            assert_eq!(checks.standing(at(second)), expected, "60 s and 10 s: {second}");
        }
    }

    #[test]
    fn after_maintenance_all_begins_anew() {
        let mut checks = two();
        started(&mut checks, 10);
        checks.on_ended(at(10), 0, true);
        checks.on_ended(at(11), 1, true);
        assert_eq!(started(&mut checks, 40), [0]);
        checks.resume(at(40));
        assert_eq!(
            (checks.health(), checks.standing(at(40))),
            (Health::Unknown, Standing::Silent)
        );
        assert_eq!(checks.deadline(), Some(at(50)), "the first check still runs");
        checks.on_ended(at(41), 0, true);
        assert_eq!(checks.deadline(), Some(at(45)));
        assert_eq!(started(&mut checks, 50), [0, 1]);
    }

    #[test]
    fn after_a_pause_each_check_is_due_at_once_and_no_old_result_counts() {
        let mut checks = two();
        started(&mut checks, 10);
        checks.on_ended(at(10), 0, true);
        checks.on_ended(at(10), 1, true);
        checks.after_standstill(at(500));
        assert_eq!(checks.standing(at(500)), Standing::Silent);
        assert_eq!(started(&mut checks, 500), [0, 1]);
    }
}
