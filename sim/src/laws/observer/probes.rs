//! The health checks that have no process: those that run, and the last one of each service.

use super::Observer;
use domain::plan::Role;
use domain::probe::{Probe, ProbeEnd, Verdict};
use domain::{Instant, Ticket};

/// A probe that runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ProbeFacts {
    /// The ID of its service.
    pub id: String,
    pub since: Instant,
}

/// The ID of the service whose check has this role.
fn checked_by(role: &Role) -> &str {
    match role {
        Role::Health { id, .. } => id,
        _ => "",
    }
}

impl Observer {
    /// Whether the service whose check has this role has a probe that runs.
    pub(crate) fn is_probing(&self, role: &Role) -> bool {
        self.probes_of(checked_by(role)).next().is_some()
    }

    /// The probes of a service that run.
    pub(crate) fn probes_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a ProbeFacts> {
        self.probes.values().filter(move |probe| probe.id == id)
    }

    pub(super) fn probe_starts(&mut self, ticket: Ticket, probe: &Probe) {
        let (turn, now) = (self.turn.began, self.now);
        let id = checked_by(&probe.role).to_owned();
        if let Some(facts) = self.services.get_mut(&id) {
            facts.schedule.begin(turn, now);
        }
        self.last_probes.insert(id.clone(), ticket);
        self.probes.insert(ticket, ProbeFacts { id, since: turn });
    }

    pub(super) fn probe_ended(&mut self, ticket: Ticket) {
        self.last_probes.retain(|_, last| *last != ticket);
        let Some(probe) = self.probes.remove(&ticket) else {
            return;
        };
        let turn = self.turn.began;
        if let Some(facts) = self.services.get_mut(&probe.id) {
            facts.schedule.end(turn);
        }
    }

    pub(super) fn probed(&mut self, ticket: Ticket, end: &ProbeEnd) {
        if let Some(probe) = self.probes.remove(&ticket) {
            self.checked(&probe.id, probe.since, end.verdict == Verdict::Passed);
        }
    }
}

domain::keyed!(ProbeFacts { id, since });
