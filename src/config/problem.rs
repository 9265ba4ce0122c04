//! What is wrong with a configuration: all of it, each with file, line, key, what was found and what is
//! allowed.

use super::Source;
use super::json::{Kind, Node};
use super::secrets::{self, floor};
use std::fmt::Write as _;

/// How many problems, and how many warnings, a report names; of the others it says how many they are
/// (docs/bounds.md).
pub const MOST_NAMED: usize = 100;

/// Bytes of one problem's message, or of a warning (docs/bounds.md).
const LONGEST_MESSAGE: usize = 4 * 1024;

/// The problems and warnings found so far.
#[derive(Debug, Default)]
pub struct Problems {
    problems: Vec<Problem>,
    more_problems: usize,
    warnings: Vec<String>,
    more_warnings: usize,
}

#[derive(Debug, PartialEq, Eq)]
struct Problem {
    line: usize,
    path: String,
    message: String,
}

impl Problems {
    /// Something is wrong with this value. The message takes one line, whatever is quoted in it.
    pub fn add(&mut self, node: &Node<'_>, message: impl AsRef<str>) {
        if self.are_enough() {
            self.more_problems += 1;
        } else {
            self.add_lines(node, on_one_line(message.as_ref()));
        }
    }

    /// Whether so many are known that no further one will be named.
    pub fn are_enough(&self) -> bool {
        self.problems.len() == MOST_NAMED
    }

    /// Something is wrong with this value, in words of our own that take several lines.
    pub fn add_lines(&mut self, node: &Node<'_>, message: String) {
        if self.are_enough() {
            self.more_problems += 1;
            return;
        }
        self.problems.push(Problem {
            line: node.line(),
            path: on_one_line(&node.path),
            message: cut(message),
        });
    }

    /// This value is not what it should be.
    pub fn wrong(&mut self, node: &Node<'_>, message: &str, allowed: &str) {
        let found = match node.kind() {
            Kind::Array => "an array".into(),
            Kind::Object => "an object".into(),
            _ => secrets::value_of(&node.path, &node.as_written()),
        };
        self.add(node, format!("{message}: found {found}, allowed is {allowed}"));
    }

    /// This value is accepted, but looks like a mistake.
    pub fn warn(&mut self, node: &Node<'_>, message: impl AsRef<str>) {
        if self.warnings.len() == MOST_NAMED {
            self.more_warnings += 1;
            return;
        }
        let path = on_one_line(&node.path);
        let message = on_one_line(message.as_ref());
        self.advise(format!("{path} (line {}): {message}", node.line()));
    }

    /// Something about the whole is accepted, but looks like a mistake.
    pub fn advise(&mut self, sentence: String) {
        self.warnings.push(cut(sentence));
    }

    /// Sentences about things that are accepted but look like mistakes.
    pub fn into_warnings(mut self) -> Vec<String> {
        if self.more_warnings > 0 {
            let sentence = format!("and {} more warnings about the configuration", self.more_warnings);
            self.warnings.push(sentence);
        }
        self.warnings
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// Each problem from a new line on, in the order of the text.
    pub fn report(mut self, source: &Source) -> String {
        self.problems.sort_by_key(|problem| problem.line);
        let mut report = String::new();
        for problem in &self.problems {
            let separator = if report.is_empty() { "" } else { "\n" };
            let path = if problem.path.is_empty() {
                String::new()
            } else {
                format!(" {}:", problem.path)
            };
            // Writing to a string cannot fail.
            write!(
                report,
                "{separator}{source}:{}:{path} {}",
                problem.line, problem.message
            )
            .ok();
        }
        if self.more_problems > 0 {
            write!(report, "\n{source}: and {} more problems", self.more_problems).ok();
        }
        report
    }
}

/// The text with its control characters written as in Rust, so that a key cannot pass for a line of its own.
fn on_one_line(text: &str) -> String {
    let mut line = String::new();
    // What is beyond the bound is cut afterwards.
    for character in text.chars().take(LONGEST_MESSAGE + 1) {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}

/// The text, cut where it is too long.
fn cut(mut text: String) -> String {
    if text.len() > LONGEST_MESSAGE {
        text.truncate(floor(&text, LONGEST_MESSAGE));
        text.push_str("...");
    }
    text
}
