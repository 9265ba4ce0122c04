//! One health check of a service: what runs, and what was reported about it.

use super::checker::Checker;
use super::id::UnitId;
use crate::causes::Causes;
use crate::check::FailureLimit;
use crate::plan::Service;
use crate::time::{Instant, Jitter};
use alloc::string::String;
use alloc::vec::Vec;

/// A check and its runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ServiceCheck {
    /// Its name, if the service has an array of checks.
    pub name: Option<String>,
    pub checker: Checker,
    /// How many failures in a row end the shim, if any number does.
    pub exit: Option<FailureLimit>,
    /// Whether it was reported as failing.
    pub unhealthy: bool,
    pub reasons: Causes,
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
            unhealthy: false,
            reasons: Causes::default(),
        });
        checks.collect()
    }

    /// It was not run for a while, so earlier failures do not count.
    pub fn forget(&mut self) {
        if let Some(exit) = &mut self.exit {
            exit.forget();
        }
    }
}

crate::keyed!(ServiceCheck { name, checker, exit } without { unhealthy, reasons });
