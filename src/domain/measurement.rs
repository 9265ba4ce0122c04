//! What is measured: a closed list, produced by the core and counted by whoever serves telemetry.
//!
//! The core says what happened and how long it took; names, units and labels are for the adapter. Nothing
//! here is kept: the core holds no counters.

use crate::catalogue::{Answer, Request};
use crate::plan::Role;
use crate::sensor::Value;
use crate::time::Duration;
use alloc::string::String;

/// Something that is counted, timed or noted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measurement {
    /// A run of a job ended.
    Ran {
        /// Whose run it was.
        role: Role,
        /// What came of it.
        result: RunResult,
        /// The time from its start to its end.
        took: Duration,
    },
    /// A coprocess is started again.
    Restarted(Role),
    /// The catalogue answered, or failed to.
    Answered {
        /// What was asked.
        question: Question,
        /// What came of it.
        outcome: Outcome,
        /// The time from the question to the answer.
        took: Duration,
    },
    /// The catalogue listed the passing instances of a backend.
    Seen {
        /// Which backend.
        backend: WatchedBackend,
        /// How many there are.
        instances: usize,
    },
    /// A sensor gave a value that its kind takes.
    Sensed {
        /// The metric's name.
        sensor: String,
        /// The value.
        value: Value,
    },
    /// A process that is not ours was reaped.
    OrphanReaped,
    /// A configuration was read again, and put in force or refused.
    Reloaded {
        /// Whether it was put in force.
        accepted: bool,
    },
    /// Maintenance began or ended.
    Maintenance(bool),
}

/// What came of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunResult {
    /// It did what was asked of it.
    Passed,
    /// It failed, or could not be started.
    Failed,
    /// It took longer than it may.
    TimedOut,
    /// The shim stopped it for reasons of its own.
    Stopped,
}

/// A backend: a service's name, and the tag that its instances must have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchedBackend {
    /// The service's name.
    pub name: String,
    /// The tag.
    pub tag: Option<String>,
}

/// A question to the catalogue, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// To enter the service of this name.
    Register(String),
    /// To take its heartbeat.
    Renew(String),
    /// Who holds its ID.
    Inspect(String),
    /// To remove it.
    Deregister(String),
    /// For a backend's instances, to be answered at once.
    List(WatchedBackend),
    /// For a backend's instances, to be answered when they change.
    Watch(WatchedBackend),
}

impl Question {
    /// What is asked by a request.
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Register(registration) => Self::Register(registration.name.clone()),
            Request::Renew(registration) => Self::Renew(registration.name.clone()),
            Request::Inspect(registration) => Self::Inspect(registration.name.clone()),
            Request::Deregister(registration) => Self::Deregister(registration.name.clone()),
            Request::Instances(query) => {
                let watched = WatchedBackend {
                    name: query.service.clone(),
                    tag: query.tag.clone(),
                };
                match query.after {
                    None => Self::List(watched),
                    Some(_) => Self::Watch(watched),
                }
            }
        }
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It was done, or answered.
    Done,
    /// There is no such entry.
    Unknown,
    /// It failed; whether it took effect is unknown.
    Failed,
}

impl Outcome {
    /// What an answer comes to.
    pub fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Done | Answer::Instances(_) | Answer::Holder(_) => Self::Done,
            Answer::Unknown(..) => Self::Unknown,
            Answer::Failed(_) | Answer::Busy(_) => Self::Failed,
        }
    }
}
