//! The jobs of a configuration: the application, hooks, checks and handlers, and the sections `tasks` and
//! `coprocesses`.

use super::error::{DurationKey, JobError};
use crate::config::Target;
use crate::config::keys::command::{self, Run};
use crate::config::keys::{Section, duration, list, text};
use crate::config::problem::Problems;
use crate::config::tree::{Data, Value};
use domain::plan::{
    Command, Identity, Input, Job, Output, Restarts, Role, SignalTarget, Stop, StopTimeout, Trigger,
};
use domain::time::Duration;
use std::collections::{HashMap, HashSet};

/// The time between SIGTERM and SIGKILL for a coprocess (EX-22).
const COPROCESS_GRACE: Duration = Duration::from_secs(3);

/// The application, and which signal asks it to stop: SIGTERM for its process only, as in the original, unless the
/// configuration says otherwise (EX-13). The lifecycle decides when it is killed.
pub fn application(command: Command, stop: Stop, identity: Option<Identity>) -> Job {
    Job {
        stop,
        input: Input::Inherited,
        identity,
        ..Job::new(Role::Application, command, Trigger::Lifecycle, Output::Inherit)
    }
}

/// A lifecycle hook; it inherits the shim's output.
pub fn lifecycle(role: Role, run: Run, stop_timeout: StopTimeout) -> Job {
    let stop = Stop {
        reach: SignalTarget::Tree,
        grace: stop_timeout.grace(),
        ..Stop::AT_ONCE
    };
    Job {
        stop,
        ..run.job(role, Trigger::Lifecycle, Output::Inherit)
    }
}

/// A health check or a handler.
pub fn on_demand(role: Role, run: Run) -> Job {
    run.job(role, Trigger::OnDemand, Output::Log)
}

/// Takes `tasks` and `coprocesses`.
pub fn read(section: &mut Section<'_>, target: &Target<'_>, problems: &mut Problems<'_>) -> Vec<Job> {
    let tasks = section
        .take("tasks")
        .map(|value| read_tasks(value, target, problems));
    let coprocesses = section
        .take("coprocesses")
        .map(|value| read_coprocesses(value, target, problems));
    tasks.into_iter().chain(coprocesses).flatten().collect()
}

fn read_tasks(value: &Value<'_>, target: &Target<'_>, problems: &mut Problems<'_>) -> Vec<Job> {
    let tasks = list(value, "an array of tasks", problems, |value, problems| {
        task(value, target, problems)
    });
    named(tasks, |name| Role::Task { name })
}

fn task(
    value: &Value<'_>,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<(Option<String>, Job)> {
    let mut section = Section::open(value, "an object", problems)?;
    let name = text(&mut section, "name", problems);
    let run = mandatory(value, &mut section, JobError::NoTaskCommand, target, problems);
    let frequency = section.take("frequency");
    if frequency.is_none() {
        problems.error(value, JobError::NoFrequency);
    }
    let frequency = frequency.and_then(|value| duration::positive(value, &DurationKey::Frequency, problems));
    let limit = section.take("timeout");
    let run = command::limited(run, limit, &DurationKey::Timeout, problems);
    section.close(problems);
    let (run, frequency) = (run?, frequency?);
    let role = Role::Task { name: String::new() };
    let time_limit = run.time_limit.or(Some(frequency));
    let job = Job {
        time_limit,
        ..run.job(role, Trigger::Every(frequency), Output::Log)
    };
    Some((name, job))
}

fn read_coprocesses(value: &Value<'_>, target: &Target<'_>, problems: &mut Problems<'_>) -> Vec<Job> {
    let coprocesses = list(value, "an array of coprocesses", problems, |value, problems| {
        coprocess(value, target, problems)
    });
    named(coprocesses, |name| Role::Coprocess { name })
}

fn coprocess(
    value: &Value<'_>,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<(Option<String>, Job)> {
    let mut section = Section::open(value, "an object", problems)?;
    let name = text(&mut section, "name", problems);
    let run = mandatory(
        value,
        &mut section,
        JobError::NoCoprocessCommand,
        target,
        problems,
    );
    let restarts = section.take("restarts").map(|value| restarts(value, problems));
    section.close(problems);
    let run = run?;
    let role = Role::Coprocess { name: String::new() };
    let restarts = restarts.unwrap_or(Some(Restarts::NEVER))?;
    let stop = Stop {
        reach: SignalTarget::Tree,
        grace: COPROCESS_GRACE,
        ..Stop::AT_ONCE
    };
    let job = Job {
        restarts,
        stop,
        ..run.job(role, Trigger::Lifecycle, Output::Log)
    };
    Some((name, job))
}

fn mandatory(
    value: &Value<'_>,
    section: &mut Section<'_>,
    missing: JobError<'_>,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<Run> {
    let command = section.take("command");
    if command.is_none() {
        problems.error(value, missing);
    }
    command::required(command?, missing, target, problems)
}

/// Gives every job its name. A job without a name has the name of its program (CFG-12), with a number if the
/// name occurs twice. Arguments are not used, because they may be secret and names are shown.
fn named(jobs: Vec<(Option<String>, Job)>, role: impl Fn(String) -> Role) -> Vec<Job> {
    let mut taken: HashSet<String> = jobs.iter().filter_map(|(name, _)| name.clone()).collect();
    let mut numbers: HashMap<String, usize> = HashMap::new();
    let named = jobs.into_iter().map(|(name, job)| {
        let name = name.unwrap_or_else(|| default_name(&job.command, &mut taken, &mut numbers));
        Job {
            role: role(name),
            ..job
        }
    });
    named.collect()
}

fn default_name(
    command: &Command,
    taken: &mut HashSet<String>,
    numbers: &mut HashMap<String, usize>,
) -> String {
    let program = command.program.to_string();
    let base = program
        .rsplit('/')
        .find(|part| !part.is_empty())
        .unwrap_or(&program);
    let last = numbers.entry(base.to_owned()).or_default();
    loop {
        *last += 1;
        let name = match *last {
            1 => base.to_owned(),
            number => format!("{base}-{number}"),
        };
        if taken.insert(name.clone()) {
            return name;
        }
    }
}

/// The number of restarts: `"never"`, `"unlimited"` or a number, also as a string.
fn restarts(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<Restarts> {
    let at_most = |number: &str| number.parse().ok().map(Restarts::AtMost);
    let restarts = match &value.data {
        Data::String(word) if word == "unlimited" => Some(Restarts::Unlimited),
        Data::String(word) if word == "never" => Some(Restarts::NEVER),
        Data::String(number) => at_most(number),
        Data::Number(number) => at_most(number),
        _ => None,
    };
    if restarts.is_none() {
        let written = &problems.document().text[value.span.clone()];
        problems.error(value, JobError::Restarts(value.string().unwrap_or(written)));
    }
    restarts
}
