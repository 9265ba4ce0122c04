//! What was already complained about, so that the log tells of each foreign file once per change and not at
//! every look. Remembers nothing about files that are gone or mended.

use super::file::Foreign;
use super::fingerprint::Fingerprint;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// The complaints of one shim, by folder and file.
#[derive(Debug, Default)]
pub(super) struct Complaints(RefCell<BTreeMap<PathBuf, BTreeMap<OsString, Fingerprint>>>);

impl Complaints {
    /// The folder holds these files and no others.
    pub fn keep(&self, folder: &Path, files: &BTreeSet<OsString>) {
        let mut folders = self.0.borrow_mut();
        if let Some(told) = folders.get_mut(folder) {
            told.retain(|file, _| files.contains(file));
            if told.is_empty() {
                folders.remove(folder);
            }
        }
    }

    /// The file is all right, or gone.
    pub fn withdraw(&self, folder: &Path, file: &OsStr) {
        if let Some(told) = self.0.borrow_mut().get_mut(folder) {
            told.remove(file);
        }
    }

    /// The file is not an entry: tells so, once.
    pub fn raise(&self, folder: &Path, file: &OsStr, foreign: &Foreign) {
        if self.is_news(folder, file, foreign.fingerprint) {
            let path = folder.join(file);
            tracing::warn!("{} is skipped: {}", path.display(), foreign.reason);
        }
    }

    fn is_news(&self, folder: &Path, file: &OsStr, fingerprint: Fingerprint) -> bool {
        let mut folders = self.0.borrow_mut();
        let told = folders.entry(folder.to_owned()).or_default();
        told.insert(file.to_owned(), fingerprint) != Some(fingerprint)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_is_told_of_once_per_change() {
        let complaints = Complaints::default();
        let tell = |file: &str, text: &str| {
            complaints.is_news(
                Path::new("app"),
                OsStr::new(file),
                Fingerprint::of(text.as_bytes()),
            )
        };
        assert!(tell("a", "half"));
        assert!(!tell("a", "half"));
        assert!(tell("b", "half"), "another file");
        assert!(tell("a", "other half"), "another text");
        complaints.withdraw(Path::new("app"), OsStr::new("a"));
        assert!(tell("a", "other half"), "it was mended meanwhile");
        complaints.keep(Path::new("app"), &BTreeSet::from(["a".into()]));
        assert!(!tell("a", "other half"));
        assert!(tell("b", "half"), "it was gone meanwhile");
        complaints.keep(Path::new("app"), &BTreeSet::new());
        assert!(complaints.0.borrow().is_empty());
    }
}
