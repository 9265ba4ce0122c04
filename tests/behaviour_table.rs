//! docs/development/behaviour.md has every row of the reference, and every test that it names is a test that
//! exists.
#![allow(
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking, and prints what it could not compare"
)]

#[path = "common/shared.rs"]
mod shared;
#[path = "common/sources.rs"]
mod sources;
#[path = "common/test_names.rs"]
mod test_names;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use test_names::test_names;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The rows of the reference's table of quirks: a prefix, and the number of rows with it.
const ROWS: [(&str, usize); 8] = [
    ("CLI", 6),
    ("CFG", 24),
    ("IF", 5),
    ("SD", 20),
    ("EX", 27),
    ("LC", 21),
    ("TM", 11),
    ("LG", 7),
];

struct Row {
    id: String,
    decision: String,
    tests: Vec<String>,
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/development/behaviour.md")).unwrap();
    let cells = |line: &str| {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().to_owned())
            .collect::<Vec<_>>()
    };
    let row = |line: &str| match cells(line).as_slice() {
        [id, decision, _, tests] if id.contains('-') && !id.starts_with('-') => Some(Row {
            id: id.clone(),
            decision: decision.clone(),
            tests: tests.split('`').skip(1).step_by(2).map(str::to_owned).collect(),
        }),
        _ => None,
    };
    text.lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(row)
        .collect()
}

#[test]
fn every_row_exists_exactly_once() {
    let expected = ROWS
        .iter()
        .flat_map(|(prefix, count)| (1..=*count).map(move |n| format!("{prefix}-{n}")));
    let found: Vec<String> = rows().into_iter().map(|row| row.id).collect();
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn every_row_has_a_decision_and_names_tests_that_exist() {
    let tests = test_names();
    let decisions = ["kept", "fixed", "warned", "dropped"];
    for row in rows() {
        let known = decisions
            .iter()
            .any(|decision| row.decision.starts_with(decision));
        assert!(known, "{} is {}", row.id, row.decision);
        assert!(!row.tests.is_empty(), "{} names no test", row.id);
        for name in row.tests {
            assert!(tests.contains(&name), "{}: there is no test `{name}`", row.id);
        }
    }
}

/// The rows are those of the shared reference; skipped only if `CONTAINERPILOT_SHARED` is `none`.
#[test]
fn the_rows_are_those_of_the_reference() {
    let Some(reference) = shared::shared("reference/behaviour-v2.md") else {
        println!("behaviour reference: skipped, as asked for");
        return;
    };
    let text = fs::read_to_string(reference).unwrap();
    let section = text
        .split("# 15. Quirks table")
        .nth(2)
        .or(text.split("# 15. Quirks table").nth(1))
        .unwrap();
    let id = |line: &str| {
        line.strip_prefix("| ")?
            .split(' ')
            .next()
            .filter(|id| id.contains('-'))
            .map(str::to_owned)
    };
    let reference: BTreeSet<String> = section
        .lines()
        .filter_map(id)
        .filter(|id| !id.starts_with('-'))
        .collect();
    let ours: BTreeSet<String> = rows().into_iter().map(|row| row.id).collect();
    assert_eq!(ours, reference);
}
