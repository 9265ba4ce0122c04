//! After a pause of the machine: a wake-up that is late by more than a second restarts time limits.

use super::Observer;
use super::lifecycle::OnceRun;
use crate::laws::bounds::{LATE, LONGEST_RELOAD_WAIT, MOST_LATE};
use domain::Instant;
use std::collections::BTreeSet;

impl Observer {
    /// Whether time limits start again in this turn.
    pub(super) fn is_late(&mut self, at: Instant) -> bool {
        let Some(deadline) = self.deadline.filter(|deadline| *deadline <= at) else {
            return false;
        };
        if at - deadline <= LATE {
            self.late_in_a_row = 0;
            return false;
        }
        self.late_in_a_row += 1;
        self.late_in_a_row <= MOST_LATE
    }

    /// Limits that are not over start again; of missed ticks at most one remains.
    pub(super) fn after_standstill(&mut self, now: Instant) {
        if !self.services_deregistered()
            && let Some(stop) = &mut self.stop
        {
            stop.at = now;
        }
        if !self.has_drained() {
            self.drain_began = self.drain_began.map(|_| now);
        }
        self.awaiting = self.awaiting.map(|_| now);
        let before = self.turn.began;
        if let Some((_, since)) = &mut self.incoming
            && before < *since + LONGEST_RELOAD_WAIT
        {
            *since = now;
        }
        if let (OnceRun::Ended(at), OnceRun::Running(_)) = (&mut self.application, self.pre_stop) {
            *at = now;
        }
        let remaining = &mut self.remaining;
        if remaining.killed.is_none() {
            remaining.termed = remaining.termed.map(|_| now);
        }
        remaining.killed = remaining.killed.map(|_| now);
        for run in self.children.values_mut() {
            if run.killed.is_none() {
                run.termed = run.termed.map(|_| now);
            }
            run.killed = run.killed.map(|_| now);
            run.counts_from = now;
        }
        self.schedules_after_standstill(now);
    }

    fn schedules_after_standstill(&mut self, now: Instant) {
        let staying = self.children.values().filter(|run| !run.abandoned);
        let running: BTreeSet<String> = staying.map(|run| run.owner.clone()).collect();
        let probing: BTreeSet<String> = self.probes.values().map(|probe| probe.label.clone()).collect();
        let checks = |label: &String| running.contains(label) || probing.contains(label);
        let (limited, requesting) = (self.has_budget(), self.requesting());
        for (id, facts) in &mut self.services {
            let is_checked = facts.own.is_none() && facts.check_labels(id).iter().any(checks);
            let busy = is_checked || requesting.contains(id);
            facts.schedule.after_standstill(now, busy);
            for (label, check) in facts.own.iter_mut().flat_map(|own| &mut own.checks) {
                check.schedule.after_standstill(now, checks(label));
                check.health.after_standstill(now);
            }
            if let Some(health) = &mut facts.health {
                health.after_standstill(now);
            }
            if limited {
                // A heartbeat that waits for others occupies the service, too, and no entry shows that.
                facts.schedule.blur(now);
            }
        }
        for (owner, facts) in &mut self.schedules {
            facts.schedule.after_standstill(now, running.contains(owner));
        }
    }
}
