//! Sensors, measurements, and the status.

use super::*;
use crate::check::Health;
use crate::control::{ControlAnswer, ControlRequest, RequestNumber};
use crate::measurement::{CatalogueOperation, Outcome, RunResult, WatchedBackend};
use crate::sensor::Value;
use crate::status::{JobStatus, LONGEST_REPORT, MOST_RESULTS, Status};
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

impl Fixture {
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

    pub(super) fn status(&mut self) -> Status {
        let request = Event::Requested(RequestNumber(7), ControlRequest::Status);
        let effects = self.shim.step(self.now, request);
        match effects.as_slice() {
            [Effect::Answer(RequestNumber(7), ControlAnswer::Status(status))] => (**status).clone(),
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
    let mut fixture = Fixture::running(counter());
    assert_eq!(
        fixture.after(4_999),
        [""; 0],
        "the first one comes after one poll"
    );
    assert_eq!(fixture.after(1), ["start c.sensor"]);
    fixture.prints("c.sensor", "42\n");
    fixture.exits("c.sensor", 0);
    fixture.gives(" 1.5 ");
    assert_eq!(fixture.values(), [42.0, 1.5]);
}

#[test]
fn an_output_that_is_no_value_is_dropped_and_logged() {
    let mut fixture = Fixture::running(counter());
    for text in ["abc", "-1", "NaN"] {
        fixture.gives(text);
    }
    assert_eq!(fixture.values(), [0.0; 0]);
    let failed: Vec<&String> = fixture
        .logged
        .iter()
        .filter(|text| text.contains("gave no value"))
        .collect();
    let sentences = [
        "Sensor c gave no value: strconv.ParseFloat: parsing \"abc\": invalid syntax",
        "Sensor c gave no value: a counter never goes down, and -1 is negative (2 failures in a row)",
        "Sensor c gave no value: a counter takes finite numbers only, not NaN (3 failures in a row)",
    ];
    assert_eq!(failed, sentences);
    fixture.gives("3");
    assert!(fixture.has_logged("Sensor c gives values again after 3 failed runs"));
    assert_eq!(fixture.values(), [3.0]);
}

#[test]
fn a_failed_sensor_is_logged_at_a_high_level_once() {
    let failed = |times, at_full_level| Notice::SensorFailed {
        sensor: "c".into(),
        failure: crate::notice::Failure {
            cause: "exit status 1".into(),
            times,
            at_full_level,
        },
    };
    assert_eq!(failed(1, true).level(), Level::Error);
    assert_eq!(failed(2, false).level(), Level::Debug);
}

#[test]
fn a_run_that_fails_gives_no_value_whatever_it_printed() {
    let mut fixture = Fixture::running(counter());
    fixture.after(5_000);
    fixture.prints("c.sensor", "5");
    fixture.exits("c.sensor", 1);
    assert_eq!(fixture.values(), [0.0; 0]);
    assert!(fixture.has_logged("Sensor c gave no value: exit status 1"));
    fixture.after(5_000);
    fixture.is_missing("c.sensor");
    assert!(fixture.has_logged("Sensor c gave no value: no such file or directory"));
    fixture.after(5_000);
    fixture.exits("c.sensor", 0);
    assert_eq!(
        fixture.values(),
        [0.0; 0],
        "what an earlier run printed is forgotten"
    );
}

#[test]
fn a_sensor_that_takes_too_long_is_killed_with_its_group() {
    let mut fixture = Fixture::running(counter());
    fixture.after(5_000);
    assert_eq!(fixture.after(2_000), ["send SIGKILL to the Tree of c.sensor"]);
    fixture.prints("c.sensor", "5");
    fixture.dies("c.sensor", Signal::KILL);
    assert!(fixture.has_logged("c.sensor timeout after 2s"));
    assert_eq!(fixture.values(), [0.0; 0]);
    assert!(fixture.has_measured(&Measurement::Ran {
        role: Role::Sensor { name: "c".into() },
        result: RunResult::TimedOut,
        took: Duration::from_secs(2),
    }));
}

#[test]
fn sensors_do_not_run_in_maintenance() {
    let mut fixture = Fixture::running(counter());
    fixture.signal(Signal::USR1);
    assert_eq!(fixture.after(60_000), [""; 0]);
    fixture.signal(Signal::USR1);
    assert!(
        fixture
            .measured
            .ends_with(&[Measurement::Maintenance(true), Measurement::Maintenance(false)])
    );
    fixture.gives("1");
    assert_eq!(fixture.values(), [1.0]);
}

#[test]
fn a_stop_kills_a_sensor_that_runs_and_starts_none() {
    let mut fixture = Fixture::running(counter());
    fixture.after(5_000);
    let stop = [
        "send SIGKILL to the Tree of c.sensor",
        "send SIGTERM to the Leader of APP",
    ];
    assert_eq!(fixture.signal(Signal::TERM), stop);
    fixture.prints("c.sensor", "5");
    fixture.dies("c.sensor", Signal::KILL);
    assert_eq!(fixture.values(), [0.0; 0]);
    assert!(
        !fixture.has_logged("gave no value"),
        "it is not the sensor's fault"
    );
    assert_eq!(fixture.dies("APP", Signal::TERM), ["exit(143)"]);
}

#[test]
fn telemetry_is_served_from_the_moment_that_checks_begin() {
    let mut fixture = Fixture::new(Plan {
        pre_start: hook(Role::PreStart),
        ..counter()
    });
    fixture.step(Event::Begin);
    assert_eq!(fixture.exposed, [], "not while preStart runs");
    fixture.reload(Plan {
        pre_start: hook(Role::PreStart),
        ..served(9091, &[])
    });
    assert_eq!(fixture.exposed, []);
    fixture.exits("preStart", 0);
    assert_eq!(fixture.exposed.len(), 1);
    assert_eq!(
        fixture.exposed[0].telemetry.as_ref().map(|served| served.address),
        Some(at(9091))
    );
    assert!(fixture.has_logged("telemetry: Listening on 192.0.2.1:9091"));
}

#[test]
fn a_reload_serves_the_new_plan_and_says_where_if_that_is_elsewhere() {
    let mut fixture = Fixture::running(counter());
    let listening = |fixture: &Fixture| {
        fixture
            .logged
            .iter()
            .filter(|text| text.contains("Listening"))
            .count()
    };
    fixture.reload(counter());
    assert_eq!(listening(&fixture), 1);
    fixture.reload(served(9091, &[]));
    assert!(fixture.has_logged("telemetry: Listening on 192.0.2.1:9091"));
    fixture.reload(bare());
    assert_eq!(listening(&fixture), 2);
    let addresses: Vec<Option<SocketAddr>> = fixture
        .exposed
        .iter()
        .map(|plan| plan.telemetry.as_ref().map(|served| served.address))
        .collect();
    assert_eq!(addresses, [Some(at(9090)), Some(at(9090)), Some(at(9091)), None]);
}

#[test]
fn an_unchanged_sensor_keeps_its_ticks_over_a_reload() {
    let mut fixture = Fixture::running(counter());
    fixture.after(4_000);
    fixture.reload(counter());
    assert_eq!(fixture.after(1_000), ["start c.sensor"]);
    fixture.reload(counter());
    fixture.prints("c.sensor", "5");
    fixture.exits("c.sensor", 0);
    assert_eq!(fixture.values(), [5.0], "a run that is under way counts");
}

#[test]
fn a_changed_sensor_is_killed_and_begins_anew() {
    let mut fixture = Fixture::running(counter());
    fixture.after(5_000);
    let other = served(9090, &[sensor("c", SensorKind::Gauge)]);
    assert_eq!(fixture.reload(other), ["send SIGKILL to the Tree of c.sensor"]);
    assert_eq!(fixture.exposed.len(), 1, "it waits for the old one");
    fixture.prints("c.sensor", "5");
    fixture.dies("c.sensor", Signal::KILL);
    assert_eq!(fixture.exposed.len(), 2);
    assert_eq!(fixture.values(), [0.0; 0]);
    fixture.gives("-1");
    assert_eq!(fixture.values(), [-1.0]);
}

#[test]
fn a_refused_reload_is_measured_and_changes_nothing() {
    let mut fixture = Fixture::running(counter());
    fixture.signal(Signal::HUP);
    let ticket = fixture.loads.pop().unwrap();
    fixture.step(Event::Loaded(ticket, Loaded::Refused("e".into())));
    fixture.reload(counter());
    let reloads: Vec<&Measurement> = fixture
        .measured
        .iter()
        .filter(|measured| matches!(measured, Measurement::Reloaded { .. }))
        .collect();
    let (refused, accepted) = (
        Measurement::Reloaded { accepted: false },
        Measurement::Reloaded { accepted: true },
    );
    assert_eq!(reloads, [&refused, &accepted]);
    assert_eq!(fixture.exposed.len(), 2);
}

#[test]
fn the_status_has_the_beginning_of_the_errors_of_a_refused_reload() {
    let mut fixture = Fixture::running(counter());
    assert_eq!(fixture.status().last_reload, None);
    fixture.signal(Signal::HUP);
    let ticket = fixture.loads.pop().unwrap();
    let report = "é".repeat(LONGEST_REPORT);
    fixture.step(Event::Loaded(ticket, Loaded::Refused(report.clone())));
    let reload = fixture.status().last_reload.unwrap();
    assert_eq!(reload.at, fixture.now);
    let refused = reload.refused.unwrap();
    assert!(refused.len() == LONGEST_REPORT && report.starts_with(&refused));
    fixture.reload(counter());
    assert_eq!(fixture.status().last_reload.unwrap().refused, None);
}

#[test]
fn a_service_is_shown_as_registered_only_until_its_ttl_ends_without_a_heartbeat() {
    let mut fixture = registered();
    let service = |fixture: &mut Fixture| fixture.status().services.remove(0);
    let before = service(&mut fixture);
    assert!(before.registered);
    assert_eq!(before.last_heartbeat, Some(fixture.now));
    assert_eq!(
        (before.health, before.since),
        (Health::Healthy, Some(fixture.now))
    );
    let ttl = u64::try_from(before.registration.ttl.as_millis()).unwrap();
    fixture.after(10_000);
    fixture.exits("app.health", 1);
    let failed = service(&mut fixture);
    assert_eq!(
        (failed.health, failed.since),
        (Health::Unhealthy, Some(fixture.now))
    );
    fixture.after(ttl - 10_001);
    assert!(service(&mut fixture).registered);
    fixture.after(1);
    let after = service(&mut fixture);
    assert!(!after.registered, "the entry has expired");
    assert_eq!(after.last_heartbeat, before.last_heartbeat);
}

#[test]
fn an_outage_of_the_catalogue_is_logged_and_measured_once_and_the_parts_are_details_then() {
    let mut fixture = Fixture::running(Plan {
        backends: vec![backend("db"), backend("cache")],
        ..bare()
    });
    fixture.after(10_000);
    fixture.answers("db?", instances(&[1]));
    fixture.answers("cache?", instances(&[2]));
    assert!(fixture.has_measured(&Measurement::CatalogueAvailable(true)));
    let refused = || Answer::Failed("refused".into());
    for _ in 0..4 {
        fixture.after(10_000);
        fixture.answers("db?", refused());
        fixture.answers("cache?", refused());
    }
    assert!(fixture.has_measured(&Measurement::CatalogueAvailable(false)));
    let catalogue = fixture.status().catalogue;
    assert_eq!((catalogue.available, catalogue.failures), (Some(false), 8));
    fixture.after(10_000);
    fixture.answers("db?", instances(&[1]));
    fixture.answers("cache?", instances(&[2]));
    assert_eq!(fixture.status().catalogue.available, Some(true));
    assert_eq!(fixture.how_often("The catalogue fails all requests: refused"), 1);
    assert_eq!(fixture.how_often("The catalogue answers again after"), 1);
    assert_eq!(fixture.how_often("The catalogue answers again for"), 0);
    let loud = fixture.warnings().filter(|text| text.contains("Failed to query"));
    assert_eq!(loud.count(), 1, "the first, before the outage was one");
}

#[test]
fn every_run_and_every_answer_is_measured_with_its_time() {
    let mut fixture = Fixture::running(full());
    fixture.exits("preStart", 0);
    fixture.after(10_000);
    fixture.after(300);
    fixture.exits("app.health", 0);
    fixture.after(20);
    fixture.answers("app", Answer::Done);
    fixture.answers("db?", instances(&[1, 2]));
    let role = Role::Health {
        service: "app".into(),
        id: "app-host".into(),
        check: None,
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
        assert!(fixture.has_measured(&measurement), "{measurement:?}");
    }
}

#[test]
fn telemetry_that_a_reload_adds_gets_the_instances_that_were_seen() {
    let mut fixture = registered();
    fixture.after(10_000);
    fixture.answers("db?", instances(&[1, 2]));
    let seen = |fixture: &Fixture| {
        let seen = |measured: &&Measurement| matches!(measured, Measurement::Seen { instances: 2, .. });
        fixture.measured.iter().filter(seen).count()
    };
    assert_eq!(seen(&fixture), 1);
    fixture.reload(full());
    for killed in ["coprocess[side]", "task[clean]"] {
        fixture.dies(killed, Signal::KILL);
    }
    assert_eq!(seen(&fixture), 2);
}

#[test]
fn failures_unknown_entries_and_deregistrations_are_measured_separately() {
    let mut fixture = registered();
    fixture.after(10_000);
    fixture.exits("app.health", 0);
    fixture.answers("app", Answer::Unknown("who?".into(), None));
    fixture.answers("app", Answer::Failed("refused".into()));
    fixture.signal(Signal::TERM);
    fixture.answers("app", Answer::Done);
    let asked: Vec<(CatalogueOperation, Outcome)> = fixture
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
    let mut fixture = registered();
    fixture.step(Event::OrphanReaped(Pid(9)));
    assert!(fixture.has_measured(&Measurement::OrphanReaped));
    assert_eq!(fixture.exits("coprocess[side]", 1), ["start coprocess[side]"]);
    let side = Role::Coprocess { name: "side".into() };
    assert!(fixture.has_measured(&Measurement::Restarted(side.clone())));
    let restarts = |role: &Role| {
        fixture
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
    let mut fixture = registered();
    let app = fixture.children["APP"];
    fixture.step(Event::Started(app, Pid(70)));
    fixture.after(10_000);
    fixture.prints("app.health", "all is well\n");
    fixture.after(100);
    fixture.exits("app.health", 3);
    fixture.after(10_000);
    fixture.answers("db?", instances(&[5]));
    let status = fixture.status();
    assert_eq!(
        (status.at, status.phase, status.maintenance),
        (fixture.now, Phase::Running, false)
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
    assert_eq!(backend.changed, Some(fixture.now));
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
    let mut fixture = Fixture::running(bare());
    fixture.exits("APP", 0);
    let request = Event::Requested(RequestNumber(1), ControlRequest::Status);
    assert_eq!(fixture.step(request), [""; 0]);
}

/// What [`Fixture::measured_is_shown`] does not see: how often the state is measured.
#[test]
fn the_state_of_a_service_is_measured_when_it_changes_and_when_a_plan_comes_into_force() {
    let mut fixture = registered();
    let measured = |fixture: &Fixture| {
        let states = fixture.measured.iter().filter_map(|measured| match measured {
            Measurement::ServiceState {
                healthy,
                registered_until,
                ..
            } => Some((*healthy, registered_until.is_some())),
            _ => None,
        });
        states.collect::<Vec<_>>()
    };
    let mut expected = vec![(false, false), (true, false), (true, true)];
    assert_eq!(measured(&fixture), expected);
    fixture.after(1_000);
    assert_eq!(measured(&fixture), expected, "nothing has changed");
    fixture.after(9_000);
    fixture.exits("app.health", 1);
    expected.push((false, true));
    fixture.reload(full());
    for killed in ["coprocess[side]", "task[clean]"] {
        fixture.dies(killed, Signal::KILL);
    }
    expected.push((false, true));
    fixture.signal(Signal::USR1);
    fixture.answers("app", Answer::Done);
    expected.push((false, false));
    assert_eq!(measured(&fixture), expected);
    let until = fixture.measured.iter().find_map(|measured| match measured {
        Measurement::ServiceState { registered_until, .. } => *registered_until,
        _ => None,
    });
    assert_eq!(until, Some(Instant::after_start(Duration::from_secs(10 + 30))));
}

#[test]
fn the_status_has_the_last_results_of_each_check() {
    let mut fixture = registered();
    let recent = |fixture: &mut Fixture| fixture.status().services.remove(0).recent;
    assert_eq!(recent(&mut fixture), [RunResult::Passed]);
    let check = |fixture: &mut Fixture, code| {
        fixture.after(10_000);
        fixture.exits("app.health", code);
        fixture.requests.clear();
    };
    check(&mut fixture, 1);
    assert_eq!(recent(&mut fixture), [RunResult::Passed, RunResult::Failed]);
    for _ in 0..MOST_RESULTS - 1 {
        check(&mut fixture, 1);
    }
    assert_eq!(recent(&mut fixture), [RunResult::Failed; MOST_RESULTS]);
    fixture.after(10_000);
    fixture.signal(Signal::TERM);
    fixture.dies("app.health", Signal::KILL);
    let stopped = recent(&mut fixture);
    assert_eq!(
        (stopped.len(), stopped.last()),
        (MOST_RESULTS, Some(&RunResult::Stopped))
    );
}
