//! The machine's network addresses.

use domain::address::InterfaceAddress;
use std::io;

/// Lists network interfaces.
#[cfg_attr(test, mockall::automock)]
pub trait Interfaces {
    /// The addresses of all interfaces, whatever their state, in any order.
    ///
    /// # Errors
    /// The kernel does not list them.
    fn addresses(&self) -> io::Result<Vec<InterfaceAddress>>;
}
