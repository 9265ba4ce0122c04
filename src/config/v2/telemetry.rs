//! The section `telemetry`: an endpoint, its sensors, and the service that registers the endpoint in the
//! catalogue.

use super::error::{DurationKey, ServiceError, Subject, TelemetryError};
use super::services::{PORTS, SECONDS};
use crate::config::Target;
use crate::config::keys::{Section, command, default_id, duration, integer, interfaces, list, string, tags};
use crate::config::problem::Problems;
use crate::config::tree::Value;
use domain::plan::{
    HEARTBEATS_PER_INSPECTION, HealthActions, Output, Registration, Role, Sensor, SensorKind, Service,
    Telemetry, Trigger,
};
use domain::sensor::{is_own, series_of};
use domain::time::Duration;
use std::collections::HashMap;
use std::net::SocketAddr;

/// The name of the endpoint's service, and the period of its heartbeats.
const NAME: &str = "containerpilot";
const POLL: Duration = Duration::from_secs(5);
const TTL: Duration = Duration::from_secs(15);
/// The default port of the endpoint.
const PORT: u16 = 9090;
const KINDS: [SensorKind; 4] = [
    SensorKind::Counter,
    SensorKind::Gauge,
    SensorKind::Histogram,
    SensorKind::Summary,
];

/// Reads the section. Returns what is served, and the service that registers it. `services` are the others.
pub fn read(
    value: &Value<'_>,
    target: &Target<'_>,
    services: &[Service],
    problems: &mut Problems<'_>,
) -> Option<(Telemetry, Service)> {
    let mut section = Section::open(value, "an object", problems)?;
    let port = section
        .take("port")
        .map_or(Some(PORT), |value| port(value, problems));
    let address = interfaces(value, section.take("interfaces"), target, problems);
    let tags = section.take("tags").map(|value| tags(value, problems));
    let mut sensors: Vec<Sensor> = Vec::new();
    let mut series = HashMap::new();
    if let Some(value) = section.take("sensors") {
        list(value, "an array of sensors", problems, |value, problems| {
            let sensor = sensor(value, target, problems)?;
            refuse_twins(value, &sensor, &mut series, problems);
            sensors.push(sensor);
            Some(())
        });
    }
    section.close(problems);
    if services.iter().any(|service| service.registration.name == NAME) {
        problems.error(value, TelemetryError::NameIsTaken(NAME));
    }
    let address = SocketAddr::new(address?, port?);
    let service = service(value, target, address, tags.unwrap_or_default(), problems)?;
    let registration = &service.registration;
    let mut others = services.iter().map(|service| &service.registration);
    if let Some(other) = others.find(|other| other.id == registration.id && other.name != NAME) {
        problems.error(value, ServiceError::OneId(&other.name, registration));
    }
    Some((Telemetry { address, sensors }, service))
}

fn port(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<u16> {
    let port = integer(value, PORTS, problems)?;
    let port = u16::try_from(port).ok().filter(|port| *port > 0);
    if port.is_none() {
        problems.wrong(value, TelemetryError::PortOutOfRange, PORTS);
    }
    port
}

/// A service without a health check, because the endpoint exists as long as the shim.
fn service(
    value: &Value<'_>,
    target: &Target<'_>,
    address: SocketAddr,
    tags: Vec<String>,
    problems: &mut Problems<'_>,
) -> Option<Service> {
    let id = default_id(value, NAME, target, problems)?;
    let registration = Registration {
        id,
        name: NAME.into(),
        address: address.ip().into(),
        port: address.port(),
        tags,
        ttl: TTL,
        enable_tag_override: false,
        deregister_critical_after: None,
        attributes: Box::default(),
    };
    Some(Service {
        registration,
        poll: POLL,
        check: None,
        thresholds: None,
        checks: Vec::new(),
        actions: HealthActions::default(),
        heartbeats_per_inspection: HEARTBEATS_PER_INSPECTION,
    })
}

fn sensor(value: &Value<'_>, target: &Target<'_>, problems: &mut Problems<'_>) -> Option<Sensor> {
    let mut section = Section::open(value, "an object", problems)?;
    let mut text = |key| {
        section
            .take(key)
            .and_then(|value| string(value, problems))
            .unwrap_or_default()
    };
    let [namespace, subsystem, name, help, kind] =
        ["namespace", "subsystem", "name", "help", "type"].map(&mut text);
    let subject = Subject::Sensor(name);
    let kind = read_kind(value, kind, problems);
    let whole_name = whole_name(value, [namespace, subsystem, name], problems);
    if help.is_empty() {
        problems.error(value, TelemetryError::NoHelp(subject));
    }
    let poll = poll(value, &mut section, subject, problems);
    let missing = TelemetryError::NoCheck(subject);
    let check = section.take("check");
    if check.is_none() {
        problems.error(value, missing);
    }
    let run = check.and_then(|value| command::required(value, missing, target, problems));
    let limit = section.take("timeout");
    let run = command::limited(run, limit, &DurationKey::SensorTimeout(subject), problems);
    section.close(problems);
    let name = whole_name?;
    let role = Role::Sensor { name: name.clone() };
    let job = run?.job(role, Trigger::Every(poll?), Output::Capture);
    Some(Sensor {
        name,
        help: help.to_owned(),
        kind: kind?,
        job,
    })
}

fn read_kind(value: &Value<'_>, written: &str, problems: &mut Problems<'_>) -> Option<SensorKind> {
    let kind = KINDS.into_iter().find(|kind| kind.to_string() == written);
    if kind.is_none() {
        problems.error(value, TelemetryError::UnknownType(written, KINDS));
    }
    kind
}

fn poll(
    sensor: &Value<'_>,
    section: &mut Section<'_>,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> Option<Duration> {
    let Some(value) = section.take("poll") else {
        problems.error(sensor, TelemetryError::NoPoll(subject, SECONDS));
        return None;
    };
    let seconds = integer(value, SECONDS, problems)?;
    if seconds < 1 {
        problems.error(value, TelemetryError::NoPoll(subject, SECONDS));
    }
    duration::from_seconds(
        value,
        seconds,
        &DurationKey::Key("poll", subject),
        SECONDS,
        problems,
    )
}

/// The parts joined by `_`, without empty ones; if the last part is empty, the whole name is empty.
fn whole_name(value: &Value<'_>, parts: [&str; 3], problems: &mut Problems<'_>) -> Option<String> {
    let last_is_there = !parts[2].is_empty();
    let parts: Vec<&str> = parts
        .into_iter()
        .filter(|part| !part.is_empty() && last_is_there)
        .collect();
    let name = parts.join("_");
    let mut bytes = name.bytes();
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b':';
    let valid = bytes.next().is_some_and(letter) && bytes.all(|byte| letter(byte) || byte.is_ascii_digit());
    if !valid {
        problems.error(value, TelemetryError::MetricName(&name));
    }
    valid.then_some(name)
}

/// Refuses sensors that need the same series (TM-7). `taken` maps each series to its sensor.
fn refuse_twins(
    value: &Value<'_>,
    sensor: &Sensor,
    taken: &mut HashMap<String, String>,
    problems: &mut Problems<'_>,
) {
    let name = &sensor.name;
    let needed = series_of(sensor.kind, name);
    if needed.iter().any(|series| is_own(series)) {
        problems.error(value, TelemetryError::OwnMetric(name));
    }
    match needed.iter().find_map(|series| taken.get(series)) {
        Some(other) if other == name => {
            problems.error(value, TelemetryError::OneName(name));
        }
        Some(other) => {
            problems.error(value, TelemetryError::OneSeries(name, other));
        }
        None => {}
    }
    taken.extend(needed.into_iter().map(|series| (series, name.clone())));
}
