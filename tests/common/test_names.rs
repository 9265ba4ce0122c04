//! The names of all tests in the sources of the project, for the documents that name tests.

use crate::sources::sources;
use std::collections::BTreeSet;

/// The folders that have tests.
const FOLDERS: [&str; 4] = ["src", "tests", "sim", "fuzz/src"];

/// The names of all tests: functions with a test attribute; functions that a macro or a table turns into tests
/// (`tests/catalogue.rs`, `tests/containers/faults.rs`, `tests/panics.rs`); and the steps of a test, which are functions that
/// it calls one after the other with mutable state (`src/adapters/processes/tests.rs`). Other functions are no tests.
pub fn test_names() -> BTreeSet<String> {
    let files = FOLDERS.into_iter().flat_map(sources);
    files.flat_map(|(_, text)| in_text(&text)).collect()
}

/// The tests in one file.
fn in_text(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let listed: BTreeSet<&str> = lines.iter().filter_map(|line| listed(line)).collect();
    let mut has_attribute = false;
    let mut found = Vec::new();
    for line in lines {
        if line.starts_with("#[") {
            has_attribute |= line.contains("test]") || line.contains("test(");
        } else if let Some(name) = function(line) {
            if has_attribute || listed.contains(name) {
                found.push(name.to_owned());
            }
            has_attribute = false;
        } else if !line.is_empty() && !line.starts_with("//") {
            has_attribute = false;
        }
    }
    found
}

/// The name of the function that a line declares.
fn function(line: &str) -> Option<&str> {
    let declaration = ["fn ", "async fn ", "pub fn "]
        .iter()
        .find_map(|start| line.strip_prefix(start))?;
    declaration.split(['(', '<']).next()
}

/// The name in a line of a macro's list, in quotes in a table of tests, or in a step `name(&mut ...)`.
fn listed(line: &str) -> Option<&str> {
    let name = match line.trim_start_matches('(').strip_prefix('"') {
        Some(quoted) => quoted.split('"').next()?,
        None if line.contains("(&mut ") => line.split('(').next()?,
        None => line,
    };
    let is_name = |name: &str| {
        name.contains('_')
            && name
                .chars()
                .all(|char| char == '_' || char.is_ascii_lowercase() || char.is_ascii_digit())
    };
    is_name(name).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::in_text;

    #[test]
    fn functions_with_a_test_attribute_or_in_a_list_are_tests_and_helpers_are_not() {
        let text = "\
            macro! {\n  is_listed\n}\n\
            const TESTS: [(&str, fn()); 1] = [(\"is_in_a_table\", is_in_a_table)];\n\
            (\"is_in_a_table\", is_in_a_table),\n\
            async fn is_listed() {}\n\
            async fn is_a_step() {}\n\
            fn is_in_a_table() {}\n\
            #[test]\n// why\n#[cfg(unix)]\nfn is_a_test() {\nis_a_step(&mut queue).await;\n}\n\
            fn is_a_helper() {\n}\n";
        assert_eq!(
            in_text(text),
            ["is_listed", "is_a_step", "is_in_a_table", "is_a_test"]
        );
    }
}
