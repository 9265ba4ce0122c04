//! What the laws know: a memory of the trace, made of entries and nothing else.
//!
//! It follows what an observer of the border can say: which children live, what is on the wire, which plan is
//! in force, what each service was told. Laws read it; only [`Observer::see`] writes it. Decides nothing.

use crate::laws::emergency::Emergency;
use crate::laws::schedule::Schedule;
use crate::laws::{EMERGENCY_LAWS, LAWS, Law, Violation};
use crate::trace::{Entry, Fact, What};
use domain::catalogue::{Answer, Endpoint as Holder, Request};
use domain::event::Loaded;
use domain::plan::{
    Backend, Job, Plan, REQUEST_LIMIT, Restarts, Role, Sensor, SensorKind, Service, StopTimeout, Trigger,
};
use domain::process::Ending;
use domain::signal::Signal;
use domain::time::Duration;
use domain::{Effect, Event, Instant, Notice, Ticket};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::rc::Rc;

/// An address and a port.
pub(crate) type Endpoint = (String, u16);

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Observer {
    pub(crate) now: Instant,
    pub(crate) turn: Turn,
    /// Whether starting takes time, so that schedules and ages are known less sharply.
    pub(crate) lenient: bool,
    pub(crate) first: Followed,
    pub(crate) plan: Followed,
    pub(crate) incoming: Option<(Followed, Instant)>,
    pub(crate) opened: Option<Instant>,
    pub(crate) called_off: bool,
    pub(crate) failed_start: bool,
    pub(crate) stop: Option<Stop>,
    pub(crate) maintenance: bool,
    pub(crate) exited: bool,
    pub(crate) code: Option<u8>,
    pub(crate) application: Stage,
    pub(crate) pre_start: Stage,
    pub(crate) pre_stop: Stage,
    pub(crate) post_stop: Stage,
    pub(crate) children: BTreeMap<Ticket, Run>,
    pub(crate) questions: BTreeMap<Ticket, Asked>,
    pub(crate) newest: Option<Ticket>,
    /// The reading of the configuration that is under way.
    pub loading: Option<Ticket>,
    /// A SIGHUP came, and the configuration was not read since.
    pub to_be_read: bool,
    pub(crate) services: BTreeMap<String, ServiceFacts>,
    pub(crate) backends: BTreeMap<String, BackendFacts>,
    /// Of tasks and sensors.
    pub(crate) schedules: BTreeMap<String, JobFacts>,
    pub(crate) coprocesses: BTreeMap<String, CoprocessFacts>,
    pub(crate) left_behind: usize,
    pub(crate) standing: BTreeSet<String>,
    pub(crate) neighbours: BTreeMap<String, Vec<Endpoint>>,
    pub(crate) landed_late: bool,
    /// When the catalogue last took no more, and how many requests there may be since the budget was cut.
    pub(crate) refused: Option<Instant>,
    pub(crate) cut: Option<u32>,
    /// Since when all that is left to be done is to see the remaining children go.
    pub(crate) closing: Option<Instant>,
    /// A fault of the program itself came.
    pub(crate) emergency: Option<Emergency>,
    /// The application outlived SIGKILL for too long.
    pub(crate) gave_up: bool,
    generation: u32,
    /// By when the driver wanted to be woken, and how many late wake-ups in a row there were.
    deadline: Option<Instant>,
    late_in_a_row: u32,
}

/// A wake-up that comes later than this after its deadline means that the machine stood still.
const LATE: Duration = Duration::from_secs(1);
/// So many in a row let time limits count anew.
const MOST_LATE: u32 = 3;
/// How long nothing is sent, at most, after the catalogue took no more requests.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// From the event that woke the driver until it waits again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Turn {
    pub began: Instant,
    /// Since when ticks may wait that the driver could not see: it is never before the turn, unless starting
    /// took time in the turn before, or the machine stood still.
    pub looked: Instant,
    resting: bool,
    /// A signal that is to be passed on.
    pub forward: Option<Signal>,
    /// A variable that is to be exported before anything else starts.
    pub export: Option<(String, String)>,
    /// Something failed to start: the core is told when what it began before is carried out.
    pub told_later: bool,
    /// What is started, until it is known whether it runs.
    pub starting: Option<Ticket>,
    /// What ended with 0.
    pub passed: Option<Role>,
    /// What failed to start.
    pub failed: Vec<Ticket>,
    /// A configuration was refused, and no earlier plan waits that may be put in force in the same turn.
    pub refused: bool,
    /// Services whose questions were answered.
    pub answered: Vec<String>,
    /// The ID of a service under which an answer found another instance, of which operators were not told yet.
    pub stranger: Option<(String, Holder)>,
}

impl Turn {
    /// A turn that begins now.
    #[cfg(test)]
    pub fn at(now: Instant) -> Self {
        Self {
            began: now,
            looked: now,
            ..Self::default()
        }
    }
}

/// A plan that is cheap to clone, and small to show.
#[derive(Clone)]
pub(crate) struct Followed(Rc<Plan>);

impl std::ops::Deref for Followed {
    type Target = Plan;
    fn deref(&self) -> &Plan {
        &self.0
    }
}

impl PartialEq for Followed {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for Followed {}

impl Hash for Followed {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl std::fmt::Debug for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", crate::trace::Brief(&self.0))
    }
}

/// That the shim stops, since when, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stop {
    pub at: Instant,
    /// An operator asked for it; otherwise the application ended.
    pub asked: bool,
}

/// A process that runs once in a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Never,
    Alive(Ticket),
    Gone(Instant),
}

impl Stage {
    pub fn is_alive(self) -> bool {
        matches!(self, Self::Alive(_))
    }

    pub fn is_gone(self) -> bool {
        matches!(self, Self::Gone(_))
    }
}

/// A child that was not reaped yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    pub whose: String,
    pub role: Role,
    pub grace: Duration,
    pub limit: Option<Duration>,
    pub since: Instant,
    /// From when its limit counts.
    pub counts_from: Instant,
    pub termed: Option<Instant>,
    pub killed: Option<Instant>,
    /// Its owner left with a reload.
    pub abandoned: bool,
}

/// Whether a job of this role begins by time, by a room or by an answer.
pub(crate) fn is_periodic(role: &Role) -> bool {
    matches!(
        role,
        Role::Health { .. } | Role::OnChange { .. } | Role::Task { .. } | Role::Sensor { .. }
    )
}

/// A question that is on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asked {
    pub whose: String,
    pub kind: Kind,
    pub at: Instant,
    pub wait: Duration,
    pub generation: u32,
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Register,
    Renew,
    Inspect,
    Deregister,
    List,
}

/// What the catalogue's answers say about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Presence {
    Unsure,
    Ours,
    Nothing,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServiceFacts {
    pub schedule: Schedule,
    pub ttl: Duration,
    pub checked: bool,
    pub closing: bool,
    pub presence: Presence,
    /// It has to ask for its deregistration.
    pub has_to_leave: bool,
    /// A check passed in this turn, or waits for its turn, and no heartbeat was sent for it.
    pub passed: bool,
    /// Since when that is so.
    pub since: Instant,
    /// The catalogue said in this turn that it does not know it.
    pub unknown: bool,
    /// When something last kept its heartbeats from being on time.
    pub disturbed: Instant,
    pub generation: u32,
    /// Whether the catalogue ever took its registration.
    pub was_entered: bool,
    /// The other instances under its ID of which operators were told.
    pub strangers: BTreeSet<Holder>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BackendFacts {
    pub poll: Duration,
    pub handler: Job,
    pub alike: usize,
    pub superseded: bool,
    pub seen: Vec<Endpoint>,
    /// The handler has to run.
    pub owed: bool,
    /// It could not be started, and is to be tried again between these two instants.
    pub retry: Option<(Instant, Instant)>,
    /// The last answer was a failure.
    pub failed: bool,
    /// Its question was not taken and was not asked again.
    pub refused: bool,
    pub not_before: Instant,
    pub not_after: Instant,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct JobFacts {
    pub schedule: Schedule,
    pub job: Job,
    /// What a sensor's values do.
    pub kind: Option<SensorKind>,
    pub closing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CoprocessFacts {
    pub restarts: Restarts,
    pub runs: u64,
    /// When the last run ended, and whether it was killed for its limit.
    pub ended: Option<Instant>,
    /// How many runs in a row ended at once.
    pub quick: u32,
}

/// The label of a job's owner; handlers say whose they are in their command.
pub(crate) fn whose(job: &Job) -> String {
    match (&job.role, job.command.arguments.first()) {
        (Role::OnChange { .. }, Some(word)) => word.to_string(),
        (role, _) => role.to_string(),
    }
}

pub(crate) fn backend_key(name: &str, tag: Option<&str>) -> String {
    format!("{name}/{}", tag.unwrap_or("-"))
}

impl Observer {
    /// What is known before anything happened.
    pub fn new(plan: &Plan, lenient: bool) -> Self {
        let plan = Followed(Rc::new(plan.clone()));
        Self {
            now: Instant::START,
            turn: Turn::default(),
            lenient,
            first: plan.clone(),
            plan,
            incoming: None,
            opened: None,
            called_off: false,
            failed_start: false,
            stop: None,
            maintenance: false,
            exited: false,
            code: None,
            application: Stage::Never,
            pre_start: Stage::Never,
            pre_stop: Stage::Never,
            post_stop: Stage::Never,
            children: BTreeMap::new(),
            questions: BTreeMap::new(),
            newest: None,
            loading: None,
            to_be_read: false,
            services: BTreeMap::new(),
            backends: BTreeMap::new(),
            schedules: BTreeMap::new(),
            coprocesses: BTreeMap::new(),
            left_behind: 0,
            standing: BTreeSet::new(),
            neighbours: BTreeMap::new(),
            landed_late: false,
            refused: None,
            cut: None,
            closing: None,
            emergency: None,
            gave_up: false,
            generation: 0,
            deadline: None,
            late_in_a_row: 0,
        }
    }

    /// The plan in force.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Asks every law about the entry, and remembers it.
    ///
    /// # Errors
    /// The first law that it breaks.
    pub fn see(&mut self, entry: &Entry) -> Result<(), Violation> {
        self.turns_to(entry);
        for (law, holds) in self.laws() {
            holds(self, entry).map_err(|how| Violation { law, how })?;
        }
        self.remembers(entry);
        Ok(())
    }

    /// The laws that hold now.
    pub(super) fn laws(&self) -> &'static [(&'static str, Law)] {
        if self.emergency.is_some() {
            EMERGENCY_LAWS
        } else {
            LAWS
        }
    }

    /// An event begins a turn of the driver.
    pub(super) fn turns_to(&mut self, entry: &Entry) {
        self.now = entry.at;
        if let What::Happens(_) = entry.what
            && std::mem::take(&mut self.turn.resting)
        {
            if self.is_late(entry.at) {
                self.after_standstill(entry.at);
            }
            let overslept = self.deadline.is_some_and(|deadline| deadline < entry.at);
            let looked = if self.lenient || overslept {
                self.turn.began
            } else {
                entry.at
            };
            self.turn = Turn {
                began: entry.at,
                looked,
                ..Turn::default()
            };
        }
    }

    /// Whether time limits count anew from this turn on.
    fn is_late(&mut self, at: Instant) -> bool {
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

    /// Bounds that have not passed count from now; of missed ticks at most one is left.
    fn after_standstill(&mut self, now: Instant) {
        if !self.services_left()
            && let Some(stop) = &mut self.stop
        {
            stop.at = now;
        }
        let before = self.turn.began;
        if let Some((_, since)) = &mut self.incoming
            && before < *since + Duration::from_secs(5)
        {
            *since = now;
        }
        if let (Stage::Gone(at), Stage::Alive(_)) = (&mut self.application, self.pre_stop) {
            *at = now;
        }
        self.closing = self.closing.map(|_| now);
        for run in self.children.values_mut() {
            if run.killed.is_none() {
                run.termed = run.termed.map(|_| now);
            }
            run.killed = run.killed.map(|_| now);
            run.counts_from = now;
        }
        self.beats_after_standstill(now);
    }

    fn beats_after_standstill(&mut self, now: Instant) {
        let staying = self.children.values().filter(|run| !run.abandoned);
        let budgeted = self.plan.max_connections.is_some();
        let running: BTreeSet<String> = staying.map(|run| run.whose.clone()).collect();
        let is_asking = |(id, facts): &(&String, &ServiceFacts)| self.question_of(id, facts).is_some();
        let asking = self.services.iter().filter(is_asking);
        let asking: BTreeSet<String> = asking.map(|(id, _)| id.clone()).collect();
        for (id, facts) in &mut self.services {
            let health = format!("{}.health", id.trim_end_matches("-host"));
            let busy = running.contains(&health) || asking.contains(id);
            facts.schedule.after_standstill(now, busy);
            if budgeted {
                // A heartbeat that waits for others makes it busy, and nobody sees that.
                facts.schedule.blur(now);
            }
        }
        for (owner, facts) in &mut self.schedules {
            facts.schedule.after_standstill(now, running.contains(owner));
        }
    }

    pub(super) fn remembers(&mut self, entry: &Entry) {
        if let Some(emergency) = &mut self.emergency {
            emergency.remembers(entry);
        }
        match &entry.what {
            What::Happens(event) => self.happens(event),
            What::Does(effect) => self.does(effect),
            What::Rests(deadline) => self.rests(*deadline),
            What::World(fact) => self.learns(fact),
        }
    }

    /// Whether the shim stops, or never began.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_some() || self.called_off || self.failed_start
    }

    /// Whether signals that change its course still count.
    pub(crate) fn takes_orders(&self) -> bool {
        !self.is_stopping() && !self.exited
    }

    pub(crate) fn grace(&self) -> Duration {
        match self.plan.stop_timeout {
            StopTimeout::Immediately => Duration::ZERO,
            StopTimeout::After(grace) => grace,
        }
    }

    /// Children of this owner, without those that a reload left behind.
    pub(crate) fn runs_of<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = &'a Run> {
        self.children
            .values()
            .filter(move |run| run.whose == owner && !run.abandoned)
    }

    /// Whether this question on the wire is about a backend; none if it is not there.
    pub(crate) fn asked_to_list(&self, ticket: Ticket) -> Option<bool> {
        self.questions.get(&ticket).map(|asked| asked.kind == Kind::List)
    }

    /// Whether this question on the wire is a heartbeat.
    pub(crate) fn asked_to_renew(&self, ticket: Ticket) -> bool {
        self.questions
            .get(&ticket)
            .is_some_and(|asked| asked.kind == Kind::Renew)
    }

    pub(crate) fn asks(&self, owner: &str) -> usize {
        self.questions
            .values()
            .filter(|asked| asked.whose == owner)
            .count()
    }

    /// How many requests there may be on their way, as far as operators were told.
    pub(crate) fn budget(&self) -> Option<usize> {
        let whole = self.plan.max_connections?;
        let grew = self
            .refused
            .is_none_or(|at| self.now >= at + Duration::from_secs(10));
        Some(self.cut.filter(|_| !grew).unwrap_or(whole) as usize)
    }

    /// How many of the requests on their way are about backends.
    pub(crate) fn queries(&self) -> usize {
        let questions = self.questions.values();
        questions.filter(|asked| asked.kind == Kind::List).count()
    }

    pub(crate) fn blocking_queries(&self) -> usize {
        let questions = self.questions.values();
        questions.filter(|asked| asked.wait > Duration::ZERO).count()
    }

    /// The catalogue took no more so short a time ago that nothing need go out.
    fn may_pause(&self) -> bool {
        self.refused
            .is_some_and(|at| self.turn.began < at + Duration::from_secs(2))
    }

    /// The budget is cut; it may be as small as one request of a service and one of a backend.
    fn is_cut(&self) -> bool {
        self.cut.is_some()
    }

    /// The services' own share of the budget is used up.
    pub(crate) fn services_may_wait(&self) -> bool {
        let Some(whole) = self.plan.max_connections else {
            return false;
        };
        let whole = whole as usize;
        let own = if self.is_cut() { 1 } else { whole - whole / 2 };
        self.may_pause() || self.questions.len() - self.queries() >= own
    }

    /// The backends' share of the budget is used up, or all of it.
    pub(crate) fn queries_may_wait(&self) -> bool {
        let Some(whole) = self.plan.max_connections else {
            return false;
        };
        let whole = if self.is_cut() { 2 } else { whole as usize };
        self.may_pause() || self.queries() >= whole / 2 || self.questions.len() >= whole
    }

    /// Whether this request in flight asks which instance is registered under an ID.
    pub(crate) fn asked_to_inspect(&self, ticket: Ticket) -> bool {
        let asked = self.questions.get(&ticket);
        asked.is_some_and(|asked| asked.kind == Kind::Inspect)
    }

    /// The request in flight of this generation of the service's unit. Inspections do not count: nothing waits for them.
    pub(crate) fn question_of(&self, id: &str, facts: &ServiceFacts) -> Option<&Asked> {
        let own = |asked: &&Asked| {
            asked.whose == id && asked.generation == facts.generation && asked.kind != Kind::Inspect
        };
        self.questions.values().find(own)
    }

    /// The services with a question on the wire.
    fn asking(&self) -> BTreeSet<String> {
        let asking = |(id, facts): &(&String, &ServiceFacts)| self.question_of(id, facts).is_some();
        let asking = self.services.iter().filter(asking);
        asking.map(|(id, _)| id.clone()).collect()
    }

    /// Every service asked to leave and was answered, or the time for it is over.
    pub(crate) fn services_left(&self) -> bool {
        let left = |(id, facts): (&String, &ServiceFacts)| {
            !facts.has_to_leave && self.question_of(id, facts).is_none()
        };
        let over = |stop: Stop| self.turn.began >= stop.at + Duration::from_secs(2);
        self.stop.is_some_and(over) || self.services.iter().all(left)
    }

    /// All that is left to be done is to see the remaining children go.
    pub(crate) fn is_closing(&self) -> bool {
        if self.called_off || self.failed_start {
            return !self.pre_start.is_alive();
        }
        let given = self.first.application.is_some();
        let unkillable = self.gave_up || self.survives_kill();
        let post_stop = self.plan.post_stop.is_none() || self.post_stop.is_gone();
        let gone = if given {
            self.application.is_gone() && !self.pre_stop.is_alive() && post_stop
        } else {
            self.pre_stop_done()
        };
        self.stop.is_some() && self.services_left() && (unkillable || gone)
    }

    /// The application, or a preStop hook that outlived it, was killed, and the time that it may take to be gone is
    /// over.
    pub(crate) fn survives_kill(&self) -> bool {
        let survived = |run: &Run| {
            run.killed
                .is_some_and(|at| self.turn.began >= at + Duration::from_secs(10))
        };
        match (self.application, self.pre_stop) {
            (Stage::Alive(ticket), _) | (Stage::Gone(_), Stage::Alive(ticket)) => {
                self.children.get(&ticket).is_some_and(survived)
            }
            _ => false,
        }
    }

    pub(crate) fn pre_stop_done(&self) -> bool {
        self.plan.pre_stop.is_none() || self.pre_stop.is_gone()
    }

    /// Every service that a reload sends away has left.
    pub(crate) fn leavers_left(&self) -> bool {
        let left = |(id, facts): (&String, &ServiceFacts)| {
            !facts.closing || (!facts.has_to_leave && self.question_of(id, facts).is_none())
        };
        self.services.iter().all(left)
    }

    /// Everything that a reload sends away is gone.
    pub(crate) fn made_room(&self) -> bool {
        let runs = |owner: &str| self.runs_of(owner).next().is_some();
        let services = self.services.iter().filter(|(_, facts)| facts.closing);
        let left = |(id, _): (&String, &ServiceFacts)| !runs(&format!("{}.health", self.name_of(id)));
        let jobs = self.children.values().filter(|run| !run.abandoned);
        let is_job = |run: &Run| matches!(run.role, Role::Task { .. } | Role::Coprocess { .. });
        let sensors = self.schedules.iter().filter(|(_, facts)| facts.closing);
        let backends = self
            .backends
            .iter()
            .filter(|(_, facts)| facts.superseded && facts.alike == 1);
        self.leavers_left()
            && services.into_iter().all(left)
            && !jobs.into_iter().any(is_job)
            && !sensors.into_iter().any(|(owner, _)| runs(owner))
            && !backends.into_iter().any(|(owner, _)| runs(owner))
    }

    fn name_of<'a>(&self, id: &'a str) -> &'a str {
        id.trim_end_matches("-host")
    }

    fn rests(&mut self, deadline: Option<Instant>) {
        self.deadline = deadline;
        self.gave_up |= self.survives_kill();
        if self.closing.is_none() && self.is_closing() {
            self.closing = Some(self.turn.began);
        }
        self.turn.resting = true;
        let (now, limited) = (self.now, self.plan.max_connections.is_some());
        let asking = if limited { self.asking() } else { BTreeSet::new() };
        for (id, facts) in &mut self.services {
            let in_time = now <= facts.since + facts.patience();
            let waits = limited && !self.maintenance && in_time && !asking.contains(id);
            (facts.passed, facts.unknown) = (facts.passed && waits, facts.unknown && waits);
        }
    }

    fn learns(&mut self, fact: &Fact) {
        let now = self.now;
        match fact {
            Fact::Entered(id) => drop(self.standing.insert(id.clone())),
            Fact::Removed(id) | Fact::Expired(id) => {
                self.standing.remove(id);
                self.disturb(id, now);
            }
            Fact::Neighbours(name, listed) => drop(self.neighbours.insert(name.clone(), listed.clone())),
            Fact::StoodStill(_) => {
                for facts in self.services.values_mut() {
                    facts.disturbed = facts.disturbed.max(now);
                }
            }
            Fact::Panics => self.emergency = Some(Emergency::new(self)),
            Fact::Overwritten(id, _) => self.disturb(id, now),
            Fact::LandsLate(id) => {
                self.landed_late = true;
                self.disturb(id, now);
            }
            Fact::Outage
            | Fact::OutageOver
            | Fact::NoPids
            | Fact::PidsAgain
            | Fact::Forgets
            | Fact::Healed
            | Fact::Settled
            | Fact::Overdue => {}
        }
    }

    fn disturb(&mut self, id: &str, now: Instant) {
        if let Some(facts) = self.services.get_mut(id) {
            facts.disturbed = facts.disturbed.max(now);
        }
    }
}

/// What events say.
impl Observer {
    fn happens(&mut self, event: &Event) {
        match event {
            Event::Begin if self.plan.pre_start.is_none() => self.open(),
            Event::Signal(signal) => self.signalled(*signal),
            Event::Started(ticket, pid) => {
                self.turn.starting = None;
                let run = self.children.get(ticket);
                let variable = run.and_then(|run| run.role.pid_variable());
                self.turn.export = variable.map(|name| (name, pid.to_string()));
            }
            Event::NotStarted(ticket, failure) => {
                self.turn.told_later = true;
                self.turn.starting = None;
                self.turn.failed.push(*ticket);
                self.ended(*ticket, &Ending::NotStarted(failure.clone()));
            }
            Event::Exited(ticket, status) => self.ended(*ticket, &Ending::Exited(*status)),
            Event::Answered(ticket, answer) => self.answered(*ticket, answer),
            Event::Loaded(ticket, loaded) => {
                self.loading = self.loading.filter(|loading| loading != ticket);
                self.loaded(loaded);
            }
            _ => {}
        }
    }

    fn signalled(&mut self, signal: Signal) {
        match signal {
            Signal::TERM | Signal::INT | Signal::HUP | Signal::USR1 if !self.takes_orders() => {}
            Signal::TERM | Signal::INT if self.opened.is_some() => self.begin_stop(true),
            Signal::TERM | Signal::INT => {
                self.called_off = true;
                self.code = Some(143);
            }
            Signal::USR1 => self.toggle(),
            Signal::HUP => self.to_be_read = true,
            other => self.turn.forward = self.application.is_alive().then_some(other),
        }
    }

    fn open(&mut self) {
        self.opened = Some(self.now);
        self.open_units();
    }

    fn begin_stop(&mut self, asked: bool) {
        let at = self.turn.began;
        self.stop = Some(Stop { at, asked });
        self.incoming = None;
        for id in self.services.keys().cloned().collect::<Vec<_>>() {
            self.has_to_leave(&id);
        }
    }

    /// It has to ask for its deregistration, unless it is out already or has just asked.
    fn has_to_leave(&mut self, id: &str) {
        let Some(facts) = self.services.get(id) else {
            return;
        };
        let due = match self.question_of(id, facts).map(|asked| asked.kind) {
            Some(Kind::Deregister) => false,
            Some(_) => true,
            None => facts.presence != Presence::Nothing,
        };
        if let Some(facts) = self.services.get_mut(id) {
            facts.has_to_leave = due;
        }
    }

    fn toggle(&mut self) {
        self.maintenance = !self.maintenance;
        let (now, turn) = (self.now, self.turn.began);
        if self.maintenance {
            let staying = self.services.iter().filter(|(_, facts)| !facts.closing);
            for id in staying.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                self.has_to_leave(&id);
            }
            return;
        }
        // A deregistration that waits to be sent is sent all the same.
        let limited = self.plan.max_connections.is_some();
        let asks =
            |(id, facts): (&String, &ServiceFacts)| self.question_of(id, facts).is_some().then(|| id.clone());
        let asking: BTreeSet<String> = self.services.iter().filter_map(asks).collect();
        for (id, facts) in self.services.iter_mut().filter(|(_, facts)| !facts.closing) {
            facts.has_to_leave &= limited && !asking.contains(id);
            facts.schedule.resume(turn, now);
            facts.disturbed = facts.disturbed.max(now);
        }
        for facts in self.backends.values_mut() {
            facts.rest(now, facts.poll, facts.poll);
        }
        for facts in self.schedules.values_mut() {
            facts.schedule.resume(turn, now);
        }
    }

    fn ended(&mut self, ticket: Ticket, ending: &Ending) {
        let Some(run) = self.children.remove(&ticket) else {
            return;
        };
        let (now, code) = (self.now, ending.code());
        self.turn.passed = ending.passed().then(|| run.role.clone());
        match run.role {
            Role::Application => {
                self.application = Stage::Gone(now);
                self.code = Some(code);
                if self.stop.is_none() {
                    self.begin_stop(false);
                }
            }
            Role::PreStart => self.pre_start_ended(ending),
            Role::PreStop => self.pre_stop = Stage::Gone(now),
            Role::PostStop => {
                self.post_stop = Stage::Gone(now);
                if !ending.passed() {
                    self.code = Some(code);
                }
            }
            _ if run.abandoned => {}
            Role::Health { ref id, .. } => self.checked(id, &run, ending.passed()),
            Role::Task { .. } | Role::Sensor { .. } => {
                if let Some(facts) = self.schedules.get_mut(&run.whose) {
                    facts.schedule.end(self.turn.began);
                }
            }
            Role::Coprocess { .. } => self.coprocess_ended(&run),
            Role::OnChange { .. } => self.handler_ended(&run.whose, ending),
        }
    }

    fn pre_start_ended(&mut self, ending: &Ending) {
        self.pre_start = Stage::Gone(self.now);
        if self.called_off {
            return;
        }
        if ending.passed() {
            return self.open();
        }
        self.failed_start = true;
        self.code = Some(ending.code());
    }

    fn checked(&mut self, id: &str, run: &Run, passed: bool) {
        let (now, turn) = (self.now, self.turn.began);
        if let Some(facts) = self.services.get_mut(id) {
            facts.schedule.end(turn);
            (facts.passed, facts.since) = (passed, now);
            if !passed || now - run.since >= facts.schedule.period() / 2 {
                facts.disturbed = facts.disturbed.max(now);
            }
        }
    }

    /// A handler that could not be started still has to run, after a wait of half a second at first, and of ten
    /// seconds at most.
    fn handler_ended(&mut self, whose: &str, ending: &Ending) {
        let (now, turn) = (self.now, self.turn.began);
        if let Some(facts) = self.backends.get_mut(whose)
            && matches!(ending, Ending::NotStarted(_))
        {
            facts.owed = true;
            facts.retry = Some((turn + Duration::from_millis(250), now + Duration::from_secs(10)));
        }
    }

    fn coprocess_ended(&mut self, run: &Run) {
        let (now, limited) = (self.now, run.killed.is_some());
        if let Some(facts) = self.coprocesses.get_mut(&run.whose) {
            facts.ended = Some(now);
            let quick = now - run.since < Duration::from_secs(1) && !limited;
            facts.quick = if quick { facts.quick + 1 } else { 0 };
        }
    }

    fn answered(&mut self, ticket: Ticket, answer: &Answer) {
        let Some(asked) = self.questions.remove(&ticket) else {
            return;
        };
        if matches!(answer, Answer::Busy(_)) && self.plan.max_connections.is_some() {
            return self.not_taken(&asked);
        }
        if asked.kind == Kind::List {
            self.listed(&asked, answer);
            return;
        }
        self.disturb_others(&asked, answer);
        if let Answer::Holder(Some(holder)) | Answer::Unknown(_, Some(holder)) = answer {
            self.finds_holder(&asked, holder);
        }
        if asked.kind == Kind::Inspect {
            return;
        }
        self.turn.answered.push(asked.whose.clone());
        let (now, turn) = (self.now, self.turn.began);
        let Some(facts) = self.services.get_mut(&asked.whose) else {
            return;
        };
        if facts.generation != asked.generation {
            return;
        }
        facts.schedule.end(turn);
        facts.was_entered |= (asked.kind, answer) == (Kind::Register, &Answer::Done);
        facts.presence = match (asked.kind, answer) {
            (Kind::Register | Kind::Renew, Answer::Done) => Presence::Ours,
            (Kind::Deregister, Answer::Done | Answer::Unknown(..)) => Presence::Nothing,
            (Kind::Renew, Answer::Failed(_)) => facts.presence,
            _ => Presence::Unsure,
        };
        facts.unknown = asked.kind == Kind::Renew && matches!(answer, Answer::Unknown(..));
        if facts.unknown {
            facts.since = now;
        }
        if *answer != Answer::Done || now - asked.at >= facts.schedule.period() / 2 {
            facts.disturbed = facts.disturbed.max(now);
        }
    }

    /// Each other instance is reported once, eight at the most, and only if ours was registered before.
    fn finds_holder(&mut self, asked: &Asked, holder: &Holder) {
        let mut services = self.plan.services.iter();
        let own = services.find(|service| service.registration.id == asked.whose);
        let is_ours = own.is_some_and(|service| {
            let registration = &service.registration;
            (registration.address.to_string(), registration.port) == (holder.address.clone(), holder.port)
        });
        let facts = self.services.get(&asked.whose);
        let is_new = facts.is_some_and(|facts| {
            let few = facts.strangers.len() < 8 && !facts.strangers.contains(holder);
            few && facts.generation == asked.generation && facts.was_entered
        });
        if !is_ours && is_new {
            self.turn.stranger = Some((asked.whose.clone(), holder.clone()));
        }
    }

    /// The catalogue took no more: the question may be asked again.
    fn not_taken(&mut self, asked: &Asked) {
        let now = self.now;
        self.refused = Some(now);
        if let Some(facts) = self.backends.get_mut(&asked.whose) {
            facts.refused = true;
        }
        for facts in self.services.values_mut() {
            facts.disturbed = now + LONGEST_PAUSE;
        }
        let Some(facts) = self.services.get_mut(&asked.whose) else {
            return;
        };
        if facts.generation != asked.generation || asked.kind == Kind::Inspect {
            return;
        }
        if now - asked.at >= REQUEST_LIMIT.min(facts.schedule.period()) {
            // The machine stood still meanwhile: there is no time left to ask again.
            facts.schedule.end(self.turn.began);
            // Unless that was noticed: then its time counts anew.
            facts.passed |= asked.kind != Kind::Deregister;
            if asked.kind != Kind::Renew {
                facts.presence = Presence::Unsure;
            }
            return;
        }
        match asked.kind {
            Kind::Deregister => (facts.has_to_leave, facts.presence) = (true, Presence::Unsure),
            Kind::Register => (facts.passed, facts.presence) = (true, Presence::Unsure),
            _ => facts.passed = true,
        }
    }

    /// With a budget, heartbeats may have to wait for others.
    fn disturb_others(&mut self, asked: &Asked, answer: &Answer) {
        let (now, took) = (self.now, self.now - asked.at);
        let is_good = matches!(answer, Answer::Done | Answer::Holder(_));
        for facts in self.services.values_mut() {
            let slow = !is_good || took >= facts.schedule.period() / 2;
            if slow && self.plan.max_connections.is_some() {
                facts.disturbed = facts.disturbed.max(now);
            }
        }
    }

    fn listed(&mut self, asked: &Asked, answer: &Answer) {
        let now = self.now;
        let Some(facts) = self.backends.get_mut(&asked.whose) else {
            return;
        };
        let poll = facts.poll;
        let soon = |first: u64| Duration::from_millis(first).min(poll / 2);
        facts.failed = !matches!(answer, Answer::Instances(_));
        let Answer::Instances(listing) = answer else {
            return facts.rest(now, soon(250), poll);
        };
        let endpoint = |instance: &domain::catalogue::Instance| (instance.address.clone(), instance.port);
        let mut listed: Vec<Endpoint> = listing.instances.iter().map(endpoint).collect();
        listed.sort_unstable();
        if listed != facts.seen {
            facts.seen = listed;
            facts.owed = true;
        }
        let early = now - asked.at < asked.wait;
        match (listing.cursor, early) {
            (None, _) => facts.rest(now, poll, poll),
            (Some(_), true) => facts.rest(now, soon(25), poll),
            (Some(_), false) => facts.rest(now, Duration::ZERO, poll),
        }
    }

    fn loaded(&mut self, loaded: &Loaded) {
        let Loaded::Plan { plan, .. } = loaded else {
            self.turn.refused = self.incoming.is_none();
            return;
        };
        if !self.takes_orders() {
            return;
        }
        let plan = Plan {
            application: self.first.application.clone(),
            pre_start: self.first.pre_start.clone(),
            ..(**plan).clone()
        };
        if self.opened.is_some() {
            self.make_room(&plan);
        }
        let since = self
            .incoming
            .as_ref()
            .map_or(self.turn.began, |(_, since)| *since);
        self.incoming = Some((Followed(Rc::new(plan)), since));
    }

    fn make_room(&mut self, plan: &Plan) {
        let moves = plan.catalogue != self.plan.catalogue;
        let stays = |service: &Service| !moves && plan.services.contains(service);
        let leaving = self.plan.services.iter().filter(|service| !stays(service));
        for id in leaving
            .map(|service| service.registration.id.clone())
            .collect::<Vec<_>>()
        {
            if self.services.get(&id).is_some_and(|facts| !facts.closing) {
                self.has_to_leave(&id);
            }
            if let Some(facts) = self.services.get_mut(&id) {
                facts.closing = true;
            }
        }
        let staying = self.children.values().filter(|run| !run.abandoned);
        let running: BTreeSet<String> = staying.map(|run| run.whose.clone()).collect();
        for (key, facts) in &mut self.backends {
            let same = |backend: &Backend| key_of(backend) == *key && backend.on_change == facts.handler;
            if !plan.backends.iter().any(same) {
                facts.superseded = true;
                facts.owed |= running.contains(key);
            }
        }
        for facts in self.schedules.values_mut() {
            let same = |sensor: &&Sensor| sensor.job == facts.job && Some(sensor.kind) == facts.kind;
            facts.closing |= !sensors(plan).any(|sensor| same(&sensor));
        }
    }
}

pub(crate) fn key_of(backend: &Backend) -> String {
    backend_key(&backend.name, backend.tag.as_deref())
}

/// Backends that are alike may differ in how often they are asked about.
fn longest_poll(plan: &Plan, key: &str) -> Duration {
    let alike = plan.backends.iter().filter(|backend| key_of(backend) == key);
    alike.map(|backend| backend.poll).max().unwrap_or_default()
}

fn sensors(plan: &Plan) -> impl Iterator<Item = &Sensor> {
    plan.telemetry.iter().flat_map(|telemetry| &telemetry.sensors)
}

pub(crate) fn sensor_jobs(plan: &Plan) -> impl Iterator<Item = &Job> {
    sensors(plan).map(|sensor| &sensor.job)
}

impl BackendFacts {
    fn rest(&mut self, now: Instant, least: Duration, most: Duration) {
        (self.not_before, self.not_after) = (now + least, now + most);
    }
}

/// What effects say.
impl Observer {
    fn does(&mut self, effect: &Effect) {
        match effect {
            Effect::Start(ticket, job) => self.starts(*ticket, job),
            Effect::Send(ticket, signal, _) => self.sends(*ticket, *signal),
            Effect::Ask { ticket, request, .. } => self.asked(*ticket, request),
            Effect::Forget(ticket) => self.forgets(*ticket),
            Effect::Connect(_) => self.standing.clear(),
            Effect::Export { name, value } => {
                let exported = self.turn.export.as_ref();
                if exported.is_some_and(|(due, pid)| due == name && pid == value) {
                    self.turn.export = None;
                }
            }
            Effect::Tell(Notice::Reloaded) => self.reloaded(),
            Effect::Tell(Notice::HeldByAnother { named, other, .. }) => {
                self.turn.stranger = None;
                if let Some(facts) = self.services.get_mut(&named.id) {
                    facts.strangers.insert(other.clone());
                }
            }
            Effect::Tell(Notice::LeftBehind(_)) => self.left_behind += 1,
            Effect::Tell(Notice::BudgetCut { allowed, .. }) => self.cut = Some(*allowed),
            Effect::Tell(Notice::BudgetWhole(_)) => self.cut = None,
            Effect::Tell(Notice::QueryFailed { backend, .. }) => self.query_given_up(backend),
            Effect::Tell(Notice::RegistrationFailed(named, _) | Notice::HeartbeatFailed(named, _)) => {
                self.given_up(&named.id);
            }
            Effect::Tell(Notice::DeregisteringFailed(named, _)) => {
                if self.given_up(&named.id)
                    && let Some(facts) = self.services.get_mut(&named.id)
                {
                    facts.has_to_leave = false;
                }
            }
            Effect::Load(ticket) => {
                self.newest = Some(*ticket);
                self.loading = Some(*ticket);
                self.to_be_read = false;
            }
            Effect::Exit(_) => self.exited = true,
            _ => {}
        }
    }

    fn forgets(&mut self, ticket: Ticket) {
        let Some(asked) = self.questions.remove(&ticket) else {
            return;
        };
        if let Some(facts) = self.backends.get_mut(&asked.whose)
            && self.plan.max_connections.is_some()
        {
            facts.not_after = facts.not_after.max(asked.at + facts.poll);
        }
    }

    /// A service says that its request failed: whether it waited for so long that it is given up, and no answer
    /// was the reason.
    fn given_up(&mut self, id: &str) -> bool {
        let (turn, limited) = (self.turn.began, self.plan.max_connections.is_some());
        let answered = self.turn.answered.iter().any(|answered| answered == id);
        let Some(facts) = self.services.get_mut(id).filter(|_| limited && !answered) else {
            return false;
        };
        facts.schedule.end(turn);
        (facts.passed, facts.unknown) = (false, false);
        true
    }

    /// A query was refused for so long that it is given up.
    fn query_given_up(&mut self, name: &str) {
        if self.plan.max_connections.is_none() {
            return;
        }
        let now = self.now;
        for (key, facts) in &mut self.backends {
            let is_meant = key.strip_prefix(name).is_some_and(|tag| tag.starts_with('/'));
            if is_meant && std::mem::take(&mut facts.refused) {
                facts.failed = true;
                facts.rest(now, Duration::ZERO, facts.poll);
            }
        }
    }

    fn starts(&mut self, ticket: Ticket, job: &Job) {
        self.newest = Some(ticket);
        self.turn.starting = Some(ticket);
        let run = Run {
            whose: whose(job),
            role: job.role.clone(),
            grace: job.stop.grace,
            limit: job.time_limit,
            since: self.turn.began,
            counts_from: self.turn.began,
            termed: None,
            killed: None,
            abandoned: false,
        };
        let (turn, now) = (self.turn.began, self.now);
        match &job.role {
            Role::Application => self.application = Stage::Alive(ticket),
            Role::PreStart => self.pre_start = Stage::Alive(ticket),
            Role::PreStop => self.pre_stop = Stage::Alive(ticket),
            Role::PostStop => self.post_stop = Stage::Alive(ticket),
            Role::Health { id, .. } => {
                if let Some(facts) = self.services.get_mut(id) {
                    facts.schedule.begin(turn, now);
                }
            }
            Role::OnChange { .. } => {
                if let Some(facts) = self.backends.get_mut(&run.whose) {
                    facts.owed = false;
                    facts.retry = None;
                }
            }
            Role::Task { .. } | Role::Sensor { .. } => {
                if let Some(facts) = self.schedules.get_mut(&run.whose) {
                    facts.schedule.begin(turn, now);
                }
            }
            Role::Coprocess { .. } => {
                if let Some(facts) = self.coprocesses.get_mut(&run.whose) {
                    facts.runs += 1;
                }
            }
        }
        self.children.insert(ticket, run);
    }

    fn sends(&mut self, ticket: Ticket, signal: Signal) {
        if self.turn.forward == Some(signal) {
            self.turn.forward = None;
            return;
        }
        let began = self.turn.began;
        if let Some(run) = self.children.get_mut(&ticket) {
            let sent = if signal == Signal::KILL {
                &mut run.killed
            } else {
                &mut run.termed
            };
            sent.get_or_insert(began);
        }
    }

    fn asked(&mut self, ticket: Ticket, request: &Request) {
        self.newest = Some(ticket);
        if let Request::Instances(query) = request
            && let Some(facts) = self
                .backends
                .get_mut(&backend_key(&query.service, query.tag.as_deref()))
        {
            facts.refused = false;
        }
        let (kind, whose, wait) = match request {
            Request::Register(r) => (Kind::Register, r.id.clone(), Duration::ZERO),
            Request::Renew(r) => (Kind::Renew, r.id.clone(), Duration::ZERO),
            Request::Inspect(r) => (Kind::Inspect, r.id.clone(), Duration::ZERO),
            Request::Deregister(r) => (Kind::Deregister, r.id.clone(), Duration::ZERO),
            Request::Instances(q) => (Kind::List, backend_key(&q.service, q.tag.as_deref()), q.wait),
        };
        let (turn, now) = (self.turn.began, self.now);
        let mut generation = 0;
        if let Some(facts) = self.services.get_mut(&whose) {
            generation = facts.generation;
            match kind {
                Kind::Deregister => facts.has_to_leave = false,
                Kind::Inspect => {}
                _ if facts.unknown => facts.unknown = false,
                _ if !facts.checked && !facts.passed => {
                    facts.schedule.begin(turn, now);
                    facts.since = now;
                }
                _ => facts.passed = false,
            }
        }
        let asked = Asked {
            whose,
            kind,
            at: now,
            wait,
            generation,
        };
        self.questions.insert(ticket, asked);
    }

    /// The plan that came is in force.
    fn reloaded(&mut self) {
        let Some((plan, _)) = self.incoming.take() else {
            return;
        };
        // An earlier plan is in force in the turn in which another was refused.
        self.turn.refused = false;
        let moves = plan.catalogue != self.plan.catalogue;
        self.plan = plan;
        if self.opened.is_none() {
            return;
        }
        for run in self.children.values_mut() {
            let leaves = match &run.role {
                Role::Task { .. } | Role::Coprocess { .. } => true,
                Role::Health { id, .. } => self.services.get(id).is_none_or(|facts| facts.closing),
                Role::Sensor { .. } => self.schedules.get(&run.whose).is_none_or(|facts| facts.closing),
                Role::OnChange { .. } => self.backends.get(&run.whose).is_none_or(|facts| facts.superseded),
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

    fn adopt_backends(&mut self, moves: bool) {
        let (now, plan, maintenance) = (self.now, self.plan.clone(), self.maintenance);
        let turn = self.turn.began;
        self.backends.retain(|key, facts| {
            let alike = plan
                .backends
                .iter()
                .filter(|backend| key_of(backend) == *key)
                .count();
            let Some(backend) = plan.backends.iter().find(|backend| key_of(backend) == *key) else {
                return false;
            };
            let poll = longest_poll(&plan, key);
            if (facts.poll != poll || moves) && !maintenance {
                facts.rest(now, poll, poll);
                facts.not_before = turn + poll;
            }
            if facts.superseded || facts.handler != backend.on_change {
                facts.retry = None;
            }
            facts.alike = alike.max(facts.alike);
            facts.poll = poll;
            facts.handler = backend.on_change.clone();
            facts.superseded = false;
            true
        });
    }

    fn open_units(&mut self) {
        let (now, turn, plan) = (self.now, self.turn.began, self.plan.clone());
        for service in &plan.services {
            self.generation += 1;
            let generation = self.generation;
            let facts = || ServiceFacts::new(turn, now, service, generation);
            self.services
                .entry(service.registration.id.clone())
                .or_insert_with(facts);
        }
        for backend in &plan.backends {
            let alike = plan
                .backends
                .iter()
                .filter(|other| key_of(other) == key_of(backend))
                .count();
            let facts = || BackendFacts {
                poll: longest_poll(&plan, &key_of(backend)),
                handler: backend.on_change.clone(),
                alike,
                superseded: false,
                seen: Vec::new(),
                owed: false,
                retry: None,
                failed: false,
                refused: false,
                not_before: turn + backend.poll,
                not_after: now + backend.poll,
            };
            self.backends.entry(key_of(backend)).or_insert_with(facts);
        }
        for job in &plan.jobs {
            self.open_job(job, None);
        }
        for sensor in sensors(&plan) {
            self.open_job(&sensor.job, Some(sensor.kind));
        }
    }

    fn open_job(&mut self, job: &Job, kind: Option<SensorKind>) {
        let (now, turn) = (self.now, self.turn.began);
        if let Trigger::Every(period) = job.trigger {
            let facts = || JobFacts {
                schedule: Schedule::new(turn, now, period),
                job: job.clone(),
                kind,
                closing: false,
            };
            self.schedules.entry(whose(job)).or_insert_with(facts);
        } else {
            let facts = CoprocessFacts {
                restarts: job.restarts,
                runs: 0,
                ended: None,
                quick: 0,
            };
            self.coprocesses.insert(whose(job), facts);
        }
    }
}

impl ServiceFacts {
    /// How long a heartbeat may wait for its turn.
    pub fn patience(&self) -> Duration {
        self.schedule.period().max(Duration::from_secs(2))
    }

    fn new(turn: Instant, now: Instant, service: &Service, generation: u32) -> Self {
        Self {
            schedule: Schedule::new(turn, now, service.poll),
            ttl: service.registration.ttl,
            checked: service.check.is_some(),
            closing: false,
            presence: Presence::Unsure,
            has_to_leave: false,
            passed: false,
            since: now,
            unknown: false,
            disturbed: now,
            generation,
            was_entered: false,
            strangers: BTreeSet::new(),
        }
    }
}
