//! Each configuration in the documentation, a block that begins with three backquotes and `json`, is accepted as it is.
//! Other JSON has another word behind `json`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

#[path = "common/accounts.rs"]
mod accounts;
#[path = "common/machine.rs"]
mod machine;

use containerpilot::config::{self, Readable, Source, Target};
use machine::Machine;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// README.md and the pages in docs/.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = fs::read_dir(root.join("docs")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let pages = paths.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.chain([root.join("README.md")]).collect()
}

/// The blocks of JSON in a page.
fn configurations(page: &str) -> Vec<&str> {
    let blocks = page.split("\n```json\n").skip(1);
    blocks
        .map(|block| {
            block
                .split_once("\n```")
                .unwrap_or_else(|| panic!("not closed: {block}"))
                .0
        })
        .collect()
}

/// What is wrong with a configuration: errors or warnings.
fn report(text: &str) -> Option<String> {
    let target = Target {
        variables: BTreeMap::new(),
        hostname: Some("host".into()),
        interfaces: &Machine,
        users: &Machine,
        application: &[],
        examination: None,
    };
    match config::load(&Source::new(text), Readable::Files, &target) {
        Err(report) => Some(report),
        Ok(compiled) => (!compiled.warnings.is_empty()).then(|| compiled.warnings.join("\n")),
    }
}

#[test]
fn every_configuration_in_the_documentation_is_accepted_without_a_warning() {
    let mut read = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for configuration in configurations(&text) {
            read += 1;
            let report = report(configuration);
            assert_eq!(report, None, "{}:\n{configuration}", page.display());
        }
    }
    assert!(read >= 5, "only {read} configurations were found");
}
