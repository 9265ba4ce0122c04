//! Tests of the budget: its two shares, which queries may block, and what follows when the catalogue accepts
//! no more.

use super::*;
use proptest::prelude::*;
use std::vec::Vec;

const fn at(milliseconds: u64) -> Instant {
    Instant::after_start(Duration::from_millis(milliseconds))
}

fn with(budget: u32) -> Requests<u32> {
    let mut requests = Requests::new();
    requests.set_budget(Some(budget));
    requests
}

/// All requesters that may send at this time.
fn sent(requests: &mut Requests<u32>, now: Instant) -> Vec<u32> {
    core::iter::from_fn(|| requests.next(now)).collect()
}

fn granted(requests: &mut Requests<u32>) -> Vec<u32> {
    core::iter::from_fn(|| requests.grant()).collect()
}

fn push_all(requests: &mut Requests<u32>, requesters: core::ops::Range<u32>, kind: Kind) {
    for requester in requesters {
        requests.push(requester, kind);
    }
}

#[test]
fn without_a_budget_nothing_waits_and_every_query_may_block() {
    let mut requests = Requests::new();
    push_all(&mut requests, 0..1000, Kind::Query);
    push_all(&mut requests, 1000..2000, Kind::Heartbeat);
    assert_eq!(sent(&mut requests, at(0)).len(), 2000);
    assert!(requests.may_block(7));
    assert_eq!(requests.deadline(), None);
}

#[test]
fn a_heartbeat_does_not_wait_for_queries() {
    let mut requests = with(16);
    push_all(&mut requests, 0..1000, Kind::Query);
    assert_eq!(sent(&mut requests, at(0)).len(), 8);
    push_all(&mut requests, 2000..2100, Kind::Heartbeat);
    assert_eq!(sent(&mut requests, at(0)).len(), 8, "the other half");
}

#[test]
fn heartbeats_use_the_free_places_of_queries_until_a_query_waits() {
    let mut requests = with(16);
    push_all(&mut requests, 0..100, Kind::Heartbeat);
    assert_eq!(sent(&mut requests, at(0)).len(), 16);
    requests.push(200, Kind::Query);
    for requester in 0..8 {
        requests.done(requester);
    }
    assert_eq!(sent(&mut requests, at(0))[0], 200);
    requests.done(200);
    let heartbeats = 100 - 16;
    push_all(&mut requests, 201..300, Kind::Query);
    assert_eq!(
        sent(&mut requests, at(0)).len(),
        1,
        "{heartbeats} wait for their own half"
    );
}

#[test]
fn deregistrations_precede_heartbeats_and_heartbeats_keep_their_order() {
    let mut requests = with(2);
    push_all(&mut requests, 0..4, Kind::Heartbeat);
    requests.push(9, Kind::Deregistration);
    let mut order = sent(&mut requests, at(0));
    while let Some(requester) = order.last().copied().filter(|_| order.len() < 5) {
        requests.done(requester);
        order.extend(sent(&mut requests, at(0)));
    }
    assert_eq!(order, [9, 0, 1, 2, 3]);
}

#[test]
fn a_cancelled_request_is_not_sent_and_frees_its_place() {
    let mut requests = with(2);
    push_all(&mut requests, 0..5, Kind::Heartbeat);
    assert_eq!(sent(&mut requests, at(0)), [0, 1]);
    assert!(!requests.is_waiting(0));
    assert!(requests.is_waiting(2));
    requests.done(2);
    assert!(!requests.is_waiting(2));
    requests.done(0);
    assert_eq!(sent(&mut requests, at(0)), [3]);
}

#[test]
fn as_many_backends_as_the_share_has_places_may_all_block() {
    let mut requests = with(16);
    (0..8).for_each(|backend| requests.enter(backend));
    assert_eq!(granted(&mut requests).len(), 8);
    requests.answered(3, true, false);
    assert!(requests.may_block(3), "no other backend needs its place");
    requests.enter(8);
    let revoked = core::iter::from_fn(|| requests.revoke()).count();
    assert_eq!(
        (revoked, granted(&mut requests).len()),
        (2, 0),
        "a quarter is for short queries"
    );
}

#[test]
fn places_for_blocking_queries_are_passed_on_in_turn() {
    let mut requests = with(4);
    (0..5).for_each(|backend| requests.enter(backend));
    let mut turns: Vec<u32> = granted(&mut requests);
    assert_eq!(turns.len(), 1);
    for turn in 0..9 {
        requests.answered(turns[turn], true, false);
        turns.extend(granted(&mut requests));
    }
    assert_eq!(turns, [0, 1, 2, 3, 4, 0, 1, 2, 3, 4]);
}

#[test]
fn a_backend_that_changed_keeps_its_place_or_gets_the_next() {
    let mut requests = with(4);
    (0..5).for_each(|backend| requests.enter(backend));
    assert_eq!(granted(&mut requests), [0]);
    requests.answered(0, true, true);
    assert!(requests.may_block(0));
    requests.answered(3, false, true);
    requests.answered(1, false, false);
    requests.failed(0);
    assert_eq!(granted(&mut requests), [3]);
}

#[test]
fn no_place_is_given_away_while_a_short_query_waits() {
    let mut requests = with(2);
    (0..3).for_each(|backend| requests.enter(backend));
    push_all(&mut requests, 0..3, Kind::Query);
    assert_eq!(
        granted(&mut requests),
        [],
        "one place, and it is for short queries"
    );
    let mut requests = with(16);
    (0..9).for_each(|backend| requests.enter(backend));
    push_all(&mut requests, 0..9, Kind::Query);
    sent(&mut requests, at(0));
    assert_eq!(granted(&mut requests), [], "one waits");
    requests.done(0);
    sent(&mut requests, at(0));
    assert_eq!(granted(&mut requests).len(), 6);
}

#[test]
fn a_catalogue_that_refuses_requests_gets_half_as_many_after_a_pause() {
    let mut requests = with(16);
    push_all(&mut requests, 0..20, Kind::Heartbeat);
    assert_eq!(sent(&mut requests, at(0)).len(), 16);
    let jitter = Jitter::new(1);
    assert_eq!(requests.refused(at(1), 0, at(0), jitter), Some(Change::Cut(8)));
    assert_eq!(
        requests.refused(at(2), 1, at(0), jitter),
        None,
        "sent before it was cut"
    );
    (2..16).for_each(|requester| requests.done(requester));
    assert_eq!(sent(&mut requests, at(50)), []);
    let pause = requests.deadline().unwrap();
    assert!(pause >= at(101) && pause <= at(201), "{pause:?}");
    assert_eq!(requests.on_time(pause), None);
    assert_eq!(sent(&mut requests, pause), [1, 0, 16, 17, 18, 19]);
    assert_eq!(
        requests.refused(at(300), 1, pause, jitter),
        None,
        "it is returned once"
    );
    assert_eq!(requests.allowed(), Some(3), "half of what was on its way");
}

#[test]
fn a_budget_is_never_cut_below_two_and_grows_back_to_the_whole() {
    let mut requests = with(16);
    let jitter = Jitter::new(1);
    for second in 0..20 {
        requests.push(1, Kind::Heartbeat);
        let now = at(10_000 * second);
        requests.on_time(now);
        assert_eq!(sent(&mut requests, now), [1]);
        requests.refused(now + Duration::from_secs(1), 1, now, jitter);
        assert_eq!(requests.allowed(), Some(FEWEST));
        requests.done(1);
    }
    let mut waits = 0;
    let whole = loop {
        let now = requests.deadline().unwrap();
        if let Some(change) = requests.on_time(now) {
            break (change, now);
        }
        waits += 1;
        assert!(waits < 30);
    };
    assert_eq!(whole, (Change::Whole(16), at(191_000 + 140_000)));
    assert_eq!(requests.deadline(), None);
}

#[test]
fn a_pause_grows_until_the_catalogue_accepts_a_request() {
    let mut requests = with(16);
    let jitter = Jitter::new(1);
    let mut now = at(0);
    let mut pause = |requests: &mut Requests<u32>| {
        requests.push(1, Kind::Heartbeat);
        requests.on_time(now);
        assert_eq!(sent(requests, now), [1]);
        let refused = now + Duration::from_millis(1);
        requests.refused(refused, 1, now, jitter);
        requests.done(1);
        now = requests.deadline().unwrap();
        now - refused
    };
    for _ in 0..8 {
        assert!(pause(&mut requests) <= LONGEST_PAUSE);
    }
    assert!(pause(&mut requests) >= LONGEST_PAUSE / 2);
    requests.taken();
    assert!(pause(&mut requests) <= FIRST_PAUSE);
}

proptest! {
    /// For any sequence of calls: the budget and the share of queries are not exceeded, a heartbeat waits for
    /// heartbeats only, and every requester gets its turn.
    #[test]
    fn the_budget_is_not_exceeded_and_every_requester_gets_its_turn(
        budget in 2u32..20, steps in prop::collection::vec((0u32..40, 0u8..3), 1..300)
    ) {
        let mut requests = with(budget);
        let mut open = BTreeMap::new();
        let is_query = |requester: &u32| *requester < 20;
        (0..20).for_each(|backend| requests.enter(backend));
        for (requester, what) in steps {
            match what {
                0 if !open.contains_key(&requester) && !requests.is_waiting(requester) => {
                    requests.push(requester, if is_query(&requester) { Kind::Query } else { Kind::Heartbeat });
                }
                1 => {
                    requests.done(requester);
                    open.remove(&requester);
                }
                _ => requests.answered(requester, true, false),
            }
            open.extend(sent(&mut requests, at(0)).into_iter().map(|requester| (requester, ())));
            granted(&mut requests);
            let queries = open.keys().copied().filter(|requester| is_query(requester)).count();
            let services = open.len() - queries;
            let (budget, share) = (budget as usize, budget as usize / 2);
            prop_assert!(open.len() <= budget && queries <= share);
            let waits = |requesters: core::ops::Range<u32>| requesters.clone().any(|requester| requests.is_waiting(requester));
            prop_assert!(!waits(20..40) || services >= budget - share);
            prop_assert!(!waits(0..20) || queries == share || open.len() == budget);
            prop_assert!(requests.blocking.len() <= share.saturating_sub(1) || share == 0);
        }
        while let Some((requester, ())) = open.pop_first() {
            requests.done(requester);
            open.extend(sent(&mut requests, at(0)).into_iter().map(|requester| (requester, ())));
        }
        prop_assert!((0..40).all(|requester| !requests.is_waiting(requester)));
    }
}
