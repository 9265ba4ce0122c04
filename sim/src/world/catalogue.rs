//! The world's catalogues, and the way there and back: latency, loss, outages, entries with TTLs, and
//! questions that wait for a change.
//!
//! A catalogue forgets when it restarts, and its cursors begin anew. A request that was given up may still
//! arrive, if late arrivals are among the faults.

use super::{Item, State};
use crate::trace::{Fact, What};
use domain::event::{Answer, Cursor, Instance, Listing, Query, Request};
use domain::plan::{Catalogue, Registration};
use domain::time::Duration;
use domain::{Effect, Event, Instant, Ticket};
use std::collections::BTreeMap;

/// All catalogues there are. The other instances are in all of them.
#[derive(Debug, Default)]
pub(super) struct Shelves {
    /// The one in use.
    path: String,
    entries: BTreeMap<(String, String), Standing>,
    neighbours: BTreeMap<String, Vec<Endpoint>>,
    index: u64,
    out: bool,
    wire: BTreeMap<Ticket, Asked>,
}

type Endpoint = (String, u16);

#[derive(Debug)]
struct Standing {
    expiry: Instant,
    passing: bool,
}

#[derive(Debug)]
struct Asked {
    path: String,
    request: Request,
    waits: bool,
}

impl State {
    pub(super) fn connect(&mut self, catalogue: &Catalogue) {
        self.shelves.path = format!("{catalogue:?}");
        self.record(What::Does(Effect::Connect(catalogue.clone())));
    }

    pub(super) fn ask(&mut self, ticket: Ticket, request: Request, limit: Duration) {
        let effect = Effect::Ask {
            ticket,
            request: request.clone(),
            limit,
        };
        self.record(What::Does(effect));
        let path = self.shelves.path.clone();
        self.schedule(limit, Item::GivesUp(ticket));
        let lost = self.faults.answers_are_lost && self.choices.odds(10);
        if self.shelves.out {
            if self.choices.below(2) == 0 {
                let refused = Answer::Failed("connection refused".into());
                self.schedule(Duration::from_millis(1), Item::Answers(ticket, refused));
            }
        } else if !lost {
            let after = self.latency();
            self.schedule(after, Item::Lands(ticket));
        } else if self.faults.late_arrivals && self.choices.odds(50) {
            let after = limit + self.choices.between(0, 2_000);
            self.schedule(after, Item::LandsLate(path.clone(), request.clone()));
        }
        let asked = Asked {
            path,
            request,
            waits: false,
        };
        self.shelves.wire.insert(ticket, asked);
    }

    fn latency(&mut self) -> Duration {
        let slow = self.faults.catalogue_is_slow && self.choices.odds(20);
        self.choices.between(0, if slow { 3_000 } else { 5 })
    }

    /// An answer to a question that was forgotten may come all the same.
    pub(super) fn forget(&mut self, ticket: Ticket) {
        self.record(What::Does(Effect::Forget(ticket)));
        let asked = self.shelves.wire.remove(&ticket);
        if let Some(asked) = asked.filter(|_| self.faults.late_arrivals) {
            let after = self.choices.between(0, 100);
            let answer = match asked.request {
                Request::Instances(query) => self.list(&query),
                _ => Answer::Done,
            };
            self.schedule(after, Item::Tells(Event::Answered(ticket, answer)));
        }
    }

    pub(super) fn answered(&mut self, ticket: Ticket, answer: Answer) -> Option<Event> {
        self.shelves.wire.remove(&ticket)?;
        Some(Event::Answered(ticket, answer))
    }

    /// The request arrives; its answer may be lost on the way back.
    pub(super) fn lands(&mut self, ticket: Ticket) {
        if self.shelves.out {
            return;
        }
        let Some(asked) = self.shelves.wire.get_mut(&ticket) else {
            return;
        };
        if let Request::Instances(query) = &asked.request
            && query.after.is_some_and(|cursor| cursor.0 == self.shelves.index)
        {
            asked.waits = true;
            let mut wait = query.wait;
            if self.faults.early_answers && self.choices.odds(20) {
                wait = self.choices.between(0, 300).min(wait);
            }
            return self.schedule(wait, Item::WaitOver(ticket));
        }
        let (path, request) = (asked.path.clone(), asked.request.clone());
        let answer = self.take(&path, request);
        self.send_back(ticket, answer);
    }

    fn send_back(&mut self, ticket: Ticket, answer: Answer) {
        if !(self.faults.answers_are_lost && self.choices.odds(10)) {
            let after = self.latency();
            self.schedule(after, Item::Answers(ticket, answer));
        }
    }

    pub(super) fn lands_late(&mut self, path: &str, request: Request) {
        if !self.shelves.out {
            if let Request::Register(r) | Request::Renew(r) | Request::Withdraw(r) = &request {
                self.fact(Fact::LandsLate(r.id.clone()));
            }
            self.take(path, request);
        }
    }

    /// A question that waited is answered now.
    pub(super) fn answer_waiting(&mut self, ticket: Ticket) {
        let Some(asked) = self.shelves.wire.get_mut(&ticket).filter(|asked| asked.waits) else {
            return;
        };
        asked.waits = false;
        if let Request::Instances(query) = asked.request.clone() {
            let answer = self.list(&query);
            self.send_back(ticket, answer);
        }
    }

    /// What the catalogue does, and says.
    fn take(&mut self, path: &str, request: Request) -> Answer {
        match request {
            Request::Register(registration) => self.enter(path, &registration),
            Request::Renew(registration) => {
                let gone = self.options.expired_are_gone;
                let there = self.shelves.entries.get(&(path.into(), registration.id.clone()));
                match there.filter(|standing| standing.passing || !gone) {
                    Some(_) => self.enter(path, &registration),
                    None => Answer::Unknown("there is no such check".into()),
                }
            }
            Request::Withdraw(registration) => {
                let key = (path.to_owned(), registration.id);
                if self.shelves.entries.remove(&key).is_some() && path == self.shelves.path {
                    self.fact(Fact::Removed(key.1));
                }
                Answer::Done
            }
            Request::Instances(query) => self.list(&query),
        }
    }

    fn enter(&mut self, path: &str, registration: &Registration) -> Answer {
        let (key, expiry) = (
            (path.to_owned(), registration.id.clone()),
            self.now + registration.ttl,
        );
        let passing = true;
        self.shelves.entries.insert(key, Standing { expiry, passing });
        if path == self.shelves.path {
            self.fact(Fact::Entered(registration.id.clone()));
        }
        let expires = Item::Expires(path.into(), registration.id.clone());
        self.schedule(registration.ttl, expires);
        Answer::Done
    }

    pub(super) fn expires(&mut self, path: &str, id: &str) {
        let now = self.now;
        let Some(standing) = self.shelves.entries.get_mut(&(path.to_owned(), id.to_owned())) else {
            return;
        };
        if standing.passing && standing.expiry <= now {
            standing.passing = false;
            if path == self.shelves.path {
                self.fact(Fact::Expired(id.into()));
            }
        }
    }

    /// Those with the tag "blue" are the ones on an even port. IDs say nothing, and the order is any.
    fn list(&mut self, query: &Query) -> Answer {
        let mut listed = self
            .shelves
            .neighbours
            .get(&query.service)
            .cloned()
            .unwrap_or_default();
        listed.retain(|(_, port)| query.tag.is_none() || port % 2 == 0);
        if self.choices.below(4) == 3 {
            listed.reverse();
        }
        let chosen = self.choices.below(2);
        let instance = |(number, (address, port)): (usize, Endpoint)| Instance {
            id: format!("n{number}-{chosen}"),
            address,
            port,
        };
        Answer::Instances(Listing {
            instances: listed.into_iter().enumerate().map(instance).collect(),
            cursor: self.options.cursors.then_some(Cursor(self.shelves.index)),
        })
    }

    /// Other instances of a backend come and go, every now and then.
    pub(super) fn neighbours_change(&mut self) {
        if self.faults.neighbours_change {
            let name = self.choices.one_of(&["b0", "b1"]);
            self.change(name);
            let after = self.choices.until(20, 30_000);
            self.schedule(after, Item::Neighbours);
        }
    }

    pub(super) fn change(&mut self, name: &str) {
        let count = self.choices.below(4);
        let choices = &mut self.choices;
        let endpoint = |_| (String::from("192.0.2.9"), choices.one_of(&[2, 1, 4]));
        let mut listed: Vec<Endpoint> = (0..count).map(endpoint).collect();
        listed.sort_unstable();
        self.shelves.neighbours.insert(name.into(), listed.clone());
        self.shelves.index += 1;
        self.fact(Fact::Neighbours(name.into(), listed));
        let about = |asked: &Asked| matches!(&asked.request, Request::Instances(q) if q.service == name);
        let waiting = self
            .shelves
            .wire
            .iter()
            .filter(|(_, asked)| asked.waits && about(asked));
        for ticket in waiting.map(|(ticket, _)| *ticket).collect::<Vec<_>>() {
            self.answer_waiting(ticket);
        }
    }

    pub(super) fn weather(&mut self) {
        if self.faults.outages && self.choices.below(2) == 0 {
            if !self.shelves.out {
                self.shelves.out = true;
                self.fact(Fact::Outage);
            }
            let after = self.choices.between(100, 40_000);
            self.schedule(after, Item::OutageOver);
        } else if self.faults.catalogue_forgets {
            self.forget_everything();
        }
        if self.faults.outages || self.faults.catalogue_forgets {
            let after = self.choices.until(1_000, 60_000);
            self.schedule(after, Item::Weather);
        }
    }

    pub(super) fn outage_over(&mut self) {
        if self.shelves.out {
            self.shelves.out = false;
            self.fact(Fact::OutageOver);
        }
    }

    /// The catalogue restarts; its cursors begin anew.
    fn forget_everything(&mut self) {
        self.fact(Fact::Forgets);
        self.shelves.index = 1;
        let entries = std::mem::take(&mut self.shelves.entries);
        for (path, id) in entries.into_keys() {
            if path == self.shelves.path {
                self.fact(Fact::Removed(id));
            }
        }
        let waiting = self.shelves.wire.iter().filter(|(_, asked)| asked.waits);
        for ticket in waiting.map(|(ticket, _)| *ticket).collect::<Vec<_>>() {
            let failed = Answer::Failed("connection reset".into());
            self.schedule(Duration::ZERO, Item::Answers(ticket, failed));
        }
    }
}
