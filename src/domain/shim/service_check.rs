//! One health check of a service: what runs, and what was reported about it.

use super::checker::Checker;
use super::id::UnitId;
use super::outbox::Outbox;
use crate::causes::Causes;
use crate::check::FailureLimit;
use crate::measurement::RunResult;
use crate::notice::{Named, Notice};
use crate::plan::Service;
use crate::process::Ending;
use crate::status::MOST_RESULTS;
use crate::time::{Instant, Jitter};
use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::mem;

/// A check and its runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ServiceCheck {
    /// Its name, if the service has an array of checks.
    pub name: Option<String>,
    pub checker: Checker,
    /// How many failures in a row end the shim, if any number does.
    pub exit: Option<FailureLimit>,
    pub log: ResultLog,
    /// The results of the last runs, the oldest first.
    recent: VecDeque<RunResult>,
}

/// What is logged about the results of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ResultLog {
    /// Whether it was reported as failing.
    unhealthy: bool,
    reasons: Causes,
    has_passed: bool,
    /// When the first of the failures in a row came, and how many there are.
    failing: Option<(Instant, u32)>,
}

impl ResultLog {
    /// The check passed. Whether the service is healthy by it is another matter: there may be more successes needed.
    pub fn on_passed(
        &mut self,
        now: Instant,
        named: impl FnOnce() -> Named,
        is_healthy: bool,
    ) -> Option<Notice> {
        self.has_passed = true;
        if !is_healthy {
            return None;
        }
        self.reasons.clear();
        let (since, failures) = self.failing.take().unwrap_or((now, 0));
        let after = now.since(since);
        mem::take(&mut self.unhealthy).then(|| Notice::Healthy {
            named: named(),
            after,
            failures,
        })
    }

    /// The check failed. `counted` is how many failures in a row count, and how many make the service unhealthy. The
    /// `reason`, which is made for what is logged only, has the end of the output. That may be another one each time, and so
    /// does not decide what is new.
    pub fn on_failed(
        &mut self,
        now: Instant,
        named: Named,
        ending: &Ending,
        reason: impl FnOnce() -> String,
        counted: Option<(u32, u32)>,
        is_unhealthy: bool,
    ) -> Option<Notice> {
        let (since, failures) = self.failing.unwrap_or((now, 0));
        self.failing = Some((since, failures.saturating_add(1)));
        let is_new = self.reasons.is_new(&ending.to_string());
        if !is_unhealthy {
            return is_new.then(|| Notice::Failing {
                named,
                reason: reason(),
                counted,
            });
        }
        if !mem::replace(&mut self.unhealthy, true) {
            let passed_before = self.has_passed;
            return Some(Notice::Unhealthy {
                named,
                reason: reason(),
                passed_before,
            });
        }
        is_new.then(|| Notice::UnhealthyAnew(named, reason()))
    }
}

impl ServiceCheck {
    /// The checks of a service, in the order of the plan.
    pub fn all(now: Instant, id: UnitId, service: &Service, jitter: Jitter) -> Vec<Self> {
        let own = service.checks.iter().map(|own| own.name.as_ref());
        let names = service.check.iter().map(|_| None).chain(own);
        let checks = names.zip(service.all_checks()).map(|(name, check)| Self {
            name: name.cloned(),
            checker: Checker::new(now, id, check, jitter),
            exit: service.actions.exit_after.map(FailureLimit::new),
            log: ResultLog::default(),
            recent: VecDeque::new(),
        });
        checks.collect()
    }

    /// A run has ended.
    pub fn on_ended(&mut self, now: Instant, ending: &Ending, out: &mut Outbox) {
        self.checker.on_ended(now, ending, out);
        if self.recent.len() >= MOST_RESULTS {
            self.recent.pop_front();
        }
        self.recent.extend(self.checker.last().map(|run| run.result));
    }

    /// The results of the last runs, the oldest first.
    pub fn recent(&self) -> Vec<RunResult> {
        self.recent.iter().copied().collect()
    }

    /// It was not run for a while, so earlier failures do not count.
    pub fn forget(&mut self) {
        if let Some(exit) = &mut self.exit {
            exit.forget();
        }
    }
}

crate::keyed!(ServiceCheck { name, checker, exit } without { log, recent });
