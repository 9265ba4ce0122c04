//! Health checks without a process.

use domain::Ticket;
use domain::probe::Probe;

/// Runs probes without waiting for their results.
#[cfg_attr(test, mockall::automock)]
pub trait Probes {
    /// Runs a probe. Its result always arrives in the inbox under `ticket`, at the latest when its time limit is over.
    fn start(&mut self, ticket: Ticket, probe: &Probe);

    /// Cancels the probe, if it runs, so that its result is discarded. If it has ended, the connection that was kept for its
    /// next run is closed.
    fn end(&mut self, ticket: Ticket);
}
