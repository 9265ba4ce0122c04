//! Commands: a string cut at spaces, or an array of words.
//!
//! No shell is used, and there is no quoting. A string that looks as if it was written for a shell is
//! accepted with a warning (CFG-6).

use super::{Error, Warning, list};
use crate::config::problem::{Message, Problems};
use crate::config::tree::{Data, Value};
use domain::plan::{Command, Word};

const ALLOWED: &str = "a string or an array of strings";

/// A command that may be absent; an empty one counts as absent (CFG-8).
pub fn optional(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<Command> {
    words(value, problems).and_then(command)
}

/// A command that is required. `missing` is the message if it is absent or empty.
pub fn required(value: &Value<'_>, missing: impl Message, problems: &mut Problems<'_>) -> Option<Command> {
    let words = words(value, problems)?;
    let command = command(words);
    if command.is_none() {
        problems.wrong(value, missing, ALLOWED);
    }
    command
}

fn command(words: Vec<String>) -> Option<Command> {
    let mut words = words.iter().map(|word| Word::from(word.as_str()));
    let program = words.next().filter(|program| !program.0.is_empty())?;
    let arguments = words.collect();
    Some(Command { program, arguments })
}

fn words(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<Vec<String>> {
    match &value.data {
        Data::String(text) => {
            warn_of_shell(value, text, problems);
            let words = text.trim().split(' ').filter(|word| !word.is_empty());
            Some(words.map(str::to_owned).collect())
        }
        Data::List(_) => Some(list(value, ALLOWED, problems, word)),
        _ => {
            problems.wrong(value, Error::NotACommand, ALLOWED);
            None
        }
    }
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
