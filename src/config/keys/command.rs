//! Commands: a string cut at spaces, an array of words, or an object with either of them and how its process runs.
//!
//! No shell is used, and there is no quoting. A string that looks as if it was written for a shell is
//! accepted with a warning (CFG-6).

use super::{Error, Section, Warning, duration, identity, list};
use crate::config::Target;
use crate::config::problem::{Message, Problems};
use crate::config::tree::{Data, Value};
use domain::plan::{Command, Identity, Job, Output, Role, Trigger, Word};
use domain::time::Duration;
use std::fmt::Display;

const ALLOWED: &str = "a string, an array of strings, or an object with `command`";
const WORDS: &str = "a string or an array of strings";

/// A command, and how its process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The program and its arguments.
    pub command: Command,
    /// The user and the groups of the process.
    pub identity: Option<Identity>,
    /// The time limit in the command's object.
    pub time_limit: Option<Duration>,
    /// Whether the object has the key `timeout`, also if its value means that there is no limit.
    has_timeout: bool,
}

impl Run {
    /// A job for this command.
    pub fn job(self, role: Role, trigger: Trigger, output: Output) -> Job {
        Job {
            identity: self.identity,
            time_limit: self.time_limit,
            ..Job::new(role, self.command, trigger, output)
        }
    }
}

/// A command that may be absent; an empty one counts as absent (CFG-8).
pub fn optional(value: &Value<'_>, target: &Target<'_>, problems: &mut Problems<'_>) -> Option<Run> {
    let written = written(value, target, problems)?;
    if written.words.is_none() {
        problems.error(value, Error::NoCommand);
    }
    written.run()
}

/// A command that is required. `missing` is the message if it is absent or empty.
pub fn required(
    value: &Value<'_>,
    missing: impl Message,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<Run> {
    let run = written(value, target, problems)?.run();
    if run.is_none() {
        problems.wrong(value, missing, ALLOWED);
    }
    run
}

/// A command that is required in an object with further keys: takes `command`, `user`, `group` and `timeout`. Returns the
/// value of `timeout`, too. `missing` is the message if the command is absent or empty.
pub fn in_object<'v>(
    value: &Value<'_>,
    section: &mut Section<'v>,
    missing: impl Message,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> (Option<Run>, Option<&'v Value<'v>>) {
    let taken = Taken::from(section, target, problems);
    let is_read = taken.written.is_some();
    let run = taken.written.and_then(Written::run);
    match taken.command {
        None => problems.error(value, missing),
        // A command that cannot be read has been reported.
        Some(command) if run.is_none() && is_read => problems.wrong(command, missing, WORDS),
        Some(_) => {}
    }
    (run, taken.timeout)
}

/// Adds the time limit that is given beside the command. It is an error if the command's object has one, too. `subject`
/// is the beginning of the message about an invalid one.
pub fn limited(
    run: Option<Run>,
    beside: Option<&Value<'_>>,
    subject: &dyn Display,
    problems: &mut Problems<'_>,
) -> Option<Run> {
    let limit = beside.and_then(|value| duration::limit(value, subject, problems));
    let run = run?;
    if let (Some(value), true) = (beside, run.has_timeout) {
        problems.error(value, Error::TwoLimits);
    }
    Some(Run {
        time_limit: run.time_limit.or(limit),
        ..run
    })
}

/// A command as it is written; it may be empty.
struct Written {
    /// `None` if an object does not have them.
    words: Option<Vec<String>>,
    identity: Option<Identity>,
    time_limit: Option<Duration>,
    has_timeout: bool,
}

impl Written {
    fn run(self) -> Option<Run> {
        Some(Run {
            command: command(self.words?)?,
            identity: self.identity,
            time_limit: self.time_limit,
            has_timeout: self.has_timeout,
        })
    }
}

fn written(value: &Value<'_>, target: &Target<'_>, problems: &mut Problems<'_>) -> Option<Written> {
    let Data::Object(_) = value.data else {
        return Some(Written {
            words: Some(words(value, ALLOWED, target, problems)?),
            identity: None,
            time_limit: None,
            has_timeout: false,
        });
    };
    let mut section = Section::open(value, ALLOWED, problems)?;
    let written = Taken::from(&mut section, target, problems).written;
    section.close(problems);
    written
}

/// The keys of a command that were taken from an object.
struct Taken<'v> {
    command: Option<&'v Value<'v>>,
    timeout: Option<&'v Value<'v>>,
    /// `None` if the words cannot be read, which has been reported.
    written: Option<Written>,
}

impl<'v> Taken<'v> {
    fn from(section: &mut Section<'v>, target: &Target<'_>, problems: &mut Problems<'_>) -> Self {
        let command = section.take("command");
        let words = command.map(|value| words(value, WORDS, target, problems));
        let identity = identity(section, target, problems);
        let timeout = section.take("timeout");
        let time_limit =
            timeout.and_then(|value| duration::limit(value, &"`timeout` of a command", problems));
        let written = words
            .map_or(Some(None), |words| words.map(Some))
            .map(|words| Written {
                words,
                identity,
                time_limit,
                has_timeout: timeout.is_some(),
            });
        Self {
            command,
            timeout,
            written,
        }
    }
}

fn command(words: Vec<String>) -> Option<Command> {
    let mut words = words.iter().map(|word| Word::from(word.as_str()));
    let program = words.next().filter(|program| !program.0.is_empty())?;
    let arguments = words.collect();
    Some(Command { program, arguments })
}

fn words(
    value: &Value<'_>,
    allowed: &str,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<Vec<String>> {
    let words: Vec<String> = match &value.data {
        Data::String(text) => {
            warn_of_shell(value, text, problems);
            let words = text.trim().split(' ').filter(|word| !word.is_empty());
            words.map(str::to_owned).collect()
        }
        Data::List(_) => list(value, allowed, problems, word),
        _ => {
            problems.wrong(value, Error::NotACommand, allowed);
            return None;
        }
    };
    let program = words.first().map(String::as_str).filter(|word| !word.is_empty());
    if let Some(warning) = program.and_then(|program| not_executable(&Word::from(program), target)) {
        problems.warning(value, warning);
    }
    Some(words)
}

/// The warning about a program that cannot be executed, if the configuration is only checked.
pub fn not_executable(program: &Word, target: &Target<'_>) -> Option<Warning<'static>> {
    let examination = target.examination?;
    let reason = examination.programs.find(program).err()?;
    Some(Warning::NotExecutable(program.to_string(), reason))
}

/// A word of a command. Numbers and booleans are converted to their text, without an exponent (CFG-7).
fn word(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<String> {
    match &value.data {
        Data::String(text) => Some(text.to_string()),
        Data::Number(number) => Some(plain(number)),
        Data::Boolean(boolean) => Some(boolean.to_string()),
        Data::Null | Data::List(_) | Data::Object(_) => {
            problems.wrong(value, Error::NotAWord, "a string, a number or a boolean");
            None
        }
    }
}

fn plain(number: &str) -> String {
    match number.parse::<f64>() {
        Ok(value) if number.contains(['e', 'E', '.']) => value.to_string(),
        _ => number.to_owned(),
    }
}

fn warn_of_shell(value: &Value<'_>, text: &str, problems: &mut Problems<'_>) {
    let operators = ["\"", "'", "&&", "|", ">", ";"];
    if let Some(operator) = operators.iter().find(|operator| text.contains(**operator)) {
        problems.warning(value, Warning::Shell(operator));
    }
}
