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

/// The targets of the links in a page to other files, and to headings.
fn links(page: &str) -> impl Iterator<Item = &str> {
    let targets = page
        .split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0));
    targets.filter(|target| !target.contains("://"))
}

/// The anchors of the headings of a page, as the sites that show Markdown make them.
fn anchors(page: &str) -> Vec<String> {
    let headings = page.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
        let text = heading.trim_start_matches('#').trim().to_lowercase();
        text.chars().filter(kept).collect::<String>().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_in_the_documentation_leads_to_a_file_and_a_heading_that_exist() {
    let mut followed = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: ({link})", page.display());
            if !anchor.is_empty() {
                let anchors = anchors(&fs::read_to_string(&target).unwrap());
                assert!(
                    anchors.iter().any(|known| known == anchor),
                    "{}: ({link})",
                    page.display()
                );
            }
            followed += 1;
        }
    }
    assert!(followed > 30, "only {followed} links were found");
}
