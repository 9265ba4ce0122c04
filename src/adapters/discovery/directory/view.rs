//! What one reader knows of a service's folder: read as a whole once, and then only the files that changed,
//! so that the renewals of many instances cost a reader one small file each.

use super::complaints::Complaints;
use super::entry::{Entry, Moment};
use super::file::{self, Found};
use super::fingerprint::Fingerprint;
use domain::event::{Cursor, Listing};
use domain::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::PathBuf;

/// The entries of a service, live or expired.
pub(super) struct View<'a> {
    service: &'a str,
    folder: PathBuf,
    complaints: &'a Complaints,
    entries: BTreeMap<OsString, Entry>,
}

impl<'a> View<'a> {
    /// Reads the folder of a service.
    pub fn look(service: &'a str, folder: PathBuf, complaints: &'a Complaints) -> io::Result<Self> {
        let names = file::names(&folder)?;
        complaints.keep(&folder, &names);
        let mut view = Self {
            service,
            folder,
            complaints,
            entries: BTreeMap::new(),
        };
        view.look_again(&names)?;
        Ok(view)
    }

    /// Reads these files, for the first time or again.
    pub fn look_again(&mut self, files: &BTreeSet<OsString>) -> io::Result<()> {
        files.iter().try_for_each(|file| self.look_at(file))
    }

    fn look_at(&mut self, file: &OsStr) -> io::Result<()> {
        let found = file::read(&self.folder, file, self.service)?;
        if let Found::Foreign(foreign) = &found {
            self.complaints.raise(&self.folder, file, foreign);
        } else {
            self.complaints.withdraw(&self.folder, file);
        }
        match found {
            Found::Entry(entry) => self.entries.insert(file.to_owned(), entry),
            Found::Nothing | Found::Foreign(_) => self.entries.remove(file),
        };
        Ok(())
    }

    /// The live instances, all those with the tag if there is one. The cursor is the fingerprint of what is
    /// seen, so it means the same in every process, and the same set has the same cursor.
    pub fn listing(&self, tag: Option<&str>, now: &Moment<'_>) -> Listing {
        let live = self.entries.values();
        let mut live: Vec<&Entry> = live
            .filter(|entry| entry.has(tag) && entry.remaining(now).is_some())
            .collect();
        live.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let sum = live
            .iter()
            .fold(Fingerprint::new(), |sum, entry| entry.add_to(sum));
        Listing {
            instances: live.into_iter().map(Entry::instance).collect(),
            cursor: Some(Cursor(sum.short())),
            ..Listing::default()
        }
    }

    /// How long until the next entry expires, if one lives.
    pub fn next_expiry(&self, now: &Moment<'_>) -> Option<Duration> {
        self.entries
            .values()
            .filter_map(|entry| entry.remaining(now))
            .min()
    }
}
