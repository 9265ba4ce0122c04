//! Laws of the health checks that have no process.

use super::observer::Observer;
use super::{Verdict, hold};
use crate::trace::{EntryKind, TraceEntry};
use domain::Effect;

/// A check has at most one probe at a time.
pub(super) fn one_probe_of_each_check(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Probe(_, probe)) = &entry.kind else {
        return Ok(());
    };
    hold(!observer.is_probing(&probe.role.to_string()), || {
        format!("{entry} while one runs")
    })
}

/// A probe is ended once, and only if it is the last one of its check.
pub(super) fn only_the_last_probe_is_ended(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::EndProbe(ticket)) = &entry.kind else {
        return Ok(());
    };
    let is_last = observer.last_probes.values().any(|(last, _)| last == ticket);
    hold(is_last, || format!("{entry}"))
}

/// In maintenance, when the stop begins, and when a reload removes its service, a probe is cancelled at once, and the
/// connection that was kept is closed.
pub(super) fn probes_end_with_what_needs_them(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Wait(_) = &entry.kind else {
        return Ok(());
    };
    let unneeded = observer.last_probes.values().map(|(_, id)| id).find(|id| {
        let closing = observer.services.get(*id).is_none_or(|facts| facts.closing);
        closing || observer.maintenance || observer.is_stopping()
    });
    hold(unneeded.is_none() || observer.exited, || {
        format!(
            "the probe of {} is not ended",
            unneeded.map_or("", String::as_str)
        )
    })
}
