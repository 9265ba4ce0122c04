//! The log.

use domain::Notice;
use domain::plan::Logging;

/// The shim's own log.
#[cfg_attr(test, mockall::automock)]
pub trait Console {
    /// Logs the notice if its level is enabled. Never waits for the reader of the log.
    fn log(&mut self, notice: &Notice);

    /// Sets level, format and stream for what is logged from now on.
    fn configure(&mut self, logging: Logging);
}
