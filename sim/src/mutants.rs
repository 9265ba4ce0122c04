//! Deliberate faults in the core and the driver, each of which a law must detect.
//!
//! `sim/mutants.txt` has a name, a file, a text in the file and its replacement for each. This module parses
//! and applies them; `scripts/mutants` tries them one after the other.

use std::collections::BTreeMap;

/// A deliberate fault.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mutant {
    /// The fault in words.
    pub name: String,
    /// The file, relative to the root of the repository.
    pub file: String,
    /// If no law can detect it, the reason.
    pub reason: Option<String>,
    before: Vec<String>,
    after: Vec<String>,
}

/// All deliberate faults.
pub fn all() -> Vec<Mutant> {
    read(include_str!("../mutants.txt"))
}

/// The rows of the table in `docs/development/mutants.md`: the fault, and what caught it.
pub fn rows(page: &str) -> BTreeMap<String, String> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.splitn(3, " | ");
        let (fault, _, caught) = (cells.next()?, cells.next()?, cells.next()?);
        Some((fault.to_owned(), caught.to_owned()))
    };
    let is_head = |name: &str| name == "fault" || name.starts_with("---");
    let found = page.lines().filter_map(row);
    found.filter(|(name, _)| !is_head(name)).collect()
}

fn read(text: &str) -> Vec<Mutant> {
    let mut found: Vec<Mutant> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            let name = name.into();
            found.push(Mutant {
                name,
                ..Mutant::default()
            });
        }
        let Some(mutant) = found.last_mut() else {
            continue;
        };
        if let Some(file) = line.strip_prefix("-- ") {
            mutant.file = file.into();
        } else if let Some(reason) = line.strip_prefix("?? ") {
            mutant.reason = Some(reason.into());
        } else if let Some(before) = line.strip_prefix("- ") {
            mutant.before.push(before.into());
        } else if let Some(after) = line.strip_prefix("+ ") {
            mutant.after.push(after.into());
        }
    }
    found
}

impl Mutant {
    /// The source with the fault.
    ///
    /// # Errors
    /// The text to be replaced does not occur exactly once.
    pub fn apply(&self, source: &str) -> Result<String, String> {
        let (before, after) = (self.before.join("\n"), self.after.join("\n"));
        match source.matches(&before).count() {
            1 => Ok(source.replacen(&before, &after, 1)),
            times => Err(format!(
                "{}: its text stands {times} times in {}",
                self.name, self.file
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::laws::{EMERGENCY_LAWS, LAWS};
    use std::path::Path;

    #[test]
    fn each_deliberate_fault_can_be_applied_to_the_present_source() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mutants = all();
        assert!(mutants.len() >= 40);
        for mutant in mutants {
            let source = std::fs::read_to_string(root.join(&mutant.file)).expect(&mutant.file);
            let faulty = mutant.apply(&source);
            assert!(faulty.is_ok_and(|faulty| faulty != source), "{mutant:?}");
        }
    }

    /// A row names a law that exists, or the reason in the list why the fault survives; `scripts/mutants missing` tries those without a row.
    #[test]
    fn each_deliberate_fault_was_tried_and_is_caught_or_has_a_reason() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let page = std::fs::read_to_string(root.join("docs/development/mutants.md")).expect("the table");
        let (mut rows, mutants) = (rows(&page), all());
        for Mutant { name, reason, .. } in mutants {
            let caught = rows.remove(&name);
            let caught = caught.unwrap_or_else(|| panic!("`{name}` has no row: scripts/mutants missing"));
            let survives = caught.strip_prefix("**survives**: ");
            assert_eq!(survives, reason.as_deref(), "{name}");
            let law = caught.split(" (").next().unwrap_or_default().replace(' ', "_");
            let is_known = LAWS.iter().chain(EMERGENCY_LAWS).any(|(known, _)| *known == law);
            let is_stuck = caught == "it never comes to rest, or panics";
            assert!(
                is_known || is_stuck || survives.is_some(),
                "{name}: there is no law {law}"
            );
        }
        assert!(rows.is_empty(), "rows of no fault: {rows:?}");
    }

    #[test]
    fn a_deliberate_fault_is_read_with_its_lines_unchanged() {
        let text = "# words\n\n== a name\n-- a/file.rs\n- one\n-     two\n- \n+ three\n";
        let mutant = read(text).remove(0);
        assert_eq!(mutant.apply("x one\n    two\n y"), Ok("x three y".into()));
        assert!(mutant.apply("one").is_err());
    }
}
