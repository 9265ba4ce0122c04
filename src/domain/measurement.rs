//! What is measured: a closed list of values, which the core returns and the telemetry adapter counts.
//!
//! The core states what happened and how long it took. The adapter decides names, units and labels of metrics. The
//! core keeps no counters.

use crate::catalogue::{Answer, Dependency, Request};
use crate::plan::Role;
use crate::sensor::Value;
use crate::template;
use crate::time::{Duration, Instant};
use alloc::string::String;

/// A value that is counted, timed or set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Measurement {
    /// A run of a job ended.
    Ran {
        /// The role of the job.
        role: Role,
        /// The result of the run.
        result: RunResult,
        /// The time from its start to its end.
        took: Duration,
    },
    /// A coprocess is started again.
    Restarted(Role),
    /// The catalogue answered, or the request failed.
    Answered {
        /// The operation.
        operation: CatalogueOperation,
        /// The result.
        outcome: Outcome,
        /// The time from the request to the answer.
        took: Duration,
    },
    /// The catalogue listed the passing instances of a backend.
    Seen {
        /// The backend.
        backend: WatchedBackend,
        /// How many there are.
        instances: usize,
    },
    /// What `/status` says about a service has changed, or a plan that names it came into force.
    ServiceState {
        /// The service's name.
        service: String,
        /// Whether it is healthy.
        healthy: bool,
        /// It is registered until then, unless another measurement says something else before; `None` if it is not.
        registered_until: Option<Instant>,
    },
    /// A template was rendered, or that failed.
    Rendered {
        /// The file that it makes.
        destination: String,
        /// The result.
        result: RenderResult,
    },
    /// The file of a template was written, or that failed.
    Written {
        /// The file.
        destination: String,
        /// The result.
        result: WriteResult,
    },
    /// A sensor gave a value that is valid for its kind of metric.
    Sensed {
        /// The metric's name.
        sensor: String,
        /// The value.
        value: Value,
    },
    /// A process that the kernel assigned to the shim was reaped.
    OrphanReaped,
    /// A configuration was read again, and came into force or was refused.
    Reloaded {
        /// Whether it came into force.
        accepted: bool,
    },
    /// Whether the catalogue carries out requests, if that has changed.
    CatalogueAvailable(bool),
    /// Maintenance began or ended.
    Maintenance(bool),
}

/// The result of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunResult {
    /// It ended with the exit code 0.
    Passed,
    /// It failed, or could not be started.
    Failed,
    /// It exceeded its time limit.
    TimedOut,
    /// The shim stopped it, for another reason than its time limit.
    Stopped,
}

/// The result of a rendering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RenderResult {
    /// Everything that the template uses was known.
    Complete,
    /// Something that it uses is not known yet.
    Incomplete,
    /// The template is wrong, or cannot be read.
    Failed,
}

impl RenderResult {
    /// The result of an outcome.
    pub const fn of(outcome: &template::Outcome) -> Self {
        match outcome {
            template::Outcome::Complete(_) => Self::Complete,
            template::Outcome::Incomplete => Self::Incomplete,
            template::Outcome::Failed(_) => Self::Failed,
        }
    }
}

/// The result of a writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WriteResult {
    /// The file has other contents now.
    Changed,
    /// The file had these contents already.
    Unchanged,
    /// The file could not be written.
    Failed,
}

impl WriteResult {
    /// The result of a writing that has ended.
    pub const fn of(written: &template::Written) -> Self {
        match written {
            template::Written::Changed => Self::Changed,
            template::Written::Unchanged => Self::Unchanged,
            template::Written::Failed(_) => Self::Failed,
        }
    }
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
    /// Reports that it is unhealthy.
    Fail(String),
    /// Reads which instance is registered under the service's ID.
    Inspect(String),
    /// Deregisters it.
    Deregister(String),
    /// Lists the instances of a backend; the answer comes at once.
    List(WatchedBackend),
    /// Lists the instances of a backend; the answer comes when they change.
    Watch(WatchedBackend),
    /// Looks up what a template uses; the answer comes at once.
    LookUp(Dependency),
    /// Looks up what a template uses; the answer comes when it changes.
    Await(Dependency),
}

impl CatalogueOperation {
    /// The operation of a request.
    pub fn of(request: &Request) -> Self {
        match request {
            Request::Register(registration) => Self::Register(registration.name.clone()),
            Request::Renew(registration) => Self::Renew(registration.name.clone()),
            Request::Report(report) if report.healthy => Self::Renew(report.registration.name.clone()),
            Request::Report(report) => Self::Fail(report.registration.name.clone()),
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
            Request::LookUp(look_up) => {
                let dependency = look_up.dependency.clone();
                match look_up.after {
                    None => Self::LookUp(dependency),
                    Some(_) => Self::Await(dependency),
                }
            }
        }
    }
}

/// The result of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The catalogue carried it out.
    Done,
    /// The catalogue has no such entry.
    Unknown,
    /// It failed; whether it took effect is unknown.
    Failed,
}

impl Outcome {
    /// The result of an answer.
    pub fn of(answer: &Answer) -> Self {
        match answer {
            Answer::Done | Answer::Removed | Answer::Instances(_) | Answer::Found(_) | Answer::Holder(_) => {
                Self::Done
            }
            Answer::Unknown(..) => Self::Unknown,
            Answer::Failed(_) | Answer::Busy(_) => Self::Failed,
        }
    }
}

crate::keyed_as_is!(CatalogueOperation);
