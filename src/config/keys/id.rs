//! IDs of services: configured by the operator, or made of the service's name and the host's
//! (docs/development/behaviour.md SD-18).

use super::{Error, string};
use crate::config::Target;
use crate::config::problem::Problems;
use crate::config::tree::Value;
use std::fmt::Display;

/// The longest `id` of a service, in bytes (docs/bounds.md)
const LONGEST_ID: usize = 255;

/// An ID that the operator configured. Consul puts it into the paths of its requests and normalises paths: an
/// empty part between slashes, `.` or `..` would name another service. Etcd and the directory escape such
/// characters.
pub fn written_id(value: &Value<'_>, subject: &dyn Display, problems: &mut Problems<'_>) -> Option<String> {
    const ALLOWED: &str = "1 to 255 bytes without control characters, \
                           in which no part between slashes is empty, `.` or `..`";
    let id = string(value, problems)?;
    let cleaned = id.split('/').any(|part| matches!(part, "" | "." | ".."));
    let allowed = id.len() <= LONGEST_ID && !cleaned && !id.chars().any(char::is_control);
    if !allowed {
        problems.wrong(value, Error::UnusableId(subject), ALLOWED);
    }
    allowed.then(|| id.to_owned())
}

/// The ID of a service without a configured one.
pub fn default_id(
    service: &Value<'_>,
    name: &str,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<String> {
    match target.hostname.as_deref() {
        None => problems.error(service, Error::NoHostname),
        Some(hostname) if hostname.is_empty() || hostname.chars().any(char::is_control) => {
            problems.error(service, Error::BadHostname(hostname));
        }
        Some(hostname) => return Some(format!("{name}-{hostname}")),
    }
    None
}
