//! The state of the shim as the JSON document of `/status` (its schema is docs/status.schema.json).
//!
//! Decides names and units: times are in UTC, durations in seconds, and a missing value is null, so every
//! member is always present. A `Status` contains no secrets of the plan, so the document shows none.

use crate::version::{COMMIT, VERSION};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use domain::Instant;
use domain::check::Health;
use domain::measurement::RunResult;
use domain::plan::Role;
use domain::status::{
    BackendStatus, CheckStatus, FileState, JobStatus, Run, ServiceStatus, Status, TemplateStatus,
};
use domain::watch::AddressPort;
use serde::Serialize;

/// The status as one JSON object; `now` is the calendar time of [`Status::at`].
pub fn json(status: &Status, now: DateTime<Utc>) -> String {
    // Serialising text, numbers and lists of them cannot fail.
    serde_json::to_string(&StatusDocument::new(status, now)).unwrap_or_default()
}

/// Converts instants to calendar time.
struct Calendar {
    at: Instant,
    time: DateTime<Utc>,
}

impl Calendar {
    /// RFC 3339, in UTC and with milliseconds.
    fn show(&self, instant: Instant) -> String {
        let ago = TimeDelta::from_std(self.at.since(instant)).unwrap_or(TimeDelta::MAX);
        let time = self.time.checked_sub_signed(ago).unwrap_or(DateTime::UNIX_EPOCH);
        time.to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

/// The members of the document.
#[derive(Serialize)]
pub(super) struct StatusDocument<'a> {
    pub(super) version: &'static str,
    pub(super) commit: &'static str,
    pub(super) time: String,
    pub(super) uptime_seconds: f64,
    pub(super) phase: &'static str,
    pub(super) maintenance: bool,
    pub(super) last_reload: Option<Reload<'a>>,
    pub(super) catalogue: Catalogue<'a>,
    pub(super) services: Vec<Service<'a>>,
    pub(super) backends: Vec<Backend<'a>>,
    pub(super) templates: Vec<Template<'a>>,
    pub(super) jobs: Vec<Job<'a>>,
}

/// The last reload.
#[derive(Serialize)]
pub(super) struct Reload<'a> {
    pub(super) at: String,
    pub(super) successful: bool,
    pub(super) errors: Option<&'a str>,
}

/// The catalogue.
#[derive(Serialize)]
pub(super) struct Catalogue<'a> {
    pub(super) available: Option<bool>,
    pub(super) since: Option<String>,
    pub(super) failures: u32,
    pub(super) last_error: Option<&'a str>,
}

/// A service.
#[derive(Serialize)]
pub(super) struct Service<'a> {
    pub(super) name: &'a str,
    pub(super) id: &'a str,
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) tags: &'a [String],
    pub(super) registered: bool,
    pub(super) last_heartbeat: Option<String>,
    pub(super) heartbeat_failures: u32,
    pub(super) health: &'static str,
    pub(super) since: Option<String>,
    pub(super) check: Option<OnlyCheck<'a>>,
    pub(super) checks: Vec<NamedCheck<'a>>,
}

/// The only health check of a service.
#[derive(Serialize)]
pub(super) struct OnlyCheck<'a> {
    #[serde(flatten)]
    pub(super) job: Job<'a>,
    pub(super) recent: Vec<&'static str>,
}

/// A health check with a name.
#[derive(Serialize)]
pub(super) struct NamedCheck<'a> {
    pub(super) name: &'a str,
    pub(super) interval_seconds: f64,
    pub(super) health: &'static str,
    pub(super) pid: Option<i32>,
    pub(super) last: Option<Last<'a>>,
    pub(super) recent: Vec<&'static str>,
}

/// A backend.
#[derive(Serialize)]
pub(super) struct Backend<'a> {
    pub(super) name: &'a str,
    pub(super) tag: Option<&'a str>,
    pub(super) instances: Vec<Instance<'a>>,
    pub(super) changed_at: Option<String>,
    pub(super) failures: u32,
    pub(super) handler: Job<'a>,
}

/// A template.
#[derive(Serialize)]
pub(super) struct Template<'a> {
    pub(super) destination: &'a str,
    pub(super) state: &'static str,
    pub(super) written_at: Option<String>,
    pub(super) last_error: Option<&'a str>,
    pub(super) watches: Vec<String>,
    pub(super) waits_for: Vec<String>,
    pub(super) command: Option<Job<'a>>,
}

/// An instance of a backend.
#[derive(Serialize)]
pub(super) struct Instance<'a> {
    pub(super) address: &'a str,
    pub(super) port: u16,
}

/// A job.
#[derive(Serialize)]
pub(super) struct Job<'a> {
    pub(super) kind: &'static str,
    pub(super) name: Option<&'a str>,
    pub(super) pid: Option<i32>,
    pub(super) restarts: u64,
    pub(super) last: Option<Last<'a>>,
}

/// The run of a job that ended last.
#[derive(Serialize)]
pub(super) struct Last<'a> {
    pub(super) ended_at: String,
    pub(super) duration_seconds: f64,
    pub(super) result: &'static str,
    pub(super) exit_code: u8,
    pub(super) detail: String,
    pub(super) output: &'a str,
}

impl<'a> StatusDocument<'a> {
    /// The document of a status; `now` is the calendar time of [`Status::at`].
    pub(super) fn new(status: &'a Status, now: DateTime<Utc>) -> Self {
        let calendar = &Calendar {
            at: status.at,
            time: now,
        };
        let services = status.services.iter();
        let backends = status.backends.iter();
        let templates = status.templates.iter();
        let jobs = status.jobs.iter();
        Self {
            version: VERSION,
            commit: COMMIT,
            time: calendar.show(status.at),
            uptime_seconds: status.at.since_start().as_secs_f64(),
            phase: status.phase.name(),
            maintenance: status.maintenance,
            last_reload: status.last_reload.as_ref().map(|reload| Reload {
                at: calendar.show(reload.at),
                successful: reload.refused.is_none(),
                errors: reload.refused.as_deref(),
            }),
            catalogue: Catalogue {
                available: status.catalogue.available,
                since: status.catalogue.since.map(|since| calendar.show(since)),
                failures: status.catalogue.failures,
                last_error: status.catalogue.last_error.as_deref(),
            },
            services: services.map(|service| Service::new(service, calendar)).collect(),
            backends: backends.map(|backend| Backend::new(backend, calendar)).collect(),
            templates: templates
                .map(|template| Template::new(template, calendar))
                .collect(),
            jobs: jobs.map(|job| Job::new(job, calendar)).collect(),
        }
    }
}

impl<'a> Service<'a> {
    fn new(service: &'a ServiceStatus, calendar: &Calendar) -> Self {
        let registration = &service.registration;
        Self {
            name: &registration.name,
            id: &registration.id,
            address: registration.address.to_string(),
            port: registration.port,
            tags: &registration.tags,
            registered: service.registered,
            last_heartbeat: service.last_heartbeat.map(|at| calendar.show(at)),
            heartbeat_failures: service.heartbeat_failures,
            since: service.since.map(|since| calendar.show(since)),
            health: health(service.health),
            check: service.check.as_ref().map(|check| OnlyCheck {
                job: Job::new(check, calendar),
                recent: results(&service.recent),
            }),
            checks: service
                .checks
                .iter()
                .map(|check| NamedCheck::new(check, calendar))
                .collect(),
        }
    }
}

impl<'a> NamedCheck<'a> {
    fn new(check: &'a CheckStatus, calendar: &Calendar) -> Self {
        Self {
            name: &check.name,
            interval_seconds: check.interval.as_secs_f64(),
            health: health(check.health),
            pid: check.job.pid.map(|pid| pid.0),
            last: check.job.last.as_ref().map(|run| Last::new(run, calendar)),
            recent: results(&check.recent),
        }
    }
}

fn results(results: &[RunResult]) -> Vec<&'static str> {
    results.iter().copied().map(result).collect()
}

fn result(result: RunResult) -> &'static str {
    match result {
        RunResult::Passed => "passed",
        RunResult::Failed => "failed",
        RunResult::TimedOut => "timed_out",
        RunResult::Stopped => "stopped",
    }
}

fn health(health: Health) -> &'static str {
    match health {
        Health::Unknown => "unknown",
        Health::Healthy => "healthy",
        Health::Unhealthy => "unhealthy",
    }
}

impl<'a> Backend<'a> {
    fn new(backend: &'a BackendStatus, calendar: &Calendar) -> Self {
        let instance = |(address, port): &'a AddressPort| Instance { address, port: *port };
        Self {
            name: &backend.backend.name,
            tag: backend.backend.tag.as_deref(),
            instances: backend.instances.iter().map(instance).collect(),
            changed_at: backend.changed.map(|changed| calendar.show(changed)),
            failures: backend.failures,
            handler: Job::new(&backend.handler, calendar),
        }
    }
}

impl<'a> Template<'a> {
    fn new(template: &'a TemplateStatus, calendar: &Calendar) -> Self {
        Self {
            destination: &template.destination,
            state: match template.state {
                FileState::Waiting => "waiting",
                FileState::Written => "written",
                FileState::Failed => "failed",
            },
            written_at: template.written.map(|written| calendar.show(written)),
            last_error: template.last_error.as_deref(),
            watches: template.names.iter().map(ToString::to_string).collect(),
            waits_for: template.waits_for.iter().map(ToString::to_string).collect(),
            command: template
                .command
                .as_ref()
                .map(|command| Job::new(command, calendar)),
        }
    }
}

impl<'a> Job<'a> {
    fn new(job: &'a JobStatus, calendar: &Calendar) -> Self {
        let (kind, name) = kind(&job.role);
        Self {
            kind,
            name,
            pid: job.pid.map(|pid| pid.0),
            restarts: job.restarts,
            last: job.last.as_ref().map(|run| Last::new(run, calendar)),
        }
    }
}

impl<'a> Last<'a> {
    fn new(run: &'a Run, calendar: &Calendar) -> Self {
        Self {
            ended_at: calendar.show(run.ended),
            duration_seconds: run.took.as_secs_f64(),
            result: result(run.result),
            exit_code: run.ending.code(),
            detail: run.ending.to_string(),
            output: &run.output,
        }
    }
}

/// The kind of a job, and the name of the thing that it belongs to.
fn kind(role: &Role) -> (&'static str, Option<&str>) {
    match role {
        Role::Application => ("application", None),
        Role::PreStart => ("pre_start", None),
        Role::PreStop => ("pre_stop", None),
        Role::PostStop => ("post_stop", None),
        Role::Health { service, .. } => ("check", Some(service)),
        Role::OnUnhealthy { service, .. } => ("on_unhealthy", Some(service)),
        Role::OnHealthy { service, .. } => ("on_healthy", Some(service)),
        Role::OnChange { backend } => ("handler", Some(backend)),
        Role::Task { name } => ("task", Some(name)),
        Role::Coprocess { name } => ("coprocess", Some(name)),
        Role::Sensor { name } => ("sensor", Some(name)),
        Role::Template { destination } => ("template", Some(destination)),
    }
}
