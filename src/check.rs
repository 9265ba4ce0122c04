//! What `-check` prints about a configuration: for people, or as one JSON document for programs.

use crate::config::{Checked, Report, Source};
use crate::explain::explain;
use serde_json::json;

/// The result of checking a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckResult {
    file: String,
    errors: Vec<Report>,
    warnings: Vec<Report>,
    explanation: Option<String>,
}

impl CheckResult {
    /// The result for a source. If it can be used and `explained` is set, there is a description of what it makes the
    /// shim do.
    pub fn new(source: &Source, checked: Result<Checked, Vec<Report>>, explained: bool) -> Self {
        let file = source.to_string();
        match checked {
            Ok(checked) => Self {
                file,
                errors: vec![],
                explanation: explained.then(|| explain(&checked.plan)),
                warnings: checked.warnings,
            },
            Err(errors) => Self {
                file,
                errors,
                warnings: vec![],
                explanation: None,
            },
        }
    }

    /// Whether the shim would start with the configuration.
    pub fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }

    /// All errors and warnings, for the standard error. It is empty if there are none.
    pub fn problems(&self) -> String {
        let errors = self.errors.iter().map(|error| format!("error: {error}\n"));
        let warnings = self
            .warnings
            .iter()
            .map(|warning| format!("warning: {warning}\n"));
        errors.chain(warnings).collect()
    }

    /// One line that the configuration can be used, and the description. It is empty if there are errors.
    pub fn summary(&self) -> String {
        if !self.is_valid() {
            return String::new();
        }
        let warnings = match self.warnings.len() {
            0 => "no warnings".to_owned(),
            1 => "1 warning".to_owned(),
            number => format!("{number} warnings"),
        };
        let explanation = self.explanation.as_deref().unwrap_or_default();
        format!("{}: no errors, {warnings}\n{explanation}", self.file)
    }

    /// Everything as one JSON document.
    pub fn json(&self) -> String {
        let document = json!({
            "file": self.file,
            "valid": self.is_valid(),
            "errors": self.errors,
            "warnings": self.warnings,
            "explanation": self.explanation,
        });
        format!("{document}\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Plan;
    use domain::plan::Catalogue;

    fn result(checked: Result<Checked, Vec<Report>>) -> CheckResult {
        CheckResult::new(&Source::File("/etc/cp.json".into()), checked, true)
    }

    #[test]
    fn errors_are_separate_from_the_summary_and_json_has_both() {
        let error = Report::sentence("/etc/cp.json", "/etc/cp.json: no such file");
        let wrong = result(Err(vec![error.clone(), error]));
        assert!(!wrong.is_valid());
        assert_eq!(wrong.problems().lines().count(), 2);
        assert!(
            wrong
                .problems()
                .starts_with("error: /etc/cp.json: no such file\n")
        );
        assert_eq!(wrong.summary(), "");
        let json: serde_json::Value = serde_json::from_str(&wrong.json()).unwrap();
        assert_eq!(json["valid"], false);
        assert_eq!(json["errors"][1]["message"], "/etc/cp.json: no such file");
        let good = result(Ok(Checked {
            plan: Plan::new(Catalogue::Directory { path: "/run".into() }),
            warnings: vec![Report::sentence("/etc/cp.json", "odd")],
            shown: String::new(),
        }));
        assert_eq!(good.problems(), "warning: odd\n");
        let (first, description) = good
            .summary()
            .split_once('\n')
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .unwrap();
        assert_eq!(first, "/etc/cp.json: no errors, 1 warning");
        assert!(description.contains("At the stop:\n"), "{description}");
        let json: serde_json::Value = serde_json::from_str(&good.json()).unwrap();
        assert_eq!(
            (&json["valid"], &json["explanation"]),
            (&true.into(), &description.into())
        );
    }
}
