//! The time limits and counts that the laws check, each written once.
//!
//! They are those of docs/bounds.md. They are written here a second time on purpose: the laws use no constant
//! of the core, so a core in which a limit is changed violates a law.

use domain::time::Duration;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A request about a service, unless its poll is shorter; and how much longer than its wait a blocking query
/// may take (SD-10).
pub(crate) const REQUEST: Duration = seconds(2);
/// The deregistration of all services together, from the begin of the stop on (SD-10).
pub(crate) const DEREGISTRATION: Duration = seconds(2);
/// The application, or a preStop hook that outlived it, after SIGKILL.
pub(crate) const UNKILLABLE: Duration = seconds(10);
/// The children that are left at the end, after SIGTERM.
pub(crate) const REMAINING_GRACE: Duration = seconds(5);
/// The children that are left at the end, after SIGKILL.
pub(crate) const REMAINING_DEATH: Duration = seconds(2);
/// A new plan that waits for processes of the old one.
pub(crate) const LONGEST_RELOAD_WAIT: Duration = seconds(5);

/// A wake-up that comes later than this after its deadline means that the machine was paused.
pub(crate) const LATE: Duration = seconds(1);
/// After how many late wake-ups in a row time limits no longer start again.
pub(crate) const MOST_LATE: u32 = 3;

/// A run of a coprocess that is shorter ended at once (EX-23).
pub(crate) const QUICK_RUN: Duration = seconds(1);
/// From this number of such runs in a row on, there is a pause before the next run.
pub(crate) const QUICK_RUNS: u32 = 2;
/// That pause, at least and at most.
pub(crate) const RESTART_PAUSE: (Duration, Duration) = (milliseconds(250), seconds(10));
/// The pause after a handler could not be started, at least and at most.
pub(crate) const HANDLER_PAUSE: (Duration, Duration) = (milliseconds(250), seconds(10));

/// The pause after a query that failed, at least, unless half a poll is shorter (SD-20).
pub(crate) const FAILED_QUERY_PAUSE: Duration = milliseconds(250);
/// The pause after a blocking query that was answered early, at least, unless half a poll is shorter (SD-20).
pub(crate) const EARLY_ANSWER_PAUSE: Duration = milliseconds(25);

/// The time in which a budget that was cut grows again.
pub(crate) const BUDGET_GROWTH: Duration = seconds(10);
/// The first pause after the catalogue refused a request as one too many, at most. It doubles each time, and is at
/// least half of that.
pub(crate) const FIRST_PAUSE: Duration = milliseconds(200);
/// The pause after the catalogue refused a request as one too many, at most.
pub(crate) const LONGEST_PAUSE: Duration = seconds(2);
/// How long a heartbeat may wait for its turn before it is given up, unless the poll is longer.
pub(crate) const LONGEST_HEARTBEAT_WAIT: Duration = seconds(2);
/// How long a deregistration may wait for its turn before it is given up.
pub(crate) const LONGEST_DEREGISTRATION_WAIT: Duration = seconds(10);
/// How long a query that the catalogue did not take may wait before it is given up.
pub(crate) const LONGEST_QUERY_WAIT: Duration = seconds(2);

/// Other instances under a service's ID that are reported.
pub(crate) const MOST_HOLDERS: usize = 8;

/// The deregistrations in an emergency.
pub(crate) const EMERGENCY_DEREGISTRATION: Duration = seconds(2);
/// The time that children have to stop in an emergency, at most.
pub(crate) const EMERGENCY_GRACE: Duration = seconds(60);
/// The time that killed children have to be gone in an emergency.
pub(crate) const EMERGENCY_DEATH: Duration = seconds(2);
