//! The machine's users and groups.

use domain::identity::Accounts;
use std::io;
use std::rc::Rc;

/// Reads the databases of users and groups.
#[cfg_attr(test, mockall::automock)]
pub trait Users {
    /// Their present entries, and what the shim's own process may do.
    ///
    /// # Errors
    /// A database cannot be read, or is too large. One that does not exist is empty.
    fn accounts(&self) -> io::Result<Rc<Accounts>>;
}
