//! Replays the stored inputs of the fuzz targets: each input must still have the property that its target checks
//! (`fuzz/src/properties.rs`).
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

#[path = "../fuzz/src/properties.rs"]
mod properties;

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// A property of every text; panics if the property does not hold.
type Property = fn(&[u8]);

/// Every target, by the name of its corpus, and its property.
const TARGETS: [(&str, Property); 6] = [
    ("catalogue_value", properties::catalogue_value),
    ("configuration", properties::configuration),
    ("interfaces", properties::interfaces),
    ("output_lines", properties::output_lines),
    ("sensor_text", properties::sensor_text),
    ("template", properties::template),
];
/// The limits on the number of files in a corpus, and on the bytes of a file.
const SMALL: (usize, usize) = (60, 2048);

fn names_in(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn fuzz(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder)
}

#[test]
fn every_stored_input_has_the_properties() {
    for (target, property) in TARGETS {
        let paths = names_in(&fuzz("corpus").join(target));
        assert!(!paths.is_empty(), "{target} remembers nothing");
        for path in paths {
            let text = fs::read(&path).unwrap();
            let holds = catch_unwind(|| property(&text)).is_ok();
            assert!(holds, "{}: the reason stands above", path.display());
        }
    }
}

#[test]
fn the_stored_corpus_stays_small() {
    for (target, _) in TARGETS {
        let paths = names_in(&fuzz("corpus").join(target));
        assert!(paths.len() <= SMALL.0, "{target} has {} files", paths.len());
        for path in paths {
            let length = fs::read(&path).unwrap().len();
            assert!(length <= SMALL.1, "{} has {length} bytes", path.display());
        }
    }
}

#[test]
fn every_target_and_every_corpus_is_replayed() {
    let expected = TARGETS.map(|(target, _)| target);
    let names = |folder| {
        let stem = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().to_owned();
        names_in(&fuzz(folder)).into_iter().map(stem).collect::<Vec<_>>()
    };
    assert_eq!(names("fuzz_targets"), expected);
    assert_eq!(names("corpus"), expected);
}
