//! The simulated machine: a clock that only events move, children that follow a script, a catalogue with
//! latency and TTLs.

use crate::laws;
use async_trait::async_trait;
use containerpilot::driver;
use containerpilot::ports::{Clock, Console, Discovery, Inbox, Processes, Settings, Telemetry};
use domain::event::{
    Answer, Cursor, ExitStatus, Inquiry, Instance, Listing, Loaded, Pid, Query, Request, Signal, StartFailure,
};
use domain::measurement::Measurement;
use domain::plan::{Catalogue, Job, Logging, Plan, Reach, Registration};
use domain::status::Status;
use domain::time::Duration;
use domain::{Event, Instant, Notice, Shim, Ticket};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

const SIGKILL: i32 = 9;

/// How the processes of a job behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Behaviour {
    /// How long they live if nobody stops them; for ever if none is given.
    pub lives: Option<Duration>,
    /// How they end by themselves.
    pub ends: ExitStatus,
    /// Whether SIGTERM is ignored.
    pub stubborn: bool,
}

impl Behaviour {
    /// It ends well at once.
    pub const PASSES: Self = Self {
        lives: Some(Duration::from_millis(1)),
        ends: ExitStatus::Code(0),
        stubborn: false,
    };
    /// It runs until it is told to stop.
    pub const STAYS: Self = Self {
        lives: None,
        ends: ExitStatus::Code(0),
        stubborn: false,
    };
}

/// What happens in a life from outside.
#[derive(Clone, Debug, Default)]
pub struct Script {
    /// How jobs behave, by the label of their role; those not named pass.
    pub jobs: BTreeMap<String, Behaviour>,
    /// What operators do, and when.
    pub signals: Vec<(Duration, Signal)>,
    /// How long the catalogue takes to answer; it never does if none is given.
    pub latency: Option<Duration>,
}

/// The world's own memory of what is going on.
#[derive(Debug, Default)]
pub struct State {
    pub(crate) now: Instant,
    queue: BTreeMap<(Instant, u64), Event>,
    last: u64,
    script: Script,
    pub(crate) children: BTreeMap<Ticket, Child>,
    pub(crate) on_the_wire: BTreeMap<Ticket, String>,
    entries: BTreeMap<String, (Registration, Instant)>,
    pub(crate) trace: Vec<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub label: String,
    behaviour: Behaviour,
    dying: bool,
}

/// One world; its clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct World(Rc<RefCell<State>>);

impl World {
    /// A world in which this will happen.
    pub fn new(script: Script) -> Self {
        let world = Self::default();
        for (after, signal) in &script.signals {
            world.schedule(Instant::START + *after, Event::Signal(*signal));
        }
        world.0.borrow_mut().script = script;
        world
    }

    /// Lives one life to its end: the exit code, and everything that happened, a line each.
    ///
    /// # Errors
    /// The sentence of the first law that was broken, or that nothing would ever happen again.
    pub fn live(&self, plan: Plan) -> Result<(u8, Vec<String>), String> {
        let mut inbox = self.clone();
        let (mut processes, mut discovery) = (self.clone(), self.clone());
        let (mut settings, mut console, mut telemetry) = (self.clone(), self.clone(), self.clone());
        let mut world = driver::World {
            clock: self,
            inbox: &mut inbox,
            processes: &mut processes,
            discovery: &mut discovery,
            settings: &mut settings,
            console: &mut console,
            telemetry: &mut telemetry,
        };
        let life = pin!(driver::run(Shim::new(plan, 1), &mut world));
        let code = match life.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(code) => code,
            Poll::Pending => return Err("nothing will ever happen again".into()),
        };
        self.note(format!("exit {code}"));
        let state = self.0.borrow();
        laws::check(&state.trace, &state)?;
        Ok((code, state.trace.clone()))
    }

    /// The IDs that the catalogue holds as passing.
    pub fn passing(&self) -> Vec<String> {
        let state = self.0.borrow();
        let live = state
            .entries
            .iter()
            .filter(|(_, (_, expiry))| *expiry > state.now);
        live.map(|(id, _)| id.clone()).collect()
    }

    fn schedule(&self, at: Instant, event: Event) {
        let mut state = self.0.borrow_mut();
        state.last += 1;
        let number = state.last;
        state.queue.insert((at, number), event);
    }

    fn note(&self, what: String) {
        let mut state = self.0.borrow_mut();
        let now = state.now.since_start();
        state.trace.push(format!("{now:?} {what}"));
    }

    fn ends(&self, ticket: Ticket, after: Duration, status: ExitStatus) {
        let at = self.now() + after;
        self.schedule(at, Event::Exited(ticket, status));
    }

    fn answer(&self, request: Request) -> Answer {
        let mut state = self.0.borrow_mut();
        let now = state.now;
        state.entries.retain(|_, (_, expiry)| *expiry > now);
        match request {
            Request::Register(registration) => {
                let expiry = now + registration.ttl;
                state
                    .entries
                    .insert(registration.id.clone(), (registration, expiry));
                Answer::Done
            }
            Request::Renew(registration) => match state.entries.get_mut(&registration.id) {
                Some((_, expiry)) => {
                    *expiry = now + registration.ttl;
                    Answer::Done
                }
                None => Answer::Unknown("unknown check".into()),
            },
            Request::Withdraw(registration) => {
                state.entries.remove(&registration.id);
                Answer::Done
            }
            Request::Instances(query) => Answer::Instances(list(&state.entries, &query)),
        }
    }
}

fn list(entries: &BTreeMap<String, (Registration, Instant)>, query: &Query) -> Listing {
    let wanted = |registration: &&Registration| {
        let tagged = query
            .tag
            .as_ref()
            .is_none_or(|tag| registration.tags.contains(tag));
        registration.name == query.service && tagged
    };
    let instance = |registration: &Registration| Instance {
        id: registration.id.clone(),
        address: registration.address.to_string(),
        port: registration.port,
    };
    let instances = entries
        .values()
        .map(|(registration, _)| registration)
        .filter(wanted)
        .map(instance)
        .collect();
    Listing {
        instances,
        cursor: Some(Cursor(1)),
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
        let first = self.0.borrow().queue.first_key_value().map(|((at, _), _)| *at);
        let happens = match (first, deadline) {
            (None, None) => return std::future::pending().await,
            (Some(first), Some(deadline)) if deadline < first => None,
            (None, Some(_)) => None,
            (Some(first), _) => Some(first),
        };
        let mut state = self.0.borrow_mut();
        let Some(at) = happens else {
            state.now = deadline.unwrap_or(state.now);
            return Event::Woken;
        };
        state.now = state.now.max(at);
        let event = state
            .queue
            .pop_first()
            .map(|(_, event)| event)
            .unwrap_or(Event::Woken);
        match &event {
            Event::Exited(ticket, _) => drop(state.children.remove(ticket)),
            Event::Answered(ticket, _) => drop(state.on_the_wire.remove(ticket)),
            _ => {}
        }
        drop(state);
        if let Event::Signal(signal) = &event {
            self.note(format!("operator sends {signal}"));
        }
        event
    }
}

impl Processes for World {
    fn start(&mut self, ticket: Ticket, job: &Job) -> Result<Pid, StartFailure> {
        let label = job.role.to_string();
        let script = self.0.borrow().script.jobs.get(&label).copied();
        let behaviour = script.unwrap_or(Behaviour::PASSES);
        self.note(format!("start {label}"));
        let child = Child {
            label,
            behaviour,
            dying: false,
        };
        self.0.borrow_mut().children.insert(ticket, child);
        if let Some(lives) = behaviour.lives {
            self.ends(ticket, lives, behaviour.ends);
        }
        Ok(Pid(i32::try_from(ticket.0).unwrap_or(i32::MAX)))
    }

    fn send(&mut self, ticket: Ticket, signal: i32, _: Reach) {
        let Some(mut child) = self.0.borrow().children.get(&ticket).cloned() else {
            return;
        };
        self.note(format!("send {signal} to {}", child.label));
        if child.dying || (child.behaviour.stubborn && signal != SIGKILL) {
            return;
        }
        child.dying = true;
        let mut state = self.0.borrow_mut();
        state
            .queue
            .retain(|_, event| !matches!(event, Event::Exited(exited, _) if *exited == ticket));
        state.children.insert(ticket, child);
        drop(state);
        self.ends(ticket, Duration::from_millis(1), ExitStatus::Signal(signal));
    }

    fn export(&mut self, _: &str, _: &str) {}
}

impl Discovery for World {
    fn connect(&mut self, _: &Catalogue) {}

    fn ask(&mut self, ticket: Ticket, request: Request, limit: Duration) {
        let (what, whose, wait) = match &request {
            Request::Register(registration) => ("register", registration.name.clone(), None),
            Request::Renew(registration) => ("renew", registration.name.clone(), None),
            Request::Withdraw(registration) => ("withdraw", registration.name.clone(), None),
            Request::Instances(query) => ("list", format!("{}?", query.service), Some(query.wait)),
        };
        self.note(format!("{what} {whose}"));
        let latency = self
            .0
            .borrow()
            .script
            .latency
            .map(|latency| latency + wait.unwrap_or_default());
        let (after, answer) = match latency {
            Some(latency) if latency < limit => (latency, self.answer(request)),
            _ => (limit, Answer::Failed("no answer".into())),
        };
        self.0.borrow_mut().on_the_wire.insert(ticket, whose);
        let at = self.now() + after;
        self.schedule(at, Event::Answered(ticket, answer));
    }

    fn forget(&mut self, ticket: Ticket) {
        let mut state = self.0.borrow_mut();
        state.on_the_wire.remove(&ticket);
        state
            .queue
            .retain(|_, event| !matches!(event, Event::Answered(answered, _) if *answered == ticket));
    }
}

impl Settings for World {
    fn load(&mut self) -> Loaded {
        Loaded::Refused("this world has one configuration".into())
    }
}

impl Console for World {
    fn tell(&mut self, _: &Notice) {}

    fn configure(&mut self, _: Logging) {}
}

impl Telemetry for World {
    fn expose(&mut self, _: &Plan) {}

    fn record(&mut self, _: &Measurement) {}

    fn report(&mut self, _: Inquiry, _: &Status) {}
}
