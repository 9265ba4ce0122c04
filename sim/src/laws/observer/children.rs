//! The running children, and the state of their jobs.

use super::Observer;
use super::lifecycle::OnceRun;
use crate::laws::bounds::QUICK_RUN;
use crate::laws::schedule::Schedule;
use domain::plan::{Job, Restarts, Role, SensorKind, SignalTarget, Trigger};
use domain::process::Ending;
use domain::signal::Signal;
use domain::state_key::{Keyed, StateKey};
use domain::time::Duration;
use domain::{Instant, Ticket};

/// A child that was not reaped yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub owner: String,
    pub role: Role,
    pub grace: Duration,
    pub limit: Option<Duration>,
    pub since: Instant,
    /// From when its time limit counts.
    pub counts_from: Instant,
    pub termed: Option<Instant>,
    pub killed: Option<Instant>,
    /// The signal that asks it to stop.
    pub stop_signal: Signal,
    /// It was sent that signal in this turn, and no SIGCONT yet.
    pub stop_signal_in_turn: bool,
    /// A reload removed its owner.
    pub abandoned: bool,
    /// Processes below it outlive it.
    pub outlived: bool,
    /// How it ended, if only processes that outlived it are left.
    pub ended: Option<Ending>,
    /// What outlived it was asked to stop.
    pub rest_termed: bool,
}

impl Run {
    /// When its time limit ends it. One that was asked to stop has its grace instead.
    pub fn limit_ends(&self) -> Option<Instant> {
        let limit = self.limit.filter(|_| self.termed.is_none());
        limit.map(|limit| self.counts_from + limit)
    }
}

/// A task, or the command of a sensor.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JobFacts {
    pub schedule: Schedule,
    pub job: Job,
    /// The kind of metric of a sensor.
    pub kind: Option<SensorKind>,
    pub closing: bool,
}

/// A coprocess.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CoprocessFacts {
    pub restarts: Restarts,
    pub runs: u64,
    /// When the last run ended.
    pub ended: Option<Instant>,
    /// How many runs in a row ended at once.
    pub quick: u32,
}

impl CoprocessFacts {
    /// Whether its restarts allow another run.
    pub fn may_run(&self) -> bool {
        match self.restarts {
            Restarts::Unlimited => true,
            Restarts::AtMost(restarts) => self.runs <= restarts,
        }
    }
}

/// Whether runs of this role are started by a schedule or by an answer of the catalogue.
pub(crate) fn is_periodic(role: &Role) -> bool {
    matches!(
        role,
        Role::Health { .. }
            | Role::OnUnhealthy { .. }
            | Role::OnHealthy { .. }
            | Role::OnChange { .. }
            | Role::Task { .. }
            | Role::Sensor { .. }
            | Role::Template { .. }
    )
}

/// The label of a job's owner; the command of a handler names its backend.
pub(crate) fn owner(job: &Job) -> String {
    match (&job.role, job.command.arguments.first()) {
        (Role::OnChange { .. }, Some(word)) => word.to_string(),
        (role, _) => role.to_string(),
    }
}

impl Observer {
    /// The children of this owner, except those whose unit a reload removed.
    pub(crate) fn runs_of<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = &'a Run> {
        self.children
            .values()
            .filter(move |run| run.owner == owner && !run.abandoned)
    }

    /// Whether a child of this owner runs, except those whose unit a reload removed.
    pub(crate) fn is_running(&self, owner: &str) -> bool {
        self.runs_of(owner).next().is_some()
    }

    pub(super) fn starts(&mut self, ticket: Ticket, job: &Job) {
        self.turn.starting = Some(ticket);
        let run = Run {
            owner: owner(job),
            role: job.role.clone(),
            grace: job.stop.grace,
            limit: job.time_limit,
            since: self.turn.began,
            counts_from: self.turn.began,
            termed: None,
            killed: None,
            stop_signal: job.stop.signal,
            stop_signal_in_turn: false,
            abandoned: false,
            outlived: false,
            ended: None,
            rest_termed: false,
        };
        let (turn, now) = (self.turn.began, self.now);
        match &job.role {
            Role::Application => {
                self.application = OnceRun::Running(ticket);
                self.turn.forward = std::mem::take(&mut self.kept);
            }
            Role::PreStart => self.pre_start = OnceRun::Running(ticket),
            Role::PreStop => self.pre_stop = OnceRun::Running(ticket),
            Role::PostStop => self.post_stop = OnceRun::Running(ticket),
            Role::Health { id, .. } => self.check_starts(id, &run.owner),
            Role::OnUnhealthy { id, .. } => self.reaction_starts(id, true),
            Role::OnHealthy { id, .. } => self.reaction_starts(id, false),
            Role::OnChange { .. } => {
                if let Some(facts) = self.backends.get_mut(&run.owner) {
                    facts.owed = false;
                    facts.quiet = None;
                    facts.given = Some(facts.seen.clone());
                    facts.retry = None;
                }
            }
            Role::Task { .. } | Role::Sensor { .. } => {
                if let Some(facts) = self.schedules.get_mut(&run.owner) {
                    facts.schedule.begin(turn, now);
                }
            }
            Role::Template { destination } => self.template_command_starts(destination),
            Role::Coprocess { .. } => {
                if let Some(facts) = self.coprocesses.get_mut(&run.owner) {
                    facts.runs += 1;
                }
            }
        }
        self.children.insert(ticket, run);
    }

    pub(super) fn sends(&mut self, ticket: Ticket, signal: Signal, target: SignalTarget) {
        if signal != Signal::KILL && target == SignalTarget::Process {
            self.turn.forward.pop_front();
            return;
        }
        let began = self.turn.began;
        if let Some(run) = self.children.get_mut(&ticket) {
            run.stop_signal_in_turn = !matches!(signal, Signal::KILL | Signal::CONT);
            run.rest_termed |= run.ended.is_some() && run.stop_signal_in_turn;
            let sent = match signal {
                Signal::KILL => &mut run.killed,
                Signal::CONT => return,
                _ => &mut run.termed,
            };
            sent.get_or_insert(began);
        }
    }

    pub(super) fn ended(&mut self, ticket: Ticket, ending: &Ending) {
        let Some(run) = self.children.remove(&ticket) else {
            return;
        };
        self.turn.passed = ending.passed().then(|| run.role.clone());
        match run.role {
            Role::Application => self.application_ended(ending),
            Role::PreStart => self.pre_start_ended(ending),
            Role::PreStop => self.pre_stop = OnceRun::Ended(self.now),
            Role::PostStop => self.post_stop_ended(ending),
            _ if run.abandoned => {}
            Role::Health { ref id, .. } => self.checked(id, &run.owner, run.since, ending.passed()),
            Role::Task { .. } | Role::Sensor { .. } => {
                if let Some(facts) = self.schedules.get_mut(&run.owner) {
                    facts.schedule.end(self.turn.began);
                }
            }
            Role::Coprocess { .. } => self.coprocess_ended(&run),
            Role::OnUnhealthy { ref id, .. } | Role::OnHealthy { ref id, .. } => {
                self.reaction_ended(id, ending);
            }
            Role::OnChange { .. } => self.handler_ended(&run.owner, ending),
            Role::Template { destination } => self.template_command_ended(&destination, ending),
        }
    }

    fn coprocess_ended(&mut self, run: &Run) {
        let (now, limited) = (self.now, run.killed.is_some());
        if let Some(facts) = self.coprocesses.get_mut(&run.owner) {
            facts.ended = Some(now);
            let quick = now - run.since < QUICK_RUN && !limited;
            facts.quick = if quick { facts.quick + 1 } else { 0 };
        }
    }

    /// Adds a task, a sensor or a coprocess of the plan in force.
    pub(super) fn open_job(&mut self, job: &Job, kind: Option<SensorKind>) {
        let (now, turn) = (self.now, self.turn.began);
        if let Trigger::Every(period) = job.trigger {
            let facts = || JobFacts {
                schedule: Schedule::new(turn, now, period),
                job: job.clone(),
                kind,
                closing: false,
            };
            self.schedules.entry(owner(job)).or_insert_with(facts);
        } else {
            let facts = CoprocessFacts {
                restarts: job.restarts,
                runs: 0,
                ended: None,
                quick: 0,
            };
            self.coprocesses.insert(owner(job), facts);
        }
    }
}

domain::keyed!(Run {
    owner,
    role,
    grace,
    limit,
    since,
    counts_from,
    termed,
    killed,
    stop_signal,
    stop_signal_in_turn,
    abandoned,
    outlived,
    ended,
    rest_termed,
});
domain::keyed!(JobFacts {
    schedule,
    job,
    kind,
    closing
});

/// More than three runs count as three: no explored plan permits more restarts.
impl Keyed for CoprocessFacts {
    fn write_key(&self, key: &mut impl StateKey) {
        let Self {
            restarts,
            runs,
            ended,
            quick,
        } = self;
        restarts.write_key(key);
        (*runs).min(3).write_key(key);
        ended.write_key(key);
        quick.write_key(key);
    }
}
