//! What the shim publishes: metrics, and the pages that show its status.

use domain::Plan;
use domain::measurement::Measurement;

/// Counts measurements, and serves metrics and the status to clients.
#[cfg_attr(test, mockall::automock)]
pub trait Telemetry {
    /// Switches to this plan: serves at the plan's address, or nowhere, and has a series for each thing that
    /// the plan names and no others.
    fn expose(&mut self, plan: &Plan);

    /// Records a measurement. One about a thing that the plan does not name is dropped.
    fn record(&mut self, measurement: &Measurement);
}
