//! One entry of the catalogue: the content of its file, and until when it is valid.
//!
//! The expiry is stored as time since boot together with the boot's ID. So a step of the calendar clock does
//! not change how long an entry is valid, and an entry does not survive a restart of its machine. No clock is
//! read here: the time is an argument.

use super::fingerprint::Fingerprint;
use super::name;
use domain::catalogue::{Endpoint, Instance};
use domain::plan::Registration;
use domain::time::Duration;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::net::IpAddr;

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
    address: IpAddr,
    #[serde(deserialize_with = "port")]
    port: u16,
    tags: Vec<String>,
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
            address: registration.address,
            port: registration.port,
            tags: registration.tags.clone(),
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

    /// Whether the entry has this tag. True if no tag is requested.
    pub fn has(&self, tag: Option<&str>) -> bool {
        tag.is_none_or(|tag| self.tags.iter().any(|own| own == tag))
    }

    /// The address and port of the instance.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.address.to_string(),
            port: self.port,
        }
    }

    /// The instance as readers get it.
    pub fn instance(&self) -> Instance {
        Instance {
            id: self.id.clone(),
            address: self.address.to_string(),
            port: self.port,
        }
    }

    /// Adds the fields that readers see to a fingerprint. The expiry is not among them, so a renewal does not
    /// change the fingerprint.
    pub fn add_to(&self, sum: Fingerprint) -> Fingerprint {
        let sum = sum
            .with(self.id.as_bytes())
            .with(self.address.to_string().as_bytes())
            .with(&self.port.to_le_bytes())
            .with(&(self.tags.len() as u64).to_le_bytes());
        self.tags.iter().fold(sum, |sum, tag| sum.with(tag.as_bytes()))
    }
}

impl BootTime<'_> {
    /// A point in time that is before any boot.
    const ORIGIN: BootTime<'static> = BootTime {
        boot: "",
        milliseconds: 0,
    };
}

fn port<'d, D: Deserializer<'d>>(from: D) -> Result<u16, D::Error> {
    let written = serde_json::Value::deserialize(from)?;
    let port = written.as_u64().and_then(|port| u16::try_from(port).ok());
    port.ok_or_else(|| D::Error::custom(format!("the port is {written}, allowed is 0 to 65535")))
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
