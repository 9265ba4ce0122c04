//! One turn of the driver: from the event that woke it until it waits again. Only the data that the laws
//! need.

use domain::catalogue::Endpoint;
use domain::plan::Role;
use domain::signal::Signal;
use domain::{Instant, Ticket};
use std::collections::VecDeque;

/// One turn of the driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Turn {
    pub began: Instant,
    /// Since when ticks may wait that the driver could not handle before: the begin of the turn, or earlier
    /// if a start took time in the turn before or the machine was paused.
    pub ticks_since: Instant,
    /// Whether it is over: the driver waits.
    pub over: bool,
    /// The signals that must be passed on, in this order.
    pub forward: VecDeque<Signal>,
    /// Whether the shim must suspend itself, before it passes the signals on.
    pub suspend: bool,
    /// The variable that must be exported before anything else starts.
    pub export: Option<(String, String)>,
    /// Whether a start failed. The core gets that event after the remaining effects.
    pub has_late_failure: bool,
    /// The child that is being started, until the result is known.
    pub starting: Option<Ticket>,
    /// The role of a run that ended with 0.
    pub passed: Option<Role>,
    /// The service whose check has failed so often that the shim stops, and how often, until that is logged.
    pub fails: Option<(String, u32)>,
    /// The starts that failed.
    pub failed: Vec<Ticket>,
    /// Whether a configuration was refused and no earlier plan waits that may come into force in the same
    /// turn.
    pub refused: bool,
    /// Services and backends of which a request failed, because an answer said so.
    pub unsuccessful: Vec<String>,
    /// The ID of a service under which an answer found another instance that was not reported yet.
    pub other_holder: Option<(String, Endpoint)>,
}

impl Turn {
    /// A turn that begins now.
    #[cfg(test)]
    pub fn at(now: Instant) -> Self {
        Self {
            began: now,
            ticks_since: now,
            ..Self::default()
        }
    }
}

domain::keyed!(Turn {
    began,
    ticks_since,
    over,
    forward,
    export,
    has_late_failure,
    starting,
    passed,
    fails,
    failed,
    refused,
    suspend,
    unsuccessful,
    other_holder,
});
