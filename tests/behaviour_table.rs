//! The table of docs/behaviour.md is whole, and every test it names is there.
#![allow(
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking, and says what it could not compare"
)]

#[path = "common/shared.rs"]
mod shared;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The rows of the behaviour reference's section 15: a prefix and how many.
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
    let text = fs::read_to_string(Path::new(ROOT).join("docs/behaviour.md")).unwrap();
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
fn no_row_is_missing_and_none_stands_twice() {
    let expected = ROWS
        .iter()
        .flat_map(|(prefix, count)| (1..=*count).map(move |n| format!("{prefix}-{n}")));
    let found: Vec<String> = rows().into_iter().map(|row| row.id).collect();
    assert_eq!(found, expected.collect::<Vec<_>>());
}

#[test]
fn every_row_that_is_true_names_a_test_and_every_test_is_there() {
    let tests = tests();
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

/// Where the reference is at hand, the rows are its rows.
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

/// The names of all functions in the project's sources and tests.
fn tests() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut open = ["src", "tests", "sim"]
        .map(|folder| Path::new(ROOT).join(folder))
        .to_vec();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let name = |line: &str| {
                line.split_once("fn ")?
                    .1
                    .split(['(', '<'])
                    .next()
                    .map(str::to_owned)
            };
            names.extend(text.lines().filter_map(name));
        }
    }
    names
}
