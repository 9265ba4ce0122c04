//! The state of the shim at one moment, as `/status` shows it.
//!
//! It is made from the core's own state when it is requested. Nothing is stored for it but each job's last run.

use crate::lifecycle::Phase;
use crate::measurement::{RunResult, WatchedBackend};
use crate::plan::{Registration, Role};
use crate::process::{Ending, Pid};
use crate::time::{Duration, Instant};
use crate::watch::Endpoint;
use alloc::string::String;
use alloc::vec::Vec;

/// The state of the shim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status {
    /// The moment.
    pub at: Instant,
    /// The phase of the lifecycle.
    pub phase: Phase,
    /// Whether it is in maintenance.
    pub maintenance: bool,
    /// The services it registers.
    pub services: Vec<ServiceStatus>,
    /// The backends it watches.
    pub backends: Vec<BackendStatus>,
    /// The application, a hook that runs, tasks, coprocesses and sensors.
    pub jobs: Vec<JobStatus>,
}

/// How a service is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceStatus {
    /// What is registered in the catalogue.
    pub registration: Registration,
    /// Whether the shim believes it to be in the catalogue.
    pub registered: bool,
    /// Its health check, if it has one.
    pub check: Option<JobStatus>,
}

/// How a backend is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendStatus {
    /// Which backend.
    pub backend: WatchedBackend,
    /// The passing instances when they were last listed, in order.
    pub instances: Vec<Endpoint>,
    /// When they were last seen to change.
    pub changed: Option<Instant>,
    /// How many requests failed in a row.
    pub failures: u32,
    /// The handler of its changes.
    pub handler: JobStatus,
}

/// How a job is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobStatus {
    /// What it is for.
    pub role: Role,
    /// Its process, if it runs.
    pub pid: Option<Pid>,
    /// How often it was started again by itself; the runs of its trigger do not count.
    pub restarts: u64,
    /// The run that ended last.
    pub last: Option<Run>,
}

/// A run that has ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    /// When it ended.
    pub ended: Instant,
    /// How long it took.
    pub took: Duration,
    /// What came of it.
    pub result: RunResult,
    /// How it ended.
    pub ending: Ending,
    /// The end of what it wrote, where that comes back to the core.
    pub output: String,
}
