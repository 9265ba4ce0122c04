//! What is asked of a service catalogue, and what it answers.
//!
//! The requests are the same for every catalogue. How one is reached stands in [`crate::plan::Catalogue`].

use crate::plan::Registration;
use crate::time::Duration;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A question to the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Request {
    /// Enter this instance as passing, in one call, over whatever stands under its ID.
    Register(Registration),
    /// This instance is healthy: keep it passing for another TTL.
    Renew(Registration),
    /// Say which instance stands under this one's ID. Changes nothing.
    Inspect(Registration),
    /// Remove this instance; one that is not there counts as removed.
    Deregister(Registration),
    /// List the passing instances of a service.
    Instances(Query),
}

/// Which instances are wanted, and when the answer is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Query {
    /// The service's name.
    pub service: String,
    /// Only instances with this tag.
    pub tag: Option<String>,
    /// Wait until something differs from what stood here...
    pub after: Option<Cursor>,
    /// ...but not longer than this.
    pub wait: Duration,
}

/// What a catalogue answered.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// The registration or the deregistration was done, or the heartbeat was taken.
    Done,
    /// There is no such registration to renew: the catalogue's own words, and where the instance is reached that
    /// stands under our ID, if it says so.
    Unknown(String, Option<Endpoint>),
    /// The instances of a service.
    Instances(Listing),
    /// Where the instance is reached that stands under our ID, if one does.
    Holder(Option<Endpoint>),
    /// The request failed or took too long: the cause.
    Failed(String),
    /// The catalogue takes no more connections or requests of ours for now, and did nothing: its words.
    Busy(String),
}

/// The passing instances of a service at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Listing {
    /// The instances, in any order.
    pub instances: Vec<Instance>,
    /// Where to go on watching; none if the catalogue cannot say.
    pub cursor: Option<Cursor>,
    /// Whether the catalogue says that its access rules hid instances from us.
    pub filtered: bool,
    /// What stood in the list and was left out.
    pub skipped: Skipped,
}

/// One passing instance of a service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instance {
    /// Its ID; unique only within one catalogue agent.
    pub id: String,
    /// The address it is reached at.
    pub address: String,
    /// The port it is reached at.
    pub port: u16,
}

/// Where an instance is reached.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint {
    /// Its address, an IP address or a host name.
    pub address: String,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    /// Whatever others wrote stays on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.contains(':') {
            true => write!(f, "[{}]:{}", self.address.escape_debug(), self.port),
            false => write!(f, "{}:{}", self.address.escape_debug(), self.port),
        }
    }
}

/// Entries of a list that were left out, because they are not what an instance has to be.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Skipped {
    /// How many there were.
    pub count: usize,
    /// Which was the first, and what is wrong with it; a part of a sentence, such as
    /// `instance 'db-1' has the port 70000, allowed is 1 to 65535`.
    pub example: String,
}

/// A place in a catalogue's history; only the catalogue knows what it means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub u64);
