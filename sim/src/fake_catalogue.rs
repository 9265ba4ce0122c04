//! The simulated catalogue: its entries and its answers, without the network.
//!
//! It passes the same tests as the real catalogues (`tests/catalogue.rs` of the program), so that the
//! simulation does not deviate from them. It never loses or delays anything by itself.

use containerpilot::ports::Renewal;
use domain::Instant;
use domain::catalogue::{
    Cursor, Data, Dependency, Details, Endpoint, Found, Instance, Listing, LookUp, Query, Report,
};
use domain::plan::Registration;
use std::collections::{BTreeMap, BTreeSet};

/// A simulated catalogue.
#[derive(Debug)]
pub struct FakeCatalogue {
    removes_expired: bool,
    /// The entries by ID.
    entries: BTreeMap<String, CatalogueEntry>,
    /// How often the list of each service has changed.
    changes: BTreeMap<String, u64>,
    /// The keys and their values.
    keys: BTreeMap<String, String>,
    /// How often each key has changed.
    key_changes: BTreeMap<String, u64>,
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

/// The keys directly below a prefix, without it, and what they have.
fn level<T: Clone>(keys: &BTreeMap<String, T>, prefix: &str) -> Vec<(String, T)> {
    let named = |(key, value): (&String, &T)| {
        let name = key.strip_prefix(prefix)?;
        (!name.is_empty() && !name.contains('/')).then(|| (name.to_owned(), value.clone()))
    };
    keys.iter().filter_map(named).collect()
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
            keys: BTreeMap::new(),
            key_changes: BTreeMap::new(),
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

    /// Sets the value of a key, or removes it.
    pub fn set_key(&mut self, key: &str, value: Option<&str>) {
        let before = match value {
            Some(value) => self.keys.insert(key.into(), value.into()),
            None => self.keys.remove(key),
        };
        if before.as_deref() != value {
            *self.key_changes.entry(key.into()).or_default() += 1;
        }
    }

    /// Whether a look-up of something other than instances is answered at once.
    pub fn has_other_data(&self, look_up: &LookUp) -> bool {
        let cursor = self.cursor_of(&look_up.dependency);
        look_up.after.is_none_or(|after| after != cursor)
    }

    /// What is looked up.
    pub fn look_up(&self, look_up: &LookUp) -> Found {
        let data = match &look_up.dependency {
            Dependency::Service { .. } => {
                let query = look_up.query().unwrap_or_default();
                return self.list(&query).found();
            }
            Dependency::Services => Data::Services(self.services()),
            Dependency::Key(key) => Data::Key(self.keys.get(key).cloned()),
            Dependency::Keys(prefix) => Data::Keys(level(&self.keys, prefix)),
        };
        Found {
            data,
            cursor: Some(self.cursor_of(&look_up.dependency)),
            filtered: false,
        }
    }

    /// The services that have an instance, with the tags of all their instances.
    fn services(&self) -> Vec<(String, Vec<String>)> {
        let mut services: BTreeMap<&String, BTreeSet<&String>> = BTreeMap::new();
        for entry in self.entries.values() {
            if entry.passing || !self.removes_expired {
                let tags = services.entry(&entry.registration.name).or_default();
                tags.extend(&entry.registration.tags);
            }
        }
        let owned = |(name, tags): (&String, BTreeSet<&String>)| {
            let tags = tags.into_iter().cloned();
            (name.clone(), tags.collect())
        };
        services.into_iter().map(owned).collect()
    }

    /// A number that grows with each change.
    fn cursor_of(&self, dependency: &Dependency) -> Cursor {
        match dependency {
            Dependency::Service { name, .. } => self.cursor(name),
            Dependency::Services => Cursor(self.changes.values().sum()),
            Dependency::Key(key) => Cursor(self.key_changes.get(key).copied().unwrap_or_default()),
            Dependency::Keys(prefix) => {
                let changes = level(&self.key_changes, prefix);
                Cursor(changes.into_iter().map(|(_, count)| count).sum())
            }
        }
    }

    fn cursor(&self, service: &str) -> Cursor {
        Cursor(self.changes.get(service).copied().unwrap_or_default())
    }

    fn changed(&mut self, service: &str) {
        *self.changes.entry(service.into()).or_default() += 1;
    }
}
