//! What stands in a simulated catalogue and what it says: the rules, without the way there and back.
//!
//! Held to the same list of facts as the real catalogues (`tests/catalogue.rs` of the program), so that the
//! simulation cannot drift from them. Never loses, delays or forgets anything by itself.

use containerpilot::ports::Renewal;
use domain::Instant;
use domain::catalogue::{Cursor, Endpoint, Instance, Listing, Query};
use domain::plan::Registration;
use std::collections::BTreeMap;

/// A catalogue's book.
#[derive(Debug)]
pub struct FakeCatalogue {
    forgets_the_expired: bool,
    /// By ID.
    entries: BTreeMap<String, Standing>,
    /// How often what a service's listing says has changed.
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
    /// An empty book. An entry whose TTL is over is forgotten, or can be brought back by a heartbeat.
    pub const fn new(forgets_the_expired: bool) -> Self {
        Self {
            forgets_the_expired,
            entries: BTreeMap::new(),
            changes: BTreeMap::new(),
        }
    }

    /// Enters an instance as passing, over whatever stands under its ID.
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

    /// Takes a heartbeat.
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

    /// The first passing entry whose ID does not begin like this.
    pub fn first_but(&self, beginning: &str) -> Option<&Registration> {
        let others = self
            .entries
            .values()
            .map(|standing| (standing, &standing.registration));
        let mut passing = others.filter(|(standing, _)| standing.passing);
        let first = passing.find(|(_, registration)| !registration.id.starts_with(beginning));
        first.map(|(_, registration)| registration)
    }

    /// Where the instance is reached that stands under an ID.
    pub fn holder(&self, id: &str) -> Option<Endpoint> {
        let standing = self.entries.get(id)?;
        (standing.passing || !self.forgets_the_expired).then(|| endpoint(&standing.registration))
    }

    /// Removes what stands under an ID; whether there was anything.
    pub fn deregister(&mut self, id: &str) -> bool {
        let removed = self.entries.remove(id);
        if let Some(standing) = removed.as_ref().filter(|standing| standing.passing) {
            self.changed(&standing.registration.name);
        }
        removed.is_some()
    }

    /// When the next entry ceases to pass, if no heartbeat comes.
    pub fn next_expiry(&self) -> Option<Instant> {
        let passing = self.entries.values().filter(|standing| standing.passing);
        passing.map(|standing| standing.expiry).min()
    }

    /// Time passed; the IDs of those that do not pass any more.
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

    /// The IDs of everything that was entered and not removed.
    pub fn ids(&self) -> impl Iterator<Item = &String> {
        self.entries.keys()
    }

    /// Whether a question is answered at once: it waits for nothing, or what it waits for has happened.
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
