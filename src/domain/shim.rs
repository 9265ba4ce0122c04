//! The root of the core: routes every event to its unit, and every action of the lifecycle to a method.
//!
//! The modules in `shim/`: [`units`] is the map of all units, of which each is a [`service`], a [`backend`], a
//! [`job`] or a [`sensor`]; a [`runner`] starts and stops the child of a unit, a [`checker`] also runs probes; the [`outbox`] numbers all children and
//! requests; and [`reload`] changes from one plan to the next. This module decides nothing that a unit can decide.

mod backend;
mod checker;
mod control;
mod dependency;
mod id;
mod job;
mod outbox;
mod reaction;
mod reload;
mod runner;
mod sensor;
mod service;
mod service_check;
mod template;
mod templates;

crate::keyed!(Shim { plan, lifecycle, maintenance, units, pending_plan, waiting, kept, standstill, out } without { last_unit, jitter, last_reload });

#[cfg(test)]
mod tests;
mod unit;
mod units;

use crate::catalogue::Answer;
use crate::control::WaitingRequests;
use crate::effect::Effect;
use crate::event::{Event, Loaded, Ticket};
use crate::lifecycle::{Action, Input, Lifecycle, Limits, Phase};
use crate::measurement::Measurement;
use crate::notice::Notice;
use crate::notice::lifecycle::LifecycleNotice;
use crate::plan::{Job, Plan, SignalTarget};
use crate::probe::ProbeEnd;
use crate::process::Ending;
use crate::registration::DesiredState;
use crate::signal::Signal;
use crate::standstill::Standstill;
use crate::status::{ReloadStatus, Status};
use crate::time::{Duration, Instant, Jitter, earliest};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use id::{Hook, Serial, UnitId};
use job::JobUnit;
use outbox::{Outbox, Reply};
use reload::PendingPlan;
use service::ServiceUnit;
use unit::Unit;
use units::{AnyUnit, Units};

/// The state of the whole core.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shim {
    /// Its services, backends and jobs are in their units once these are open.
    plan: Plan,
    lifecycle: Lifecycle,
    maintenance: bool,
    units: Units,
    pending_plan: Option<PendingPlan>,
    /// The requests of clients that wait for their answers.
    waiting: WaitingRequests,
    /// Signals for an application that does not run yet, the one that came last at the end; one of each number.
    kept: Vec<Signal>,
    last_unit: u32,
    jitter: Jitter,
    standstill: Standstill,
    last_reload: Option<ReloadStatus>,
    out: Outbox,
}

impl Shim {
    /// A core that follows `plan`. `seed` decides the jitter of delays and nothing else.
    pub fn new(plan: Plan, seed: u64) -> Self {
        Self {
            plan,
            lifecycle: Lifecycle::new(),
            maintenance: false,
            units: Units::default(),
            pending_plan: None,
            waiting: WaitingRequests::default(),
            kept: Vec::new(),
            last_unit: 0,
            jitter: Jitter::new(seed),
            standstill: Standstill::default(),
            last_reload: None,
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
            self.stop_if_requested(now);
            self.settle(now);
            self.answer_waiting();
        }
        self.out.take()
    }

    /// When to step with [`Event::Woken`], unless another event comes first. It is later than the last step.
    pub fn deadline(&self) -> Option<Instant> {
        let pending_plan = self.pending_plan.as_ref();
        let pending_plan = pending_plan.and_then(|pending_plan| pending_plan.deadline);
        let others = [self.out.deadline(), self.units.deadline(), pending_plan];
        others.into_iter().fold(self.lifecycle.deadline(), earliest)
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
            Event::Stopped(ticket) => self.on_stopped(ticket),
            Event::HungUp => self.forward(Signal::HUP),
            Event::Outlived(ticket) => self.out.child_outlived(ticket),
            Event::TreeEnded(ticket) => self.on_tree_ended(now, ticket),
            Event::AllEnded => self.advance(now, Input::ChildrenGone),
            Event::Exited(ticket, status) => self.on_ended(now, ticket, &Ending::Exited(status)),
            Event::Answered(ticket, answer) => self.on_answered(now, ticket, answer),
            Event::Probed(ticket, end, text) => self.on_probed(now, ticket, end, text),
            Event::Loaded(ticket, loaded) => self.on_loaded(now, ticket, loaded),
            Event::Rendered(ticket, rendered) => self.on_rendered(now, ticket, rendered),
            Event::Written(ticket, written) => self.on_written(now, ticket, written),
            Event::Requested(number, request) => self.on_request(now, number, request),
        }
    }

    /// The health check of a service has failed too often: the whole stop follows.
    fn stop_if_requested(&mut self, now: Instant) {
        if self.out.shall_stop() {
            self.lifecycle.is_unhealthy();
            self.advance(now, Input::StopRequested);
        }
    }

    fn on_signal(&mut self, now: Instant, signal: Signal) {
        let stops = self.plan.stop_on.contains(&signal);
        match signal {
            signal if stops && self.drains() => {
                self.out
                    .log(Notice::Lifecycle(LifecycleNotice::DrainEnded(signal)));
                self.advance(now, Input::StopRequested);
            }
            signal
                if (stops || matches!(signal, Signal::HUP | Signal::USR1))
                    && !self.lifecycle.takes_configuration() =>
            {
                self.out.log(Notice::SignalIgnored(signal));
            }
            _ if stops => {
                self.out
                    .log(Notice::Lifecycle(LifecycleNotice::StopRequested(signal)));
                self.advance(now, Input::StopRequested);
            }
            Signal::HUP => self.out.load(),
            Signal::USR1 => self.toggle_maintenance(now),
            other => self.forward(other),
        }
    }

    /// Whether a further request to stop shortens the stop: by the drain, or by what is left of it.
    fn drains(&self) -> bool {
        let drains = self.plan.drain > Duration::ZERO && self.lifecycle.may_drain();
        drains && self.units.job(UnitId::Application).is_some()
    }

    fn on_ended(&mut self, now: Instant, ticket: Ticket, ending: &Ending) {
        let Some((id, outlived)) = self.out.child_ended(ticket) else {
            return;
        };
        self.units.change(id, |unit| {
            unit.on_ended(now, ticket, ending, outlived, &mut self.out)
        });
        match id {
            UnitId::Application => self.on_application_ended(now, ending),
            UnitId::Hook(hook) => self.on_hook_ended(now, hook, ending),
            _ => {}
        }
    }

    /// The terminal has stopped the application: the shim stops as well, so that the shell that started it takes the
    /// terminal, and continues the application afterwards. During a stop the application continues at once, because it is
    /// expected to end.
    fn on_stopped(&mut self, ticket: Ticket) {
        if self.out.owner(ticket) != Some(UnitId::Application) {
            return;
        }
        if self.lifecycle.phase() == Phase::Running {
            self.out.push(Effect::Suspend);
        }
        self.out.send(ticket, Signal::CONT, SignalTarget::Process);
    }

    /// The processes that outlived a child have ended; now what follows the end of the child may begin.
    fn on_tree_ended(&mut self, now: Instant, ticket: Ticket) {
        let Some(id) = self.out.tree_ended(ticket) else {
            return;
        };
        self.units.change(id, |unit| unit.on_tree_ended());
        match id {
            UnitId::Application => self.application_is_gone(now),
            // Only preStart ever gets a stop signal.
            UnitId::Hook(_) => {
                self.units.remove(id);
                self.advance(now, Input::PreStartFailed);
            }
            _ => {}
        }
    }

    fn on_printed(&mut self, ticket: Ticket, text: String) {
        if let Some(id) = self.out.owner(ticket) {
            self.units.change(id, |unit| unit.on_printed(ticket, text));
        }
    }

    fn on_probed(&mut self, now: Instant, ticket: Ticket, end: ProbeEnd, text: String) {
        if let Some(id) = self.out.probed(ticket) {
            self.units.change(id, |unit| {
                unit.on_printed(ticket, text);
                unit.on_ended(now, ticket, &Ending::Probed(end), false, &mut self.out);
            });
        }
    }

    fn on_answered(&mut self, now: Instant, ticket: Ticket, answer: Answer) {
        let unit = self.out.requester(ticket).and_then(|id| self.units.get(id));
        let again = unit.is_some_and(|unit| unit.is_sent_again());
        if let Some(reply) = self.out.answered(now, ticket, answer, again) {
            self.on_reply(now, reply);
        }
    }

    fn on_reply(&mut self, now: Instant, reply: Reply) {
        let (id, listed) = (reply.requester, self.units.listed());
        self.units
            .change(id, |unit| unit.on_reply(now, reply, listed, &mut self.out));
        self.pass_on_change(now, id);
    }

    fn on_loaded(&mut self, now: Instant, ticket: Ticket, loaded: Loaded) {
        if !self.out.loaded(ticket) || !self.lifecycle.takes_configuration() {
            return;
        }
        self.answer_reloads(&loaded);
        match loaded {
            Loaded::Plan { plan, notices } => self.receive(now, *plan, notices),
            Loaded::Refused(report) => self.refuse(now, report),
        }
        if self.out.shall_load_again() {
            self.out.load();
        }
    }

    fn on_application_ended(&mut self, now: Instant, ending: &Ending) {
        self.lifecycle.will_exit_with(ending.code());
        if !self.runs_on(UnitId::Application) {
            self.log_end_of_application(ending);
            self.application_is_gone(now);
        }
    }

    fn log_end_of_application(&mut self, ending: &Ending) {
        let last = self
            .units
            .job(UnitId::Application)
            .and_then(|application| application.runner().last());
        if let (Ending::Exited(status), Some(run)) = (ending, last) {
            let (status, ran) = (*status, run.took);
            let requested = !self.lifecycle.takes_configuration();
            let ended = LifecycleNotice::ApplicationEnded {
                status,
                ran,
                requested,
            };
            self.out.log(Notice::Lifecycle(ended));
        }
    }

    fn application_is_gone(&mut self, now: Instant) {
        self.units.remove(UnitId::Application);
        self.advance(now, Input::ApplicationEnded);
    }

    fn on_hook_ended(&mut self, now: Instant, which: Hook, ending: &Ending) {
        if self.runs_on(UnitId::Hook(which)) {
            return;
        }
        self.units.remove(UnitId::Hook(which));
        match which {
            Hook::PreStart => self.pre_start_ended(now, ending),
            // The lifecycle ignores a preStop that it no longer waits for.
            Hook::PreStop => self.advance(now, Input::PreStopEnded),
            Hook::PostStop => self.post_stop_ended(now, ending),
        }
    }

    /// Whether a job was started again after its end, or will be.
    fn runs_on(&self, id: UnitId) -> bool {
        self.units.job(id).is_some_and(JobUnit::runs_on)
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

    /// Handles everything that is due, until no deadline is due and no step waits.
    fn settle(&mut self, now: Instant) {
        loop {
            if self.deadline().is_some_and(|deadline| deadline <= now) {
                self.on_time(now);
            } else if !self.take_waiting_step(now) {
                break;
            }
        }
        if self.lifecycle.phase() != Phase::Exited {
            self.out.dispatch(now);
        }
        debug_assert!(self.units.is_indexed(), "the indexes follow from the units");
    }

    /// The limits of processes and phases start anew before they are enforced: the event that a process ended may
    /// still wait to be read.
    fn after_standstill(&mut self, now: Instant, late: Duration) {
        self.out.log(Notice::WokenLate(late));
        self.units.change_all(|unit| unit.after_standstill(now));
        self.lifecycle.after_standstill(now, self.limits());
        self.lifecycle.limit_templates(now, self.plan.start_timeout);
        self.restart_wait(now);
    }

    fn on_time(&mut self, now: Instant) {
        for id in self.units.due(now) {
            self.units.change(id, |unit| unit.on_time(now, &mut self.out));
            self.render_if_due(now, id);
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
            self.stop_waiting();
        }
    }

    /// Takes a step that waited for units to end; returns whether there was one.
    fn take_waiting_step(&mut self, now: Instant) -> bool {
        if self.lifecycle.awaits_deregistrations() && self.units.services().all(ServiceUnit::has_deregistered)
        {
            self.advance(now, Input::ServicesDeregistered);
        } else if self.may_swap() {
            self.swap(now);
        } else {
            return self.share_connections(now);
        }
        true
    }

    /// Grants a blocking query to backends, or revokes one; returns whether a backend was changed.
    fn share_connections(&mut self, now: Instant) -> bool {
        let Some(id) = self.out.requests().revoke() else {
            return self.grant_connections(now);
        };
        self.units.change(id, |unit| unit.stop_blocking(&mut self.out));
        true
    }

    /// Grants blocking queries until no place is left or one of them is due; returns whether one was granted.
    fn grant_connections(&mut self, now: Instant) -> bool {
        let mut granted = false;
        while let Some(id) = self.out.requests().grant() {
            granted = true;
            self.units.change(id, |unit| unit.let_block(now));
            if self.units.deadline().is_some_and(|deadline| deadline <= now) {
                break;
            }
        }
        granted
    }

    fn advance(&mut self, now: Instant, input: Input) {
        if input == Input::TimeIsUp && self.lifecycle.awaits_deregistrations() {
            self.log_still_registered();
        }
        if input == Input::TimeIsUp && self.lifecycle.phase() == Phase::AwaitingTemplates {
            self.log_unwritten();
        }
        match self.lifecycle.take(now, input, self.limits()) {
            Action::Nothing => {}
            Action::OpenTemplates => self.begin_templates(now),
            Action::CancelStart => self.cancel_start(now),
            Action::Open => self.open(now),
            Action::StopHook => self.stop_hook(now),
            Action::KillHook => self.kill_hook(),
            Action::Deregister => self.deregister(now),
            Action::Drain => self.drain(now),
            Action::RunPreStop => self.run_hook(now, Hook::PreStop),
            Action::Terminate => self.terminate(now),
            Action::Kill => self.kill_application(),
            Action::RunPostStop => self.run_hook(now, Hook::PostStop),
            Action::TerminateRemaining => self.terminate_remaining(now),
            Action::KillRemaining => self.kill_remaining(),
            Action::Exit => self.exit(),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            drain: self.plan.drain,
            stop_grace: self.plan.stop_timeout.grace(),
        }
    }

    fn begin(&mut self, now: Instant) {
        self.announce_plan(true);
        self.listen(None);
        self.run_hook(now, Hook::PreStart);
    }

    /// Renders the templates; the start continues at once if none is required.
    fn begin_templates(&mut self, now: Instant) {
        self.lifecycle.limit_templates(now, self.plan.start_timeout);
        self.count_templates();
        self.open_templates(now);
        self.await_templates(now);
    }

    /// Coprocesses, then heartbeats, watches, sensors and tasks, then the application
    /// (docs/development/behaviour.md EX-25).
    fn open(&mut self, now: Instant) {
        self.open_jobs(now);
        self.open_services(now);
        self.open_backends(now);
        self.open_sensors(now);
        self.expose(None);
        if let Some(job) = self.plan.application.clone() {
            self.start_job(now, UnitId::Application, &job);
        }
        for signal in core::mem::take(&mut self.kept) {
            self.forward(signal);
        }
        if self.plan.renders_only {
            self.advance(now, Input::StopRequested);
        }
    }

    /// Runs a hook; one that the plan does not have counts as ended.
    fn run_hook(&mut self, now: Instant, which: Hook) {
        let (job, ended) = match which {
            Hook::PreStart => (&self.plan.pre_start, Input::PreStartPassed),
            Hook::PreStop => (&self.plan.pre_stop, Input::PreStopEnded),
            Hook::PostStop => (&self.plan.post_stop, Input::PostStopEnded),
        };
        match job.clone() {
            Some(job) => self.start_job(now, UnitId::Hook(which), &job),
            None => self.advance(now, ended),
        }
    }

    fn start_job(&mut self, now: Instant, id: UnitId, job: &Job) {
        let mut unit = JobUnit::new(now, id, job, self.jitter.split());
        unit.start(now, &mut self.out);
        self.units.insert(id, AnyUnit::Job(Box::new(unit)));
    }

    /// Only preStart ever gets a stop signal.
    fn stop_hook(&mut self, now: Instant) {
        let id = UnitId::Hook(Hook::PreStart);
        self.units.change(id, |unit| unit.terminate(now, &mut self.out));
    }

    /// Only preStop is ever killed.
    fn kill_hook(&mut self) {
        let id = UnitId::Hook(Hook::PreStop);
        self.units.change_job(id, |unit| unit.end(&mut self.out));
    }

    /// Ends everything periodic and deregisters every service; coprocesses run on until the end (EX-22).
    fn deregister(&mut self, now: Instant) {
        self.pending_plan = None;
        self.units.change_all(|unit| unit.close(now, &mut self.out));
    }

    /// Lets the application go on while clients find out that the services were deregistered.
    fn drain(&mut self, now: Instant) {
        if self.units.job(UnitId::Application).is_none() {
            return self.advance(now, Input::NoApplication);
        }
        if self.plan.drain == Duration::ZERO || !self.lifecycle.may_drain() {
            return self.advance(now, Input::TimeIsUp);
        }
        self.out
            .log(Notice::Lifecycle(LifecycleNotice::Draining(self.plan.drain)));
    }

    /// Stops the application. The time between SIGTERM and SIGKILL is that of the plan in force.
    fn terminate(&mut self, now: Instant) {
        if self.units.job(UnitId::Application).is_none() {
            return self.advance(now, Input::NoApplication);
        }
        if self.plan.stop_timeout.grace() == Duration::ZERO {
            return self.advance(now, Input::TimeIsUp);
        }
        let out = &mut self.out;
        let running = self
            .units
            .change_job(UnitId::Application, |application| application.ask_to_stop(out));
        if running == Some(false) {
            self.application_is_gone(now);
        }
    }

    fn kill_application(&mut self) {
        let (lifecycle, out) = (&mut self.lifecycle, &mut self.out);
        self.units.change_job(UnitId::Application, |application| {
            if let Some(ticket) = application.runner().ticket() {
                lifecycle.kills_application();
                let pid = out.pid(ticket);
                pid.into_iter()
                    .for_each(|pid| out.log(Notice::KillingApplication(pid)));
            }
            application.end(out);
        });
    }

    /// Sends SIGTERM to all processes that are left, also to those that the shim did not start.
    fn terminate_remaining(&mut self, now: Instant) {
        self.units.change_all(|unit| unit.terminate(now, &mut self.out));
        self.out.push(Effect::SendToAll(Signal::TERM));
    }

    /// Kills all processes that are left; none of them is started again.
    fn kill_remaining(&mut self) {
        self.units.retain(|id, _| !matches!(id, UnitId::Job(_)));
        self.out.kill_remaining();
        self.out.push(Effect::SendToAll(Signal::KILL));
    }

    fn exit(&mut self) {
        self.out.log_left_behind();
        let code = self.lifecycle.code();
        let phases = self.lifecycle.stop_phases().into();
        self.out
            .log(Notice::Lifecycle(LifecycleNotice::StopDone(phases, code)));
        self.out.push(Effect::Exit(code));
    }

    /// A signal for the application. While preStart runs it is kept until the application runs (LC-18).
    fn forward(&mut self, signal: Signal) {
        let application = self.units.job(UnitId::Application);
        if let Some(application) = application.filter(|application| application.runner().ticket().is_some()) {
            self.out.log(Notice::SignalForwarded(signal));
            application.send(signal, SignalTarget::Process, &mut self.out);
        } else if matches!(
            self.lifecycle.phase(),
            Phase::PreStarting | Phase::AwaitingTemplates
        ) && self.plan.application.is_some()
        {
            self.out.log(Notice::SignalKept(signal));
            self.kept.retain(|kept| *kept != signal);
            self.kept.push(signal);
        }
    }

    /// In maintenance no check, heartbeat, query, handler, task or sensor begins (LC-11).
    fn toggle_maintenance(&mut self, now: Instant) {
        self.maintenance = !self.maintenance;
        self.out.log(Notice::Maintenance(self.maintenance));
        self.out.measure(Measurement::Maintenance(self.maintenance));
        let (maintenance, out) = (self.maintenance, &mut self.out);
        self.units.change_all(|unit| match maintenance {
            true => unit.pause(now, out),
            false => unit.resume(now, out),
        });
    }

    /// The state that clients see.
    fn status(&self, now: Instant) -> Status {
        let (units, out) = (&self.units, &self.out);
        let jobs = units.jobs().map(|unit| unit.status(out));
        let sensors = units.sensors().map(|unit| unit.status(out));
        let actions = units.services().flat_map(|unit| unit.actions(out));
        Status {
            at: now,
            phase: self.lifecycle.phase(),
            maintenance: self.maintenance,
            last_reload: self.last_reload.clone(),
            catalogue: out.catalogue_status(),
            services: units.services().map(|unit| unit.status(now, out)).collect(),
            backends: units.backends().map(|(_, unit)| unit.status(out)).collect(),
            templates: self.template_states(),
            jobs: jobs.chain(sensors).chain(actions).collect(),
        }
    }

    fn log_still_registered(&mut self) {
        for unit in self.units.services().filter(|unit| !unit.has_deregistered()) {
            self.out.log(Notice::StillRegistered(unit.named()));
        }
    }

    fn desired(&self) -> DesiredState {
        if self.maintenance {
            DesiredState::Absent
        } else {
            DesiredState::Registered
        }
    }

    fn next_serial(&mut self) -> Serial {
        self.last_unit += 1;
        Serial(self.last_unit)
    }
}
