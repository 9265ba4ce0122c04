//! What comes into the machine and what goes out of it: two closed enums.
//!
//! Whoever wants to know what can wake the program reads [`Event`]; what it can do to the world, [`Effect`].

use crate::measurement::Measurement;
use crate::notice::Notice;
use crate::plan::{Catalogue, Job, Logging, Plan, Registration, SignalTarget};
use crate::signal::Signal;
use crate::status::Status;
use crate::time::Duration;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// The number of one question to the outside world. It is never used again: whatever comes of the question
/// comes back as one event with this number, and if the question was forgotten, it finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The number somebody outside gave to a question about the shim; it comes back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusRequest(pub u64);

/// A process ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub i32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

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

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(u8),
    /// This signal killed it.
    Signal(Signal),
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "signal: {}", signal.as_end()),
        }
    }
}

/// Why a process could not be started.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartFailure {
    /// Whether the program is not there at all.
    pub not_found: bool,
    /// The cause as a sentence.
    pub cause: String,
}

/// How the run of a job ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// Its process ended.
    Exited(ExitStatus),
    /// It never had a process.
    NotStarted(StartFailure),
}

impl Ending {
    /// Whether it did what was asked of it.
    pub fn passed(&self) -> bool {
        *self == Self::Exited(ExitStatus::Code(0))
    }

    /// The exit code that tells it: the process' own, 128 + the signal that killed it (EX-2), 127 for a
    /// program that was not found and 126 for one that could not be executed (EX-7).
    pub fn code(&self) -> u8 {
        match self {
            Self::Exited(ExitStatus::Code(code)) => *code,
            Self::Exited(ExitStatus::Signal(signal)) => {
                u8::try_from(signal.number().saturating_add(128)).unwrap_or(u8::MAX)
            }
            Self::NotStarted(failure) if failure.not_found => 127,
            Self::NotStarted(_) => 126,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "{status}"),
            Self::NotStarted(failure) => f.write_str(&failure.cause),
        }
    }
}

/// What a catalogue answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// The registration or the deregistration was done, or the heartbeat was taken.
    Done,
    /// There is no such registration to renew: the catalogue's own words, and where the instance is reached that
    /// stands under our ID, if it says so.
    Unknown(String, Option<Endpoint>),
    /// The instances of a service.
    Instances(Listing),
    /// Where the instance is reached that stands under our ID, if one does.
    Holder(Option<Endpoint>),
    /// The request failed or took too long: the cause.
    Failed(String),
    /// The catalogue takes no more connections or requests of ours for now, and did nothing: its words.
    Busy(String),
}

/// The passing instances of a service at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listing {
    /// The instances, in any order.
    pub instances: Vec<Instance>,
    /// Where to go on watching; none if the catalogue cannot say.
    pub cursor: Option<Cursor>,
    /// Whether the catalogue says that its access rules hid instances from us.
    pub filtered: bool,
    /// What stood in the list and was left out.
    pub skipped: Skipped,
}

/// Entries of a list that were left out, because they are not what an instance has to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Skipped {
    /// How many there were.
    pub count: usize,
    /// Which was the first, and what is wrong with it; a part of a sentence, such as
    /// `instance 'db-1' has the port 70000, allowed is 1 to 65535`.
    pub example: String,
}

/// One passing instance of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// Its ID; unique only within one catalogue agent.
    pub id: String,
    /// The address it is reached at.
    pub address: String,
    /// The port it is reached at.
    pub port: u16,
}

/// Where an instance is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Its address, an IP address or a host name.
    pub address: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    /// Whatever others wrote stays on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.contains(':') {
            true => write!(f, "[{}]:{}", self.address.escape_debug(), self.port),
            false => write!(f, "{}:{}", self.address.escape_debug(), self.port),
        }
    }
}

/// A place in a catalogue's history; only the catalogue knows what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub u64);

/// What came of reading the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Loaded {
    /// It is good.
    Plan {
        /// What it says.
        plan: Box<Plan>,
        /// What operators are told about it.
        remarks: Vec<Notice>,
    },
    /// It is not: everything that is wrong with it.
    Refused(String),
}

/// Something the caller is to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// Start a process. Answered by `Started` and later `Exited`, or by `NotStarted`.
    Start(Ticket, Box<Job>),
    /// Send a signal to a process of ours that has not been reaped yet.
    Send(Ticket, Signal, SignalTarget),
    /// Ask the catalogue. Answered by `Answered` within the limit.
    Ask {
        /// The question's number.
        ticket: Ticket,
        /// The question.
        request: Request,
        /// The answer is [`Answer::Failed`] if none came within this time.
        limit: Duration,
    },
    /// Nobody waits any more for the answer to a catalogue request; it may be dropped on its way.
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

/// A question to the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    /// Enter this instance as passing, in one call, over whatever stands under its ID.
    Register(Registration),
    /// This instance is healthy: keep it passing for another TTL.
    Renew(Registration),
    /// Say which instance stands under this one's ID. Changes nothing.
    Inspect(Registration),
    /// Remove this instance; one that is not there counts as removed.
    Deregister(Registration),
    /// List the passing instances of a service.
    Instances(Query),
}

/// Which instances are wanted, and when the answer is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Query {
    /// The service's name.
    pub service: String,
    /// Only instances with this tag.
    pub tag: Option<String>,
    /// Wait until something differs from what stood here...
    pub after: Option<Cursor>,
    /// ...but not longer than this.
    pub wait: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn codes_are_those_of_the_shell() {
        let failure = |not_found| {
            Ending::NotStarted(StartFailure {
                not_found,
                cause: String::new(),
            })
        };
        assert_eq!(Ending::Exited(ExitStatus::Code(7)).code(), 7);
        assert_eq!(Ending::Exited(ExitStatus::Signal(Signal::KILL)).code(), 137);
        assert_eq!(Ending::Exited(ExitStatus::Signal(Signal::TERM)).code(), 143);
        assert_eq!(failure(true).code(), 127);
        assert_eq!(failure(false).code(), 126);
    }

    #[test]
    fn only_a_clean_exit_passes() {
        assert!(Ending::Exited(ExitStatus::Code(0)).passed());
        assert!(!Ending::Exited(ExitStatus::Code(1)).passed());
        assert!(!Ending::Exited(ExitStatus::Signal(Signal::KILL)).passed());
    }

    #[test]
    fn endings_read_as_in_the_original() {
        assert_eq!(ExitStatus::Code(3).to_string(), "exit status 3");
        assert_eq!(ExitStatus::Signal(Signal::TERM).to_string(), "signal: terminated");
        assert_eq!(
            ExitStatus::Signal(Signal::new(64)).to_string(),
            "signal: signal 64"
        );
    }
}
