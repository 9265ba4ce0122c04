//! Laws of time: deadlines, beats, pauses. And of tickets, which are a kind of time.

use super::memory::{Memory, Stage, backend_key, whose};
use super::{Verdict, hold};
use crate::trace::{Entry, What};
use domain::catalogue::Request;
use domain::plan::Role;
use domain::time::Duration;
use domain::{Effect, Instant};

/// Whether nothing keeps periodic things from beginning as the driver comes to rest.
fn is_undisturbed(memory: &Memory, entry: &Entry) -> bool {
    let rests = matches!(entry.what, What::Rests(_));
    rests && memory.opened.is_some() && !memory.is_stopping() && !memory.maintenance && !memory.exited
}

/// After every step the deadline lies in the future of that step.
pub(super) fn deadlines_lie_in_the_future(memory: &Memory, entry: &Entry) -> Verdict {
    let What::Rests(Some(deadline)) = &entry.what else {
        return Ok(());
    };
    hold(*deadline > memory.turn.began, || format!("{entry}"))
}

/// No bound is slept through: the driver is to be woken by the time at which the services must have left,
/// what was asked to stop had its grace, preStop that of the application it outlives, a run its limit, or a
/// new plan has waited long enough (SD-10).
pub(super) fn no_bound_is_slept_through(memory: &Memory, entry: &Entry) -> Verdict {
    let What::Rests(deadline) = &entry.what else {
        return Ok(());
    };
    let turn = memory.turn.began;
    let wakes = |bound: Instant| bound <= turn || deadline.is_some_and(|deadline| deadline <= bound);
    let deregistration = memory.stop.filter(|_| !memory.services_left());
    let deregistration = deregistration.map(|stop| stop.at + Duration::from_secs(2));
    hold(deregistration.is_none_or(wakes), || {
        "the deregistration takes too long".into()
    })?;
    let patience = memory
        .incoming
        .as_ref()
        .map(|(_, since)| *since + Duration::from_secs(5));
    let patience = patience.filter(|_| memory.opened.is_some());
    hold(patience.is_none_or(wakes), || "the reload takes too long".into())?;
    for run in memory
        .children
        .values()
        .filter(|run| run.killed.is_none() && !memory.lenient)
    {
        let limit = run.limit.map(|limit| run.counts_from + limit);
        hold(limit.is_none_or(wakes), || {
            format!("{} takes too long", run.whose)
        })?;
        let application = run.role == Role::Application;
        let grace = if application { memory.grace() } else { run.grace };
        let grace = run.termed.map(|at| at + grace);
        hold(grace.is_none_or(|bound| wakes(bound) && bound > turn), || {
            format!("{} takes too long to stop", run.whose)
        })?;
        let parting = match memory.application {
            Stage::Gone(at) if run.role == Role::PreStop => Some(at + memory.grace()),
            _ => None,
        };
        let due = |bound| wakes(bound) && bound > turn;
        hold(parting.is_none_or(due), || "preStop takes too long".into())?;
    }
    Ok(())
}

/// A ticket is never used again: each is above all before it.
pub(super) fn tickets_are_never_used_again(memory: &Memory, entry: &Entry) -> Verdict {
    let (What::Does(Effect::Start(ticket, _)) | What::Does(Effect::Ask { ticket, .. })) = &entry.what else {
        return Ok(());
    };
    // An outcome that is known at once is told before what is still to be done, so numbers may come late.
    let taken = memory.children.contains_key(ticket) || memory.questions.contains_key(ticket);
    hold(!taken && ticket.0 > 0, || format!("{entry}"))
}

/// A check begins at a tick, the first of which comes one poll after the start; if the check before it, or
/// its heartbeat, took longer, one tick waits for its end (LC-12, LC-15, LC-16).
pub(super) fn checks_keep_their_beat(memory: &Memory, entry: &Entry) -> Verdict {
    let What::Does(Effect::Start(_, job)) = &entry.what else {
        return Ok(());
    };
    let Role::Health { id, .. } = &job.role else {
        return Ok(());
    };
    let facts = memory.services.get(id);
    let may = facts.is_some_and(|facts| facts.beat.may_begin(&memory.turn, memory.now));
    let busy = facts.is_some_and(|facts| memory.question_of(id, facts).is_some());
    hold(may && !busy, || format!("{entry}"))
}

/// A service that is not busy is checked at each of its ticks.
pub(super) fn checks_are_not_left_out(memory: &Memory, entry: &Entry) -> Verdict {
    if !is_undisturbed(memory, entry) {
        return Ok(());
    }
    let late = memory.services.iter().find(|(id, facts)| {
        let health = format!("{}.health", id.trim_end_matches("-host"));
        let idle = memory.question_of(id, facts).is_none() && memory.runs_of(&health).next().is_none();
        let waits = memory.services_may_wait() || facts.passed;
        !facts.closing && idle && !waits && facts.beat.is_overdue(memory.turn.began)
    });
    hold(late.is_none(), || {
        format!("{} is not checked", late.map_or("", |(id, _)| id))
    })
}

/// A task and a sensor run at their ticks, the first of which comes one period after the start; if a run
/// takes longer, one tick waits for its end (LC-15, LC-16).
pub(super) fn tasks_and_sensors_keep_their_beat(memory: &Memory, entry: &Entry) -> Verdict {
    let What::Does(Effect::Start(_, job)) = &entry.what else {
        return Ok(());
    };
    if !matches!(job.role, Role::Task { .. } | Role::Sensor { .. }) {
        return Ok(());
    }
    let facts = memory.beats.get(&whose(job));
    let may = facts.is_some_and(|facts| facts.beat.may_begin(&memory.turn, memory.now));
    let stays = facts.is_some_and(|facts| !facts.closing) || memory.turn.told_later;
    hold(may && stays, || format!("{entry}"))
}

/// A task or a sensor that does not run does so at each of its ticks.
pub(super) fn tasks_and_sensors_are_not_left_out(memory: &Memory, entry: &Entry) -> Verdict {
    if !is_undisturbed(memory, entry) {
        return Ok(());
    }
    let late = memory.beats.iter().find(|(owner, facts)| {
        let idle = memory.runs_of(owner).next().is_none();
        !facts.closing && idle && facts.beat.is_overdue(memory.turn.began)
    });
    hold(late.is_none(), || {
        format!("{} does not run", late.map_or("", |(owner, _)| owner))
    })
}

/// The first question about a backend comes one poll after the start; after a failure, or an answer that came
/// early, there is a pause, and without a cursor one of a poll; after a failure the question takes a whole
/// look, because the catalogue may be another (SD-20).
pub(super) fn backends_are_not_asked_in_a_hurry(memory: &Memory, entry: &Entry) -> Verdict {
    let What::Does(Effect::Ask { request, .. }) = &entry.what else {
        return Ok(());
    };
    let Request::Instances(query) = request else {
        return Ok(());
    };
    let facts = memory
        .backends
        .get(&backend_key(&query.service, query.tag.as_deref()));
    let early = facts.filter(|facts| facts.alike == 1 && memory.now < facts.not_before);
    let blind = facts.is_some_and(|facts| facts.alike == 1 && facts.failed && query.after.is_some());
    hold(facts.is_some() && early.is_none() && !blind, || {
        format!("{entry}")
    })
}

/// One poll is the longest time that a backend is not asked about (SD-20), unless the backends' share of the
/// budget is used up.
pub(super) fn backends_are_asked_at_least_once_a_poll(memory: &Memory, entry: &Entry) -> Verdict {
    if !is_undisturbed(memory, entry) {
        return Ok(());
    }
    let late = memory.backends.iter().find(|(owner, facts)| {
        let idle = facts.alike == 1 && memory.asks(owner) == 0;
        idle && memory.turn.began >= facts.not_after && !memory.queries_may_wait()
    });
    hold(late.is_none(), || {
        format!("{} is not asked about", late.map_or("", |(owner, _)| owner))
    })
}
