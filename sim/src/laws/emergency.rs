//! Laws of an emergency: the properties that must hold after a fault of the program itself, until the exit.
//!
//! After the fault they are checked instead of the others, because the normal stop does not continue
//! (src/domain/emergency.rs).

use super::bounds::{EMERGENCY_DEATH, EMERGENCY_DEREGISTRATION};
use super::observer::{Kind, Observer};
use super::{Verdict, hold};
use crate::trace::{EntryKind, TraceEntry};
use domain::catalogue::Request;
use domain::emergency::FAULT;
use domain::signal::Signal;
use domain::{Effect, Ticket};

/// Whether this entry ends the first turn of the emergency.
fn has_begun(entry: &TraceEntry) -> bool {
    matches!(
        entry.kind,
        EntryKind::Wait(_) | EntryKind::Effect(Effect::Exit(_))
    )
}

/// After a fault nothing is started or loaded, and only deregistrations are sent to the catalogue, with a
/// time limit of two seconds.
pub(super) fn an_emergency_starts_nothing(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let begins = match &entry.kind {
        EntryKind::Effect(Effect::Request { request, limit, .. }) => {
            !matches!(request, Request::Deregister(_)) || *limit > EMERGENCY_DEREGISTRATION
        }
        EntryKind::Effect(Effect::Start(..) | Effect::Load(_) | Effect::Connect(_)) => true,
        _ => false,
    };
    hold(observer.emergency.is_none() || !begins, || format!("{entry}"))
}

/// After a fault all children get SIGTERM at once.
pub(super) fn an_emergency_sends_sigterm_to_all_children(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let Some(emergency) = observer.emergency.as_ref().filter(|_| has_begun(entry)) else {
        return Ok(());
    };
    let spared = observer
        .children
        .iter()
        .find(|(ticket, _)| !emergency.termed.contains(ticket));
    hold(spared.is_none(), || {
        format!("{:?} gets no SIGTERM", spared.map(|(_, run)| &run.owner))
    })
}

/// After a fault a running child is killed only after its grace; a child that was perhaps never started is
/// killed as soon as nothing else is waited for.
pub(super) fn an_emergency_kills_after_the_grace(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let (Some(emergency), EntryKind::Effect(effect)) = (&observer.emergency, &entry.kind) else {
        return Ok(());
    };
    let graced = entry.at >= emergency.at + emergency.grace.0;
    if let Effect::SendToAll(Signal::KILL) = effect {
        return hold(observer.remaining.ended || graced, || format!("{entry}"));
    }
    let Effect::Send(ticket, Signal::KILL, _) = effect else {
        return Ok(());
    };
    let runs = observer.children.contains_key(ticket) && emergency.starting != Some(*ticket);
    hold(!runs || graced, || format!("{entry}"))
}

/// After a fault every registered instance is deregistered at once.
pub(super) fn an_emergency_deregisters_every_instance(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let Some(emergency) = observer.emergency.as_ref().filter(|_| has_begun(entry)) else {
        return Ok(());
    };
    if emergency.moves || observer.arrived_late {
        return Ok(());
    }
    let asked = |id: &&String| emergency.asked.values().any(|asked| asked == *id);
    let left = observer.entries.iter().find(|id| !asked(id));
    hold(left.is_none(), || format!("{left:?} stands"))
}

/// After a fault the exit comes when all children have ended, or two seconds after they were killed, and when
/// the catalogue has answered, or after two seconds.
pub(super) fn an_emergency_waits_for_children_and_deregistrations(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let (Some(emergency), EntryKind::Effect(Effect::Exit(_))) = (&observer.emergency, &entry.kind) else {
        return Ok(());
    };
    let (starting, now) = (emergency.starting, entry.at);
    let waited = |ticket: &Ticket| {
        emergency
            .killed
            .get(ticket)
            .is_some_and(|at| now >= *at + EMERGENCY_DEATH)
    };
    let left = observer
        .children
        .keys()
        .find(|ticket| starting != Some(**ticket) && !waited(ticket));
    hold(left.is_none(), || "a child is left behind".into())?;
    let tried = now >= emergency.at + emergency.grace.0 + EMERGENCY_DEATH;
    hold(observer.remaining.ended || tried, || "processes are left".into())?;
    let deregisters = observer
        .requests
        .values()
        .any(|asked| asked.kind == Kind::Deregister);
    let in_time = now < emergency.at + EMERGENCY_DEREGISTRATION;
    hold(!(deregisters && in_time), || "a deregistration is cut off".into())
}

/// After a fault the exit comes within two seconds, or the grace of children (a minute at most), and two
/// seconds more.
pub(super) fn an_emergency_ends_in_time(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let (Some(emergency), EntryKind::Wait(deadline)) = (&observer.emergency, &entry.kind) else {
        return Ok(());
    };
    // After a late wake-up the effects are late, too.
    let bound = emergency.bound().max(observer.turn.began + EMERGENCY_DEATH);
    hold(deadline.is_some_and(|deadline| deadline <= bound), || {
        format!("{entry}")
    })
}

/// After a fault the exit code is 70.
pub(super) fn an_emergency_ends_with_70(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let (Some(_), EntryKind::Effect(Effect::Exit(code))) = (&observer.emergency, &entry.kind) else {
        return Ok(());
    };
    hold(*code == FAULT, || format!("{entry}"))
}

/// A service that was deregistered after a fault stays absent.
pub(super) fn an_instance_deregistered_in_an_emergency_stays_absent(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let (Some(emergency), EntryKind::Effect(Effect::Exit(_))) = (&observer.emergency, &entry.kind) else {
        return Ok(());
    };
    let stands = emergency
        .deregistered
        .iter()
        .find(|id| observer.entries.contains(*id));
    hold(stands.is_none() || observer.arrived_late, || {
        format!("{stands:?} stands")
    })
}
