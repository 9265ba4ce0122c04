//! One reader's copy of a service's folder. The folder is read completely once; later only changed files are
//! read, so that a renewal by another shim costs each reader one small file.

use super::entry::{BootTime, DirectoryEntry};
use super::file::{self, FileContent};
use super::fingerprint::Fingerprint;
use super::worker::IsAbandoned;
use domain::catalogue::{Cursor, Listing, Query, Skipped};
use domain::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

/// The limit on all entries of a service together, in bytes of text (docs/bounds.md)
const LARGEST_SERVICE: usize = 16 * 1024 * 1024;

/// The entries of a service, valid or expired.
pub(super) struct View {
    service: String,
    folder: PathBuf,
    /// Each entry with the size of its text.
    entries: BTreeMap<OsString, (DirectoryEntry, usize)>,
    size: usize,
    /// The files that are not entries, with the reason.
    foreign: BTreeMap<OsString, String>,
}

impl View {
    /// Reads the folder of a service.
    ///
    /// # Errors
    /// The folder or a file in it cannot be read at present, the folder exceeds a limit, or the request was
    /// cancelled.
    pub fn read(service: &str, folder: PathBuf, is_abandoned: IsAbandoned<'_>) -> io::Result<Self> {
        let names = file::names(&folder)?;
        let mut view = Self {
            service: service.into(),
            folder,
            entries: BTreeMap::new(),
            size: 0,
            foreign: BTreeMap::new(),
        };
        view.read_again(&names, is_abandoned)?;
        Ok(view)
    }

    /// Reads these files again, or for the first time.
    ///
    /// # Errors
    /// As for [`Self::read`].
    pub fn read_again(
        &mut self,
        files: &BTreeSet<OsString>,
        is_abandoned: IsAbandoned<'_>,
    ) -> io::Result<()> {
        let mut read = 0;
        for file in files {
            if is_abandoned() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            read += self.read_file(file)?;
            if read.max(self.size) > LARGEST_SERVICE {
                let sentence = format!("its files hold more than {} MiB", LARGEST_SERVICE / (1024 * 1024));
                return Err(io::Error::other(sentence));
            }
        }
        let count = self.entries.len() + self.foreign.len();
        if count > file::MOST_FILES {
            Err(file::too_many())
        } else {
            Ok(())
        }
    }

    /// Reads a file. Returns the size of its text.
    fn read_file(&mut self, file: &OsStr) -> io::Result<usize> {
        let (found, size) = file::read(&self.folder, file, &self.service)?;
        self.foreign.remove(file);
        if let Some((_, size)) = self.entries.remove(file) {
            self.size -= size;
        }
        match found {
            FileContent::Entry(entry) => {
                self.size += size;
                self.entries.insert(file.to_owned(), (entry, size));
            }
            FileContent::Foreign(reason) => {
                self.foreign.insert(file.to_owned(), reason);
            }
            FileContent::Nothing => {}
        }
        Ok(size)
    }

    /// The valid instances that the query selects. The cursor is the fingerprint of the
    /// instances that are visible, so it has the same meaning in every process, and the same set of instances
    /// has the same cursor.
    pub fn listing(&self, query: &Query, now: &BootTime<'_>) -> Listing {
        let live = self.entries.values().map(|(entry, _)| entry);
        let mut live: Vec<&DirectoryEntry> = live
            .filter(|entry| query.selects(entry.tags()) && entry.remaining(now).is_some())
            .collect();
        live.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let sum = live
            .iter()
            .fold(Fingerprint::new(), |sum, entry| entry.add_to(sum));
        Listing {
            instances: live
                .into_iter()
                .map(|entry| entry.instance(query.details))
                .collect(),
            cursor: Some(Cursor(sum.short())),
            skipped: self.skipped(),
            ..Listing::default()
        }
    }

    fn skipped(&self) -> Skipped {
        let first = self.foreign.first_key_value();
        let example = first.map(|(file, reason)| format!("{}: {reason}", self.folder.join(file).display()));
        Skipped {
            count: self.foreign.len(),
            example: example.unwrap_or_default(),
        }
    }

    /// How long until the next entry expires; `None` if no entry is valid.
    pub fn next_expiry(&self, now: &BootTime<'_>) -> Option<Duration> {
        self.entries
            .values()
            .filter_map(|(entry, _)| entry.remaining(now))
            .min()
    }
}
