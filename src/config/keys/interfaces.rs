//! Interface specifications (docs/behaviour.md, rows IF-*).

use super::{Error, strings};
use crate::config::Target;
use crate::config::problem::Problems;
use crate::config::tree::Value;
use domain::address::{self, Specification};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The allowed forms of a specification, for messages.
pub const SPECIFICATIONS: &str = "NAME, NAME:inet6, NAME[N], inet, inet6, static:ADDRESS, \
                                  and a network such as 10.0.0.0/8";

/// The address that the first matching specification selects. `owner` is the service or the telemetry that
/// needs the address.
pub fn interfaces(
    owner: &Value<'_>,
    given: Option<&Value<'_>>,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<IpAddr> {
    let mut written = given.map(|value| strings(value, problems)).unwrap_or_default();
    let place = given.unwrap_or(owner);
    if written.is_empty() {
        written.push((place, address::DEFAULT_SPECIFICATION));
    }
    let mut parse = |(place, text): &(&Value<'_>, &str)| {
        let parsed = Specification::parse(text);
        parsed
            .map_err(|error| problems.error(*place, Error::Specification(error)))
            .ok()
    };
    let parsed: Vec<Specification> = written.iter().filter_map(&mut parse).collect();
    if parsed.len() < written.len() {
        return None;
    }
    let found = target.interfaces.addresses().map_err(Error::NoInterfaces);
    let selected = found.and_then(|found| {
        address::select(&parsed, &found).map_err(|error| {
            let names: BTreeSet<String> = found.into_iter().map(|found| found.interface).collect();
            Error::NoAddress(error, names)
        })
    });
    selected.map_err(|error| problems.error(place, error)).ok()
}
