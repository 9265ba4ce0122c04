//! Whether the catalogue carries out requests, as far as the shim as a whole is concerned.
//!
//! When it fails, every service and backend notices that by itself. This module makes one outage of it: it begins with the
//! second request in a row that fails, whichever parts they are of, and ends with the first that succeeds. A part whose requests
//! fail while those of others succeed is no outage. Nothing is decided by it but what is logged and shown.

use crate::failures::Failures;
use crate::time::{Duration, Instant};
use alloc::collections::BTreeSet;
use alloc::string::String;

/// How many failures in a row are an outage.
const OUTAGE: u32 = 2;

/// The state of the catalogue; `Id` is a part that sends requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Availability<Id> {
    /// Failures in a row.
    failures: u32,
    /// When the first of these failures came.
    failing_since: Instant,
    last_cause: Option<String>,
    /// Which failures of the outage are logged.
    logged: Failures,
    /// When the first request succeeded after the start or after an outage.
    available_since: Option<Instant>,
    /// The part whose request was the first failure.
    first: Option<Id>,
    /// The parts whose requests failed in an outage and have not succeeded since.
    affected: BTreeSet<Id>,
}

/// What the result of a request means for the catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// An outage began or goes on: this is the first failure, one with another cause, or one at a power of ten.
    Lost,
    /// An outage ended: how long it was, and how many requests failed.
    Regained(Duration, u32),
}

/// The state, as `/status` shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CatalogueStatus {
    /// Whether it is available; `None` before the first answer.
    pub available: Option<bool>,
    /// Since when.
    pub since: Option<Instant>,
    /// How many requests failed in a row.
    pub failures: u32,
    /// The cause of the failure that came last.
    pub last_error: Option<String>,
}

impl<Id: Ord> Availability<Id> {
    /// No request was answered so far.
    pub fn new() -> Self {
        Self {
            failures: 0,
            failing_since: Instant::START,
            last_cause: None,
            logged: Failures::default(),
            available_since: None,
            first: None,
            affected: BTreeSet::new(),
        }
    }

    /// Whether there is an outage.
    pub fn is_outage(&self) -> bool {
        self.failures >= OUTAGE
    }

    /// Whether requests were carried out and there is no outage.
    pub fn is_available(&self) -> bool {
        self.available_since.is_some() && !self.is_outage()
    }

    /// A request failed.
    pub fn on_failure(&mut self, now: Instant, id: Id, cause: &str) -> Option<Change> {
        self.failures = self.failures.saturating_add(1);
        self.last_cause = Some(cause.into());
        if self.is_outage() {
            let failure = self.logged.add(cause.into());
            self.affected.extend(self.first.take().into_iter().chain([id]));
            return failure.at_full_level.then_some(Change::Lost);
        }
        (self.first, self.failing_since) = (Some(id), now);
        None
    }

    /// A request was carried out.
    pub fn on_success(&mut self, now: Instant) -> Option<Change> {
        let (outage, failures) = (self.is_outage(), core::mem::take(&mut self.failures));
        if outage || self.available_since.is_none() {
            self.available_since = Some(now);
        }
        if outage {
            self.logged.end();
            return Some(Change::Regained(now.since(self.failing_since), failures));
        }
        None
    }

    /// Whether the requests of this part failed in an outage that is over; asked once, after one of them succeeded.
    pub fn recovers(&mut self, id: &Id) -> bool {
        self.affected.remove(id)
    }

    /// The state, for people.
    pub fn status(&self) -> CatalogueStatus {
        let since = match self.is_outage() {
            true => Some(self.failing_since),
            false => self.available_since,
        };
        CatalogueStatus {
            available: since.map(|_| !self.is_outage()),
            since,
            failures: self.failures,
            last_error: self.last_cause.clone(),
        }
    }
}

impl<Id: Ord> Default for Availability<Id> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::after_start(Duration::from_secs(seconds))
    }

    fn fail(availability: &mut Availability<u32>, seconds: u64, id: u32) -> Option<Change> {
        availability.on_failure(at(seconds), id, "refused")
    }

    #[test]
    fn the_second_failure_in_a_row_begins_an_outage_and_a_success_ends_it() {
        let mut catalogue = Availability::new();
        assert_eq!(catalogue.status().available, None);
        assert_eq!(catalogue.on_success(at(1)), None);
        assert_eq!(fail(&mut catalogue, 2, 1), None);
        assert_eq!(fail(&mut catalogue, 3, 2), Some(Change::Lost));
        assert_eq!(fail(&mut catalogue, 4, 1), None);
        let status = catalogue.status();
        assert_eq!((status.available, status.since), (Some(false), Some(at(2))));
        assert_eq!(
            (status.failures, status.last_error.as_deref()),
            (3, Some("refused"))
        );
        let ended = Change::Regained(Duration::from_secs(8), 3);
        assert_eq!(catalogue.on_success(at(10)), Some(ended));
        assert_eq!(catalogue.on_success(at(11)), None);
        let status = catalogue.status();
        assert_eq!((status.available, status.since), (Some(true), Some(at(10))));
    }

    #[test]
    fn one_part_whose_requests_fail_between_those_that_succeed_is_no_outage() {
        let mut catalogue = Availability::new();
        for second in 0..100 {
            assert_eq!(fail(&mut catalogue, second, 1), None);
            assert_eq!(catalogue.on_success(at(second)), None);
        }
        assert!(!catalogue.is_outage());
    }

    #[test]
    fn a_part_recovers_once() {
        let mut catalogue = Availability::new();
        fail(&mut catalogue, 1, 1);
        catalogue.on_success(at(2));
        assert!(!catalogue.recovers(&1), "there was no outage");
        fail(&mut catalogue, 3, 1);
        fail(&mut catalogue, 4, 2);
        catalogue.on_success(at(5));
        for id in [1, 2] {
            assert!(catalogue.recovers(&id));
            assert!(!catalogue.recovers(&id));
        }
        assert!(!catalogue.recovers(&3));
    }
}
