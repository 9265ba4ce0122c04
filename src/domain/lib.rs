//! The core of containerpilot: a deterministic state machine, driven by [`Shim::step`].
//!
//! Its input is an [`Event`] and the time; its output is a list of [`Effect`]s, which the caller performs in
//! order. Between two steps nothing changes. The same events at the same times always give the same effects.
//!
//! The machine consists of independent units: a [`heartbeat`] per service, a [`watch`] per backend, a
//! [`sensor`] per metric, a [`job`] per child process, and the [`lifecycle`] above them. [`shim`] routes
//! events and actions between them.
//!
//! The crate is `no_std`, so it cannot use a clock, file, socket, process, environment or thread.
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
pub mod availability;
pub mod catalogue;
pub mod causes;
pub mod changes;
pub mod check;
pub mod checks;
pub mod control;
pub mod delay;
pub mod effect;
pub mod emergency;
pub mod event;
pub mod failures;
pub mod filled;
pub mod health_service;
pub mod heartbeat;
pub mod identity;
pub mod job;
pub mod lifecycle;
pub mod measurement;
pub mod notice;
pub mod plan;
pub mod probe;
pub mod process;
pub mod reaction;
pub mod registration;
pub mod requests;
pub mod sensor;
pub mod shim;
pub mod signal;
pub mod spread;
pub mod standstill;
pub mod state_key;
pub mod status;
pub mod template;
pub mod time;
pub mod watch;

pub use effect::Effect;
pub use event::{Event, Ticket};
pub use notice::Notice;
pub use plan::Plan;
pub use shim::Shim;
pub use time::Instant;
