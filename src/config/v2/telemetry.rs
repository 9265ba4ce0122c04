//! `telemetry` (behaviour-v2.md 2.7, 9.3): an endpoint, its sensors, and the service that tells a catalogue
//! where it is.

use super::section::{Section, integer, list, string};
use super::services::{PORTS, SECONDS, default_id, interfaces, refuse_one_id, tags};
use super::{command, duration};
use crate::config::Target;
use crate::config::json::Node;
use crate::config::problem::Problems;
use domain::plan::{Job, Output, Registration, Role, Sensor, SensorKind, Service, Telemetry, Trigger};
use domain::sensor::{is_own, series_of};
use domain::time::Duration;
use std::collections::HashMap;
use std::net::SocketAddr;

/// The name of the endpoint's own service (behaviour-v2.md 4.1), and its beat.
const NAME: &str = "containerpilot";
const POLL: Duration = Duration::from_secs(5);
const TTL: Duration = Duration::from_secs(15);
/// Where the endpoint listens when no port is given.
const PORT: u16 = 9090;
const KINDS: [SensorKind; 4] = [
    SensorKind::Counter,
    SensorKind::Gauge,
    SensorKind::Histogram,
    SensorKind::Summary,
];

/// Reads the section: what is served, and the service it is registered as. `services` are the others.
pub fn read(
    node: &Node<'_>,
    target: &Target<'_>,
    services: &[Service],
    problems: &mut Problems,
) -> Option<(Telemetry, Service)> {
    let mut section = Section::open(node, "an object", problems)?;
    let port = section
        .take("port")
        .map_or(Some(PORT), |node| port(&node, problems));
    let address = interfaces(node, section.take("interfaces"), target, problems);
    let tags = section.take("tags").map(|node| tags(&node, problems));
    let mut sensors: Vec<Sensor> = Vec::new();
    let mut series = HashMap::new();
    if let Some(node) = section.take("sensors") {
        list(&node, "an array of sensors", problems, |node, problems| {
            let sensor = sensor(node, problems)?;
            refuse_twins(node, &sensor, &mut series, problems);
            sensors.push(sensor);
            Some(())
        });
    }
    section.close(problems);
    if services.iter().any(|service| service.registration.name == NAME) {
        problems.add(
            node,
            format!("there are two services called {NAME}: telemetry is registered under that name"),
        );
    }
    let address = SocketAddr::new(address?, port?);
    let service = service(node, target, address, tags.unwrap_or_default(), problems)?;
    let registration = &service.registration;
    let mut others = services.iter().map(|service| &service.registration);
    if let Some(other) = others.find(|other| other.id == registration.id && other.name != NAME) {
        refuse_one_id(node, registration, &other.name, problems);
    }
    Some((Telemetry { address, sensors }, service))
}

fn port(node: &Node<'_>, problems: &mut Problems) -> Option<u16> {
    let port = integer(node, PORTS, problems)?;
    let port = u16::try_from(port).ok().filter(|port| *port > 0);
    if port.is_none() {
        problems.wrong(node, "`port` is out of range", PORTS);
    }
    port
}

/// A service without a health check: the endpoint lives as long as the shim.
fn service(
    node: &Node<'_>,
    target: &Target<'_>,
    address: SocketAddr,
    tags: Vec<String>,
    problems: &mut Problems,
) -> Option<Service> {
    let id = default_id(node, NAME, target, problems)?;
    let registration = Registration {
        id,
        name: NAME.into(),
        address: address.ip(),
        port: address.port(),
        tags,
        ttl: TTL,
        enable_tag_override: false,
        deregister_critical_after: None,
    };
    Some(Service {
        registration,
        poll: POLL,
        check: None,
    })
}

fn sensor(node: &Node<'_>, problems: &mut Problems) -> Option<Sensor> {
    let mut section = Section::open(node, "an object", problems)?;
    let mut text = |key| {
        section
            .take(key)
            .and_then(|node| string(&node, problems))
            .unwrap_or_default()
    };
    let [namespace, subsystem, name, help, kind] =
        ["namespace", "subsystem", "name", "help", "type"].map(&mut text);
    let kind = read_kind(node, &kind, problems);
    let whole_name = whole_name(node, [&namespace, &subsystem, &name], problems);
    if help.is_empty() {
        problems.add(node, format!("`help` must not be blank in sensor {name}"));
    }
    let poll = poll(node, &mut section, &name, problems);
    let missing = format!("could not parse check in sensor {name}: received zero-length argument");
    let check = section.take("check");
    if check.is_none() {
        problems.add(node, &missing);
    }
    let command = check.and_then(|node| command::required(&node, &missing, problems));
    let timeout = format!("could not parse timeout in sensor {name}");
    let time_limit = section
        .take("timeout")
        .and_then(|node| duration::limit(&node, &timeout, problems));
    section.close(problems);
    let name = whole_name?;
    let role = Role::Sensor { name: name.clone() };
    let job = Job {
        time_limit,
        ..Job::new(role, command?, Trigger::Every(poll?), Output::Capture)
    };
    Some(Sensor {
        name,
        help,
        kind: kind?,
        job,
    })
}

fn read_kind(node: &Node<'_>, written: &str, problems: &mut Problems) -> Option<SensorKind> {
    let kind = KINDS.into_iter().find(|kind| kind.to_string() == written);
    if kind.is_none() {
        let allowed = KINDS.map(|kind| kind.to_string()).join(", ");
        problems.add(
            node,
            format!("invalid sensor type: {written}, allowed are {allowed}"),
        );
    }
    kind
}

fn poll(node: &Node<'_>, section: &mut Section<'_>, name: &str, problems: &mut Problems) -> Option<Duration> {
    let given = section.take("poll");
    let seconds = given.as_ref().and_then(|node| integer(node, SECONDS, problems));
    if given.is_none() || seconds.is_some_and(|seconds| seconds < 1) {
        let place = given.as_ref().unwrap_or(node);
        problems.add(
            place,
            format!("`poll` must be > 0 in sensor {name}, allowed is {SECONDS}"),
        );
    }
    let place = given.as_ref().unwrap_or(node);
    duration::from_seconds(
        place,
        seconds?,
        &format!("`poll` in sensor {name}"),
        SECONDS,
        problems,
    )
}

/// The parts joined by `_`, empty ones left out; an empty last part makes the whole empty.
fn whole_name(node: &Node<'_>, parts: [&str; 3], problems: &mut Problems) -> Option<String> {
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
        problems.add(node, format!("\"{name}\" is not a valid metric name"));
    }
    valid.then_some(name)
}

/// Two metrics that need one name would hide each other (TM-7). `taken` says which sensor a series belongs to.
fn refuse_twins(
    node: &Node<'_>,
    sensor: &Sensor,
    taken: &mut HashMap<String, String>,
    problems: &mut Problems,
) {
    let name = &sensor.name;
    let needed = series_of(sensor.kind, name);
    if needed.iter().any(|series| is_own(series)) {
        problems.add(
            node,
            format!("{name} is in the way of a metric that is there without any sensor"),
        );
    }
    match needed.iter().find_map(|series| taken.get(series)) {
        Some(other) if other == name => {
            problems.add(node, format!("there are two sensors called {name}"));
        }
        Some(other) => {
            problems.add(node, format!("{name} and {other} need series of one name"));
        }
        None => {}
    }
    taken.extend(needed.into_iter().map(|series| (series, name.clone())));
}
