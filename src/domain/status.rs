//! The state of the shim at one time, as `/status` shows it.
//!
//! It is made from the core's own state when it is requested. What is stored for it only, as each job's last run and the last
//! results of each health check, decides nothing.

use crate::availability::CatalogueStatus;
use crate::catalogue::Dependency;
use crate::check::Health;
use crate::lifecycle::Phase;
use crate::measurement::{RunResult, WatchedBackend};
use crate::plan::{Registration, Role};
use crate::process::{Ending, Pid};
use crate::time::{Duration, Instant};
use crate::watch::AddressPort;
use alloc::string::String;
use alloc::vec::Vec;

/// The state of the shim.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Status {
    /// The time.
    pub at: Instant,
    /// The phase of the lifecycle.
    pub phase: Phase,
    /// Whether it is in maintenance.
    pub maintenance: bool,
    /// The last reload, if there was one.
    pub last_reload: Option<ReloadStatus>,
    /// Whether the catalogue carries out requests.
    pub catalogue: CatalogueStatus,
    /// The services it registers.
    pub services: Vec<ServiceStatus>,
    /// The backends it watches.
    pub backends: Vec<BackendStatus>,
    /// The files that it writes from templates.
    pub templates: Vec<TemplateStatus>,
    /// The application, a hook that runs, tasks, coprocesses, sensors, and the commands for changes of health.
    pub jobs: Vec<JobStatus>,
}

impl Status {
    /// Whether all is well: the shim runs and is not in maintenance, and every service is healthy. A service that is not
    /// checked is always healthy.
    pub fn is_healthy(&self) -> bool {
        let is_running = self.phase == Phase::Running && !self.maintenance;
        is_running
            && self
                .services
                .iter()
                .all(|service| service.health == Health::Healthy)
    }
}

/// A reload of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReloadStatus {
    /// When it came into force or was refused.
    pub at: Instant,
    /// Why it was refused, at most [`LONGEST_REPORT`] bytes; none if it came into force.
    pub refused: Option<String>,
}

/// The longest beginning of a report on a configuration that is kept for the status, in bytes. (docs/bounds.md)
pub const LONGEST_REPORT: usize = 4096;

/// The state of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceStatus {
    /// What is registered in the catalogue.
    pub registration: Registration,
    /// Whether the catalogue accepted a registration or a heartbeat less than a TTL ago, and has not forgotten it.
    pub registered: bool,
    /// Its health by the results of its check so far.
    pub health: Health,
    /// Since when it is that, if a result said so.
    pub since: Option<Instant>,
    /// When the catalogue last accepted a registration, a heartbeat or a report.
    pub last_heartbeat: Option<Instant>,
    /// How many requests of the service failed in a row.
    pub heartbeat_failures: u32,
    /// Its health check, if it has one without a name.
    pub check: Option<JobStatus>,
    /// The results of the last runs of this check, the oldest first, at most [`MOST_RESULTS`].
    pub recent: Vec<RunResult>,
    /// Its health checks with names.
    pub checks: Vec<CheckStatus>,
}

/// The state of a check with a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckStatus {
    /// Its name.
    pub name: String,
    /// The time between two runs.
    pub interval: Duration,
    /// The health by its results so far.
    pub health: Health,
    /// Its command or probe.
    pub job: JobStatus,
    /// The results of the last runs, the oldest first, at most [`MOST_RESULTS`].
    pub recent: Vec<RunResult>,
}

/// How many results of a health check are kept for the status. (docs/bounds.md)
pub const MOST_RESULTS: usize = 30;

/// The state of a backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BackendStatus {
    /// The backend.
    pub backend: WatchedBackend,
    /// The passing instances when they were last listed, in order.
    pub instances: Vec<AddressPort>,
    /// When the list last changed.
    pub changed: Option<Instant>,
    /// How many requests failed in a row.
    pub failures: u32,
    /// The handler of its changes.
    pub handler: JobStatus,
}

/// The state of a template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateStatus {
    /// The file that is written.
    pub destination: String,
    /// Whether it is.
    pub state: FileState,
    /// When the file was last written, or found to have the right contents already.
    pub written: Option<Instant>,
    /// The cause of the failure that came last, at most [`LONGEST_ERROR`] bytes.
    pub last_error: Option<String>,
    /// What it looks up in the catalogue, at most [`MOST_NAMES`].
    pub names: Vec<Dependency>,
    /// Which of these it waits for, at most [`MOST_NAMES`].
    pub waits_for: Vec<Dependency>,
    /// The command that runs after a change, if it has one.
    pub command: Option<JobStatus>,
}

/// How far a template has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileState {
    /// It was not written so far, or not since the configuration was read again.
    Waiting,
    /// The file has the contents that were last rendered.
    Written,
    /// The last rendering or writing failed.
    Failed,
}

/// The longest beginning of the cause of a template's failure that is kept for the status, in bytes. (docs/bounds.md)
pub const LONGEST_ERROR: usize = 1024;

/// How many names of a template the status has. (docs/bounds.md)
pub const MOST_NAMES: usize = 20;

/// The state of a job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobStatus {
    /// The role of the job.
    pub role: Role,
    /// Its process, if it is running.
    pub pid: Option<Pid>,
    /// How many times it was restarted after it had ended; runs that its trigger started do not count.
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
    /// The result.
    pub result: RunResult,
    /// How it ended.
    pub ending: Ending,
    /// The end of its output, if its output is passed to the core.
    pub output: String,
}
