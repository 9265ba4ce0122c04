//! `telemetry` (behaviour-v2.md 2.7, 9.3). The section is checked, and not served yet: nothing of it is in the
//! plan.

use super::section::{Section, integer, list, string};
use super::services::{PORTS, SECONDS, interfaces, tags};
use super::{command, duration};
use crate::config::Target;
use crate::config::json::Node;
use crate::config::problem::Problems;

const TYPES: [&str; 4] = ["counter", "gauge", "histogram", "summary"];

/// Checks the section.
pub fn read(node: &Node<'_>, target: &Target<'_>, problems: &mut Problems) {
    let Some(mut section) = Section::open(node, "an object", problems) else {
        return;
    };
    if let Some(node) = section.take("port") {
        port(&node, problems);
    }
    interfaces(node, section.take("interfaces"), target, problems);
    section.take("tags").map(|node| tags(&node, problems));
    let mut names = Vec::new();
    if let Some(node) = section.take("sensors") {
        list(&node, "an array of sensors", problems, |node, problems| {
            sensor(node, &mut names, problems)
        });
    }
    section.close(problems);
    problems.warn(node, "telemetry is not served yet, the section is ignored");
}

fn port(node: &Node<'_>, problems: &mut Problems) {
    let port = integer(node, PORTS, problems);
    if port.is_some_and(|port| !(1..=65535).contains(&port)) {
        problems.wrong(node, "`port` is out of range", PORTS);
    }
}

fn sensor(node: &Node<'_>, names: &mut Vec<String>, problems: &mut Problems) -> Option<()> {
    let mut section = Section::open(node, "an object", problems)?;
    let mut text = |key| {
        section
            .take(key)
            .and_then(|node| string(&node, problems))
            .unwrap_or_default()
    };
    let [namespace, subsystem, name, help] = ["namespace", "subsystem", "name", "help"].map(&mut text);
    let kind = text("type");
    if !TYPES.contains(&kind.as_str()) {
        problems.add(
            node,
            format!("invalid sensor type: {kind}, allowed are {}", TYPES.join(", ")),
        );
    }
    full_name(node, [namespace, subsystem, name.clone()], names, problems);
    if help.is_empty() {
        problems.add(node, format!("`help` must not be blank in sensor {name}"));
    }
    poll(node, &mut section, &name, problems);
    let missing = format!("could not parse check in sensor {name}: received zero-length argument");
    match section.take("check") {
        Some(node) => drop(command::required(&node, &missing, problems)),
        None => problems.add(node, missing),
    }
    let timeout = format!("could not parse timeout in sensor {name}");
    section
        .take("timeout")
        .and_then(|node| duration::limit(&node, &timeout, problems));
    section.close(problems);
    Some(())
}

fn poll(node: &Node<'_>, section: &mut Section<'_>, name: &str, problems: &mut Problems) {
    let given = section.take("poll");
    let seconds = given.as_ref().and_then(|node| integer(node, SECONDS, problems));
    if given.is_none() || seconds.is_some_and(|seconds| seconds < 1) {
        let place = given.as_ref().unwrap_or(node);
        problems.add(
            place,
            format!("`poll` must be > 0 in sensor {name}, allowed is {SECONDS}"),
        );
    }
}

/// The parts joined by `_`, empty ones left out; an empty last part makes the whole empty. Two sensors of one
/// name would hide each other (TM-7).
fn full_name(node: &Node<'_>, parts: [String; 3], names: &mut Vec<String>, problems: &mut Problems) {
    let last_is_there = !parts[2].is_empty();
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|part| !part.is_empty() && last_is_there)
        .collect();
    let name = parts.join("_");
    let mut bytes = name.bytes();
    let letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b':';
    let valid = bytes.next().is_some_and(letter) && bytes.all(|byte| letter(byte) || byte.is_ascii_digit());
    if !valid {
        problems.add(node, format!("\"{name}\" is not a valid metric name"));
    } else if names.contains(&name) {
        problems.add(node, format!("there are two sensors called {name}"));
    }
    names.push(name);
}
