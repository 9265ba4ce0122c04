//! The first front end: the keys of ContainerPilot 2.7.8 and `directory` (behaviour-v2.md section 2).
//!
//! One pass over the document takes what it knows, section by section, and notes everything that is wrong on
//! the way; only if nothing is, there is a plan. Keys are exact, and unknown ones are errors (CFG-3, CFG-14).

mod catalogue;
mod command;
mod duration;
mod jobs;
mod logging;
mod section;
mod services;
mod telemetry;
#[cfg(test)]
mod tests;

use super::json::{Document, Kind, Node};
use super::problem::Problems;
use super::{Compiled, Target};
use domain::plan::{Job, Plan, Role, Service, StopTimeout, Word};
use section::Section;
use std::collections::BTreeMap;

/// Compiles a document.
///
/// # Errors
/// Everything that is wrong with it.
pub fn compile(document: &Document<'_>, target: &Target<'_>) -> Result<Compiled, Problems> {
    let mut problems = Problems::default();
    let plan = plan(&document.root(), target, &mut problems);
    match plan {
        Some(plan) if problems.is_empty() => Ok(Compiled {
            plan,
            warnings: problems.into_warnings(),
            shown: document.shown(),
        }),
        _ => Err(problems),
    }
}

fn plan(root: &Node<'_>, target: &Target<'_>, problems: &mut Problems) -> Option<Plan> {
    if root.kind() == Kind::Null {
        problems.add(root, catalogue::NONE);
        return None;
    }
    let mut section = Section::open(root, "an object", problems)?;
    let (catalogue, max_connections) = catalogue::read(root, &mut section, target, problems).unzip();
    let logging = section.take("logging").map(|node| logging::read(&node, problems));
    let stop_timeout = section
        .take("stopTimeout")
        .and_then(|node| stop_timeout(&node, problems));
    let stop_timeout = stop_timeout.unwrap_or_default();
    let pre_start = pre_start(&mut section, stop_timeout, problems);
    let hook = |key, role, section: &mut Section<'_>, problems: &mut Problems| {
        let command = command::optional(&section.take(key)?, problems)?;
        Some(jobs::lifecycle(role, command, stop_timeout))
    };
    let pre_stop = hook("preStop", Role::PreStop, &mut section, problems);
    let post_stop = hook("postStop", Role::PostStop, &mut section, problems);
    let services = section.take("services");
    let mut services = services
        .map(|node| services::read_services(&node, target, problems))
        .unwrap_or_default();
    let backends = section.take("backends");
    let backends = backends
        .map(|node| services::read_backends(&node, problems))
        .unwrap_or_default();
    let tasks = section
        .take("tasks")
        .map(|node| jobs::read_tasks(&node, problems));
    let coprocesses = section
        .take("coprocesses")
        .map(|node| jobs::read_coprocesses(&node, problems));
    let telemetry = section
        .take("telemetry")
        .and_then(|node| telemetry::read(&node, target, &services, problems));
    let (telemetry, endpoint) = telemetry.unzip();
    services.extend(endpoint);
    section.close(problems);
    Some(Plan {
        catalogue: catalogue?,
        max_connections: max_connections.flatten(),
        logging: logging.unwrap_or_default(),
        application: application(target, &services, problems),
        pre_start,
        pre_stop,
        post_stop,
        stop_timeout,
        services,
        backends,
        jobs: tasks.into_iter().chain(coprocesses).flatten().collect(),
        telemetry,
    })
}

/// `onStart` is the old name of `preStart` (CFG-17).
fn pre_start(section: &mut Section<'_>, stop_timeout: StopTimeout, problems: &mut Problems) -> Option<Job> {
    const OLD: &str = "The onStart option has been deprecated in favor of preStart. ContainerPilot will use";
    let old = section.take("onStart");
    let new = section.take("preStart");
    match (&old, &new) {
        (Some(_), Some(_)) => problems.advise(format!("{OLD} only the preStart option provided")),
        (Some(_), None) => problems.advise(format!("{OLD} the onStart option as a preStart")),
        _ => {}
    }
    let command = command::optional(&new.or(old)?, problems)?;
    Some(jobs::lifecycle(Role::PreStart, command, stop_timeout))
}

/// Seconds; 0 is the default (CFG-11), negative is "at once".
fn stop_timeout(node: &Node<'_>, problems: &mut Problems) -> Option<StopTimeout> {
    const ALLOWED: &str = "a whole number of seconds, or -1 for SIGKILL at once";
    let seconds = section::integer(node, ALLOWED, problems)?;
    if seconds == 0 {
        problems.warn(
            node,
            "0 means the default of 5 seconds, not \"at once\", which is -1",
        );
        return None;
    }
    if seconds < 0 {
        return Some(StopTimeout::Immediately);
    }
    duration::from_seconds(node, seconds, "`stopTimeout`", ALLOWED, problems).map(StopTimeout::After)
}

/// The trailing arguments, each rendered as a template of its own. One that is wrong leaves all of them as
/// they are (CLI-4). The services' addresses are known to them already.
fn application(target: &Target<'_>, services: &[Service], problems: &mut Problems) -> Option<Job> {
    let (program, arguments) = rendered(target, services, problems)
        .split_first()
        .map(|(first, rest)| {
            let rest: Vec<Word> = rest.to_vec();
            (first.clone(), rest)
        })?;
    Some(jobs::application(domain::plan::Command { program, arguments }))
}

fn rendered(target: &Target<'_>, services: &[Service], problems: &mut Problems) -> Vec<Word> {
    let mut variables: BTreeMap<String, String> = target.variables.clone();
    let address = |service: &Service| {
        (
            service.address_variable(),
            service.registration.address.to_string(),
        )
    };
    variables.extend(services.iter().map(address));
    let data = template::environment(&variables);
    let render = |word: &Word| match std::str::from_utf8(&word.0) {
        Ok(text) => template::render_value(text, &data, &variables).map(|text| Word(text.into_bytes())),
        Err(_) => Ok(word.clone()),
    };
    let rendered: Result<Vec<Word>, _> = target.application.iter().map(render).collect();
    rendered.unwrap_or_else(|error| {
        let sentence = format!("Unable to render command arguments template: {error}");
        problems.advise(sentence);
        target.application.to_vec()
    })
}
