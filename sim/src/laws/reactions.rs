//! Laws of what a service does when its health changes: its commands, and the end of the shim.

use super::observer::Observer;
use super::{Verdict, hold};
use crate::trace::{EntryKind, TraceEntry};
use domain::plan::{Job, Role};
use domain::{Effect, Notice};

/// The longest reason that a command gets, in bytes.
const LONGEST_REASON: usize = 1024;

/// The command for a change of health that starts here, if one does: its service, and whether it is for unhealthy.
fn starting(entry: &TraceEntry) -> Option<(&Job, &str, bool)> {
    let EntryKind::Effect(Effect::Start(_, job)) = &entry.kind else {
        return None;
    };
    match &job.role {
        Role::OnUnhealthy { id, .. } => Some((job, id, true)),
        Role::OnHealthy { id, .. } => Some((job, id, false)),
        _ => None,
    }
}

/// A command starts only after the health has changed to what it is for, once for each change, and the first is the one
/// for unhealthy. In maintenance and in the start period no result counts.
pub(super) fn a_command_starts_only_after_a_change_of_health(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let Some((_, id, unhealthy)) = starting(entry) else {
        return Ok(());
    };
    let facts = observer.services.get(id).map(|facts| &facts.reactions);
    // The core gets the failed start of a check after all effects of the step.
    let is_of = |health| health == unhealthy || observer.turn.has_late_failure;
    let may = facts.is_some_and(|facts| facts.unsure || (is_of(facts.latest) && facts.handled != unhealthy));
    hold(may, || format!("{entry}"))
}

/// No two commands of a service run at a time.
pub(super) fn commands_of_a_service_run_one_at_a_time(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let wrong = starting(entry).is_some_and(|(_, id, _)| observer.is_reacting(id));
    hold(!wrong, || format!("{entry} while one runs"))
}

/// After a lasting change of health the command for it runs: at once, or when the present one or the maintenance ends, or
/// within ten seconds after it could not be started.
pub(super) fn after_a_change_of_health_the_command_runs(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Wait(_) = &entry.kind else {
        return Ok(());
    };
    if observer.maintenance || observer.is_stopping() {
        return Ok(());
    }
    let idle = observer.services.iter().find(|(id, facts)| {
        let reactions = &facts.reactions;
        let waits = reactions.retry.is_some_and(|(_, at)| observer.turn.began < at);
        let due = reactions.is_due() && !reactions.unsure && !facts.closing && !waits;
        due && !observer.is_reacting(id)
    });
    hold(idle.is_none(), || {
        format!("the health of {} has changed", idle.map_or("", |(id, _)| id))
    })
}

/// There is a pause before a command that could not be started is started again.
pub(super) fn there_is_a_pause_after_a_command_that_cannot_start(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let facts = starting(entry).and_then(|(_, id, _)| observer.services.get(id));
    let retry = facts.and_then(|facts| facts.reactions.retry);
    let early = retry.is_some_and(|(not_before, _)| observer.now < not_before);
    hold(!early, || format!("{entry} in a hurry"))
}

/// A command has the service, its health and the reason in its environment, and no other run has variables.
pub(super) fn a_command_has_the_reason_in_its_environment(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let EntryKind::Effect(Effect::Start(_, job)) = &entry.kind else {
        return Ok(());
    };
    let Some((_, id, unhealthy)) = starting(entry) else {
        return Ok(());
    };
    let services = &observer.plan().services;
    let service = services.iter().find(|service| service.registration.id == id);
    let name = service.map_or("", |service| &service.registration.name);
    let health = if unhealthy { "unhealthy" } else { "healthy" };
    let found: Vec<(&str, &str)> = job
        .variables
        .iter()
        .map(|variable| (variable.name(), variable.value()))
        .collect();
    let right = match found.as_slice() {
        [
            ("CONTAINERPILOT_SERVICE", of),
            ("CONTAINERPILOT_HEALTH", is),
            ("CONTAINERPILOT_REASON", reason),
        ] => *of == name && *is == health && (1..=LONGEST_REASON).contains(&reason.len()),
        _ => false,
    };
    hold(right, || format!("{entry}"))
}

/// So many failures of a check in a row as its service says stop the shim, no other number does, and the log says so.
pub(super) fn a_check_that_fails_too_often_stops_the_shim(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let due = observer.turn.fails.as_ref();
    match &entry.kind {
        EntryKind::Effect(Effect::Log(Notice::FailedTooOften { named, failures, .. })) => {
            let right = due.is_some_and(|(id, number)| *id == named.id && number == failures);
            hold(right, || format!("{entry}"))
        }
        EntryKind::Wait(_) => hold(due.is_none(), || format!("{due:?} does not stop the shim")),
        _ => Ok(()),
    }
}
