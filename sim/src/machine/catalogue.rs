//! The network between the shim and the simulated catalogues: latency, loss, outages, and queries that block.
//! [`FakeCatalogue`] has the entries and the answers.
//!
//! A restart of a catalogue deletes its data and its cursors. A cancelled request may still arrive, if late
//! arrivals are among the faults.

use super::{ScheduledItem, State};
use crate::fake_catalogue::FakeCatalogue;
use crate::trace::{EntryKind, Fact};
use containerpilot::ports::Renewal;
use domain::catalogue::{Answer, Dependency, LookUp, Query, Report, Request};
use domain::plan::{Catalogue, Host, Registration};
use domain::time::Duration;
use domain::{Effect, Event, Instant, Ticket};
use std::collections::BTreeMap;

/// All catalogues. Other instances are registered in each of them.
#[derive(Debug, Default)]
pub(super) struct FakeCatalogues {
    /// The path of the one in use.
    path: String,
    catalogues: BTreeMap<String, FakeCatalogue>,
    other_instances: BTreeMap<String, Vec<Address>>,
    /// The keys, which other programs have set in each catalogue.
    keys: BTreeMap<String, String>,
    out: bool,
    in_flight: BTreeMap<Ticket, RequestInFlight>,
}

type Address = (String, u16);

#[derive(Debug)]
struct RequestInFlight {
    path: String,
    request: Request,
    waits: bool,
}

/// The prefix of the IDs of instances that are not the shim's.
const OTHER_INSTANCE: &str = "neighbour-";
/// The limit on the other instances of a backend.
const MOST: u32 = 3;

impl FakeCatalogues {
    /// The request with this ticket, and the path of its catalogue.
    fn in_flight(&self, ticket: Ticket) -> Option<(String, Request)> {
        let in_flight = self.in_flight.get(&ticket)?;
        Some((in_flight.path.clone(), in_flight.request.clone()))
    }

    /// Sets whether a query waits for a change. Returns whether it did before.
    fn waits(&mut self, ticket: Ticket, waits: bool) -> bool {
        let in_flight = self.in_flight.get_mut(&ticket);
        in_flight.is_some_and(|in_flight| std::mem::replace(&mut in_flight.waits, waits))
    }
}

/// The query for the instances that a request is about, if it is about any.
fn query_of(request: &Request) -> Option<Query> {
    match request {
        Request::Instances(query) => Some(query.clone()),
        Request::LookUp(LookUp {
            dependency: Dependency::Service { name, tag },
            after,
            wait,
        }) => Some(Query {
            service: name.clone(),
            tag: tag.clone(),
            after: *after,
            wait: *wait,
            ..Query::default()
        }),
        _ => None,
    }
}

/// What is looked up that is no list of instances.
fn other_look_up(request: &Request) -> Option<&LookUp> {
    match request {
        Request::LookUp(look_up) if look_up.query().is_none() => Some(look_up),
        _ => None,
    }
}

/// Replaces all instances of a backend. Those on an even port have the tag "blue".
fn register_other_instances(catalogue: &mut FakeCatalogue, now: Instant, name: &str, listed: &[Address]) {
    let id = |number: u32| format!("{OTHER_INSTANCE}{name}-{number}");
    for (number, (address, port)) in (0..).zip(listed) {
        let registration = Registration {
            id: id(number),
            name: name.into(),
            address: Host::from(address.as_str()),
            port: *port,
            tags: Vec::from_iter((port % 2 == 0).then(|| "blue".into())),
            ttl: Duration::MAX,
            enable_tag_override: false,
            deregister_critical_after: None,
            attributes: Box::default(),
        };
        catalogue.register(now, &registration);
    }
    for gone in (0..MOST).skip(listed.len()) {
        catalogue.deregister(&id(gone));
    }
}

impl State {
    pub(super) fn connect(&mut self, catalogue: &Catalogue) {
        self.fake_catalogues.path = format!("{catalogue:?}");
        self.record(EntryKind::Effect(Effect::Connect(catalogue.clone())));
    }

    pub(super) fn request(
        &mut self,
        ticket: Ticket,
        request: Request,
        connections: Option<u32>,
        limit: Duration,
    ) {
        let effect = Effect::Request {
            ticket,
            request: request.clone(),
            connections,
            limit,
        };
        self.record(EntryKind::Effect(effect));
        let path = self.fake_catalogues.path.clone();
        self.schedule(limit, ScheduledItem::TimesOut(ticket));
        let silent = self.faults.catalogue_is_silent;
        let lost = self.faults.answers_are_lost && self.choices.odds(10);
        if silent {
            // Only the time limit ends the request.
        } else if self.faults.catalogue_is_busy && self.choices.odds(20) {
            let busy = Answer::Busy("it takes no more connections".into());
            self.schedule(Duration::from_millis(1), ScheduledItem::Answers(ticket, busy));
        } else if self.fake_catalogues.out {
            if self.choices.below(2) == 0 {
                let refused = Answer::Failed("connection refused".into());
                self.schedule(Duration::from_millis(1), ScheduledItem::Answers(ticket, refused));
            }
        } else if !lost {
            let after = self.latency();
            self.schedule(after, ScheduledItem::Arrives(ticket));
        } else if self.faults.late_arrivals && self.choices.odds(50) {
            let after = limit + self.choices.between(0, 2_000);
            self.schedule(after, ScheduledItem::ArrivesLate(path.clone(), request.clone()));
        }
        let in_flight = RequestInFlight {
            path,
            request,
            waits: false,
        };
        self.fake_catalogues.in_flight.insert(ticket, in_flight);
    }

    fn latency(&mut self) -> Duration {
        let slow = self.faults.catalogue_is_slow && self.choices.odds(20);
        self.choices.between(0, if slow { 3_000 } else { 5 })
    }

    /// An answer to a cancelled request may still arrive.
    pub(super) fn cancel(&mut self, ticket: Ticket) {
        self.record(EntryKind::Effect(Effect::Cancel(ticket)));
        let in_flight = self.fake_catalogues.in_flight.remove(&ticket);
        if let Some(in_flight) = in_flight.filter(|_| self.faults.late_arrivals) {
            let latest = self.choices.one_of(&[100, 15_000]);
            let after = self.choices.between(0, latest);
            let answer = match in_flight.request {
                Request::Instances(query) => self.list(&in_flight.path, &query),
                Request::LookUp(look_up) => self.look_up(&in_flight.path, &look_up),
                _ => Answer::Done,
            };
            self.schedule(after, ScheduledItem::Post(Event::Answered(ticket, answer)));
        }
    }

    pub(super) fn answered(&mut self, ticket: Ticket, answer: Answer) -> Option<Event> {
        self.fake_catalogues.in_flight.remove(&ticket)?;
        Some(Event::Answered(ticket, answer))
    }

    /// The request arrives; its answer may be lost.
    pub(super) fn arrive(&mut self, ticket: Ticket) {
        if self.fake_catalogues.out {
            return;
        }
        let Some((path, request)) = self.fake_catalogues.in_flight(ticket) else {
            return;
        };
        let wait = match (query_of(&request), other_look_up(&request)) {
            (Some(query), _) => (!self.catalogue(&path).has_news(&query)).then_some(query.wait),
            (None, Some(look_up)) => (!self.catalogue(&path).has_other_data(look_up)).then_some(look_up.wait),
            (None, None) => None,
        };
        if let Some(mut wait) = wait {
            self.fake_catalogues.waits(ticket, true);
            if self.faults.early_answers && self.choices.odds(20) {
                wait = self.choices.between(0, 300).min(wait);
            }
            return self.schedule(wait, ScheduledItem::WaitOver(ticket));
        }
        let answer = self.take(&path, request);
        self.send_back(ticket, answer);
    }

    fn send_back(&mut self, ticket: Ticket, answer: Answer) {
        if !(self.faults.answers_are_lost && self.choices.odds(10)) {
            let after = self.latency();
            self.schedule(after, ScheduledItem::Answers(ticket, answer));
        }
    }

    pub(super) fn arrive_late(&mut self, path: &str, request: Request) {
        if !self.fake_catalogues.out {
            if let Request::Register(r)
            | Request::Renew(r)
            | Request::Report(Report { registration: r, .. })
            | Request::Deregister(r) = &request
            {
                self.fact(Fact::ArrivesLate(r.id.clone()));
            }
            self.take(path, request);
        }
    }

    /// A query that waited is answered now.
    pub(super) fn answer_waiting(&mut self, ticket: Ticket) {
        let in_flight = self.fake_catalogues.in_flight(ticket);
        if let Some((path, request @ (Request::Instances(_) | Request::LookUp(_)))) =
            in_flight.filter(|_| self.fake_catalogues.waits(ticket, false))
        {
            let answer = self.take(&path, request);
            self.send_back(ticket, answer);
        }
    }

    /// Executes a request and returns its answer.
    fn take(&mut self, path: &str, request: Request) -> Answer {
        match request {
            Request::Register(registration) => self.enter(path, &registration),
            Request::Renew(registration) => {
                let now = self.now;
                let renewal = self.catalogue(path).renew(now, &registration);
                self.renewed(path, &registration, renewal)
            }
            Request::Report(report) => self.reported(path, &report),
            Request::Inspect(registration) => Answer::Holder(self.catalogue(path).holder(&registration.id)),
            Request::Deregister(registration) => {
                if self.catalogue(path).deregister(&registration.id) && path == self.fake_catalogues.path {
                    self.fact(Fact::Removed(registration.id));
                }
                Answer::Done
            }
            Request::Instances(query) => self.list(path, &query),
            Request::LookUp(look_up) => self.look_up(path, &look_up),
        }
    }

    /// The answer for templates, which has the same instances as that for backends.
    fn look_up(&mut self, path: &str, look_up: &LookUp) -> Answer {
        let Some(query) = query_of(&Request::LookUp(look_up.clone())) else {
            let mut found = self.catalogue(path).look_up(look_up);
            found.cursor = found.cursor.filter(|_| self.options.cursors);
            return Answer::Found(found);
        };
        let Answer::Instances(listing) = self.list(path, &query) else {
            return Answer::Failed("no list".into());
        };
        Answer::Found(listing.found())
    }

    fn enter(&mut self, path: &str, registration: &Registration) -> Answer {
        let now = self.now;
        self.catalogue(path).register(now, registration);
        self.passes(path, registration)
    }

    fn renewed(&mut self, path: &str, registration: &Registration, renewal: Renewal) -> Answer {
        match renewal {
            Renewal::Renewed => self.passes(path, registration),
            Renewal::Removed => Answer::Removed,
            Renewal::Unknown(cause, holder) => Answer::Unknown(cause, holder),
        }
    }

    /// The result of a health check arrives.
    fn reported(&mut self, path: &str, report: &Report) -> Answer {
        let now = self.now;
        let renewal = self.catalogue(path).report(now, report);
        if report.healthy {
            return self.renewed(path, &report.registration, renewal);
        }
        let answer = match renewal {
            Renewal::Renewed => Answer::Done,
            Renewal::Removed => Answer::Removed,
            Renewal::Unknown(cause, holder) => Answer::Unknown(cause, holder),
        };
        if path == self.fake_catalogues.path && !matches!(answer, Answer::Unknown(..)) {
            self.fact(Fact::Critical(report.registration.id.clone()));
        }
        answer
    }

    /// An entry of the shim is valid for another TTL.
    fn passes(&mut self, path: &str, registration: &Registration) -> Answer {
        if path == self.fake_catalogues.path {
            self.fact(Fact::Entered(registration.id.clone()));
        }
        self.schedule(registration.ttl, ScheduledItem::Expires(path.into()));
        Answer::Done
    }

    pub(super) fn expires(&mut self, path: &str) {
        let now = self.now;
        for id in self.catalogue(path).expire(now) {
            if path == self.fake_catalogues.path {
                self.fact(Fact::Expired(id));
            }
        }
    }

    /// The answer to a query: IDs are random, the order is any, and a catalogue may have no cursors.
    fn list(&mut self, path: &str, query: &Query) -> Answer {
        let mut listing = self.catalogue(path).list(query);
        if self.choices.below(4) == 3 {
            listing.instances.reverse();
        }
        let chosen = self.choices.below(2);
        for (number, instance) in listing.instances.iter_mut().enumerate() {
            instance.id = format!("n{number}-{chosen}");
        }
        listing.cursor = listing.cursor.filter(|_| self.options.cursors);
        Answer::Instances(listing)
    }

    /// One of the catalogues; a new one contains the other instances, too.
    fn catalogue(&mut self, path: &str) -> &mut FakeCatalogue {
        let (now, removes) = (self.now, self.options.expired_are_gone);
        let other_instances = &self.fake_catalogues.other_instances;
        let keys = &self.fake_catalogues.keys;
        self.fake_catalogues
            .catalogues
            .entry(path.into())
            .or_insert_with(|| {
                let mut catalogue = FakeCatalogue::new(removes);
                for (name, listed) in other_instances {
                    register_other_instances(&mut catalogue, now, name, listed);
                }
                for (key, value) in keys {
                    catalogue.set_key(key, Some(value));
                }
                catalogue
            })
    }

    /// Changes the other instances of a backend now and then.
    pub(super) fn instances_change(&mut self) {
        if self.faults.instances_change {
            let name = self.choices.one_of(&["b0", "b1"]);
            self.change(name);
            let after = self.choices.until(20, 30_000);
            self.schedule(after, ScheduledItem::InstancesChange);
        }
    }

    pub(super) fn change(&mut self, name: &str) {
        let count = self.choices.below(MOST + 1);
        let choices = &mut self.choices;
        let endpoint = |_| (String::from("192.0.2.9"), choices.one_of(&[2, 1, 4]));
        let mut listed: Vec<Address> = (0..count).map(endpoint).collect();
        listed.sort_unstable();
        for catalogue in self.fake_catalogues.catalogues.values_mut() {
            register_other_instances(catalogue, self.now, name, &listed);
        }
        self.fake_catalogues
            .other_instances
            .insert(name.into(), listed.clone());
        if listed.is_empty() && name == "b1" {
            self.overwrite();
        }
        self.fact(Fact::InstancesChanged(name.into(), listed));
        let about = |in_flight: &RequestInFlight| {
            query_of(&in_flight.request).is_some_and(|query| query.service == name)
        };
        let waiting = self
            .fake_catalogues
            .in_flight
            .iter()
            .filter(|(_, in_flight)| in_flight.waits && about(in_flight));
        for ticket in waiting.map(|(ticket, _)| *ticket).collect::<Vec<_>>() {
            self.answer_waiting(ticket);
        }
    }

    /// Changes a key now and then.
    pub(super) fn keys_change(&mut self) {
        if self.faults.instances_change {
            let key = self.choices.one_of(&["k0", "k1", "p/a", "p/b"]);
            let value = self.choices.one_of(&[Some("1"), None, Some("2")]);
            self.set_key(key, value);
            let after = self.choices.until(20, 30_000);
            self.schedule(after, ScheduledItem::KeysChange);
        }
    }

    /// Sets a key to a value, or removes it; look-ups of it that wait are answered.
    pub(super) fn set_key(&mut self, key: &str, value: Option<&str>) {
        for catalogue in self.fake_catalogues.catalogues.values_mut() {
            catalogue.set_key(key, value);
        }
        match value {
            Some(value) => self.fake_catalogues.keys.insert(key.into(), value.into()),
            None => self.fake_catalogues.keys.remove(key),
        };
        self.fact(Fact::KeyChanged(key.into(), value.map(Into::into)));
        let in_flight = self.fake_catalogues.in_flight.iter();
        let waiting: Vec<_> = in_flight
            .filter(|(_, in_flight)| in_flight.waits)
            .filter_map(|(ticket, in_flight)| {
                let look_up = other_look_up(&in_flight.request)?;
                let catalogue = self.fake_catalogues.catalogues.get(&in_flight.path)?;
                catalogue.has_other_data(look_up).then_some(*ticket)
            })
            .collect();
        for ticket in waiting {
            self.answer_waiting(ticket);
        }
    }

    /// Registers another instance, which left a backend, under the ID of the shim's first service, if that is
    /// registered.
    fn overwrite(&mut self) {
        let path = self.fake_catalogues.path.clone();
        let now = self.now;
        let catalogue = self.catalogue(&path);
        let Some(mut registration) = catalogue.first_but(OTHER_INSTANCE).cloned() else {
            return;
        };
        registration.address = [192, 0, 2, 9].into();
        catalogue.register(now, &registration);
        let holder = catalogue.holder(&registration.id);
        self.schedule(registration.ttl, ScheduledItem::Expires(path));
        if let Some(holder) = holder {
            self.fact(Fact::Overwritten(registration.id, holder));
        }
    }

    pub(super) fn catalogue_fault(&mut self) {
        if self.faults.outages && self.choices.below(2) == 0 {
            if !self.fake_catalogues.out {
                self.fake_catalogues.out = true;
                self.fact(Fact::Outage);
            }
            let after = self.choices.between(100, 40_000);
            self.schedule(after, ScheduledItem::OutageOver);
        } else if self.faults.catalogue_loses_data {
            self.lose_data();
        }
        if self.faults.outages || self.faults.catalogue_loses_data {
            let after = self.choices.until(1_000, 60_000);
            self.schedule(after, ScheduledItem::CatalogueFault);
        }
    }

    pub(super) fn outage_over(&mut self) {
        if self.fake_catalogues.out {
            self.fake_catalogues.out = false;
            self.fact(Fact::OutageOver);
        }
    }

    /// The catalogue restarts and loses its data and its cursors. The other instances register again at once.
    fn lose_data(&mut self) {
        self.fact(Fact::DataLost);
        let mut catalogues = std::mem::take(&mut self.fake_catalogues.catalogues);
        if let Some(catalogue) = catalogues.remove(&self.fake_catalogues.path) {
            for id in catalogue.ids().filter(|id| !id.starts_with(OTHER_INSTANCE)) {
                self.fact(Fact::Removed(id.clone()));
            }
        }
        let waiting = self
            .fake_catalogues
            .in_flight
            .iter()
            .filter(|(_, in_flight)| in_flight.waits);
        for ticket in waiting.map(|(ticket, _)| *ticket).collect::<Vec<_>>() {
            let failed = Answer::Failed("connection reset".into());
            self.schedule(Duration::ZERO, ScheduledItem::Answers(ticket, failed));
        }
    }
}
