//! `services` and `backends` (behaviour-v2.md 2.5, 2.6).

use super::section::{Section, boolean, integer, list, string, strings};
use super::{command, duration, jobs};
use crate::config::Target;
use crate::config::json::Node;
use crate::config::problem::Problems;
use domain::address::{self, Specification};
use domain::plan::{Backend, Registration, Role, Service};
use domain::time::Duration;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// What a period may be, for messages.
pub const SECONDS: &str = "a whole number of seconds from 1";
/// What a port may be, for messages.
pub const PORTS: &str = "a whole number from 1 to 65535";
const SPECIFICATIONS: &str = "NAME, NAME:inet6, NAME[N], inet, inet6, static:ADDRESS, \
                              and a network such as 10.0.0.0/8";
const NAME_RULE: &str = "Deprecation warning: service names must be alpha-numeric with dashes. \
                         In a future version of ContainerPilot this will be an error.";

/// The longest `id` of a service, in bytes (docs/bounds.md)
const LONGEST_ID: usize = 255;

/// Reads `services`. Two of one name or of one ID would overwrite each other (CFG-16).
pub fn read_services(node: &Node<'_>, target: &Target<'_>, problems: &mut Problems) -> Vec<Service> {
    let mut names: HashSet<String> = HashSet::new();
    let mut ids: HashMap<String, String> = HashMap::new();
    list(node, "an array of services", problems, |node, problems| {
        let service = service(node, target, problems)?;
        if !names.insert(service.registration.name.clone()) {
            problems.add(
                node,
                format!("there are two services called {}", service.registration.name),
            );
        } else if let Some(other) = ids.get(&service.registration.id) {
            refuse_one_id(node, &service.registration, other, problems);
        }
        let Registration { id, name, .. } = &service.registration;
        ids.insert(id.clone(), name.clone());
        Some(service)
    })
}

/// Notes that a service has the ID of `other`, an earlier one.
pub fn refuse_one_id(node: &Node<'_>, registration: &Registration, other: &str, problems: &mut Problems) {
    let Registration { id, name, .. } = registration;
    problems.add(
        node,
        format!("the services {other} and {name} have one ID, {id:?}"),
    );
}

fn service(node: &Node<'_>, target: &Target<'_>, problems: &mut Problems) -> Option<Service> {
    let mut section = Section::open(node, "an object", problems)?;
    let name = name(node, &mut section, problems);
    let subject = format!("service {}", name.as_deref().unwrap_or_default());
    let poll = seconds(node, &mut section, "poll", &subject, problems);
    let ttl = seconds(node, &mut section, "ttl", &subject, problems);
    let port = port(node, &mut section, &subject, problems);
    let timeout = format!("Could not parse `health` in {subject}");
    let limit = section
        .take("timeout")
        .and_then(|node| duration::limit(&node, &timeout, problems));
    let health = section
        .take("health")
        .and_then(|node| command::optional(&node, problems));
    let address = interfaces(node, section.take("interfaces"), target, problems);
    let tags = section
        .take("tags")
        .map(|node| tags(&node, problems))
        .unwrap_or_default();
    let consul = section
        .take("consul")
        .and_then(|node| consul(&node, &subject, problems));
    let given_id = section.take("id");
    section.close(problems);
    let id = match given_id {
        Some(given) => written_id(&given, &subject, problems),
        None => default_id(node, name.as_deref().unwrap_or_default(), target, problems),
    };
    let (name, poll, ttl) = (name?, poll?, ttl?);
    warn_of_short_ttl(node, poll, ttl, &subject, problems);
    let id = id?;
    let role = Role::Health {
        service: name.clone(),
        id: id.clone(),
    };
    let (enable_tag_override, deregister_critical_after) = consul.unwrap_or_default();
    let registration = Registration {
        id,
        name,
        address: address?,
        port: port?,
        tags,
        ttl,
        enable_tag_override,
        deregister_critical_after,
    };
    let check = health.map(|command| jobs::asked(role, command, limit));
    Some(Service {
        registration,
        poll,
        check,
    })
}

/// An ID that the operator chose. Consul has it in the paths of its requests, and cleans paths: an empty part
/// between slashes, `.` or `..` would name another service there. Etcd and the directory escape what they must.
fn written_id(node: &Node<'_>, subject: &str, problems: &mut Problems) -> Option<String> {
    const ALLOWED: &str = "1 to 255 bytes without control characters, \
                           in which no part between slashes is empty, `.` or `..`";
    let id = string(node, problems)?;
    let cleaned = id.split('/').any(|part| matches!(part, "" | "." | ".."));
    let allowed = id.len() <= LONGEST_ID && !cleaned && !id.chars().any(char::is_control);
    if !allowed {
        problems.wrong(node, &format!("`id` cannot be used in {subject}"), ALLOWED);
    }
    allowed.then_some(id)
}

/// The ID of a service on this host that has none of its own (behaviour-v2.md 4.1).
pub fn default_id(
    node: &Node<'_>,
    name: &str,
    target: &Target<'_>,
    problems: &mut Problems,
) -> Option<String> {
    let Some(hostname) = &target.hostname else {
        let sentence = "the host's name, which is part of the service's ID, cannot be read";
        problems.add(node, sentence);
        return None;
    };
    if hostname.is_empty() || hostname.chars().any(char::is_control) {
        let sentence = format!("the host's name {hostname:?} cannot be part of the service's ID");
        problems.add(node, sentence);
        return None;
    }
    Some(format!("{name}-{hostname}"))
}

fn warn_of_short_ttl(node: &Node<'_>, poll: Duration, ttl: Duration, subject: &str, problems: &mut Problems) {
    if ttl <= poll {
        let sentence = format!(
            "`ttl` should be longer than `poll` in {subject}, or it will turn critical between two checks"
        );
        problems.warn(node, sentence);
    }
}

/// Reads `backends`.
pub fn read_backends(node: &Node<'_>, problems: &mut Problems) -> Vec<Backend> {
    list(node, "an array of backends", problems, backend)
}

fn backend(node: &Node<'_>, problems: &mut Problems) -> Option<Backend> {
    let mut section = Section::open(node, "an object", problems)?;
    let name = name(node, &mut section, problems);
    let subject = format!("backend {}", name.as_deref().unwrap_or_default());
    let missing = format!("`onChange` is required in {subject}");
    let on_change = section.take("onChange");
    if on_change.is_none() {
        problems.add(node, &missing);
    }
    let on_change = on_change.and_then(|node| command::required(&node, &missing, problems));
    let poll = seconds(node, &mut section, "poll", &subject, problems);
    let tag = section
        .take("tag")
        .and_then(|node| string(&node, problems))
        .filter(|tag| !tag.is_empty());
    let timeout = format!("Could not parse `onChange` in {subject}");
    let limit = section
        .take("timeout")
        .and_then(|node| duration::limit(&node, &timeout, problems));
    section.close(problems);
    let (name, poll, on_change) = (name?, poll?, on_change?);
    let role = Role::OnChange {
        backend: name.clone(),
    };
    let on_change = jobs::asked(role, on_change, limit);
    Some(Backend {
        name,
        tag,
        poll,
        on_change,
    })
}

fn name(node: &Node<'_>, section: &mut Section<'_>, problems: &mut Problems) -> Option<String> {
    let Some(given) = section.take("name") else {
        problems.add(node, "`name` must not be blank");
        return None;
    };
    let name = string(&given, problems)?;
    if name.is_empty() {
        problems.wrong(
            &given,
            "`name` must not be blank",
            "a name of lower-case letters, digits and dashes",
        );
        return None;
    }
    if !follows_the_rule(&name) {
        problems.warn(&given, NAME_RULE);
    }
    Some(name)
}

/// A letter, then letters, digits or dashes (CFG-23; one letter alone is no offence).
fn follows_the_rule(name: &str) -> bool {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase());
    first && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn seconds(
    node: &Node<'_>,
    section: &mut Section<'_>,
    key: &'static str,
    subject: &str,
    problems: &mut Problems,
) -> Option<Duration> {
    let seconds = positive(node, section, key, subject, SECONDS, problems)?;
    duration::from_seconds(node, seconds, &format!("`{key}` in {subject}"), SECONDS, problems)
}

fn port(node: &Node<'_>, section: &mut Section<'_>, subject: &str, problems: &mut Problems) -> Option<u16> {
    let port = positive(node, section, "port", subject, PORTS, problems)?;
    let fits = u16::try_from(port).ok();
    if fits.is_none() {
        problems.add(
            node,
            format!("`port` must be < 65536 in {subject}: found {port}, allowed is {PORTS}"),
        );
    }
    fits
}

fn positive(
    node: &Node<'_>,
    section: &mut Section<'_>,
    key: &'static str,
    subject: &str,
    allowed: &str,
    problems: &mut Problems,
) -> Option<i64> {
    let message = format!("`{key}` must be > 0 in {subject}");
    let Some(value) = section.take(key) else {
        problems.add(node, format!("{message}: it is missing, allowed is {allowed}"));
        return None;
    };
    let number = integer(&value, allowed, problems)?;
    if number < 1 {
        problems.wrong(&value, &message, allowed);
    }
    (number > 0).then_some(number)
}

/// The address that the first matching specification gives (section 3).
pub fn interfaces(
    service: &Node<'_>,
    node: Option<Node<'_>>,
    target: &Target<'_>,
    problems: &mut Problems,
) -> Option<IpAddr> {
    let mut written = node
        .as_ref()
        .map(|node| strings(node, problems))
        .unwrap_or_default();
    let node = node.as_ref().unwrap_or(service);
    if written.is_empty() {
        written.push((node.clone(), address::DEFAULT_SPECIFICATION.into()));
    }
    let parse = |(place, text): &(Node<'_>, String)| {
        let parsed = Specification::parse(text);
        parsed
            .map_err(|error| problems.add(place, format!("{error}, allowed are {SPECIFICATIONS}")))
            .ok()
    };
    let parsed: Vec<Specification> = written.iter().filter_map(parse).collect();
    if parsed.len() < written.len() {
        return None;
    }
    let found = target.interfaces.addresses();
    let selected = found
        .map_err(|error| format!("the network interfaces cannot be read: {error}"))
        .and_then(|found| address::select(&parsed, &found).map_err(|error| error.to_string()));
    selected.map_err(|error| problems.add_lines(node, error)).ok()
}

/// A list of tags.
pub fn tags(node: &Node<'_>, problems: &mut Problems) -> Vec<String> {
    list(node, "an array of strings", problems, string)
}

/// Options that only Consul knows: enableTagOverride and deregisterCriticalServiceAfter.
fn consul(node: &Node<'_>, subject: &str, problems: &mut Problems) -> Option<(bool, Option<String>)> {
    let mut section = Section::open(node, "an object", problems)?;
    let tag_override = section
        .take("enableTagOverride")
        .and_then(|node| boolean(&node, problems));
    let after = section.take("deregisterCriticalServiceAfter").and_then(|node| {
        let text = string(&node, problems)?;
        if let Err(cause) = duration::parse(&text) {
            let message =
                format!("Could not parse consul `deregisterCriticalServiceAfter` in {subject}: {cause}");
            problems.wrong(&node, &message, "a duration with a unit such as \"90m\"");
        }
        Some(text)
    });
    section.close(problems);
    Some((
        tag_override.unwrap_or_default(),
        after.filter(|text| !text.is_empty()),
    ))
}
