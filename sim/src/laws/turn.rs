//! One turn of the driver: from the event that woke it until it waits again. Only what the laws need to know of it.

use domain::catalogue::Endpoint;
use domain::plan::Role;
use domain::signal::Signal;
use domain::{Instant, Ticket};

/// From the event that woke the driver until it waits again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Turn {
    pub began: Instant,
    /// Since when ticks may wait that the driver could not see: it is never before the turn, unless starting
    /// took time in the turn before, or the machine stood still.
    pub looked: Instant,
    /// It is over: the driver waits.
    pub over: bool,
    /// A signal that is to be passed on.
    pub forward: Option<Signal>,
    /// A variable that is to be exported before anything else starts.
    pub export: Option<(String, String)>,
    /// Something failed to start: the core learns of it when what it began before is carried out.
    pub has_late_failure: bool,
    /// The child that is started, until it is known whether it runs.
    pub starting: Option<Ticket>,
    /// What ended with 0.
    pub passed: Option<Role>,
    /// What failed to start.
    pub failed: Vec<Ticket>,
    /// A configuration was refused, and no earlier plan waits that may be put in force in the same turn.
    pub refused: bool,
    /// Services whose requests were answered.
    pub answered: Vec<String>,
    /// The ID of a service under which an answer found another instance that was not reported yet.
    pub stranger: Option<(String, Endpoint)>,
}

impl Turn {
    /// A turn that begins now.
    #[cfg(test)]
    pub fn at(now: Instant) -> Self {
        Self {
            began: now,
            looked: now,
            ..Self::default()
        }
    }
}
