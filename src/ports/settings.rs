//! The configuration.

use domain::Ticket;

/// Reads the configuration without waiting for it.
#[cfg_attr(test, mockall::automock)]
pub trait Settings {
    /// Reads the source again, with the present environment, and checks it completely. The result always
    /// arrives in the inbox as [`domain::Event::Loaded`] under `ticket`, within a time limit.
    fn load(&mut self, ticket: Ticket);
}
