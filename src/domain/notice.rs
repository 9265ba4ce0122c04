//! Log messages for operators: a closed list of sentences, each with its level and its log fields.
//!
//! The core decides which messages are logged and at which level; the console only formats them. Texts on
//! which operators may have alerts begin as the original's. Each sentence names its subject, because the
//! default log format shows no fields. [`Failures`](crate::failures::Failures) decides which repetitions of a
//! failure keep their level; the others are logged at [`Level::Debug`].

pub mod catalogue;
pub mod lifecycle;
pub mod templates;

use crate::catalogue::Endpoint;
use crate::plan::{Level, Role};
use crate::process::{Ending, Pid};
use crate::signal::Signal;
use crate::time::Duration;
use alloc::string::String;
use alloc::vec::Vec;
use catalogue::CatalogueNotice;
use core::fmt;
use core::net::SocketAddr;
use lifecycle::LifecycleNotice;
use templates::TemplateNotice;

/// Calls the macro `$of` with the names of all log fields besides level, time and message, sorted. The core
/// and the console share this list.
#[macro_export]
macro_rules! with_log_fields {
    ($of:ident) => {
        $of! { backend coprocess process sensor serviceID serviceName task }
    };
}

/// A server of the shim, and where it takes requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// Telemetry, at this address.
    Telemetry(SocketAddr),
    /// The control socket, with this path.
    Control(String),
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Telemetry(address) => write!(f, "telemetry: Listening on {address}"),
            Self::Control(path) => write!(f, "control: serving at {path}"),
        }
    }
}

/// A message for operators.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Notice {
    /// A sentence about something that is accepted, but looks like a mistake or has consequences.
    Warning(String),
    /// The configuration that was loaded, without its secrets (LG-5).
    LoadedConfiguration(String),
    /// The shim received SIGHUP, or a request of a client, and reads the configuration.
    Reloading,
    /// The same while it was reading the configuration; it will read it once more.
    ReloadFollows,
    /// The new configuration is in force.
    Reloaded,
    /// The new configuration has errors, and nothing changed.
    ReloadRefused(String),
    /// A signal that has no effect in the present phase.
    SignalIgnored(Signal),
    /// A message about the start and the stop of the shim.
    Lifecycle(LifecycleNotice),
    /// A signal was passed on to the application.
    SignalForwarded(Signal),
    /// A signal is kept until the application runs.
    SignalKept(Signal),
    /// Maintenance begins or ends.
    Maintenance(bool),
    /// A service is deregistered because of maintenance.
    MarkedForMaintenance(Named),
    /// A service is deregistered.
    Deregistering(Named),
    /// The same of a service that this run has not registered: an earlier run may have left its entry.
    DeregisteringInCase(Named),
    /// The deregistration failed; the service may still be registered.
    DeregisteringFailed(Named, String),
    /// The catalogue did not answer within the time limit of the deregistrations.
    StillRegistered(Named),
    /// The catalogue has no entry of the service, which is therefore registered again.
    NotRegistered(Named, String),
    /// The service was registered.
    Registered(Named),
    /// Another instance replaced the service's entry, which has the same ID.
    HeldByAnother {
        /// The service.
        named: Named,
        /// The address and port of this service.
        ours: Endpoint,
        /// The address and port of the other instance.
        other: Endpoint,
    },
    /// The service could not be registered.
    RegistrationFailed(Named, Failure),
    /// The catalogue did not accept the heartbeat.
    HeartbeatFailed(Named, Failure),
    /// The catalogue accepts heartbeats again, after this many failures.
    HeartbeatsResumed(Named, u32),
    /// The health check fails, and the service does not count as unhealthy yet.
    Failing {
        /// The service.
        named: Named,
        /// How the check ended, and the end of its output.
        reason: String,
        /// How many failures in a row count, and how many make the service unhealthy; `None` in the start period.
        counted: Option<(u32, u32)>,
    },
    /// The health check fails.
    Unhealthy {
        /// The service.
        named: Named,
        /// How the check ended, and the end of its output.
        reason: String,
        /// Whether it passed before.
        passed_before: bool,
    },
    /// The health check still fails, for another reason than before: how it ended, and the end of its output.
    UnhealthyAnew(Named, String),
    /// The health check passes again.
    Healthy {
        /// The service.
        named: Named,
        /// The time since the first of the failures.
        after: Duration,
        /// How many failures in a row there were.
        failures: u32,
    },
    /// The health check failed so often in a row that the shim stops.
    FailedTooOften {
        /// The service.
        named: Named,
        /// How often.
        failures: u32,
        /// How the check ended, and the end of its output.
        reason: String,
    },
    /// The instances of a backend could not be listed.
    QueryFailed {
        /// The backend's name.
        backend: String,
        /// The failure.
        failure: Failure,
    },
    /// The instances of a backend can be listed again.
    QueryResumed {
        /// The backend's name.
        backend: String,
        /// How many requests failed in a row.
        failures: u32,
    },
    /// The catalogue reports that its access rules hide instances of a backend.
    Filtered {
        /// The backend's name.
        backend: String,
        /// How many instances are still listed.
        instances: usize,
    },
    /// No instances of this backend are hidden any more.
    NoLongerFiltered(String),
    /// Entries in the list of a backend's instances are left out.
    Skipped {
        /// The backend's name.
        backend: String,
        /// Their number.
        count: usize,
        /// The first one and its fault.
        example: String,
    },
    /// The list of a backend's passing instances has changed.
    Changed {
        /// The backend's name.
        backend: String,
        /// Their number now.
        instances: usize,
        /// Which were added and removed.
        difference: String,
    },
    /// A change of a backend waits for more instances before its handler runs.
    HeldBack {
        /// The backend's name.
        backend: String,
        /// The number of passing instances.
        instances: usize,
        /// How many are needed.
        minimum: u32,
    },
    /// A list of instances is too long for a handler.
    ListLeftOut {
        /// The backend's name.
        backend: String,
        /// The first variable that is left out, or what else is.
        what: &'static str,
    },
    /// A message about the catalogue as a whole.
    Catalogue(CatalogueNotice),
    /// A sensor gave no value.
    SensorFailed {
        /// The metric's name.
        sensor: String,
        /// The failure.
        failure: Failure,
    },
    /// A sensor gives values again.
    SensorResumed {
        /// The metric's name.
        sensor: String,
        /// How many runs in a row gave no value.
        failures: u32,
    },
    /// A message about templates.
    Template(TemplateNotice),
    /// The machine was paused for at least this long, and time limits start again.
    WokenLate(Duration),
    /// A server takes requests from now on.
    Listening(Server),
    /// A run exceeded its time limit.
    TimedOut {
        /// The role of the job.
        role: Role,
        /// The time limit.
        limit: Duration,
        /// The program. Its arguments may be secret.
        program: String,
        /// Whether the run before did as well.
        again: bool,
    },
    /// A run exceeds its time limit, and its process group is killed.
    Killing {
        /// The role of the job.
        role: Role,
        /// Whether the run before exceeded it as well.
        again: bool,
    },
    /// A process was started.
    Started(Role, Pid),
    /// A run ended.
    Ended(Role, Ending),
    /// The beginning of the answer to a probe that failed, if it is not that of the run before.
    Answer(Role, String),
    /// A process could not be started.
    NotStarted {
        /// The role of the job.
        role: Role,
        /// The exit code for this failure.
        code: u8,
        /// The failure.
        failure: Failure,
    },
    /// A process was started after this many failed starts in a row.
    StartedAgain(Role, u32),
    /// A process that could not be started will be started again, after this time at first.
    StartRetried(Role, Duration),
    /// A run ended after the shim stopped it.
    Stopped(Role, Ending),
    /// A run ended because the shim stopped it; processes that it started are still there, and are stopped as well.
    Outlived(Role),
    /// A coprocess that ends immediately each time is started again only after this time.
    RestartDelayed(Role, Duration),
    /// The application did not end before `stopTimeout`, and is killed.
    KillingApplication(Pid),
    /// A process still exists after SIGKILL; the shim no longer waits for it.
    LeftBehind(Role),
}

/// The service that a notice is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Named {
    /// Its name.
    pub service: String,
    /// Its ID.
    pub id: String,
    /// The name of the check that a notice is about, if the service has several.
    pub check: Option<String>,
}

impl Named {
    /// The log fields, sorted by name.
    fn fields(&self) -> Vec<(&'static str, &str)> {
        let check = self.check.iter().map(|check| ("check", check.as_str()));
        let service = [("serviceID", self.id.as_str()), ("serviceName", &self.service)];
        check.chain(service).collect()
    }
}

/// `check of app`, or `check db of app`.
impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.check {
            Some(check) => write!(f, "check {check} of {}", self.service),
            None => write!(f, "check of {}", self.service),
        }
    }
}

/// A failure and its number in a row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Failure {
    /// The cause.
    pub cause: String,
    /// 1 for the first in a row.
    pub times: u32,
    /// Whether it is logged at the level of its notice, or at [`Level::Debug`] only.
    pub at_full_level: bool,
}

impl Notice {
    /// The level of the message.
    pub fn level(&self) -> Level {
        match self {
            notice if notice.is_repetition() => Level::Debug,
            Self::Template(notice) => notice.level(),
            Self::Lifecycle(notice) => notice.level(),
            Self::Catalogue(notice) => notice.level(),
            Self::LoadedConfiguration(_)
            | Self::Started(..)
            | Self::Stopped(..)
            | Self::SignalForwarded(_)
            | Self::SignalKept(_)
            | Self::DeregisteringInCase(_)
            | Self::Answer(..) => Level::Debug,
            Self::Ended(role, ending) => ended_level(role, ending),
            Self::NotStarted { role, .. } | Self::StartedAgain(role, _) if is_reported(role) => Level::Debug,
            Self::NotStarted { .. } => Level::Error,
            Self::Warning(_)
            | Self::StillRegistered(_)
            | Self::HeldByAnother { .. }
            | Self::RegistrationFailed(..)
            | Self::QueryFailed { .. }
            | Self::Filtered { .. }
            | Self::Skipped { .. }
            | Self::HeldBack { .. }
            | Self::ListLeftOut { .. }
            | Self::Unhealthy { .. }
            | Self::UnhealthyAnew(..)
            | Self::Failing { counted: Some(_), .. }
            | Self::TimedOut { .. }
            | Self::Killing { .. }
            | Self::RestartDelayed(..)
            | Self::WokenLate(_)
            | Self::LeftBehind(_) => Level::Warning,
            Self::FailedTooOften { .. }
            | Self::ReloadRefused(_)
            | Self::HeartbeatFailed(..)
            | Self::SensorFailed { .. } => Level::Error,
            Self::Reloading
            | Self::ReloadFollows
            | Self::Reloaded
            | Self::SignalIgnored(_)
            | Self::Maintenance(_)
            | Self::MarkedForMaintenance(_)
            | Self::Deregistering(_)
            | Self::DeregisteringFailed(..)
            | Self::NotRegistered(..)
            | Self::Registered(_)
            | Self::HeartbeatsResumed(..)
            | Self::Healthy { .. }
            | Self::Changed { .. }
            | Self::Failing { counted: None, .. }
            | Self::QueryResumed { .. }
            | Self::NoLongerFiltered(_)
            | Self::SensorResumed { .. }
            | Self::Listening(_)
            | Self::StartedAgain(..)
            | Self::StartRetried(..)
            | Self::Outlived(_)
            | Self::KillingApplication(_) => Level::Info,
        }
    }

    /// Whether the message was logged before at its own level, and says nothing new.
    fn is_repetition(&self) -> bool {
        match self {
            Self::Killing { again, .. } => *again,
            Self::TimedOut { role, again, .. } => *again && is_reported(role),
            notice => notice.failure().is_some_and(|failure| !failure.at_full_level),
        }
    }

    /// The failure that may have happened several times in a row, if the message is about one.
    fn failure(&self) -> Option<&Failure> {
        match self {
            Self::RegistrationFailed(_, failure)
            | Self::HeartbeatFailed(_, failure)
            | Self::QueryFailed { failure, .. }
            | Self::SensorFailed { failure, .. }
            | Self::NotStarted { failure, .. } => Some(failure),
            Self::Template(notice) => notice.failure(),
            _ => None,
        }
    }

    /// The failure of a request to the catalogue, if the message is about one.
    pub fn request_failure(&mut self) -> Option<&mut Failure> {
        match self {
            Self::RegistrationFailed(_, failure)
            | Self::HeartbeatFailed(_, failure)
            | Self::QueryFailed { failure, .. }
            | Self::Template(TemplateNotice::LookUpFailed { failure, .. }) => Some(failure),
            _ => None,
        }
    }

    /// Whether the message is that requests of one part succeed again.
    pub fn is_resumption(&self) -> bool {
        matches!(
            self,
            Self::HeartbeatsResumed(..)
                | Self::QueryResumed { .. }
                | Self::Template(TemplateNotice::LookUpResumed { .. })
        )
    }

    /// The log fields besides level, time and message, sorted by name.
    pub fn fields(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::MarkedForMaintenance(named)
            | Self::Deregistering(named)
            | Self::DeregisteringInCase(named)
            | Self::DeregisteringFailed(named, _)
            | Self::StillRegistered(named)
            | Self::NotRegistered(named, _)
            | Self::Registered(named)
            | Self::HeldByAnother { named, .. }
            | Self::RegistrationFailed(named, _)
            | Self::HeartbeatFailed(named, _)
            | Self::HeartbeatsResumed(named, _)
            | Self::Unhealthy { named, .. }
            | Self::UnhealthyAnew(named, _)
            | Self::Failing { named, .. }
            | Self::FailedTooOften { named, .. }
            | Self::Healthy { named, .. } => named.fields(),
            Self::Answer(role, _) => role.fields(),
            Self::QueryFailed { backend, .. }
            | Self::QueryResumed { backend, .. }
            | Self::Filtered { backend, .. }
            | Self::NoLongerFiltered(backend)
            | Self::Skipped { backend, .. }
            | Self::HeldBack { backend, .. }
            | Self::ListLeftOut { backend, .. }
            | Self::Changed { backend, .. } => [("backend", backend.as_str())].into(),
            Self::SensorFailed { sensor, .. } | Self::SensorResumed { sensor, .. } => {
                [("process", "sensor"), ("sensor", sensor)].into()
            }
            Self::Warning(_)
            | Self::LoadedConfiguration(_)
            | Self::Reloading
            | Self::ReloadFollows
            | Self::Reloaded
            | Self::ReloadRefused(_)
            | Self::Lifecycle(_)
            | Self::SignalIgnored(_)
            | Self::SignalForwarded(_)
            | Self::SignalKept(_)
            | Self::Maintenance(_)
            | Self::Catalogue(_)
            | Self::Template(_)
            | Self::WokenLate(_)
            | Self::Listening(_)
            | Self::TimedOut { .. }
            | Self::Killing { .. }
            | Self::Started(..)
            | Self::Ended(..)
            | Self::NotStarted { .. }
            | Self::StartedAgain(..)
            | Self::StartRetried(..)
            | Self::Stopped(..)
            | Self::Outlived(_)
            | Self::RestartDelayed(..)
            | Self::KillingApplication(_)
            | Self::LeftBehind(_) => Vec::new(),
        }
    }
}

/// Whether another message reports that a run of this role failed.
fn is_reported(role: &Role) -> bool {
    matches!(role, Role::Health { .. } | Role::Sensor { .. })
}

/// The exit of the application with a code other than 0 is logged at [`Level::Info`]; of the other runs only failures
/// are logged above [`Level::Debug`]. [`Notice::Unhealthy`] reports a failed health check, and
/// [`Notice::SensorFailed`] a failed sensor.
fn ended_level(role: &Role, ending: &Ending) -> Level {
    match role {
        Role::Application if !ending.passed() && matches!(ending, Ending::Exited(_)) => Level::Info,
        Role::Health { .. } | Role::Sensor { .. } => Level::Debug,
        Role::Application
        | Role::PreStart
        | Role::PreStop
        | Role::PostStop
        | Role::OnUnhealthy { .. }
        | Role::OnHealthy { .. }
        | Role::OnChange { .. }
        | Role::Template { .. }
        | Role::Task { .. }
        | Role::Coprocess { .. } => match ending.passed() {
            true => Level::Debug,
            false => Level::Error,
        },
    }
}

impl fmt::Display for Notice {
    #[expect(clippy::too_many_lines, reason = "one sentence a line, and no logic")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Warning(sentence) => f.write_str(sentence),
            Self::LoadedConfiguration(json) => write!(f, "Loaded config: {json}"),
            Self::Reloading => f.write_str("Reloading configuration."),
            Self::ReloadFollows => {
                f.write_str("The configuration is being read; it will be read once more after that.")
            }
            Self::Reloaded => f.write_str("Configuration reloaded."),
            Self::ReloadRefused(report) => write!(f, "Error initializing config: {report}"),
            Self::Lifecycle(notice) => write!(f, "{notice}"),
            Self::SignalIgnored(signal) => write!(f, "Ignoring {signal}: the shim is already stopping"),
            Self::SignalForwarded(signal) => write!(f, "Passing {signal} on to the application"),
            Self::SignalKept(signal) => write!(f, "Keeping {signal} until the application runs"),
            Self::Maintenance(true) => f.write_str("Entering maintenance"),
            Self::Maintenance(false) => f.write_str("Leaving maintenance"),
            Self::MarkedForMaintenance(named) => write!(f, "Marking for maintenance: {}", named.service),
            Self::Deregistering(named) => write!(f, "Deregistering service: {}", named.service),
            Self::DeregisteringInCase(named) => write!(
                f,
                "Deregistering service: {}, in case an earlier run has left an entry",
                named.service
            ),
            Self::DeregisteringFailed(named, cause) => {
                write!(f, "Deregistering failed: {cause} (service {})", named.service)
            }
            Self::StillRegistered(named) => write!(
                f,
                "Gave up deregistering {}: the catalogue did not answer in time, the TTL will end the entry",
                named.service
            ),
            Self::NotRegistered(named, cause) => {
                write!(f, "Service not registered: {cause} (service {})", named.service)
            }
            Self::Registered(named) => write!(f, "Service registered: {}", named.service),
            Self::HeldByAnother { named, ours, other } => write!(
                f,
                "The ID {} of {} at {ours} is used by another instance too, at {other}: each needs an ID of its own",
                named.id, named.service
            ),
            Self::RegistrationFailed(named, failure) => {
                write!(
                    f,
                    "Service registration failed: {failure} (service {})",
                    named.service
                )
            }
            Self::HeartbeatFailed(named, failure) => {
                write!(
                    f,
                    "Failed to write heartbeat: {failure} (service {})",
                    named.service
                )
            }
            Self::HeartbeatsResumed(named, failures) => {
                write!(
                    f,
                    "The catalogue answers again for {} after {failures} failed requests",
                    named.service
                )
            }
            Self::Failing {
                named,
                reason,
                counted: Some((times, limit)),
            } => write!(
                f,
                "Health {named} failed, {times} of {limit} times in a row: {reason}"
            ),
            Self::Failing {
                named,
                reason,
                counted: None,
            } => write!(f, "Health {named} failed in its start period: {reason}"),
            Self::Unhealthy {
                named,
                reason,
                passed_before,
            } => {
                let how = if *passed_before { "any more" } else { "yet" };
                write!(f, "Health {named} does not pass {how}: {reason}")
            }
            Self::UnhealthyAnew(named, reason) => {
                write!(f, "Health {named} fails in another way now: {reason}")
            }
            Self::Healthy {
                named,
                after,
                failures,
            } => write!(
                f,
                "Health {named} passes again after {} and {failures} failures",
                rounded(*after)
            ),
            Self::FailedTooOften {
                named,
                failures,
                reason,
            } => write!(
                f,
                "Health {named} failed {failures} times in a row, the shim stops: {reason}"
            ),
            Self::QueryFailed { backend, failure } => {
                write!(f, "Failed to query {backend}: {failure}")
            }
            Self::QueryResumed { backend, failures } => {
                write!(
                    f,
                    "The catalogue answers again for {backend} after {failures} failed requests"
                )
            }
            Self::Filtered {
                backend,
                instances: 0,
            } => write!(
                f,
                "The catalogue lists no instance of {backend}, and says that its ACLs hide some from this token; \
                 this is not taken as a change"
            ),
            Self::Filtered { backend, instances } => write!(
                f,
                "The catalogue lists {instances} instances of {backend}, and says that its ACLs hide others from \
                 this token"
            ),
            Self::NoLongerFiltered(backend) => {
                write!(f, "The catalogue hides no instance of {backend} any more")
            }
            Self::Skipped {
                backend,
                count,
                example,
            } => write!(
                f,
                "Left out {count} unusable instances of {backend}, for example: {example}"
            ),
            Self::Changed {
                backend,
                instances,
                difference,
            } => write!(
                f,
                "Backend {backend} changed: {instances} passing instances ({difference})"
            ),
            Self::HeldBack {
                backend,
                instances,
                minimum,
            } => write!(
                f,
                "{backend}.onChange waits for more instances: there are {instances}, the minimum is {minimum}"
            ),
            Self::ListLeftOut { backend, what } => {
                write!(f, "{backend}.onChange runs without {what}: the list is too long")
            }
            Self::Catalogue(notice) => write!(f, "{notice}"),
            Self::SensorFailed { sensor, failure } => write!(f, "Sensor {sensor} gave no value: {failure}"),
            Self::SensorResumed { sensor, failures } => {
                write!(
                    f,
                    "Sensor {sensor} gives values again after {failures} failed runs"
                )
            }
            Self::Template(notice) => write!(f, "{notice}"),
            Self::WokenLate(late) => write!(
                f,
                "Woken {}.{:03} s late: the machine was paused or overloaded; time limits count from now",
                late.as_secs(),
                late.subsec_millis()
            ),
            Self::Listening(server) => write!(f, "{server}"),
            Self::TimedOut {
                role, limit, program, ..
            } => write!(f, "{role} timeout after {}: {program}", InUnits(*limit)),
            Self::Killing { role, .. } => write!(f, "killing command for {role}"),
            Self::Started(role, pid) => write!(f, "{role} runs with PID {pid}"),
            Self::Ended(role, ending) => ended(f, role, ending),
            Self::Answer(role, text) => write!(f, "{role} got: {}", text.trim_end()),
            Self::NotStarted { role, code, failure } => not_started(f, role, *code, failure),
            Self::StartedAgain(role, failures) => {
                write!(
                    f,
                    "{role} ran again after it could not be started {failures} times"
                )
            }
            Self::StartRetried(role, delay) => write!(
                f,
                "{role} is started again until it runs, first in {}",
                InUnits(*delay)
            ),
            Self::Stopped(role, ending) => write!(f, "{role} was stopped: {ending}"),
            Self::Outlived(role) => write!(
                f,
                "{role} has ended, processes that it started have not: waiting for them"
            ),
            Self::RestartDelayed(role, delay) => {
                write!(
                    f,
                    "{role} ended at once again, starting it again in {}",
                    InUnits(*delay)
                )
            }
            Self::KillingApplication(pid) => write!(f, "Killing Process {pid}"),
            Self::LeftBehind(role) => write!(f, "{role} was killed and is still there, not waiting for it"),
        }
    }
}

/// The end of a run, in the original's words.
fn ended(f: &mut fmt::Formatter<'_>, role: &Role, ending: &Ending) -> fmt::Result {
    match role {
        Role::Application if matches!(ending, Ending::Exited(_)) => write!(f, "{ending}"),
        Role::Coprocess { .. } => write!(f, "{role} exited ({}): {ending}", ending.code()),
        _ if matches!(ending, Ending::Probed(_)) => {
            let result = if ending.passed() { "passed" } else { "failed" };
            write!(f, "{role} {result}: {ending}")
        }
        Role::Application
        | Role::PreStart
        | Role::PreStop
        | Role::PostStop
        | Role::Health { .. }
        | Role::OnUnhealthy { .. }
        | Role::OnHealthy { .. }
        | Role::OnChange { .. }
        | Role::Template { .. }
        | Role::Task { .. }
        | Role::Sensor { .. } => match ending.passed() {
            true => write!(f, "{role} exited: {ending}"),
            false => write!(f, "{role} exited with error: {ending}"),
        },
    }
}

fn not_started(f: &mut fmt::Formatter<'_>, role: &Role, code: u8, failure: &Failure) -> fmt::Result {
    match role {
        Role::Coprocess { .. } => write!(f, "{role} exited ({code}): {failure}"),
        Role::Application
        | Role::PreStart
        | Role::PreStop
        | Role::PostStop
        | Role::Health { .. }
        | Role::OnUnhealthy { .. }
        | Role::OnHealthy { .. }
        | Role::OnChange { .. }
        | Role::Template { .. }
        | Role::Task { .. }
        | Role::Sensor { .. } => write!(f, "Unable to start {role}: {failure}"),
    }
}

/// A duration in whole milliseconds, and from ten seconds on in tenths of a second.
fn rounded(duration: Duration) -> InUnits {
    let step: u32 = if duration.as_secs() < 10 {
        1_000_000
    } else {
        100_000_000
    };
    let rest = duration.subsec_nanos() % step;
    InUnits(duration.saturating_sub(Duration::from_nanos(rest.into())))
}

/// A duration as the original prints it: `1.5s`, `100ms`, `2m0s`.
struct InUnits(Duration);

impl fmt::Display for InUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.as_secs();
        let (hours, minutes) = (whole / 3600, whole / 60 % 60);
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if whole >= 60 {
            write!(f, "{minutes}m")?;
        }
        match (whole, self.0.subsec_nanos()) {
            (0, 0) => f.write_str("0s"),
            (0, nanoseconds @ ..1_000) => write!(f, "{nanoseconds}ns"),
            (0, nanoseconds @ ..1_000_000) => decimal(f, 0, nanoseconds % 1_000_000, 1_000, "µs"),
            (0, nanoseconds) => decimal(f, 0, nanoseconds, 1_000_000, "ms"),
            (_, nanoseconds) => decimal(f, whole % 60, nanoseconds, 1_000_000_000, "s"),
        }
    }
}

/// `whole` plus `nanoseconds` of a unit that has `unit` of them, without trailing zeros.
fn decimal(f: &mut fmt::Formatter<'_>, whole: u64, nanoseconds: u32, unit: u32, name: &str) -> fmt::Result {
    write!(f, "{}", whole + u64::from(nanoseconds / unit))?;
    let mut rest = nanoseconds % unit;
    let mut unit = unit;
    if rest > 0 {
        f.write_str(".")?;
    }
    while rest > 0 {
        unit /= 10;
        write!(f, "{}", rest / unit)?;
        rest %= unit;
    }
    f.write_str(name)
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)?;
        match self.times {
            0 | 1 => Ok(()),
            times => write!(f, " ({times} failures in a row)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ExitStatus;
    use std::string::ToString;

    fn named() -> Named {
        Named {
            service: "app".into(),
            id: "app-host".into(),
            check: None,
        }
    }

    #[test]
    fn a_check_with_a_name_is_named_in_the_sentence_and_in_the_fields() {
        let named = Named {
            check: Some("db".into()),
            ..named()
        };
        let notice = Notice::Healthy {
            named,
            after: Duration::from_secs(10),
            failures: 5,
        };
        assert_eq!(
            notice.to_string(),
            "Health check db of app passes again after 10s and 5 failures"
        );
        assert_eq!(
            notice.fields(),
            [("check", "db"), ("serviceID", "app-host"), ("serviceName", "app")]
        );
    }

    #[test]
    fn sentences_operators_have_alerts_on_begin_as_the_originals() {
        let failure = |times| Failure {
            cause: "refused".into(),
            times,
            at_full_level: true,
        };
        let sentences = [
            (Notice::Reloading, "Reloading configuration."),
            (Notice::Maintenance(true), "Entering maintenance"),
            (Notice::Maintenance(false), "Leaving maintenance"),
            (Notice::Deregistering(named()), "Deregistering service: app"),
            (
                Notice::MarkedForMaintenance(named()),
                "Marking for maintenance: app",
            ),
            (
                Notice::DeregisteringFailed(named(), "e".into()),
                "Deregistering failed: e (service app)",
            ),
            (
                Notice::NotRegistered(named(), "e".into()),
                "Service not registered: e (service app)",
            ),
            (Notice::Registered(named()), "Service registered: app"),
            (
                Notice::RegistrationFailed(named(), failure(1)),
                "Service registration failed: refused (service app)",
            ),
            (
                Notice::HeartbeatFailed(named(), failure(1)),
                "Failed to write heartbeat: refused (service app)",
            ),
            (
                Notice::QueryFailed {
                    backend: "db".into(),
                    failure: failure(1),
                },
                "Failed to query db: refused",
            ),
            (
                Notice::Listening(Server::Telemetry("[2001:db8::1]:9090".parse().unwrap())),
                "telemetry: Listening on [2001:db8::1]:9090",
            ),
            (
                Notice::Listening(Server::Control("/run/s".into())),
                "control: serving at /run/s",
            ),
            (Notice::KillingApplication(Pid(7)), "Killing Process 7"),
            (Notice::ReloadRefused("e".into()), "Error initializing config: e"),
        ];
        for (notice, sentence) in sentences {
            assert_eq!(notice.to_string(), sentence);
        }
    }

    #[test]
    fn a_timeout_names_the_job_the_limit_and_the_program() {
        let timed_out = |role: &Role, again| Notice::TimedOut {
            role: role.clone(),
            limit: Duration::from_millis(100),
            program: "/bin/tidy".into(),
            again,
        };
        let task = Role::Task { name: "task3".into() };
        let sentence = "task[task3] timeout after 100ms: /bin/tidy";
        assert_eq!(timed_out(&task, false).to_string(), sentence);
        let killing = |again| Notice::Killing {
            role: task.clone(),
            again,
        };
        assert_eq!(killing(true).to_string(), "killing command for task[task3]");
        assert_eq!(killing(false).level(), Level::Warning);
        assert_eq!(killing(true).level(), Level::Debug, "what was killed is logged");
        assert_eq!(timed_out(&task, true).level(), Level::Warning);
        let sensor = Role::Sensor { name: "load".into() };
        assert_eq!(timed_out(&sensor, false).level(), Level::Warning);
        assert_eq!(
            timed_out(&sensor, true).level(),
            Level::Debug,
            "other sentences report it"
        );
    }

    #[test]
    fn durations_are_printed_as_go_prints_them() {
        let printed = |nanoseconds| InUnits(Duration::from_nanos(nanoseconds)).to_string();
        assert_eq!(printed(0), "0s");
        assert_eq!(printed(15), "15ns");
        assert_eq!(printed(1_500), "1.5µs");
        assert_eq!(printed(100_000_000), "100ms");
        assert_eq!(printed(1_500_000_000), "1.5s");
        assert_eq!(printed(1_050_000_000), "1.05s");
        assert_eq!(printed(120_000_000_000), "2m0s");
        assert_eq!(printed(3_600_000_000_000), "1h0m0s");
        assert_eq!(printed(5_430_000_000_000), "1h30m30s");
    }

    #[test]
    fn the_message_of_an_ended_run_depends_on_the_role() {
        let code = |code| Ending::Exited(ExitStatus::Code(code));
        let coprocess = Role::Coprocess { name: "c".into() };
        let missing = |role: &Role| {
            let failure = Failure {
                cause: "no such file".into(),
                times: 1,
                at_full_level: true,
            };
            let (role, code) = (role.clone(), 127);
            Notice::NotStarted { role, code, failure }.to_string()
        };
        let sentence_of =
            |role: &Role, ending: &Ending| Notice::Ended(role.clone(), ending.clone()).to_string();
        assert_eq!(sentence_of(&Role::Application, &code(3)), "exit status 3");
        assert_eq!(missing(&Role::Application), "Unable to start APP: no such file");
        assert_eq!(missing(&coprocess), "coprocess[c] exited (127): no such file");
        assert_eq!(
            sentence_of(&coprocess, &code(3)),
            "coprocess[c] exited (3): exit status 3"
        );
        assert_eq!(
            sentence_of(&Role::PreStart, &code(1)),
            "preStart exited with error: exit status 1"
        );
    }

    #[test]
    fn a_repeated_failure_is_logged_at_the_debug_level() {
        let failed = |times, at_full_level| {
            Notice::HeartbeatFailed(
                named(),
                Failure {
                    cause: "refused".into(),
                    times,
                    at_full_level,
                },
            )
        };
        assert_eq!(failed(1, true).level(), Level::Error);
        assert_eq!(failed(2, false).level(), Level::Debug);
        let sentences = [failed(1, true), failed(10, true)].map(|failed| failed.to_string());
        assert_eq!(sentences[0], "Failed to write heartbeat: refused (service app)");
        assert_eq!(
            sentences[1],
            "Failed to write heartbeat: refused (10 failures in a row) (service app)"
        );
    }
}
