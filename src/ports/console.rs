//! Where operators are told things.

use domain::Notice;
use domain::plan::Logging;

/// The shim's own log.
#[cfg_attr(test, mockall::automock)]
pub trait Console {
    /// Writes the notice, if its level is loud enough. Never waits for whoever reads it.
    fn tell(&mut self, notice: &Notice);

    /// Level, form and stream from now on.
    fn configure(&mut self, logging: Logging);
}
