//! What is known about the shim from outside: metrics, and how things are.

use domain::Plan;
use domain::event::StatusRequest;
use domain::measurement::Measurement;
use domain::status::Status;

/// Counts what is measured, and serves it to whoever asks.
#[cfg_attr(test, mockall::automock)]
pub trait Telemetry {
    /// From now on it is about this plan: served where the plan says, or nowhere, with a series for each
    /// thing the plan names and none for what it does not name any more.
    fn expose(&mut self, plan: &Plan);

    /// Counts, times or notes this. What the plan does not name is not.
    fn record(&mut self, measurement: &Measurement);

    /// Answers whoever asked under this number; if nobody waits any more, nobody is answered.
    fn report(&mut self, status_request: StatusRequest, status: &Status);
}
