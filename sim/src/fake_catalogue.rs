//! The simulated catalogue: its entries and its answers, without the network.
//!
//! It passes the same tests as the real catalogues (`tests/catalogue.rs` of the program), so that the
//! simulation does not deviate from them. It never loses, delays or forgets anything by itself.

use containerpilot::ports::Renewal;
use domain::Instant;
use domain::catalogue::{Cursor, Endpoint, Instance, Listing, Query};
use domain::plan::Registration;
use std::collections::BTreeMap;

/// A simulated catalogue.
#[derive(Debug)]
pub struct FakeCatalogue {
    forgets_the_expired: bool,
    /// The entries by ID.
    entries: BTreeMap<String, Standing>,
    /// How often the list of each service has changed.
    changes: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct Standing {
    registration: Registration,
    expiry: Instant,
    passing: bool,
}

fn endpoint(registration: &Registration) -> Endpoint {
    Endpoint {
        address: registration.address.to_string(),
        port: registration.port,
    }
}

impl FakeCatalogue {
    /// An empty catalogue. An expired entry is removed, or can be renewed by a heartbeat.
    pub const fn new(forgets_the_expired: bool) -> Self {
        Self {
            forgets_the_expired,
            entries: BTreeMap::new(),
            changes: BTreeMap::new(),
        }
    }

    /// Registers an instance as passing, replacing the entry with its ID if there is one.
    pub fn register(&mut self, now: Instant, registration: &Registration) {
        let earlier = self.entries.remove(&registration.id);
        let same = |standing: &Standing| standing.passing && standing.registration == *registration;
        if !earlier.as_ref().is_some_and(same) {
            let name = earlier.map(|standing| standing.registration.name);
            self.changed(&registration.name);
            if let Some(name) = name.filter(|name| *name != registration.name) {
                self.changed(&name);
            }
        }
        let standing = Standing {
            registration: registration.clone(),
            expiry: now + registration.ttl,
            passing: true,
        };
        self.entries.insert(registration.id.clone(), standing);
    }

    /// Accepts a heartbeat.
    pub fn renew(&mut self, now: Instant, registration: &Registration) -> Renewal {
        let forgets = self.forgets_the_expired;
        let found = self.entries.get_mut(&registration.id);
        let Some(standing) = found.filter(|standing| standing.passing || !forgets) else {
            return Renewal::Unknown("there is no such entry".into(), None);
        };
        if forgets && standing.registration != *registration {
            let holder = endpoint(&standing.registration);
            return Renewal::Unknown("the entry is another one".into(), Some(holder));
        }
        standing.expiry = now + registration.ttl;
        if !std::mem::replace(&mut standing.passing, true) {
            self.changed(&registration.name);
        }
        Renewal::Renewed
    }

    /// The first passing entry whose ID does not have this prefix.
    pub fn first_but(&self, beginning: &str) -> Option<&Registration> {
        let others = self
            .entries
            .values()
            .map(|standing| (standing, &standing.registration));
        let mut passing = others.filter(|(standing, _)| standing.passing);
        let first = passing.find(|(_, registration)| !registration.id.starts_with(beginning));
        first.map(|(_, registration)| registration)
    }

    /// The endpoint in the entry with an ID.
    pub fn holder(&self, id: &str) -> Option<Endpoint> {
        let standing = self.entries.get(id)?;
        (standing.passing || !self.forgets_the_expired).then(|| endpoint(&standing.registration))
    }

    /// Removes the entry with an ID. Returns whether there was one.
    pub fn deregister(&mut self, id: &str) -> bool {
        let removed = self.entries.remove(id);
        if let Some(standing) = removed.as_ref().filter(|standing| standing.passing) {
            self.changed(&standing.registration.name);
        }
        removed.is_some()
    }

    /// When the next entry expires, if there is no heartbeat.
    pub fn next_expiry(&self) -> Option<Instant> {
        let passing = self.entries.values().filter(|standing| standing.passing);
        passing.map(|standing| standing.expiry).min()
    }

    /// Expires entries. Returns the IDs of those that are no longer passing.
    pub fn expire(&mut self, now: Instant) -> Vec<String> {
        let over = |standing: &&mut Standing| standing.passing && standing.expiry <= now;
        let mut expired = Vec::new();
        for standing in self.entries.values_mut().filter(over) {
            standing.passing = false;
            expired.push((
                standing.registration.id.clone(),
                standing.registration.name.clone(),
            ));
        }
        expired
            .into_iter()
            .map(|(id, name)| {
                self.changed(&name);
                id
            })
            .collect()
    }

    /// The IDs of all entries, including expired ones that were not removed.
    pub fn ids(&self) -> impl Iterator<Item = &String> {
        self.entries.keys()
    }

    /// Whether a query is answered at once: it does not block, or the list has changed since its cursor.
    pub fn has_news(&self, query: &Query) -> bool {
        query
            .after
            .is_none_or(|cursor| cursor != self.cursor(&query.service))
    }

    /// The passing instances.
    pub fn list(&self, query: &Query) -> Listing {
        let wanted = |standing: &&Standing| {
            let registration = &standing.registration;
            let tagged = |tag: &String| registration.tags.contains(tag);
            standing.passing && registration.name == query.service && query.tag.as_ref().is_none_or(tagged)
        };
        let instance = |standing: &Standing| Instance {
            id: standing.registration.id.clone(),
            address: standing.registration.address.to_string(),
            port: standing.registration.port,
        };
        let instances = self.entries.values().filter(wanted).map(instance).collect();
        let cursor = Some(self.cursor(&query.service));
        Listing {
            instances,
            cursor,
            ..Listing::default()
        }
    }

    fn cursor(&self, service: &str) -> Cursor {
        Cursor(self.changes.get(service).copied().unwrap_or_default())
    }

    fn changed(&mut self, service: &str) {
        *self.changes.entry(service.into()).or_default() += 1;
    }
}
