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
    /// Look up what a template uses.
    LookUp(LookUp),
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

/// What a template uses from the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependency {
    /// The passing instances of a service.
    Service {
        /// The service's name.
        name: String,
        /// Only instances with this tag.
        tag: Option<String>,
    },
    /// All services.
    Services,
    /// The value of a key, which only catalogues have that keep keys with values.
    Key(String),
    /// The keys of one level: those that begin with this text, which ends in a slash, and have no slash after it.
    Keys(String),
}

impl fmt::Display for Dependency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service { name, tag: None } => write!(f, "service {name}"),
            Self::Service { name, tag: Some(tag) } => write!(f, "service {tag}.{name}"),
            Self::Services => f.write_str("the list of services"),
            Self::Key(path) => write!(f, "key {path}"),
            Self::Keys(path) => write!(f, "the keys below {path}"),
        }
    }
}

impl LookUp {
    /// The query for the instances, if those of a service are looked up.
    pub fn query(&self) -> Option<Query> {
        let Dependency::Service { name, tag } = &self.dependency else {
            return None;
        };
        Some(Query {
            service: name.clone(),
            tag: tag.clone(),
            details: true,
            after: self.after,
            wait: self.wait,
            ..Query::default()
        })
    }
}

/// What is looked up, and when the answer is due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookUp {
    /// What is looked up.
    pub dependency: Dependency,
    /// Answer when it differs from the state at this cursor...
    pub after: Option<Cursor>,
    /// ...but at the latest after this time.
    pub wait: Duration,
}

/// The answer to a [`LookUp`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Found {
    /// The data.
    pub data: Data,
    /// The cursor for the next request; `None` if the catalogue has none.
    pub cursor: Option<Cursor>,
    /// Whether the catalogue reports that its access rules hid something.
    pub filtered: bool,
}

/// What is known of a [`Dependency`], in any order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    /// The passing instances of a service.
    Instances(Vec<Instance>),
    /// The services, by name, each with its tags.
    Services(Vec<(String, Vec<String>)>),
    /// The value of a key; `None` if there is no such key.
    Key(Option<String>),
    /// The keys of one level, without what all of them begin with, and their values.
    Keys(Vec<(String, String)>),
}

impl Data {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Instances(instances) => instances.is_empty(),
            Self::Services(services) => services.is_empty(),
            Self::Key(value) => value.is_none(),
            Self::Keys(keys) => keys.is_empty(),
        }
    }

    /// The same data in the order in which templates get them: instances by node and ID, all else by name.
    #[must_use]
    pub fn sorted(mut self) -> Self {
        match &mut self {
            Self::Instances(instances) => {
                for details in instances
                    .iter_mut()
                    .filter_map(|instance| instance.details.as_mut())
                {
                    details.tags.sort_unstable();
                }
                instances.sort_unstable_by(|one, other| (one.node(), one).cmp(&(other.node(), other)));
            }
            Self::Services(services) => {
                for (_, tags) in services.iter_mut() {
                    tags.sort_unstable();
                }
                services.sort_unstable();
            }
            Self::Key(_) => {}
            Self::Keys(keys) => keys.sort_unstable(),
        }
        self
    }

    /// How many bytes it takes, roughly.
    pub fn size(&self) -> usize {
        match self {
            Self::Instances(instances) => instances.iter().map(Instance::whole_size).sum(),
            Self::Services(services) => {
                let texts = |(name, tags): &(String, Vec<String>)| {
                    let tags = tags.iter().map(|tag| tag.len() + TEXT);
                    name.len() + 2 * TEXT + tags.sum::<usize>()
                };
                services.iter().map(texts).sum()
            }
            Self::Key(value) => value.as_ref().map_or(0, |value| value.len() + TEXT),
            Self::Keys(keys) => keys
                .iter()
                .map(|(key, value)| key.len() + value.len() + 2 * TEXT)
                .sum(),
        }
    }
}

impl Listing {
    /// The same list in the form that templates get.
    pub fn found(self) -> Found {
        Found {
            data: Data::Instances(self.instances),
            cursor: self.cursor,
            filtered: self.filtered,
        }
    }
}

/// How many bytes a text takes beside its letters.
const TEXT: usize = size_of::<String>();

impl Instance {
    /// The name of its node, if that is known.
    fn node(&self) -> &str {
        self.details.as_deref().map_or("", |details| &details.node)
    }

    /// How many bytes it takes with its details, roughly.
    fn whole_size(&self) -> usize {
        let details = |details: &Details| {
            let tags = details.tags.iter().map(|tag| tag.len() + TEXT);
            let meta = details
                .meta
                .iter()
                .map(|(key, value)| key.len() + value.len() + 2 * TEXT);
            size_of::<Details>() + details.node.len() + tags.chain(meta).sum::<usize>()
        };
        let texts = self.id.len() + self.address.len();
        size_of::<Self>() + texts + self.details.as_deref().map_or(0, details)
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
    /// What a template uses.
    Found(Found),
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

crate::keyed_as_is!(Request, Endpoint, Cursor, Instance, Dependency, Data);
