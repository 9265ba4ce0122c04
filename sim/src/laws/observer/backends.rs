//! The state of each backend: the last list of instances, its handler, and when the next query may be sent.

use super::Observer;
use super::plan::{SharedPlan, alike, key_of, longest_poll};
use super::requests::InFlight;
use crate::laws::bounds::{EARLY_ANSWER_PAUSE, FAILED_QUERY_PAUSE, HANDLER_PAUSE};
use domain::Instant;
use domain::catalogue::{Answer, Instance};
use domain::plan::{Backend, Job};
use domain::process::Ending;
use domain::time::Duration;

/// The address and the port of an instance of a backend.
pub(crate) type Address = (String, u16);

/// A backend, or several with the same name and tag.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BackendFacts {
    pub poll: Duration,
    pub handler: Job,
    pub alike: usize,
    pub superseded: bool,
    pub seen: Vec<Address>,
    /// Whether the handler has to run.
    pub owed: bool,
    /// The handler could not be started; the next attempt is between these two instants.
    pub retry: Option<(Instant, Instant)>,
    /// Whether the last query failed.
    pub failed: bool,
    /// Whether the query was refused and not sent again yet.
    pub refused: bool,
    pub not_before: Instant,
    pub not_after: Instant,
}

impl BackendFacts {
    /// The next query comes after at least `least` and at most `most`.
    pub(super) fn rest(&mut self, now: Instant, least: Duration, most: Duration) {
        (self.not_before, self.not_after) = (now + least, now + most);
    }
}

fn is_named(key: &str, name: &str) -> bool {
    key.strip_prefix(name).is_some_and(|tag| tag.starts_with('/'))
}

impl Observer {
    pub(super) fn listed(&mut self, request: &InFlight, answer: &Answer) {
        let now = self.now;
        self.turn.unsuccessful.push(request.owner.clone());
        let Some(facts) = self.backends.get_mut(&request.owner) else {
            return;
        };
        let poll = facts.poll;
        facts.failed = !matches!(answer, Answer::Instances(_));
        let Answer::Instances(listing) = answer else {
            return facts.rest(now, FAILED_QUERY_PAUSE.min(poll / 2), poll);
        };
        let address = |instance: &Instance| (instance.address.clone(), instance.port);
        let mut listed: Vec<Address> = listing.instances.iter().map(address).collect();
        listed.sort_unstable();
        if listed != facts.seen {
            facts.seen = listed;
            facts.owed = true;
        }
        let early = now - request.at < request.wait;
        match (listing.cursor, early) {
            (None, _) => facts.rest(now, poll, poll),
            (Some(_), true) => facts.rest(now, EARLY_ANSWER_PAUSE.min(poll / 2), poll),
            (Some(_), false) => facts.rest(now, Duration::ZERO, poll),
        }
    }

    /// The backends that a notice with this name may be about: their tags may differ.
    pub(crate) fn backends_named<'a>(
        &'a self,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a BackendFacts)> {
        let backends = self.backends.iter();
        backends.filter(move |(key, _)| is_named(key, name))
    }

    /// A query was refused for so long that it counts as failed.
    pub(super) fn query_given_up(&mut self, name: &str) {
        if !self.has_budget() {
            return;
        }
        let now = self.now;
        for (key, facts) in &mut self.backends {
            if is_named(key, name) && std::mem::take(&mut facts.refused) {
                facts.failed = true;
                facts.rest(now, Duration::ZERO, facts.poll);
            }
        }
    }

    /// A handler that could not be started still has to run, after a pause.
    pub(super) fn handler_ended(&mut self, owner: &str, ending: &Ending) {
        let (now, turn) = (self.now, self.turn.began);
        if let Some(facts) = self.backends.get_mut(owner)
            && matches!(ending, Ending::NotStarted(_))
        {
            let (least, most) = HANDLER_PAUSE;
            facts.owed = true;
            facts.retry = Some((turn + least, now + most));
        }
    }

    /// Adds a backend of the plan in force.
    pub(super) fn open_backend(&mut self, plan: &SharedPlan, backend: &Backend) {
        let (now, turn, key) = (self.now, self.turn.began, key_of(backend));
        let facts = || BackendFacts {
            poll: longest_poll(plan, &key),
            handler: backend.on_change.clone(),
            alike: alike(plan, &key).count(),
            superseded: false,
            seen: Vec::new(),
            owed: false,
            retry: None,
            failed: false,
            refused: false,
            not_before: turn + backend.poll,
            not_after: now + backend.poll,
        };
        self.backends.entry(key.clone()).or_insert_with(facts);
    }

    /// Changes the backends to those of the new plan; `moves` is whether it has another catalogue.
    pub(super) fn adopt_backends(&mut self, moves: bool) {
        let (now, plan, maintenance) = (self.now, self.plan.clone(), self.maintenance);
        let turn = self.turn.began;
        self.backends.retain(|key, facts| {
            let Some(backend) = alike(&plan, key).next() else {
                return false;
            };
            let poll = longest_poll(&plan, key);
            if (facts.poll != poll || moves) && !maintenance {
                facts.rest(now, poll, poll);
                facts.not_before = turn + poll;
            }
            if facts.superseded || facts.handler != backend.on_change {
                facts.retry = None;
            }
            facts.alike = facts.alike.max(alike(&plan, key).count());
            facts.poll = poll;
            facts.handler = backend.on_change.clone();
            facts.superseded = false;
            true
        });
    }
}

domain::keyed!(BackendFacts {
    poll,
    handler,
    alike,
    superseded,
    seen,
    owed,
    retry,
    failed,
    refused,
    not_before,
    not_after,
});
