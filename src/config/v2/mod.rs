//! The front end for version 2: the keys of ContainerPilot 2.7.8, and `directory`
//! (docs/development/behaviour.md, rows CFG-*).
//!
//! One pass over the document takes the known keys, section by section, and reports all errors; there is a
//! plan only if there are none. Keys are case-sensitive, and unknown keys are errors (CFG-3, CFG-14).

mod catalogue;
mod checks;
pub mod control;
mod error;
mod handlers;
mod jobs;
mod logging;
mod probes;
mod registration;
mod services;
mod stop;
mod telemetry;
mod templates;
#[cfg(test)]
mod tests;

use super::Target;
use super::keys::{Section, command, identity};
use super::problem::Problems;
use super::tree::Document;
use domain::plan::{Identity, Job, Plan, Role, Service, Stop, StopTimeout, Word};
use error::{CatalogueSectionError, VersionError, Warning};
use registration::Abilities;
use std::collections::BTreeMap;

/// Compiles a document. Returns a plan if there are no errors; errors and warnings are added to `problems`.
pub fn compile(document: &Document<'_>, target: &Target<'_>, problems: &mut Problems<'_>) -> Option<Plan> {
    let (root, has_etcd) = (&document.root, target.has_etcd);
    if root.is_null() {
        problems.error(root, CatalogueSectionError::None { has_etcd });
        return None;
    }
    let mut section = Section::open(root, "an object", problems)?;
    // Editors find the schema of the file by it.
    section.take("$schema");
    let (catalogue, max_connections) = catalogue::read(root, &mut section, target, problems).unzip();
    let logging = section
        .take("logging")
        .map(|value| logging::read(value, problems));
    let stopping = stop::read(&mut section, target, problems);
    let stop_timeout = stopping.timeout;
    let identity = identity(&mut section, target, problems);
    let pre_start = pre_start(&mut section, stop_timeout, target, problems);
    let mut hook = |key, role| {
        let run = command::optional(section.take(key)?, target, problems)?;
        Some(jobs::lifecycle(role, run, stop_timeout))
    };
    let pre_stop = hook("preStop", Role::PreStop);
    let post_stop = hook("postStop", Role::PostStop);
    let abilities = Abilities(catalogue.as_ref());
    let mut services = section.take("services").map_or_else(Vec::new, |value| {
        services::read_services(value, target, abilities, problems)
    });
    let backends = section.take("backends").map_or_else(Vec::new, |value| {
        services::read_backends(value, target, abilities, problems)
    });
    let jobs = jobs::read(&mut section, target, problems);
    let (templates, start_timeout) = templates::take(&mut section, target, abilities, problems);
    let control = section
        .take("control")
        .map(|value| control::read(value, target, problems));
    let telemetry = section
        .take("telemetry")
        .and_then(|value| telemetry::read(value, target, &services, problems));
    let (telemetry, endpoint) = telemetry.unzip();
    services.extend(endpoint);
    refuse_version_3(&mut section, problems);
    section.close(problems);
    Some(Plan {
        catalogue: catalogue?,
        max_connections: max_connections.flatten(),
        logging: logging.unwrap_or_default(),
        application: application(target, &services, stopping.application, identity, problems),
        pre_start,
        pre_stop,
        post_stop,
        drain: stopping.drain,
        stop_timeout,
        stop_on: stopping.on,
        services,
        backends,
        jobs,
        templates,
        start_timeout,
        renders_only: false,
        control: control.flatten(),
        telemetry,
    })
}

fn refuse_version_3(section: &mut Section<'_>, problems: &mut Problems<'_>) {
    for key in error::KEYS_OF_VERSION_3 {
        if let Some(member) = section.take_wrong(key) {
            problems.error(member, VersionError::Three(key));
        }
    }
}

/// The preStart hook. `onStart` is the old name of `preStart` (CFG-17).
fn pre_start(
    section: &mut Section<'_>,
    stop_timeout: StopTimeout,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<Job> {
    let old = section.take("onStart");
    let new = section.take("preStart");
    match (old, new) {
        (Some(old), Some(_)) => problems.warning(old, Warning::OnStartIgnored),
        (Some(old), None) => problems.warning(old, Warning::OnStart),
        _ => {}
    }
    let run = command::optional(new.or(old)?, target, problems)?;
    Some(jobs::lifecycle(Role::PreStart, run, stop_timeout))
}

/// The application's arguments, each rendered as a template of its own. If one is invalid, all stay as they
/// are (CLI-4). The templates can use the variables with the services' addresses.
fn application(
    target: &Target<'_>,
    services: &[Service],
    stop: Stop,
    identity: Option<Identity>,
    problems: &mut Problems<'_>,
) -> Option<Job> {
    let (program, arguments) = rendered(target, services, problems)
        .split_first()
        .map(|(first, rest)| {
            let rest: Vec<Word> = rest.to_vec();
            (first.clone(), rest)
        })?;
    if let Some(warning) = command::not_executable(&program, target) {
        problems.warning_elsewhere(warning);
    }
    let command = domain::plan::Command { program, arguments };
    Some(jobs::application(command, stop, identity))
}

fn rendered(target: &Target<'_>, services: &[Service], problems: &mut Problems<'_>) -> Vec<Word> {
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
        problems.warning_elsewhere(Warning::Arguments(&error));
        target.application.to_vec()
    })
}
