//! Commands: a string cut at spaces, or an array of words (behaviour-v2.md 2.7).
//!
//! There is no shell and no quoting. A string that looks as if its author expected one is accepted with a
//! warning (CFG-6).

use super::section::list;
use crate::config::json::{Kind, Node};
use crate::config::problem::Problems;
use domain::plan::{Command, Word};

const ALLOWED: &str = "a string or an array of strings";

/// A command that may be left out: empty means none (CFG-8).
pub fn optional(node: &Node<'_>, problems: &mut Problems) -> Option<Command> {
    words(node, problems).and_then(command)
}

/// A command that must be there. `missing` is the message if it is empty.
pub fn required(node: &Node<'_>, missing: &str, problems: &mut Problems) -> Option<Command> {
    let words = words(node, problems)?;
    let command = command(words);
    if command.is_none() {
        problems.wrong(node, missing, ALLOWED);
    }
    command
}

fn command(words: Vec<String>) -> Option<Command> {
    let mut words = words.iter().map(|word| Word::from(word.as_str()));
    let program = words.next().filter(|program| !program.0.is_empty())?;
    let arguments = words.collect();
    Some(Command { program, arguments })
}

fn words(node: &Node<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    match node.kind() {
        Kind::String => {
            let text = node.string()?;
            warn_of_shell(node, &text, problems);
            Some(
                text.trim()
                    .split(' ')
                    .filter(|word| !word.is_empty())
                    .map(str::to_owned)
                    .collect(),
            )
        }
        Kind::Array => Some(list(node, ALLOWED, problems, word)),
        _ => {
            problems.wrong(node, "not a command", ALLOWED);
            None
        }
    }
}

/// Numbers and booleans count as they are written, without an exponent (CFG-7).
fn word(node: &Node<'_>, problems: &mut Problems) -> Option<String> {
    let word = match node.kind() {
        Kind::String => node.string(),
        Kind::Number => node.number().map(plain),
        Kind::Boolean => node.boolean().map(|boolean| boolean.to_string()),
        Kind::Null | Kind::Array | Kind::Object => None,
    };
    if word.is_none() {
        problems.wrong(node, "not a word of a command", "a string, a number or a boolean");
    }
    word
}

fn plain(number: &str) -> String {
    match number.parse::<f64>() {
        Ok(value) if number.contains(['e', 'E', '.']) => value.to_string(),
        _ => number.to_owned(),
    }
}

fn warn_of_shell(node: &Node<'_>, text: &str, problems: &mut Problems) {
    let operators = ["\"", "'", "&&", "|", ">", ";"];
    if let Some(operator) = operators.iter().find(|operator| text.contains(**operator)) {
        let sentence = format!(
            "the command has {operator} in it, but there is no shell: it is cut at spaces and passed on as it is; \
             use [\"sh\", \"-c\", \"...\"] for a shell"
        );
        problems.warn(node, sentence);
    }
}
