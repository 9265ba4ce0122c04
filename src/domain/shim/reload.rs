//! The change from one plan to the next (docs/development/behaviour.md LC-17, SD-19).
//!
//! A service whose definition is unchanged keeps its unit, so its registration has no gap; a changed or
//! removed one is deregistered first. An unchanged sensor keeps its unit, too, and a backend keeps what it has seen
//! while its name and tag stay. Tasks and coprocesses start again. The new units open when all units that are
//! replaced have ended.
//!
//! The application, preStart and maintenance are not touched (LC-13, LC-21).

use super::Shim;
use super::backend::BackendUnit;
use super::id::UnitId;
use super::job::JobUnit;
use super::sensor::SensorUnit;
use super::service::ServiceUnit;
use super::unit::Unit;
use super::units::{AnyUnit, Units};
use crate::causes::beginning;
use crate::effect::Effect;
use crate::filled;
use crate::lifecycle::Phase;
use crate::measurement::Measurement;
use crate::notice::{Notice, Server};
use crate::plan::{Backend, Filter, Plan, Sensor, Service, Trigger};
use crate::spread::Place;
use crate::status::{LONGEST_REPORT, ReloadStatus};
use crate::time::{Duration, Instant};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::mem;
use core::net::SocketAddr;

/// How long a new plan waits for the processes of the old units. (docs/bounds.md)
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// A plan that waits until the old units have ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PendingPlan {
    plan: Plan,
    /// When it stops waiting for processes; none once it has.
    pub deadline: Option<Instant>,
}

impl Shim {
    /// A valid plan was loaded. Before the application runs it replaces the one that waits (LC-2).
    pub(super) fn receive(&mut self, now: Instant, plan: Plan, notices: Vec<Notice>) {
        for notice in notices {
            self.out.log(notice);
        }
        if self.lifecycle.phase() == Phase::PreStarting {
            self.follow(now, plan);
            return;
        }
        self.close_replaced(now, &plan);
        let longest_wait = Some(now + LONGEST_WAIT);
        let deadline = self
            .pending_plan
            .as_ref()
            .map_or(longest_wait, |earlier| earlier.deadline);
        self.pending_plan = Some(PendingPlan { plan, deadline });
    }

    /// The process did not run for a while: the limit of a plan that waits for processes starts anew.
    pub(super) fn restart_wait(&mut self, now: Instant) {
        let deadline = self
            .pending_plan
            .as_mut()
            .and_then(|pending_plan| pending_plan.deadline.as_mut());
        if let Some(deadline) = deadline {
            *deadline = now + LONGEST_WAIT;
        }
    }

    pub(super) fn refuse(&mut self, now: Instant, report: String) {
        let refused = Some(beginning(&report, LONGEST_REPORT).into());
        self.last_reload = Some(ReloadStatus { at: now, refused });
        self.out.measure(Measurement::Reloaded { accepted: false });
        self.out.log(Notice::ReloadRefused(report));
    }

    /// A plan that waits stops waiting for processes.
    pub(super) fn stop_waiting(&mut self) {
        if let Some(pending_plan) = &mut self.pending_plan {
            pending_plan.deadline = None;
        }
    }

    /// Whether a plan waits and all units that it replaces have ended, or it waited for their processes long enough.
    /// It always waits for the catalogue's answers, whose time is bounded: no request of an old unit may take effect
    /// after a new unit opened.
    pub(super) fn may_swap(&self) -> bool {
        let Some(pending_plan) = &self.pending_plan else {
            return false;
        };
        let mut units = self.units.iter().map(|(_, unit)| unit);
        units.all(|unit| {
            let deregistered = !unit.is_closing() || unit.has_deregistered();
            deregistered && (pending_plan.deadline.is_none() || !unit.delays_plan())
        })
    }

    /// Puts the new plan in force: drops the closed units and opens the new ones.
    pub(super) fn swap(&mut self, now: Instant) {
        let Some(PendingPlan { plan, .. }) = self.pending_plan.take() else {
            return;
        };
        let listening = self.listening();
        let other_catalogue = self.follow(now, plan);
        self.units.retain(|_, unit| !unit.is_closing());
        self.adopt_templates(now, other_catalogue);
        if self.lifecycle.phase() == Phase::AwaitingTemplates {
            self.count_templates();
            return self.await_templates(now);
        }
        self.open_services(now);
        self.adopt_backends(now, other_catalogue);
        self.open_backends(now);
        self.open_sensors(now);
        self.open_jobs(now);
        self.expose(listening);
    }

    /// Emits the effects that configure the adapters. A catalogue that stays is not opened anew unless its
    /// certificates were replaced, because its adapter keeps state about our requests.
    pub(super) fn announce_plan(&mut self, connect: bool) {
        self.out.push(Effect::Configure(self.plan.logging));
        self.out.set_budget(self.plan.max_connections);
        if connect {
            self.out.push(Effect::Connect(self.plan.catalogue.clone()));
        }
        for service in &self.plan.services {
            let name = service.address_variable();
            let value = service.registration.address.to_string();
            self.out.push(Effect::Export { name, value });
        }
    }

    /// Opens a unit for every service that has none.
    pub(super) fn open_services(&mut self, now: Instant) {
        let mut open = filled::set(self.units.services().map(|unit| &unit.service));
        let places = Place::all(self.plan.services.iter().map(|service| service.poll));
        let placed = self.plan.services.iter().zip(places);
        let missing = placed.filter(|(service, _)| open.insert(service));
        let missing = missing.map(|(service, place)| (service.clone(), place));
        for (service, place) in missing.collect::<Vec<_>>() {
            let (id, jitter) = (UnitId::Service(self.next_serial()), self.jitter.split());
            let unit = ServiceUnit::new(now, id, &service, place, self.desired(), jitter);
            self.units.insert(id, AnyUnit::Service(Box::new(unit)));
        }
    }

    /// Opens a unit for every backend that has none. Two of one name and tag have a unit each.
    pub(super) fn open_backends(&mut self, now: Instant) {
        let mut open: BTreeMap<_, usize> = BTreeMap::new();
        for (_, unit) in self.units.backends() {
            *open.entry(watched(&unit.backend)).or_default() += 1;
        }
        let mut missing = Vec::new();
        for backend in &self.plan.backends {
            match open.get_mut(&watched(backend)) {
                Some(left @ 1..) => *left -= 1,
                _ => missing.push(backend.clone()),
            }
        }
        for backend in missing {
            let (id, jitter) = (UnitId::Backend(self.next_serial()), self.jitter.split());
            let unit = BackendUnit::new(now, id, &backend, self.maintenance, jitter, &mut self.out);
            self.units.insert(id, AnyUnit::Backend(Box::new(unit)));
        }
    }

    /// Opens a unit for every sensor that has none.
    pub(super) fn open_sensors(&mut self, now: Instant) {
        let mut open = filled::set(self.units.sensors().map(|unit| &unit.sensor));
        let missing = sensors(&self.plan).iter().filter(|sensor| open.insert(sensor));
        for sensor in missing.cloned().collect::<Vec<_>>() {
            let (id, jitter) = (UnitId::Sensor(self.next_serial()), self.jitter.split());
            let unit = SensorUnit::new(now, id, &sensor, self.maintenance, jitter);
            self.units.insert(id, AnyUnit::Sensor(Box::new(unit)));
        }
    }

    /// Telemetry serves the plan in force from now on. `before` is the address where it was served until now. All units are
    /// open, and what they run is theirs: the plan does not keep it a second time.
    pub(super) fn expose(&mut self, before: Option<SocketAddr>) {
        let services = mem::take(&mut self.plan.services);
        let backends = mem::take(&mut self.plan.backends);
        let jobs = mem::take(&mut self.plan.jobs);
        let exposed = Plan {
            services,
            backends,
            jobs,
            ..self.plan.clone()
        };
        self.out.push(Effect::Expose(Box::new(exposed)));
        if let Some(address) = self.listening().filter(|address| Some(*address) != before) {
            self.out.log(Notice::Listening(Server::Telemetry(address)));
        }
        let out = &mut self.out;
        self.units.change_all(|unit| match unit {
            AnyUnit::Service(unit) => unit.announce(out),
            AnyUnit::Backend(unit) => unit.announce(out),
            _ => {}
        });
    }

    /// What happens to templates is counted from now on; telemetry is served once the application runs.
    pub(super) fn count_templates(&mut self) {
        if !self.plan.templates.is_empty() {
            let telemetry = None;
            let plan = self.plan.clone();
            self.out
                .push(Effect::Expose(Box::new(Plan { telemetry, ..plan })));
        }
    }

    /// Starts the coprocesses and the schedules of the tasks.
    pub(super) fn open_jobs(&mut self, now: Instant) {
        for job in self.plan.jobs.clone() {
            let (id, jitter) = (UnitId::Job(self.next_serial()), self.jitter.split());
            let mut unit = JobUnit::new(now, id, &job, jitter);
            if self.maintenance {
                unit.pause(now, &mut self.out);
            }
            if job.trigger == Trigger::Lifecycle {
                unit.start(now, &mut self.out);
            }
            self.units.insert(id, AnyUnit::Job(Box::new(unit)));
        }
    }

    /// Puts the plan in force; returns whether its catalogue is another.
    fn follow(&mut self, now: Instant, plan: Plan) -> bool {
        let other_catalogue = !plan.catalogue.is_same(&self.plan.catalogue);
        let connect = plan.catalogue != self.plan.catalogue;
        let application = self.plan.application.take();
        let pre_start = self.plan.pre_start.take();
        let control = self.plan.control.take();
        self.plan = Plan {
            application,
            pre_start,
            ..plan
        };
        self.announce_plan(connect);
        self.last_reload = Some(ReloadStatus {
            at: now,
            refused: None,
        });
        self.out.measure(Measurement::Reloaded { accepted: true });
        self.out.log(Notice::Reloaded);
        self.listen(control.as_ref());
        other_catalogue
    }

    fn listening(&self) -> Option<SocketAddr> {
        self.plan.telemetry.as_ref().map(|telemetry| telemetry.address)
    }

    /// Closes every unit that the new plan lacks or changes.
    fn close_replaced(&mut self, now: Instant, plan: &Plan) {
        let other_catalogue = !plan.catalogue.is_same(&self.plan.catalogue);
        let wanted = filled::set(&plan.services);
        let stays = |service: &Service| !other_catalogue && wanted.contains(service);
        let handled = plan
            .backends
            .iter()
            .map(|backend| (watched(backend), &backend.on_change));
        let handled = filled::set(handled);
        let rendered = filled::set(&plan.templates);
        let measured = filled::set(sensors(plan));
        let out = &mut self.out;
        self.units.retain(|id, unit| {
            match (id, unit) {
                (_, AnyUnit::Service(unit)) if !unit.is_closing() && !stays(&unit.service) => {
                    unit.close(now, out)
                }
                (_, AnyUnit::Backend(unit))
                    if !handled.contains(&(watched(&unit.backend), &unit.backend.on_change)) =>
                {
                    unit.supersede(out);
                }
                (_, AnyUnit::Sensor(unit)) if !measured.contains(&unit.sensor) => unit.close(now, out),
                (_, AnyUnit::Template(unit)) if !rendered.contains(&unit.template) => unit.close(now, out),
                (UnitId::Job(_), AnyUnit::Job(unit)) => unit.end(out),
                _ => {}
            }
            true
        });
    }

    fn adopt_backends(&mut self, now: Instant, other_catalogue: bool) {
        let mut adopted = match_backends(&self.units, &self.plan);
        let (jitter, out) = (&mut self.jitter, &mut self.out);
        self.units.retain(|id, unit| {
            let AnyUnit::Backend(unit) = unit else {
                return true;
            };
            let backend = adopted.remove(&id);
            match &backend {
                Some(backend) => unit.adopt(now, backend, jitter.split(), out),
                None => unit.close(now, out),
            }
            backend.is_some()
        });
        if other_catalogue {
            self.units.retain(|_, unit| {
                if let AnyUnit::Backend(unit) = unit {
                    unit.change_catalogue(now, out);
                }
                true
            });
        }
    }
}

/// Which unit goes on with which backend of the plan: of those that are the same, first the one with the
/// same handler.
fn match_backends(units: &Units, plan: &Plan) -> BTreeMap<UnitId, Backend> {
    let mut wanted: BTreeMap<_, Vec<&Backend>> = BTreeMap::new();
    for backend in &plan.backends {
        wanted.entry(watched(backend)).or_default().push(backend);
    }
    let mut matched = BTreeMap::new();
    for with_handler in [true, false] {
        for (id, unit) in units.backends() {
            let Some(alike) = wanted.get_mut(&watched(&unit.backend)) else {
                continue;
            };
            let fits = |backend: &&Backend| {
                let same = !with_handler || unit.backend.on_change == backend.on_change;
                same && !matched.contains_key(&id)
            };
            if let Some(index) = alike.iter().position(fits) {
                matched.insert(id, alike.remove(index).clone());
            }
        }
    }
    matched
}

/// What makes two backends the same, as [`Backend::is_same`] says.
fn watched(backend: &Backend) -> (&str, Option<&str>, &Filter, bool) {
    (
        &backend.name,
        backend.tag.as_deref(),
        &backend.filter,
        backend.json,
    )
}

fn sensors(plan: &Plan) -> &[Sensor] {
    plan.telemetry
        .as_ref()
        .map_or(&[], |telemetry| &telemetry.sensors)
}

crate::keyed!(PendingPlan { plan, deadline });
