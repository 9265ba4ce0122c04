//! Laws of the children: exclusion, signals, time limits, restarts.

use super::bounds::{QUICK_RUNS, REMAINING_GRACE, RESTART_PAUSE};
use super::observer::{Observer, OnceRun, owner};
use super::{Verdict, hold};
use crate::trace::{EntryKind, TraceEntry};
use domain::plan::{Role, SignalTarget};
use domain::signal::Signal;
use domain::time::Duration;
use domain::{Effect, Notice};

/// There is at most one run of each job at a time, counted from the starts and ends in the trace; backends
/// with equal name and tag have one each (EX-24, LC-2).
pub(super) fn one_run_of_each_job(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Start(_, job)) = &entry.kind else {
        return Ok(());
    };
    let owner = owner(job);
    let alike = observer.backends.get(&owner).map_or(1, |facts| facts.alike);
    hold(observer.runs_of(&owner).count() < alike, || {
        format!("{entry} while one runs")
    })
}

/// A signal is sent only to a child that was not reaped (EX-14).
pub(super) fn signals_go_to_running_children(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Send(ticket, ..)) = &entry.kind else {
        return Ok(());
    };
    let there = observer.children.contains_key(ticket) || observer.turn.failed.contains(ticket);
    hold(there, || format!("{entry}"))
}

/// Whether a signal of the core is the one that asks a job to stop, or the SIGCONT after it.
pub(super) fn asks_to_stop(signal: Signal, target: SignalTarget) -> bool {
    signal != Signal::KILL && target != SignalTarget::Process
}

/// A process that was asked to stop gets SIGCONT in the same turn, in case it is stopped.
pub(super) fn what_is_asked_to_stop_can_see_it(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Wait(_) = &entry.kind else {
        return Ok(());
    };
    let unseen = observer.children.values().find(|run| run.stop_signal_in_turn);
    hold(unseen.is_none(), || {
        format!("{} gets no SIGCONT", unseen.map_or("", |run| &run.owner))
    })
}

/// Only the application, a preStart hook whose start is cancelled, and coprocesses get a stop signal, once each: the one
/// that is theirs, and SIGCONT after it. Only for the application it goes to the process alone (EX-13).
pub(super) fn only_permitted_children_get_a_stop_signal(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Send(ticket, signal, reach)) = &entry.kind else {
        return Ok(());
    };
    let Some(run) = observer
        .children
        .get(ticket)
        .filter(|_| asks_to_stop(*signal, *reach))
    else {
        return Ok(());
    };
    if *signal == Signal::CONT {
        return hold(run.stop_signal_in_turn, || format!("{entry}"));
    }
    hold(*signal == run.stop_signal, || format!("{entry}"))?;
    let may = match run.role {
        // What outlives it is asked to stop once more, because it alone was asked before.
        Role::Application if run.ended.is_some() => {
            return hold(
                *reach == SignalTarget::Tree && run.killed.is_none() && !run.rest_termed,
                || format!("{entry}"),
            );
        }
        Role::Application => *reach == SignalTarget::Leader,
        Role::PreStart => observer.start_cancelled,
        Role::Coprocess { .. } => observer.is_closing(),
        _ => false,
    };
    hold(may && run.termed.is_none() && run.killed.is_none(), || {
        format!("{entry}")
    })
}

/// SIGKILL is sent only to a run that exceeded its time limit or its grace, or that a stop or a reload ends
/// (EX-19).
pub(super) fn only_permitted_children_get_sigkill(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Send(ticket, Signal::KILL, _)) = &entry.kind else {
        return Ok(());
    };
    let Some(run) = observer.children.get(ticket) else {
        return Ok(());
    };
    let after = |at: Option<_>, wait| at.is_some_and(|at| observer.now >= at + wait);
    let expired = run.limit_ends().is_some_and(|end| observer.now >= end);
    let killed_at_the_end = after(run.termed, REMAINING_GRACE) || run.killed.is_some();
    let graced = run.grace == Duration::ZERO
        || after(run.termed, run.grace)
        || killed_at_the_end
        || observer.survives_kill();
    let may = match &run.role {
        Role::Application => true,
        Role::PreStart => expired || (observer.start_cancelled && graced),
        Role::PreStop => match observer.application {
            OnceRun::Ended(at) => expired || observer.now >= at + observer.grace(),
            _ => expired,
        },
        Role::PostStop => expired,
        Role::Coprocess { .. } => expired || observer.incoming.is_some() || (observer.is_closing() && graced),
        Role::Task { .. } => expired || observer.incoming.is_some() || observer.stop.is_some(),
        Role::Health { id, .. } | Role::OnUnhealthy { id, .. } | Role::OnHealthy { id, .. } => {
            let leaves = observer.services.get(id).is_none_or(|facts| facts.closing);
            expired || leaves || observer.stop.is_some()
        }
        Role::OnChange { .. } => {
            let facts = observer.backends.get(&run.owner);
            let leaves = facts.is_none_or(|facts| facts.superseded || facts.alike > 1);
            expired || leaves || observer.stop.is_some()
        }
        Role::Template { destination } => {
            let facts = observer.templates.get(destination);
            let leaves = facts.is_none_or(|facts| facts.closing);
            expired || leaves || observer.is_stopping()
        }
        Role::Sensor { .. } => {
            let leaves = observer
                .schedules
                .get(&run.owner)
                .is_none_or(|facts| facts.closing);
            expired || leaves || observer.stop.is_some()
        }
    };
    hold(may, || format!("{entry}, which is {}", run.owner))
}

/// A run that exceeds its time limit is killed at that time; one that was asked to stop has its grace instead.
pub(super) fn a_run_beyond_its_time_limit_is_killed(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Wait(_) = &entry.kind else {
        return Ok(());
    };
    let late = |limit| observer.turn.began >= limit;
    let spared = observer
        .children
        .values()
        .find(|run| !observer.lenient && run.killed.is_none() && run.limit_ends().is_some_and(late));
    hold(spared.is_none(), || {
        format!("{} goes on", spared.map_or("", |run| &run.owner))
    })
}

/// A run that ended with 0 is never reported as timed out, however late its end was reported.
pub(super) fn a_run_that_ended_with_0_did_not_time_out(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let wrong = match &entry.kind {
        EntryKind::Effect(Effect::Log(Notice::TimedOut { role, .. })) => {
            observer.turn.passed.as_ref() == Some(role)
        }
        _ => false,
    };
    hold(!wrong, || format!("{entry}"))
}

/// SIGKILL reaches the whole tree of a process (EX-13).
pub(super) fn kills_reach_the_tree(_: &Observer, entry: &TraceEntry) -> Verdict {
    let wrong = matches!(
        entry.kind,
        EntryKind::Effect(Effect::Send(
            _,
            Signal::KILL,
            SignalTarget::Process | SignalTarget::Leader
        ))
    );
    hold(!wrong, || format!("{entry}"))
}

/// A signal that the shim does not handle is passed on to the application once, if it runs or as soon as it runs (LC-18).
pub(super) fn other_signals_are_passed_on_once(observer: &Observer, entry: &TraceEntry) -> Verdict {
    match &entry.kind {
        EntryKind::Effect(Effect::Send(ticket, signal, reach))
            if *signal != Signal::KILL && !asks_to_stop(*signal, *reach) =>
        {
            let due = observer.turn.forward.front() == Some(signal);
            // The core gets a failed start of the application after the effects of the step.
            let runs = observer.application == OnceRun::Running(*ticket) || observer.turn.has_late_failure;
            hold(due && runs, || format!("{entry}"))
        }
        EntryKind::Wait(_) => hold(observer.turn.forward.is_empty(), || "a signal was lost".into()),
        _ => Ok(()),
    }
}

/// The shim suspends itself if the terminal has stopped the application, before it continues it, and never during a stop.
pub(super) fn the_shim_suspends_itself_with_the_application(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let due = observer.turn.suspend;
    match &entry.kind {
        EntryKind::Effect(Effect::Suspend) => hold(due, || "without a reason".into()),
        EntryKind::Effect(Effect::Send(..)) | EntryKind::Wait(_) => hold(!due, || "it did not".into()),
        _ => Ok(()),
    }
}

/// A coprocess is started once, and restarted as often as its restarts allow, one run after the other.
pub(super) fn coprocesses_restart_as_often_as_they_may(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Start(_, job)) = &entry.kind else {
        return Ok(());
    };
    let Some(facts) = observer.coprocesses.get(&owner(job)) else {
        return Ok(());
    };
    hold(facts.may_run(), || format!("{entry} after {} runs", facts.runs))
}

/// A coprocess that ended is restarted at once; from the second run in a row that ended within a second on,
/// only after a pause of at least a quarter of a second and at most ten seconds (EX-23).
pub(super) fn there_is_a_pause_after_a_coprocess_that_ends_at_once(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    if let EntryKind::Effect(Effect::Start(_, job)) = &entry.kind {
        let facts = observer.coprocesses.get(&owner(job));
        let facts = facts.filter(|facts| facts.quick >= QUICK_RUNS);
        let early = |ended| observer.now < ended + RESTART_PAUSE.0;
        let wrong = facts.and_then(|facts| facts.ended).is_some_and(early);
        return hold(!wrong || observer.lenient, || format!("{entry} in a hurry"));
    }
    let idle = matches!(entry.kind, EntryKind::Wait(_)) && !observer.lenient && !observer.is_stopping();
    if !idle || observer.incoming.is_some() || observer.opened.is_none() {
        return Ok(());
    }
    let missing = observer.coprocesses.iter().find(|(owner, facts)| {
        let pause = match facts.quick >= QUICK_RUNS {
            true => RESTART_PAUSE.1,
            false => Duration::ZERO,
        };
        let due = facts
            .ended
            .is_none_or(|ended| observer.turn.began >= ended + pause);
        facts.may_run() && due && !observer.is_running(owner)
    });
    hold(missing.is_none(), || {
        format!("{} does not run", missing.map_or("", |(owner, _)| owner))
    })
}

/// The PID of a child is exported before anything else starts (EX-16).
pub(super) fn pids_are_exported_before_anything_else_starts(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let due = matches!(
        entry.kind,
        EntryKind::Wait(_) | EntryKind::Effect(Effect::Start(..))
    );
    hold(!due || observer.turn.export.is_none(), || {
        format!("{:?} is not exported", observer.turn.export)
    })
}

/// The application and each hook run at most once (LC-9, LC-20, LC-21).
pub(super) fn the_application_and_its_hooks_run_once(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Start(_, job)) = &entry.kind else {
        return Ok(());
    };
    let stage = match job.role {
        Role::Application => observer.application,
        Role::PreStart => observer.pre_start,
        Role::PreStop => observer.pre_stop,
        Role::PostStop => observer.post_stop,
        _ => OnceRun::NotStarted,
    };
    hold(stage == OnceRun::NotStarted, || format!("{entry} again"))
}
