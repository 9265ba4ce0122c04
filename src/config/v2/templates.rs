//! The section `templates`, and `startTimeout` (docs/templates.md). Neither is a key of ContainerPilot 2.

use super::error::{DurationKey, Subject, TemplateError};
use super::registration::Abilities;
use super::{handlers, jobs};
use crate::config::Target;
use crate::config::keys::{Section, boolean, command, duration, identity, list, string, text};
use crate::config::problem::Problems;
use crate::config::tree::Value;
use domain::plan::{Job, Role, START_TIMEOUT, Template, TemplateSource};
use domain::time::Duration;
use std::collections::HashSet;

/// The most templates of one configuration (docs/bounds.md).
const MOST_TEMPLATES: usize = 100;
/// How long the command of a template may take, unless the configuration says otherwise; as in consul-template
/// (docs/bounds.md).
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// Takes `templates` and `startTimeout`.
pub fn take(
    section: &mut Section<'_>,
    target: &Target<'_>,
    abilities: Abilities<'_>,
    problems: &mut Problems<'_>,
) -> (Vec<Template>, Duration) {
    let limit = section.take("startTimeout");
    let limit = limit.and_then(|value| duration::positive(value, &DurationKey::StartTimeout, problems));
    let templates = section
        .take("templates")
        .map(|value| read(value, target, abilities, problems));
    (templates.unwrap_or_default(), limit.unwrap_or(START_TIMEOUT))
}

/// Reads `templates`. Two templates with one destination are refused, because they would overwrite each other.
fn read(
    value: &Value<'_>,
    target: &Target<'_>,
    abilities: Abilities<'_>,
    problems: &mut Problems<'_>,
) -> Vec<Template> {
    let mut destinations: HashSet<String> = HashSet::new();
    let templates = list(value, "an array of templates", problems, |value, problems| {
        let template = template(value, target, abilities, problems)?;
        if !destinations.insert(template.destination.clone()) {
            problems.error(value, TemplateError::OneDestination(&template.destination));
        }
        Some(template)
    });
    if templates.len() > MOST_TEMPLATES {
        problems.error(value, TemplateError::TooMany(templates.len(), MOST_TEMPLATES));
    }
    templates
}

fn template(
    value: &Value<'_>,
    target: &Target<'_>,
    abilities: Abilities<'_>,
    problems: &mut Problems<'_>,
) -> Option<Template> {
    let mut section = Section::open(value, "an object", problems)?;
    let destination = text(&mut section, "destination", problems);
    if destination.is_none() {
        problems.error(value, TemplateError::NoDestination);
    }
    let subject = Subject::Template(destination.as_deref().unwrap_or_default());
    let source = source(value, &mut section, abilities, subject, problems);
    let mode = section
        .take("mode")
        .and_then(|value| mode(value, subject, problems));
    let owner = identity(&mut section, target, problems);
    let run = section
        .take("command")
        .and_then(|value| command::optional(value, target, problems));
    let limit = section.take("timeout");
    let run = command::limited(run, limit, &DurationKey::Key("timeout", subject), problems);
    let wait = section
        .take("wait")
        .and_then(|value| handlers::wait(value, subject, problems));
    let required = section
        .take("required")
        .and_then(|value| boolean(value, problems));
    section.close(problems);
    let destination = destination.clone()?;
    let command = run.map(|run| {
        let role = Role::Template {
            destination: destination.clone(),
        };
        let time_limit = run.time_limit.or(Some(COMMAND_LIMIT));
        Job {
            time_limit,
            ..jobs::on_demand(role, run)
        }
    });
    Some(Template {
        source: source?,
        destination,
        mode,
        owner: owner.map(|identity| (identity.user, identity.group)),
        command,
        wait,
        required: required.unwrap_or_default(),
    })
}

/// Either `source` or `contents`. The language of the latter is checked here; a file may not be there yet.
fn source(
    value: &Value<'_>,
    section: &mut Section<'_>,
    abilities: Abilities<'_>,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> Option<TemplateSource> {
    let path = text(section, "source", problems);
    let contents = section.take("contents");
    match (path, contents) {
        (Some(path), None) => Some(TemplateSource::File(path)),
        (None, Some(contents)) => {
            let text = string(contents, problems)?;
            if let Err(error) = template::check_with_lookup(text, abilities.has_keys()) {
                problems.error(contents, TemplateError::Syntax(subject, &error));
            }
            Some(TemplateSource::Contents(text.to_owned()))
        }
        (path, _) => {
            problems.error(value, TemplateError::Source(subject, path.is_some()));
            None
        }
    }
}

/// Permissions in octal digits, as a string: a number would be decimal.
fn mode(value: &Value<'_>, subject: Subject<'_>, problems: &mut Problems<'_>) -> Option<u32> {
    let text = value.string().filter(|text| (3..=4).contains(&text.len()));
    let mode = text.and_then(|text| u32::from_str_radix(text, 8).ok());
    if mode.is_none() {
        let allowed = "a string of three or four octal digits such as \"0644\"";
        problems.wrong(value, TemplateError::Mode(subject), allowed);
    }
    mode
}
