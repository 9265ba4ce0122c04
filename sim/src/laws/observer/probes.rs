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
    /// The label of its check.
    pub label: String,
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
    /// Whether the check with this label is a probe that runs.
    pub(crate) fn is_probing(&self, label: &str) -> bool {
        self.probes.values().any(|probe| probe.label == label)
    }

    /// The probes of a service that run.
    pub(crate) fn probes_of<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a ProbeFacts> {
        self.probes.values().filter(move |probe| probe.id == id)
    }

    pub(super) fn probe_starts(&mut self, ticket: Ticket, probe: &Probe) {
        let since = self.turn.began;
        let (id, label) = (checked_by(&probe.role).to_owned(), probe.role.to_string());
        self.check_starts(&id, &label);
        self.last_probes.insert(label.clone(), (ticket, id.clone()));
        self.probes.insert(ticket, ProbeFacts { id, label, since });
    }

    pub(super) fn probe_ended(&mut self, ticket: Ticket) {
        self.last_probes.retain(|_, (last, _)| *last != ticket);
        let Some(probe) = self.probes.remove(&ticket) else {
            return;
        };
        let turn = self.turn.began;
        let Some(facts) = self.services.get_mut(&probe.id) else {
            return;
        };
        match &mut facts.own {
            None => facts.schedule.end(turn),
            Some(own) => {
                if let Some(check) = own.checks.get_mut(&probe.label) {
                    check.schedule.end(turn);
                }
            }
        }
    }

    pub(super) fn probed(&mut self, ticket: Ticket, end: &ProbeEnd) {
        if let Some(probe) = self.probes.remove(&ticket) {
            self.checked(
                &probe.id,
                &probe.label,
                probe.since,
                end.verdict == Verdict::Passed,
            );
        }
    }
}

domain::keyed!(ProbeFacts { id, label, since });
