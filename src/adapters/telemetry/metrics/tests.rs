//! Tests of the exposition after a plan, measurements, and another plan.

use super::*;
use domain::catalogue::Dependency;
use domain::measurement::{
    CatalogueOperation, Outcome, RenderResult, RunResult, WatchedBackend, WriteResult,
};
use domain::plan::{
    Backend, Catalogue, Check, Command, Filter, HEARTBEATS_PER_INSPECTION, HealthActions, Job, Output,
    Registration, Role, SensorKind, Service, Telemetry, Template, TemplateSource, Timing, Trigger,
};
use domain::sensor::{OWN, read};
use domain::time::Duration;

fn job(role: Role) -> Job {
    Job::new(role, Command::new("true", []), Trigger::OnDemand, Output::Inherit)
}

fn service(name: &str, checked: bool) -> Service {
    let id = format!("{name}-host");
    Service {
        registration: Registration {
            id: id.clone(),
            name: name.into(),
            address: [127, 0, 0, 1].into(),
            port: 1,
            tags: Vec::new(),
            ttl: Duration::from_secs(3),
            enable_tag_override: false,
            deregister_critical_after: None,
            attributes: Box::default(),
        },
        poll: Duration::from_secs(1),
        thresholds: None,
        checks: vec![],
        actions: HealthActions::default(),
        check: checked.then(|| {
            Check::Command(job(Role::Health {
                service: name.into(),
                id,
                check: None,
            }))
        }),
        heartbeats_per_inspection: HEARTBEATS_PER_INSPECTION,
    }
}

fn backend(name: &str, tag: Option<&str>) -> Backend {
    Backend {
        name: name.into(),
        tag: tag.map(str::to_owned),
        poll: Duration::from_secs(1),
        on_change: job(Role::OnChange { backend: name.into() }),
        filter: Filter::default(),
        timing: Timing::default(),
        json: false,
    }
}

fn sensor(kind: SensorKind, name: &str, help: &str) -> Sensor {
    Sensor {
        name: name.into(),
        help: help.into(),
        kind,
        job: job(Role::Sensor { name: name.into() }),
    }
}

fn template(destination: &str) -> Template {
    let destination: String = destination.into();
    Template {
        source: TemplateSource::Contents(String::new()),
        command: Some(job(Role::Template {
            destination: destination.clone(),
        })),
        destination,
        mode: None,
        owner: None,
        wait: None,
        required: false,
    }
}

fn on_unhealthy(service: &str) -> Role {
    Role::OnUnhealthy {
        service: service.into(),
        id: format!("{service}-host"),
    }
}

/// A plan with two services, one backend, a template, a task, a coprocess and these sensors.
fn plan(sensors: Vec<Sensor>) -> Plan {
    let mut plan = Plan::new(Catalogue::Directory { path: "/c".into() });
    plan.services = vec![service("app", true), service("admin", false)];
    plan.services[0].actions.on_unhealthy = Some(Box::new(job(on_unhealthy("app"))));
    plan.templates = vec![template("/etc/a")];
    plan.backends = vec![backend("db", Some("primary")), backend("db", None)];
    plan.jobs = vec![
        job(Role::Task { name: "tidy".into() }),
        job(Role::Coprocess { name: "agent".into() }),
    ];
    plan.telemetry = Some(Telemetry {
        address: ([127, 0, 0, 1], 1).into(),
        sensors,
    });
    plan
}

fn metrics(plan: &Plan) -> Metrics {
    let mut metrics = Metrics::new(MachineClock::start());
    metrics.expose(plan);
    metrics
}

/// The sample lines that begin with this name.
fn lines(metrics: &Metrics, name: &str) -> Vec<String> {
    let text = metrics.text().unwrap();
    let values = text.lines().filter(|line| !line.starts_with('#'));
    let named = values.filter(|line| line.starts_with(name));
    named.map(str::to_owned).collect()
}

/// The value of one series, if it exists.
fn value(metrics: &Metrics, series: &str) -> Option<String> {
    let lines = lines(metrics, series);
    let value = |line: &String| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned);
    lines.iter().find_map(value)
}

fn sense(metrics: &mut Metrics, kind: SensorKind, sensor: &str, printed: &str) {
    let value = read(kind, printed).unwrap();
    let sensor = sensor.into();
    metrics.record(&Measurement::Sensed { sensor, value });
}

fn ran(metrics: &mut Metrics, role: Role, result: RunResult) {
    let took = Duration::from_millis(30);
    metrics.record(&Measurement::Ran { role, result, took });
}

fn answered(metrics: &mut Metrics, operation: CatalogueOperation, outcome: Outcome) {
    metrics.record(&Measurement::Answered {
        operation,
        outcome,
        took: Duration::from_millis(4),
    });
}

fn health(service: &str) -> Role {
    Role::Health {
        service: service.into(),
        id: format!("{service}-host"),
        check: None,
    }
}

fn watched(tag: Option<&str>) -> WatchedBackend {
    WatchedBackend {
        name: "db".into(),
        tag: tag.map(str::to_owned),
    }
}

#[test]
fn the_names_no_sensor_may_have_are_those_that_are_exposed_without_one() {
    let text = metrics(&plan(vec![sensor(SensorKind::Gauge, "load", "Load.")]))
        .text()
        .unwrap();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let exposed: Vec<&str> = types.filter(|line| *line != "load gauge").collect();
    let reserved = OWN.map(|(name, kind)| format!("{name} {kind}"));
    assert_eq!(exposed, reserved);
}

#[test]
fn the_documentation_has_every_name() {
    let text = include_str!("../../../../docs/telemetry.md");
    for (name, _) in OWN {
        assert!(text.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn every_series_of_what_the_plan_names_is_there_from_the_start_and_zero() {
    let metrics = metrics(&plan(vec![sensor(SensorKind::Gauge, "load", "Load.")]));
    for (name, count) in [
        ("backend_instances", 2),
        ("backend_queries_total", 4),
        ("catalogue_request_duration_seconds_count", 8),
        ("catalogue_up", 1),
        ("check_duration_seconds_count", 1),
        ("checks_total", 3),
        ("coprocess_restarts_total", 1),
        ("deregistrations_total", 4),
        ("handler_runs_total", 3),
        ("heartbeats_total", 6),
        ("maintenance", 1),
        ("orphans_reaped_total", 1),
        ("reaction_runs_total", 3),
        ("registrations_total", 4),
        ("reloads_total", 2),
        ("sensor_runs_total", 3),
        ("service_healthy", 2),
        ("service_registered", 2),
        ("task_runs_total", 3),
        ("template_command_runs_total", 3),
        ("template_renders_total", 3),
        ("template_writes_total", 3),
    ] {
        let series = lines(&metrics, &format!("containerpilot_{name}"));
        assert_eq!(series.len(), count, "{series:?}");
        assert!(series.iter().all(|line| line.ends_with(" 0")), "{series:?}");
    }
}

#[test]
fn checks_are_counted_by_result_and_timed_and_what_was_stopped_is_neither() {
    let mut metrics = metrics(&plan(Vec::new()));
    for result in [
        RunResult::Passed,
        RunResult::Passed,
        RunResult::Failed,
        RunResult::TimedOut,
        RunResult::Stopped,
    ] {
        ran(&mut metrics, health("app"), result);
    }
    let checks = [
        "containerpilot_checks_total{service=\"app\",result=\"failed\"} 1",
        "containerpilot_checks_total{service=\"app\",result=\"passed\"} 2",
        "containerpilot_checks_total{service=\"app\",result=\"timed_out\"} 1",
    ];
    assert_eq!(lines(&metrics, "containerpilot_checks_total"), checks);
    let seconds = |rest: &str| value(&metrics, &format!("containerpilot_check_duration_seconds{rest}"));
    assert_eq!(seconds("_count{service=\"app\"}").unwrap(), "4");
    assert_eq!(seconds("_sum{service=\"app\"}").unwrap(), "0.12");
    assert_eq!(seconds("_bucket{service=\"app\",le=\"0.025\"}").unwrap(), "0");
    assert_eq!(seconds("_bucket{service=\"app\",le=\"0.05\"}").unwrap(), "4");
}

#[test]
fn runs_of_handlers_tasks_and_sensors_are_counted_by_result_and_restarts_by_coprocess() {
    let mut metrics = metrics(&plan(vec![sensor(SensorKind::Gauge, "load", "Load.")]));
    ran(
        &mut metrics,
        Role::OnChange { backend: "db".into() },
        RunResult::Passed,
    );
    ran(
        &mut metrics,
        Role::Task { name: "tidy".into() },
        RunResult::TimedOut,
    );
    ran(
        &mut metrics,
        Role::Sensor { name: "load".into() },
        RunResult::Failed,
    );
    let restarted = Measurement::Restarted(Role::Coprocess { name: "agent".into() });
    metrics.record(&restarted);
    metrics.record(&restarted);
    for (series, expected) in [
        ("handler_runs_total{backend=\"db\",result=\"passed\"}", "1"),
        ("handler_runs_total{backend=\"db\",result=\"failed\"}", "0"),
        ("task_runs_total{task=\"tidy\",result=\"timed_out\"}", "1"),
        ("sensor_runs_total{sensor=\"load\",result=\"failed\"}", "1"),
        ("coprocess_restarts_total{coprocess=\"agent\"}", "2"),
    ] {
        let series = format!("containerpilot_{series}");
        assert_eq!(value(&metrics, &series).as_deref(), Some(expected), "{series}");
    }
}

/// Asserts that each series of the shim has this value.
fn assert_values(metrics: &Metrics, expected: &[(&str, &str)]) {
    for (series, expected) in expected {
        let series = format!("containerpilot_{series}");
        assert_eq!(value(metrics, &series).as_deref(), Some(*expected), "{series}");
    }
}

#[test]
fn commands_of_services_and_the_work_of_templates_are_counted_by_result() {
    let mut metrics = metrics(&plan(Vec::new()));
    ran(&mut metrics, on_unhealthy("app"), RunResult::Failed);
    let on_healthy = Role::OnHealthy {
        service: "app".into(),
        id: "app-host".into(),
    };
    ran(&mut metrics, on_healthy, RunResult::Passed);
    let destination = || "/etc/a".to_owned();
    ran(
        &mut metrics,
        Role::Template {
            destination: destination(),
        },
        RunResult::TimedOut,
    );
    metrics.record(&Measurement::Rendered {
        destination: destination(),
        result: RenderResult::Incomplete,
    });
    metrics.record(&Measurement::Written {
        destination: destination(),
        result: WriteResult::Changed,
    });
    answered(
        &mut metrics,
        CatalogueOperation::LookUp(Dependency::Services),
        Outcome::Done,
    );
    let reactions = lines(&metrics, "containerpilot_reaction_runs_total");
    assert_eq!(reactions.len(), 3, "the plan has no onHealthy");
    assert_values(
        &metrics,
        &[
            (
                "reaction_runs_total{service=\"app\",command=\"onUnhealthy\",result=\"failed\"}",
                "1",
            ),
            (
                "template_command_runs_total{template=\"/etc/a\",result=\"timed_out\"}",
                "1",
            ),
            (
                "template_renders_total{template=\"/etc/a\",result=\"incomplete\"}",
                "1",
            ),
            (
                "template_writes_total{template=\"/etc/a\",result=\"changed\"}",
                "1",
            ),
            (
                "catalogue_request_duration_seconds_count{operation=\"look_up\"}",
                "1",
            ),
        ],
    );
}

#[test]
fn requests_to_the_catalogue_are_counted_by_service_or_backend_and_timed_by_operation() {
    use CatalogueOperation::{Deregister, List, Register, Renew, Watch};
    let mut metrics = metrics(&plan(Vec::new()));
    for (operation, outcome) in [
        (Renew("app".into()), Outcome::Unknown),
        (Register("app".into()), Outcome::Done),
        (Renew("app".into()), Outcome::Done),
        (Renew("app".into()), Outcome::Failed),
        (Deregister("app".into()), Outcome::Failed),
        (List(watched(Some("primary"))), Outcome::Done),
        (Watch(watched(Some("primary"))), Outcome::Done),
        (Watch(watched(None)), Outcome::Failed),
    ] {
        answered(&mut metrics, operation, outcome);
    }
    for (series, expected) in [
        ("heartbeats_total{service=\"app\",result=\"unknown\"}", "1"),
        ("heartbeats_total{service=\"app\",result=\"success\"}", "1"),
        ("heartbeats_total{service=\"app\",result=\"failure\"}", "1"),
        ("registrations_total{service=\"app\",result=\"success\"}", "1"),
        ("deregistrations_total{service=\"app\",result=\"failure\"}", "1"),
        (
            "backend_queries_total{backend=\"db\",tag=\"primary\",result=\"success\"}",
            "2",
        ),
        (
            "backend_queries_total{backend=\"db\",tag=\"\",result=\"failure\"}",
            "1",
        ),
        (
            "catalogue_request_duration_seconds_count{operation=\"register\"}",
            "1",
        ),
        (
            "catalogue_request_duration_seconds_count{operation=\"renew\"}",
            "3",
        ),
        (
            "catalogue_request_duration_seconds_count{operation=\"deregister\"}",
            "1",
        ),
        (
            "catalogue_request_duration_seconds_count{operation=\"list\"}",
            "1",
        ),
        (
            "catalogue_request_duration_seconds_count{operation=\"watch\"}",
            "2",
        ),
        (
            "catalogue_request_duration_seconds_sum{operation=\"watch\"}",
            "0.008",
        ),
    ] {
        let series = format!("containerpilot_{series}");
        assert_eq!(value(&metrics, &series).as_deref(), Some(expected), "{series}");
    }
}

#[test]
fn instances_are_a_gauge_by_backend_and_tag() {
    let mut metrics = metrics(&plan(Vec::new()));
    for (tag, instances) in [(Some("primary"), 3), (None, 5), (Some("primary"), 2)] {
        let backend = watched(tag);
        metrics.record(&Measurement::Seen { backend, instances });
    }
    let expected = [
        "containerpilot_backend_instances{backend=\"db\",tag=\"\"} 5",
        "containerpilot_backend_instances{backend=\"db\",tag=\"primary\"} 2",
    ];
    assert_eq!(lines(&metrics, "containerpilot_backend_instances"), expected);
}

#[test]
fn a_service_is_registered_until_its_time_is_over() {
    let mut metrics = metrics(&plan(Vec::new()));
    let state = |metrics: &mut Metrics, healthy, registered_until| {
        metrics.record(&Measurement::ServiceState {
            service: "app".into(),
            healthy,
            registered_until,
        });
        let of_app = |name: &str| format!("containerpilot_service_{name}{{service=\"app\"}}");
        ["healthy", "registered"].map(|name| value(metrics, &of_app(name)).unwrap())
    };
    let now = metrics.clock.now();
    let later = now + Duration::from_secs(1000);
    assert_eq!(state(&mut metrics, true, Some(later)), ["1", "1"]);
    assert_eq!(state(&mut metrics, false, Some(now)), ["0", "0"], "it is over");
    assert_eq!(state(&mut metrics, true, Some(later)), ["1", "1"]);
    assert_eq!(state(&mut metrics, true, None), ["1", "0"]);
}

#[test]
fn metrics_that_do_not_depend_on_a_plan_count_before_the_first_plan() {
    let mut metrics = Metrics::new(MachineClock::start());
    metrics.record(&Measurement::OrphanReaped);
    metrics.record(&Measurement::Reloaded { accepted: true });
    metrics.record(&Measurement::Reloaded { accepted: false });
    metrics.record(&Measurement::Maintenance(true));
    metrics.expose(&plan(Vec::new()));
    metrics.record(&Measurement::OrphanReaped);
    metrics.record(&Measurement::Reloaded { accepted: true });
    let series = |name: &str| value(&metrics, &format!("containerpilot_{name}")).unwrap();
    assert_eq!(series("orphans_reaped_total"), "2");
    assert_eq!(series("reloads_total{result=\"success\"}"), "2");
    assert_eq!(series("reloads_total{result=\"refused\"}"), "1");
    assert_eq!(series("config_last_reload_successful"), "1");
    metrics.record(&Measurement::Reloaded { accepted: false });
    assert_eq!(
        value(&metrics, "containerpilot_config_last_reload_successful").unwrap(),
        "0"
    );
    let series = |name: &str| value(&metrics, &format!("containerpilot_{name}")).unwrap();
    assert_eq!(series("catalogue_up"), "0");
    assert_eq!(series("maintenance"), "1");
    metrics.record(&Measurement::CatalogueAvailable(true));
    assert_eq!(value(&metrics, "containerpilot_catalogue_up").unwrap(), "1");
    metrics.record(&Measurement::Maintenance(false));
    assert_eq!(value(&metrics, "containerpilot_maintenance").unwrap(), "0");
}

#[test]
fn the_build_metric_has_the_version_of_the_command_line() {
    let metrics = metrics(&plan(Vec::new()));
    let (version, commit) = (crate::version::VERSION, crate::version::COMMIT);
    let build = format!("containerpilot_build_info{{version=\"{version}\",commit=\"{commit}\"}} 1");
    assert_eq!(lines(&metrics, "containerpilot_build_info"), [build]);
}

#[test]
fn a_measurement_that_the_plan_does_not_name_creates_no_series() {
    let mut metrics = metrics(&plan(Vec::new()));
    let before: Vec<String> = lines(&metrics, "containerpilot_");
    ran(&mut metrics, health("gone"), RunResult::Passed);
    ran(&mut metrics, health("admin"), RunResult::Passed);
    ran(&mut metrics, Role::Application, RunResult::Failed);
    ran(
        &mut metrics,
        Role::Coprocess { name: "agent".into() },
        RunResult::Failed,
    );
    metrics.record(&Measurement::Restarted(Role::Coprocess { name: "gone".into() }));
    metrics.record(&Measurement::Restarted(Role::Application));
    let backend = watched(Some("gone"));
    metrics.record(&Measurement::Seen {
        backend,
        instances: 1,
    });
    sense(&mut metrics, SensorKind::Gauge, "gone", "1");
    assert_eq!(lines(&metrics, "containerpilot_"), before);
    assert_eq!(lines(&metrics, "gone"), Vec::<String>::new());
}

#[test]
fn after_a_reload_series_that_are_still_named_keep_their_values_and_others_are_removed() {
    let mut metrics = metrics(&plan(Vec::new()));
    ran(&mut metrics, health("app"), RunResult::Passed);
    metrics.record(&Measurement::Seen {
        backend: watched(None),
        instances: 4,
    });
    let mut other = plan(Vec::new());
    other.backends.remove(0);
    other.jobs.clear();
    other.services.push(service("new", true));
    metrics.expose(&other);
    let text = metrics.text().unwrap();
    assert!(text.contains("containerpilot_checks_total{service=\"app\",result=\"passed\"} 1\n"));
    assert!(text.contains("containerpilot_checks_total{service=\"new\",result=\"passed\"} 0\n"));
    assert!(text.contains("containerpilot_backend_instances{backend=\"db\",tag=\"\"} 4\n"));
    for gone in ["primary", "tidy", "agent"] {
        assert!(!text.contains(gone), "{gone}");
    }
    metrics.expose(&Plan::new(Catalogue::Directory { path: "/c".into() }));
    let text = metrics.text().unwrap();
    assert!(!text.contains("\"app\"") && !text.contains("containerpilot_checks_total"));
    assert!(text.contains("containerpilot_reloads_total{result=\"success\"} 0\n"));
}

#[test]
fn without_telemetry_only_templates_have_series() {
    let served = plan(Vec::new());
    let without = Plan {
        telemetry: None,
        ..served.clone()
    };
    let mut metrics = metrics(&without);
    ran(&mut metrics, health("app"), RunResult::Passed);
    let destination = "/etc/a".into();
    let result = RenderResult::Complete;
    metrics.record(&Measurement::Rendered { destination, result });
    let text = metrics.text().unwrap();
    for absent in ["containerpilot_checks_total", "\"db\"", "\"tidy\""] {
        assert!(!text.contains(absent), "{absent}: {text}");
    }
    metrics.expose(&served);
    let text = metrics.text().unwrap();
    assert!(text.contains("containerpilot_checks_total{service=\"app\",result=\"passed\"} 0\n"));
    let rendered = "containerpilot_template_renders_total{template=\"/etc/a\",result=\"complete\"} 1\n";
    assert!(text.contains(rendered), "{text}");
}

#[test]
fn a_sensor_is_exposed_from_the_start_with_its_help() {
    let metrics = metrics(&plan(vec![sensor(SensorKind::Counter, "jobs", "Jobs done.")]));
    let text = metrics.text().unwrap();
    assert!(text.contains("# HELP jobs Jobs done.\n# TYPE jobs counter\njobs 0\n"));
}

#[test]
fn a_sensor_of_every_kind_takes_the_value_its_command_printed() {
    let kinds = [
        (SensorKind::Counter, "c"),
        (SensorKind::Gauge, "g"),
        (SensorKind::Histogram, "h"),
        (SensorKind::Summary, "s"),
    ];
    let sensors = kinds.map(|(kind, name)| sensor(kind, name, "Help."));
    let mut metrics = metrics(&plan(sensors.into()));
    for (kind, name) in kinds {
        sense(&mut metrics, kind, name, "42\n");
        sense(&mut metrics, kind, name, "1.5\n");
    }
    for (series, expected) in [
        ("c", "43.5"),
        ("g", "1.5"),
        ("h_bucket{le=\"2.5\"}", "1"),
        ("h_bucket{le=\"+Inf\"}", "2"),
        ("h_sum", "43.5"),
        ("s{quantile=\"0.99\"}", "1.5"),
        ("s_count", "2"),
    ] {
        assert_eq!(value(&metrics, series).as_deref(), Some(expected), "{series}");
    }
}

#[test]
fn a_sensor_that_stays_keeps_its_value_over_a_reload_also_with_another_help() {
    let mut metrics = metrics(&plan(vec![sensor(SensorKind::Counter, "jobs", "Jobs done.")]));
    sense(&mut metrics, SensorKind::Counter, "jobs", "3");
    metrics.expose(&plan(vec![sensor(
        SensorKind::Counter,
        "jobs",
        "Jobs that were done.",
    )]));
    sense(&mut metrics, SensorKind::Counter, "jobs", "4");
    let text = metrics.text().unwrap();
    assert!(text.contains("# HELP jobs Jobs that were done.\n# TYPE jobs counter\njobs 7\n"));
}

#[test]
fn a_sensor_that_becomes_another_kind_begins_at_zero() {
    let mut metrics = metrics(&plan(vec![sensor(SensorKind::Counter, "jobs", "Jobs.")]));
    sense(&mut metrics, SensorKind::Counter, "jobs", "3");
    metrics.expose(&plan(vec![sensor(SensorKind::Gauge, "jobs", "Jobs.")]));
    let text = metrics.text().unwrap();
    assert!(text.contains("# TYPE jobs gauge\njobs 0\n"));
}

#[test]
fn a_sensor_that_is_removed_is_exposed_no_more_and_forgotten() {
    let jobs = || plan(vec![sensor(SensorKind::Counter, "jobs", "Jobs.")]);
    let mut metrics = metrics(&jobs());
    sense(&mut metrics, SensorKind::Counter, "jobs", "3");
    metrics.expose(&plan(Vec::new()));
    sense(&mut metrics, SensorKind::Counter, "jobs", "3");
    assert!(!metrics.text().unwrap().contains("jobs"));
    metrics.expose(&jobs());
    assert_eq!(value(&metrics, "jobs").unwrap(), "0");
}

#[test]
fn families_are_sorted_by_name_and_a_client_library_adds_none() {
    let sensors = vec![
        sensor(SensorKind::Gauge, "zz", "Z."),
        sensor(SensorKind::Gauge, "aa", "A."),
    ];
    let text = metrics(&plan(sensors)).text().unwrap();
    let families = text.lines().filter_map(|line| line.strip_prefix("# HELP "));
    let names: Vec<&str> = families.map(|line| line.split(' ').next().unwrap()).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert!(
        names
            .iter()
            .all(|name| !name.starts_with("go_") && !name.starts_with("http_"))
    );
    assert_eq!((names[0], names[names.len() - 1]), ("aa", "zz"));
}
