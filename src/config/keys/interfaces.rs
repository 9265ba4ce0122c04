//! Interface specifications (docs/development/behaviour.md, rows IF-*).

use super::{Error, Warning, strings};
use crate::config::Target;
use crate::config::problem::Problems;
use crate::config::tree::Value;
use domain::address::{self, Specification};
use domain::filled;
use std::net::{IpAddr, Ipv4Addr};

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
            let names = filled::set(found.into_iter().map(|found| found.interface));
            Error::NoAddress(error, names)
        })
    });
    match selected {
        Ok(address) => {
            warn_of_foreign(address, place, target, problems);
            Some(address)
        }
        Err(error @ Error::NoAddress(..)) if target.has_other_interfaces() => {
            problems.warning(place, error);
            Some(Ipv4Addr::UNSPECIFIED.into())
        }
        Err(error) => {
            problems.error(place, error);
            None
        }
    }
}

/// Warns of an address that was given as `static:` and that no interface has, if the configuration is only checked.
fn warn_of_foreign(address: IpAddr, place: &Value<'_>, target: &Target<'_>, problems: &mut Problems<'_>) {
    if target.examination.is_none() || target.has_other_interfaces() {
        return;
    }
    let own = target.interfaces.addresses().unwrap_or_default();
    if !own
        .iter()
        .any(|own| own.address.to_canonical() == address.to_canonical())
    {
        problems.warning(place, Warning::ForeignAddress(address));
    }
}
