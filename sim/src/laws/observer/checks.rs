//! The checks of a service that have schedules of their own, and what they say about it together.

use super::health::HealthFacts;
use crate::laws::schedule::Schedule;
use domain::Instant;
use domain::plan::{OwnCheck, Service};
use domain::time::Duration;
use std::collections::BTreeMap;

/// A check with a schedule of its own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CheckFacts {
    pub schedule: Schedule,
    pub health: HealthFacts,
    /// How much later than at its period the first run is due.
    ahead: Duration,
    /// How long a result counts for heartbeats.
    valid_for: Duration,
    /// Until when the last result counts for heartbeats, at least and at most.
    valid_until: Option<(Instant, Instant)>,
    /// Failures in a row, if a number of them ends the shim.
    pub failures: u32,
}

/// The checks by their labels, and the changes that were not sent yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct OwnChecks {
    pub checks: BTreeMap<String, CheckFacts>,
    /// Whether a heartbeat may be sent at once.
    pub may_pass: bool,
    /// Whether a report that the service is unhealthy may be sent at once.
    pub may_fail: bool,
}

impl CheckFacts {
    fn new(turn: Instant, now: Instant, poll: Duration, own: &OwnCheck) -> Self {
        let ahead = own.interval.saturating_sub(poll);
        let mut schedule = Schedule::new(turn, now, own.interval);
        schedule.begin_anew(turn, now, ahead);
        Self {
            schedule,
            health: HealthFacts::new(turn, now, own.thresholds),
            ahead,
            valid_for: own.interval + own.check.time_limit().unwrap_or(own.interval),
            valid_until: None,
            failures: 0,
        }
    }

    /// The check ended between these instants.
    pub fn add(&mut self, turn: Instant, now: Instant, passed: bool) {
        self.schedule.end(turn);
        self.health.add(turn, now, passed);
        self.valid_until = Some((turn + self.valid_for, now + self.valid_for));
    }
}

impl OwnChecks {
    /// Those of a service, if it has any.
    pub fn new(turn: Instant, now: Instant, service: &Service) -> Option<Self> {
        let checks = service.checks.iter().map(|own| {
            let facts = CheckFacts::new(turn, now, service.poll, own);
            (own.check.role().to_string(), facts)
        });
        (!service.checks.is_empty()).then(|| Self {
            checks: checks.collect(),
            may_pass: false,
            may_fail: false,
        })
    }

    fn any(&self, holds: impl Fn(&HealthFacts) -> bool) -> bool {
        self.checks.values().any(|check| holds(&check.health))
    }

    /// Whether a check is unhealthy.
    pub fn is_unhealthy(&self) -> bool {
        self.any(HealthFacts::is_unhealthy)
    }

    /// Whether the service is unhealthy, if it is known.
    pub fn unhealthy(&self) -> Option<bool> {
        match (self.is_unhealthy(), self.is_healthy()) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }

    /// Whether all are healthy.
    pub fn is_healthy(&self) -> bool {
        !self.any(|health| !health.is_healthy())
    }

    /// Whether the trace does not show the health of one.
    pub fn is_unsure(&self) -> bool {
        self.any(HealthFacts::is_unsure)
    }

    /// Whether all are healthy, and no result is too old, for certain.
    pub fn is_passing(&self, now: Instant) -> bool {
        let valid = |check: &CheckFacts| check.valid_until.is_some_and(|(least, _)| now < least);
        self.is_healthy() && self.checks.values().all(valid)
    }

    /// The same, as far as the trace shows it.
    pub fn can_pass(&self, turn: Instant) -> bool {
        let valid = |check: &CheckFacts| check.valid_until.is_some_and(|(_, most)| turn < most);
        let wrong = |health: &HealthFacts| !health.is_healthy() && !health.is_unsure();
        !self.any(wrong) && self.checks.values().all(valid)
    }

    /// Whether a check with a number of failures is unhealthy.
    pub fn is_critical(&self) -> bool {
        self.any(|health| health.is_unhealthy() && health.reports())
    }

    /// The same, as far as the trace shows it.
    pub fn can_be_critical(&self) -> bool {
        self.any(|health| (health.is_unhealthy() || health.is_unsure()) && health.reports())
    }

    /// Maintenance ended: results and schedules begin anew.
    pub fn resume(&mut self, turn: Instant, now: Instant) {
        for check in self.checks.values_mut() {
            check.schedule.begin_anew(turn, now, check.ahead);
            check.health.resume();
            check.valid_until = None;
            check.failures = 0;
        }
        (self.may_pass, self.may_fail) = (false, false);
    }
}

domain::keyed!(CheckFacts { schedule, health, valid_until, failures } without { ahead, valid_for });
domain::keyed!(OwnChecks {
    checks,
    may_pass,
    may_fail
});
