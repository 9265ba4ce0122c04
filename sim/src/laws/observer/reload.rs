//! The change from one plan to the next: which units are removed, and which are opened.

use super::Observer;
use super::plan::{SharedPlan, key_of, sensors};
use domain::event::Loaded;
use domain::plan::{Backend, Plan, Role, Sensor, Service};
use std::collections::BTreeSet;

impl Observer {
    /// Whether every service that a reload removes was deregistered.
    pub(crate) fn removed_have_deregistered(&self) -> bool {
        let mut services = self.services.iter();
        services.all(|(id, facts)| !facts.closing || self.has_deregistered(id, facts))
    }

    /// Whether everything that a reload removes has ended.
    pub(crate) fn replaced_have_ended(&self) -> bool {
        let mut services = self.services.iter().filter(|(_, facts)| facts.closing);
        let mut jobs = self.children.values().filter(|run| !run.abandoned);
        let mut sensors = self.schedules.iter().filter(|(_, facts)| facts.closing);
        let superseded = |(_, facts): &(&String, &super::BackendFacts)| facts.superseded && facts.alike == 1;
        let mut backends = self.backends.iter().filter(superseded);
        self.removed_have_deregistered()
            && services.all(|(id, facts)| {
                let labels = facts.check_labels(id);
                !labels.iter().any(|label| self.is_running(label)) && !self.is_reacting(id)
            })
            && !jobs.any(|run| matches!(run.role, Role::Task { .. } | Role::Coprocess { .. }))
            && !sensors.any(|(owner, _)| self.is_running(owner))
            && !backends.any(|(owner, _)| self.is_running(owner))
            && self.closing_templates_have_ended()
    }

    /// The configuration was read.
    pub(super) fn loaded(&mut self, loaded: &Loaded) {
        let Loaded::Plan { plan, .. } = loaded else {
            self.turn.refused = self.incoming.is_none();
            return;
        };
        if !self.takes_configuration() {
            return;
        }
        let plan = Plan {
            application: self.first.application.clone(),
            pre_start: self.first.pre_start.clone(),
            ..(**plan).clone()
        };
        self.close_templates(&plan);
        if self.opened.is_some() {
            self.close_replaced(&plan);
        }
        let since = self
            .incoming
            .as_ref()
            .map_or(self.turn.began, |(_, since)| *since);
        self.incoming = Some((SharedPlan::new(plan), since));
    }

    fn close_replaced(&mut self, plan: &Plan) {
        let moves = plan.catalogue != self.plan.catalogue;
        let stays = |service: &Service| !moves && plan.services.contains(service);
        let leaving = self.plan.services.iter().filter(|service| !stays(service));
        for id in leaving
            .map(|service| service.registration.id.clone())
            .collect::<Vec<_>>()
        {
            if self.services.get(&id).is_some_and(|facts| !facts.closing) {
                self.must_deregister(&id);
            }
            if let Some(facts) = self.services.get_mut(&id) {
                facts.closing = true;
            }
        }
        let staying = self.children.values().filter(|run| !run.abandoned);
        let running: BTreeSet<String> = staying.map(|run| run.owner.clone()).collect();
        for (key, facts) in &mut self.backends {
            let same = |backend: &Backend| key_of(backend) == *key && backend.on_change == facts.handler;
            if !plan.backends.iter().any(same) {
                facts.superseded = true;
                facts.owed |= running.contains(key);
            }
        }
        for facts in self.schedules.values_mut() {
            let same = |sensor: &Sensor| sensor.job == facts.job && Some(sensor.kind) == facts.kind;
            facts.closing |= !sensors(plan).any(same);
        }
    }

    /// The new plan has come into force.
    pub(super) fn reloaded(&mut self) {
        let Some((plan, _)) = self.incoming.take() else {
            return;
        };
        // If a configuration is refused, an earlier plan can come into force in the same turn.
        self.turn.refused = false;
        let moves = plan.catalogue != self.plan.catalogue;
        if plan.max_connections != self.plan.max_connections {
            self.other_budget();
        }
        self.plan = plan;
        if self.opened.is_none() {
            if self.awaiting.is_some() {
                self.adopt_templates();
            }
            return;
        }
        self.adopt_templates();
        for run in self.children.values_mut() {
            let leaves = match &run.role {
                Role::Task { .. } | Role::Coprocess { .. } => true,
                Role::Health { id, .. } | Role::OnUnhealthy { id, .. } | Role::OnHealthy { id, .. } => {
                    self.services.get(id).is_none_or(|facts| facts.closing)
                }
                Role::Sensor { .. } => self.schedules.get(&run.owner).is_none_or(|facts| facts.closing),
                Role::OnChange { .. } => self.backends.get(&run.owner).is_none_or(|facts| facts.superseded),
                _ => false,
            };
            run.abandoned |= leaves;
        }
        self.services.retain(|_, facts| !facts.closing);
        self.schedules.retain(|_, facts| !facts.closing);
        self.coprocesses.clear();
        self.adopt_backends(moves);
        self.open_units();
    }

    /// Adds the units of the plan that do not exist yet.
    pub(super) fn open_units(&mut self) {
        let plan = self.plan.clone();
        for service in &plan.services {
            self.open_service(service);
        }
        for backend in &plan.backends {
            self.open_backend(&plan, backend);
        }
        for job in &plan.jobs {
            self.open_job(job, None);
        }
        for sensor in sensors(&plan) {
            self.open_job(&sensor.job, Some(sensor.kind));
        }
    }
}
