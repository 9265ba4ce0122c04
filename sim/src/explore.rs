//! Exhaustive exploration: every state of a small world, breadth first, so that the first violation found has
//! the shortest path.
//!
//! A state consists of the core and the observer. From each state every possible input follows: each child
//! ends in every way, each request is answered in every way, operators send every signal, time passes to the
//! next deadline; each start succeeds or fails, each reading of the configuration returns each plan or none.
//! An odometer enumerates all combinations. The laws are checked after each entry, and from every state a stop
//! must end.
//!
//! Events occur at instants at which something is due, and in some worlds half-way between them. Two states
//! are equal if they differ only in the numbers of tickets and units, in how long ago past instants are, and in
//! how far away future ones are, as long as the order of the deadlines is the same. So a complete exploration
//! has visited every order of events, but not every distance between them.
//!
//! Each step is a turn of the driver. The part outside it (waiting for the next event) is tested by simulated
//! runs.

use crate::choices::Choices;
use crate::laws::{Observer, Run, Violation, Work, bounds};
use crate::state_key::StateKeys;
use crate::templates;
use crate::trace::{EntryKind, TraceEntry};
use containerpilot::driver;
use domain::catalogue::{Answer, Cursor, Data, Endpoint, Found, Instance, Listing};
use domain::control::{ControlRequest, RequestNumber};
use domain::event::{Loaded, Rendered};
use domain::plan::{Plan, Role};
use domain::probe::{ProbeEnd, Verdict};
use domain::process::{ExitStatus, Pid, StartFailure};
use domain::signal::Signal;
use domain::template::{Outcome, Written};
use domain::time::Duration;
use domain::{Effect, Event, Instant, Shim, Ticket};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::ControlFlow;

/// What can happen in the explored world.
#[derive(Clone, Debug)]
pub struct Scope {
    /// The first plan, and the others that a reload may read.
    pub plans: Vec<Plan>,
    /// Whether operators reload.
    pub reloads: bool,
    /// Whether a terminal stops the application.
    pub terminal: bool,
    /// Whether operators begin and end maintenance.
    pub maintenance: bool,
    /// Whether events also occur between the instants at which something is due.
    pub between: bool,
    /// Whether programs may fail to start.
    pub starts_fail: bool,
    /// A stop is tested to its end from each state whose number is a multiple of this.
    pub stop_every: usize,
    /// The exploration stops after this number of states.
    pub most: usize,
}

/// The result of an exploration.
#[derive(Debug)]
pub struct Explored {
    /// How many states were found.
    pub states: usize,
    /// How many transitions led to them.
    pub transitions: usize,
    /// How many of those led to the exit.
    pub exits: usize,
    /// The number of steps to the state farthest away.
    pub depth: u32,
    /// Whether every state was seen.
    pub complete: bool,
    /// The first law that was violated, and the shortest path to it.
    pub violation: Option<(Violation, Vec<TraceEntry>)>,
}

#[derive(Clone)]
struct State {
    shim: Shim,
    environment: Environment,
}

/// The environment of the core.
#[derive(Clone)]
struct Environment {
    observer: Observer,
    now: Instant,
    /// The time limits of the requests in flight.
    limits: BTreeMap<Ticket, Instant>,
    over: bool,
}

/// A possible next event.
#[derive(Clone)]
enum Input {
    Now(Event),
    At(Instant, Event),
    /// No event; the next event occurs between two instants at which something is due.
    Later(Instant),
}

/// The origin of a state: the state before, and the choices on the path.
struct Origin {
    from: Option<usize>,
    choices: Vec<u32>,
    depth: u32,
}

/// The time limit for reading the configuration.
const READING: Duration = Duration::from_secs(2);

/// How long a child may outlive SIGKILL: long enough that a reload no longer waits for it, and short enough
/// that the number of such children is limited. The application may outlive it for any time.
const LINGERING: Duration = Duration::from_secs(5);

type Steps = Result<(), Violation>;

/// Explores the world of a scope.
pub fn explore(scope: &Scope) -> Explored {
    let mut search = Search {
        scope,
        origins: Vec::new(),
        seen: HashMap::new(),
        open: VecDeque::new(),
        state_keys: StateKeys::default(),
        found: Explored {
            states: 0,
            transitions: 0,
            exits: 0,
            depth: 0,
            complete: false,
            violation: None,
        },
    };
    search.run();
    search.found
}

struct Search<'a> {
    scope: &'a Scope,
    origins: Vec<Origin>,
    seen: HashMap<(u64, u64), usize>,
    open: VecDeque<(usize, State)>,
    state_keys: StateKeys,
    found: Explored,
}

impl Search<'_> {
    fn run(&mut self) {
        self.expand(None, None);
        while let Some((index, state)) = self.open.pop_front() {
            if self.found.violation.is_some() {
                return;
            }
            if self.origins.len() >= self.scope.most {
                return;
            }
            self.expand(Some(index), Some(&state));
        }
        self.found.complete = self.found.violation.is_none();
    }

    /// Follows every choice from a state; without a state, every possible start.
    fn expand(&mut self, from: Option<usize>, state: Option<&State>) {
        let mut choices = Choices::odometer();
        loop {
            let mut next = state.cloned().unwrap_or_else(|| State::new(&self.scope.plans[0]));
            let went = next.step(self.scope, &mut choices, from.is_none(), &mut Vec::new());
            self.found.transitions += 1;
            match went {
                Ok(()) => self.arrive(from, choices.taken().to_vec(), next),
                Err(violation) => {
                    return self.record_violation(from, choices.taken().to_vec(), violation, &[]);
                }
            }
            if self.found.violation.is_some() || !choices.advance() {
                return;
            }
        }
    }

    fn arrive(&mut self, from: Option<usize>, choices: Vec<u32>, state: State) {
        if state.environment.over {
            self.found.exits += 1;
            return;
        }
        let index = self.origins.len();
        let key = self.state_keys.of(
            &state.shim,
            &state.environment.limits,
            &state.environment.observer,
            state.environment.now,
        );
        if self.seen.contains_key(&key) {
            return;
        }
        self.seen.insert(key, index);
        let depth = from.map_or(0, |from| self.origins[from].depth + 1);
        self.found.depth = self.found.depth.max(depth);
        self.found.states += 1;
        self.origins.push(Origin { from, choices, depth });
        let mut trace = Vec::new();
        if let Err(violation) = state.clone().check_units_and_stop(self.scope, index, &mut trace) {
            return self.record_violation(Some(index), Vec::new(), violation, &trace);
        }
        self.open.push_back((index, state));
    }

    /// Repeats the path to the violation and records its trace.
    fn record_violation(
        &mut self,
        from: Option<usize>,
        last: Vec<u32>,
        violation: Violation,
        after: &[TraceEntry],
    ) {
        let mut origins = if last.is_empty() { vec![] } else { vec![last] };
        let mut place = from;
        while let Some(index) = place {
            origins.push(self.origins[index].choices.clone());
            place = self.origins[index].from;
        }
        let mut trace = Vec::new();
        let mut state = State::new(&self.scope.plans[0]);
        for (number, way) in origins.into_iter().rev().enumerate() {
            let mut choices = Choices::recorded(way);
            if state
                .step(self.scope, &mut choices, number == 0, &mut trace)
                .is_err()
            {
                break;
            }
        }
        trace.extend_from_slice(after);
        self.found.violation = Some((violation, trace));
    }
}

impl State {
    fn new(plan: &Plan) -> Self {
        Self {
            shim: Shim::new(plan.clone(), 1),
            environment: Environment {
                observer: Observer::new(plan, false),
                now: Instant::START,
                limits: BTreeMap::new(),
                over: false,
            },
        }
    }

    /// One step: an event occurs, and the core's effects are performed.
    fn step(
        &mut self,
        scope: &Scope,
        choices: &mut Choices,
        first: bool,
        trace: &mut Vec<TraceEntry>,
    ) -> Steps {
        if first {
            return self.turn(scope, Event::Begin, choices, trace);
        }
        let possible_inputs = self.possible_inputs(scope);
        let count = u32::try_from(possible_inputs.len()).unwrap_or(u32::MAX);
        if count == 0 {
            let how = "nothing will ever happen again".into();
            let law = "something always happens";
            return Err(Violation { law, how });
        }
        let event = match possible_inputs[choices.below(count) as usize].clone() {
            Input::Now(event) => event,
            Input::At(at, event) => {
                self.environment.now = at;
                event
            }
            Input::Later(at) => {
                self.environment.now = at;
                return Ok(());
            }
        };
        self.turn(scope, event, choices, trace)
    }

    fn possible_inputs(&self, scope: &Scope) -> Vec<Input> {
        let mut all = self.time_passes();
        if let (true, Some(Input::At(due, _))) = (scope.between, all.first()) {
            let half = (*due - self.environment.now) / 2;
            all.push(Input::Later(self.environment.now + half));
        }
        for (ticket, run) in &self.environment.observer.children {
            if run.ended.is_some() {
                all.push(Input::Now(Event::TreeEnded(*ticket)));
                continue;
            }
            if scope.terminal && run.role == Role::Application {
                all.push(Input::Now(Event::Stopped(*ticket)));
            }
            if run.termed.is_some() && run.killed.is_none() && !run.outlived {
                all.push(Input::Now(Event::Outlived(*ticket)));
            }
            for status in endings(&run.role, run.termed.is_some(), run.killed.is_some()) {
                all.push(Input::Now(Event::Exited(*ticket, *status)));
            }
        }
        for ticket in self.environment.observer.probes.keys() {
            for verdict in [Verdict::Passed, Verdict::Failed] {
                all.push(Input::Now(probed(*ticket, verdict)));
            }
        }
        for ticket in self.environment.observer.requests.keys() {
            for answer in self.answers(*ticket) {
                all.push(Input::Now(Event::Answered(*ticket, answer)));
            }
        }
        for (ticket, work) in &self.environment.observer.works {
            let results = results(*ticket, work);
            all.extend(results.into_iter().map(Input::Now));
        }
        if self.environment.all_may_end() {
            all.push(Input::Now(Event::AllEnded));
        }
        if let Some(ticket) = self.environment.observer.loading {
            let readings = scope.plans.iter().map(found).chain([refused()]);
            all.extend(readings.map(|loaded| Input::Now(Event::Loaded(ticket, loaded))));
        }
        let mut signal = |signal| all.push(Input::Now(Event::Signal(signal)));
        signal(Signal::TERM);
        if scope.reloads {
            signal(Signal::HUP);
        }
        if scope.maintenance {
            signal(Signal::USR1);
        }
        all
    }

    /// Time passes to the next deadline, or to the time limit of a request.
    fn time_passes(&self) -> Vec<Input> {
        let lingers = |run: &Run| {
            let long_ago = run
                .killed
                .is_some_and(|at| self.environment.now >= at + LINGERING);
            long_ago && run.role != Role::Application
        };
        if self.environment.observer.children.values().any(lingers) {
            return vec![];
        }
        let first = self.environment.limits.iter().min_by_key(|(_, at)| **at);
        match (self.shim.deadline(), first) {
            (Some(deadline), Some((_, limit))) if deadline < *limit => {
                vec![Input::At(deadline, Event::Woken)]
            }
            (Some(deadline), None) => vec![Input::At(deadline, Event::Woken)],
            (_, Some((ticket, limit))) => {
                let observer = &self.environment.observer;
                let work = observer.works.get(ticket);
                let work = work.and_then(|work| results(*ticket, work).pop());
                let late = match observer.loading == Some(*ticket) {
                    _ if work.is_some() => work.unwrap_or(Event::Woken),
                    true => Event::Loaded(*ticket, refused()),
                    false if observer.probes.contains_key(ticket) => probed(*ticket, Verdict::TimedOut),
                    false => Event::Answered(*ticket, Answer::Failed("no answer in time".into())),
                };
                vec![Input::At(*limit, late)]
            }
            (None, None) => vec![],
        }
    }

    fn answers(&self, ticket: Ticket) -> Vec<Answer> {
        let failed = Answer::Failed("refused".into());
        if self.environment.observer.plan().max_connections.is_some() {
            let busy = Answer::Busy("it takes no more".into());
            return match self.environment.observer.is_list_request(ticket) {
                Some(true) => vec![listing(&[]), busy],
                _ if self.environment.observer.is_inspection(ticket) => vec![Answer::Holder(None), busy],
                _ => vec![Answer::Done, busy],
            };
        }
        if self.environment.observer.is_inspection(ticket) {
            let another = Endpoint {
                address: "192.0.2.9".into(),
                port: 81,
            };
            return vec![Answer::Holder(None), Answer::Holder(Some(another)), failed];
        }
        if self.environment.observer.is_look_up_of_key(ticket) {
            return vec![value(None), value(Some("1")), failed];
        }
        if self.environment.observer.is_look_up(ticket) {
            return vec![looked_up(&[]), looked_up(&[80]), failed];
        }
        if self.environment.observer.is_report_request(ticket) {
            return vec![Answer::Done, Answer::Removed, failed];
        }
        match self.environment.observer.is_list_request(ticket) {
            Some(true) => vec![listing(&[]), listing(&[80]), failed],
            Some(false) => {
                let unknown = self
                    .environment
                    .observer
                    .is_renewal(ticket)
                    .then(|| Answer::Unknown("who?".into(), None));
                [Answer::Done, failed].into_iter().chain(unknown).collect()
            }
            None => vec![],
        }
    }

    /// A turn of the driver.
    fn turn(
        &mut self,
        scope: &Scope,
        event: Event,
        choices: &mut Choices,
        trace: &mut Vec<TraceEntry>,
    ) -> Steps {
        if let Event::Answered(ticket, _)
        | Event::Loaded(ticket, _)
        | Event::Probed(ticket, ..)
        | Event::Rendered(ticket, _)
        | Event::Written(ticket, _) = &event
        {
            self.environment.limits.remove(ticket);
        }
        self.environment.record(EntryKind::Event(event.clone()), trace)?;
        let now = self.environment.now;
        let environment = &mut self.environment;
        let turn = driver::turn(&mut self.shim, now, event, |effect| {
            match environment.perform(scope, effect, choices, trace) {
                Ok(outcome) => ControlFlow::Continue(outcome),
                Err(violation) => ControlFlow::Break(violation),
            }
        });
        if let ControlFlow::Break(violation) = turn {
            return Err(violation);
        }
        let deadline = self.shim.deadline();
        if self.environment.over {
            Ok(())
        } else {
            self.environment.record(EntryKind::Wait(deadline), trace)
        }
    }

    /// Checks that requests of clients are answered, or wait for what they must wait for, and that a stop answers those that
    /// wait.
    fn check_answers(mut self, scope: &Scope, trace: &mut Vec<TraceEntry>) -> Steps {
        let quiet = &mut Choices::recorded(Vec::new());
        let requests = [
            ControlRequest::Ping,
            ControlRequest::Reload,
            ControlRequest::Maintenance(true),
            ControlRequest::Maintenance(true),
            ControlRequest::Reload,
            ControlRequest::Maintenance(false),
        ];
        for (number, request) in (2..).zip(requests) {
            let event = Event::Requested(RequestNumber(number), request);
            self.turn(scope, event, quiet, trace)?;
        }
        self.turn(scope, Event::Signal(Signal::TERM), quiet, trace)
    }

    /// Checks that the units are those of the plan, and that a stop without further faults ends.
    fn check_units_and_stop(mut self, scope: &Scope, number: usize, trace: &mut Vec<TraceEntry>) -> Steps {
        let quiet = &mut Choices::recorded(Vec::new());
        let mut asked = self.clone();
        let status = Event::Requested(RequestNumber(1), ControlRequest::Status);
        asked.turn(scope, status, quiet, trace)?;
        trace.clear();
        if !number.is_multiple_of(scope.stop_every) {
            return Ok(());
        }
        asked.check_answers(scope, trace)?;
        trace.clear();
        let observer = &self.environment.observer;
        let (began, drain, grace) = (self.environment.now, observer.drain(), observer.grace());
        self.turn(scope, Event::Signal(Signal::TERM), quiet, trace)?;
        for _ in 0..100 {
            if self.environment.over {
                let took = self.environment.now - began;
                let bound = bounds::DEREGISTRATION
                    + drain
                    + grace
                    + bounds::UNKILLABLE
                    + bounds::REMAINING_GRACE
                    + bounds::REMAINING_DEATH;
                let law = "once faults stop a stop ends in its bounds";
                let how = format!("it took {took:?}");
                return if took <= bound {
                    Ok(())
                } else {
                    Err(Violation { law, how })
                };
            }
            self.continue_without_faults(scope, trace)?;
        }
        Err(Violation {
            law: "without faults a stop ends within its time limits",
            how: "it never ends".into(),
        })
    }

    /// Continues without faults: requests are answered, children end that have to, and otherwise time passes.
    fn continue_without_faults(&mut self, scope: &Scope, trace: &mut Vec<TraceEntry>) -> Steps {
        let quiet = &mut Choices::recorded(Vec::new());
        let ends = |run: &&(&Ticket, &Role, bool)| {
            run.2 || !matches!(run.1, Role::Application | Role::Coprocess { .. })
        };
        let children: Vec<_> = self.environment.observer.children.iter().collect();
        let runs: Vec<(&Ticket, &Role, bool)> = children
            .iter()
            .map(|(ticket, run)| (*ticket, &run.role, run.termed.is_some() || run.killed.is_some()))
            .collect();
        if let Some((ticket, ..)) = runs.iter().find(ends) {
            let has_ended = self.environment.observer.children[*ticket].ended.is_some();
            let ends = match has_ended {
                true => Event::TreeEnded(**ticket),
                false => Event::Exited(**ticket, ExitStatus::Code(0)),
            };
            return self.turn(scope, ends, quiet, trace);
        }
        if self.environment.all_may_end() {
            return self.turn(scope, Event::AllEnded, quiet, trace);
        }
        if let Some(ticket) = self.environment.observer.requests.keys().next().copied() {
            let list = self.environment.observer.is_list_request(ticket) == Some(true);
            let answer = if list { listing(&[]) } else { Answer::Done };
            return self.turn(scope, Event::Answered(ticket, answer), quiet, trace);
        }
        match self.time_passes().into_iter().next() {
            Some(Input::At(at, event)) => {
                self.environment.now = at;
                self.turn(scope, event, quiet, trace)
            }
            _ => Err(Violation {
                law: "something always happens",
                how: "a stop hangs".into(),
            }),
        }
    }
}

impl Environment {
    /// Whether no process may be left, and the core waits for that.
    fn all_may_end(&self) -> bool {
        let all = self.observer.remaining;
        let asked = all.termed.or(all.killed).is_some();
        asked && !all.ended && self.observer.children.is_empty()
    }

    fn record(&mut self, kind: EntryKind, trace: &mut Vec<TraceEntry>) -> Steps {
        let entry = TraceEntry { at: self.now, kind };
        let saw = self.observer.see(&entry);
        trace.push(entry);
        saw
    }

    fn perform(
        &mut self,
        scope: &Scope,
        effect: Effect,
        choices: &mut Choices,
        trace: &mut Vec<TraceEntry>,
    ) -> Result<Option<Event>, Violation> {
        self.record(EntryKind::Effect(effect.clone()), trace)?;
        let outcome = match effect {
            Effect::Start(ticket, _) if scope.starts_fail && choices.below(2) == 1 => {
                let failure = StartFailure {
                    not_found: true,
                    cause: "not found".into(),
                };
                Event::NotStarted(ticket, failure)
            }
            Effect::Start(ticket, _) => Event::Started(ticket, Pid(1)),
            Effect::Load(ticket) | Effect::Render(ticket, _) | Effect::Write(ticket, _) => {
                self.limits.insert(ticket, self.now + READING);
                return Ok(None);
            }
            Effect::Request { ticket, limit, .. } => {
                self.limits.insert(ticket, self.now + limit);
                return Ok(None);
            }
            Effect::Probe(ticket, probe) => {
                self.limits.insert(ticket, self.now + probe.time_limit);
                return Ok(None);
            }
            Effect::Cancel(ticket) | Effect::EndProbe(ticket) => {
                self.limits.remove(&ticket);
                return Ok(None);
            }
            Effect::Exit(_) => {
                self.over = true;
                return Ok(None);
            }
            _ => return Ok(None),
        };
        self.record(EntryKind::Event(outcome.clone()), trace)?;
        Ok(Some(outcome))
    }
}

/// All origins in which a child may end now.
const fn endings(role: &Role, termed: bool, killed: bool) -> &'static [ExitStatus] {
    match (role, termed, killed) {
        (_, _, true) => &[ExitStatus::Signal(Signal::KILL)],
        (_, true, _) => &[ExitStatus::Signal(Signal::TERM)],
        (Role::Application, ..) => &[ExitStatus::Code(3)],
        _ => &[ExitStatus::Code(0), ExitStatus::Code(1)],
    }
}

fn probed(ticket: Ticket, verdict: Verdict) -> Event {
    let detail = String::new();
    Event::Probed(ticket, ProbeEnd { verdict, detail }, String::new())
}

/// How a rendering or a writing may end, the failure last.
fn results(ticket: Ticket, work: &Work) -> Vec<Event> {
    let Some((source, contents, missing)) = &work.rendering else {
        let failed = Written::Failed("no space".into());
        return [Written::Changed, failed]
            .map(|written| Event::Written(ticket, written))
            .into();
    };
    let outcome = match contents {
        Some(contents) => Outcome::Complete(contents.clone()),
        None => Outcome::Incomplete,
    };
    let rendered = |outcome| Rendered {
        names: templates::names(source),
        missing: missing.clone(),
        files: None,
        outcome,
    };
    let outcomes = [outcome, Outcome::Failed("nonsense".into())];
    outcomes
        .map(|outcome| Event::Rendered(ticket, rendered(outcome)))
        .into()
}

/// The value of a key.
fn value(value: Option<&str>) -> Answer {
    Answer::Found(Found {
        data: Data::Key(value.map(Into::into)),
        cursor: Some(Cursor(1)),
        filtered: false,
    })
}

/// A list of instances in the form that templates get.
fn looked_up(ports: &[u16]) -> Answer {
    match listing(ports) {
        Answer::Instances(listing) => Answer::Found(listing.found()),
        other => other,
    }
}

fn listing(ports: &[u16]) -> Answer {
    let instance = |port: &u16| Instance {
        id: "n".into(),
        address: "192.0.2.9".into(),
        port: *port,
        details: None,
    };
    Answer::Instances(Listing {
        instances: ports.iter().map(instance).collect(),
        cursor: Some(Cursor(1)),
        ..Listing::default()
    })
}

fn found(plan: &Plan) -> Loaded {
    Loaded::Plan {
        plan: plan.clone().into(),
        notices: vec![],
    }
}

fn refused() -> Loaded {
    Loaded::Refused("nonsense".into())
}
