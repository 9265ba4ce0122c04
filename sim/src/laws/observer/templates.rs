//! The state of each template: what was rendered and written, whether its command is due, and the wait of the start.

use super::Observer;
use crate::laws::bounds::HANDLER_PAUSE;
use crate::templates;
use domain::catalogue::Dependency;
use domain::effect::{Rendering, Writing};
use domain::event::Rendered;
use domain::plan::{Plan, Role, Template, TemplateSource};
use domain::process::Ending;
use domain::template::{Outcome, Written};
use domain::{Instant, Ticket};
use std::collections::BTreeSet;

/// A template of the plan in force.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct TemplateFacts {
    pub template: Template,
    pub closing: bool,
    /// Its rendering or writing in progress.
    pub work: Option<Ticket>,
    /// The result of the last rendering, if that was complete.
    pub rendered: Option<String>,
    writing: Option<String>,
    /// Whether the last writing failed, so that the file may have changed all the same.
    doubtful: bool,
    /// What was written last, unless the configuration was read since.
    pub written: Option<String>,
    pub done: bool,
    /// Whether its command has to run.
    pub owed: bool,
    /// The command could not be started; the next attempt is between these two instants.
    pub retry: Option<(Instant, Instant)>,
}

/// A rendering or a writing in progress.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Work {
    pub destination: String,
    /// The source, if it is a rendering, the contents that it gives if it does not fail, and the keys that are missing.
    pub rendering: Option<(TemplateSource, Option<String>, BTreeSet<Dependency>)>,
}

/// The label of the command of a template.
pub(crate) fn command_of(destination: &str) -> String {
    let destination = destination.to_owned();
    Role::Template { destination }.to_string()
}

impl Observer {
    /// preStart has passed: the templates are opened, and the application starts when those are written that are required.
    pub(super) fn await_templates(&mut self) {
        self.awaiting = Some(self.turn.began);
        self.open_templates();
        self.open_if_written();
    }

    /// Adds the templates of the plan that do not exist yet.
    pub(super) fn open_templates(&mut self) {
        for template in &self.plan.clone().templates {
            let facts = || TemplateFacts {
                template: template.clone(),
                closing: false,
                work: None,
                rendered: None,
                writing: None,
                doubtful: false,
                written: None,
                done: false,
                owed: false,
                retry: None,
            };
            self.templates
                .entry(template.destination.clone())
                .or_insert_with(facts);
        }
    }

    /// Whether all templates are written that are required.
    pub(crate) fn required_are_written(&self) -> bool {
        let mut required = self.templates.values().filter(|facts| facts.template.required);
        required.all(|facts| facts.done || facts.closing)
    }

    pub(super) fn open_if_written(&mut self) {
        let waits = self.awaiting.is_some() && !self.is_stopping() && self.incoming.is_none();
        if waits && self.required_are_written() {
            self.awaiting = None;
            self.open();
        }
    }

    pub(super) fn renders(&mut self, ticket: Ticket, rendering: &Rendering) {
        let contents = templates::contents(&rendering.source, &rendering.known);
        let missing = templates::missing(&rendering.source, &rendering.known);
        let work = Work {
            destination: rendering.destination.clone(),
            rendering: Some((rendering.source.clone(), contents, missing)),
        };
        if let Some(facts) = self.templates.get_mut(&rendering.destination) {
            facts.work = Some(ticket);
        }
        self.works.insert(ticket, work);
    }

    pub(super) fn writes(&mut self, ticket: Ticket, writing: &Writing) {
        let work = Work {
            destination: writing.destination.clone(),
            rendering: None,
        };
        if let Some(facts) = self.templates.get_mut(&writing.destination) {
            facts.work = Some(ticket);
            facts.writing = Some(writing.contents.clone());
        }
        self.works.insert(ticket, work);
    }

    /// The template whose work has ended, unless a reload has replaced it.
    fn worked(&mut self, ticket: Ticket) -> Option<&mut TemplateFacts> {
        let work = self.works.remove(&ticket)?;
        let facts = self.templates.get_mut(&work.destination)?;
        facts.work.take_if(|current| *current == ticket)?;
        Some(facts)
    }

    pub(super) fn rendered(&mut self, ticket: Ticket, rendered: &Rendered) {
        if let Some(facts) = self.worked(ticket) {
            facts.rendered = match &rendered.outcome {
                Outcome::Complete(contents) => Some(contents.clone()),
                Outcome::Incomplete | Outcome::Failed(_) => None,
            };
        }
    }

    pub(super) fn written(&mut self, ticket: Ticket, written: &Written) {
        if let Some(facts) = self.worked(ticket) {
            let contents = facts.writing.take();
            let succeeded = !matches!(written, Written::Failed(_));
            let doubtful = std::mem::replace(&mut facts.doubtful, !succeeded);
            if succeeded {
                facts.written = contents;
                facts.done = true;
                let changed = doubtful || *written == Written::Changed;
                facts.owed |= changed && facts.template.command.is_some();
            }
        }
        self.open_if_written();
    }

    pub(super) fn template_command_starts(&mut self, destination: &str) {
        if let Some(facts) = self.templates.get_mut(destination) {
            facts.owed = false;
            facts.retry = None;
        }
    }

    /// A command that could not be started still has to run, after a pause.
    pub(super) fn template_command_ended(&mut self, destination: &str, ending: &Ending) {
        let (now, turn) = (self.now, self.turn.began);
        if let Some(facts) = self.templates.get_mut(destination)
            && matches!(ending, Ending::NotStarted(_))
        {
            let (least, most) = HANDLER_PAUSE;
            facts.owed = true;
            facts.retry = Some((turn + least, now + most));
        }
    }

    /// A new plan was read: the templates that it lacks or changes end.
    pub(super) fn close_templates(&mut self, plan: &Plan) {
        for facts in self.templates.values_mut() {
            facts.closing |= !plan.templates.contains(&facts.template);
        }
    }

    /// Whether no command runs of a template that a reload ends.
    pub(super) fn closing_templates_have_ended(&self) -> bool {
        let mut closing = self.templates.iter().filter(|(_, facts)| facts.closing);
        closing.all(|(destination, _)| !self.is_running(&command_of(destination)))
    }

    /// A new plan has come into force: the files of the templates that stay are compared with what is rendered.
    pub(super) fn adopt_templates(&mut self) {
        for run in self.children.values_mut() {
            if let Role::Template { destination } = &run.role {
                let facts = self.templates.get(destination);
                run.abandoned |= facts.is_none_or(|facts| facts.closing);
            }
        }
        self.templates.retain(|_, facts| !facts.closing);
        for facts in self.templates.values_mut() {
            facts.written = None;
            // The start waits for the new comparison.
            facts.done = false;
        }
        self.open_templates();
        self.open_if_written();
    }
}

domain::keyed!(TemplateFacts {
    template,
    closing,
    work,
    rendered,
    writing,
    doubtful,
    written,
    done,
    owed,
    retry
});
domain::keyed_as_is!(Work);
