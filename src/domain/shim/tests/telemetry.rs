//! Sensors, what is measured, and how things are said to be.

use super::*;
use crate::event::StatusRequest;
use crate::measurement::{CatalogueOperation, Outcome, RunResult, WatchedBackend};
use crate::sensor::Value;
use crate::status::{JobStatus, Status};
use core::net::SocketAddr;

fn sensor(name: &str, kind: SensorKind) -> Sensor {
    let role = Role::Sensor { name: name.into() };
    let time_limit = Some(Duration::from_secs(2));
    let job = Job {
        time_limit,
        output: Output::Capture,
        ..job(role, Trigger::Every(Duration::from_secs(5)))
    };
    Sensor {
        name: name.into(),
        help: "help".into(),
        kind,
        job,
    }
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

fn served(port: u16, sensors: &[Sensor]) -> Plan {
    let sensors = sensors.to_vec();
    let address = at(port);
    Plan {
        telemetry: Some(Telemetry { address, sensors }),
        ..bare()
    }
}

fn counter() -> Plan {
    served(9090, &[sensor("c", SensorKind::Counter)])
}

impl Stage {
    fn prints(&mut self, role: &str, text: &str) -> Vec<String> {
        let ticket = self.children[role];
        self.step(Event::Printed(ticket, text.into()))
    }

    /// The next run of the sensor `c` prints this and passes.
    fn gives(&mut self, text: &str) {
        assert_eq!(self.after(5_000), ["start c.sensor"]);
        assert_eq!(self.prints("c.sensor", text), [""; 0]);
        assert_eq!(self.exits("c.sensor", 0), [""; 0]);
    }

    fn values(&self) -> Vec<f64> {
        let value = |measurement: &Measurement| match measurement {
            Measurement::Sensed { value, .. } => Some(Value::number(*value)),
            _ => None,
        };
        self.measured.iter().filter_map(value).collect()
    }

    fn has_measured(&self, measurement: &Measurement) -> bool {
        self.measured.contains(measurement)
    }

    fn status(&mut self) -> Status {
        let effects = self.shim.step(self.now, Event::StatusAsked(StatusRequest(7)));
        match effects.as_slice() {
            [Effect::Report(StatusRequest(7), status)] => (**status).clone(),
            other => panic!("{other:?}"),
        }
    }

    fn reload(&mut self, plan: Plan) -> Vec<String> {
        self.signal(Signal::HUP);
        self.loads(plan)
    }
}

#[test]
fn a_sensor_gives_a_value_after_every_poll() {
    let mut stage = Stage::running(counter());
    assert_eq!(stage.after(4_999), [""; 0], "the first one comes after one poll");
    assert_eq!(stage.after(1), ["start c.sensor"]);
    stage.prints("c.sensor", "42\n");
    stage.exits("c.sensor", 0);
    stage.gives(" 1.5 ");
    assert_eq!(stage.values(), [42.0, 1.5]);
}

#[test]
fn an_output_that_is_no_value_is_dropped_and_logged() {
    let mut stage = Stage::running(counter());
    for text in ["abc", "-1", "NaN"] {
        stage.gives(text);
    }
    assert_eq!(stage.values(), [0.0; 0]);
    let failed: Vec<&String> = stage
        .told
        .iter()
        .filter(|told| told.contains("gave no value"))
        .collect();
    let sentences = [
        "Sensor c gave no value: strconv.ParseFloat: parsing \"abc\": invalid syntax",
        "Sensor c gave no value: a counter never goes down, and -1 is negative (2 failures in a row)",
        "Sensor c gave no value: a counter takes finite numbers only, not NaN (3 failures in a row)",
    ];
    assert_eq!(failed, sentences);
    stage.gives("3");
    assert!(stage.told("Sensor c gives values again after 3 failed runs"));
    assert_eq!(stage.values(), [3.0]);
}

#[test]
fn a_failed_sensor_is_logged_at_a_high_level_once() {
    let failed = |times, aloud| Notice::SensorFailed {
        sensor: "c".into(),
        failure: crate::notice::Failure {
            cause: "exit status 1".into(),
            times,
            aloud,
        },
    };
    assert_eq!(failed(1, true).level(), Level::Error);
    assert_eq!(failed(2, false).level(), Level::Debug);
}

#[test]
fn a_run_that_fails_gives_no_value_whatever_it_printed() {
    let mut stage = Stage::running(counter());
    stage.after(5_000);
    stage.prints("c.sensor", "5");
    stage.exits("c.sensor", 1);
    assert_eq!(stage.values(), [0.0; 0]);
    assert!(stage.told("Sensor c gave no value: exit status 1"));
    stage.after(5_000);
    stage.is_missing("c.sensor");
    assert!(stage.told("Sensor c gave no value: no such file or directory"));
    stage.after(5_000);
    stage.exits("c.sensor", 0);
    assert_eq!(
        stage.values(),
        [0.0; 0],
        "what an earlier run printed is forgotten"
    );
}

#[test]
fn a_sensor_that_takes_too_long_is_killed_with_its_group() {
    let mut stage = Stage::running(counter());
    stage.after(5_000);
    assert_eq!(stage.after(2_000), ["send SIGKILL to the Tree of c.sensor"]);
    stage.prints("c.sensor", "5");
    stage.dies("c.sensor", Signal::KILL);
    assert!(stage.told("c.sensor timeout after 2s"));
    assert_eq!(stage.values(), [0.0; 0]);
    assert!(stage.has_measured(&Measurement::Ran {
        role: Role::Sensor { name: "c".into() },
        result: RunResult::TimedOut,
        took: Duration::from_secs(2),
    }));
}

#[test]
fn sensors_do_not_run_in_maintenance() {
    let mut stage = Stage::running(counter());
    stage.signal(Signal::USR1);
    assert_eq!(stage.after(60_000), [""; 0]);
    stage.signal(Signal::USR1);
    assert!(
        stage
            .measured
            .ends_with(&[Measurement::Maintenance(true), Measurement::Maintenance(false)])
    );
    stage.gives("1");
    assert_eq!(stage.values(), [1.0]);
}

#[test]
fn a_stop_kills_a_sensor_that_runs_and_starts_none() {
    let mut stage = Stage::running(counter());
    stage.after(5_000);
    let stop = [
        "send SIGKILL to the Tree of c.sensor",
        "send SIGTERM to the Leader of APP",
    ];
    assert_eq!(stage.signal(Signal::TERM), stop);
    stage.prints("c.sensor", "5");
    stage.dies("c.sensor", Signal::KILL);
    assert_eq!(stage.values(), [0.0; 0]);
    assert!(!stage.told("gave no value"), "it is not the sensor's fault");
    assert_eq!(stage.dies("APP", Signal::TERM), ["exit(143)"]);
}

#[test]
fn telemetry_is_served_from_the_moment_that_checks_begin() {
    let mut stage = Stage::new(Plan {
        pre_start: hook(Role::PreStart),
        ..counter()
    });
    stage.step(Event::Begin);
    assert_eq!(stage.exposed, [], "not while preStart runs");
    stage.reload(Plan {
        pre_start: hook(Role::PreStart),
        ..served(9091, &[])
    });
    assert_eq!(stage.exposed, []);
    stage.exits("preStart", 0);
    assert_eq!(stage.exposed.len(), 1);
    assert_eq!(
        stage.exposed[0].telemetry.as_ref().map(|served| served.address),
        Some(at(9091))
    );
    assert!(stage.told("telemetry: Listening on 192.0.2.1:9091"));
}

#[test]
fn a_reload_serves_the_new_plan_and_says_where_if_that_is_elsewhere() {
    let mut stage = Stage::running(counter());
    let listening = |stage: &Stage| {
        stage
            .told
            .iter()
            .filter(|told| told.contains("Listening"))
            .count()
    };
    stage.reload(counter());
    assert_eq!(listening(&stage), 1);
    stage.reload(served(9091, &[]));
    assert!(stage.told("telemetry: Listening on 192.0.2.1:9091"));
    stage.reload(bare());
    assert_eq!(listening(&stage), 2);
    let addresses: Vec<Option<SocketAddr>> = stage
        .exposed
        .iter()
        .map(|plan| plan.telemetry.as_ref().map(|served| served.address))
        .collect();
    assert_eq!(addresses, [Some(at(9090)), Some(at(9090)), Some(at(9091)), None]);
}

#[test]
fn an_unchanged_sensor_keeps_its_ticks_over_a_reload() {
    let mut stage = Stage::running(counter());
    stage.after(4_000);
    stage.reload(counter());
    assert_eq!(stage.after(1_000), ["start c.sensor"]);
    stage.reload(counter());
    stage.prints("c.sensor", "5");
    stage.exits("c.sensor", 0);
    assert_eq!(stage.values(), [5.0], "a run that is under way counts");
}

#[test]
fn a_changed_sensor_is_killed_and_begins_anew() {
    let mut stage = Stage::running(counter());
    stage.after(5_000);
    let other = served(9090, &[sensor("c", SensorKind::Gauge)]);
    assert_eq!(stage.reload(other), ["send SIGKILL to the Tree of c.sensor"]);
    assert_eq!(stage.exposed.len(), 1, "it waits for the old one");
    stage.prints("c.sensor", "5");
    stage.dies("c.sensor", Signal::KILL);
    assert_eq!(stage.exposed.len(), 2);
    assert_eq!(stage.values(), [0.0; 0]);
    stage.gives("-1");
    assert_eq!(stage.values(), [-1.0]);
}

#[test]
fn a_refused_reload_is_measured_and_changes_nothing() {
    let mut stage = Stage::running(counter());
    stage.signal(Signal::HUP);
    let ticket = stage.loads.pop().unwrap();
    stage.step(Event::Loaded(ticket, Loaded::Refused("e".into())));
    stage.reload(counter());
    let reloads: Vec<&Measurement> = stage
        .measured
        .iter()
        .filter(|measured| matches!(measured, Measurement::Reloaded { .. }))
        .collect();
    let (refused, accepted) = (
        Measurement::Reloaded { accepted: false },
        Measurement::Reloaded { accepted: true },
    );
    assert_eq!(reloads, [&refused, &accepted]);
    assert_eq!(stage.exposed.len(), 2);
}

#[test]
fn every_run_and_every_answer_is_measured_with_its_time() {
    let mut stage = Stage::running(full());
    stage.exits("preStart", 0);
    stage.after(10_000);
    stage.after(300);
    stage.exits("app.health", 0);
    stage.after(20);
    stage.answers("app", Answer::Done);
    stage.answers("db?", instances(&[1, 2]));
    let role = Role::Health {
        service: "app".into(),
        id: "app-host".into(),
    };
    let db = WatchedBackend {
        name: "db".into(),
        tag: None,
    };
    for measurement in [
        Measurement::Ran {
            role,
            result: RunResult::Passed,
            took: Duration::from_millis(300),
        },
        Measurement::Answered {
            operation: CatalogueOperation::Register("app".into()),
            outcome: Outcome::Done,
            took: Duration::from_millis(20),
        },
        Measurement::Answered {
            operation: CatalogueOperation::List(db.clone()),
            outcome: Outcome::Done,
            took: Duration::from_millis(320),
        },
        Measurement::Seen {
            backend: db,
            instances: 2,
        },
    ] {
        assert!(stage.has_measured(&measurement), "{measurement:?}");
    }
}

#[test]
fn failures_unknown_entries_and_deregistrations_are_measured_separately() {
    let mut stage = registered();
    stage.after(10_000);
    stage.exits("app.health", 0);
    stage.answers("app", Answer::Unknown("who?".into(), None));
    stage.answers("app", Answer::Failed("refused".into()));
    stage.signal(Signal::TERM);
    stage.answers("app", Answer::Done);
    let asked: Vec<(CatalogueOperation, Outcome)> = stage
        .measured
        .iter()
        .filter_map(|measured| match measured {
            Measurement::Answered {
                operation, outcome, ..
            } => Some((operation.clone(), *outcome)),
            _ => None,
        })
        .collect();
    let app = || "app".to_string();
    assert_eq!(
        asked[asked.len() - 3..],
        [
            (CatalogueOperation::Renew(app()), Outcome::Unknown),
            (CatalogueOperation::Register(app()), Outcome::Failed),
            (CatalogueOperation::Deregister(app()), Outcome::Done),
        ]
    );
}

#[test]
fn orphans_and_restarts_are_measured() {
    let mut stage = registered();
    stage.step(Event::OrphanReaped(Pid(9)));
    assert!(stage.has_measured(&Measurement::OrphanReaped));
    assert_eq!(stage.exits("coprocess[side]", 1), ["start coprocess[side]"]);
    let side = Role::Coprocess { name: "side".into() };
    assert!(stage.has_measured(&Measurement::Restarted(side.clone())));
    let restarts = |role: &Role| {
        stage
            .measured
            .iter()
            .filter(|m| **m == Measurement::Restarted(role.clone()))
            .count()
    };
    assert_eq!(restarts(&side), 1);
    assert_eq!(restarts(&Role::Task { name: "clean".into() }), 0);
}

#[test]
fn the_status_has_the_state_of_all_units() {
    let mut stage = registered();
    let app = stage.children["APP"];
    stage.step(Event::Started(app, Pid(70)));
    stage.after(10_000);
    stage.prints("app.health", "all is well\n");
    stage.after(100);
    stage.exits("app.health", 3);
    stage.after(10_000);
    stage.answers("db?", instances(&[5]));
    let status = stage.status();
    assert_eq!(
        (status.at, status.phase, status.maintenance),
        (stage.now, Phase::Running, false)
    );
    let [service] = status.services.as_slice() else {
        panic!("{:?}", status.services);
    };
    assert_eq!(
        (service.registration.id.as_str(), service.registered),
        ("app-host", true)
    );
    let check = service.check.as_ref().unwrap().last.as_ref().unwrap();
    assert_eq!(check.ended, Instant::after_start(Duration::from_millis(20_100)));
    assert_eq!(
        (check.took, check.result),
        (Duration::from_millis(100), RunResult::Failed)
    );
    assert_eq!((check.output.as_str(), check.ending.code()), ("all is well\n", 3));
    let [backend] = status.backends.as_slice() else {
        panic!("{:?}", status.backends);
    };
    assert_eq!(backend.instances, [("192.0.2.2".into(), 5)]);
    assert_eq!(backend.changed, Some(stage.now));
    let job = |label: &str| -> &JobStatus {
        status
            .jobs
            .iter()
            .find(|job| job.role.to_string() == label)
            .unwrap()
    };
    assert_eq!((job("APP").pid, job("APP").restarts), (Some(Pid(70)), 0));
    assert!(job("task[clean]").last.is_some());
    assert_eq!(job("coprocess[side]").last, None);
}

#[test]
fn after_the_exit_a_status_request_is_not_answered() {
    let mut stage = Stage::running(bare());
    stage.exits("APP", 0);
    assert_eq!(stage.step(Event::StatusAsked(StatusRequest(1))), [""; 0]);
}
