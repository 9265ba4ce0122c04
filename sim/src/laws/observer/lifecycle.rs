//! The phase of the shim: the application and its hooks, the stop, the exit.

use super::Observer;
use crate::laws::bounds::{DEREGISTRATION, UNKILLABLE};
use crate::laws::observer::Run;
use domain::process::Ending;
use domain::signal::Signal;
use domain::state_key::{Keyed, StateKey, write_variant};
use domain::time::Duration;
use domain::{Instant, Ticket};

/// The stop of the shim: since when, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stop {
    pub at: Instant,
    /// Whether an operator requested it; otherwise the application ended.
    pub requested: bool,
}

/// The state of a process that runs once: the application or a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OnceRun {
    NotStarted,
    Running(Ticket),
    Ended(Instant),
}

impl OnceRun {
    pub fn is_running(self) -> bool {
        matches!(self, Self::Running(_))
    }

    pub fn has_ended(self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

impl Observer {
    /// Whether the shim stops, or has not started anything.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.is_some() || self.start_cancelled || self.failed_start
    }

    /// Whether SIGHUP and SIGUSR1 still have an effect.
    pub(crate) fn takes_configuration(&self) -> bool {
        !self.is_stopping() && !self.exited
    }

    /// How long the application has to stop.
    pub(crate) fn grace(&self) -> Duration {
        self.plan.stop_timeout.grace()
    }

    /// Whether every registered service was deregistered, or the time limit for that is over.
    pub(crate) fn services_deregistered(&self) -> bool {
        let over = |stop: Stop| self.turn.began >= stop.at + DEREGISTRATION;
        self.stop.is_some_and(over)
            || self
                .services
                .iter()
                .all(|(id, facts)| self.has_deregistered(id, facts))
    }

    /// How long the application goes on after its services were deregistered.
    pub(crate) fn drain(&self) -> Duration {
        self.plan.drain
    }

    /// When the drain began, if there is one.
    pub(super) fn drain_begins(&self) -> Instant {
        self.drain_began.unwrap_or(self.turn.began)
    }

    /// When the drain ends, from the deregistration of the services to the end of the application or of the shim; none if
    /// there is no drain.
    pub(crate) fn drain_ends(&self) -> Option<Instant> {
        let requested = self.stop.is_some_and(|stop| stop.requested);
        let drains = requested && self.application_runs() && !self.hurried && self.services_deregistered();
        drains.then(|| self.drain_begins() + self.drain())
    }

    /// Whether the services were deregistered and the drain, if there is one, is over.
    pub(crate) fn has_drained(&self) -> bool {
        let over = self.drain_ends().is_none_or(|end| end <= self.turn.began);
        self.services_deregistered() && over
    }

    /// Whether only the end of the remaining children is waited for.
    pub(crate) fn is_closing(&self) -> bool {
        if self.start_cancelled || self.failed_start {
            return !self.pre_start.is_running();
        }
        let given = self.first.application.is_some();
        let unkillable = self.application_unkillable || self.survives_kill();
        let post_stop = self.plan.post_stop.is_none() || self.post_stop.has_ended();
        let gone = if given {
            self.application.has_ended() && !self.pre_stop.is_running() && post_stop
        } else {
            self.pre_stop_done()
        };
        self.stop.is_some() && self.services_deregistered() && (unkillable || gone)
    }

    /// Whether the application, or a preStop hook that outlived it, was killed and exceeded the time limit
    /// for its end.
    pub(crate) fn survives_kill(&self) -> bool {
        let survived = |run: &Run| run.killed.is_some_and(|at| self.turn.began >= at + UNKILLABLE);
        match (self.application, self.pre_stop) {
            (OnceRun::Running(ticket), _) | (OnceRun::Ended(_), OnceRun::Running(ticket)) => {
                self.children.get(&ticket).is_some_and(survived)
            }
            _ => false,
        }
    }

    pub(crate) fn pre_stop_done(&self) -> bool {
        self.plan.pre_stop.is_none() || self.pre_stop.has_ended()
    }

    pub(super) fn signalled(&mut self, signal: Signal) {
        let stops = self.plan.stop_on.contains(&signal);
        match signal {
            signal
                if (stops || matches!(signal, Signal::HUP | Signal::USR1)) && !self.takes_configuration() =>
            {
                self.hurried |= stops && self.drain() > Duration::ZERO;
            }
            _ if stops && self.opened.is_some() => self.begin_stop(true),
            _ if stops => {
                self.start_cancelled = true;
                self.code = Some(143);
            }
            Signal::USR1 => self.toggle_maintenance(),
            Signal::HUP => self.to_be_read = true,
            other => self.forward(other),
        }
    }

    /// A signal is passed on to the application, or kept until it starts.
    pub(super) fn forward(&mut self, signal: Signal) {
        if self.application_runs() {
            self.turn.forward.push_back(signal);
        } else if self.opened.is_none() && self.takes_configuration() && self.first.application.is_some() {
            self.kept.retain(|kept| *kept != signal);
            self.kept.push_back(signal);
        }
    }

    /// The terminal has stopped the application.
    pub(super) fn stopped(&mut self, ticket: Ticket) {
        if self.application == OnceRun::Running(ticket) {
            self.turn.suspend = self.stop.is_none();
            self.turn.forward.push_back(Signal::CONT);
        }
    }

    /// The application starts, and all units of the plan open.
    pub(super) fn open(&mut self) {
        self.opened = Some(self.now);
        self.open_units();
    }

    pub(super) fn pre_start_ended(&mut self, ending: &Ending) {
        self.pre_start = OnceRun::Ended(self.now);
        if self.start_cancelled {
            return;
        }
        if ending.passed() {
            return self.await_templates();
        }
        self.failed_start = true;
        self.code = Some(ending.code());
    }

    pub(super) fn application_ended(&mut self, ending: &Ending) {
        self.application = OnceRun::Ended(self.now);
        self.code = Some(ending.code());
        if self.stop.is_none() {
            self.begin_stop(false);
        }
    }

    pub(super) fn post_stop_ended(&mut self, ending: &Ending) {
        self.post_stop = OnceRun::Ended(self.now);
        if !ending.passed() {
            self.code = Some(ending.code());
        }
    }

    pub(super) fn begin_stop(&mut self, requested: bool) {
        let at = self.turn.began;
        self.stop = Some(Stop { at, requested });
        self.incoming = None;
        for id in self.services.keys().cloned().collect::<Vec<_>>() {
            self.must_deregister(&id);
        }
    }

    pub(super) fn toggle_maintenance(&mut self) {
        self.maintenance = !self.maintenance;
        self.reactions_in_maintenance();
        if self.maintenance {
            let staying = self.services.iter().filter(|(_, facts)| !facts.closing);
            for id in staying.map(|(id, _)| id.clone()).collect::<Vec<_>>() {
                self.must_deregister(&id);
            }
            return;
        }
        self.services_resume();
        let (now, turn) = (self.now, self.turn.began);
        for facts in self.backends.values_mut() {
            facts.rest(now, facts.poll, facts.poll);
        }
        for facts in self.schedules.values_mut() {
            facts.schedule.resume(turn, now);
        }
    }
}

domain::keyed!(Stop { at, requested });

impl Keyed for OnceRun {
    fn write_key(&self, key: &mut impl StateKey) {
        write_variant(self, key);
        match self {
            Self::NotStarted => {}
            Self::Running(ticket) => ticket.write_key(key),
            Self::Ended(at) => at.write_key(key),
        }
    }
}
