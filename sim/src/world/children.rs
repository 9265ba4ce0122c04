//! The children on the simulated machine: how they start, run, react to signals and die.

use super::{Item, State};
use crate::trace::{Fact, What};
use domain::plan::{Job, Output, Role, SignalTarget};
use domain::process::{ExitStatus, Pid, StartFailure};
use domain::signal::Signal;
use domain::time::Duration;
use domain::{Effect, Event, Ticket};

/// A child that was not reaped yet.
#[derive(Clone, Debug)]
pub(super) struct Child {
    role: Role,
    captured: bool,
    /// How long after SIGTERM it ends, and how; `None` if it ignores the signal.
    obeys: Option<(Duration, ExitStatus)>,
    /// How long after SIGKILL it is dead.
    outlives: Duration,
    killed: bool,
}

impl State {
    /// Starts a child, or fails.
    pub(super) fn start(&mut self, ticket: Ticket, job: &Job) -> Result<Pid, StartFailure> {
        self.record(What::Does(Effect::Start(ticket, Box::new(job.clone()))));
        if self.faults.starting_takes_time && self.choices.odds(20) {
            self.now = self.now + self.choices.between(1, 400);
        }
        if self.no_pids || (self.faults.children_cannot_start && self.choices.odds(8)) {
            let failure = StartFailure {
                not_found: !self.no_pids && self.choices.below(2) == 0,
                cause: "cannot be started".into(),
            };
            self.record(What::Happens(Event::NotStarted(ticket, failure.clone())));
            return Err(failure);
        }
        let child = self.draw_child(job);
        let end = self.draw_end(&job.role);
        let floods = child.captured && self.faults.children_flood && self.choices.odds(20);
        self.children.insert(ticket, child);
        if floods {
            self.schedule(Duration::from_millis(1), Item::Prints(ticket));
        }
        if let Some((after, status)) = end {
            self.schedule(after, Item::Dies(ticket, status));
        }
        let pid = Pid(i32::try_from(ticket.0).unwrap_or(i32::MAX).saturating_add(100));
        self.record(What::Happens(Event::Started(ticket, pid)));
        Ok(pid)
    }

    /// The next output of a child that prints without end, as often as there is time for it.
    pub(super) fn prints(&mut self, ticket: Ticket) -> Option<Event> {
        if !self.faults.children_flood || !self.children.contains_key(&ticket) {
            return None;
        }
        let after = self.choices.between(1, 50);
        self.schedule(after, Item::Prints(ticket));
        Some(Event::Printed(ticket, "y\n".repeat(32)))
    }

    /// The limit on processes is reached, until [`Self::pids_again`].
    pub(super) fn no_pids(&mut self) {
        if self.faults.no_pids_for_a_while {
            self.no_pids = true;
            self.fact(Fact::NoPids);
            let after = self.choices.between(100, 40_000);
            self.schedule(after, Item::PidsAgain);
        }
    }

    pub(super) fn pids_again(&mut self) {
        if std::mem::take(&mut self.no_pids) {
            self.fact(Fact::PidsAgain);
            let after = self.choices.until(1_000, 60_000);
            self.schedule(after, Item::NoPids);
        }
    }

    fn draw_child(&mut self, job: &Job) -> Child {
        let choices = &mut self.choices;
        let ignores = self.faults.children_ignore_term && choices.odds(40);
        let how = [
            ExitStatus::Signal(Signal::TERM),
            ExitStatus::Code(0),
            ExitStatus::Code(3),
        ];
        let outlives = self.faults.children_outlive_kill && choices.odds(30);
        Child {
            role: job.role.clone(),
            captured: job.output != Output::Inherit,
            obeys: (!ignores).then(|| (choices.between(1, 100), choices.one_of(&how))),
            outlives: if outlives {
                choices.between(100, 15_000)
            } else {
                Duration::from_millis(1)
            },
            killed: false,
        }
    }

    /// Draws when and how it ends by itself.
    fn draw_end(&mut self, role: &Role) -> Option<(Duration, ExitStatus)> {
        let choices = &mut self.choices;
        let fails = self.faults.children_fail && choices.odds(25);
        let bad = [
            ExitStatus::Code(1),
            ExitStatus::Code(7),
            ExitStatus::Signal(Signal::new(11)),
        ];
        let status = if fails {
            choices.one_of(&bad)
        } else {
            ExitStatus::Code(0)
        };
        match role {
            Role::Application | Role::Coprocess { .. } => {
                let lives = choices.one_of(&[60_000, 3_000, 900, 1]);
                fails.then(|| (choices.between(0, lives), status))
            }
            _ if self.faults.children_hang && choices.odds(10) => {
                let ends = choices.odds(50);
                ends.then(|| (choices.between(500, 15_000), status))
            }
            _ => Some((choices.between(0, 200), status)),
        }
    }

    /// Sends a signal to a child; a dead one is not affected.
    pub(super) fn send(&mut self, ticket: Ticket, signal: Signal, reach: SignalTarget) {
        self.record(What::Does(Effect::Send(ticket, signal, reach)));
        let deadly = self.faults.children_fail
            && !matches!(signal, Signal::TERM | Signal::KILL)
            && self.choices.odds(10);
        let Some(child) = self.children.get_mut(&ticket) else {
            return;
        };
        let end = match signal {
            Signal::KILL => {
                child.killed = true;
                Some((child.outlives, ExitStatus::Signal(Signal::KILL)))
            }
            Signal::TERM => child.obeys,
            other => deadly.then_some((Duration::ZERO, ExitStatus::Signal(other))),
        };
        if let Some((after, status)) = end {
            self.schedule(after, Item::Dies(ticket, status));
        }
    }

    /// The child dies, unless it is dead already; its output is reported first.
    pub(super) fn dies(&mut self, ticket: Ticket, status: ExitStatus) -> Option<Event> {
        let child = self.children.remove(&ticket)?;
        if self.faults.orphans && self.choices.odds(20) {
            let pid = Pid(i32::try_from(ticket.0).unwrap_or(0) + 50_000);
            let after = self.choices.between(0, 3_000);
            self.schedule(after, Item::Tells(Event::OrphanReaped(pid)));
        }
        let exited = Event::Exited(ticket, status);
        if child.captured && self.choices.odds(30) {
            let text = self.choices.one_of(&["1.5", "-1", "nonsense", "NaN"]);
            self.next = Some(exited);
            return Some(Event::Printed(ticket, text.into()));
        }
        Some(exited)
    }

    /// Ends hanging children: those that will end do soon, and those that were killed are dead.
    pub(super) fn heal_children(&mut self) {
        let mut ends = Vec::new();
        for (ticket, child) in &mut self.children {
            let obeys = ExitStatus::Signal(Signal::TERM);
            child.obeys = Some(child.obeys.unwrap_or((Duration::from_millis(1), obeys)));
            child.outlives = Duration::from_millis(1);
            if child.killed {
                ends.push((*ticket, ExitStatus::Signal(Signal::KILL)));
            } else if !matches!(child.role, Role::Application | Role::Coprocess { .. }) {
                ends.push((*ticket, ExitStatus::Code(0)));
            }
        }
        for (ticket, status) in ends {
            let after = self.choices.between(1, 500);
            self.schedule(after, Item::Dies(ticket, status));
        }
    }
}
