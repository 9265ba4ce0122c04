//! Laws of the order of the start and the stop.

use super::bounds::REMAINING_DEATH;
use super::observer::{Observer, OnceRun, is_periodic};
use super::{Verdict, hold};
use crate::trace::{EntryKind, Fact, TraceEntry};
use domain::catalogue::Request;
use domain::plan::Role;
use domain::signal::Signal;
use domain::time::Duration;
use domain::{Effect, Event};

/// The role of the child that starts, if one does.
fn starting(entry: &TraceEntry) -> Option<&Role> {
    match &entry.kind {
        EntryKind::Effect(Effect::Start(_, job)) => Some(&job.role),
        _ => None,
    }
}

/// The signal that is sent to the application, unless it is only passed on.
fn sent_to_application(observer: &Observer, entry: &TraceEntry) -> Option<Signal> {
    match (&entry.kind, observer.application) {
        (EntryKind::Effect(Effect::Send(ticket, signal, _)), OnceRun::Running(application))
            if *ticket == application =>
        {
            (observer.turn.forward.front() != Some(signal)).then_some(*signal)
        }
        _ => None,
    }
}

/// There is no entry after the exit.
pub(super) fn nothing_follows_the_exit(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let counts = !matches!(entry.kind, EntryKind::Fact(_));
    hold(!(observer.exited && counts), || format!("{entry}"))
}

/// Nothing starts and no request is sent before preStart ended (LC-2), except what the templates need, before all of them
/// are written that are required.
pub(super) fn nothing_starts_before_pre_start_ended(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let before = observer.opened.is_none() && !observer.is_stopping();
    let begins = match &entry.kind {
        EntryKind::Effect(Effect::Start(_, job)) => match job.role {
            Role::PreStart => false,
            Role::Template { .. } => observer.awaiting.is_none(),
            _ => true,
        },
        EntryKind::Effect(Effect::Request { request, .. }) => {
            !matches!(request, Request::LookUp(_)) || observer.awaiting.is_none()
        }
        EntryKind::Effect(Effect::Probe(..)) => true,
        EntryKind::Effect(Effect::Render(..)) => observer.awaiting.is_none(),
        _ => false,
    };
    hold(!(before && begins), || format!("{entry}"))
}

/// After a start was cancelled, or preStart failed, nothing starts any more (LC-1, EX-20).
pub(super) fn after_a_cancelled_start_nothing_starts(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let begins = matches!(
        entry.kind,
        EntryKind::Effect(Effect::Start(..) | Effect::Probe(..) | Effect::Request { .. } | Effect::Load(_))
    );
    hold(
        !((observer.start_cancelled || observer.failed_start) && begins),
        || format!("{entry}"),
    )
}

/// After the stop began no check, task, sensor or handler starts, and only deregistrations are sent to the
/// catalogue; a coprocess that ends is restarted until the coprocesses are stopped (LC-6, LC-20, SD-9).
pub(super) fn after_the_stop_began_only_hooks_and_coprocesses_start(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let wrong = match &entry.kind {
        EntryKind::Effect(Effect::Start(_, job)) => match job.role {
            Role::PreStop | Role::PostStop => false,
            Role::Coprocess { .. } => observer.is_closing(),
            _ => true,
        },
        EntryKind::Effect(Effect::Request { request, .. }) => !matches!(request, Request::Deregister(_)),
        EntryKind::Effect(Effect::Load(_) | Effect::Probe(..)) => true,
        _ => false,
    };
    hold(
        !(observer.stop.is_some() && wrong) || observer.turn.has_late_failure,
        || format!("{entry}"),
    )
}

/// When the stop begins, every check, handler, task and sensor that runs is killed at once (LC-5).
pub(super) fn periodic_runs_are_killed_when_the_stop_begins(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let (EntryKind::Wait(_), Some(_)) = (&entry.kind, observer.stop) else {
        return Ok(());
    };
    let running = observer
        .children
        .values()
        .find(|run| is_periodic(&run.role) && run.killed.is_none());
    hold(running.is_none(), || {
        format!("{} still runs", running.map_or("", |run| &run.owner))
    })
}

/// preStop runs once, when an operator requested the stop, after every service was deregistered or the time
/// limit for that is over, and only while the application runs (LC-9, LC-20).
pub(super) fn pre_stop_runs_once_after_the_deregistrations(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    if starting(entry) != Some(&Role::PreStop) {
        return Ok(());
    }
    let requested = observer.stop.is_some_and(|stop| stop.requested);
    let right = requested && observer.pre_stop == OnceRun::NotStarted && !observer.application.has_ended();
    hold(right && observer.services_deregistered(), || {
        format!(
            "{entry} with the application {:?} and the stop {:?}",
            observer.application, observer.stop
        )
    })
}

/// The application goes on for its drain: before that is over, neither preStop runs nor does it get SIGTERM or SIGKILL,
/// unless a second signal requests the stop.
pub(super) fn the_drain_is_not_cut_short(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let stops = starting(entry) == Some(&Role::PreStop) || sent_to_application(observer, entry).is_some();
    hold(!stops || observer.has_drained(), || format!("{entry}"))
}

/// While the application drains, the driver waits until the end of the drain at the latest.
pub(super) fn the_drain_is_not_extended(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let (EntryKind::Wait(deadline), Some(end)) = (&entry.kind, observer.drain_ends()) else {
        return Ok(());
    };
    let wakes = observer.has_drained() || deadline.is_some_and(|deadline| deadline <= end);
    hold(wakes, || format!("it ends at {:?}", end.since_start()))
}

/// The application gets SIGTERM or SIGKILL only when an operator requested the stop, after every service was
/// deregistered or the time limit for that is over, and after preStop ended (SD-10).
pub(super) fn the_application_is_stopped_after_the_deregistrations(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    if sent_to_application(observer, entry).is_none() {
        return Ok(());
    }
    let requested = observer.stop.is_some_and(|stop| stop.requested);
    hold(
        requested && observer.services_deregistered() && observer.pre_stop_done(),
        || format!("{entry}"),
    )
}

/// The application is killed only after its grace since SIGTERM, or without one if the stop timeout is "at
/// once" (EX-13).
pub(super) fn the_application_is_killed_only_after_its_grace(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let (Some(Signal::KILL), OnceRun::Running(ticket)) =
        (sent_to_application(observer, entry), observer.application)
    else {
        return Ok(());
    };
    let run = observer.children.get(&ticket);
    let had_it = run
        .and_then(|run| run.termed)
        .is_some_and(|at| observer.now >= at + observer.grace());
    let again = run.is_some_and(|run| run.killed.is_some());
    hold(had_it || again || observer.grace() == Duration::ZERO, || {
        format!("{entry}")
    })
}

/// postStop runs once, only after the application and preStop have ended, and every service was deregistered
/// or the time limit for that is over (SD-11, LC-9).
pub(super) fn post_stop_runs_once_after_the_application_has_ended(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    if starting(entry) != Some(&Role::PostStop) {
        return Ok(());
    }
    let first = observer.post_stop == OnceRun::NotStarted && observer.application.has_ended();
    hold(
        first && !observer.pre_stop.is_running() && observer.services_deregistered(),
        || format!("{entry}"),
    )
}

/// Coprocesses get SIGTERM last: after the application and postStop have ended (EX-22).
pub(super) fn coprocesses_are_stopped_last(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Send(ticket, Signal::TERM, _)) = &entry.kind else {
        return Ok(());
    };
    let run = observer.children.get(ticket);
    let coprocess = run.is_some_and(|run| matches!(run.role, Role::Coprocess { .. }));
    hold(!coprocess || observer.is_closing(), || format!("{entry}"))
}

/// A stop never waits without a reason: when the services were deregistered and the drain is over, preStop, SIGTERM, SIGKILL, postStop and the exit each come as soon as
/// what they wait for is over, and SIGTERM is never lost (LC-7, LC-8, SD-10: one time limit of two seconds in
/// all).
pub(super) fn the_stop_continues_without_delay(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Wait(_) = &entry.kind else {
        return Ok(());
    };
    if observer.is_closing() && !observer.application.is_running() {
        let requested = observer.remaining.termed.or(observer.remaining.killed).is_some();
        return hold(requested && !observer.remaining.ended, || {
            "everything is over, and it does not exit".into()
        });
    }
    let Some(stop) = observer
        .stop
        .filter(|_| observer.has_drained() && !observer.application_unkillable)
    else {
        return Ok(());
    };
    let plan = observer.plan();
    let hook_due = observer.pre_stop == OnceRun::NotStarted && plan.pre_stop.is_some();
    if stop.requested && !observer.application.has_ended() && hook_due {
        return Err("preStop has to run".into());
    }
    if let OnceRun::Running(ticket) = observer.application {
        let run = observer.children.get(&ticket);
        let stopped = run.and_then(|run| run.termed.or(run.killed));
        let killed = run.and_then(|run| run.killed);
        let due = run
            .and_then(|run| run.termed)
            .is_some_and(|at| observer.turn.began >= at + observer.grace());
        hold(!observer.pre_stop_done() || stopped.is_some(), || {
            "the application has to be stopped".into()
        })?;
        return hold(!due || killed.is_some(), || {
            "the application has to be killed".into()
        });
    }
    let last_due = observer.post_stop == OnceRun::NotStarted && plan.post_stop.is_some();
    let gone = observer.application.has_ended() && !observer.pre_stop.is_running();
    hold(!(gone && last_due), || "postStop has to run".into())
}

/// At the exit no child runs, except one that did not end within its time limit after SIGKILL, which is
/// reported.
pub(super) fn the_exit_leaves_no_child(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Exit(_)) = &entry.kind else {
        return Ok(());
    };
    let tried = |at| observer.now >= at + REMAINING_DEATH;
    let spared = observer
        .children
        .values()
        .find(|run| !run.killed.is_some_and(tried));
    hold(spared.is_none(), || {
        format!("{} is alive", spared.map_or("", |run| &run.owner))
    })?;
    hold(observer.children.len() == observer.left_behind, || {
        format!(
            "{} children are left, {} were reported",
            observer.children.len(),
            observer.left_behind
        )
    })
}

/// The exit code is 1 if a health check ended the shim and it would be 0 otherwise; else that of a failed preStart, or 143 for a cancelled start, or the application's, or that of
/// a failed postStop in its place; 137 if the application did not end, and 0 if there is none (EX-2, EX-3,
/// EX-7, EX-8, EX-20, LC-1, LC-8).
pub(super) fn the_exit_code_is_correct(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Exit(code)) = &entry.kind else {
        return Ok(());
    };
    let known = observer.code.unwrap_or(0);
    let expected = match (observer.application_runs(), known) {
        (true, _) => 137,
        (false, 0) if observer.failed_check => 1,
        (false, known) => known,
    };
    hold(*code == expected, || format!("{code} instead of {expected}"))
}

/// In every state, once faults stop, SIGTERM leads to the exit within the sum of the time limits.
pub(super) fn without_faults_a_stop_ends_within_its_time_limits(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let overdue = matches!(entry.kind, EntryKind::Fact(Fact::Overdue));
    let stopped = matches!(entry.kind, EntryKind::Event(Event::Signal(_)));
    hold(!overdue || stopped || observer.exited, || "it still runs".into())
}
