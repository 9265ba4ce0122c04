//! What every kind of unit does. The units themselves are in files of their own, and [`super::units`] is the map of all.

use super::outbox::{Outbox, Reply};
use crate::event::Ticket;
use crate::process::Ending;
use crate::time::Instant;
use alloc::string::String;

/// What every kind of unit does.
pub(super) trait Unit {
    /// When [`Self::on_time`] changes something, unless another event comes first.
    fn deadline(&self) -> Option<Instant>;

    /// Time passed. A unit that is not due does nothing.
    fn on_time(&mut self, now: Instant, out: &mut Outbox);

    /// The machine was paused: the time limits of the unit start again.
    fn after_standstill(&mut self, now: Instant);

    /// The end of what a child of the unit printed; by default it was logged and is not kept.
    fn on_printed(&mut self, _ticket: Ticket, _text: String) {}

    /// The processes that outlived the unit's child have ended.
    fn on_tree_ended(&mut self) {}

    /// A child of the unit ended or could not be started. Processes may have `outlived` it if it got a stop signal, which
    /// only jobs get: checks, handlers and sensors are killed with their trees.
    fn on_ended(&mut self, now: Instant, ticket: Ticket, ending: &Ending, outlived: bool, out: &mut Outbox);

    /// The unit's catalogue request was answered or given up. The lists of all backends take `listed` bytes.
    fn on_reply(&mut self, _now: Instant, _reply: Reply, _listed: usize, _out: &mut Outbox) {}

    /// From now on the unit's queries may block.
    fn let_block(&mut self, _now: Instant) {}

    /// From now on they may not; one that does is cancelled.
    fn stop_blocking(&mut self, _out: &mut Outbox) {}

    /// Whether a request that the catalogue refused for now is sent again.
    fn is_sent_again(&self) -> bool {
        true
    }

    /// Begins nothing until [`Self::resume`] (LC-11).
    fn pause(&mut self, now: Instant, out: &mut Outbox);

    /// Continues after [`Self::pause`] (LC-12).
    fn resume(&mut self, now: Instant, out: &mut Outbox);

    /// The shim begins to stop: ends the unit for good, unless it survives until the end of the stop (EX-22).
    fn close(&mut self, now: Instant, out: &mut Outbox);

    /// The shim stops and waits for its last children: sends the stop signal to the unit's child, if it has one.
    fn terminate(&mut self, _now: Instant, _out: &mut Outbox) {}

    /// Whether the unit was ended for good; a new plan drops it.
    fn is_closing(&self) -> bool;

    /// Whether a new plan waits for a child of this unit.
    fn delays_plan(&self) -> bool;

    /// Whether the unit has no entry in the catalogue, or its deregistration is over.
    fn has_deregistered(&self) -> bool {
        true
    }

    /// How many bytes the list of its instances takes.
    fn listed(&self) -> usize {
        0
    }
}
