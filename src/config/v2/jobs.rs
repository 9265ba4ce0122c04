//! Everything that runs a child, as jobs; and the sections `tasks` and `coprocesses` (behaviour-v2.md 2.7).

use super::section::{Section, list, string};
use super::{command, duration};
use crate::config::json::{Kind, Node};
use crate::config::problem::Problems;
use domain::plan::{Command, Job, Output, Reach, Restarts, Role, Stop, StopTimeout, Trigger};
use domain::time::Duration;

/// How long a coprocess may take to stop before it is killed (EX-22).
const COPROCESS_GRACE: Duration = Duration::from_secs(3);

/// The application: SIGTERM goes to its process, as the original's (EX-13). When it is killed is for the
/// lifecycle to say.
pub fn application(command: Command) -> Job {
    let stop = Stop {
        reach: Reach::Process,
        ..Stop::AT_ONCE
    };
    Job {
        stop,
        ..Job::new(Role::Application, command, Trigger::Moment, Output::Inherit)
    }
}

/// A lifecycle hook, whose output goes straight through.
pub fn lifecycle(role: Role, command: Command, stop_timeout: StopTimeout) -> Job {
    let stop = Stop {
        reach: Reach::Group,
        grace: stop_timeout.grace(),
    };
    Job {
        stop,
        ..Job::new(role, command, Trigger::Moment, Output::Inherit)
    }
}

/// A health check or a handler.
pub fn asked(role: Role, command: Command, time_limit: Option<Duration>) -> Job {
    Job {
        time_limit,
        ..Job::new(role, command, Trigger::Asked, Output::Log)
    }
}

/// Reads `tasks`.
pub fn read_tasks(node: &Node<'_>, problems: &mut Problems) -> Vec<Job> {
    list(node, "an array of tasks", problems, task)
}

fn task(node: &Node<'_>, problems: &mut Problems) -> Option<Job> {
    let mut section = Section::open(node, "an object", problems)?;
    let name = name(&mut section, problems);
    let command = mandatory(node, &mut section, "Task did not provide a command", problems);
    let frequency = section.take("frequency");
    if frequency.is_none() {
        problems.add(
            node,
            format!("a task needs a `frequency`, allowed is {}", duration::ALLOWED),
        );
    }
    let frequency =
        frequency.and_then(|node| duration::positive(&node, "Unable to parse frequency", problems));
    let limit = section
        .take("timeout")
        .and_then(|node| duration::limit(&node, "Unable to parse timeout", problems));
    section.close(problems);
    let (command, frequency) = (command?, frequency?);
    let role = Role::Task {
        name: name.unwrap_or_else(|| in_one_line(&command)),
    };
    let time_limit = limit.or(Some(frequency));
    Some(Job {
        time_limit,
        ..Job::new(role, command, Trigger::Every(frequency), Output::Log)
    })
}

/// Reads `coprocesses`.
pub fn read_coprocesses(node: &Node<'_>, problems: &mut Problems) -> Vec<Job> {
    list(node, "an array of coprocesses", problems, coprocess)
}

fn coprocess(node: &Node<'_>, problems: &mut Problems) -> Option<Job> {
    let mut section = Section::open(node, "an object", problems)?;
    let name = name(&mut section, problems);
    let command = mandatory(
        node,
        &mut section,
        "Coprocess did not provide a command",
        problems,
    );
    let restarts = section.take("restarts").map(|node| restarts(&node, problems));
    section.close(problems);
    let command = command?;
    let role = Role::Coprocess {
        name: name.unwrap_or_else(|| in_one_line(&command)),
    };
    let restarts = restarts.unwrap_or(Some(Restarts::NEVER))?;
    let stop = Stop {
        reach: Reach::Group,
        grace: COPROCESS_GRACE,
    };
    Some(Job {
        restarts,
        stop,
        ..Job::new(role, command, Trigger::Moment, Output::Log)
    })
}

fn name(section: &mut Section<'_>, problems: &mut Problems) -> Option<String> {
    let name = section.take("name").and_then(|node| string(&node, problems));
    name.filter(|name| !name.is_empty())
}

fn mandatory(
    node: &Node<'_>,
    section: &mut Section<'_>,
    missing: &str,
    problems: &mut Problems,
) -> Option<Command> {
    let command = section.take("command");
    if command.is_none() {
        problems.add(node, missing);
    }
    command::required(&command?, missing, problems)
}

/// The words of a command joined by spaces: the name of what has none (CFG-12).
fn in_one_line(command: &Command) -> String {
    let words = std::iter::once(&command.program).chain(&command.arguments);
    words.map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

/// How often: `"never"`, `"unlimited"` or a number, also as a string.
fn restarts(node: &Node<'_>, problems: &mut Problems) -> Option<Restarts> {
    let text = node.string();
    let restarts = match (node.kind(), text.as_deref()) {
        (Kind::String, Some("unlimited")) => Some(Restarts::Unlimited),
        (Kind::String, Some("never")) => Some(Restarts::NEVER),
        (Kind::String, Some(number)) => number.parse().ok().map(Restarts::AtMost),
        (Kind::Number, _) => node
            .number()
            .and_then(|number| number.parse().ok())
            .map(Restarts::AtMost),
        _ => None,
    };
    if restarts.is_none() {
        let found = text.unwrap_or_else(|| node.as_written());
        let allowed = "accepts positive integers, \"unlimited\" or \"never\"";
        problems.add(node, format!("Invalid 'restarts' field \"{found}\": {allowed}"));
    }
    restarts
}
