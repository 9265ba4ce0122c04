//! The core of containerpilot: one pure machine with one door, [`Shim::step`].
//!
//! What comes in is an [`Event`] and the time; what goes out is a list of [`Effect`]s for the caller to
//! perform in order. Between two steps nothing happens. The same events at the same times always give the
//! same effects.
//!
//! The machine is made of units that do not know each other: a [`heartbeat`] per service, a [`watch`] per
//! backend, a [`sensor`] per metric, a [`job`] per child process, and the [`lifecycle`] above them. [`shim`]
//! only routes between them.
//!
//! There is no clock, file, socket, process, environment or thread in here, and without `std` none can be named.
#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        reason = "a test may fail by panicking"
    )
)]

extern crate alloc;

pub mod address;
pub mod catalogue;
pub mod causes;
pub mod check;
pub mod effect;
pub mod emergency;
pub mod event;
pub mod failures;
pub mod heartbeat;
pub mod job;
pub mod lifecycle;
pub mod measurement;
pub mod notice;
pub mod plan;
pub mod process;
pub mod registration;
pub mod requests;
pub mod sensor;
pub mod shim;
pub mod signal;
pub mod standstill;
pub mod status;
pub mod time;
pub mod watch;

pub use effect::Effect;
pub use event::{Event, Ticket};
pub use notice::Notice;
pub use plan::Plan;
pub use shim::Shim;
pub use time::Instant;
