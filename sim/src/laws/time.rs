//! Laws of time: deadlines, schedules, pauses; and of tickets, whose order is that of time.

use super::bounds::{DEREGISTRATION, LONGEST_RELOAD_WAIT};
use super::observer::{Observer, OnceRun, backend_key, owner};
use super::{Verdict, hold};
use crate::trace::{EntryKind, TraceEntry};
use domain::catalogue::Request;
use domain::plan::Role;
use domain::{Effect, Instant};

/// Whether nothing prevents periodic actions from starting when the driver waits.
fn is_not_delayed(observer: &Observer, entry: &TraceEntry) -> bool {
    let rests = matches!(entry.kind, EntryKind::Wait(_));
    rests && observer.opened.is_some() && !observer.is_stopping() && !observer.maintenance && !observer.exited
}

/// After every step the deadline is later than that step.
pub(super) fn deadlines_lie_in_the_future(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Wait(Some(deadline)) = &entry.kind else {
        return Ok(());
    };
    hold(*deadline > observer.turn.began, || format!("{entry}"))
}

/// The driver is woken at every time limit: when the services must be deregistered, when the grace of a child
/// that got SIGTERM ends, when preStop exceeds that of the application it outlives, when a run exceeds its
/// limit, and when a new plan has waited long enough (SD-10).
pub(super) fn the_driver_wakes_at_every_time_limit(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Wait(deadline) = &entry.kind else {
        return Ok(());
    };
    let turn = observer.turn.began;
    let wakes = |bound: Instant| bound <= turn || deadline.is_some_and(|deadline| deadline <= bound);
    let deregistration = observer.stop.filter(|_| !observer.services_deregistered());
    let deregistration = deregistration.map(|stop| stop.at + DEREGISTRATION);
    hold(deregistration.is_none_or(wakes), || {
        "the deregistration takes too long".into()
    })?;
    let longest_wait = observer
        .incoming
        .as_ref()
        .map(|(_, since)| *since + LONGEST_RELOAD_WAIT);
    let longest_wait = longest_wait.filter(|_| observer.opened.is_some());
    hold(longest_wait.is_none_or(wakes), || {
        "the reload takes too long".into()
    })?;
    for run in observer
        .children
        .values()
        .filter(|run| run.killed.is_none() && !observer.lenient)
    {
        hold(run.limit_ends().is_none_or(wakes), || {
            format!("{} takes too long", run.owner)
        })?;
        let application = run.role == Role::Application;
        let grace = if application { observer.grace() } else { run.grace };
        let grace = run.termed.map(|at| at + grace);
        hold(grace.is_none_or(|bound| wakes(bound) && bound > turn), || {
            format!("{} takes too long to stop", run.owner)
        })?;
        let outlived = match observer.application {
            OnceRun::Ended(at) if run.role == Role::PreStop => Some(at + observer.grace()),
            _ => None,
        };
        let due = |bound| wakes(bound) && bound > turn;
        hold(outlived.is_none_or(due), || "preStop takes too long".into())?;
    }
    Ok(())
}

/// A ticket is never used again: each is greater than all before it.
pub(super) fn tickets_are_never_used_again(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(
        Effect::Start(ticket, _) | Effect::Probe(ticket, _) | Effect::Request { ticket, .. },
    ) = &entry.kind
    else {
        return Ok(());
    };
    // An outcome that is known at once comes before the remaining effects, so tickets may appear late.
    let taken = observer.children.contains_key(ticket)
        || observer.probes.contains_key(ticket)
        || observer.requests.contains_key(ticket);
    hold(!taken && ticket.0 > 0, || format!("{entry}"))
}

/// The check that starts, and the ID of its service.
pub(super) fn check_started(entry: &TraceEntry) -> Option<(&Role, &str)> {
    let role = match &entry.kind {
        EntryKind::Effect(Effect::Start(_, job)) => &job.role,
        EntryKind::Effect(Effect::Probe(_, probe)) => &probe.role,
        _ => return None,
    };
    match role {
        Role::Health { id, .. } => Some((role, id)),
        _ => None,
    }
}

/// A check starts at a tick, the first of which comes one poll after the start; if the check before it, or
/// its heartbeat, took longer, one tick waits for that (LC-12, LC-15, LC-16).
pub(super) fn checks_start_at_their_ticks(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let Some((_, id)) = check_started(entry) else {
        return Ok(());
    };
    let facts = observer.services.get(id);
    if facts.is_some_and(|facts| facts.own.is_some()) {
        return Ok(());
    }
    let may = facts.is_some_and(|facts| facts.schedule.may_begin(&observer.turn, observer.now));
    let busy = facts.is_some_and(|facts| observer.request_of(id, facts).is_some());
    hold(may && !busy, || format!("{entry}"))
}

/// A service that is not busy is checked at each of its ticks.
pub(super) fn no_tick_of_a_check_is_omitted(observer: &Observer, entry: &TraceEntry) -> Verdict {
    if !is_not_delayed(observer, entry) {
        return Ok(());
    }
    let late = observer.services.iter().find(|(id, facts)| {
        let labels = facts.check_labels(id);
        let checks = labels
            .iter()
            .any(|label| observer.is_running(label) || observer.is_probing(label));
        let idle = observer.request_of(id, facts).is_none() && !checks;
        let waits = observer.services_may_wait() || facts.passed;
        facts.own.is_none()
            && !facts.closing
            && idle
            && !waits
            && facts.schedule.is_overdue(observer.turn.began)
    });
    hold(late.is_none(), || {
        format!("{} is not checked", late.map_or("", |(id, _)| id))
    })
}

/// A task and a sensor start at their ticks, the first of which comes one period after the start; if a run
/// takes longer, one tick waits for its end (LC-15, LC-16).
pub(super) fn tasks_and_sensors_start_at_their_ticks(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Start(_, job)) = &entry.kind else {
        return Ok(());
    };
    if !matches!(job.role, Role::Task { .. } | Role::Sensor { .. }) {
        return Ok(());
    }
    let facts = observer.schedules.get(&owner(job));
    let may = facts.is_some_and(|facts| facts.schedule.may_begin(&observer.turn, observer.now));
    let stays = facts.is_some_and(|facts| !facts.closing) || observer.turn.has_late_failure;
    hold(may && stays, || format!("{entry}"))
}

/// A task or a sensor that does not run starts at each of its ticks.
pub(super) fn no_tick_of_a_task_or_sensor_is_omitted(observer: &Observer, entry: &TraceEntry) -> Verdict {
    if !is_not_delayed(observer, entry) {
        return Ok(());
    }
    let late = observer.schedules.iter().find(|(owner, facts)| {
        let idle = !observer.is_running(owner);
        !facts.closing && idle && facts.schedule.is_overdue(observer.turn.began)
    });
    hold(late.is_none(), || {
        format!("{} does not run", late.map_or("", |(owner, _)| owner))
    })
}

/// The first query of a backend is sent one poll after the start. After a failure, or an early answer, there
/// is a pause; without a cursor the pause is one poll. After a failure the query has no cursor, because the
/// catalogue may be another (SD-20).
pub(super) fn there_is_a_pause_between_queries(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Request { request, .. }) = &entry.kind else {
        return Ok(());
    };
    let Request::Instances(query) = request else {
        return Ok(());
    };
    let facts = observer
        .backends
        .get(&backend_key(&query.service, query.tag.as_deref()));
    let early = facts.filter(|facts| facts.alike == 1 && observer.now < facts.not_before);
    let blind = facts.is_some_and(|facts| facts.alike == 1 && facts.failed && query.after.is_some());
    hold(facts.is_some() && early.is_none() && !blind, || {
        format!("{entry}")
    })
}

/// The longest time without a query of a backend is one poll (SD-20), unless the backends' share of the
/// budget is used up.
pub(super) fn every_backend_is_queried_once_a_poll(observer: &Observer, entry: &TraceEntry) -> Verdict {
    if !is_not_delayed(observer, entry) {
        return Ok(());
    }
    let late = observer.backends.iter().find(|(owner, facts)| {
        let idle = facts.alike == 1 && observer.requests_of(owner) == 0;
        idle && observer.turn.began >= facts.not_after && !observer.queries_may_wait()
    });
    hold(late.is_none(), || {
        format!("{} is not asked about", late.map_or("", |(owner, _)| owner))
    })
}
