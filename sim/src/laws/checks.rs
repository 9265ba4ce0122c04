//! Laws of services whose checks have schedules of their own.

use super::observer::{KnownRegistration, Observer, OwnChecks, ServiceFacts};
use super::time::check_started;
use super::{Verdict, hold};
use crate::trace::{EntryKind, TraceEntry};
use domain::Effect;
use domain::catalogue::{Report, Request};

/// What a request says about a service: its ID, and whether it is healthy.
fn said(entry: &TraceEntry) -> Option<(&str, bool)> {
    let EntryKind::Effect(Effect::Request { request, .. }) = &entry.kind else {
        return None;
    };
    match request {
        Request::Register(r) | Request::Renew(r) => Some((&r.id, true)),
        Request::Report(Report {
            registration,
            healthy,
            ..
        }) => Some((&registration.id, *healthy)),
        _ => None,
    }
}

fn own<'a>(observer: &'a Observer, id: &str) -> Option<(&'a ServiceFacts, &'a OwnChecks)> {
    let facts = observer.services.get(id)?;
    Some((facts, facts.own.as_ref()?))
}

/// A service gets a heartbeat only while all its checks are healthy, and the last result of each is younger than its
/// interval and its time limit together, also when the heartbeat had to wait. The core gets the failed start of a check after
/// all effects of the step.
pub(super) fn no_heartbeat_while_a_check_fails_or_is_overdue(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let Some((id, true)) = said(entry) else {
        return Ok(());
    };
    let wrong = own(observer, id).is_some_and(|(_, checks)| !checks.can_pass(observer.turn.began));
    hold(!wrong || observer.turn.has_late_failure, || format!("{entry}"))
}

/// It gets a report that it is unhealthy only while a check with a number of failures is.
pub(super) fn critical_only_while_a_check_says_so(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let Some((id, false)) = said(entry) else {
        return Ok(());
    };
    let wrong = own(observer, id).is_some_and(|(_, checks)| !checks.can_be_critical());
    hold(!wrong, || format!("{entry}"))
}

/// What is sent is a change, or it is sent at a tick of the service's poll, which may have waited for the request before;
/// or it is the registration of a service that the catalogue does not have.
pub(super) fn requests_follow_a_change_or_a_tick(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let Some((id, healthy)) = said(entry) else {
        return Ok(());
    };
    let Some((facts, checks)) = own(observer, id) else {
        return Ok(());
    };
    let changes = if healthy { checks.may_pass } else { checks.may_fail };
    let ticks = facts.schedule.may_begin(&observer.turn, observer.now);
    let waited =
        observer.plan.max_connections.is_some() && facts.schedule.waits(observer.now, facts.longest_wait());
    let unsure = checks.is_unsure() || observer.turn.has_late_failure;
    let reason = changes || ticks || waited || facts.unknown || unsure;
    hold(reason && !facts.closing, || format!("{entry}"))
}

/// While the checks call for heartbeats or for reports, there is one at every tick of the poll, unless the service is to
/// be absent, a request is in flight, or the services' own share of the budget is used up.
pub(super) fn no_tick_of_a_heartbeat_is_omitted(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let rests = matches!(entry.kind, EntryKind::Wait(_)) && observer.opened.is_some() && !observer.exited;
    if !rests || observer.is_stopping() || observer.maintenance || observer.services_may_wait() {
        return Ok(());
    }
    let late = observer.services.iter().find(|(id, facts)| {
        let due = facts.own.as_ref().is_some_and(|checks| {
            let critical = checks.is_critical() && facts.registration != KnownRegistration::Absent;
            (checks.is_passing(observer.now) || critical) && !checks.is_unsure()
        });
        let idle = observer.request_of(id, facts).is_none();
        due && idle && !facts.closing && facts.schedule.is_overdue(observer.turn.began)
    });
    hold(late.is_none(), || {
        format!("{} sends nothing", late.map_or("", |(id, _)| id))
    })
}

/// Each check starts at its own ticks, whatever the others do and whether a request is in flight or not: the first comes
/// after one poll, or one interval if that is shorter.
pub(super) fn each_check_starts_at_its_own_ticks(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let Some((role, id)) = check_started(entry) else {
        return Ok(());
    };
    let Some((_, checks)) = own(observer, id) else {
        return Ok(());
    };
    let check = checks.checks.get(&role.to_string());
    let may = check.is_some_and(|check| check.schedule.may_begin(&observer.turn, observer.now));
    hold(may, || format!("{entry}"))
}

/// A check that does not run starts at each of its ticks.
pub(super) fn no_tick_of_one_of_several_checks_is_omitted(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let rests = matches!(entry.kind, EntryKind::Wait(_)) && observer.opened.is_some() && !observer.exited;
    if !rests || observer.is_stopping() || observer.maintenance {
        return Ok(());
    }
    let open = observer.services.values().filter(|facts| !facts.closing);
    let mut checks = open
        .flat_map(|facts| facts.own.iter())
        .flat_map(|own| &own.checks);
    let late = checks.find(|(label, check)| {
        let idle = !observer.is_running(label) && !observer.is_probing(label);
        idle && check.schedule.is_overdue(observer.turn.began)
    });
    hold(late.is_none(), || {
        format!("{} does not run", late.map_or("", |(label, _)| label))
    })
}
