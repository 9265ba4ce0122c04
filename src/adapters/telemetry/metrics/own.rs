//! The shim's own metrics: names, labels and help texts, which series a plan creates, and what each
//! measurement does to them.

use super::family::{Family, Labels};
use crate::version::{COMMIT, VERSION};
use domain::Instant;
use domain::filled;
use domain::measurement::{
    CatalogueOperation, Measurement, Outcome, RenderResult, RunResult, WatchedBackend, WriteResult,
};
use domain::plan::{Backend, Job, Plan, Role, SensorKind, Service};
use domain::time::Duration;
use std::collections::BTreeMap;

/// The bounds of durations, in seconds: from a request to a catalogue on the same host to a watch of one
/// minute.
const DURATIONS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
];

const RUN_RESULTS: &[&str] = &["passed", "failed", "timed_out"];
const OUTCOMES: &[&str] = &["success", "failure"];
const HEARTBEAT_OUTCOMES: &[&str] = &["success", "unknown", "failure"];
const RENDER_RESULTS: &[&str] = &["complete", "incomplete", "failed"];
const WRITE_RESULTS: &[&str] = &["changed", "unchanged", "failed"];
const OPERATIONS: [&str; 8] = [
    "register",
    "renew",
    "fail",
    "inspect",
    "deregister",
    "list",
    "watch",
    "look_up",
];
const ON_UNHEALTHY: &str = "onUnhealthy";
const ON_HEALTHY: &str = "onHealthy";
const RELOAD_RESULTS: [&str; 2] = ["success", "refused"];

const BACKEND_INSTANCES: Metric = gauge(
    "containerpilot_backend_instances",
    &["backend", "tag"],
    "Passing instances of a backend when the catalogue last listed them.",
);
const BACKEND_QUERIES: Metric = counter(
    "containerpilot_backend_queries_total",
    &["backend", "tag", "result"],
    "Questions to the catalogue for the instances of a backend, by result.",
);
const BUILD: Metric = gauge(
    "containerpilot_build_info",
    &["version", "commit"],
    "Always 1; the labels identify the build.",
);
const CATALOGUE_REQUESTS: Metric = durations(
    "containerpilot_catalogue_request_duration_seconds",
    &["operation"],
    "Time from a request to the catalogue to its answer, by operation; a watch is answered when something \
     changes, or after the poll of its backend.",
);
const CHECK_DURATIONS: Metric = durations(
    "containerpilot_check_duration_seconds",
    &["service"],
    "Time that the health checks of a service took.",
);
const CHECKS: Metric = counter(
    "containerpilot_checks_total",
    &["service", "result"],
    "Health checks of a service that ended, by result.",
);
const COPROCESS_RESTARTS: Metric = counter(
    "containerpilot_coprocess_restarts_total",
    &["coprocess"],
    "How often a coprocess was started again.",
);
const DEREGISTRATIONS: Metric = counter(
    "containerpilot_deregistrations_total",
    &["service", "result"],
    "Removals of a service from the catalogue, by result.",
);
const HANDLER_RUNS: Metric = counter(
    "containerpilot_handler_runs_total",
    &["backend", "result"],
    "Runs of the onChange handlers of a backend that ended, by result.",
);
const HEARTBEATS: Metric = counter(
    "containerpilot_heartbeats_total",
    &["service", "result"],
    "Heartbeats of a service, by result; unknown means that the catalogue had no such service.",
);
const CATALOGUE_UP: Metric = gauge(
    "containerpilot_catalogue_up",
    &[],
    "Whether the catalogue carries out requests: 1 or 0.",
);
const LAST_RELOAD: Metric = gauge(
    "containerpilot_config_last_reload_successful",
    &[],
    "Whether the configuration that was read last came into force: 1 or 0.",
);
const MAINTENANCE: Metric = gauge(
    "containerpilot_maintenance",
    &[],
    "Whether the shim is in maintenance: 1 or 0.",
);
const ORPHANS_REAPED: Metric = counter(
    "containerpilot_orphans_reaped_total",
    &[],
    "Processes that others had started and left, and that the shim reaped.",
);
const REACTION_RUNS: Metric = counter(
    "containerpilot_reaction_runs_total",
    &["service", "command", "result"],
    "Runs of the commands onUnhealthy and onHealthy of a service that ended, by result.",
);
const REGISTRATIONS: Metric = counter(
    "containerpilot_registrations_total",
    &["service", "result"],
    "Registrations of a service in the catalogue, by result.",
);
const RELOADS: Metric = counter(
    "containerpilot_reloads_total",
    &["result"],
    "Configurations that were read again, by result.",
);
const SENSOR_RUNS: Metric = counter(
    "containerpilot_sensor_runs_total",
    &["sensor", "result"],
    "Runs of the command of a sensor that ended, by result; one that passed may still have printed no number.",
);
const SERVICE_HEALTHY: Metric = gauge(
    "containerpilot_service_healthy",
    &["service"],
    "Whether a service is healthy by the results of its checks: 1 or 0.",
);
const SERVICE_REGISTERED: Metric = gauge(
    "containerpilot_service_registered",
    &["service"],
    "Whether the catalogue accepted a registration or a heartbeat of a service less than a TTL ago: 1 or 0.",
);
const TASK_RUNS: Metric = counter(
    "containerpilot_task_runs_total",
    &["task", "result"],
    "Runs of a task that ended, by result.",
);

const TEMPLATE_COMMAND_RUNS: Metric = counter(
    "containerpilot_template_command_runs_total",
    &["template", "result"],
    "Runs of the command of a template that ended, by result.",
);
const TEMPLATE_RENDERS: Metric = counter(
    "containerpilot_template_renders_total",
    &["template", "result"],
    "Renderings of a template, by result; incomplete means that something it uses is not known yet.",
);
const TEMPLATE_WRITES: Metric = counter(
    "containerpilot_template_writes_total",
    &["template", "result"],
    "Writings of the file of a template, by result.",
);

const ALL: [Metric; 24] = [
    BACKEND_INSTANCES,
    BACKEND_QUERIES,
    BUILD,
    CATALOGUE_REQUESTS,
    CATALOGUE_UP,
    CHECK_DURATIONS,
    CHECKS,
    LAST_RELOAD,
    COPROCESS_RESTARTS,
    DEREGISTRATIONS,
    HANDLER_RUNS,
    HEARTBEATS,
    MAINTENANCE,
    ORPHANS_REAPED,
    REACTION_RUNS,
    REGISTRATIONS,
    RELOADS,
    SENSOR_RUNS,
    SERVICE_HEALTHY,
    SERVICE_REGISTERED,
    TASK_RUNS,
    TEMPLATE_COMMAND_RUNS,
    TEMPLATE_RENDERS,
    TEMPLATE_WRITES,
];

struct Metric {
    kind: SensorKind,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
}

const fn counter(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    metric(SensorKind::Counter, name, labels, help)
}

const fn gauge(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    metric(SensorKind::Gauge, name, labels, help)
}

/// A metric of durations, in seconds.
const fn durations(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Metric {
    metric(SensorKind::Histogram, name, labels, help)
}

const fn metric(
    kind: SensorKind,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        kind,
        name,
        labels,
        help,
    }
}

/// The shim's own metrics, by name.
#[derive(Debug)]
pub struct OwnMetrics(BTreeMap<&'static str, Family>);

impl OwnMetrics {
    /// Metrics whose series do not depend on a plan have their series; the others have none.
    pub fn new() -> Self {
        let family = |metric: Metric| {
            let family = Family::labelled(metric.kind, metric.name, metric.labels, metric.help);
            (metric.name, family.with_bounds(DURATIONS))
        };
        let mut own = Self(filled::map(ALL.map(family)));
        own.name_series(&BUILD, [labels(&[VERSION, COMMIT])]);
        own.take(&BUILD, &[VERSION, COMMIT], 1.0);
        own.name_series(
            &CATALOGUE_REQUESTS,
            OPERATIONS.map(|operation| labels(&[operation])),
        );
        own.name_series(&CATALOGUE_UP, [Labels::default()]);
        own.name_series(&LAST_RELOAD, [Labels::default()]);
        own.take(&LAST_RELOAD, &[], 1.0);
        own.name_series(&MAINTENANCE, [Labels::default()]);
        own.name_series(&ORPHANS_REAPED, [Labels::default()]);
        own.name_series(&RELOADS, RELOAD_RESULTS.map(|result| labels(&[result])));
        own
    }

    /// All metrics.
    pub fn families(&self) -> impl Iterator<Item = &Family> {
        self.0.values()
    }

    /// From now on there is a series for each thing that this plan names, and none for others. Without telemetry there is
    /// none either, except of templates: the first ones are rendered before telemetry is served.
    pub fn expose(&mut self, plan: &Plan) {
        let is_served = plan.telemetry.is_some();
        self.expose_services(if is_served { &plan.services } else { &[] });
        self.expose_backends(if is_served { &plan.backends } else { &[] });
        self.expose_jobs(if is_served { &plan.jobs } else { &[] });

        let sensors = plan.telemetry.iter().flat_map(|telemetry| &telemetry.sensors);
        let sensors = sensors.map(|sensor| [sensor.name.as_str()]);
        self.name_series(&SENSOR_RUNS, product(sensors, RUN_RESULTS));

        let templates = plan.templates.iter();
        let commands = templates.clone().filter(|template| template.command.is_some());
        let commands = commands.map(|template| [template.destination.as_str()]);
        let templates = templates.map(|template| [template.destination.as_str()]);
        self.name_series(&TEMPLATE_COMMAND_RUNS, product(commands, RUN_RESULTS));
        self.name_series(&TEMPLATE_RENDERS, product(templates.clone(), RENDER_RESULTS));
        self.name_series(&TEMPLATE_WRITES, product(templates, WRITE_RESULTS));
    }

    fn expose_services(&mut self, services: &[Service]) {
        self.name_series(&REACTION_RUNS, product(reactions(services), RUN_RESULTS));
        let checked = services
            .iter()
            .filter(|service| service.all_checks().next().is_some());
        let checked = checked.map(|service| [service.registration.name.as_str()]);
        self.name_series(&CHECK_DURATIONS, checked.clone().map(|service| labels(&service)));
        self.name_series(&CHECKS, product(checked, RUN_RESULTS));

        let services = services
            .iter()
            .map(|service| [service.registration.name.as_str()]);
        self.name_series(&HEARTBEATS, product(services.clone(), HEARTBEAT_OUTCOMES));
        self.name_series(&REGISTRATIONS, product(services.clone(), OUTCOMES));
        self.name_series(&DEREGISTRATIONS, product(services.clone(), OUTCOMES));
        self.name_series(&SERVICE_HEALTHY, services.clone().map(|service| labels(&service)));
        self.name_series(&SERVICE_REGISTERED, services.map(|service| labels(&service)));
    }

    fn expose_backends(&mut self, backends: &[Backend]) {
        let tagged = backends
            .iter()
            .map(|backend| [backend.name.as_str(), tag(backend.tag.as_ref())]);
        self.name_series(&BACKEND_INSTANCES, tagged.clone().map(|backend| labels(&backend)));
        self.name_series(&BACKEND_QUERIES, product(tagged, OUTCOMES));
        let backends = backends.iter().map(|backend| [backend.name.as_str()]);
        self.name_series(&HANDLER_RUNS, product(backends, RUN_RESULTS));
    }

    fn expose_jobs(&mut self, jobs: &[Job]) {
        let (mut tasks, mut coprocesses) = (Vec::new(), Vec::new());
        for job in jobs {
            match &job.role {
                Role::Task { name } => tasks.push([name.as_str()]),
                Role::Coprocess { name } => coprocesses.push(labels(&[name])),
                Role::Application
                | Role::PreStart
                | Role::PreStop
                | Role::PostStop
                | Role::Health { .. }
                | Role::OnUnhealthy { .. }
                | Role::OnHealthy { .. }
                | Role::OnChange { .. }
                | Role::Sensor { .. }
                | Role::Template { .. } => {}
            }
        }
        self.name_series(&TASK_RUNS, product(tasks.into_iter(), RUN_RESULTS));
        self.name_series(&COPROCESS_RESTARTS, coprocesses);
    }

    /// Records a measurement. Values of sensors are not among these metrics.
    pub fn record(&mut self, measurement: &Measurement) {
        match measurement {
            Measurement::Ran { role, result, took } => self.ran(role, *result, *took),
            Measurement::Restarted(Role::Coprocess { name }) => self.take(&COPROCESS_RESTARTS, &[name], 1.0),
            Measurement::Answered {
                operation,
                outcome,
                took,
            } => self.answered(operation, *outcome, *took),
            Measurement::Seen { backend, instances } => {
                let instances = u32::try_from(*instances).unwrap_or(u32::MAX);
                let labels = [backend.name.as_str(), tag(backend.tag.as_ref())];
                self.take(&BACKEND_INSTANCES, &labels, instances.into());
            }
            Measurement::OrphanReaped => self.take(&ORPHANS_REAPED, &[], 1.0),
            Measurement::Reloaded { accepted } => {
                self.take(&LAST_RELOAD, &[], u8::from(*accepted).into());
                let result = if *accepted { "success" } else { "refused" };
                self.take(&RELOADS, &[result], 1.0);
            }
            Measurement::CatalogueAvailable(available) => {
                self.take(&CATALOGUE_UP, &[], u8::from(*available).into());
            }
            Measurement::Maintenance(on) => self.take(&MAINTENANCE, &[], u8::from(*on).into()),
            Measurement::ServiceState {
                service,
                healthy,
                registered_until,
            } => {
                self.take(&SERVICE_HEALTHY, &[service], u8::from(*healthy).into());
                match registered_until {
                    Some(until) => self.hold_until(&SERVICE_REGISTERED, *until, &[service]),
                    None => self.take(&SERVICE_REGISTERED, &[service], 0.0),
                }
            }
            Measurement::Rendered { destination, result } => {
                let result = match result {
                    RenderResult::Complete => "complete",
                    RenderResult::Incomplete => "incomplete",
                    RenderResult::Failed => "failed",
                };
                self.take(&TEMPLATE_RENDERS, &[destination, result], 1.0);
            }
            Measurement::Written { destination, result } => {
                let result = match result {
                    WriteResult::Changed => "changed",
                    WriteResult::Unchanged => "unchanged",
                    WriteResult::Failed => "failed",
                };
                self.take(&TEMPLATE_WRITES, &[destination, result], 1.0);
            }
            Measurement::Restarted(_) | Measurement::Sensed { .. } => {}
        }
    }

    /// Records a run of a job. A run that the shim stopped has no result.
    fn ran(&mut self, role: &Role, result: RunResult, took: Duration) {
        let result = match result {
            RunResult::Passed => "passed",
            RunResult::Failed => "failed",
            RunResult::TimedOut => "timed_out",
            RunResult::Stopped => return,
        };
        match role {
            Role::Health { service, .. } => {
                self.take(&CHECKS, &[service, result], 1.0);
                self.take(&CHECK_DURATIONS, &[service], took.as_secs_f64());
            }
            Role::OnChange { backend } => self.take(&HANDLER_RUNS, &[backend, result], 1.0),
            Role::Task { name } => self.take(&TASK_RUNS, &[name, result], 1.0),
            Role::Sensor { name } => self.take(&SENSOR_RUNS, &[name, result], 1.0),
            Role::OnUnhealthy { service, .. } => {
                self.take(&REACTION_RUNS, &[service, ON_UNHEALTHY, result], 1.0);
            }
            Role::OnHealthy { service, .. } => self.take(&REACTION_RUNS, &[service, ON_HEALTHY, result], 1.0),
            Role::Template { destination } => {
                self.take(&TEMPLATE_COMMAND_RUNS, &[destination, result], 1.0);
            }
            Role::Application | Role::PreStart | Role::PreStop | Role::PostStop | Role::Coprocess { .. } => {}
        }
    }

    fn answered(&mut self, operation: &CatalogueOperation, outcome: Outcome, took: Duration) {
        let result = match (operation, outcome) {
            (_, Outcome::Done) => "success",
            (CatalogueOperation::Renew(_), Outcome::Unknown) => "unknown",
            (_, Outcome::Unknown | Outcome::Failed) => "failure",
        };
        let label = match operation {
            CatalogueOperation::Register(service) => {
                self.take(&REGISTRATIONS, &[service, result], 1.0);
                "register"
            }
            CatalogueOperation::Renew(service) => {
                self.take(&HEARTBEATS, &[service, result], 1.0);
                "renew"
            }
            CatalogueOperation::Fail(_) => "fail",
            CatalogueOperation::LookUp(_) | CatalogueOperation::Await(_) => "look_up",
            CatalogueOperation::Inspect(_) => "inspect",
            CatalogueOperation::Deregister(service) => {
                self.take(&DEREGISTRATIONS, &[service, result], 1.0);
                "deregister"
            }
            CatalogueOperation::List(backend) => {
                self.queried(backend, result);
                "list"
            }
            CatalogueOperation::Watch(backend) => {
                self.queried(backend, result);
                "watch"
            }
        };
        self.take(&CATALOGUE_REQUESTS, &[label], took.as_secs_f64());
    }

    fn queried(&mut self, backend: &WatchedBackend, result: &str) {
        let labels = [backend.name.as_str(), tag(backend.tag.as_ref()), result];
        self.take(&BACKEND_QUERIES, &labels, 1.0);
    }

    fn name_series(&mut self, metric: &Metric, named: impl IntoIterator<Item = Labels>) {
        if let Some(family) = self.0.get_mut(metric.name) {
            family.name_series(named);
        }
    }

    /// Sets a gauge to one until an instant.
    fn hold_until(&mut self, metric: &Metric, until: Instant, labels: &[&str]) {
        if let Some(family) = self.0.get_mut(metric.name) {
            family.hold_until(until, labels);
        }
    }

    /// Records a value. None of the metrics is a summary, the only kind that uses the time.
    fn take(&mut self, metric: &Metric, labels: &[&str], value: f64) {
        if let Some(family) = self.0.get_mut(metric.name) {
            family.take(Instant::START, labels, value);
        }
    }
}

/// The services that have commands for changes of their health, with the key of each command.
fn reactions(services: &[Service]) -> impl Iterator<Item = [&str; 2]> {
    services.iter().flat_map(|service| {
        let commands = [
            (&service.actions.on_unhealthy, ON_UNHEALTHY),
            (&service.actions.on_healthy, ON_HEALTHY),
        ];
        let given = commands.into_iter().filter(|(command, _)| command.is_some());
        given.map(|(_, key)| [service.registration.name.as_str(), key])
    })
}

/// The tag of a backend. Without a tag the label is empty, which Prometheus treats as absent.
fn tag(tag: Option<&String>) -> &str {
    tag.map_or("", String::as_str)
}

fn labels(values: &[&str]) -> Labels {
    values.iter().copied().map(Box::from).collect()
}

/// All combinations of these things with these results.
fn product<'a, const N: usize>(
    things: impl Iterator<Item = [&'a str; N]>,
    results: &[&str],
) -> impl Iterator<Item = Labels> {
    things.flat_map(move |thing| {
        results.iter().map(move |result| {
            let values = thing.iter().chain([result]);
            values.copied().map(Box::from).collect()
        })
    })
}
