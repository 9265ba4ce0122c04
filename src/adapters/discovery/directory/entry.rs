//! One entry of the catalogue: what stands in its file, and until when it counts.
//!
//! The expiry is kept as the machine's time since boot together with the boot's ID, so that no step of the
//! calendar clock makes an entry live longer or shorter, and none outlives its machine. Never reads a clock:
//! the moment is an argument.

use super::fingerprint::Fingerprint;
use super::name;
use domain::catalogue::{Endpoint, Instance};
use domain::plan::Registration;
use domain::time::Duration;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::net::IpAddr;

/// A moment on this machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct BootTime<'a> {
    /// The ID of the boot.
    pub boot: &'a str,
    /// The time since then.
    pub milliseconds: u64,
}

/// What stands in a file.
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

/// When an entry stops to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Expiry {
    boot: String,
    milliseconds_since_boot: u64,
}

impl DirectoryEntry {
    /// An entry that counts for one TTL from now.
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

    /// The name of the file this entry belongs in.
    pub fn file_name(&self) -> String {
        name::of_entry(&self.id)
    }

    /// How long it still counts; none if it is gone.
    pub fn remaining(&self, now: &BootTime<'_>) -> Option<Duration> {
        let until = self.expires.milliseconds_since_boot;
        let counts = self.expires.boot == now.boot && now.milliseconds < until;
        counts.then(|| Duration::from_millis(until.saturating_sub(now.milliseconds)))
    }

    /// Whether it is gone for longer than this, or its boot is.
    pub fn is_gone_since(&self, now: &BootTime<'_>, age: Duration) -> bool {
        let last = self
            .expires
            .milliseconds_since_boot
            .saturating_add(milliseconds(age));
        self.expires.boot != now.boot || last < now.milliseconds
    }

    /// Whether it says of an instance what the registration says.
    pub fn describes(&self, registration: &Registration) -> bool {
        let theirs = Self {
            expires: self.expires.clone(),
            ..Self::new(registration, &BootTime::ORIGIN)
        };
        *self == theirs
    }

    /// Whether it has this tag; every entry has no tag.
    pub fn has(&self, tag: Option<&str>) -> bool {
        tag.is_none_or(|tag| self.tags.iter().any(|own| own == tag))
    }

    /// Where it is reached.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.address.to_string(),
            port: self.port,
        }
    }

    /// What readers are told of it.
    pub fn instance(&self) -> Instance {
        Instance {
            id: self.id.clone(),
            address: self.address.to_string(),
            port: self.port,
        }
    }

    /// Adds to a fingerprint what readers may see of it; its expiry is not of it, so a renewal changes nothing.
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
    /// The beginning of no boot.
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
