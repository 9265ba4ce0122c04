//! The loop: wait for an event or the deadline, step, perform the effects in order.
//!
//! The same function runs in production and in simulation. It decides nothing and knows no runtime.

use crate::ports::{Clock, Console, Discovery, Inbox, Processes, Settings};
use domain::{Effect, Event, Shim};
use std::collections::VecDeque;
use std::ops::ControlFlow::{self, Break, Continue};

/// The world the driver acts on.
pub struct World<'a> {
    /// Tells the time.
    pub clock: &'a dyn Clock,
    /// Where events arrive.
    pub inbox: &'a mut dyn Inbox,
    /// Starts, signals and reaps children.
    pub processes: &'a mut dyn Processes,
    /// Asks the catalogue.
    pub discovery: &'a mut dyn Discovery,
    /// Reads the configuration.
    pub settings: &'a mut dyn Settings,
    /// Tells operators.
    pub console: &'a mut dyn Console,
}

/// Runs the shim to its end; the exit code.
pub async fn run(mut shim: Shim, world: &mut World<'_>) -> u8 {
    let mut at_once = VecDeque::from([Event::Begin]);
    loop {
        let event = match at_once.pop_front() {
            Some(event) => event,
            None => world.inbox.next(shim.deadline()).await,
        };
        for effect in shim.step(world.clock.now(), event) {
            match world.perform(effect) {
                Continue(event) => at_once.extend(event),
                Break(code) => return code,
            }
        }
    }
}

impl World<'_> {
    /// Performs one effect; what is known of its outcome already comes back as an event.
    fn perform(&mut self, effect: Effect) -> ControlFlow<u8, Option<Event>> {
        match effect {
            Effect::Start(ticket, job) => {
                return Continue(Some(match self.processes.start(ticket, &job) {
                    Ok(pid) => Event::Started(ticket, pid),
                    Err(failure) => Event::NotStarted(ticket, failure),
                }));
            }
            Effect::Load(ticket) => return Continue(Some(Event::Loaded(ticket, self.settings.load()))),
            Effect::Send(ticket, signal, reach) => self.processes.send(ticket, signal, reach),
            Effect::Ask {
                ticket,
                request,
                limit,
            } => self.discovery.ask(ticket, request, limit),
            Effect::Forget(ticket) => self.discovery.forget(ticket),
            Effect::Connect(catalogue) => self.discovery.connect(&catalogue),
            Effect::Configure(logging) => self.console.configure(logging),
            Effect::Export { name, value } => self.processes.export(&name, &value),
            Effect::Tell(notice) => self.console.tell(&notice),
            Effect::Exit(code) => return Break(code),
        }
        Continue(None)
    }
}
