//! Laws of the requests to the catalogue, and of what follows from its answers.

use super::bounds::{LONGEST_DEREGISTRATION_WAIT, LONGEST_QUERY_WAIT, REQUEST};
use super::observer::{
    Address, HealthFacts, Kind, KnownRegistration, Observer, ServiceFacts, backend_key, is_periodic, owner,
};
use super::{Verdict, hold};
use crate::trace::{EntryKind, Fact, TraceEntry};
use domain::catalogue::{Report, Request};
use domain::plan::Role;
use domain::{Effect, Instant, Notice};

/// The request to the catalogue in this entry, if there is one.
fn request_in(entry: &TraceEntry) -> Option<&Request> {
    match &entry.kind {
        EntryKind::Effect(Effect::Request { request, .. }) => Some(request),
        _ => None,
    }
}

/// Each service, and each backend, has at most one request in flight; backends with equal name and tag have
/// one each.
pub(super) fn one_request_of_each_requester(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let (owner, alike) = match request_in(entry) {
        None => return Ok(()),
        Some(Request::Instances(query)) => {
            let key = backend_key(&query.service, query.tag.as_deref());
            let alike = observer.backends.get(&key).map_or(1, |facts| facts.alike);
            (key, alike)
        }
        Some(Request::LookUp(look_up)) => (look_up.dependency.to_string(), 1),
        Some(
            Request::Register(r)
            | Request::Renew(r)
            | Request::Inspect(r)
            | Request::Deregister(r)
            | Request::Report(Report { registration: r, .. }),
        ) => (r.id.clone(), 1),
    };
    hold(observer.requests_of(&owner) < alike, || {
        format!("{entry} while one is on its way")
    })
}

/// A request about a service is cancelled after two seconds, or one poll if that is shorter; a query for a
/// backend blocks for one poll at most, and is cancelled soon after (SD-10, SD-20).
pub(super) fn requests_are_bounded(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Request { request, limit, .. }) = &entry.kind else {
        return Ok(());
    };
    let bounded = match request {
        Request::Instances(query) => {
            let key = backend_key(&query.service, query.tag.as_deref());
            let bound = query.wait + query.wait / 16 + REQUEST;
            let poll = observer.backends.get(&key).map(|facts| facts.poll);
            *limit <= bound && *limit > query.wait && poll.is_none_or(|poll| query.wait <= poll)
        }
        Request::LookUp(look_up) => {
            let bound = look_up.wait + look_up.wait / 16 + REQUEST;
            *limit <= bound && *limit > look_up.wait
        }
        Request::Register(r)
        | Request::Renew(r)
        | Request::Inspect(r)
        | Request::Deregister(r)
        | Request::Report(Report { registration: r, .. }) => {
            let facts = observer.services.get(&r.id);
            *limit <= facts.map_or(REQUEST, ServiceFacts::request_limit)
        }
    };
    hold(bounded, || format!("{entry} with the limit {limit:?}"))
}

/// The number of requests in flight does not exceed the budget, and the number of queries does not exceed
/// half of it; after a cut the budget is smaller.
pub(super) fn requests_stay_within_the_budget(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let (Some(request), Some(budget)) = (request_in(entry), observer.budget()) else {
        return Ok(());
    };
    let is_query = matches!(request, Request::Instances(_) | Request::LookUp(_));
    let fits = !is_query || observer.queries() < budget / 2;
    hold(fits && observer.requests.len() < budget, || {
        format!("{entry} while {} are on their way", observer.requests.len())
    })
}

/// After the catalogue took no more requests nothing is sent for a pause, which doubles each time until the catalogue
/// takes one.
pub(super) fn nothing_is_sent_in_a_pause(observer: &Observer, entry: &TraceEntry) -> Verdict {
    if request_in(entry).is_none() {
        return Ok(());
    }
    let over = |(_, until)| observer.turn.began >= until;
    hold(observer.paused.is_none_or(over), || {
        format!("{entry} too soon after the catalogue took no more")
    })
}

/// A request is reported to have failed only if an answer of the same turn says so, or, with a budget, if it waited for
/// all its time: a heartbeat for a `poll`, or two seconds; a deregistration for ten; a query that was not taken for two.
pub(super) fn failures_have_an_answer_or_waited(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Log(notice)) = &entry.kind else {
        return Ok(());
    };
    let waited = |since: Option<Instant>, longest_wait| {
        let over = |since| observer.turn.began >= since + longest_wait;
        observer.has_budget() && since.is_some_and(over)
    };
    let service = |id: &str| observer.services.get(id);
    let has_reason = match notice {
        Notice::RegistrationFailed(named, _) | Notice::HeartbeatFailed(named, _) => {
            // What checks with schedules of their own say may be valid for a shorter time.
            let is_short = |facts: &ServiceFacts| facts.own.is_some() && observer.has_budget();
            observer.was_unsuccessful(&named.id)
                || service(&named.id).is_some_and(is_short)
                || service(&named.id)
                    .is_some_and(|facts| waited(facts.heartbeat_waits_since(), facts.longest_wait()))
        }
        Notice::DeregisteringFailed(named, _) => {
            observer.was_unsuccessful(&named.id)
                || service(&named.id).is_some_and(|facts| {
                    waited(facts.deregistration_waits_since(), LONGEST_DEREGISTRATION_WAIT)
                })
        }
        Notice::QueryFailed { backend, .. } => observer.backends_named(backend).any(|(key, facts)| {
            let refused = facts.refused && waited(Some(facts.not_before), LONGEST_QUERY_WAIT);
            observer.was_unsuccessful(key) || refused || facts.alike > 1
        }),
        _ => true,
    };
    hold(has_reason, || format!("{entry} without a reason"))
}

/// If there are more backends than places in their half of the budget, a quarter of the places, at least one,
/// is kept for queries that do not block.
pub(super) fn blocking_queries_leave_places_for_short_ones(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let (Some(Request::Instances(query)), Some(budget)) = (request_in(entry), observer.plan.max_connections)
    else {
        return Ok(());
    };
    let share = budget as usize / 2;
    let places = if observer.plan.backends.len() <= share {
        share
    } else {
        share - (share / 4).max(1)
    };
    let fits = query.after.is_none() || observer.blocking_queries() < places;
    hold(fits, || format!("{entry} is one too many"))
}

/// Only a request that was sent and not answered is cancelled.
pub(super) fn only_requests_in_flight_are_cancelled(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Cancel(ticket)) = &entry.kind else {
        return Ok(());
    };
    hold(observer.requests.contains_key(ticket), || format!("{entry}"))
}

/// The heartbeat in this entry, if there is one: the ID of the service, and whether it is a registration.
fn heartbeat(entry: &TraceEntry) -> Option<(&String, bool)> {
    match request_in(entry)? {
        Request::Register(r) => Some((&r.id, true)),
        Request::Renew(r)
        | Request::Report(Report {
            registration: r,
            healthy: true,
            ..
        }) => Some((&r.id, false)),
        _ => None,
    }
}

/// A heartbeat follows only a check that passed in the same turn, or a tick of a service without a check;
/// after a heartbeat that the catalogue answered with "unknown" only a registration follows (EX-18). With a
/// budget it may wait for a `poll`, or two seconds. If the check has thresholds, the heartbeat follows a check that
/// ended in the same turn while the service counts as healthy. Checks with schedules of their own have laws of their own.
pub(super) fn no_heartbeat_without_a_passing_check(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let Some((id, registers)) = heartbeat(entry) else {
        return Ok(());
    };
    let Some(facts) = observer.services.get(id) else {
        return Err(format!("{entry}: there is no such service"));
    };
    if facts.own.is_some() {
        return Ok(());
    }
    let waited =
        observer.plan.max_connections.is_some() && facts.schedule.waits(observer.now, facts.longest_wait());
    let schedules = !facts.checked && (waited || facts.schedule.may_begin(&observer.turn, observer.now));
    let unsure = facts.health.as_ref().is_some_and(HealthFacts::is_unsure);
    let reason = facts.passed || (registers && facts.unknown) || schedules || unsure;
    hold(reason && !facts.closing, || format!("{entry}"))
}

/// While a service counts as unhealthy by the thresholds of its check, it gets no heartbeat.
pub(super) fn no_heartbeat_of_an_unhealthy_service(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let facts = heartbeat(entry).and_then(|(id, _)| observer.services.get(id));
    let health = facts.and_then(|facts| facts.health.as_ref());
    hold(!health.is_some_and(HealthFacts::is_unhealthy), || {
        format!("{entry}")
    })
}

/// The catalogue gets that a service is critical only if its check just failed and it counts as unhealthy: after so
/// many failures in a row as its thresholds say, never in its start period, and only if the thresholds have a number of
/// failures. With a budget it may wait for a `poll`, or two seconds.
pub(super) fn critical_only_after_so_many_failures(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let Some(Request::Report(Report {
        registration,
        healthy: false,
        ..
    })) = request_in(entry)
    else {
        return Ok(());
    };
    let facts = observer.services.get(&registration.id);
    let reason = facts.is_some_and(|facts| {
        let unsure = |health: &HealthFacts| health.is_unsure() && health.reports();
        !facts.closing && (facts.own.is_some() || facts.critical || facts.health.as_ref().is_some_and(unsure))
    });
    hold(reason, || format!("{entry}"))
}

/// When so many checks in a row have failed, the catalogue gets that at once, and again with each failure while it has an
/// entry, unless the service is to be absent, or the services' own share of the budget is used up.
pub(super) fn an_unhealthy_service_is_reported_at_once(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Wait(_) = &entry.kind else {
        return Ok(());
    };
    if observer.maintenance || observer.is_stopping() || observer.services_may_wait() {
        return Ok(());
    }
    let missing = observer
        .services
        .iter()
        .find(|(id, facts)| facts.critical && !facts.closing && observer.request_of(id, facts).is_none());
    hold(missing.is_none(), || {
        format!("{} is not reported", missing.map_or("", |(id, _)| id))
    })
}

/// A check that passed leads to a heartbeat at once, unless the service is to be absent, or the services' own
/// share of the budget is used up: it never waits for a query.
pub(super) fn a_passing_check_is_a_heartbeat(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Wait(_) = &entry.kind else {
        return Ok(());
    };
    if observer.maintenance || observer.is_stopping() || observer.services_may_wait() {
        return Ok(());
    }
    let missing = observer.services.iter().find(|(id, facts)| {
        let due = facts.owes_heartbeat(observer.now);
        due && !facts.closing && observer.request_of(id, facts).is_none()
    });
    hold(missing.is_none(), || {
        format!("{} sends no heartbeat", missing.map_or("", |(id, _)| id))
    })
}

/// A service is registered only if it is not registered by the last answer of the catalogue, and renewed only
/// if it is (SD-4); an inspection is sent only if it is.
pub(super) fn only_an_unregistered_service_is_registered(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let (id, registers) = match (heartbeat(entry), request_in(entry)) {
        (Some(heartbeat), _) => heartbeat,
        (None, Some(Request::Inspect(r))) => (&r.id, false),
        _ => return Ok(()),
    };
    let known = observer
        .services
        .get(id)
        .map(|facts| facts.registration == KnownRegistration::Registered);
    hold(known != Some(registers), || format!("{entry}"))
}

/// Only a service that is to be absent is deregistered: at the stop, in maintenance, or because of a reload;
/// a service that a reload does not change stays registered without a gap (LC-17).
pub(super) fn only_a_service_that_is_to_be_absent_is_deregistered(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let Some(Request::Deregister(registration)) = request_in(entry) else {
        return Ok(());
    };
    let facts = observer.services.get(&registration.id);
    hold(facts.is_some_and(|facts| facts.must_deregister), || {
        format!("{entry}")
    })
}

/// A service that has to be deregistered requests it at once, or right after the answer to the request in flight, or as
/// soon as the services' share of the budget allows it.
pub(super) fn a_service_that_is_to_be_absent_is_deregistered(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let EntryKind::Wait(_) = &entry.kind else {
        return Ok(());
    };
    let staying = observer
        .services
        .iter()
        .find(|(id, facts)| facts.must_deregister && observer.request_of(id, facts).is_none());
    let late = staying.filter(|_| !observer.exited && !observer.services_may_wait());
    hold(late.is_none(), || {
        format!("{} stays", late.map_or("", |(id, _)| id))
    })
}

/// In maintenance no check, handler, task or sensor starts, and only deregistrations are sent to the
/// catalogue (LC-10, LC-11, LC-13, SD-9).
pub(super) fn in_maintenance_nothing_starts(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let begins = match &entry.kind {
        EntryKind::Effect(Effect::Start(_, job)) => is_periodic(&job.role),
        EntryKind::Effect(Effect::Probe(..)) => true,
        EntryKind::Effect(Effect::Request { request, .. }) => !matches!(request, Request::Deregister(_)),
        _ => false,
    };
    hold(!(observer.maintenance && begins), || format!("{entry}"))
}

/// A handler starts only because the instances differ from the last list, or because a reload ended its run:
/// a failed or reordered answer is no change (SD-6, SD-7, SD-8, SD-17, SD-19).
pub(super) fn a_failed_answer_is_no_change(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Start(_, job)) = &entry.kind else {
        return Ok(());
    };
    let Role::OnChange { .. } = job.role else {
        return Ok(());
    };
    let facts = observer.backends.get(&owner(job));
    hold(facts.is_some_and(|facts| facts.owed || facts.alike > 1), || {
        format!("{entry}")
    })
}

/// There is a pause before a handler that could not be started is started again.
pub(super) fn there_is_a_pause_after_a_handler_that_cannot_start(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let EntryKind::Effect(Effect::Start(_, job)) = &entry.kind else {
        return Ok(());
    };
    let facts = observer.backends.get(&owner(job));
    let retry = facts
        .filter(|facts| facts.alike == 1)
        .and_then(|facts| facts.retry);
    let early = retry.is_some_and(|(not_before, _)| observer.now < not_before);
    hold(!early, || format!("{entry} in a hurry"))
}

/// A handler runs only after the quiet time of its backend: nothing has changed for so long, or the first change that it
/// runs for is as old as the maximum says. A run that a reload ended, or that could not be started, is repeated without.
pub(super) fn a_handler_waits_for_its_quiet_time(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Start(_, job)) = &entry.kind else {
        return Ok(());
    };
    let facts = observer.backends.get(&owner(job));
    let quiet = facts
        .filter(|facts| facts.alike == 1)
        .and_then(|facts| facts.quiet);
    let early = quiet.is_some_and(|quiet| observer.turn.began < quiet.ends.0);
    hold(!early, || format!("{entry} in its quiet time"))
}

/// A handler gets the present instances; and what it gets as added and removed leads from what its last successful run
/// got to these, and has no instance on both sides.
pub(super) fn a_handler_gets_what_has_changed(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Start(_, job)) = &entry.kind else {
        return Ok(());
    };
    let Role::OnChange { .. } = job.role else {
        return Ok(());
    };
    let facts = observer.backends.get(&owner(job));
    let Some(facts) = facts.filter(|facts| facts.alike == 1) else {
        return Ok(());
    };
    let list = |name: &str| {
        let found = job.variables.iter().find(|variable| variable.name() == name);
        let words = found.map(|variable| variable.value().split(' ').filter(|word| !word.is_empty()));
        words.map(|words| words.map(str::to_owned).collect::<Vec<String>>())
    };
    let printed = |(address, port): &Address| format!("{address}:{port}");
    let present: Vec<String> = facts.seen.iter().map(printed).collect();
    let (added, removed) = (list("CONTAINERPILOT_ADDED"), list("CONTAINERPILOT_REMOVED"));
    let (Some(added), Some(removed)) = (added, removed) else {
        return hold(false, || format!("{entry} without lists"));
    };
    let both = added.iter().any(|word| removed.contains(word));
    let mut result: Vec<String> = facts.handled.iter().map(printed).collect();
    let mut there = true;
    for word in &removed {
        let place = result.iter().position(|other| other == word);
        there &= place.map(|place| result.remove(place)).is_some();
    }
    result.extend(added);
    result.sort_unstable();
    let mut sorted = present.clone();
    sorted.sort_unstable();
    let adds_up = there && !both && result == sorted;
    let is_present = list("CONTAINERPILOT_INSTANCES") == Some(present);
    hold(adds_up && is_present, || {
        format!("{entry} after {:?} with {:?}", facts.handled, facts.seen)
    })
}

/// With fewer instances than the minimum of its backend no handler runs.
pub(super) fn a_handler_runs_with_enough_instances(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Start(_, job)) = &entry.kind else {
        return Ok(());
    };
    let facts = observer.backends.get(&owner(job));
    let few = facts.is_some_and(|facts| facts.alike == 1 && !facts.is_enough());
    hold(!few, || format!("{entry} with too few instances"))
}

/// After a change the handler runs: at once, or when its quiet time and its splay are over and there are enough
/// instances; or when its present run, the maintenance or a reload ends, or within ten seconds after it could not be
/// started (SD-5).
pub(super) fn after_a_change_the_handler_runs(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Wait(_) = &entry.kind else {
        return Ok(());
    };
    if observer.maintenance || observer.is_stopping() || observer.incoming.is_some() {
        return Ok(());
    }
    let waits = |retry: Option<(Instant, Instant)>| retry.is_some_and(|(_, at)| observer.turn.began < at);
    let idle = observer.backends.iter().find(|(owner, facts)| {
        let due = facts.is_due(observer.turn.began) && facts.alike == 1 && !waits(facts.retry);
        due && !observer.is_running(owner)
    });
    hold(idle.is_none(), || {
        format!("{} has changed", idle.map_or("", |(owner, _)| owner))
    })
}

/// Another instance with a service's ID is reported once, and only if the catalogue has just returned it and
/// had accepted the service's registration before: an entry of an earlier process of the shim is not another
/// instance.
pub(super) fn another_instance_is_reported_only_if_there_is_one(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let EntryKind::Effect(Effect::Log(Notice::HeldByAnother { named, other, .. })) = &entry.kind else {
        return Ok(());
    };
    let found = observer.turn.other_holder.as_ref();
    let is_there = found.is_some_and(|(id, holder)| *id == named.id && holder == other);
    hold(is_there, || format!("{entry}"))
}

/// Another instance that the catalogue returned is reported at once.
pub(super) fn another_instance_is_reported(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let rests = matches!(entry.kind, EntryKind::Wait(_));
    hold(!rests || observer.turn.other_holder.is_none(), || {
        format!("{:?} is not reported", observer.turn.other_holder)
    })
}

/// While the checks of a service pass in time and the catalogue answers in time, its entry never expires.
pub(super) fn a_healthy_entry_never_expires(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Fact(Fact::Expired(id)) = &entry.kind else {
        return Ok(());
    };
    if observer.lenient || observer.maintenance || observer.is_stopping() {
        return Ok(());
    }
    let Some(facts) = observer.services.get(id).filter(|facts| !facts.closing) else {
        return Ok(());
    };
    let half = facts.schedule.period() / 2;
    let slow = |since| observer.now - since >= half;
    let slow_probe = observer.probes_of(id).any(|probe| slow(probe.since));
    let labels = facts.check_labels(id);
    let mut runs = labels.iter().flat_map(|label| observer.runs_of(label));
    let slow_check = slow_probe || runs.any(|run| slow(run.since));
    let limited = observer.plan.max_connections.is_some();
    let others = observer.requests.values().filter(|_| limited);
    let mut waited_for = observer.request_of(id, facts).into_iter().chain(others);
    let slow_answer = waited_for.any(|asked| slow(asked.at));
    let calm = observer.now - facts.delayed > facts.ttl && !slow_check && !slow_answer;
    hold(!calm, || format!("{id} expired"))
}

/// A service that was deregistered stays absent: at the exit the catalogue has no entry of a service whose
/// deregistration was answered.
pub(super) fn a_deregistered_service_stays_absent(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Exit(_)) = &entry.kind else {
        return Ok(());
    };
    if observer.arrived_late
        || observer
            .requests
            .values()
            .any(|asked| !matches!(asked.kind, Kind::List | Kind::LookUp))
    {
        return Ok(());
    }
    let left = observer
        .services
        .iter()
        .filter(|(_, facts)| facts.registration == KnownRegistration::Absent);
    let registered = left.into_iter().find(|(id, _)| observer.entries.contains(*id));
    hold(registered.is_none(), || {
        format!("{} is registered", registered.map_or("", |(id, _)| id))
    })
}
