//! Requests to a service catalogue, and its answers.
//!
//! They are the same for every catalogue. [`crate::plan::Catalogue`] describes how a catalogue is reached.

use crate::plan::{Filter, Registration};
use crate::time::Duration;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A request to the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    /// Register this instance as passing, in one call, replacing the entry with its ID if there is one.
    Register(Registration),
    /// This instance is healthy: keep it passing for another TTL.
    Renew(Registration),
    /// Report the result of this instance's health check.
    Report(Report),
    /// Return the endpoint in the entry with this instance's ID. Changes nothing.
    Inspect(Registration),
    /// Remove this instance. It is no error if it does not exist.
    Deregister(Registration),
    /// List the passing instances of a service.
    Instances(Query),
}

/// The result of a health check with thresholds, for the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Report {
    /// The instance.
    pub registration: Registration,
    /// Whether the service counts as healthy: then this is a heartbeat. Otherwise its entry becomes critical, or is
    /// removed from a catalogue that has only passing entries.
    pub healthy: bool,
    /// The end of the check's output, for those who look at the catalogue.
    pub output: String,
}

/// Which instances are listed, and when the answer is due.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Query {
    /// The service's name.
    pub service: String,
    /// Only instances with this tag.
    pub tag: Option<String>,
    /// Which instances are listed besides.
    pub filter: Filter,
    /// Whether each instance has its [`Details`].
    pub details: bool,
    /// Answer when the list differs from the state at this cursor...
    pub after: Option<Cursor>,
    /// ...but at the latest after this time.
    pub wait: Duration,
}

impl Query {
    /// Whether an instance with these tags is listed.
    pub fn selects(&self, tags: &[String]) -> bool {
        let mut wanted = self.tag.iter().chain(&self.filter.tags);
        wanted.all(|tag| tags.contains(tag))
    }
}

/// What a catalogue answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// The registration or the deregistration was done, or the heartbeat or the report was accepted.
    Done,
    /// The report was accepted, and the catalogue has no entry of the instance.
    Removed,
    /// There is no such registration to renew: the catalogue's message, and the endpoint of another instance
    /// with the same ID, if the catalogue returned one.
    Unknown(String, Option<Endpoint>),
    /// The instances of a service.
    Instances(Listing),
    /// The endpoint in the entry with the service's ID, if there is an entry.
    Holder(Option<Endpoint>),
    /// The request failed or exceeded its time limit: the cause.
    Failed(String),
    /// The catalogue accepts no more connections or requests of this client at present, and did nothing: its
    /// message.
    Busy(String),
}

/// The passing instances of a service at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listing {
    /// The instances, in any order.
    pub instances: Vec<Instance>,
    /// The cursor for the next query; `None` if the catalogue has none.
    pub cursor: Option<Cursor>,
    /// Whether the catalogue reports that its access rules hid instances.
    pub filtered: bool,
    /// The entries of the list that were left out.
    pub skipped: Skipped,
}

/// One passing instance of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// Its ID; unique only within one catalogue agent.
    pub id: String,
    /// Its address, an IP address or a host name.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// What else the catalogue has about it, if the query asks for that.
    pub details: Option<Box<Details>>,
}

/// What a catalogue has about an instance besides its endpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Details {
    /// The name of its node, empty if the catalogue has none.
    pub node: String,
    /// The address of its node, empty if the catalogue has none.
    pub node_address: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Its pairs.
    pub meta: BTreeMap<String, String>,
    /// The checks that say whether it is passing; none if the catalogue has none.
    pub checks: Vec<CheckState>,
}

/// The state of a check of an instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckState {
    /// Its ID.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Such as `passing` or `critical`.
    pub status: String,
    /// Whether it is a check of the whole node.
    pub of_node: bool,
}

/// The address and port of an instance.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Its address, an IP address or a host name.
    pub address: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    /// Control characters are escaped, because other programs may have written the address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.contains(':') {
            true => write!(f, "[{}]:{}", self.address.escape_debug(), self.port),
            false => write!(f, "{}:{}", self.address.escape_debug(), self.port),
        }
    }
}

/// Entries of a list that were left out because they are not valid instances.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Skipped {
    /// Their number.
    pub count: usize,
    /// The first one and its fault, as a part of a sentence, such as `instance 'db-1' has the port 70000,
    /// allowed is 1 to 65535`.
    pub example: String,
}

/// A state in a catalogue's history. Only the catalogue interprets the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub u64);

crate::keyed_as_is!(Request, Endpoint, Cursor, Instance);
