//! The sections `services` and `backends` (docs/development/behaviour.md, rows CFG-*).

use super::error::{DurationKey, ServiceError, Subject, Warning};
use super::registration::{self, Abilities};
use super::{checks, handlers, jobs};
use crate::config::Target;
use crate::config::keys::{
    self, Section, boolean, command, default_id, duration, integer, list, string, tags, text, written_id,
};
use crate::config::problem::Problems;
use crate::config::tree::Value;
use domain::plan::{Backend, HEARTBEATS_PER_INSPECTION, Registration, Role, Service};
use domain::time::Duration;
use std::collections::{HashMap, HashSet};

/// The allowed periods, for messages.
pub const SECONDS: &str = "a whole number of seconds from 1";
/// The allowed ports, for messages.
pub const PORTS: &str = "a whole number from 1 to 65535";
/// Reads `services`. Two services with the same name or ID are refused, because they would overwrite each
/// other (CFG-16).
pub fn read_services(
    value: &Value<'_>,
    target: &Target<'_>,
    abilities: Abilities<'_>,
    problems: &mut Problems<'_>,
) -> Vec<Service> {
    let mut names: HashSet<String> = HashSet::new();
    let mut ids: HashMap<String, String> = HashMap::new();
    list(value, "an array of services", problems, |value, problems| {
        let service = service(value, target, abilities, problems)?;
        let registration = &service.registration;
        if !names.insert(registration.name.clone()) {
            problems.error(value, ServiceError::OneName(&registration.name));
        } else if let Some(other) = ids.get(&registration.id) {
            problems.error(value, ServiceError::OneId(other, registration));
        }
        ids.insert(registration.id.clone(), registration.name.clone());
        Some(service)
    })
}

fn service(
    value: &Value<'_>,
    target: &Target<'_>,
    abilities: Abilities<'_>,
    problems: &mut Problems<'_>,
) -> Option<Service> {
    let mut section = Section::open(value, "an object", problems)?;
    let name = name(value, &mut section, problems);
    let subject = Subject::Service(name.unwrap_or_default());
    let poll = seconds(value, &mut section, "poll", subject, problems);
    let ttl = seconds(value, &mut section, "ttl", subject, problems);
    let port = port(value, &mut section, subject, problems);
    let (checks, actions) = checks::read(&mut section, subject, poll, target, problems);
    let address = registration::address(value, &mut section, subject, target, problems);
    let attributes = registration::attributes(&mut section, port, abilities, subject, problems);
    let tags = section
        .take("tags")
        .map(|value| tags(value, problems))
        .unwrap_or_default();
    let consul = section
        .take("consul")
        .and_then(|value| consul(value, subject, problems));
    let given_id = section.take("id");
    section.close(problems);
    let id = match given_id {
        Some(given) => written_id(given, &subject, problems),
        None => default_id(value, name.unwrap_or_default(), target, problems),
    };
    let (name, poll, ttl) = (name?, poll?, ttl?);
    if ttl <= poll {
        problems.warning(value, Warning::ShortTtl(subject));
    }
    let id = id?;
    let (enable_tag_override, deregister_critical_after) = consul.unwrap_or_default();
    let registration = Registration {
        id,
        name: name.to_owned(),
        address: address?,
        port: port?,
        tags,
        ttl,
        enable_tag_override,
        deregister_critical_after,
        attributes: Box::new(attributes),
    };
    let actions = actions.of(name, &registration.id);
    let (check, thresholds, checks) = checks.of(name, &registration.id, poll);
    Some(Service {
        registration,
        poll,
        check,
        thresholds,
        checks,
        actions,
        heartbeats_per_inspection: HEARTBEATS_PER_INSPECTION,
    })
}

/// Reads `backends`.
pub fn read_backends(
    value: &Value<'_>,
    target: &Target<'_>,
    abilities: Abilities<'_>,
    problems: &mut Problems<'_>,
) -> Vec<Backend> {
    list(value, "an array of backends", problems, |value, problems| {
        backend(value, target, abilities, problems)
    })
}

fn backend(
    value: &Value<'_>,
    target: &Target<'_>,
    abilities: Abilities<'_>,
    problems: &mut Problems<'_>,
) -> Option<Backend> {
    let mut section = Section::open(value, "an object", problems)?;
    let name = name(value, &mut section, problems);
    let subject = Subject::Backend(name.unwrap_or_default());
    let on_change = section.take("onChange");
    if on_change.is_none() {
        problems.error(value, ServiceError::NoHandler(subject));
    }
    let missing = ServiceError::NoHandler(subject);
    let on_change = on_change.and_then(|value| command::required(value, missing, target, problems));
    let poll = seconds(value, &mut section, "poll", subject, problems);
    let tag = text(&mut section, "tag", problems);
    let filter = registration::filter(&mut section, abilities, subject, problems);
    let limit = section.take("timeout");
    let on_change = command::limited(on_change, limit, &DurationKey::HandlerTimeout(subject), problems);
    let timing = handlers::timing(&mut section, subject, problems);
    let json = handlers::stdin(&mut section, subject, problems);
    section.close(problems);
    let (name, poll, on_change) = (name?, poll?, on_change?);
    let role = Role::OnChange {
        backend: name.to_owned(),
    };
    let on_change = jobs::on_demand(role, on_change);
    Some(Backend {
        name: name.to_owned(),
        tag,
        filter,
        poll,
        on_change,
        timing,
        json,
    })
}

fn name<'v>(value: &Value<'_>, section: &mut Section<'v>, problems: &mut Problems<'_>) -> Option<&'v str> {
    let Some(given) = section.take("name") else {
        problems.error(value, ServiceError::NoName);
        return None;
    };
    let name = string(given, problems)?;
    if name.is_empty() {
        let allowed = "a name of lower-case letters, digits and dashes";
        problems.wrong(given, ServiceError::NoName, allowed);
        return None;
    }
    if !follows_the_rule(name) {
        problems.warning(given, Warning::Name);
    }
    Some(name)
}

/// Whether a name is a letter followed by letters, digits or dashes (CFG-23; one letter alone is accepted).
fn follows_the_rule(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    first && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn seconds(
    value: &Value<'_>,
    section: &mut Section<'_>,
    key: &'static str,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> Option<Duration> {
    let (value, seconds) = positive(value, section, key, subject, SECONDS, problems)?;
    duration::from_seconds(value, seconds, &DurationKey::Key(key, subject), SECONDS, problems)
}

fn port(
    value: &Value<'_>,
    section: &mut Section<'_>,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> Option<u16> {
    let (value, port) = positive(value, section, "port", subject, PORTS, problems)?;
    let port = u16::try_from(port).ok();
    if port.is_none() {
        problems.wrong(value, ServiceError::PortTooLarge(subject), PORTS);
    }
    port
}

/// A whole number greater than zero, and its value.
fn positive<'v>(
    value: &Value<'_>,
    section: &mut Section<'v>,
    key: &'static str,
    subject: Subject<'_>,
    allowed: &'static str,
    problems: &mut Problems<'_>,
) -> Option<(&'v Value<'v>, i64)> {
    let Some(given) = section.take(key) else {
        problems.error(value, ServiceError::Missing(key, subject, allowed));
        return None;
    };
    let number = integer(given, allowed, problems)?;
    if number < 1 {
        problems.wrong(given, ServiceError::NotPositive(key, subject), allowed);
    }
    (number > 0).then_some((given, number))
}

/// The options for Consul only: enableTagOverride and deregisterCriticalServiceAfter.
fn consul(
    value: &Value<'_>,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> Option<(bool, Option<String>)> {
    let mut section = Section::open(value, "an object", problems)?;
    let tag_override = section
        .take("enableTagOverride")
        .and_then(|value| boolean(value, problems));
    let after = section.take("deregisterCriticalServiceAfter").and_then(|value| {
        let text = string(value, problems)?;
        if let Err(error) = duration::parse(text) {
            let reading = DurationKey::DeregisterAfter(subject);
            let allowed = "a duration with a unit such as \"90m\"";
            problems.wrong(value, keys::Error::Duration(&reading, error), allowed);
        }
        Some(text.to_owned())
    });
    section.close(problems);
    Some((
        tag_override.unwrap_or_default(),
        after.filter(|text| !text.is_empty()),
    ))
}
