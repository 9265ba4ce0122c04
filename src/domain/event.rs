//! What wakes the machine: one closed enum.
//!
//! Whoever wants to know what can wake the program reads [`Event`]; what the machine can do to the world stands in
//! [`crate::effect`].

use crate::catalogue::Answer;
use crate::notice::Notice;
use crate::plan::Plan;
use crate::process::{ExitStatus, Pid, StartFailure};
use crate::signal::Signal;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The program begins; the first event, once.
    Begin,
    /// Nothing but time passed.
    Woken,
    /// An operator or the kernel sent the shim a signal.
    Signal(Signal),
    /// The process asked for runs.
    Started(Ticket, Pid),
    /// The process asked for could not be started.
    NotStarted(Ticket, StartFailure),
    /// What a process wrote whose output is not inherited, if it wrote anything; comes right before
    /// `Exited`. What is too long begins with `…` and is its end only, and what is not UTF-8 has U+FFFD for it.
    Printed(Ticket, String),
    /// A process ended, and was reaped.
    Exited(Ticket, ExitStatus),
    /// A process that is not ours, reparented to us, ended and was reaped.
    OrphanReaped(Pid),
    /// The catalogue answered, or failed to.
    Answered(Ticket, Answer),
    /// The configuration was read again.
    Loaded(Ticket, Loaded),
    /// Somebody wants to know how things are. Answered by [`Effect::Report`].
    StatusAsked(StatusRequest),
}

/// What came of reading the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loaded {
    /// It is good.
    Plan {
        /// What it says.
        plan: Box<Plan>,
        /// What operators are told about it: warnings, and what was loaded.
        notices: Vec<Notice>,
    },
    /// It is not: everything that is wrong with it.
    Refused(String),
}

/// The number of one child process, catalogue request or reading of the configuration. It is never used again. The
/// result comes back as an event with this number; the result of a cancelled request is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The number that the telemetry adapter gave to a request for the status; it comes back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusRequest(pub u64);
