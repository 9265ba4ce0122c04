//! The state of each backend: the last list of instances, its handler, and when the next query may be sent.

use super::Observer;
use super::plan::{SharedPlan, alike, key_of, longest_poll};
use super::requests::InFlight;
use crate::laws::bounds::{EARLY_ANSWER_PAUSE, FAILED_QUERY_PAUSE, HANDLER_PAUSE};
use domain::Instant;
use domain::catalogue::{Answer, Instance};
use domain::plan::{Backend, Job, Timing};
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
    /// What the last successful run of the handler got, and what the present one got.
    pub handled: Vec<Address>,
    pub given: Option<Vec<Address>>,
    /// Whether the handler has to run.
    pub owed: bool,
    /// When it may run after a change, and when it has to.
    pub timing: Timing,
    /// The quiet time of the changes that it has to run for; none if it has to run without one.
    pub quiet: Option<QuietTime>,
    /// The handler could not be started; the next attempt is between these two instants.
    pub retry: Option<(Instant, Instant)>,
    /// Whether the last query failed.
    pub failed: bool,
    /// Whether the query was refused and not sent again yet.
    pub refused: bool,
    pub not_before: Instant,
    pub not_after: Instant,
}

/// A quiet time after changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct QuietTime {
    /// It ends between these two instants, if nothing changes before.
    pub ends: (Instant, Instant),
    /// It ends here whatever changes.
    latest: Instant,
}

impl QuietTime {
    /// A quiet time that began between two instants.
    fn new(timing: &Timing, began: (Instant, Instant)) -> Self {
        let (quiet, most) = durations(timing);
        Self {
            ends: (began.0 + quiet, began.1 + quiet),
            latest: began.0 + most,
        }
    }

    /// Another change came: it begins anew, unless it is over.
    fn after_change(self, timing: &Timing, now: Instant) -> Self {
        if now >= self.ends.0 {
            return self;
        }
        let end = self.latest.min(now + durations(timing).0);
        Self {
            ends: (end, end),
            ..self
        }
    }
}

/// The quiet time and its maximum.
fn durations(timing: &Timing) -> (Duration, Duration) {
    let wait = timing.wait;
    wait.map_or((Duration::ZERO, Duration::ZERO), |wait| (wait.quiet, wait.most))
}

impl BackendFacts {
    /// Whether there are enough instances for the handler.
    pub(crate) fn is_enough(&self) -> bool {
        self.seen.len() >= self.timing.minimum as usize
    }

    /// Whether the handler has to run by now, if nothing else keeps it from running.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        let is_over = |quiet: QuietTime| now >= quiet.ends.1 + self.timing.splay;
        self.owed && self.is_enough() && self.quiet.is_none_or(is_over)
    }

    /// The list of instances is another.
    fn changes(&mut self, now: Instant, listed: Vec<Address>) {
        let waits = self.owed && self.is_enough();
        self.seen = listed;
        self.quiet = match self.quiet {
            _ if !self.is_enough() => None,
            quiet if waits => quiet.map(|quiet| quiet.after_change(&self.timing, now)),
            _ => Some(QuietTime::new(&self.timing, (now, now))),
        };
        self.owed = true;
    }

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
            facts.changes(now, listed);
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
        let Some(facts) = self.backends.get_mut(owner) else {
            return;
        };
        if let Some(given) = facts.given.take().filter(|_| ending.passed()) {
            facts.handled = given;
        }
        if matches!(ending, Ending::NotStarted(_)) {
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
            handled: Vec::new(),
            given: None,
            owed: false,
            timing: backend.timing,
            quiet: None,
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
                facts.given = None;
                facts.handled.clear();
            }
            facts.alike = facts.alike.max(alike(&plan, key).count());
            if std::mem::replace(&mut facts.timing, backend.timing) != backend.timing {
                let begins = facts.owed && facts.is_enough();
                facts.quiet = begins.then(|| QuietTime::new(&backend.timing, (turn, now)));
            }
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
    handled,
    given,
    owed,
    timing,
    quiet,
    retry,
    failed,
    refused,
    not_before,
    not_after,
});

domain::keyed!(QuietTime { ends, latest });
