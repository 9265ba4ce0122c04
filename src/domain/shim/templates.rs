//! Templates and what they read: which dependencies are watched, and which templates a change concerns.
//!
//! A rendering reports what it has looked up. The names of all templates together are the dependencies that are open; one
//! that no template uses any more is closed. When the data of a dependency change, the templates that use it are rendered
//! again. Before the application starts, all templates that are required have to be written.

use super::Shim;
use super::dependency::DependencyUnit;
use super::id::UnitId;
use super::template::TemplateUnit;
use super::unit::Unit;
use super::units::AnyUnit;
use crate::catalogue::{Data, Dependency};
use crate::effect::{Effect, Rendering, Writing};
use crate::event::{Rendered, Ticket};
use crate::filled;
use crate::lifecycle::{Input, Phase};
use crate::notice::Notice;
use crate::notice::templates::TemplateNotice;
use crate::status::TemplateStatus;
use crate::template::Written;
use crate::time::Instant;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

impl Shim {
    /// Opens a unit for every template that has none, before anything else is opened.
    pub(super) fn open_templates(&mut self, now: Instant) {
        let mut open = filled::set(self.units.templates().map(|(_, unit)| &unit.template));
        let missing = self
            .plan
            .templates
            .iter()
            .filter(|template| open.insert(template));
        for template in missing.cloned().collect::<Vec<_>>() {
            let (id, jitter) = (UnitId::Template(self.next_serial()), self.jitter.split());
            let unit = TemplateUnit::new(now, id, &template, self.maintenance, jitter);
            self.units.insert(id, AnyUnit::Template(Box::new(unit)));
        }
    }

    /// The start continues if all templates are written that are required.
    pub(super) fn await_templates(&mut self, now: Instant) {
        if self.lifecycle.phase() == Phase::AwaitingTemplates && self.pending_plan.is_none() {
            if self.unwritten().next().is_none() {
                self.advance(now, Input::TemplatesWritten);
            } else if self.plan.renders_only && self.units.templates().any(|(_, unit)| unit.has_failed()) {
                self.advance(now, Input::TemplatesFailed);
            }
        }
    }

    /// The time for the templates that are required is over.
    pub(super) fn log_unwritten(&mut self) {
        let known = self.known();
        let unwritten: Vec<_> = self
            .unwritten()
            .map(|unit| {
                let waits_for = unit.waits_for(|name| known.contains_key(name));
                (unit.template.destination.clone(), waits_for)
            })
            .collect();
        for (destination, waits_for) in unwritten {
            let limit = self.plan.start_timeout;
            self.out.log(Notice::Template(TemplateNotice::Missing {
                destination,
                waits_for,
                limit,
            }));
        }
    }

    fn unwritten(&self) -> impl Iterator<Item = &TemplateUnit> {
        let required =
            |unit: &&TemplateUnit| unit.template.required && !unit.is_closing() && !unit.is_written();
        self.units.templates().map(|(_, unit)| unit).filter(required)
    }

    /// The state of each template.
    pub(super) fn template_states(&self) -> Vec<TemplateStatus> {
        let known = self.known();
        let units = self.units.templates().map(|(_, unit)| unit);
        units
            .map(|unit| unit.status(|name| known.contains_key(name), &self.out))
            .collect()
    }

    /// What is known of all dependencies.
    fn known(&self) -> BTreeMap<&Dependency, &Data> {
        let known = |unit: &'_ DependencyUnit| unit.data().is_some();
        let units = self.units.dependencies().map(|(_, unit)| unit);
        let known = units
            .filter(|unit| known(unit))
            .filter_map(|unit| Some((&unit.dependency, unit.data()?)));
        filled::map(known)
    }

    /// Renders a template if that is due.
    pub(super) fn render_if_due(&mut self, now: Instant, id: UnitId) {
        let taken = self.units.change_template(id, |unit| {
            unit.take(now)
                .then(|| (unit.template.clone(), unit.names.clone()))
        });
        let Some((template, names)) = taken.flatten() else {
            return;
        };
        let known = self.known();
        let known = names
            .iter()
            .filter_map(|name| Some((name.clone(), (*known.get(name)?).clone())));
        let rendering = Rendering {
            destination: template.destination,
            source: template.source,
            known: filled::map(known),
            has_keys: self.plan.catalogue.has_keys(),
        };
        self.out.render(id, rendering);
    }

    /// A rendering has ended. The names of its template are watched from now on.
    pub(super) fn on_rendered(&mut self, now: Instant, ticket: Ticket, rendered: Rendered) {
        let Some(id) = self.out.worked(ticket) else {
            return;
        };
        let known_before = filled::set(self.known().into_keys().cloned());
        let out = &mut self.out;
        let contents = self.units.change_template(id, |unit| {
            let new = rendered.names.difference(&unit.names);
            // A name that another template uses is known, and was not given to this rendering.
            let is_known = new.into_iter().any(|name| known_before.contains(name));
            let contents = unit.on_rendered(now, rendered, out);
            if is_known {
                unit.on_change(now);
            }
            contents.map(|contents| (unit.template.clone(), contents))
        });
        if let Some((template, contents)) = contents.flatten() {
            self.out.write(
                id,
                Writing {
                    destination: template.destination,
                    contents,
                    mode: template.mode,
                    owner: template.owner,
                },
            );
        }
        self.watch_names(now);
        self.await_templates(now);
    }

    /// A writing has ended.
    pub(super) fn on_written(&mut self, now: Instant, ticket: Ticket, written: Written) {
        if let Some(id) = self.out.worked(ticket) {
            let out = &mut self.out;
            self.units
                .change_template(id, |unit| unit.on_written(now, written, out));
            self.await_templates(now);
        }
    }

    /// The data of a dependency may have changed: the templates that use it are rendered again.
    pub(super) fn pass_on_change(&mut self, now: Instant, id: UnitId) {
        let changed = self
            .units
            .change_dependency(id, |unit| unit.take_change().then(|| unit.dependency.clone()));
        let Some(dependency) = changed.flatten() else {
            return;
        };
        let concerned = self
            .units
            .templates()
            .filter(|(_, unit)| unit.names.contains(&dependency));
        for id in concerned.map(|(id, _)| id).collect::<Vec<_>>() {
            self.units.change_template(id, |unit| unit.on_change(now));
        }
    }

    /// Opens the dependencies that templates use, and drops the others.
    pub(super) fn watch_names(&mut self, now: Instant) {
        let mut used: BTreeSet<Dependency> = BTreeSet::new();
        for (_, unit) in self.units.templates() {
            used.extend(unit.names.iter().cloned());
        }
        let out = &mut self.out;
        self.units.retain(|_, unit| {
            let AnyUnit::Dependency(unit) = unit else {
                return true;
            };
            let stays = used.remove(&unit.dependency);
            if !stays {
                unit.close(now, out);
            }
            stays
        });
        for dependency in used {
            let (id, jitter) = (UnitId::Dependency(self.next_serial()), self.jitter.split());
            let unit = DependencyUnit::new(now, id, &dependency, self.maintenance, jitter, &mut self.out);
            self.units.insert(id, AnyUnit::Dependency(Box::new(unit)));
        }
    }

    /// The templates of a new plan: those that stay are rendered again.
    pub(super) fn adopt_templates(&mut self, now: Instant, other_catalogue: bool) {
        let (maintenance, out) = (self.maintenance, &mut self.out);
        self.units.change_all(|unit| match unit {
            AnyUnit::Template(unit) => unit.refresh(now),
            AnyUnit::Dependency(unit) if other_catalogue => unit.change_catalogue(now, maintenance, out),
            _ => {}
        });
        self.open_templates(now);
        self.watch_names(now);
    }

    /// The start is called off: ends the templates, and everything that is left.
    pub(super) fn cancel_start(&mut self, now: Instant) {
        self.pending_plan = None;
        self.units.change_all(|unit| unit.close(now, &mut self.out));
        self.terminate_remaining(now);
    }
}

impl super::Outbox {
    /// Renders a template for its unit.
    fn render(&mut self, owner: UnitId, rendering: Rendering) {
        let ticket = self.work(owner);
        self.push(Effect::Render(ticket, Box::new(rendering)));
    }

    /// Writes the file of a template for its unit.
    fn write(&mut self, owner: UnitId, writing: Writing) {
        let ticket = self.work(owner);
        self.push(Effect::Write(ticket, Box::new(writing)));
    }
}
