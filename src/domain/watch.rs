//! The watch of one backend: when to list its instances, and whether they have changed.
//!
//! The first request is sent one `poll` after the start. From then on each request waits in the catalogue for a
//! change, for at most one `poll` (SD-20). The instances are compared as a multiset of address and port (SD-7). At
//! the start the multiset is empty, so a first answer with instances is a change, and one without is not (SD-6). A
//! failed answer is never a change.
//!
//! If the query may not block, because the budget of connections is used up, the watch sends short queries,
//! each one `poll` after the last answer.
//!
//! After a failure, or after an early answer without a change, the pause before the next request grows, up to
//! one `poll`.

use crate::catalogue::{Cursor, Details, Instance};
use crate::state_key::{Keyed, StateKey, write_variant};
use crate::time::{Backoff, Duration, Instant, Jitter};
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

/// The shortest pause after an early answer, and the first step of its backoff.
const EARLY: Duration = Duration::from_millis(50);
/// The first step of the backoff after a failure.
const FAILED: Duration = Duration::from_millis(500);

/// The watch of one backend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watch {
    poll: Duration,
    state: State,
    cursor: Option<Cursor>,
    seen: Vec<AddressPort>,
    size: usize,
    early: Backoff,
    failed: Backoff,
    jitter: Jitter,
}

/// A query to send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NextQuery {
    /// Answer when the list differs from the state at this cursor...
    pub after: Option<Cursor>,
    /// ...but at the latest after this time; zero requests an answer at once.
    pub wait: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum State {
    /// `since` is the time of the last answer, or of the start.
    Scheduled {
        since: Instant,
        until: Instant,
    },
    /// It would send a query at once if the query might block.
    Waiting {
        since: Instant,
    },
    InFlight {
        since: Instant,
        wait: Duration,
    },
    Paused,
}

/// The part of an instance that is compared: its address and its port.
pub type AddressPort = (String, u16);

impl Watch {
    /// A watch whose first query is due one `poll` after `now`; if `paused`, only after [`Self::resume`].
    pub fn new(now: Instant, poll: Duration, paused: bool, mut jitter: Jitter) -> Self {
        let state = if paused {
            State::Paused
        } else {
            let (since, until) = (now, now + poll);
            State::Scheduled { since, until }
        };
        let (early, failed) = (jitter.split(), jitter.split());
        Self {
            poll,
            state,
            cursor: None,
            seen: Vec::new(),
            size: 0,
            early: Backoff::new(EARLY, poll, early),
            failed: Backoff::new(FAILED, poll, failed),
            jitter,
        }
    }

    /// A watch whose first query is due at once; if `paused`, after [`Self::restarted`].
    pub fn at_once(now: Instant, poll: Duration, paused: bool, jitter: Jitter) -> Self {
        let mut watch = Self::new(now, poll, paused, jitter);
        if !paused {
            watch.schedule(now, Duration::ZERO);
        }
        watch
    }

    /// The same watch, whose next query is due at once and has no cursor.
    #[must_use]
    pub fn restarted(&self, now: Instant) -> Self {
        let mut watch = self.clone();
        watch.cursor = None;
        watch.schedule(now, Duration::ZERO);
        watch
    }

    /// When [`Self::on_time`] returns a query.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Scheduled { until, .. } => Some(until),
            State::Waiting { since } => Some(since + self.poll),
            State::InFlight { .. } | State::Paused => None,
        }
    }

    /// The instances when they were last listed, in order.
    pub fn seen(&self) -> &[AddressPort] {
        &self.seen
    }

    /// How many bytes the last list of instances takes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Called when time has passed. A query that may not block is sent one `poll` after the last answer.
    pub fn on_time(&mut self, now: Instant, may_block: bool) -> Option<NextQuery> {
        self.deadline().filter(|deadline| *deadline <= now)?;
        if let State::Scheduled { since, .. } = self.state
            && self.cursor.is_some()
            && !may_block
            && now < since + self.poll
        {
            self.state = State::Waiting { since };
            return None;
        }
        let after = self.cursor.filter(|_| may_block);
        let wait = after.map_or(Duration::ZERO, |_| self.poll);
        self.state = State::InFlight { since: now, wait };
        Some(NextQuery { after, wait })
    }

    /// From now on the query may block.
    pub fn let_block(&mut self, now: Instant) {
        if let State::Waiting { since } = self.state {
            self.state = State::Scheduled { since, until: now };
        }
    }

    /// From now on the query may not block. Returns whether a blocking query in flight has to be cancelled.
    /// One that was not sent yet is replaced by a short one at once.
    pub fn stop_blocking(&mut self, was_sent: bool) -> bool {
        let State::InFlight { since, .. } = self.state else {
            return false;
        };
        let blocks = self.is_blocking();
        if blocks {
            let since = if was_sent { since } else { Instant::START };
            self.state = State::Waiting { since };
        }
        blocks
    }

    /// Whether a blocking query is in flight or waits to be sent.
    pub fn is_blocking(&self) -> bool {
        matches!(self.state, State::InFlight { wait, .. } if wait > Duration::ZERO)
    }

    /// Called when the query was sent later than it was returned.
    pub fn on_sent(&mut self, at: Instant) {
        if let State::InFlight { since, .. } = &mut self.state {
            *since = at;
        }
    }

    /// Called with the list of instances. Returns the last one, in order, if they differ.
    pub fn on_instances(
        &mut self,
        now: Instant,
        instances: &[Instance],
        cursor: Option<Cursor>,
    ) -> Option<Vec<AddressPort>> {
        let State::InFlight { since, wait } = self.state else {
            return None;
        };
        let last = self.store(instances);
        self.after_answer(now, since + wait, last.is_some(), cursor);
        last
    }

    /// Called with data that the caller compares: whether they have changed, and how many bytes they take.
    pub fn on_data(&mut self, now: Instant, changed: bool, size: usize, cursor: Option<Cursor>) {
        if let State::InFlight { since, wait } = self.state {
            self.size = size;
            self.after_answer(now, since + wait, changed, cursor);
        }
    }

    /// Called when the catalogue answered but hid all instances: the last list stays in force.
    pub fn on_hidden(&mut self, now: Instant, cursor: Option<Cursor>) {
        if let State::InFlight { since, wait } = self.state {
            self.after_answer(now, since + wait, false, cursor);
        }
    }

    /// After an answer that was due at the time `due`: decides when the next query is sent, and after which
    /// cursor.
    fn after_answer(&mut self, now: Instant, due: Instant, changed: bool, cursor: Option<Cursor>) {
        let early = now < due;
        self.failed.reset();
        if changed || !early {
            self.early.reset();
        }
        let pause = match cursor {
            None => self.poll,
            Some(_) if early || changed => self.early.delay(),
            Some(_) => Duration::ZERO,
        };
        self.cursor = cursor;
        self.schedule(now, pause);
    }

    /// Called when the query failed. The list is unknown now, so the next query has no cursor.
    pub fn on_failure(&mut self, now: Instant) {
        if let State::InFlight { .. } = self.state {
            self.cursor = None;
            let pause = self.failed.delay();
            self.schedule(now, pause);
        }
    }

    /// Sends no queries until [`Self::resume`]; the answer of one in flight is discarded.
    pub fn pause(&mut self) {
        self.state = State::Paused;
    }

    /// Sends queries again, the first one poll interval after `now` at the latest; the last list stays in
    /// force.
    pub fn resume(&mut self, now: Instant) {
        self.cursor = None;
        self.schedule(now, self.poll);
    }

    /// The backend has another configuration: the last list stays in force (SD-19).
    pub fn retime(&mut self, now: Instant, poll: Duration) {
        if self.poll == poll {
            return;
        }
        let fresh = Self::new(now, poll, self.state == State::Paused, self.jitter);
        let (seen, size) = (core::mem::take(&mut self.seen), self.size);
        *self = Self { seen, size, ..fresh };
    }

    fn schedule(&mut self, now: Instant, pause: Duration) {
        let (since, until) = (now, now + pause);
        self.state = State::Scheduled { since, until };
    }

    fn store(&mut self, instances: &[Instance]) -> Option<Vec<AddressPort>> {
        let endpoint = |instance: &Instance| (instance.address.clone(), instance.port);
        let mut now_there: Vec<AddressPort> = instances.iter().map(endpoint).collect();
        now_there.sort_unstable();
        let changed = now_there != self.seen;
        let last = mem::replace(&mut self.seen, now_there);
        self.size = size(instances);
        changed.then_some(last)
    }
}

/// How many bytes a list with its details takes, in which each instance has some; none without details.
pub fn detailed_size(instances: &[Instance]) -> usize {
    let text = size_of::<String>();
    let details = |instance: &Instance| {
        let details = instance.details.as_deref()?;
        let tags: usize = details.tags.iter().map(|tag| tag.len() + text).sum();
        let meta = details
            .meta
            .iter()
            .map(|(key, value)| key.len() + value.len() + 2 * text);
        let checks = details.checks.iter();
        let checks = checks.map(|check| check.id.len() + check.name.len() + check.status.len() + 4 * text);
        let own =
            instance.id.len() + instance.address.len() + details.node.len() + details.node_address.len();
        Some(
            own + tags
                + meta.sum::<usize>()
                + checks.sum::<usize>()
                + size_of::<Instance>()
                + size_of::<Details>(),
        )
    };
    instances.iter().filter_map(details).sum()
}

/// How many bytes a stored list takes.
pub fn size(instances: &[Instance]) -> usize {
    let texts = instances.iter().map(|instance| instance.address.len());
    texts.sum::<usize>() + instances.len() * size_of::<AddressPort>()
}

crate::keyed!(Watch { poll, state, cursor, seen, size, early, failed } without { jitter });

impl Keyed for State {
    fn write_key(&self, key: &mut impl StateKey) {
        write_variant(self, key);
        match self {
            Self::Scheduled { since, until } => {
                since.write_key(key);
                until.write_key(key);
            }
            Self::Waiting { since } => since.write_key(key),
            Self::InFlight { since, wait } => {
                since.write_key(key);
                wait.write_key(key);
            }
            Self::Paused => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLL: Duration = Duration::from_secs(10);

    const fn at(milliseconds: u64) -> Instant {
        Instant::after_start(Duration::from_millis(milliseconds))
    }

    fn fresh() -> Watch {
        Watch::new(at(0), POLL, false, Jitter::new(1))
    }

    fn instances(ports: &[u16]) -> Vec<Instance> {
        let instance = |port: &u16| Instance {
            id: format!("db-{port}"),
            address: "192.0.2.1".into(),
            port: *port,
            details: None,
        };
        ports.iter().map(instance).collect()
    }

    /// A watch that got a list with one instance on port 1, at second 10, and sent the next query.
    fn watching() -> (Watch, Instant) {
        let mut watch = fresh();
        watch.on_time(at(10_000), true);
        assert!(
            watch
                .on_instances(at(10_000), &instances(&[1]), Some(Cursor(7)))
                .is_some()
        );
        let next = watch.deadline().unwrap();
        watch.on_time(next, true);
        (watch, next)
    }

    #[test]
    fn the_first_query_is_sent_after_one_poll_and_does_not_block() {
        let mut watch = fresh();
        assert_eq!(watch.on_time(at(9_999), true), None);
        assert_eq!(
            watch.on_time(at(10_000), true),
            Some(NextQuery {
                after: None,
                wait: Duration::ZERO
            })
        );
        assert_eq!(watch.on_time(at(30_000), true), None, "one question at a time");
    }

    #[test]
    fn later_queries_block_for_at_most_one_poll() {
        let mut watch = fresh();
        watch.on_time(at(10_000), true);
        watch.on_instances(at(10_000), &[], Some(Cursor(7)));
        assert_eq!(
            watch.on_time(at(10_000), true),
            Some(NextQuery {
                after: Some(Cursor(7)),
                wait: POLL
            })
        );
        assert!(watch.on_instances(at(20_000), &[], Some(Cursor(7))).is_none());
        assert_eq!(
            watch.on_time(at(20_000), true),
            Some(NextQuery {
                after: Some(Cursor(7)),
                wait: POLL
            })
        );
    }

    #[test]
    fn a_first_answer_with_instances_is_a_change_and_one_without_is_none() {
        for (found, changed) in [(instances(&[1]), true), (Vec::new(), false)] {
            let mut watch = fresh();
            watch.on_time(at(10_000), true);
            assert_eq!(watch.on_instances(at(10_001), &found, None).is_some(), changed);
        }
    }

    #[test]
    fn after_a_change_the_next_query_is_sent_within_fifty_milliseconds() {
        let mut watch = fresh();
        watch.on_time(at(10_000), true);
        watch.on_instances(at(10_000), &instances(&[1]), Some(Cursor(1)));
        let mut now = watch.deadline().unwrap();
        assert!(now > at(10_000) && now <= at(10_050));
        for change in 0..20 {
            watch.on_time(now, true);
            assert!(
                watch
                    .on_instances(now, &instances(&[change + 2]), Some(Cursor(2)))
                    .is_some()
            );
            let next = watch.deadline().unwrap();
            assert!(next > now && next <= now + EARLY, "a busy backend stays as quick");
            now = next;
        }
    }

    #[test]
    fn early_answers_without_a_change_increase_the_pause_up_to_one_poll() {
        let (mut watch, mut now) = watching();
        for _ in 0..20 {
            assert!(
                watch
                    .on_instances(now, &instances(&[1]), Some(Cursor(8)))
                    .is_none()
            );
            now = watch.deadline().unwrap();
            watch.on_time(now, true);
        }
        watch.on_instances(now, &instances(&[1]), Some(Cursor(8)));
        assert!(watch.deadline().unwrap() - now >= POLL / 2);
    }

    #[test]
    fn a_failure_is_no_change_and_the_next_query_has_no_cursor() {
        let (mut watch, now) = watching();
        watch.on_failure(now);
        assert_eq!(watch.failed.failures(), 1);
        let next = watch.deadline().unwrap();
        assert!(next - now >= FAILED / 2 && next - now <= FAILED);
        assert_eq!(
            watch.on_time(next, true),
            Some(NextQuery {
                after: None,
                wait: Duration::ZERO
            })
        );
        assert!(
            watch
                .on_instances(next, &instances(&[1]), Some(Cursor(1)))
                .is_none()
        );
        assert_eq!(watch.failed.failures(), 0);
    }

    #[test]
    fn a_catalogue_that_cannot_be_watched_is_polled() {
        let mut watch = fresh();
        watch.on_time(at(10_000), true);
        watch.on_instances(at(10_000), &instances(&[1]), None);
        assert_eq!(watch.deadline(), Some(at(20_000)));
    }

    #[test]
    fn a_pause_cancels_the_query_and_keeps_the_last_list() {
        let (mut watch, now) = watching();
        watch.pause();
        assert!(
            watch.on_instances(now, &[], Some(Cursor(9))).is_none(),
            "the answer counts for nothing"
        );
        assert_eq!(watch.deadline(), None);
        watch.resume(at(60_000));
        assert_eq!(
            watch.on_time(at(70_000), true),
            Some(NextQuery {
                after: None,
                wait: Duration::ZERO
            })
        );
        assert!(
            watch
                .on_instances(at(70_000), &instances(&[1]), Some(Cursor(9)))
                .is_none()
        );
    }

    #[test]
    fn a_changed_poll_keeps_the_last_list() {
        let (mut watch, now) = watching();
        watch.retime(now, POLL / 2);
        assert_eq!(watch.deadline(), Some(now + POLL / 2));
        watch.on_time(now + POLL / 2, true);
        assert!(
            watch
                .on_instances(now + POLL / 2, &instances(&[1]), None)
                .is_none()
        );
    }

    proptest! {
        #[test]
        fn the_order_of_the_instances_and_their_ids_are_no_change(
            (ports, shuffled) in prop::collection::vec(1u16..5, 0..6).prop_flat_map(|p| (Just(p.clone()), Just(p).prop_shuffle()))
        ) {
            let mut watch = fresh();
            watch.on_time(at(10_000), true);
            watch.on_instances(at(10_000), &instances(&ports), None);
            watch.on_time(at(20_000), true);
            let mut renamed = instances(&shuffled);
            renamed.iter_mut().for_each(|instance| instance.id.push_str("-other"));
            prop_assert!(watch.on_instances(at(20_000), &renamed, None).is_none());
        }

        #[test]
        fn a_different_multiset_is_a_change(before in prop::collection::vec(1u16..4, 0..5), after in prop::collection::vec(1u16..4, 0..5)) {
            let mut watch = fresh();
            watch.on_time(at(10_000), true);
            watch.on_instances(at(10_000), &instances(&before), None);
            watch.on_time(at(20_000), true);
            let counts = |ports: &[u16]| { let mut sorted = ports.to_vec(); sorted.sort_unstable(); sorted };
            let differs = counts(&before) != counts(&after);
            prop_assert_eq!(watch.on_instances(at(20_000), &instances(&after), None).is_some(), differs);
        }
    }
}
