//! What is registered of a service, and which instances of a backend count, beyond version 2: `address`, `meta`, `weights`
//! and `taggedAddresses`; `tags`, `datacenter` and `passing`.
//!
//! The limits are those of Consul, which would refuse the registration only later. What only Consul has is refused with
//! another catalogue.

use super::error::{RegistrationError, Subject};
use super::services::PORTS;
use crate::config::Target;
use crate::config::keys::{Section, boolean, integer, interfaces, string, tags};
use crate::config::problem::Problems;
use crate::config::tree::{Data, Value};
use domain::catalogue::Endpoint;
use domain::plan::{Attributes, Catalogue, Filter, Host, Weights};
use std::collections::BTreeMap;

/// The most pairs in `meta`, as in Consul (docs/bounds.md).
const MOST_PAIRS: usize = 64;
/// The longest key in `meta`, in bytes, as in Consul (docs/bounds.md).
const LONGEST_KEY: usize = 128;
/// The longest value in `meta`, in bytes, as in Consul (docs/bounds.md).
const LONGEST_VALUE: usize = 512;
/// What keys of Consul's own begin with.
const RESERVED: &str = "consul-";
/// The longest host name, as in DNS (docs/bounds.md).
const LONGEST_HOST: usize = 253;
/// The longest name of a datacenter (docs/bounds.md).
const LONGEST_DATACENTER: usize = 128;
/// The allowed hosts, for messages.
const HOSTS: &str = "an IP address that others can reach, or a host name";

/// The catalogue of the configuration, if it is valid, and the sentence about what only Consul has.
#[derive(Clone, Copy)]
pub struct Abilities<'c>(pub Option<&'c Catalogue>);

impl Abilities<'_> {
    /// Whether templates may look up keys; so if the catalogue is not known.
    pub fn has_keys(self) -> bool {
        self.0.is_none_or(Catalogue::has_keys)
    }

    /// Reports a key that the catalogue has no place for.
    fn need_consul(
        self,
        value: &Value<'_>,
        key: &'static str,
        subject: Subject<'_>,
        problems: &mut Problems<'_>,
    ) {
        let catalogue = match self.0 {
            None | Some(Catalogue::Consul(_)) => return,
            Some(Catalogue::Etcd(_)) => "etcd",
            Some(Catalogue::Directory { .. }) => "a directory",
        };
        problems.error(value, RegistrationError::NeedsConsul(key, subject, catalogue));
    }
}

/// The address of a service: `address`, or what `interfaces` select.
pub fn address(
    value: &Value<'_>,
    section: &mut Section<'_>,
    subject: Subject<'_>,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<Host> {
    let (written, specifications) = (section.take("address"), section.take("interfaces"));
    let Some(written) = written else {
        return interfaces(value, specifications, target, problems).map(Host::from);
    };
    if let Some(specifications) = specifications {
        problems.error(specifications, RegistrationError::TwoAddresses(subject));
    }
    host(written, "address", subject, problems)
}

/// The other keys about the entry of a service; endpoints have its `port` if they have none.
pub fn attributes(
    section: &mut Section<'_>,
    port: Option<u16>,
    abilities: Abilities<'_>,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> Attributes {
    let meta = section.take("meta").map(|value| meta(value, subject, problems));
    let weights = section.take("weights").and_then(|value| {
        abilities.need_consul(value, "weights", subject, problems);
        weights(value, subject, problems)
    });
    let tagged = section.take("taggedAddresses").map(|value| {
        abilities.need_consul(value, "taggedAddresses", subject, problems);
        tagged_addresses(value, port, subject, problems)
    });
    let [lan, wan] = tagged.unwrap_or_default();
    Attributes {
        meta: meta.unwrap_or_default(),
        weights,
        lan,
        wan,
    }
}

fn meta(value: &Value<'_>, subject: Subject<'_>, problems: &mut Problems<'_>) -> BTreeMap<String, String> {
    let allowed = "an object of strings";
    let Data::Object(members) = &value.data else {
        problems.wrong(value, RegistrationError::Meta(subject), allowed);
        return BTreeMap::new();
    };
    let mut meta = BTreeMap::new();
    for member in members.iter().filter(|member| !member.value.is_null()) {
        let key = member.key.as_ref();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if key.is_empty()
            || key.len() > LONGEST_KEY
            || !key.bytes().all(is_plain)
            || key.starts_with(RESERVED)
        {
            problems.error(member, RegistrationError::MetaKey(subject, LONGEST_KEY, RESERVED));
        }
        let Some(text) = string(&member.value, problems) else {
            continue;
        };
        if text.len() > LONGEST_VALUE {
            problems.error(
                &member.value,
                RegistrationError::MetaValue(subject, text.len(), LONGEST_VALUE),
            );
        }
        meta.insert(key.to_owned(), text.to_owned());
    }
    if meta.len() > MOST_PAIRS {
        problems.error(
            value,
            RegistrationError::ManyPairs(subject, meta.len(), MOST_PAIRS),
        );
    }
    meta
}

fn weights(value: &Value<'_>, subject: Subject<'_>, problems: &mut Problems<'_>) -> Option<Weights> {
    let mut section = Section::open(value, "an object with `passing` and `warning`", problems)?;
    let mut weight = |key: &'static str, least: u16| {
        let Some(value) = section.take(key) else {
            return Some(1);
        };
        let allowed = format!("a whole number from {least} to {}", u16::MAX);
        let number = u16::try_from(integer(value, &allowed, problems)?).ok();
        let number = number.filter(|number| *number >= least);
        if number.is_none() {
            problems.wrong(value, RegistrationError::Weight(key, subject), &allowed);
        }
        number
    };
    let (passing, warning) = (weight("passing", 1), weight("warning", 0));
    section.close(problems);
    Some(Weights {
        passing: passing?,
        warning: warning?,
    })
}

fn tagged_addresses(
    value: &Value<'_>,
    port: Option<u16>,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> [Option<Endpoint>; 2] {
    let Some(mut section) = Section::open(value, "an object with `lan` and `wan`", problems) else {
        return [None, None];
    };
    let endpoints = ["lan", "wan"].map(|key| {
        let value = section.take(key)?;
        endpoint(value, port, subject, problems)
    });
    section.close(problems);
    endpoints
}

fn endpoint(
    value: &Value<'_>,
    otherwise: Option<u16>,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> Option<Endpoint> {
    let mut section = Section::open(value, "an object with `address` and `port`", problems)?;
    let written = section.take("address");
    if written.is_none() {
        problems.error(value, RegistrationError::NoAddress(subject));
    }
    let address = written.and_then(|value| host(value, "address", subject, problems));
    let port = match section.take("port") {
        None => otherwise,
        Some(value) => {
            let port = integer(value, PORTS, problems).and_then(|port| u16::try_from(port).ok());
            let port = port.filter(|port| *port > 0);
            if port.is_none() {
                problems.wrong(value, RegistrationError::Port(subject), PORTS);
            }
            port
        }
    };
    section.close(problems);
    Some(Endpoint {
        address: address?.to_string(),
        port: port?,
    })
}

fn host(
    value: &Value<'_>,
    key: &'static str,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> Option<Host> {
    let text = string(value, problems)?;
    let host = Host::from(text);
    let is_usable = match &host {
        Host::Address(address) => !address.is_unspecified() && *address == address.to_canonical(),
        Host::Name(name) => is_host_name(name),
    };
    if !is_usable {
        problems.wrong(value, RegistrationError::Host(key, subject), HOSTS);
    }
    is_usable.then_some(host)
}

/// Whether a name consists of parts of letters, digits, `-` and `_` with dots between them, of which the last one is no
/// number: that would be a mistyped IP address.
fn is_host_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !part.is_empty() && part.len() <= 63 && part.bytes().all(is_plain)
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    name.len() <= LONGEST_HOST && name.split('.').all(is_part) && !is_number
}

/// The keys that say which instances of a backend count.
pub fn filter(
    section: &mut Section<'_>,
    abilities: Abilities<'_>,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> Filter {
    let tags = section.take("tags").map(|value| tags(value, problems));
    let datacenter = section.take("datacenter").and_then(|value| {
        abilities.need_consul(value, "datacenter", subject, problems);
        datacenter(value, subject, problems)
    });
    let passing = section.take("passing").and_then(|value| {
        let passing = boolean(value, problems)?;
        if !passing {
            abilities.need_consul(value, "passing", subject, problems);
        }
        Some(passing)
    });
    Filter {
        tags: tags.unwrap_or_default(),
        datacenter,
        also_failing: passing == Some(false),
    }
}

fn datacenter(value: &Value<'_>, subject: Subject<'_>, problems: &mut Problems<'_>) -> Option<String> {
    let name = string(value, problems)?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > LONGEST_DATACENTER || !name.bytes().all(is_plain) {
        let allowed = "a name of letters, digits, - and _";
        problems.wrong(value, RegistrationError::Datacenter(subject), allowed);
    }
    Some(name.to_owned())
}
