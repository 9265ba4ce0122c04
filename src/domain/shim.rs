//! The root of the core: routes every event to its unit, and every action of the lifecycle to a method.
//!
//! The units live in `shim/`: a [`service`], a [`backend`], a [`sensor`], a [`runner`] per child process, the
//! [`outbox`] that numbers all requests, and [`reload`], the way from one plan to the next. Decides nothing
//! that a unit can decide for itself.

mod backend;
mod outbox;
mod reload;
mod runner;
mod sensor;
mod service;
#[cfg(test)]
mod tests;

use crate::catalogue::Answer;
use crate::effect::Effect;
use crate::event::{Event, Loaded, StatusRequest, Ticket};
use crate::lifecycle::{Action, Input, Lifecycle, Phase};
use crate::measurement::Measurement;
use crate::notice::Notice;
use crate::plan::{Plan, SignalTarget};
use crate::process::Ending;
use crate::registration::DesiredState;
use crate::signal::Signal;
use crate::standstill::Standstill;
use crate::status::Status;
use crate::time::{Duration, Instant, Jitter, earliest};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use backend::BackendUnit;
use outbox::{Hook, Outbox, Owner, Reply, Requester, UnitId};
use reload::PendingPlan;
use runner::JobRunner;
use sensor::SensorUnit;
use service::ServiceUnit;

/// The state of the whole core.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shim {
    plan: Plan,
    lifecycle: Lifecycle,
    maintenance: bool,
    application: Option<JobRunner>,
    hook: Option<JobRunner>,
    services: BTreeMap<UnitId, ServiceUnit>,
    backends: BTreeMap<UnitId, BackendUnit>,
    jobs: BTreeMap<UnitId, JobRunner>,
    sensors: BTreeMap<UnitId, SensorUnit>,
    pending_plan: Option<PendingPlan>,
    last_unit: u32,
    jitter: Jitter,
    standstill: Standstill,
    out: Outbox,
}

impl Shim {
    /// A core that follows `plan`. `seed` decides the jitter of delays and nothing else.
    pub fn new(plan: Plan, seed: u64) -> Self {
        Self {
            plan,
            lifecycle: Lifecycle::new(),
            maintenance: false,
            application: None,
            hook: None,
            services: BTreeMap::new(),
            backends: BTreeMap::new(),
            jobs: BTreeMap::new(),
            sensors: BTreeMap::new(),
            pending_plan: None,
            last_unit: 0,
            jitter: Jitter::new(seed),
            standstill: Standstill::default(),
            out: Outbox::new(Jitter::new(!seed)),
        }
    }

    /// Takes an event, or only the time; returns the effects to perform, in this order. After [`Effect::Exit`] it
    /// returns none.
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        if self.lifecycle.phase() != Phase::Exited {
            if let Some(late) = self.standstill.on_step(self.deadline(), now) {
                self.after_standstill(now, late);
            }
            self.on_event(now, event);
            self.come_to_rest(now);
        }
        self.out.take()
    }

    /// When to step with [`Event::Woken`], unless another event comes first. It is later than the last step.
    pub fn deadline(&self) -> Option<Instant> {
        let services = self.services.values().map(ServiceUnit::deadline);
        let backends = self.backends.values().map(BackendUnit::deadline);
        let jobs = self.jobs.values().map(JobRunner::deadline);
        let hook = self.hook.iter().map(JobRunner::deadline);
        let pending_plan = self.pending_plan.iter().map(|pending_plan| pending_plan.deadline);
        let sensors = self.sensors.values().map(SensorUnit::deadline);
        let periodic = services.chain(backends).chain(jobs).chain(sensors);
        let units = periodic.chain(hook).chain(pending_plan);
        units.fold(earliest(self.lifecycle.deadline(), self.out.deadline()), earliest)
    }

    /// How long the application may take to stop, by the plan in force.
    pub fn stop_grace(&self) -> Duration {
        self.plan.stop_timeout.grace()
    }

    fn on_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::Begin => self.begin(now),
            Event::Woken => {}
            Event::OrphanReaped(_) => self.out.measure(Measurement::OrphanReaped),
            Event::Signal(signal) => self.on_signal(now, signal),
            Event::Started(ticket, pid) => self.out.child_started(ticket, pid),
            Event::NotStarted(ticket, failure) => self.on_ended(now, ticket, &Ending::NotStarted(failure)),
            Event::Printed(ticket, text) => self.on_printed(ticket, text),
            Event::Exited(ticket, status) => self.on_ended(now, ticket, &Ending::Exited(status)),
            Event::Answered(ticket, answer) => self.on_answered(now, ticket, answer),
            Event::Loaded(ticket, loaded) => self.on_loaded(now, ticket, loaded),
            Event::StatusAsked(status_request) => self.report(now, status_request),
        }
    }

    fn on_signal(&mut self, now: Instant, signal: Signal) {
        match signal {
            Signal::TERM | Signal::INT | Signal::HUP | Signal::USR1
                if !self.lifecycle.takes_configuration() =>
            {
                self.out.tell(Notice::SignalIgnored(signal));
            }
            Signal::TERM | Signal::INT => self.advance(now, Input::StopAsked),
            Signal::HUP => self.out.load(),
            Signal::USR1 => self.toggle_maintenance(now),
            other => self.forward(other),
        }
    }

    fn on_ended(&mut self, now: Instant, ticket: Ticket, ending: &Ending) {
        match self.out.child_ended(ticket) {
            Some(Owner::Application) => self.on_application_ended(now, ending),
            Some(Owner::Hook(hook)) => self.on_hook_ended(now, hook, ending),
            Some(Owner::Check(unit)) => self.on_check_ended(now, unit, ending),
            Some(Owner::Handler(unit)) => self.on_handler_ended(now, unit, ending),
            Some(Owner::Job(unit)) => self.on_job_ended(now, unit, ending),
            Some(Owner::Sensor(unit)) => self.on_sensor_ended(now, unit, ending),
            None => {}
        }
    }

    fn on_check_ended(&mut self, now: Instant, unit: UnitId, ending: &Ending) {
        if let Some(unit) = self.services.get_mut(&unit) {
            unit.on_check_ended(now, ending, &mut self.out);
        }
    }

    fn on_handler_ended(&mut self, now: Instant, unit: UnitId, ending: &Ending) {
        if let Some(unit) = self.backends.get_mut(&unit) {
            unit.on_handler_ended(now, ending, &mut self.out);
        }
    }

    fn on_job_ended(&mut self, now: Instant, unit: UnitId, ending: &Ending) {
        if let Some(job) = self.jobs.get_mut(&unit) {
            job.on_ended(now, ending, &mut self.out);
        }
    }

    fn on_sensor_ended(&mut self, now: Instant, unit: UnitId, ending: &Ending) {
        if let Some(unit) = self.sensors.get_mut(&unit) {
            unit.on_ended(now, ending, &mut self.out);
        }
    }

    /// The output of checks and sensors is kept; that of other jobs was logged and is dropped here.
    fn on_printed(&mut self, ticket: Ticket, text: String) {
        match self.out.owner(ticket) {
            Some(Owner::Check(unit)) => {
                if let Some(unit) = self.services.get_mut(&unit) {
                    unit.on_printed(text);
                }
            }
            Some(Owner::Sensor(unit)) => {
                if let Some(unit) = self.sensors.get_mut(&unit) {
                    unit.on_printed(text);
                }
            }
            _ => {}
        }
    }

    fn on_answered(&mut self, now: Instant, ticket: Ticket, answer: Answer) {
        let again = match self.out.requester(ticket) {
            Some(Requester::Service(unit)) => self.services.get(&unit).is_some_and(ServiceUnit::asks_again),
            _ => true,
        };
        if let Some(reply) = self.out.answered(now, ticket, answer, again) {
            self.on_reply(now, reply);
        }
    }

    fn on_reply(&mut self, now: Instant, reply: Reply) {
        match reply.requester {
            Requester::Service(unit) => {
                self.on_service_answered(now, unit, reply.sent.is_none(), reply.answer)
            }
            Requester::Backend(unit) => self.on_backend_answered(now, unit, reply.sent, reply.answer),
        }
    }

    fn on_service_answered(&mut self, now: Instant, unit: UnitId, unsent: bool, answer: Answer) {
        if let Some(unit) = self.services.get_mut(&unit) {
            unit.on_answer(now, unsent, answer, &mut self.out);
        }
    }

    fn on_backend_answered(&mut self, now: Instant, unit: UnitId, sent: Option<Instant>, answer: Answer) {
        let others = self.backends.iter().filter(|(id, _)| **id != unit);
        let others = others.map(|(_, other)| other.size()).sum();
        if let Some(unit) = self.backends.get_mut(&unit) {
            unit.on_answer(now, sent, answer, others, &mut self.out);
        }
    }

    fn on_loaded(&mut self, now: Instant, ticket: Ticket, loaded: Loaded) {
        if !self.out.loaded(ticket) || !self.lifecycle.takes_configuration() {
            return;
        }
        match loaded {
            Loaded::Plan { plan, notices } => self.receive(now, *plan, notices),
            Loaded::Refused(report) => self.refuse(report),
        }
        if self.out.shall_load_again() {
            self.out.load();
        }
    }

    fn on_application_ended(&mut self, now: Instant, ending: &Ending) {
        if let Some(mut application) = self.application.take() {
            application.on_ended(now, ending, &mut self.out);
        }
        self.lifecycle.will_exit_with(ending.code());
        self.advance(now, Input::ApplicationEnded);
    }

    fn on_hook_ended(&mut self, now: Instant, which: Hook, ending: &Ending) {
        if let Some(mut hook) = self.hook.take() {
            hook.on_ended(now, ending, &mut self.out);
        }
        match which {
            Hook::PreStart => self.pre_start_ended(now, ending),
            // The lifecycle ignores a preStop that it no longer waits for.
            Hook::PreStop => self.advance(now, Input::PreStopEnded),
            Hook::PostStop => self.post_stop_ended(now, ending),
        }
    }

    fn pre_start_ended(&mut self, now: Instant, ending: &Ending) {
        if ending.passed() {
            return self.advance(now, Input::PreStartPassed);
        }
        self.lifecycle.will_exit_with(ending.code());
        self.advance(now, Input::PreStartFailed);
    }

    fn post_stop_ended(&mut self, now: Instant, ending: &Ending) {
        if !ending.passed() {
            self.lifecycle.will_exit_with(ending.code());
        }
        self.advance(now, Input::PostStopEnded);
    }

    /// Lets time pass until no deadline is due and no step waits.
    fn come_to_rest(&mut self, now: Instant) {
        loop {
            if self.deadline().is_some_and(|deadline| deadline <= now) {
                self.on_time(now);
            } else if !self.move_on(now) {
                break;
            }
        }
        if self.lifecycle.phase() != Phase::Exited {
            self.out.dispatch(now);
        }
    }

    /// The limits of processes and phases start anew before they are enforced: the event that a process ended may
    /// still wait to be read.
    fn after_standstill(&mut self, now: Instant, late: Duration) {
        self.out.tell(Notice::WokenLate(late));
        for unit in self.services.values_mut() {
            unit.after_standstill(now);
        }
        for unit in self.backends.values_mut() {
            unit.after_standstill(now);
        }
        for job in self.jobs.values_mut().chain(&mut self.hook) {
            job.after_standstill(now);
        }
        for unit in self.sensors.values_mut() {
            unit.after_standstill(now);
        }
        self.lifecycle
            .after_standstill(now, self.plan.stop_timeout.grace());
        self.wait_anew(now);
    }

    fn on_time(&mut self, now: Instant) {
        for unit in self.services.values_mut() {
            unit.on_time(now, &mut self.out);
        }
        for unit in self.backends.values_mut() {
            unit.on_time(now, &mut self.out);
        }
        for job in self.jobs.values_mut().chain(&mut self.hook) {
            job.on_time(now, &mut self.out);
        }
        for unit in self.sensors.values_mut() {
            unit.on_time(now, &mut self.out);
        }
        self.out.on_time(now);
        for requester in self.out.waited_too_long(now) {
            if let Some(reply) = self.out.give_up(now, requester) {
                self.on_reply(now, reply);
            }
        }
        if self.lifecycle.deadline().is_some_and(|deadline| deadline <= now) {
            self.advance(now, Input::TimeIsUp);
        }
        let pending_plan = self
            .pending_plan
            .as_ref()
            .and_then(|pending_plan| pending_plan.deadline);
        if pending_plan.is_some_and(|deadline| deadline <= now) {
            self.lose_patience();
        }
    }

    /// Takes a step that waited for units to become empty; returns whether there was one.
    fn move_on(&mut self, now: Instant) -> bool {
        if self.lifecycle.awaits_deregistrations()
            && self.services.values().all(ServiceUnit::has_deregistered)
        {
            self.advance(now, Input::ServicesDeregistered);
        } else if self.lifecycle.awaits_children() && !self.out.has_children() {
            self.advance(now, Input::ChildrenGone);
        } else if self.may_swap() {
            self.swap(now);
        } else {
            return self.share_connections(now);
        }
        true
    }

    /// Grants a blocking query to backends, or revokes one; returns whether a backend was changed.
    fn share_connections(&mut self, now: Instant) -> bool {
        if let Some(Requester::Backend(unit)) = self.out.requests().revoke() {
            if let Some(unit) = self.backends.get_mut(&unit) {
                unit.stop_blocking(&mut self.out);
            }
        } else {
            return self.grant_connections(now);
        }
        true
    }

    /// Grants blocking queries until no place is left or one of them is due; returns whether one was granted.
    fn grant_connections(&mut self, now: Instant) -> bool {
        let mut granted = false;
        while let Some(Requester::Backend(unit)) = self.out.requests().grant() {
            granted = true;
            let Some(unit) = self.backends.get_mut(&unit) else {
                continue;
            };
            unit.let_block(now);
            if unit.deadline().is_some_and(|deadline| deadline <= now) {
                break;
            }
        }
        granted
    }

    fn advance(&mut self, now: Instant, input: Input) {
        if input == Input::TimeIsUp && self.lifecycle.awaits_deregistrations() {
            self.tell_who_is_left();
        }
        match self.lifecycle.take(now, input, self.plan.stop_timeout.grace()) {
            Action::Nothing => {}
            Action::Open => self.open(now),
            Action::StopHook => self.stop_hook(now),
            Action::KillHook => self.kill_hook(),
            Action::Deregister => self.deregister(now),
            Action::RunPreStop => self.run_hook(now, Hook::PreStop),
            Action::Terminate => self.terminate(now),
            Action::Kill => self.kill_application(),
            Action::RunPostStop => self.run_hook(now, Hook::PostStop),
            Action::TerminateRemaining => self.terminate_remaining(now),
            Action::KillRemaining => self.kill_remaining(),
            Action::Exit => self.exit(),
        }
    }

    fn begin(&mut self, now: Instant) {
        self.announce_plan(true);
        self.run_hook(now, Hook::PreStart);
    }

    /// Coprocesses, then heartbeats, watches, sensors and tasks, then the application (docs/behaviour.md EX-25).
    fn open(&mut self, now: Instant) {
        self.open_jobs(now);
        self.open_services(now);
        self.open_backends(now);
        self.open_sensors(now);
        self.expose(None);
        if let Some(job) = self.plan.application.clone() {
            let mut application = JobRunner::new(now, Owner::Application, &job, self.jitter.split());
            application.start(now, &mut self.out);
            self.application = Some(application);
        }
    }

    /// Runs a hook; one that the plan does not have counts as ended.
    fn run_hook(&mut self, now: Instant, which: Hook) {
        let (job, ended) = match which {
            Hook::PreStart => (&self.plan.pre_start, Input::PreStartPassed),
            Hook::PreStop => (&self.plan.pre_stop, Input::PreStopEnded),
            Hook::PostStop => (&self.plan.post_stop, Input::PostStopEnded),
        };
        let Some(job) = job else {
            return self.advance(now, ended);
        };
        let mut hook = JobRunner::new(now, Owner::Hook(which), job, self.jitter.split());
        hook.start(now, &mut self.out);
        self.hook = Some(hook);
    }

    fn stop_hook(&mut self, now: Instant) {
        if let Some(hook) = &mut self.hook {
            hook.stop(now, &mut self.out);
        }
    }

    fn kill_hook(&mut self) {
        if let Some(hook) = &mut self.hook {
            hook.end(&mut self.out);
        }
    }

    /// Ends everything periodic and deregisters every service; coprocesses run on until the end (EX-22).
    fn deregister(&mut self, now: Instant) {
        self.pending_plan = None;
        for unit in self.services.values_mut() {
            unit.close(now, &mut self.out);
        }
        for unit in self.backends.values_mut() {
            unit.close(&mut self.out);
        }
        for job in self.jobs.values_mut().filter(|job| !job.is_coprocess()) {
            job.end(&mut self.out);
        }
        for unit in self.sensors.values_mut() {
            unit.close(&mut self.out);
        }
    }

    fn terminate(&mut self, now: Instant) {
        match &self.application {
            None => self.advance(now, Input::NoApplication),
            Some(_) if self.plan.stop_timeout.grace() == Duration::ZERO => self.advance(now, Input::TimeIsUp),
            Some(application) => application.send(Signal::TERM, SignalTarget::Process, &mut self.out),
        }
    }

    fn kill_application(&mut self) {
        if let Some(application) = &mut self.application {
            if let Some(pid) = application.ticket().and_then(|ticket| self.out.pid(ticket)) {
                self.out.tell(Notice::KillingApplication(pid));
            }
            application.end(&mut self.out);
        }
    }

    fn terminate_remaining(&mut self, now: Instant) {
        for job in self.jobs.values_mut() {
            job.stop(now, &mut self.out);
        }
    }

    /// Kills all children that are left; none of them is started again.
    fn kill_remaining(&mut self) {
        self.jobs.clear();
        self.out.kill_remaining();
    }

    fn exit(&mut self) {
        self.out.tell_left_behind();
        self.out.push(Effect::Exit(self.lifecycle.code()));
    }

    fn forward(&mut self, signal: Signal) {
        if let Some(application) = &self.application {
            self.out.tell(Notice::SignalForwarded(signal));
            application.send(signal, SignalTarget::Process, &mut self.out);
        }
    }

    /// In maintenance no check, heartbeat, query, handler, task or sensor begins (LC-11).
    fn toggle_maintenance(&mut self, now: Instant) {
        self.maintenance = !self.maintenance;
        self.out.tell(Notice::Maintenance(self.maintenance));
        self.out.measure(Measurement::Maintenance(self.maintenance));
        if self.maintenance {
            self.pause(now);
        } else {
            self.resume(now);
        }
    }

    fn pause(&mut self, now: Instant) {
        for unit in self.services.values_mut().filter(|unit| !unit.is_closing()) {
            unit.pause(now, &mut self.out);
        }
        for unit in self.backends.values_mut() {
            unit.pause(&mut self.out);
        }
        for job in self.jobs.values_mut() {
            job.pause();
        }
        for unit in self.sensors.values_mut() {
            unit.pause();
        }
    }

    fn resume(&mut self, now: Instant) {
        for unit in self.services.values_mut() {
            unit.resume(now);
        }
        for unit in self.backends.values_mut() {
            unit.resume(now, &mut self.out);
        }
        for job in self.jobs.values_mut() {
            job.resume(now);
        }
        for unit in self.sensors.values_mut() {
            unit.resume(now);
        }
    }

    fn report(&mut self, now: Instant, status_request: StatusRequest) {
        let status = Box::new(self.status(now));
        self.out.push(Effect::Report(status_request, status));
    }

    /// How things are.
    fn status(&self, now: Instant) -> Status {
        let out = &self.out;
        let runners = self
            .application
            .iter()
            .chain(&self.hook)
            .chain(self.jobs.values());
        let sensors = self.sensors.values().map(|unit| unit.status(out));
        Status {
            at: now,
            phase: self.lifecycle.phase(),
            maintenance: self.maintenance,
            services: self.services.values().map(|unit| unit.status(out)).collect(),
            backends: self.backends.values().map(|unit| unit.status(out)).collect(),
            jobs: runners.map(|runner| runner.status(out)).chain(sensors).collect(),
        }
    }

    fn tell_who_is_left(&mut self) {
        for unit in self.services.values().filter(|unit| !unit.has_deregistered()) {
            self.out.tell(Notice::StillRegistered(unit.named()));
        }
    }

    fn desired(&self) -> DesiredState {
        if self.maintenance {
            DesiredState::Absent
        } else {
            DesiredState::Registered
        }
    }

    fn next_unit(&mut self) -> UnitId {
        self.last_unit += 1;
        UnitId(self.last_unit)
    }
}
