//! docs/development/pid1.md has a row for each statement, and each test that a row names is a test that
//! exists.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

#[path = "common/sources.rs"]
mod sources;
#[path = "common/test_names.rs"]
mod test_names;

use std::fs;
use std::path::Path;
use test_names::test_names;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// How many statements there are.
const STATEMENTS: usize = 38;

struct Row {
    number: usize,
    result: String,
    tests: Vec<String>,
}

fn rows() -> Vec<Row> {
    let text = fs::read_to_string(Path::new(ROOT).join("docs/development/pid1.md")).unwrap();
    let row = |line: &str| {
        let line = line.strip_prefix("| ")?.strip_suffix('|')?;
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let number = cells[0].parse().ok()?;
        assert_eq!(cells.len(), 4, "not 4 cells: {line}");
        Some(Row {
            number,
            result: cells[2].into(),
            tests: cells[3]
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect(),
        })
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn each_statement_has_one_row_in_order() {
    let numbers: Vec<usize> = rows().iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=STATEMENTS).collect::<Vec<_>>());
}

#[test]
fn what_holds_is_shown_by_tests_that_exist_and_what_does_not_has_a_reason() {
    let tests = test_names();
    for row in rows() {
        let number = row.number;
        match row.result.split([' ', ':', ';']).next().unwrap() {
            "holds" => assert!(!row.tests.is_empty(), "no test shows {number}"),
            "open" => {}
            "out" => assert!(
                row.result.starts_with("out of scope: "),
                "{number} needs a reason"
            ),
            other => panic!("{number}: `{other}` is no result"),
        }
        for test in &row.tests {
            assert!(tests.contains(test), "{number}: there is no test `{test}`");
        }
    }
}
