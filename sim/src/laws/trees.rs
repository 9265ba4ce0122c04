//! Laws of the processes below children: what outlives a child that was asked to stop, and what is left at the end.

use super::bounds::{REMAINING_DEATH, REMAINING_GRACE};
use super::observer::{Observer, OnceRun};
use super::{Verdict, hold};
use crate::trace::{EntryKind, TraceEntry};
use domain::Effect;
use domain::signal::Signal;

/// What outlives the application, which alone got its stop signal, gets the same signal as soon as that is known.
pub(super) fn what_outlives_the_application_is_asked_to_stop(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let (EntryKind::Wait(_), OnceRun::Running(ticket)) = (&entry.kind, observer.application) else {
        return Ok(());
    };
    let run = observer.children.get(&ticket).filter(|run| run.ended.is_some());
    let asked = run.is_none_or(|run| run.rest_termed || run.killed.is_some());
    hold(asked, || {
        "what outlived the application was not asked to stop".into()
    })
}

/// All processes that are left get SIGTERM once, when everything else is over, and SIGKILL once, five seconds later or
/// when the application outlived its own.
pub(super) fn what_is_left_is_asked_to_stop_last(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let all = observer.remaining;
    let may = match &entry.kind {
        EntryKind::Effect(Effect::SendToAll(Signal::KILL)) => {
            let graced = all.termed.is_some_and(|at| observer.now >= at + REMAINING_GRACE);
            all.killed.is_none() && (graced || observer.survives_kill())
        }
        EntryKind::Effect(Effect::SendToAll(Signal::TERM)) => {
            all.termed.is_none() && all.killed.is_none() && observer.is_closing()
        }
        EntryKind::Effect(Effect::SendToAll(_)) => false,
        _ => true,
    };
    hold(may, || format!("{entry}"))
}

/// What is left is killed when its time is over, and is not waited for any longer when the time after that is over.
pub(super) fn what_is_left_ends_in_time(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Wait(deadline) = &entry.kind else {
        return Ok(());
    };
    let remaining = observer.remaining;
    let bound = match (remaining.termed, remaining.killed) {
        (_, Some(killed)) => killed + REMAINING_DEATH,
        (Some(termed), None) => termed + REMAINING_GRACE,
        (None, None) => return Ok(()),
    };
    let wakes = bound > observer.turn.began && deadline.is_some_and(|deadline| deadline <= bound);
    hold(wakes, || "what is left is in the way for too long".into())
}

/// The exit waits until no process is left, or until SIGKILL had its time.
pub(super) fn the_exit_waits_for_what_is_left(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Exit(_)) = &entry.kind else {
        return Ok(());
    };
    let tried = observer
        .remaining
        .killed
        .is_some_and(|at| observer.now >= at + REMAINING_DEATH);
    hold(observer.remaining.ended || tried, || "processes are left".into())
}
