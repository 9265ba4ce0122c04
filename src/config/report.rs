//! The form of an error or a warning of a configuration, for people and for programs.

use serde::Serialize;
use std::fmt::{self, Display};

/// An error or a warning, with everything that is known about its place. Its [`Display`] is the form for people.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The name of the source.
    pub file: String,
    /// The line of the place in the file as it is written, from 1; `None` if there is no place.
    pub line: Option<usize>,
    /// The character in that line, from 1.
    pub column: Option<usize>,
    /// The path to the value, such as `services[0].port`; may be empty.
    pub key: String,
    /// What is wrong, as one sentence.
    pub message: String,
    /// The line of the place with a caret below it.
    pub excerpt: Option<String>,
    /// Further lines about what was found.
    pub details: Option<String>,
    /// How it can be corrected.
    pub hints: Vec<String>,
}

impl Report {
    /// A sentence about the source as a whole.
    pub fn sentence(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            message: message.into(),
            ..Self::default()
        }
    }
}

/// `file:line:column: key: sentence`, the excerpt, details and hints, each on lines of their own. Without a place only
/// the sentence and what follows it.
impl Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "{}:{line}:{column}: ", self.file)?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        for lines in self.excerpt.iter().chain(&self.details) {
            write!(f, "\n{lines}")?;
        }
        self.hints.iter().try_for_each(|hint| write!(f, "\nhint: {hint}"))
    }
}

/// Joins reports to one text.
pub fn text(reports: &[Report]) -> String {
    let reports: Vec<String> = reports.iter().map(Report::to_string).collect();
    reports.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_has_one_form_for_people_and_one_for_programs() {
        let report = Report {
            file: "cp.json".into(),
            line: Some(2),
            column: Some(5),
            key: "services[0].port".into(),
            message: "not a whole number".into(),
            excerpt: Some("    2 | \"x\"\n      | ^".into()),
            details: None,
            hints: vec!["write 80".into(), "or 81".into()],
        };
        assert_eq!(
            report.to_string(),
            "cp.json:2:5: services[0].port: not a whole number\n    2 | \"x\"\n      | ^\nhint: write 80\nhint: or 81"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["line"], 2);
        assert_eq!(json["hints"][1], "or 81");
        assert!(json["details"].is_null());
        assert_eq!(
            Report::sentence("cp.json", "cp.json: no such file").to_string(),
            "cp.json: no such file"
        );
    }
}
