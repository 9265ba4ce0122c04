//! The effects that the core returns: one closed enum.

use crate::catalogue::{Data, Dependency, Request};
use crate::control::{ControlAnswer, RequestNumber};
use crate::event::Ticket;
use crate::measurement::Measurement;
use crate::notice::Notice;
use crate::plan::{Catalogue, ControlSocket, Job, Logging, Plan, SignalTarget, TemplateSource};
use crate::probe::Probe;
use crate::signal::Signal;
use crate::time::Duration;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;

/// An effect, which the caller performs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Start a process. Answered by `Started` and later `Exited`, or by `NotStarted`.
    Start(Ticket, Box<Job>),
    /// Send a signal to a child process that has not been reaped yet, or to the processes that outlived it. With SIGCONT a
    /// process that can use the terminal also gets its foreground, if the shim has it.
    Send(Ticket, Signal, SignalTarget),
    /// Send a signal to all processes below the shim; as PID 1 to all others of its namespace. A process for which this
    /// step has the same signal already gets it once. Answered by `AllEnded` as soon as none is left.
    SendToAll(Signal),
    /// Stop the shim itself until it gets SIGCONT, as a job of the shell that started it. Without such a shell, and as PID 1,
    /// this does nothing.
    Suspend,
    /// Send a request to the catalogue. Answered by `Answered` within the limit.
    Request {
        /// The request's number.
        ticket: Ticket,
        /// The request.
        request: Request,
        /// How many connections to the catalogue may be open from now on, idle ones included; `None` if the
        /// core does not limit them.
        connections: Option<u32>,
        /// The answer is [`Answer::Failed`] if there is none within this time.
        limit: Duration,
    },
    /// Cancel a catalogue request; its answer is discarded.
    Cancel(Ticket),
    /// Run a probe. Answered by `Probed` within its time limit.
    Probe(Ticket, Box<Probe>),
    /// The probe of this number is no longer needed: if it runs, it is cancelled and its result discarded; if it has ended,
    /// the connection that was kept for its next run is closed.
    EndProbe(Ticket),
    /// Read the configuration again. Answered by `Loaded`, within a time limit of the adapter. There is one
    /// such request at a time.
    Load(Ticket),
    /// Render a template. Answered by `Rendered`, within a time limit of the adapter.
    Render(Ticket, Box<Rendering>),
    /// Write the file of a template, unless it has these contents already. Answered by `Written`, within a time limit of
    /// the adapter. Writings happen in the order of these effects.
    Write(Ticket, Box<Writing>),
    /// From now on requests go to this catalogue.
    Connect(Catalogue),
    /// From now on the log has this level, format and stream.
    Configure(Logging),
    /// Set a variable in the environment of children started, and templates rendered, from now on.
    Export {
        /// The variable's name.
        name: String,
        /// Its value.
        value: String,
    },
    /// Log a message for operators.
    Log(Notice),
    /// Record a measurement.
    Measure(Measurement),
    /// From now on serve telemetry at this plan's address, or nowhere, with a series for each thing in the plan.
    Expose(Box<Plan>),
    /// From now on clients send their requests to this socket, or to none.
    Listen(Option<ControlSocket>),
    /// Answer the request of a client.
    Answer(RequestNumber, ControlAnswer),
    /// End the program with this exit code. This is the last effect.
    Exit(u8),
}

/// A template to render.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rendering {
    /// The path of the file that it is for.
    pub destination: String,
    /// Where the template is.
    pub source: TemplateSource,
    /// What is known of what it looks up.
    pub known: BTreeMap<Dependency, Data>,
    /// Whether the catalogue has keys with values; if not, a template that looks them up is wrong.
    pub has_keys: bool,
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Writing {
    /// The path of the file.
    pub destination: String,
    /// Its contents.
    pub contents: String,
    /// Its permissions; without them those that it has.
    pub mode: Option<u32>,
    /// The numbers of its user and its group; without them those that it has.
    pub owner: Option<(u32, u32)>,
}

crate::keyed_as_is!(Effect);
