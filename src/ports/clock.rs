//! Time, and what happens in it.

use async_trait::async_trait;
use domain::{Event, Instant};

/// Asks what time it is.
#[cfg_attr(test, mockall::automock)]
pub trait Clock {
    /// How long after the start of the program it is; never goes back.
    fn now(&self) -> Instant;
}

/// Where everything that happens arrives, in the order in which it happened.
#[cfg_attr(test, mockall::automock)]
#[async_trait(?Send)]
pub trait Inbox {
    /// Waits for the next event; [`Event::Woken`] once `deadline` has come.
    async fn next(&mut self, deadline: Option<Instant>) -> Event;
}
