//! The simulated machine: a clock that only events advance, and everything that happens on the machine.
//!
//! It implements the ports, so the driver's own loop runs on it. It records which children run and which
//! requests are in flight, and never reads that from the core. One stream of choices decides everything
//! random. After each entry of the trace the laws are checked.

mod catalogue;
mod children;
mod operators;

use crate::choices::Choices;
use crate::laws::{Observer, Violation};
use crate::options::{Faults, Options};
use crate::plans;
use crate::trace::{Entry, Fact, What};
use async_trait::async_trait;
use catalogue::FakeCatalogues;
use children::{Child, Tree};
use containerpilot::ports::{Clock, Console, Discovery, Inbox, Processes, Settings, Telemetry};
use domain::catalogue::{Answer, Request};
use domain::event::{Loaded, StatusRequest};
use domain::measurement::Measurement;
use domain::plan::{Catalogue, Job, Logging, Plan, SignalTarget};
use domain::process::{ExitStatus, Pid, StartFailure};
use domain::signal::Signal;
use domain::status::Status;
use domain::time::Duration;
use domain::{Effect, Event, Instant, Notice, Ticket};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// The limit on the time to read the configuration, in milliseconds.
const READING: u32 = 2_000;

/// Something that is scheduled.
#[derive(Clone, Debug)]
enum Item {
    /// The driver gets this event in any case.
    Tells(Event),
    Dies(Ticket, ExitStatus),
    /// The processes that outlived this child end.
    TreeEnds(Ticket),
    /// No process is left, perhaps.
    AllEnd,
    /// A request reaches the catalogue.
    Lands(Ticket),
    /// A query has blocked for its full waiting time.
    WaitOver(Ticket),
    Answers(Ticket, Answer),
    GivesUp(Ticket),
    /// A cancelled request reaches the catalogue.
    LandsLate(String, Request),
    Expires(String),
    CatalogueFault,
    OutageOver,
    StandsStill,
    Prints(Ticket),
    NoPids,
    PidsAgain,
    Operator,
    Neighbours,
    Heal,
    Settle,
    Stop,
    Overdue,
}

/// The state of the simulated machine.
#[derive(Debug)]
pub(crate) struct State {
    now: Instant,
    choices: Choices,
    options: Options,
    faults: Faults,
    queue: BTreeMap<(Instant, u64), Item>,
    last: u64,
    /// The events that the driver gets next, before any other.
    next: VecDeque<Event>,
    children: BTreeMap<Ticket, Child>,
    /// What outlived children; it is reported if those were asked to stop.
    trees: BTreeMap<Ticket, Tree>,
    /// The driver waits for the event that no process is left.
    awaits_all: bool,
    no_pids: bool,
    fake_catalogues: FakeCatalogues,
    /// The present content of the configuration.
    file: Plan,
    observer: Observer,
    violation: Option<Violation>,
    /// The number of the entry at which a fault of the program itself is simulated.
    fault: Option<u64>,
    trace: Option<Vec<Entry>>,
    hash: DefaultHasher,
    entries: u64,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The law that was violated, if one was.
    pub violation: Option<Violation>,
    /// The choices of the run.
    pub choices: Vec<u32>,
    /// All entries, if they were to be kept.
    pub trace: Vec<Entry>,
    /// A hash of all entries.
    pub hash: u64,
    /// The number of entries.
    pub entries: u64,
    /// The length of the run.
    pub length: Duration,
}

/// The simulated machine; clones share its state.
#[derive(Clone, Debug)]
pub struct World(Rc<RefCell<State>>);

impl World {
    /// A machine on which a shim will follow `plan`. The trace is stored only if `keep` is set.
    pub fn new(choices: Choices, options: Options, plan: &Plan, keep: bool) -> Self {
        let observer = Observer::new(plan, options.faults.starting_takes_time);
        let mut state = State {
            now: Instant::START,
            choices,
            faults: options.faults,
            options,
            queue: BTreeMap::new(),
            last: 0,
            next: VecDeque::new(),
            children: BTreeMap::new(),
            trees: BTreeMap::new(),
            awaits_all: false,
            no_pids: false,
            fake_catalogues: FakeCatalogues::default(),
            file: plan.clone(),
            observer,
            violation: None,
            fault: None,
            trace: keep.then(Vec::new),
            hash: DefaultHasher::new(),
            entries: 0,
        };
        state.prepare();
        state.record(What::Happens(Event::Begin));
        Self(Rc::new(RefCell::new(state)))
    }

    /// Simulates a fault of the program itself after this number of entries: the next call of a port panics,
    /// before or after its effect.
    pub fn breaks_after(&self, entries: u64) {
        self.0.borrow_mut().fault = Some(entries);
    }

    /// Records that the driver returned this exit code.
    pub fn exited(&self, code: u8) {
        self.0.borrow_mut().record(What::Does(Effect::Exit(code)));
    }

    /// The report at the end of the run.
    pub fn report(self) -> Report {
        let mut state = self.0.borrow_mut();
        Report {
            violation: state.violation.take(),
            choices: state.choices.taken().to_vec(),
            trace: state.trace.take().unwrap_or_default(),
            hash: state.hash.finish(),
            entries: state.entries,
            length: state.now.since_start(),
        }
    }
}

impl State {
    /// Adds an entry and checks the laws. After a law was violated nothing is recorded.
    fn record(&mut self, what: What) {
        if self.violation.is_some() {
            return;
        }
        let breaks = self.breaks_at(&what);
        if breaks && self.entries.is_multiple_of(2) {
            self.breaks();
        }
        let entry = Entry { at: self.now, what };
        entry.hash(&mut self.hash);
        self.entries += 1;
        self.violation = self.observer.see(&entry).err();
        if let Some(trace) = &mut self.trace {
            trace.push(entry);
        }
        if breaks {
            self.breaks();
        }
    }

    /// Whether the fault comes in this call of a port.
    fn breaks_at(&mut self, what: &What) -> bool {
        let calls =
            matches!(what, What::Does(_) | What::Rests(_)) && !matches!(what, What::Does(Effect::Exit(_)));
        let entries = self.entries;
        calls && self.fault.take_if(|at| *at <= entries).is_some()
    }

    /// Panics without running the panic hook.
    fn breaks(&mut self) {
        self.fact(Fact::Panics);
        std::panic::resume_unwind(Box::new("a simulated fault"));
    }

    fn fact(&mut self, fact: Fact) {
        self.record(What::World(fact));
    }

    fn schedule(&mut self, after: Duration, item: Item) {
        self.last += 1;
        self.queue.insert((self.now + after, self.last), item);
    }

    /// Advances the machine to the next event for the driver; `None` if there will be no more events.
    fn next_event(&mut self, deadline: Option<Instant>) -> Option<Event> {
        self.record(What::Rests(deadline));
        let event = loop {
            if self.violation.is_some() {
                return None;
            }
            if let Some(event) = self.next.pop_front() {
                break event;
            }
            let first = self.queue.first_key_value().map(|((at, _), _)| *at);
            let happens = match (first, deadline) {
                (None, None) => return None,
                (None, Some(_)) => false,
                (Some(_), None) => true,
                (Some(first), Some(deadline)) if first.max(self.now) == deadline.max(self.now) => {
                    self.choices.below(2) == 0
                }
                (Some(first), Some(deadline)) => first < deadline,
            };
            if !happens {
                self.now = self.now.max(deadline.unwrap_or_default());
                break Event::Woken;
            }
            let ((at, _), item) = self.queue.pop_first()?;
            self.now = self.now.max(at);
            if let Some(event) = self.happens(item) {
                break event;
            }
        };
        self.record(What::Happens(event.clone()));
        Some(event)
    }

    /// The event for the driver that a scheduled item causes, if any.
    fn happens(&mut self, item: Item) -> Option<Event> {
        match item {
            Item::Tells(event) => return Some(event),
            Item::Dies(ticket, status) => return self.dies(ticket, status),
            Item::TreeEnds(ticket) => return self.tree_ends(ticket),
            Item::AllEnd => return self.all_end(),
            Item::Lands(ticket) => self.lands(ticket),
            Item::WaitOver(ticket) => self.answer_waiting(ticket),
            Item::Answers(ticket, answer) => return self.answered(ticket, answer),
            Item::GivesUp(ticket) => {
                return self.answered(ticket, Answer::Failed("no answer in time".into()));
            }
            Item::LandsLate(path, request) => self.lands_late(&path, request),
            Item::Expires(path) => self.expires(&path),
            Item::CatalogueFault => self.catalogue_fault(),
            Item::OutageOver => self.outage_over(),
            Item::StandsStill => self.stands_still(),
            Item::Prints(ticket) => return self.prints(ticket),
            Item::NoPids => self.no_pids(),
            Item::PidsAgain => self.pids_again(),
            Item::Operator => return self.operator(),
            Item::Neighbours => self.neighbours_change(),
            Item::Heal => self.heal(),
            Item::Settle => self.settle(),
            Item::Stop => return Some(Event::Signal(domain::signal::Signal::TERM)),
            Item::Overdue => self.fact(Fact::Overdue),
        }
        None
    }
}

impl Clock for World {
    fn now(&self) -> Instant {
        self.0.borrow().now
    }
}

#[async_trait(?Send)]
impl Inbox for World {
    async fn next(&mut self, deadline: Option<Instant>) -> Event {
        let event = self.0.borrow_mut().next_event(deadline);
        match event {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

impl Processes for World {
    fn start(&mut self, ticket: Ticket, job: &Job) -> Result<Pid, StartFailure> {
        self.0.borrow_mut().start(ticket, job)
    }

    fn send(&mut self, ticket: Ticket, signal: Signal, target: SignalTarget) {
        self.0.borrow_mut().send(ticket, signal, target);
    }

    fn send_to_all(&mut self, signal: Signal) {
        self.0.borrow_mut().send_to_all(signal);
    }

    fn suspend(&mut self) {
        self.did(Effect::Suspend);
    }

    fn export(&mut self, name: &str, value: &str) {
        let (name, value) = (name.into(), value.into());
        self.did(Effect::Export { name, value });
    }
}

impl World {
    fn did(&self, effect: Effect) {
        self.0.borrow_mut().record(What::Does(effect));
    }
}

impl Discovery for World {
    fn connect(&mut self, catalogue: &Catalogue) {
        self.0.borrow_mut().connect(catalogue);
    }

    fn ask(&mut self, ticket: Ticket, request: Request, connections: Option<u32>, limit: Duration) {
        self.0.borrow_mut().ask(ticket, request, connections, limit);
    }

    fn forget(&mut self, ticket: Ticket) {
        self.0.borrow_mut().forget(ticket);
    }
}

impl Settings for World {
    fn load(&mut self, ticket: Ticket) {
        let mut state = self.0.borrow_mut();
        state.record(What::Does(Effect::Load(ticket)));
        let loaded = state.load();
        let after = state.choices.until(0, READING);
        state.schedule(after, Item::Tells(Event::Loaded(ticket, loaded)));
    }
}

impl State {
    fn load(&mut self) -> Loaded {
        if self.faults.configurations_break && self.choices.odds(30) {
            return Loaded::Refused("it says nonsense".into());
        }
        if self.faults.configurations_change {
            self.file = plans::edit(&mut self.choices, &self.options, &self.file);
        }
        Loaded::Plan {
            plan: self.file.clone().into(),
            notices: vec![],
        }
    }
}

impl Console for World {
    fn log(&mut self, notice: &Notice) {
        self.did(Effect::Log(notice.clone()));
    }

    fn configure(&mut self, logging: Logging) {
        self.did(Effect::Configure(logging));
    }
}

impl Telemetry for World {
    fn expose(&mut self, plan: &Plan) {
        self.did(Effect::Expose(plan.clone().into()));
    }

    fn record(&mut self, measurement: &Measurement) {
        self.did(Effect::Measure(measurement.clone()));
    }

    fn report(&mut self, status_request: StatusRequest, status: &Status) {
        self.did(Effect::Report(status_request, status.clone().into()));
    }
}
