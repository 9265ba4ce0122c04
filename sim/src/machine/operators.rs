//! The actions of operators, and the course of a run: first a time with faults, then a time without, then the
//! stop.

use super::{ScheduledItem, State};
use crate::laws::bounds;
use crate::options::Faults;
use crate::plans;
use crate::trace::Fact;
use domain::Event;
use domain::control::{ControlRequest, RequestNumber};
use domain::plan::{Plan, StopTimeout};
use domain::signal::Signal;
use domain::time::Duration;

/// How long after the last fault the shim has to reach its expected state: two of the longest periods, the
/// longest pause of a coprocess, two readings of the configuration and the time limit of a reload, and five
/// seconds for the rest.
const SETTLING: Duration = Duration::from_secs(2 * 10 + 10 + 2 * 2 + 5 + 5);
/// How long a check that has to pass several times in a row may take for that besides its intervals.
const PASSING: Duration = Duration::from_secs(5);
/// How long the reaction to a change of a backend may take without faults.
const REACTING: Duration = Duration::from_secs(15);
/// How long the stop may take in addition to the drain and the stop timeout: the deregistrations, the end of
/// remaining children, a preStop and a postStop of half a second, and the end of the application after SIGKILL.
const STOPPING: Duration = bounds::DEREGISTRATION
    .saturating_add(bounds::REMAINING_GRACE)
    .saturating_add(bounds::REMAINING_DEATH)
    .saturating_add(Duration::from_secs(1 + 1 + 1));

impl State {
    /// Schedules the fixed events of a run.
    pub(super) fn prepare(&mut self) {
        let faults = Duration::from_secs(self.options.seconds.into());
        self.schedule(faults, ScheduledItem::Heal);
        self.next_operator();
        let after = self.choices.until(1_000, 30_000);
        self.schedule(after, ScheduledItem::CatalogueFault);
        let after = self.choices.until(100, 20_000);
        self.schedule(after, ScheduledItem::InstancesChange);
        if plans::has_keys(&self.options) {
            let after = self.choices.until(100, 20_000);
            self.schedule(after, ScheduledItem::KeysChange);
        }
        if self.faults.machine_pauses {
            let after = self.choices.until(1_000, 60_000);
            self.schedule(after, ScheduledItem::MachinePauses);
        }
        if self.faults.no_pids_for_a_while {
            let after = self.choices.until(1_000, 60_000);
            self.schedule(after, ScheduledItem::NoPids);
        }
    }

    fn next_operator(&mut self) {
        if self.options.operators > 0 {
            let after = self.choices.until(1, 2_000 * self.options.operators);
            self.schedule(after, ScheduledItem::Operator);
        }
    }

    pub(super) fn operator(&mut self) -> Option<Event> {
        self.next_operator();
        let signal = match self.choices.below(16) {
            0 => return None,
            1..=5 => Signal::HUP,
            6..=9 => Signal::USR1,
            10 => match self.choices.one_of(&[12, 3, 28]) {
                28 => return self.terminal(),
                number => Signal::new(number),
            },
            kind @ 11..=13 => return Some(self.client(kind)),
            14 if self.options.stops_early => Signal::INT,
            15 if self.options.stops_early => Signal::TERM,
            _ => return None,
        };
        Some(Event::Signal(signal))
    }

    /// The request of a client. Every second one of a kind is the other one of two.
    fn client(&mut self, kind: u32) -> Event {
        self.clients += 1;
        let even = self.clients.is_multiple_of(2);
        let request = match kind {
            11 if even => ControlRequest::Ping,
            11 => ControlRequest::Status,
            12 => ControlRequest::Reload,
            _ => ControlRequest::Maintenance(even),
        };
        Event::Requested(RequestNumber(self.clients), request)
    }

    /// The terminal changes its size, stops the application, or is gone.
    fn terminal(&mut self) -> Option<Event> {
        let application = self.application();
        match self.choices.below(3) {
            1 => application.map(Event::Stopped),
            2 => Some(Event::HungUp),
            _ => Some(Event::Signal(Signal::new(28))),
        }
    }

    /// Nothing happens for a while, then everything at once. If the children were paused, too, they end
    /// later.
    pub(super) fn pause_machine(&mut self) {
        if !self.faults.machine_pauses {
            return;
        }
        let longest = self.choices.one_of(&[3_000, 90_000]);
        let pause = self.choices.between(100, longest);
        if self.choices.below(2) == 0 {
            let deaths = |item: &ScheduledItem| {
                matches!(item, ScheduledItem::ChildEnds(..) | ScheduledItem::Prints(_))
            };
            let queue = std::mem::take(&mut self.queue).into_iter();
            let later = |((at, number), item)| {
                let at = if deaths(&item) { at + pause } else { at };
                ((at, number), item)
            };
            self.queue = queue.map(later).collect();
        }
        self.now = self.now + pause;
        self.fact(Fact::MachinePaused(pause));
        let latest = self.choices.one_of(&[60_000, 200]);
        let after = self.choices.until(100, latest);
        self.schedule(after, ScheduledItem::MachinePauses);
    }

    /// Ends all faults.
    pub(super) fn heal(&mut self) {
        self.faults = Faults::default();
        self.options.operators = 0;
        self.queue
            .retain(|_, item| !matches!(item, ScheduledItem::Operator));
        self.outage_over();
        self.pids_again();
        self.heal_children();
        self.set_keys("1");
        self.fact(Fact::Healed);
        let settling = self.settling();
        self.schedule(settling, ScheduledItem::Settle);
        self.schedule(settling + REACTING, ScheduledItem::Settle);
        self.schedule(settling + REACTING, ScheduledItem::Stop);
        self.schedule(settling + REACTING + self.longest_stop(), ScheduledItem::Overdue);
    }

    fn settling(&self) -> Duration {
        let plans = [&self.file, self.observer.plan()];
        let services = plans.iter().flat_map(|plan| &plan.services);
        let checks = services.flat_map(|service| &service.checks);
        let successes = checks.map(|own| own.interval * own.thresholds.successes.get());
        SETTLING.max(successes.max().unwrap_or_default() + PASSING)
    }

    /// Checks the expected state, then changes a backend to check the reaction.
    pub(super) fn settle(&mut self) {
        self.fact(Fact::Settled);
        self.change("b0");
        self.change("b1");
        self.set_keys("2");
    }

    /// Sets all keys that templates need, if they use keys.
    fn set_keys(&mut self, value: &str) {
        if plans::has_keys(&self.options) {
            for key in ["k0", "k1"] {
                self.set_key(key, Some(value));
            }
        }
    }

    fn longest_stop(&self) -> Duration {
        let graces = [&self.file, self.observer.plan()].map(|plan: &Plan| match plan.stop_timeout {
            StopTimeout::Immediately => Duration::ZERO,
            StopTimeout::After(grace) => grace,
        });
        STOPPING + graces[0].max(graces[1]) + self.file.drain.max(self.observer.plan().drain)
    }
}
