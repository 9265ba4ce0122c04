//! The simulated catalogue: its entries and its answers, without the network.
//!
//! It passes the same tests as the real catalogues (`tests/catalogue.rs` of the program), so that the
//! simulation does not deviate from them. It never loses or delays anything by itself.

use containerpilot::ports::Renewal;
use domain::Instant;
use domain::catalogue::{Cursor, Details, Endpoint, Instance, Listing, Query, Report};
use domain::plan::Registration;
use std::collections::BTreeMap;

/// A simulated catalogue.
#[derive(Debug)]
pub struct FakeCatalogue {
    removes_expired: bool,
    /// The entries by ID.
    entries: BTreeMap<String, CatalogueEntry>,
    /// How often the list of each service has changed.
    changes: BTreeMap<String, u64>,
}

#[derive(Debug)]
struct CatalogueEntry {
    registration: Registration,
    expiry: Instant,
    passing: bool,
}

fn details(registration: &Registration) -> Box<Details> {
    Box::new(Details {
        tags: registration.tags.clone(),
        meta: registration.attributes.meta.clone(),
        ..Details::default()
    })
}

fn endpoint(registration: &Registration) -> Endpoint {
    Endpoint {
        address: registration.address.to_string(),
        port: registration.port,
    }
}

impl FakeCatalogue {
    /// An empty catalogue. An expired entry is removed, or can be renewed by a heartbeat.
    pub const fn new(removes_expired: bool) -> Self {
        Self {
            removes_expired,
            entries: BTreeMap::new(),
            changes: BTreeMap::new(),
        }
    }

    /// Registers an instance as passing, replacing the entry with its ID if there is one.
    pub fn register(&mut self, now: Instant, registration: &Registration) {
        let earlier = self.entries.remove(&registration.id);
        let same = |entry: &CatalogueEntry| entry.passing && entry.registration == *registration;
        if !earlier.as_ref().is_some_and(same) {
            let name = earlier.map(|entry| entry.registration.name);
            self.changed(&registration.name);
            if let Some(name) = name.filter(|name| *name != registration.name) {
                self.changed(&name);
            }
        }
        let entry = CatalogueEntry {
            registration: registration.clone(),
            expiry: now + registration.ttl,
            passing: true,
        };
        self.entries.insert(registration.id.clone(), entry);
    }

    /// Accepts a heartbeat.
    pub fn renew(&mut self, now: Instant, registration: &Registration) -> Renewal {
        let removes = self.removes_expired;
        let found = self.entries.get_mut(&registration.id);
        let Some(entry) = found.filter(|entry| entry.passing || !removes) else {
            return Renewal::Unknown("there is no such entry".into(), None);
        };
        if removes && entry.registration != *registration {
            let holder = endpoint(&entry.registration);
            return Renewal::Unknown("the entry is another one".into(), Some(holder));
        }
        entry.expiry = now + registration.ttl;
        if !std::mem::replace(&mut entry.passing, true) {
            self.changed(&registration.name);
        }
        Renewal::Renewed
    }

    /// Takes the result of a health check. The entry of an unhealthy instance is removed, or becomes critical.
    pub fn report(&mut self, now: Instant, report: &Report) -> Renewal {
        let registration = &report.registration;
        if report.healthy {
            return self.renew(now, registration);
        }
        if self.removes_expired {
            self.deregister(&registration.id);
            return Renewal::Removed;
        }
        let Some(standing) = self.entries.get_mut(&registration.id) else {
            return Renewal::Unknown("there is no such entry".into(), None);
        };
        let name = standing.registration.name.clone();
        if std::mem::replace(&mut standing.passing, false) {
            self.changed(&name);
        }
        Renewal::Renewed
    }

    /// The first passing entry whose ID does not have this prefix.
    pub fn first_but(&self, beginning: &str) -> Option<&Registration> {
        let others = self.entries.values().map(|entry| (entry, &entry.registration));
        let mut passing = others.filter(|(entry, _)| entry.passing);
        let first = passing.find(|(_, registration)| !registration.id.starts_with(beginning));
        first.map(|(_, registration)| registration)
    }

    /// The endpoint in the entry with an ID.
    pub fn holder(&self, id: &str) -> Option<Endpoint> {
        let entry = self.entries.get(id)?;
        (entry.passing || !self.removes_expired).then(|| endpoint(&entry.registration))
    }

    /// Removes the entry with an ID. Returns whether there was one.
    pub fn deregister(&mut self, id: &str) -> bool {
        let removed = self.entries.remove(id);
        if let Some(entry) = removed.as_ref().filter(|entry| entry.passing) {
            self.changed(&entry.registration.name);
        }
        removed.is_some()
    }

    /// When the next entry expires, if there is no heartbeat.
    pub fn next_expiry(&self) -> Option<Instant> {
        let passing = self.entries.values().filter(|entry| entry.passing);
        passing.map(|entry| entry.expiry).min()
    }

    /// Expires entries. Returns the IDs of those that are no longer passing.
    pub fn expire(&mut self, now: Instant) -> Vec<String> {
        let over = |entry: &&mut CatalogueEntry| entry.passing && entry.expiry <= now;
        let mut expired = Vec::new();
        for entry in self.entries.values_mut().filter(over) {
            entry.passing = false;
            expired.push((entry.registration.id.clone(), entry.registration.name.clone()));
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
        let wanted = |entry: &&CatalogueEntry| {
            let registration = &entry.registration;
            entry.passing && registration.name == query.service && query.selects(&registration.tags)
        };
        let instance = |entry: &CatalogueEntry| Instance {
            id: entry.registration.id.clone(),
            address: entry.registration.address.to_string(),
            port: entry.registration.port,
            details: query.details.then(|| details(&entry.registration)),
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
