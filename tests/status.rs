//! The JSON of a status is valid under docs/status.schema.json and has the values of the status.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

#[path = "common/schema.rs"]
mod schema;

use chrono::{DateTime, Utc};
use containerpilot::adapters::telemetry::status::json;
use domain::Instant;
use domain::availability::CatalogueStatus;
use domain::catalogue::Dependency;
use domain::check::Health;
use domain::lifecycle::Phase;
use domain::measurement::{RunResult, WatchedBackend};
use domain::plan::{Registration, Role};
use domain::process::{Ending, ExitStatus, Pid, StartFailure};
use domain::signal::Signal;
use domain::status::{
    BackendStatus, CheckStatus, FileState, JobStatus, ReloadStatus, Run, ServiceStatus, Status,
    TemplateStatus,
};
use domain::time::Duration;
use schema::{assert_is_status, check_status};
use serde_json::{Value, json};

fn now() -> DateTime<Utc> {
    "2026-11-23T09:30:00.250Z".parse().unwrap()
}

fn at(milliseconds: u64) -> Instant {
    Instant::after_start(Duration::from_millis(milliseconds))
}

fn empty() -> Status {
    Status {
        at: at(0),
        phase: Phase::PreStarting,
        maintenance: false,
        last_reload: None,
        catalogue: CatalogueStatus::default(),
        services: Vec::new(),
        backends: Vec::new(),
        templates: Vec::new(),
        jobs: Vec::new(),
    }
}

fn job(role: Role, pid: Option<i32>, last: Option<Run>) -> JobStatus {
    JobStatus {
        role,
        pid: pid.map(Pid),
        restarts: 0,
        last,
    }
}

fn run(result: RunResult, ending: Ending, output: &str) -> Run {
    Run {
        ended: at(61_500),
        took: Duration::from_millis(42),
        result,
        ending,
        output: output.into(),
    }
}

fn exited(code: u8) -> Ending {
    Ending::Exited(ExitStatus::Code(code))
}

fn registration(name: &str, address: &str) -> Registration {
    Registration {
        id: format!("{name}-host"),
        name: name.into(),
        address: address.into(),
        port: 8000,
        tags: vec!["blue".into(), "\"v2\"".into()],
        ttl: Duration::from_secs(3),
        enable_tag_override: false,
        deregister_critical_after: None,
        attributes: Box::default(),
    }
}

fn services() -> Vec<ServiceStatus> {
    let health = Role::Health {
        service: "app".into(),
        id: "app-host".into(),
        check: None,
    };
    let failed = run(RunResult::Failed, exited(1), "…not ready\n\u{fffd}");
    let service = |name: &str, address: &str, health| ServiceStatus {
        registration: registration(name, address),
        registered: true,
        since: Some(at(3_000)),
        last_heartbeat: Some(at(60_000)),
        heartbeat_failures: 0,
        health,
        check: None,
        recent: vec![],
        checks: vec![],
    };
    vec![
        ServiceStatus {
            check: Some(job(health, Some(42), Some(failed))),
            recent: vec![
                RunResult::Passed,
                RunResult::TimedOut,
                RunResult::Stopped,
                RunResult::Failed,
            ],
            ..service("app", "192.0.2.7", Health::Unhealthy)
        },
        ServiceStatus {
            checks: named_checks(),
            ..service("web", "192.0.2.9", Health::Unknown)
        },
        ServiceStatus {
            registered: false,
            since: None,
            last_heartbeat: None,
            heartbeat_failures: 4,
            ..service("containerpilot", "2001:db8::7", Health::Healthy)
        },
    ]
}

/// A service whose check failed and one without a check, a backend, and a job of every kind with every
/// result.
fn full() -> Status {
    let on_change = Role::OnChange { backend: "db".into() };
    let killed = Ending::Exited(ExitStatus::Signal(Signal::KILL));
    Status {
        at: at(62_000),
        phase: Phase::Running,
        maintenance: true,
        last_reload: Some(ReloadStatus {
            at: at(60_000),
            refused: Some("line 1: \"a\"".into()),
        }),
        catalogue: CatalogueStatus {
            available: Some(false),
            since: Some(at(59_000)),
            failures: 3,
            last_error: Some("connection refused".into()),
        },
        services: services(),
        backends: vec![BackendStatus {
            backend: WatchedBackend {
                name: "db".into(),
                tag: Some("primary".into()),
            },
            instances: vec![("192.0.2.8".into(), 5432), ("db.example".into(), 5433)],
            changed: Some(at(1_000)),
            failures: 2,
            handler: job(on_change, None, Some(run(RunResult::TimedOut, killed, ""))),
        }],
        templates: templates(),
        jobs: jobs(),
    }
}

/// A check that passed and one that has not run yet.
fn named_checks() -> Vec<CheckStatus> {
    let role = |check: &str| Role::Health {
        service: "web".into(),
        id: "web-host".into(),
        check: Some(check.into()),
    };
    let passed = run(RunResult::Passed, exited(0), "");
    vec![
        CheckStatus {
            name: "disk usage".into(),
            interval: Duration::from_secs(60),
            health: Health::Healthy,
            job: job(role("disk usage"), None, Some(passed)),
            recent: vec![RunResult::Passed],
        },
        CheckStatus {
            name: "db".into(),
            interval: Duration::from_millis(500),
            health: Health::Unknown,
            job: job(role("db"), Some(7), None),
            recent: vec![],
        },
    ]
}

/// One that waits, one that was written, and one that failed.
fn templates() -> Vec<TemplateStatus> {
    let of = |destination: &str, state| TemplateStatus {
        destination: destination.into(),
        state,
        written: None,
        last_error: None,
        names: vec![],
        waits_for: vec![],
        command: None,
    };
    let role = Role::Template {
        destination: "/etc/b".into(),
    };
    let (key, list) = (Dependency::Key("app/limit".into()), Dependency::Services);
    vec![
        TemplateStatus {
            names: vec![list, key.clone()],
            waits_for: vec![key],
            ..of("/etc/a", FileState::Waiting)
        },
        TemplateStatus {
            written: Some(at(60_000)),
            command: Some(job(role, None, Some(run(RunResult::Passed, exited(0), "")))),
            ..of("/etc/b", FileState::Written)
        },
        TemplateStatus {
            last_error: Some("/a.tmpl, line 2".into()),
            ..of("/etc/c", FileState::Failed)
        },
    ]
}

fn jobs() -> Vec<JobStatus> {
    let agent = Role::Coprocess { name: "agent".into() };
    let not_found = Ending::NotStarted(StartFailure {
        not_found: true,
        cause: "fork/exec ./gone: no such file or directory".into(),
    });
    let load = Role::Sensor { name: "load".into() };
    vec![
        job(Role::Application, Some(7), None),
        job(Role::PreStart, None, Some(run(RunResult::Passed, exited(0), ""))),
        job(Role::PreStop, Some(8), None),
        job(Role::PostStop, None, None),
        job(Role::Task { name: "tidy".into() }, None, None),
        JobStatus {
            restarts: 3,
            ..job(agent, None, Some(run(RunResult::Failed, not_found, "")))
        },
        job(load, None, Some(run(RunResult::Stopped, exited(0), "1.5\n"))),
    ]
}

/// The application was sent SIGTERM; a backend was never listed.
fn stopping() -> Status {
    Status {
        at: at(90_000),
        phase: Phase::Terminating,
        backends: vec![BackendStatus {
            backend: WatchedBackend {
                name: "db".into(),
                tag: None,
            },
            instances: Vec::new(),
            changed: None,
            failures: 0,
            handler: job(Role::OnChange { backend: "db".into() }, None, None),
        }],
        jobs: vec![job(Role::Application, Some(7), None)],
        ..empty()
    }
}

fn picture(status: &Status) -> Value {
    serde_json::from_str(&json(status, now())).unwrap()
}

#[test]
fn every_status_has_the_form_of_the_schema() {
    for status in [empty(), full(), stopping()] {
        assert_is_status(&json(&status, now()));
    }
}

#[test]
fn the_example_in_the_documentation_has_the_form_of_the_schema() {
    let text = include_str!("../docs/telemetry.md");
    let (_, section) = text.split_once("## `/status`").unwrap();
    let (_, block) = section.split_once("```json answer").unwrap();
    assert_is_status(block.split_once("```").unwrap().0);
}

#[test]
fn every_phase_is_one_of_the_schema_and_has_a_name_of_its_own() {
    let phases = [
        Phase::PreStarting,
        Phase::AbortingStart,
        Phase::AwaitingTemplates,
        Phase::Running,
        Phase::Deregistering,
        Phase::Draining,
        Phase::PreStopping,
        Phase::Terminating,
        Phase::Killing,
        Phase::DeregisteringAfterExit,
        Phase::PreStoppingAfterExit,
        Phase::PostStopping,
        Phase::TerminatingRemaining,
        Phase::KillingRemaining,
        Phase::Exited,
    ];
    let names = phases.map(|phase| {
        let text = json(&Status { phase, ..empty() }, now());
        assert_is_status(&text);
        serde_json::from_str::<Value>(&text).unwrap()["phase"].to_string()
    });
    let mut different = names.to_vec();
    different.sort();
    different.dedup();
    assert_eq!(different.len(), phases.len(), "{names:?}");
}

#[test]
fn every_phase_is_explained_in_the_documentation() {
    let page = include_str!("../docs/telemetry.md");
    let schema: Value = serde_json::from_str(include_str!("../docs/status.schema.json")).unwrap();
    for phase in schema["properties"]["phase"]["enum"].as_array().unwrap() {
        let row = format!("| `{}` | ", phase.as_str().unwrap());
        assert_eq!(page.matches(&row).count(), 1, "{row}");
    }
}

#[test]
fn unknown_and_missing_members_violate_the_schema() {
    let text = json(&full(), now());
    for (part, by) in [
        ("\"maintenance\":true,", ""),
        ("\"phase\":", "\"more\":1,\"phase\":"),
        ("\"running\"", "\"walking\""),
        ("\"pid\":42", "\"pid\":\"42\""),
        ("\"exit_code\":1,", "\"exit_code\":1000,"),
        (
            "\"recent\":[\"passed\",\"timed",
            "\"more\":[],\"recent\":[\"passed\",\"timed",
        ),
        ("\"kind\":\"application\"", "\"more\":1,\"kind\":\"application\""),
        ("2026-11-23T09:30:00.250Z", "2026-11-23T09:30:00.250+01:00"),
        ("192.0.2.7", "192.0.2.700"),
    ] {
        assert!(text.contains(part), "{part}");
        assert!(check_status(&text.replace(part, by)).is_err(), "{by} for {part}");
    }
}

#[test]
fn times_are_calendar_times_in_utc_and_durations_are_seconds() {
    let picture = picture(&full());
    assert_eq!(picture["time"], "2026-11-23T09:30:00.250Z");
    assert_eq!(picture["uptime_seconds"], 62.0);
    assert_eq!(picture["backends"][0]["changed_at"], "2026-11-23T09:28:59.250Z");
    let last = &picture["services"][0]["check"]["last"];
    assert_eq!(last["ended_at"], "2026-11-23T09:29:59.750Z");
    assert_eq!(last["duration_seconds"], 0.042);
}

#[test]
fn a_service_reports_its_last_check_and_its_output() {
    let picture = picture(&full());
    let expected = json!({
        "name": "app", "id": "app-host", "address": "192.0.2.7", "port": 8000, "tags": ["blue", "\"v2\""],
        "registered": true, "last_heartbeat": "2026-11-23T09:29:58.250Z", "heartbeat_failures": 0,
        "health": "unhealthy", "since": "2026-11-23T09:29:01.250Z", "checks": [],
        "check": {
            "kind": "check", "name": "app", "pid": 42, "restarts": 0,
            "recent": ["passed", "timed_out", "stopped", "failed"],
            "last": {
                "ended_at": "2026-11-23T09:29:59.750Z", "duration_seconds": 0.042, "result": "failed",
                "exit_code": 1, "detail": "exit status 1", "output": "…not ready\n\u{fffd}",
            },
        },
    });
    assert_eq!(picture["services"][0], expected);
    assert_eq!(picture["services"][1]["checks"][0]["recent"], json!(["passed"]));
    assert_eq!(picture["services"][2]["check"], Value::Null);
    assert_eq!(picture["services"][2]["address"], "2001:db8::7");
}

#[test]
fn a_backend_reports_its_instances_and_its_handler() {
    let full = picture(&full());
    let backend = &full["backends"][0];
    assert_eq!(backend["tag"], "primary");
    assert_eq!(
        backend["instances"][1],
        json!({"address": "db.example", "port": 5433})
    );
    assert_eq!(backend["failures"], 2);
    assert_eq!(backend["handler"]["kind"], "handler");
    assert_eq!(backend["handler"]["last"]["result"], "timed_out");
    assert_eq!(backend["handler"]["last"]["exit_code"], 137);
    let never = picture(&stopping());
    assert_eq!(never["phase"], "terminating");
    assert_eq!(never["backends"][0]["changed_at"], Value::Null);
    assert_eq!(never["backends"][0]["tag"], Value::Null);
}

#[test]
fn a_template_reports_its_state_and_what_it_waits_for() {
    let picture = picture(&full());
    let expected = json!({
        "destination": "/etc/a", "state": "waiting", "written_at": null, "last_error": null,
        "watches": ["the list of services", "key app/limit"], "waits_for": ["key app/limit"], "command": null,
    });
    assert_eq!(picture["templates"][0], expected);
    assert_eq!(picture["templates"][1]["written_at"], "2026-11-23T09:29:58.250Z");
    assert_eq!(picture["templates"][1]["command"]["kind"], "template");
    assert_eq!(picture["templates"][1]["command"]["last"]["result"], "passed");
    assert_eq!(picture["templates"][2]["state"], "failed");
    assert_eq!(picture["templates"][2]["last_error"], "/a.tmpl, line 2");
}

#[test]
fn a_job_reports_its_kind_its_process_its_restarts_and_its_end() {
    let picture = picture(&full());
    let jobs = picture["jobs"].as_array().unwrap();
    let called: Vec<String> = jobs
        .iter()
        .map(|job| format!("{} {}", job["kind"], job["name"]).replace('"', ""))
        .collect();
    let expected = [
        "application null",
        "pre_start null",
        "pre_stop null",
        "post_stop null",
        "task tidy",
        "coprocess agent",
        "sensor load",
    ];
    assert_eq!(called, expected);
    assert_eq!(jobs[0]["pid"], 7);
    assert_eq!(jobs[5]["restarts"], 3);
    assert_eq!(jobs[5]["last"]["exit_code"], 127);
    assert_eq!(
        jobs[5]["last"]["detail"],
        "fork/exec ./gone: no such file or directory"
    );
    assert_eq!(jobs[6]["last"]["result"], "stopped");
    assert_eq!(jobs[6]["last"]["output"], "1.5\n");
}
