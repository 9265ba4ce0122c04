//! The configuration.

use domain::event::Loaded;

/// Reads the configuration.
#[cfg_attr(test, mockall::automock)]
pub trait Settings {
    /// Reads the source anew, with the environment as it is now, and checks everything in it.
    fn load(&mut self) -> Loaded;
}
