//! One entry of the catalogue: the content of its file, and until when it is valid.
//!
//! The expiry is stored as time since boot together with the boot's ID. So a step of the calendar clock does
//! not change how long an entry is valid, and an entry does not survive a restart of its machine. No clock is
//! read here: the time is an argument.

use super::fingerprint::Fingerprint;
use super::name;
use domain::catalogue::{Details, Endpoint, Instance};
use domain::plan::{Host, Registration};
use domain::time::Duration;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;

/// The longest host name in an entry, as in DNS (docs/bounds.md)
const LONGEST_HOST: usize = 253;

/// A point in time on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct BootTime<'a> {
    /// The ID of the boot.
    pub boot: &'a str,
    /// The time since that boot.
    pub milliseconds: u64,
}

/// The content of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DirectoryEntry {
    pub id: String,
    pub name: String,
    #[serde(deserialize_with = "host")]
    address: String,
    #[serde(deserialize_with = "port")]
    port: u16,
    tags: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    meta: BTreeMap<String, String>,
    ttl_milliseconds: u64,
    expires: Expiry,
}

/// When an entry expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Expiry {
    boot: String,
    milliseconds_since_boot: u64,
}

impl DirectoryEntry {
    /// An entry that is valid for one TTL from now.
    pub fn new(registration: &Registration, now: &BootTime<'_>) -> Self {
        let ttl_milliseconds = milliseconds(registration.ttl);
        Self {
            id: registration.id.clone(),
            name: registration.name.clone(),
            address: registration.address.to_string(),
            port: registration.port,
            tags: registration.tags.clone(),
            meta: registration.attributes.meta.clone(),
            ttl_milliseconds,
            expires: Expiry {
                boot: now.boot.to_owned(),
                milliseconds_since_boot: now.milliseconds.saturating_add(ttl_milliseconds),
            },
        }
    }

    /// The name of the entry's file.
    pub fn file_name(&self) -> String {
        name::of_entry(&self.id)
    }

    /// How long the entry remains valid; `None` if it has expired or its boot is over.
    pub fn remaining(&self, now: &BootTime<'_>) -> Option<Duration> {
        let until = self.expires.milliseconds_since_boot;
        let counts = self.expires.boot == now.boot && now.milliseconds < until;
        counts.then(|| Duration::from_millis(until.saturating_sub(now.milliseconds)))
    }

    /// Whether the entry expired longer ago than `age`, or belongs to an earlier boot.
    pub fn is_gone_since(&self, now: &BootTime<'_>, age: Duration) -> bool {
        let last = self
            .expires
            .milliseconds_since_boot
            .saturating_add(milliseconds(age));
        self.expires.boot != now.boot || last < now.milliseconds
    }

    /// Whether the entry and the registration describe the same instance with the same values.
    pub fn describes(&self, registration: &Registration) -> bool {
        let theirs = Self {
            expires: self.expires.clone(),
            ..Self::new(registration, &BootTime::ORIGIN)
        };
        *self == theirs
    }

    /// The tags of the instance.
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// The address and port of the instance.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.address.clone(),
            port: self.port,
        }
    }

    /// The instance as readers get it, with its details or without.
    pub fn instance(&self, with_details: bool) -> Instance {
        let details = || Details {
            tags: self.tags.clone(),
            meta: self.meta.clone(),
            ..Details::default()
        };
        Instance {
            id: self.id.clone(),
            address: self.address.clone(),
            port: self.port,
            details: with_details.then(details).map(Box::new),
        }
    }

    /// Adds the fields that readers see to a fingerprint. The expiry is not among them, so a renewal does not
    /// change the fingerprint.
    pub fn add_to(&self, sum: Fingerprint) -> Fingerprint {
        let sum = sum
            .with(self.id.as_bytes())
            .with(self.address.as_bytes())
            .with(&self.port.to_le_bytes())
            .with(&(self.tags.len() as u64).to_le_bytes());
        let sum = self.tags.iter().fold(sum, |sum, tag| sum.with(tag.as_bytes()));
        let pairs = self.meta.iter().flat_map(|(key, value)| [key, value]);
        pairs.fold(sum, |sum, text| sum.with(text.as_bytes()))
    }
}

impl BootTime<'_> {
    /// A point in time that is before any boot.
    const ORIGIN: BootTime<'static> = BootTime {
        boot: "",
        milliseconds: 0,
    };
}

/// An IP address in its usual form, or a host name.
fn host<'d, D: Deserializer<'d>>(from: D) -> Result<String, D::Error> {
    let written = String::deserialize(from)?;
    let is_unusable = |character: char| character.is_whitespace() || character.is_control();
    if written.is_empty() || written.len() > LONGEST_HOST || written.contains(is_unusable) {
        let allowed = "an IP address or a host name of at most 253 bytes";
        return Err(D::Error::custom(format!(
            "the address is {written:?}, allowed is {allowed}"
        )));
    }
    Ok(Host::from(written.as_str()).to_string())
}

fn port<'d, D: Deserializer<'d>>(from: D) -> Result<u16, D::Error> {
    let written = serde_json::Value::deserialize(from)?;
    let port = written.as_u64().and_then(|port| u16::try_from(port).ok());
    port.ok_or_else(|| D::Error::custom(format!("the port is {written}, allowed is 0 to 65535")))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
