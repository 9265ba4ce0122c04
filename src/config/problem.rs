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
    /// Something is wrong with this value.
    pub fn add(&mut self, node: &Node<'_>, message: impl Into<String>) {
        self.problems.push(Problem {
            line: node.line,
            path: node.path.clone(),
            message: message.into(),
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
            node.path,
            node.line,
            message.as_ref()
        ));
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.problems.is_empty()
    }

    /// One line for each problem, in the order of the text.
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
