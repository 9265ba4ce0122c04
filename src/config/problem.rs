//! What is wrong with a configuration: all of it, each with file, line, key, what was found and what is
//! allowed.

use super::Source;
use super::json::{Kind, Node};
use std::fmt::Write as _;

/// The problems and warnings found so far.
#[derive(Debug, Default)]
pub struct Problems {
    problems: Vec<Problem>,
    /// Sentences about things that are accepted but look like mistakes.
    pub warnings: Vec<String>,
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
        self.add_lines(node, on_one_line(message.as_ref()));
    }

    /// Something is wrong with this value, in words of our own that take several lines.
    pub fn add_lines(&mut self, node: &Node<'_>, message: String) {
        self.problems.push(Problem {
            line: node.line,
            path: on_one_line(&node.path),
            message,
        });
    }

    /// This value is not what it should be.
    pub fn wrong(&mut self, node: &Node<'_>, message: &str, allowed: &str) {
        let found = match node.kind() {
            Kind::Array => "an array".into(),
            Kind::Object => "an object".into(),
            _ => node.as_written(),
        };
        self.add(node, format!("{message}: found {found}, allowed is {allowed}"));
    }

    /// This value is accepted, but looks like a mistake.
    pub fn warn(&mut self, node: &Node<'_>, message: impl AsRef<str>) {
        self.warnings.push(format!(
            "{} (line {}): {}",
            on_one_line(&node.path),
            node.line,
            on_one_line(message.as_ref())
        ));
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
        report
    }
}

/// The text with its control characters written as in Rust, so that a key cannot pass for a line of its own.
fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        match character.is_control() {
            true => line.extend(character.escape_default()),
            false => line.push(character),
        }
    }
    line
}
