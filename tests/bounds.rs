//! docs/bounds.md agrees with the program: each bound on the page equals the constant that the row names, each
//! constant whose comment refers to the page has a row, and each test that a row names is a test that exists.
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

use sources::sources;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use test_names::test_names;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The mark in the doc comment of a constant that has a row on the page.
const MARK: &str = "(docs/bounds.md)";
/// The number of cells in a row.
const COLUMNS: usize = 5;

/// One line of the page's tables.
struct Row {
    what: String,
    bound: String,
    constant: String,
    shown_by: Vec<String>,
}

/// The rows of all tables, without header rows.
fn rows() -> Vec<Row> {
    let text = read(&Path::new(ROOT).join("docs/bounds.md"));
    text.lines()
        .filter(|line| {
            line.starts_with("| ") && !line.starts_with("| ---") && !line.starts_with("| what is bounded |")
        })
        .map(row)
        .collect()
}

fn row(line: &str) -> Row {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    assert_eq!(cells.len(), COLUMNS, "not {COLUMNS} cells: {line}");
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Row {
        what: cells[0].into(),
        bound: cells[1].into(),
        constant: cells[3].trim_matches('`').into(),
        shown_by: quoted(cells[4]),
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The constants whose doc comments refer to the page: `file: NAME`, and the expression of its value.
fn constants() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for (path, text) in sources("src") {
        let file = path.strip_prefix(ROOT).unwrap().display().to_string();
        for (_, behind) in text
            .match_indices(MARK)
            .map(|(at, mark)| text.split_at(at + mark.len()))
        {
            let (name, value) =
                constant(behind).unwrap_or_else(|| panic!("{file}: no constant follows on {MARK}"));
            found.insert(format!("{file}: {name}"), value);
        }
    }
    found
}

/// The first constant in a text, after the rest of its comment and its attributes: its name and value.
fn constant(text: &str) -> Option<(String, String)> {
    let comment = |line: &&str| line.is_empty() || line.starts_with("///") || line.starts_with("#[");
    let mut lines = text.lines().skip(1).map(str::trim).skip_while(comment);
    let declaration = lines.next()?;
    let declaration = match declaration.ends_with(';') {
        true => declaration.to_owned(),
        false => format!("{declaration} {}", lines.next()?),
    };
    let (left, right) = declaration.split_once(" = ")?;
    let (_, left) = left.split_once("const ")?;
    let (name, _) = left.split_once(':')?;
    Some((name.into(), right.trim_end_matches(';').into()))
}

/// The value of an expression of integers, products and constant durations: a count, bytes or milliseconds.
fn value(expression: &str) -> Option<u128> {
    let inside = |name| expression.strip_prefix(name)?.strip_suffix(')');
    if let Some(seconds) = inside("Duration::from_secs(") {
        return value(seconds)?.checked_mul(1000);
    }
    if let Some(milliseconds) = inside("Duration::from_millis(") {
        return value(milliseconds);
    }
    expression
        .split('*')
        .map(|factor| factor.trim().replace('_', "").parse::<u128>().ok())
        .try_fold(1_u128, |product, factor| product.checked_mul(factor?))
}

/// The value of a bound on the page: a count, bytes or milliseconds.
fn written(bound: &str) -> Option<u128> {
    let (number, unit) = bound.split_once(' ').unwrap_or((bound, ""));
    let factor = match unit {
        "" | "bytes" | "ms" => 1,
        "KiB" => 1024,
        "MiB" => 1024 * 1024,
        "s" => 1000,
        "min" => 60_000,
        _ => return None,
    };
    Some(number.replace(',', "").parse::<u128>().ok()? * factor)
}

#[test]
fn every_bound_on_the_page_is_the_constant_it_names() {
    let constants = constants();
    for row in rows().iter().filter(|row| row.constant != "-") {
        let expression = constants.get(&row.constant);
        let expression = expression
            .unwrap_or_else(|| panic!("{}: no constant `{}` points to the page", row.what, row.constant));
        let found = value(expression);
        assert!(
            found.is_some(),
            "{}: `{expression}` is not a plain number",
            row.constant
        );
        assert_eq!(
            written(&row.bound),
            found,
            "{}: {} is `{expression}`",
            row.what,
            row.constant
        );
    }
}

#[test]
fn every_constant_that_points_to_the_page_has_a_row_there() {
    let named: BTreeSet<String> = rows().into_iter().map(|row| row.constant).collect();
    for constant in constants().keys() {
        assert!(
            named.contains(constant),
            "docs/bounds.md has no row for `{constant}`"
        );
    }
}

#[test]
fn every_row_names_a_test_that_exists() {
    let tests = test_names();
    for row in rows() {
        assert!(!row.shown_by.is_empty(), "{}: no test shows it", row.what);
        for test in &row.shown_by {
            assert!(tests.contains(test), "{}: there is no test `{test}`", row.what);
        }
    }
}

#[test]
fn every_row_of_the_page_exists_once() {
    let mut seen = BTreeSet::new();
    for row in rows() {
        assert!(seen.insert(row.what.clone()), "twice: {}", row.what);
    }
}
