//! The templates on the simulated machine: how long a rendering and a writing take, and whether they fail.

use super::{ScheduledItem, State};
use crate::templates;
use crate::trace::EntryKind;
use containerpilot::ports::Templates;
use domain::effect::{Rendering, Writing};
use domain::event::Rendered;
use domain::template::{Outcome, Written};
use domain::{Effect, Event, Ticket};

impl Templates for super::SimulatedMachine {
    fn render(&mut self, ticket: Ticket, rendering: Rendering) {
        self.0.borrow_mut().render(ticket, rendering);
    }

    fn write(&mut self, ticket: Ticket, writing: Writing) {
        self.0.borrow_mut().write(ticket, writing);
    }
}

impl State {
    fn render(&mut self, ticket: Ticket, rendering: Rendering) {
        let outcome = match templates::contents(&rendering.source, &rendering.known) {
            _ if self.faults.configurations_break && self.choices.odds(15) => {
                Outcome::Failed("it says nonsense".into())
            }
            _ if templates::uses_keys(&rendering.source) && !rendering.has_keys => {
                Outcome::Failed("the catalogue has no keys".into())
            }
            Some(contents) => Outcome::Complete(contents),
            None => Outcome::Incomplete,
        };
        let rendered = Rendered {
            names: templates::names(&rendering.source),
            missing: templates::missing(&rendering.source, &rendering.known),
            files: None,
            outcome,
        };
        self.record(EntryKind::Effect(Effect::Render(ticket, Box::new(rendering))));
        let after = self.time_of_work();
        self.schedule(after, ScheduledItem::Post(Event::Rendered(ticket, rendered)));
    }

    fn write(&mut self, ticket: Ticket, writing: Writing) {
        let contents = writing.contents.clone();
        let before = self.files.get(&writing.destination);
        let written = if self.faults.configurations_break && self.choices.odds(15) {
            Written::Failed("no space".into())
        } else if before == Some(&contents) {
            Written::Unchanged
        } else {
            self.files.insert(writing.destination.clone(), contents);
            Written::Changed
        };
        self.record(EntryKind::Effect(Effect::Write(ticket, Box::new(writing))));
        let after = self.time_of_work();
        self.schedule(after, ScheduledItem::Post(Event::Written(ticket, written)));
    }

    fn time_of_work(&mut self) -> domain::time::Duration {
        let slow = self.faults.catalogue_is_slow && self.choices.odds(20);
        self.choices.between(0, if slow { 3_000 } else { 5 })
    }
}
