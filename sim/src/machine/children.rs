//! The children on the simulated machine: how they start, run, react to signals and end.

use super::{ScheduledItem, State};
use crate::trace::{EntryKind, Fact};
use domain::plan::{Job, Output, Role, SignalTarget};
use domain::process::{ExitStatus, Pid, StartFailure};
use domain::signal::Signal;
use domain::time::Duration;
use domain::{Effect, Event, Ticket};
use std::collections::VecDeque;

/// A child that was not reaped yet.
#[derive(Clone, Debug)]
pub(super) struct Child {
    role: Role,
    captured: bool,
    /// How long after SIGTERM it ends, and how; `None` if it ignores the signal.
    obeys: Option<(Duration, ExitStatus)>,
    /// How long after SIGKILL it ends.
    outlives: Duration,
    killed: bool,
    /// Its stop signal.
    stop_signal: Signal,
    /// It was asked to stop, so what outlives it is reported.
    asked: bool,
    /// Processes below it.
    tree: Option<Tree>,
}

/// Processes that a child started, and that may outlive it.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    /// How long after SIGTERM they end; never if they ignore it.
    obeys: Option<Duration>,
    /// They were sent SIGTERM.
    termed: bool,
    /// Their end is reported.
    reported: bool,
}

impl State {
    /// Starts a child, or fails.
    pub(super) fn start(&mut self, ticket: Ticket, job: &Job) -> Result<Pid, StartFailure> {
        self.record(EntryKind::Effect(Effect::Start(ticket, Box::new(job.clone()))));
        if self.faults.starting_takes_time && self.choices.odds(20) {
            self.now = self.now + self.choices.between(1, 400);
        }
        if self.no_pids || (self.faults.children_cannot_start && self.choices.odds(8)) {
            let failure = StartFailure {
                not_found: !self.no_pids && self.choices.below(2) == 0,
                cause: "cannot be started".into(),
            };
            self.record(EntryKind::Event(Event::NotStarted(ticket, failure.clone())));
            return Err(failure);
        }
        let child = self.draw_child(job);
        let end = self.draw_end(&job.role);
        let floods = child.captured && self.faults.children_flood && self.choices.odds(20);
        self.children.insert(ticket, child);
        if floods {
            self.schedule(Duration::from_millis(1), ScheduledItem::Prints(ticket));
        }
        if let Some((after, status)) = end {
            self.schedule(after, ScheduledItem::ChildEnds(ticket, status));
        }
        let pid = Pid(i32::try_from(ticket.0).unwrap_or(i32::MAX).saturating_add(100));
        self.record(EntryKind::Event(Event::Started(ticket, pid)));
        Ok(pid)
    }

    /// The application, if it runs.
    pub(super) fn application(&self) -> Option<Ticket> {
        let mut children = self.children.iter();
        let application = children.find(|(_, child)| child.role == Role::Application);
        application.map(|(ticket, _)| *ticket)
    }

    /// The next output of a child that prints without end, as often as there is time for it.
    pub(super) fn prints(&mut self, ticket: Ticket) -> Option<Event> {
        if !self.faults.children_flood || !self.children.contains_key(&ticket) {
            return None;
        }
        let after = self.choices.between(1, 50);
        self.schedule(after, ScheduledItem::Prints(ticket));
        Some(Event::Printed(ticket, "y\n".repeat(32)))
    }

    /// The limit on processes is reached, until [`Self::pids_again`].
    pub(super) fn no_pids(&mut self) {
        if self.faults.no_pids_for_a_while {
            self.no_pids = true;
            self.fact(Fact::NoPids);
            let after = self.choices.between(100, 40_000);
            self.schedule(after, ScheduledItem::PidsAgain);
        }
    }

    pub(super) fn pids_again(&mut self) {
        if std::mem::take(&mut self.no_pids) {
            self.fact(Fact::PidsAgain);
            let after = self.choices.until(1_000, 60_000);
            self.schedule(after, ScheduledItem::NoPids);
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
            stop_signal: job.stop.signal,
            asked: false,
            tree: (self.faults.children_are_outlived && choices.odds(30)).then(|| Tree {
                obeys: choices.odds(70).then(|| choices.between(0, 4_000)),
                termed: false,
                reported: false,
            }),
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
                let runs = choices.one_of(&[60_000, 3_000, 900, 1]);
                fails.then(|| (choices.between(0, runs), status))
            }
            Role::Health { .. } if self.faults.checks_hang => None,
            _ if self.faults.children_hang && choices.odds(10) => {
                let ends = choices.odds(50);
                ends.then(|| (choices.between(500, 15_000), status))
            }
            _ => Some((choices.between(0, 200), status)),
        }
    }

    /// Sends a signal to a child or to the processes below it; those that have ended are not affected.
    pub(super) fn send(&mut self, ticket: Ticket, signal: Signal, target: SignalTarget) {
        self.record(EntryKind::Effect(Effect::Send(ticket, signal, target)));
        let deadly = self.faults.children_fail
            && signal != Signal::KILL
            && target == SignalTarget::Process
            && self.choices.odds(10);
        if let Some(child) = self.children.get_mut(&ticket) {
            child.asked |= target != SignalTarget::Process;
            child.asked &= signal != Signal::KILL;
            let end = match signal {
                Signal::KILL => {
                    child.killed = true;
                    Some((child.outlives, ExitStatus::Signal(Signal::KILL)))
                }
                signal if signal == child.stop_signal => child.obeys,
                other => deadly.then_some((Duration::ZERO, ExitStatus::Signal(other))),
            };
            if let Some((after, status)) = end {
                self.schedule(after, ScheduledItem::ChildEnds(ticket, status));
            }
        }
        if target == SignalTarget::Tree {
            self.send_to_tree(ticket, signal);
        }
    }

    /// Sends a signal to the processes below a child, or to those that outlived it.
    fn send_to_tree(&mut self, ticket: Ticket, signal: Signal) {
        let below = self
            .children
            .get_mut(&ticket)
            .and_then(|child| child.tree.as_mut());
        let Some(tree) = below.or(self.trees.get_mut(&ticket)) else {
            return;
        };
        let asked = !matches!(signal, Signal::KILL | Signal::CONT);
        tree.termed |= asked;
        let after = match signal {
            Signal::KILL => Some(Duration::from_millis(1)),
            _ if asked => tree.obeys,
            _ => None,
        };
        if let Some(after) = after {
            self.schedule(after, ScheduledItem::TreeEnds(ticket));
        }
    }

    /// Sends a signal to all processes that are left, and SIGTERM only to those that did not get it before.
    pub(super) fn send_to_all(&mut self, signal: Signal) {
        self.record(EntryKind::Effect(Effect::SendToAll(signal)));
        self.awaits_all = true;
        self.schedule(Duration::ZERO, ScheduledItem::AllEnd);
        let kills = signal == Signal::KILL;
        let children = self
            .children
            .iter_mut()
            .filter(|(_, child)| kills || !child.asked);
        let ends: Vec<_> = children
            .filter_map(|(ticket, child)| {
                child.killed |= kills;
                let killed = (child.outlives, ExitStatus::Signal(Signal::KILL));
                let (after, status) = if kills { killed } else { child.obeys? };
                Some((*ticket, after, status))
            })
            .collect();
        for (ticket, after, status) in ends {
            self.schedule(after, ScheduledItem::ChildEnds(ticket, status));
        }
        let below = self
            .children
            .iter()
            .filter_map(|(ticket, child)| Some((*ticket, child.tree.as_ref()?)));
        let trees = self.trees.iter().map(|(ticket, tree)| (*ticket, tree));
        let spared = |(ticket, tree): (Ticket, &Tree)| (kills || !tree.termed).then_some(ticket);
        for ticket in below.chain(trees).filter_map(spared).collect::<Vec<_>>() {
            self.send_to_tree(ticket, signal);
        }
    }

    /// The child ends, unless it has ended; its output is reported first, then that processes outlive it.
    pub(super) fn end_child(&mut self, ticket: Ticket, status: ExitStatus) -> Option<Event> {
        let child = self.children.remove(&ticket)?;
        if self.faults.orphans && self.choices.odds(20) {
            let pid = Pid(i32::try_from(ticket.0).unwrap_or(0) + 50_000);
            let after = self.choices.between(0, 3_000);
            self.schedule(after, ScheduledItem::Post(Event::OrphanReaped(pid)));
        }
        let mut events = VecDeque::new();
        if child.captured && self.choices.odds(30) {
            let text = self.choices.one_of(&["1.5", "-1", "nonsense", "NaN"]);
            events.push_back(Event::Printed(ticket, text.into()));
        }
        if let Some(tree) = child.tree {
            if child.asked {
                events.push_back(Event::Outlived(ticket));
            }
            let reported = child.asked;
            self.trees.insert(ticket, Tree { reported, ..tree });
        }
        events.push_back(Event::Exited(ticket, status));
        self.next = events;
        self.schedule(Duration::ZERO, ScheduledItem::AllEnd);
        self.next.pop_front()
    }

    /// The processes below a child end, whether it is there or not.
    pub(super) fn end_tree(&mut self, ticket: Ticket) -> Option<Event> {
        if let Some(child) = self.children.get_mut(&ticket) {
            child.tree = None;
            return None;
        }
        let tree = self.trees.remove(&ticket)?;
        self.schedule(Duration::ZERO, ScheduledItem::AllEnd);
        tree.reported.then_some(Event::TreeEnded(ticket))
    }

    /// The event that no process is left, once.
    pub(super) fn all_end(&mut self) -> Option<Event> {
        let all = self.awaits_all && self.children.is_empty() && self.trees.is_empty();
        self.awaits_all &= !all;
        all.then_some(Event::AllEnded)
    }

    /// Ends hanging children: those that would end later end soon, and those that were killed end.
    pub(super) fn heal_children(&mut self) {
        let mut ends = Vec::new();
        let below = self.children.values_mut().filter_map(|child| child.tree.as_mut());
        for tree in below.chain(self.trees.values_mut()) {
            tree.obeys = Some(tree.obeys.unwrap_or(Duration::from_millis(1)));
        }
        let termed = self.trees.iter().filter(|(_, tree)| tree.termed);
        for ticket in termed.map(|(ticket, _)| *ticket).collect::<Vec<_>>() {
            self.schedule(Duration::from_millis(1), ScheduledItem::TreeEnds(ticket));
        }
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
            self.schedule(after, ScheduledItem::ChildEnds(ticket, status));
        }
    }
}
