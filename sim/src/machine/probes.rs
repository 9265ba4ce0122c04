//! The health checks that have no process, on the simulated machine.

use super::{ScheduledItem, State};
use crate::trace::EntryKind;
use domain::probe::{Probe, ProbeEnd, Verdict};
use domain::time::Duration;
use domain::{Effect, Event, Ticket};

impl State {
    /// Starts a probe, and draws when and how it ends: at the latest when its time limit is over.
    pub(super) fn start_probe(&mut self, ticket: Ticket, probe: &Probe) {
        self.record(EntryKind::Effect(Effect::Probe(ticket, Box::new(probe.clone()))));
        let faults = self.faults;
        let hangs = faults.checks_hang || (faults.children_hang && self.choices.odds(10));
        let fails = faults.children_fail && self.choices.odds(25);
        let (verdict, after) = match (hangs, fails) {
            (true, _) => (Verdict::TimedOut, probe.time_limit),
            (_, true) => (Verdict::Failed, self.choices.between(0, 200)),
            _ => (Verdict::Passed, self.choices.between(0, 200)),
        };
        self.probes.insert(ticket);
        let item = if after >= probe.time_limit {
            (Verdict::TimedOut, probe.time_limit)
        } else {
            (verdict, after)
        };
        self.schedule(item.1, ScheduledItem::ProbeEnds(ticket, item.0));
    }

    /// A probe is no longer needed. Its result may be on its way already.
    pub(super) fn end_probe(&mut self, ticket: Ticket) {
        self.record(EntryKind::Effect(Effect::EndProbe(ticket)));
        if self.probes.remove(&ticket) && self.faults.late_arrivals && self.choices.odds(50) {
            let event = probed(ticket, Verdict::Passed);
            self.schedule(Duration::ZERO, ScheduledItem::Post(event));
        }
    }

    /// The result of a probe, unless it was cancelled.
    pub(super) fn probe_ends(&mut self, ticket: Ticket, verdict: Verdict) -> Option<Event> {
        self.probes.remove(&ticket).then(|| probed(ticket, verdict))
    }
}

fn probed(ticket: Ticket, verdict: Verdict) -> Event {
    let detail = "an answer".to_owned();
    Event::Probed(ticket, ProbeEnd { verdict, detail }, "the body".into())
}
