//! The simulated machine: a clock that only events advance, and everything that happens on the machine.
//!
//! It implements the ports, so the driver's own loop runs on it. It records which children run and which
//! requests are in flight, and never reads that from the core. One stream of choices decides everything
//! random. After each entry of the trace the laws are checked.

mod catalogue;
mod children;
mod operators;
mod probes;
mod templates;

use crate::choices::Choices;
use crate::laws::{Observer, Violation};
use crate::options::{Faults, Options};
use crate::plans;
use crate::trace::{EntryKind, Fact, TraceEntry};
use async_trait::async_trait;
use catalogue::FakeCatalogues;
use children::{Child, Tree};
use containerpilot::ports::{
    Clock, Console, Control, Discovery, Inbox, Probes, Processes, Settings, Telemetry,
};
use domain::catalogue::{Answer, Request};
use domain::control::{ControlAnswer, RequestNumber};
use domain::event::Loaded;
use domain::measurement::Measurement;
use domain::plan::{Catalogue, ControlSocket, Job, Logging, Plan, SignalTarget};
use domain::probe::{Probe, Verdict};
use domain::process::{ExitStatus, Pid, StartFailure};
use domain::signal::Signal;
use domain::time::Duration;
use domain::{Effect, Event, Instant, Notice, Ticket};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

/// The limit on the time to read the configuration, in milliseconds.
const READING: u32 = 2_000;

/// Something that is scheduled.
#[derive(Clone, Debug)]
enum ScheduledItem {
    /// The driver gets this event in any case.
    Post(Event),
    ChildEnds(Ticket, ExitStatus),
    /// The processes that outlived this child end.
    TreeEnds(Ticket),
    /// No process is left, perhaps.
    AllEnd,
    ProbeEnds(Ticket, Verdict),
    /// A request reaches the catalogue.
    Arrives(Ticket),
    /// A query has blocked for its full waiting time.
    WaitOver(Ticket),
    Answers(Ticket, Answer),
    TimesOut(Ticket),
    /// A cancelled request reaches the catalogue.
    ArrivesLate(String, Request),
    Expires(String),
    CatalogueFault,
    OutageOver,
    MachinePauses,
    Prints(Ticket),
    NoPids,
    PidsAgain,
    Operator,
    InstancesChange,
    KeysChange,
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
    queue: BTreeMap<(Instant, u64), ScheduledItem>,
    last: u64,
    /// The events that the driver gets next, before any other.
    next: VecDeque<Event>,
    children: BTreeMap<Ticket, Child>,
    /// What outlived children; it is reported if those were asked to stop.
    trees: BTreeMap<Ticket, Tree>,
    /// The probes that run.
    probes: BTreeSet<Ticket>,
    /// The driver waits for the event that no process is left.
    awaits_all: bool,
    no_pids: bool,
    fake_catalogues: FakeCatalogues,
    /// What is in the files of templates.
    files: BTreeMap<String, String>,
    /// The present content of the configuration.
    file: Plan,
    observer: Observer,
    violation: Option<Violation>,
    /// The number of the entry at which a fault of the program itself is simulated.
    fault: Option<u64>,
    trace: Option<Vec<TraceEntry>>,
    hash: DefaultHasher,
    entries: u64,
    /// How many requests of clients there were.
    clients: u64,
}

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The law that was violated, if one was.
    pub violation: Option<Violation>,
    /// The choices of the run.
    pub choices: Vec<u32>,
    /// All entries, if they were to be kept.
    pub trace: Vec<TraceEntry>,
    /// A hash of all entries.
    pub hash: u64,
    /// The number of entries.
    pub entries: u64,
    /// The length of the run.
    pub length: Duration,
}

/// The simulated machine; clones share its state.
#[derive(Clone, Debug)]
pub struct SimulatedMachine(Rc<RefCell<State>>);

impl SimulatedMachine {
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
            probes: BTreeSet::new(),
            awaits_all: false,
            no_pids: false,
            fake_catalogues: FakeCatalogues::default(),
            files: BTreeMap::new(),
            file: plan.clone(),
            observer,
            violation: None,
            fault: None,
            trace: keep.then(Vec::new),
            hash: DefaultHasher::new(),
            entries: 0,
            clients: 0,
        };
        state.prepare();
        state.record(EntryKind::Event(Event::Begin));
        Self(Rc::new(RefCell::new(state)))
    }

    /// Simulates a fault of the program itself after this number of entries: the next call of a port panics,
    /// before or after its effect.
    pub fn breaks_after(&self, entries: u64) {
        self.0.borrow_mut().fault = Some(entries);
    }

    /// Records that the driver returned this exit code.
    pub fn exited(&self, code: u8) {
        self.0.borrow_mut().record(EntryKind::Effect(Effect::Exit(code)));
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
    fn record(&mut self, kind: EntryKind) {
        if self.violation.is_some() {
            return;
        }
        let breaks = self.breaks_at(&kind);
        if breaks && self.entries.is_multiple_of(2) {
            self.breaks();
        }
        let entry = TraceEntry { at: self.now, kind };
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
    fn breaks_at(&mut self, kind: &EntryKind) -> bool {
        let calls = matches!(kind, EntryKind::Effect(_) | EntryKind::Wait(_))
            && !matches!(kind, EntryKind::Effect(Effect::Exit(_)));
        let entries = self.entries;
        calls && self.fault.take_if(|at| *at <= entries).is_some()
    }

    /// Panics without running the panic hook.
    fn breaks(&mut self) {
        self.fact(Fact::Panics);
        std::panic::resume_unwind(Box::new("a simulated fault"));
    }

    fn fact(&mut self, fact: Fact) {
        self.record(EntryKind::Fact(fact));
    }

    fn schedule(&mut self, after: Duration, item: ScheduledItem) {
        self.last += 1;
        self.queue.insert((self.now + after, self.last), item);
    }

    /// Advances the machine to the next event for the driver; `None` if there will be no more events.
    fn next_event(&mut self, deadline: Option<Instant>) -> Option<Event> {
        self.record(EntryKind::Wait(deadline));
        let event = loop {
            if self.violation.is_some() {
                return None;
            }
            if let Some(event) = self.next.pop_front() {
                break event;
            }
            let first = self.queue.first_key_value().map(|((at, _), _)| *at);
            let comes_first = match (first, deadline) {
                (None, None) => return None,
                (None, Some(_)) => false,
                (Some(_), None) => true,
                (Some(first), Some(deadline)) if first.max(self.now) == deadline.max(self.now) => {
                    self.choices.below(2) == 0
                }
                (Some(first), Some(deadline)) => first < deadline,
            };
            if !comes_first {
                self.now = self.now.max(deadline.unwrap_or_default());
                break Event::Woken;
            }
            let ((at, _), item) = self.queue.pop_first()?;
            self.now = self.now.max(at);
            if let Some(event) = self.perform(item) {
                break event;
            }
        };
        self.record(EntryKind::Event(event.clone()));
        Some(event)
    }

    /// The event for the driver that a scheduled item causes, if any.
    fn perform(&mut self, item: ScheduledItem) -> Option<Event> {
        match item {
            ScheduledItem::Post(event) => return Some(event),
            ScheduledItem::ChildEnds(ticket, status) => return self.end_child(ticket, status),
            ScheduledItem::TreeEnds(ticket) => return self.end_tree(ticket),
            ScheduledItem::AllEnd => return self.all_end(),
            ScheduledItem::ProbeEnds(ticket, verdict) => return self.probe_ends(ticket, verdict),
            ScheduledItem::Arrives(ticket) => self.arrive(ticket),
            ScheduledItem::WaitOver(ticket) => self.answer_waiting(ticket),
            ScheduledItem::Answers(ticket, answer) => return self.answered(ticket, answer),
            ScheduledItem::TimesOut(ticket) => {
                return self.answered(ticket, Answer::Failed("no answer in time".into()));
            }
            ScheduledItem::ArrivesLate(path, request) => self.arrive_late(&path, request),
            ScheduledItem::Expires(path) => self.expires(&path),
            ScheduledItem::CatalogueFault => self.catalogue_fault(),
            ScheduledItem::OutageOver => self.outage_over(),
            ScheduledItem::MachinePauses => self.pause_machine(),
            ScheduledItem::Prints(ticket) => return self.prints(ticket),
            ScheduledItem::NoPids => self.no_pids(),
            ScheduledItem::PidsAgain => self.pids_again(),
            ScheduledItem::Operator => return self.operator(),
            ScheduledItem::InstancesChange => self.instances_change(),
            ScheduledItem::KeysChange => self.keys_change(),
            ScheduledItem::Heal => self.heal(),
            ScheduledItem::Settle => self.settle(),
            ScheduledItem::Stop => return Some(Event::Signal(domain::signal::Signal::TERM)),
            ScheduledItem::Overdue => self.fact(Fact::Overdue),
        }
        None
    }
}

impl Clock for SimulatedMachine {
    fn now(&self) -> Instant {
        self.0.borrow().now
    }
}

#[async_trait(?Send)]
impl Inbox for SimulatedMachine {
    async fn next(&mut self, deadline: Option<Instant>) -> Event {
        let event = self.0.borrow_mut().next_event(deadline);
        match event {
            Some(event) => event,
            None => std::future::pending().await,
        }
    }
}

impl Processes for SimulatedMachine {
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
        self.record_effect(Effect::Suspend);
    }

    fn export(&mut self, name: &str, value: &str) {
        let (name, value) = (name.into(), value.into());
        self.record_effect(Effect::Export { name, value });
    }
}

impl SimulatedMachine {
    fn record_effect(&self, effect: Effect) {
        self.0.borrow_mut().record(EntryKind::Effect(effect));
    }
}

impl Discovery for SimulatedMachine {
    fn connect(&mut self, catalogue: &Catalogue) {
        self.0.borrow_mut().connect(catalogue);
    }

    fn request(&mut self, ticket: Ticket, request: Request, connections: Option<u32>, limit: Duration) {
        self.0.borrow_mut().request(ticket, request, connections, limit);
    }

    fn cancel(&mut self, ticket: Ticket) {
        self.0.borrow_mut().cancel(ticket);
    }
}

impl Probes for SimulatedMachine {
    fn start(&mut self, ticket: Ticket, probe: &Probe) {
        self.0.borrow_mut().start_probe(ticket, probe);
    }

    fn end(&mut self, ticket: Ticket) {
        self.0.borrow_mut().end_probe(ticket);
    }
}

impl Settings for SimulatedMachine {
    fn load(&mut self, ticket: Ticket) {
        let mut state = self.0.borrow_mut();
        state.record(EntryKind::Effect(Effect::Load(ticket)));
        let loaded = state.load();
        let after = state.choices.until(0, READING);
        state.schedule(after, ScheduledItem::Post(Event::Loaded(ticket, loaded)));
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

impl Console for SimulatedMachine {
    fn log(&mut self, notice: &Notice) {
        self.record_effect(Effect::Log(notice.clone()));
    }

    fn configure(&mut self, logging: Logging) {
        self.record_effect(Effect::Configure(logging));
    }
}

impl Telemetry for SimulatedMachine {
    fn expose(&mut self, plan: &Plan) {
        self.record_effect(Effect::Expose(plan.clone().into()));
    }

    fn record(&mut self, measurement: &Measurement) {
        self.record_effect(Effect::Measure(measurement.clone()));
    }
}

impl Control for SimulatedMachine {
    fn listen(&mut self, socket: Option<ControlSocket>) {
        self.record_effect(Effect::Listen(socket));
    }

    fn answer(&mut self, number: RequestNumber, answer: ControlAnswer) {
        self.record_effect(Effect::Answer(number, answer));
    }
}
