//! The clock and the inbox.

use async_trait::async_trait;
use domain::{Event, Instant};

/// The monotonic clock.
#[cfg_attr(test, mockall::automock)]
pub trait Clock {
    /// The time since the start of the program; it never goes back.
    fn now(&self) -> Instant;
}

/// The queue of all events, in the order in which they occurred.
#[cfg_attr(test, mockall::automock)]
#[async_trait(?Send)]
pub trait Inbox {
    /// Waits for the next event; [`Event::Woken`] once `deadline` has come.
    async fn next(&mut self, deadline: Option<Instant>) -> Event;
}
