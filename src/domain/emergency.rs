//! The end after a fault of the program itself: a panic in the core, the driver or an adapter.
//!
//! After a panic the normal state machine is not used for the stop. A [`StopList`] records from the events and
//! effects alone which children may run and which instances may be registered, and an [`Emergency`] needs nothing
//! else. It sends SIGTERM to all children, deregisters all instances, sends SIGKILL to the children that are left,
//! and exits with [`FAULT`]; each step has a time limit. Hooks are not run, and nothing is started any more.

use crate::catalogue::{Answer, Report, Request};
use crate::effect::Effect;
use crate::event::{Event, Ticket};
use crate::plan::{Registration, SignalTarget, Stop};
use crate::shim::Shim;
use crate::signal::Signal;
use crate::time::{Duration, Instant, earliest};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

/// The exit code after a fault of the program itself, as sysexits.h has it.
pub const FAULT: u8 = 70;
/// How long the deregistrations may take (docs/bounds.md).
const DEREGISTRATION: Duration = Duration::from_secs(2);
/// The limit on the time between SIGTERM and SIGKILL, even if `stopTimeout` is longer (docs/bounds.md).
const LONGEST_GRACE: Duration = Duration::from_secs(60);
/// How long killed children are waited for (docs/bounds.md).
const DEATH: Duration = Duration::from_secs(2);

/// What has to be stopped, as recorded from effects and events: every child that may run, and every instance
/// that may be registered.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StopList {
    children: BTreeMap<Ticket, Child>,
    registrations: BTreeMap<String, Registration>,
    requests: BTreeSet<Ticket>,
    deregistrations: BTreeMap<Ticket, String>,
    /// Whether no process is left, neither children nor what they started.
    all_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Child {
    /// The stop signal.
    signal: Signal,
    /// Whether this signal goes to the process or to its tree.
    reach: SignalTarget,
    /// Whether the start is confirmed; without that the child may run, if the fault came right after its
    /// start.
    runs: bool,
    /// Whether processes below it are left, or will be when it has ended.
    outlived: bool,
}

impl StopList {
    /// Records an effect that is performed.
    pub fn does(&mut self, effect: &Effect) {
        match effect {
            Effect::Start(ticket, job) => self.starts(*ticket, job.stop),
            Effect::Request { ticket, request, .. } => self.on_request(*ticket, request),
            Effect::Cancel(ticket) => drop(self.requests.remove(ticket)),
            // The instances in the former catalogue have been deregistered, or expire after their TTL.
            Effect::Connect(_) => self.registrations.clear(),
            _ => {}
        }
    }

    /// Records an event that occurred.
    pub fn happens(&mut self, event: &Event) {
        match event {
            Event::Started(ticket, _) => self.runs(*ticket),
            Event::AllEnded => self.all_ended = true,
            Event::Outlived(ticket) => self.outlived(*ticket),
            Event::Exited(ticket, _) => self.exits(*ticket),
            Event::NotStarted(ticket, _) | Event::TreeEnded(ticket) => drop(self.children.remove(ticket)),
            Event::Answered(ticket, answer) => self.answered(*ticket, answer),
            _ => {}
        }
    }

    fn starts(&mut self, ticket: Ticket, stop: Stop) {
        let child = Child {
            signal: stop.signal,
            reach: stop.reach,
            runs: false,
            outlived: false,
        };
        self.children.insert(ticket, child);
    }

    fn runs(&mut self, ticket: Ticket) {
        if let Some(child) = self.children.get_mut(&ticket) {
            child.runs = true;
        }
    }

    fn outlived(&mut self, ticket: Ticket) {
        if let Some(child) = self.children.get_mut(&ticket) {
            child.outlived = true;
            child.reach = SignalTarget::Tree;
        }
    }

    /// The processes that outlive it are signalled through its ticket.
    fn exits(&mut self, ticket: Ticket) {
        let Some(child) = self.children.get_mut(&ticket) else {
            return;
        };
        child.runs = false;
        if !child.outlived {
            self.children.remove(&ticket);
        }
    }

    fn has_children(&self) -> bool {
        self.children.values().any(|child| child.runs)
    }

    fn has_processes(&self) -> bool {
        !self.all_ended || self.has_children()
    }

    fn give_up_processes(&mut self) {
        self.all_ended = true;
        self.children.values_mut().for_each(|child| child.runs = false);
    }

    fn on_request(&mut self, ticket: Ticket, request: &Request) {
        self.requests.insert(ticket);
        match request {
            Request::Register(registration)
            | Request::Renew(registration)
            | Request::Report(Report { registration, .. }) => {
                self.registrations
                    .insert(registration.id.clone(), registration.clone());
            }
            Request::Deregister(registration) => {
                self.deregistrations.insert(ticket, registration.id.clone());
            }
            Request::Instances(_) | Request::LookUp(_) | Request::Inspect(_) => {}
        }
    }

    fn answered(&mut self, ticket: Ticket, answer: &Answer) {
        self.requests.remove(&ticket);
        if let (Some(id), Answer::Done) = (self.deregistrations.remove(&ticket), answer) {
            self.registrations.remove(&id);
        }
    }
}

/// The shim together with its stop list.
#[derive(Clone, Debug)]
pub struct WithStopList {
    shim: Shim,
    stop_list: StopList,
}

impl WithStopList {
    /// A shim before its first event.
    pub fn new(shim: Shim) -> Self {
        Self {
            shim,
            stop_list: StopList::default(),
        }
    }

    /// As [`Shim::step`].
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        self.stop_list.happens(&event);
        let effects = self.shim.step(now, event);
        for effect in &effects {
            self.stop_list.does(effect);
        }
        effects
    }

    /// As [`Shim::deadline`].
    pub fn deadline(&self) -> Option<Instant> {
        self.shim.deadline()
    }

    /// The emergency that follows a fault, in any state of the shim.
    pub fn emergency(self) -> Emergency {
        Emergency::new(self.stop_list, self.shim.stop_grace())
    }
}

/// A state machine that ends everything; it is driven as [`Shim`] is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Emergency {
    stop_list: StopList,
    grace: Duration,
    deregistered_by: Instant,
    /// Whether the processes that are left after all children were asked to stop.
    asked_remaining: bool,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum State {
    Beginning,
    /// SIGTERM was sent to all children.
    Stopping {
        kill_at: Instant,
    },
    /// SIGKILL was sent to the children that were left.
    Killed {
        gone_by: Instant,
    },
    Over,
}

impl Emergency {
    /// An emergency for everything in the stop list. The time between SIGTERM and SIGKILL is `grace`, but a
    /// minute at most.
    pub fn new(stop_list: StopList, grace: Duration) -> Self {
        Self {
            stop_list,
            grace: grace.min(LONGEST_GRACE),
            deregistered_by: Instant::START,
            asked_remaining: false,
            state: State::Beginning,
        }
    }

    /// Passes an event and the time to the machine. Returns the effects to perform, in this order;
    /// [`Effect::Exit`] is the last one. If effects are lost in another fault, they are not repeated, and the
    /// time limits still lead to the exit.
    pub fn step(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        self.stop_list.happens(&event);
        let mut effects = Vec::new();
        if self.state == State::Beginning {
            self.begin(now, &mut effects);
        }
        self.on_time(now, &mut effects);
        self.terminate_remaining(&mut effects);
        if self.is_done() {
            self.state = State::Over;
            self.kill(&mut effects);
            effects.push(Effect::Exit(FAULT));
        }
        effects
    }

    /// Continues with the next step when the time limit of the present one is over.
    fn on_time(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if self.deregistered_by <= now {
            self.stop_list.deregistrations.clear();
        }
        match self.state {
            State::Stopping { kill_at } if kill_at <= now => {
                self.kill(effects);
                self.state = State::Killed { gone_by: now + DEATH };
            }
            State::Killed { gone_by } if gone_by <= now => self.stop_list.give_up_processes(),
            _ => {}
        }
    }

    /// When to step with [`Event::Woken`] if no other event comes before.
    pub fn deadline(&self) -> Option<Instant> {
        let children = match self.state {
            State::Beginning => return Some(Instant::START),
            State::Stopping { kill_at } => kill_at,
            State::Killed { gone_by } => gone_by,
            State::Over => return None,
        };
        let children = self.stop_list.has_processes().then_some(children);
        let deregistrations = (!self.stop_list.deregistrations.is_empty()).then_some(self.deregistered_by);
        earliest(children, deregistrations)
    }

    /// The signals come first, so that a fault in the catalogue's adapter does not prevent them.
    fn begin(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.state = State::Stopping {
            kill_at: now + self.grace,
        };
        self.deregistered_by = now + DEREGISTRATION;
        self.stop_list.all_ended = false;
        let children = self.stop_list.children.iter();
        effects.extend(children.map(|(ticket, child)| Effect::Send(*ticket, child.signal, child.reach)));
        let requests = core::mem::take(&mut self.stop_list.requests);
        effects.extend(requests.into_iter().map(Effect::Cancel));
        self.stop_list.deregistrations.clear();
        // Tickets that the shim cannot reach.
        let numbers = (0..=u64::MAX).rev().map(Ticket);
        let registrations = self.stop_list.registrations.clone().into_values();
        for (ticket, registration) in numbers.zip(registrations) {
            let request = Request::Deregister(registration);
            self.stop_list.on_request(ticket, &request);
            effects.push(Effect::Request {
                ticket,
                request,
                connections: None,
                limit: DEREGISTRATION,
            });
        }
    }

    /// When all children have ended, the processes that they started are asked to stop as well.
    fn terminate_remaining(&mut self, effects: &mut Vec<Effect>) {
        let stopping = matches!(self.state, State::Stopping { .. });
        if stopping && !self.stop_list.has_children() && !core::mem::replace(&mut self.asked_remaining, true)
        {
            effects.push(Effect::SendToAll(Signal::TERM));
        }
    }

    /// Kills everything that is left.
    fn kill(&self, effects: &mut Vec<Effect>) {
        let children = self.stop_list.children.keys();
        effects.extend(children.map(|ticket| Effect::Send(*ticket, Signal::KILL, SignalTarget::Tree)));
        effects.push(Effect::SendToAll(Signal::KILL));
    }

    /// A failed answer ends a deregistration, too: the entry expires after its TTL.
    fn is_done(&self) -> bool {
        let begun = !matches!(self.state, State::Beginning | State::Over);
        begun && !self.stop_list.has_processes() && self.stop_list.deregistrations.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Catalogue, Command, Job, Output, Role, Trigger};
    use crate::process::{ExitStatus, Pid};
    use alloc::boxed::Box;
    use std::vec;

    const fn at(milliseconds: u64) -> Instant {
        Instant::after_start(Duration::from_millis(milliseconds))
    }

    const GRACE: Duration = Duration::from_secs(5);

    fn start(number: u64) -> Effect {
        let job = Job::new(
            Role::Application,
            Command::new("a", []),
            Trigger::Lifecycle,
            Output::Inherit,
        );
        Effect::Start(Ticket(number), Box::new(job))
    }

    fn started(number: u64) -> Event {
        Event::Started(Ticket(number), Pid(1))
    }

    fn exited(number: u64) -> Event {
        Event::Exited(Ticket(number), ExitStatus::Code(0))
    }

    fn registration(id: &str) -> Registration {
        Registration {
            id: id.into(),
            name: id.into(),
            address: [127, 0, 0, 1].into(),
            port: 1,
            tags: vec![],
            ttl: GRACE,
            enable_tag_override: false,
            deregister_critical_after: None,
            attributes: Box::default(),
        }
    }

    fn request(number: u64, request: Request) -> Effect {
        Effect::Request {
            ticket: Ticket(number),
            request,
            connections: None,
            limit: DEREGISTRATION,
        }
    }

    fn deregister(nth: u64, id: &str) -> Effect {
        request(u64::MAX - nth, Request::Deregister(registration(id)))
    }

    fn done(number: u64) -> Event {
        Event::Answered(Ticket(number), Answer::Done)
    }

    /// The last effects.
    const END: [Effect; 2] = [Effect::SendToAll(Signal::KILL), Effect::Exit(FAULT)];

    /// The stop list after these effects and events.
    fn stop_list(effects: &[Effect], events: &[Event]) -> StopList {
        let mut stop_list = StopList::default();
        effects.iter().for_each(|effect| stop_list.does(effect));
        events.iter().for_each(|event| stop_list.happens(event));
        stop_list
    }

    #[test]
    fn an_emergency_terminates_children_deregisters_instances_and_exits() {
        let register = request(3, Request::Register(registration("a")));
        let renew = request(4, Request::Renew(registration("b")));
        let stop_list = stop_list(
            &[start(1), start(2), register, renew],
            &[started(1), started(2), exited(2), done(3)],
        );
        let mut emergency = Emergency::new(stop_list, GRACE);
        let term = Effect::Send(Ticket(1), Signal::TERM, SignalTarget::Tree);
        let expected = vec![
            term,
            Effect::Cancel(Ticket(4)),
            deregister(0, "a"),
            deregister(1, "b"),
        ];
        assert_eq!(emergency.step(at(0), Event::Begin), expected);
        assert_eq!(emergency.deadline(), Some(at(2_000)));
        assert_eq!(emergency.step(at(10), done(u64::MAX)), []);
        let remaining = Effect::SendToAll(Signal::TERM);
        assert_eq!(emergency.step(at(10), exited(1)), [remaining]);
        assert_eq!(emergency.step(at(10), Event::AllEnded), []);
        let failed = Event::Answered(Ticket(u64::MAX - 1), Answer::Failed("no".into()));
        assert_eq!(emergency.step(at(20), failed), END);
        assert_eq!(emergency.deadline(), None);
        assert_eq!(emergency.step(at(30), exited(1)), []);
    }

    #[test]
    fn a_child_that_does_not_stop_is_killed_after_the_grace_and_waited_for_two_seconds() {
        let mut emergency = Emergency::new(stop_list(&[start(1)], &[started(1)]), GRACE);
        emergency.step(at(0), Event::Begin);
        assert_eq!(emergency.deadline(), Some(at(5_000)));
        let kill = Effect::Send(Ticket(1), Signal::KILL, SignalTarget::Tree);
        let kills = [kill.clone(), END[0].clone()];
        assert_eq!(emergency.step(at(5_000), Event::Woken), kills);
        assert_eq!(emergency.deadline(), Some(at(7_000)));
        let ends = [&[kill], &END[..]].concat();
        assert_eq!(emergency.step(at(7_000), Event::Woken), ends);
    }

    #[test]
    fn processes_that_outlive_all_children_are_waited_for_and_killed() {
        let events = [started(1), Event::Outlived(Ticket(1)), exited(1)];
        let mut emergency = Emergency::new(stop_list(&[start(1)], &events), GRACE);
        let to_rest = |signal| Effect::Send(Ticket(1), signal, SignalTarget::Tree);
        let term = Effect::SendToAll(Signal::TERM);
        assert_eq!(emergency.step(at(0), Event::Begin), [to_rest(Signal::TERM), term]);
        assert_eq!(emergency.step(at(10), Event::TreeEnded(Ticket(1))), []);
        assert_eq!(emergency.deadline(), Some(at(5_000)));
        assert_eq!(emergency.step(at(5_000), Event::Woken), END[..1]);
        assert_eq!(emergency.step(at(5_001), Event::AllEnded), END);
    }

    #[test]
    fn a_child_that_may_never_have_been_started_is_killed_but_not_waited_for() {
        let mut emergency = Emergency::new(stop_list(&[start(1)], &[]), GRACE);
        let send = |signal| Effect::Send(Ticket(1), signal, SignalTarget::Tree);
        let begins = [send(Signal::TERM), Effect::SendToAll(Signal::TERM)];
        assert_eq!(emergency.step(at(0), Event::Begin), begins);
        let ends = [&[send(Signal::KILL)], &END[..]].concat();
        assert_eq!(emergency.step(at(0), Event::AllEnded), ends);
    }

    #[test]
    fn the_grace_of_an_emergency_is_a_minute_at_most() {
        let mut emergency = Emergency::new(stop_list(&[start(1)], &[started(1)]), Duration::MAX);
        emergency.step(at(0), Event::Begin);
        assert_eq!(emergency.deadline(), Some(at(60_000)));
    }

    #[test]
    fn a_silent_catalogue_delays_an_emergency_by_two_seconds() {
        let register = request(3, Request::Register(registration("a")));
        let mut emergency = Emergency::new(stop_list(&[register], &[]), GRACE);
        emergency.step(at(100), Event::Begin);
        emergency.step(at(100), Event::AllEnded);
        assert_eq!(emergency.step(at(2_099), Event::Woken), []);
        assert_eq!(emergency.step(at(2_100), Event::Woken), END);
    }

    #[test]
    fn a_deregistered_instance_is_deregistered_again_only_if_that_failed() {
        let effects = |number| {
            let register = request(number, Request::Register(registration("a")));
            [
                register,
                request(number + 1, Request::Deregister(registration("a"))),
            ]
        };
        let left = stop_list(&effects(1), &[done(1), done(2)]);
        let term = Effect::SendToAll(Signal::TERM);
        assert_eq!(
            Emergency::new(left, GRACE).step(at(0), Event::Begin),
            std::slice::from_ref(&term)
        );
        let failed = Event::Answered(Ticket(2), Answer::Failed("no".into()));
        let unsure = stop_list(&effects(1), &[done(1), failed]);
        assert_eq!(
            Emergency::new(unsure, GRACE).step(at(0), Event::Begin),
            [deregister(0, "a"), term]
        );
        let mut moved = stop_list(&effects(1), &[]);
        moved.does(&Effect::Connect(Catalogue::Directory { path: "/b".into() }));
        assert!(moved.registrations.is_empty());
    }

    #[test]
    fn lost_effects_do_not_prevent_the_exit() {
        let register = request(3, Request::Register(registration("a")));
        let mut emergency = Emergency::new(stop_list(&[start(1), register], &[started(1)]), GRACE);
        drop(emergency.step(at(0), Event::Begin));
        let mut now = at(0);
        let mut ended = false;
        while let Some(deadline) = emergency.deadline() {
            now = now.max(deadline);
            ended = emergency.step(now, Event::Woken).contains(&Effect::Exit(FAULT));
        }
        assert!(ended && now <= at(7_000), "{now:?}");
    }
}
