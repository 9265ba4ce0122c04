//! Material that tests compare with and that is not part of this repository, because others wrote it: real
//! configuration files, template cases, the reference of the original's behaviour.
//!
//! `CONTAINERPILOT_SHARED` names the folder of this material, by default `../shared` beside the repository.
//! If it is missing, a test fails; the value `none` of the variable skips the tests.

use std::env;
use std::path::{Path, PathBuf};

const VARIABLE: &str = "CONTAINERPILOT_SHARED";
/// The variable's value that skips the tests.
const NONE: &str = "none";

/// The path of a file or folder of the shared material; `None` if the tests that need it are to be skipped.
///
/// # Panics
/// It is missing.
pub fn shared(piece: &str) -> Option<PathBuf> {
    let named = env::var_os(VARIABLE).map(PathBuf::from);
    find(&named.unwrap_or_else(beside), piece).unwrap_or_else(|missing| panic!("{missing}"))
}

/// The repository is the folder at or above the crate's that has the lock file.
fn beside() -> PathBuf {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let repository = folders.find(|folder| folder.join("Cargo.lock").is_file());
    repository.unwrap_or(Path::new(".")).join("../shared")
}

fn find(folder: &Path, piece: &str) -> Result<Option<PathBuf>, String> {
    if folder == Path::new(NONE) {
        return Ok(None);
    }
    let path = folder.join(piece);
    match path.exists() {
        true => Ok(Some(path)),
        false => Err(format!(
            "{} is not there: name its folder in {VARIABLE}, or {NONE} to skip this test",
            path.display()
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named_unless_skipping_was_requested() {
        let folder = Path::new("/no/such");
        let missing = find(folder, "corpus").expect_err("it is not there");
        assert!(missing.starts_with("/no/such/corpus is not there: "), "{missing}");
        assert!(!missing.contains('\n'));
        assert_eq!(find(Path::new("none"), "corpus"), Ok(None));
        assert_eq!(find(Path::new("/"), "proc"), Ok(Some("/proc".into())));
    }
}
