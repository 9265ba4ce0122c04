//! What the machine asks the world to do: one closed enum.

use crate::catalogue::Request;
use crate::event::{StatusRequest, Ticket};
use crate::measurement::Measurement;
use crate::notice::Notice;
use crate::plan::{Catalogue, Job, Logging, Plan, SignalTarget};
use crate::signal::Signal;
use crate::status::Status;
use crate::time::Duration;
use alloc::boxed::Box;
use alloc::string::String;

/// Something the caller is to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Start a process. Answered by `Started` and later `Exited`, or by `NotStarted`.
    Start(Ticket, Box<Job>),
    /// Send a signal to a process of ours that has not been reaped yet.
    Send(Ticket, Signal, SignalTarget),
    /// Send a request to the catalogue. Answered by `Answered` within the limit.
    Ask {
        /// The request's number.
        ticket: Ticket,
        /// The request.
        request: Request,
        /// How many connections to the catalogue may be open from now on, those that nobody uses among them; none if
        /// the core does not bound them.
        connections: Option<u32>,
        /// The answer is [`Answer::Failed`] if none came within this time.
        limit: Duration,
    },
    /// Cancel a catalogue request; its answer is not needed.
    Forget(Ticket),
    /// Read the configuration again. Answered by `Loaded`, within a time that the adapter states; there is one
    /// such question at a time.
    Load(Ticket),
    /// From now on requests go to this catalogue.
    Connect(Catalogue),
    /// From now on the log looks like this.
    Configure(Logging),
    /// Children started from now on, and templates, find this variable in their environment.
    Export {
        /// The variable's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// Tell the operator.
    Tell(Notice),
    /// Count, time or note this.
    Measure(Measurement),
    /// From now on telemetry is about this plan, and served where it says.
    Expose(Box<Plan>),
    /// Tell whoever asked how things are.
    Report(StatusRequest, Box<Status>),
    /// End the program with this exit code; the last effect.
    Exit(u8),
}
