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

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What is in a folder of the project.
fn entries(folder: &str) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
    entries.map(|entry| entry.unwrap().path())
}

/// README.md, the pages for users and for maintainers in docs/, and those of the examples.
fn pages() -> Vec<PathBuf> {
    let pages = entries("docs")
        .chain(entries("docs/development"))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let examples = entries("examples").map(|folder| folder.join("README.md"));
    let examples = examples.filter(|page| page.exists());
    pages
        .chain(examples)
        .chain([Path::new(ROOT).join("README.md")])
        .collect()
}

/// The blocks of a language in a page.
fn blocks<'a>(page: &'a str, language: &str) -> Vec<&'a str> {
    let blocks = page
        .split(&format!("\n```{language}\n"))
        .skip(1)
        .collect::<Vec<_>>();
    let closed = blocks.into_iter().map(|block| {
        let (block, _) = block
            .split_once("\n```")
            .unwrap_or_else(|| panic!("not closed: {block}"));
        block
    });
    closed.collect()
}

/// What is wrong with a configuration: errors or warnings.
fn report(text: &str) -> Option<String> {
    let target = Target {
        variables: BTreeMap::new(),
        hostname: Some("host".into()),
        interfaces: &Machine,
        users: &Machine,
        application: &[],
        has_etcd: true,
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
        for configuration in blocks(&text, "json") {
            read += 1;
            let report = report(configuration);
            assert_eq!(report, None, "{}:\n{configuration}", page.display());
        }
    }
    assert!(read >= 5, "only {read} configurations were found");
}

#[test]
fn the_configurations_of_the_examples_are_accepted_without_any_variable() {
    let files = entries("examples")
        .filter(|path| path.is_dir())
        .flat_map(|folder| {
            let files = fs::read_dir(folder).unwrap();
            files.map(|entry| entry.unwrap().path())
        });
    let mut read = 0;
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "json")) {
        read += 1;
        let report = report(&fs::read_to_string(&file).unwrap());
        assert_eq!(report, None, "{}", file.display());
    }
    assert!(read >= 2, "only {read} configurations were found");
}

#[test]
fn what_the_readme_shows_of_the_examples_is_what_they_have() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    for (language, file) in [
        ("dockerfile", "app/Dockerfile"),
        ("yaml", "nginx/docker-compose.yml"),
    ] {
        let example = fs::read_to_string(Path::new(ROOT).join("examples").join(file)).unwrap();
        assert_eq!(blocks(&readme, language), [example.trim_end()], "{file}");
    }
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
fn the_list_of_the_pages_for_maintainers_has_each_of_them_once() {
    let list = fs::read_to_string(Path::new(ROOT).join("docs/development/README.md")).unwrap();
    let rows = list.lines().filter(|line| line.starts_with("| ["));
    let mut listed: Vec<&str> = rows.flat_map(links).collect();
    listed.sort_unstable();
    let names =
        entries("docs/development").map(|path| path.file_name().unwrap().to_str().unwrap().to_owned());
    let mut there: Vec<String> = names.filter(|name| name != "README.md").collect();
    there.sort_unstable();
    assert_eq!(listed, there);
}

#[test]
fn the_book_has_every_page_once() {
    let summary = fs::read_to_string(Path::new(ROOT).join("docs/SUMMARY.md")).unwrap();
    let mut listed: Vec<PathBuf> = links(&summary)
        .map(|link| Path::new(ROOT).join("docs").join(link).canonicalize().unwrap())
        .collect();
    listed.sort_unstable();
    let outside_docs = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "sim/README.md",
    ];
    let outside_docs = outside_docs.map(|page| Path::new(ROOT).join(page));
    let mut there: Vec<PathBuf> = pages().into_iter().chain(outside_docs).collect();
    there.retain(|page| !page.ends_with("docs/SUMMARY.md"));
    there.sort_unstable();
    assert_eq!(listed, there);
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
