//! The configuration.

use domain::Ticket;

/// Reads the configuration without waiting for it.
#[cfg_attr(test, mockall::automock)]
pub trait Settings {
    /// Reads the source anew, with the environment as it is now, and checks everything in it. What comes of it
    /// arrives in the inbox as [`domain::Event::Loaded`] under `ticket`, within a bound, come what may.
    fn load(&mut self, ticket: Ticket);
}
