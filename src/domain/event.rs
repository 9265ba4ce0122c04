//! The events that the core takes: one closed enum.
//!
//! [`Event`] lists everything that can wake the core; [`crate::effect`] lists everything that the core can
//! do.

use crate::catalogue::{Answer, Dependency};
use crate::control::{ControlRequest, RequestNumber};
use crate::notice::Notice;
use crate::plan::Plan;
use crate::probe::ProbeEnd;
use crate::process::{ExitStatus, Pid, StartFailure};
use crate::signal::Signal;
use crate::state_key::{Keyed, StateKey};
use crate::template::{Outcome, Written};
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The program starts; this is the first event, and comes once.
    Begin,
    /// The deadline has come.
    Woken,
    /// The shim received a signal.
    Signal(Signal),
    /// A process of an effect `Start` runs.
    Started(Ticket, Pid),
    /// A process of an effect `Start` could not be started.
    NotStarted(Ticket, StartFailure),
    /// The output of a process, unless its output is inherited or empty; comes right before `Exited`. If the
    /// output is too long, the text begins with `…` and has its end only; bytes that are not UTF-8 become
    /// U+FFFD.
    Printed(Ticket, String),
    /// A signal of the terminal, or itself, has stopped a process whose job has [`crate::plan::Input::Inherited`], and it
    /// does not continue without the shim.
    Stopped(Ticket),
    /// The terminal is gone.
    HungUp,
    /// A process that was asked to stop, and was not killed since, ends, and processes below it are still there. Comes
    /// immediately before `Exited`, and `TreeEnded` follows later.
    Outlived(Ticket),
    /// A process that the shim started has ended and was reaped.
    Exited(Ticket, ExitStatus),
    /// The processes that outlived this one have ended.
    TreeEnded(Ticket),
    /// No other process is left. Answers [`crate::Effect::SendToAll`].
    AllEnded,
    /// A process that the kernel assigned to the shim has ended and was reaped.
    OrphanReaped(Pid),
    /// The catalogue answered, or the request failed.
    Answered(Ticket, Answer),
    /// A probe has ended; the text is the beginning of the answer, at most 1,024 bytes.
    Probed(Ticket, ProbeEnd, String),
    /// The configuration was read again: the result.
    Loaded(Ticket, Loaded),
    /// A template was rendered. Answers [`crate::Effect::Render`].
    Rendered(Ticket, Rendered),
    /// The file of a template was written. Answers [`crate::Effect::Write`].
    Written(Ticket, Written),
    /// A client of the shim requests something. Answered by [`crate::Effect::Answer`].
    Requested(RequestNumber, ControlRequest),
}

/// The result of rendering a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rendered {
    /// What it has looked up in the catalogue.
    pub names: BTreeSet<Dependency>,
    /// The keys among them without whose values it is not complete, and that do not exist.
    pub missing: BTreeSet<Dependency>,
    /// A number that stands for the contents of all files that it has read; `None` if it has read none.
    pub files: Option<u64>,
    /// The contents of its file, or why there are none.
    pub outcome: Outcome,
}

/// The result of reading the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loaded {
    /// The configuration is valid.
    Plan {
        /// The plan.
        plan: Box<Plan>,
        /// Notices for operators: warnings, and the configuration that was loaded.
        notices: Vec<Notice>,
    },
    /// The configuration has errors: the report of all of them.
    Refused(String),
}

/// The number of one child process, probe, catalogue request or reading of the configuration. It is never used again. The
/// result comes back as an event with this number; the result of a cancelled request is discarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl Keyed for Ticket {
    fn write_key(&self, key: &mut impl StateKey) {
        key.ticket(self.0);
    }
}
