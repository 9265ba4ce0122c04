//! What is measured: a closed list of values, which the core returns and the telemetry adapter counts.
//!
//! The core states what happened and how long it took. The adapter decides names, units and labels of metrics. The
//! core keeps no counters.

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
        operation: CatalogueOperation,
        /// What came of it.
        outcome: Outcome,
        /// The time from the operation to the answer.
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

/// An operation of the catalogue, and the service or backend it is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CatalogueOperation {
    /// Registers the service of this name.
    Register(String),
    /// Renews its registration: a heartbeat.
    Renew(String),
    /// Asks which instance is registered under its ID.
    Inspect(String),
    /// Deregisters it.
    Deregister(String),
    /// Lists the instances of a backend; the answer comes at once.
    List(WatchedBackend),
    /// Lists the instances of a backend; the answer comes when they change.
    Watch(WatchedBackend),
}

impl CatalogueOperation {
    /// The operation of a request.
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
