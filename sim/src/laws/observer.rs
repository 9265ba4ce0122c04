//! The state that the laws need, computed from the entries of the trace alone.
//!
//! It contains the running children, the requests in flight, the plan in force, and the catalogue's answers
//! about each service. Laws read it, and each entry is added after they did. No decisions are made here.

mod backends;
mod checks;
mod children;
mod control;
mod emergency;
mod health;
mod lifecycle;
mod plan;
mod probes;
mod reactions;
mod reload;
mod requests;
mod services;
mod standstill;
mod templates;
mod trees;

use super::turn::Turn;
use crate::trace::{EntryKind, Fact, TraceEntry};
pub(crate) use backends::{Address, BackendFacts};
pub(crate) use checks::OwnChecks;
pub(crate) use children::{CoprocessFacts, JobFacts, Run, is_periodic, owner};
pub(crate) use control::ClientRequest;
use domain::control::RequestNumber;
use domain::notice::catalogue::CatalogueNotice;
use domain::notice::templates::TemplateNotice;
use domain::plan::Plan;
use domain::process::Ending;
use domain::signal::Signal;
use domain::{Effect, Event, Instant, Notice, Ticket};
pub(crate) use emergency::Emergency;
pub(crate) use health::HealthFacts;
pub(crate) use lifecycle::{OnceRun, Stop};
pub(crate) use plan::{SharedPlan, backend_key, key_of, sensor_jobs};
pub(crate) use probes::ProbeFacts;
pub(crate) use requests::{InFlight, Kind};
pub(crate) use services::{KnownRegistration, ServiceFacts};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
pub(crate) use templates::{TemplateFacts, Work, command_of};
pub(crate) use trees::Remaining;

/// The observer: see the documentation of the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observer {
    pub(crate) now: Instant,
    pub(crate) turn: Turn,
    /// Whether starting takes time, so that schedules and ages are less precise.
    pub(crate) lenient: bool,
    pub(crate) first: SharedPlan,
    pub(crate) plan: SharedPlan,
    /// A plan that waits to be put in force, and since when.
    pub(crate) incoming: Option<(SharedPlan, Instant)>,
    pub(crate) opened: Option<Instant>,
    pub(crate) start_cancelled: bool,
    pub(crate) failed_start: bool,
    pub(crate) stop: Option<Stop>,
    /// Whether a second signal requested the stop.
    pub(crate) hurried: bool,
    /// When the drain of the application began.
    drain_began: Option<Instant>,
    pub(crate) maintenance: bool,
    pub(crate) exited: bool,
    pub(crate) code: Option<u8>,
    /// Whether a health check ends the shim.
    pub(crate) failed_check: bool,
    pub(crate) application: OnceRun,
    /// Signals for the application that came before its start, the last of each number.
    kept: VecDeque<Signal>,
    pub(crate) pre_start: OnceRun,
    pub(crate) pre_stop: OnceRun,
    pub(crate) post_stop: OnceRun,
    pub(crate) children: BTreeMap<Ticket, Run>,
    /// The probes that run.
    pub(crate) probes: BTreeMap<Ticket, ProbeFacts>,
    /// The last probe of each check by its label, and the ID of its service, unless it was ended.
    pub(crate) last_probes: BTreeMap<String, (Ticket, String)>,
    /// The requests in flight.
    pub(crate) requests: BTreeMap<Ticket, InFlight>,
    /// The reading of the configuration that is in progress.
    pub loading: Option<Ticket>,
    /// The requests of clients that are not answered yet.
    pub(crate) clients: BTreeMap<RequestNumber, ClientRequest>,
    /// Whether a SIGHUP, or a request of a client, came after the configuration was last read.
    pub to_be_read: bool,
    pub(crate) services: BTreeMap<String, ServiceFacts>,
    pub(crate) backends: BTreeMap<String, BackendFacts>,
    /// The schedules of tasks and sensors.
    pub(crate) schedules: BTreeMap<String, JobFacts>,
    pub(crate) coprocesses: BTreeMap<String, CoprocessFacts>,
    pub(crate) templates: BTreeMap<String, TemplateFacts>,
    /// The renderings and writings in progress.
    pub(crate) works: BTreeMap<Ticket, Work>,
    /// Since when the start waits for the templates that are required.
    pub(crate) awaiting: Option<Instant>,
    pub(crate) left_behind: usize,
    pub(crate) remaining: Remaining,
    /// The instances of the shim that the catalogue has.
    pub(crate) entries: BTreeSet<String>,
    /// The instances of each backend in the catalogue.
    pub(crate) other_instances: BTreeMap<String, Vec<Address>>,
    /// The keys in the catalogue.
    pub(crate) keys: BTreeMap<String, String>,
    pub(crate) arrived_late: bool,
    /// When the catalogue last took no more requests.
    pub(crate) refused: Option<Instant>,
    /// The number of requests that are allowed since the budget was cut.
    pub(crate) cut: Option<u32>,
    /// Since when and until when, at the least, nothing is sent because the catalogue took no more requests.
    pub(crate) paused: Option<(Instant, Instant)>,
    /// How many such pauses there were since the catalogue last took a request.
    pauses: u32,
    /// The state of an emergency, after a fault of the program itself.
    pub(crate) emergency: Option<Emergency>,
    /// Whether the application outlived SIGKILL for too long.
    pub(crate) application_unkillable: bool,
    generation: u32,
    /// The deadline of the driver, and the number of late wake-ups in a row.
    deadline: Option<Instant>,
    late_in_a_row: u32,
}

impl Observer {
    /// The state before the first entry.
    pub fn new(plan: &Plan, lenient: bool) -> Self {
        let plan = SharedPlan::new(plan.clone());
        Self {
            now: Instant::START,
            turn: Turn::default(),
            lenient,
            first: plan.clone(),
            plan,
            incoming: None,
            opened: None,
            start_cancelled: false,
            failed_start: false,
            stop: None,
            hurried: false,
            drain_began: None,
            maintenance: false,
            exited: false,
            code: None,
            failed_check: false,
            application: OnceRun::NotStarted,
            kept: VecDeque::new(),
            pre_start: OnceRun::NotStarted,
            pre_stop: OnceRun::NotStarted,
            post_stop: OnceRun::NotStarted,
            children: BTreeMap::new(),
            probes: BTreeMap::new(),
            last_probes: BTreeMap::new(),
            requests: BTreeMap::new(),
            loading: None,
            clients: BTreeMap::new(),
            to_be_read: false,
            services: BTreeMap::new(),
            backends: BTreeMap::new(),
            schedules: BTreeMap::new(),
            coprocesses: BTreeMap::new(),
            templates: BTreeMap::new(),
            works: BTreeMap::new(),
            awaiting: None,
            left_behind: 0,
            remaining: Remaining::default(),
            entries: BTreeSet::new(),
            other_instances: BTreeMap::new(),
            keys: BTreeMap::new(),
            arrived_late: false,
            refused: None,
            cut: None,
            paused: None,
            pauses: 0,
            emergency: None,
            application_unkillable: false,
            generation: 0,
            deadline: None,
            late_in_a_row: 0,
        }
    }

    /// The plan in force.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Called before an entry is checked; an event begins a turn of the driver.
    pub(super) fn begin_turn(&mut self, entry: &TraceEntry) {
        self.now = entry.at;
        if !matches!(entry.kind, EntryKind::Event(_)) || !self.turn.over {
            return;
        }
        if self.is_late(entry.at) {
            self.after_standstill(entry.at);
        }
        let overslept = self.deadline.is_some_and(|deadline| deadline < entry.at);
        let ticks_since = if self.lenient || overslept {
            self.turn.began
        } else {
            entry.at
        };
        self.turn = Turn {
            began: entry.at,
            ticks_since,
            ..Turn::default()
        };
    }

    /// Adds an entry.
    pub(super) fn add(&mut self, entry: &TraceEntry) {
        if let Some(emergency) = &mut self.emergency {
            emergency.add(entry);
        }
        match &entry.kind {
            EntryKind::Event(event) => self.on_event(event),
            EntryKind::Effect(effect) => self.on_effect(effect),
            EntryKind::Wait(deadline) => self.on_wait(*deadline),
            EntryKind::Fact(fact) => self.on_fact(fact),
        }
    }

    fn on_event(&mut self, event: &Event) {
        match event {
            Event::Begin if self.plan.pre_start.is_none() => self.await_templates(),
            Event::Rendered(ticket, rendered) => self.rendered(*ticket, rendered),
            Event::Written(ticket, written) => self.written(*ticket, written),
            Event::Signal(signal) => self.signalled(*signal),
            Event::Started(ticket, pid) => {
                self.turn.starting = None;
                let run = self.children.get(ticket);
                let variable = run.and_then(|run| run.role.pid_variable());
                self.turn.export = variable.map(|name| (name, pid.to_string()));
            }
            Event::NotStarted(ticket, failure) => {
                self.turn.has_late_failure = true;
                self.turn.starting = None;
                self.turn.failed.push(*ticket);
                self.ended(*ticket, &Ending::NotStarted(failure.clone()));
            }
            Event::Stopped(ticket) => self.stopped(*ticket),
            Event::HungUp => self.forward(Signal::HUP),
            Event::Outlived(ticket) => self.outlived(*ticket),
            Event::Exited(ticket, status) => self.exited(*ticket, &Ending::Exited(*status)),
            Event::TreeEnded(ticket) => self.tree_ended(*ticket),
            Event::AllEnded => self.remaining.ended = true,
            Event::Answered(ticket, answer) => self.answered(*ticket, answer),
            Event::Probed(ticket, end, _) => self.probed(*ticket, end),
            Event::Loaded(ticket, loaded) => {
                self.loading = self.loading.filter(|loading| loading != ticket);
                self.reading_ended(*ticket, loaded);
                self.loaded(loaded);
            }
            Event::Requested(number, request) => self.requested(*number, *request),
            _ => {}
        }
    }

    fn on_effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Start(ticket, job) => self.starts(*ticket, job),
            Effect::Send(ticket, signal, target) => self.sends(*ticket, *signal, *target),
            Effect::SendToAll(signal) => self.sends_to_all(*signal),
            Effect::Suspend => self.turn.suspend = false,
            Effect::Request { ticket, request, .. } => self.request_sent(*ticket, request),
            Effect::Cancel(ticket) => self.request_cancelled(*ticket),
            Effect::Probe(ticket, probe) => self.probe_starts(*ticket, probe),
            Effect::EndProbe(ticket) => self.probe_ended(*ticket),
            Effect::Render(ticket, rendering) => self.renders(*ticket, rendering),
            Effect::Write(ticket, writing) => self.writes(*ticket, writing),
            Effect::Connect(_) => self.entries.clear(),
            Effect::Export { name, value } => {
                let exported = self.turn.export.as_ref();
                if exported.is_some_and(|(due, pid)| due == name && pid == value) {
                    self.turn.export = None;
                }
            }
            Effect::Log(notice) => self.on_notice(notice),
            Effect::Load(ticket) => {
                self.loading = Some(*ticket);
                self.to_be_read = false;
                self.reading_begins(*ticket);
            }
            Effect::Answer(number, _) => drop(self.clients.remove(number)),
            Effect::Exit(_) => self.exited = true,
            _ => {}
        }
    }

    fn on_notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Reloaded => self.reloaded(),
            Notice::Template(TemplateNotice::Missing { .. }) => {
                self.failed_start = true;
                self.code = Some(1);
            }
            Notice::HeldByAnother { named, other, .. } => self.holder_reported(&named.id, other),
            Notice::FailedTooOften { .. } => {
                self.turn.fails = None;
                if !self.is_stopping() {
                    self.begin_stop(true);
                }
            }
            Notice::LeftBehind(_) => self.left_behind += 1,
            Notice::Catalogue(CatalogueNotice::BudgetCut { allowed, .. }) => self.cut = Some(*allowed),
            Notice::Catalogue(CatalogueNotice::BudgetWhole(_)) => self.cut = None,
            Notice::QueryFailed { backend, .. } => self.query_given_up(backend),
            Notice::RegistrationFailed(named, _) | Notice::HeartbeatFailed(named, _) => {
                self.given_up(&named.id);
            }
            Notice::DeregisteringFailed(named, _) => self.deregistration_given_up(&named.id),
            _ => {}
        }
    }

    fn on_wait(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
        self.drain_began = self.drain_ends().map(|_| self.drain_begins());
        self.application_unkillable |= self.survives_kill();
        // The entries of the turn are no longer needed.
        self.turn = Turn {
            began: self.turn.began,
            ticks_since: self.turn.ticks_since,
            over: true,
            ..Turn::default()
        };
        self.services_on_wait();
    }

    fn on_fact(&mut self, fact: &Fact) {
        match fact {
            Fact::Entered(id) => drop(self.entries.insert(id.clone())),
            Fact::Removed(id) | Fact::Expired(id) | Fact::Critical(id) => {
                self.entries.remove(id);
                self.delay(id);
            }
            Fact::InstancesChanged(name, listed) => {
                drop(self.other_instances.insert(name.clone(), listed.clone()))
            }
            Fact::KeyChanged(key, value) => {
                self.keys.remove(key);
                self.keys
                    .extend(value.iter().map(|value| (key.clone(), value.clone())));
            }
            Fact::MachinePaused(_) => self.delay_all(),
            Fact::Panics => self.emergency = Some(Emergency::new(self)),
            Fact::Overwritten(id, _) => self.delay(id),
            Fact::ArrivesLate(id) => {
                self.arrived_late = true;
                self.delay(id);
            }
            Fact::Outage
            | Fact::OutageOver
            | Fact::NoPids
            | Fact::PidsAgain
            | Fact::DataLost
            | Fact::Healed
            | Fact::Settled
            | Fact::Overdue => {}
        }
    }
}

domain::keyed!(Observer {
    now, turn, lenient, first, plan, incoming, opened, start_cancelled, failed_start, stop, hurried, drain_began, maintenance, exited, code,
    failed_check, application, kept, pre_start, pre_stop, post_stop, children, probes, last_probes, requests, loading, clients, to_be_read, services, backends,
    schedules, coprocesses, templates, works, awaiting, left_behind, remaining, entries, other_instances, keys, arrived_late, refused, cut, paused, pauses,
    emergency, application_unkillable, deadline, late_in_a_row,
} without { generation });
