//! The operations on the folder: registering, renewing, deregistering and listing.
//!
//! Every call may block as long as the file system blocks, so they run on a thread of their own and never in
//! the loop.

use super::boot_clock::BootClock;
use super::entry::{BootTime, DirectoryEntry};
use super::file::{self, FileContent};
use super::name;
use super::view::View;
use super::worker::IsAbandoned;
use crate::cause;
use crate::ports::{CatalogueError, Renewal};
use domain::catalogue::Endpoint;
#[cfg(test)]
use domain::catalogue::{Listing, Query};
use domain::plan::Registration;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The file in which the kernel publishes the boot's ID.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// The folders of all services, below one path.
#[derive(Debug)]
pub(super) struct Folders {
    pub path: PathBuf,
    pub boot: Option<String>,
    clock: BootClock,
}

impl Folders {
    /// The folders below this path, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let boot = fs::read_to_string(BOOT_ID).ok();
        Self {
            path: path.into(),
            boot: boot.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()),
            clock: BootClock::new(),
        }
    }

    /// Writes an entry that is valid for one TTL from now.
    pub fn write(&self, registration: &Registration, now: &BootTime<'_>) -> Result<(), CatalogueError> {
        let folder = self.folder(&registration.name);
        file::write(&folder, &DirectoryEntry::new(registration, now), now)
            .map_err(|error| failed("write an entry in", &folder, &error))
    }

    /// Removes old files from the folder of a service. A failure has no consequence but a warning.
    pub fn remove_expired(&self, service: &str, now: &BootTime<'_>) -> Result<(), CatalogueError> {
        let folder = self.folder(service);
        file::remove_expired(&folder, service, now).map_err(|error| failed("clean", &folder, &error))
    }

    /// The content of the file of an instance.
    fn found(&self, registration: &Registration) -> Result<FileContent, CatalogueError> {
        let folder = self.folder(&registration.name);
        let file = name::of_entry(&registration.id);
        let read = file::read(&folder, file.as_ref(), &registration.name);
        let (found, _) = read.map_err(|error| failed("read", &folder.join(&file), &error))?;
        Ok(found)
    }

    /// The address and port in the file that belongs to this registration, if the entry is still valid.
    pub fn holder(
        &self,
        registration: &Registration,
        now: &BootTime<'_>,
    ) -> Result<Option<Endpoint>, CatalogueError> {
        match self.found(registration)? {
            FileContent::Nothing => Ok(None),
            FileContent::Foreign(reason) => Err(CatalogueError::Failed(reason)),
            FileContent::Entry(entry) => Ok(entry.remaining(now).map(|_| entry.endpoint())),
        }
    }

    /// Renews an entry for another TTL if it still exists and still describes the same instance.
    pub fn keep(&self, registration: &Registration, now: &BootTime<'_>) -> Result<Renewal, CatalogueError> {
        let mut holder = None;
        let reason = match self.found(registration)? {
            FileContent::Nothing => "there is no entry".into(),
            FileContent::Foreign(reason) => reason,
            FileContent::Entry(entry) if !entry.describes(registration) => {
                holder = entry.remaining(now).map(|_| entry.endpoint());
                "the entry is another one".into()
            }
            FileContent::Entry(entry) if entry.remaining(now).is_none() => "the entry expired".into(),
            FileContent::Entry(_) => {
                self.write(registration, now)?;
                return Ok(Renewal::Renewed);
            }
        };
        let file = self
            .folder(&registration.name)
            .join(name::of_entry(&registration.id));
        Ok(Renewal::Unknown(format!("{}: {reason}", file.display()), holder))
    }

    /// Lists the present instances.
    #[cfg(test)]
    pub fn list(&self, query: &Query) -> Result<Listing, CatalogueError> {
        let view = self.read(&query.service, &|| false)?;
        Ok(view.listing(query, &self.now()?))
    }

    /// Registers an instance for one TTL.
    pub fn register(&self, registration: &Registration, now: &BootTime<'_>) -> Result<(), CatalogueError> {
        self.write(registration, now)?;
        self.remove_expired(&registration.name, now).ok();
        Ok(())
    }

    /// Removes an instance. It is no error if there is none.
    pub fn remove(&self, registration: &Registration) -> Result<(), CatalogueError> {
        let path = self
            .folder(&registration.name)
            .join(name::of_entry(&registration.id));
        file::remove(&path).map_err(|error| failed("remove", &path, &error))
    }

    /// Reads a service's folder.
    pub fn read(&self, service: &str, is_abandoned: IsAbandoned<'_>) -> Result<View, CatalogueError> {
        let folder = self.folder(service);
        View::read(service, folder.clone(), is_abandoned).map_err(|error| failed("read", &folder, &error))
    }

    /// The folder of a service.
    pub fn folder(&self, service: &str) -> PathBuf {
        self.path.join(name::of_folder(service))
    }

    /// The present time on this machine.
    ///
    /// # Errors
    ///
    /// The kernel does not show the boot's ID or the time since boot.
    pub fn now(&self) -> Result<BootTime<'_>, CatalogueError> {
        let unreadable = |what: String| {
            CatalogueError::Failed(format!(
                "{what} cannot be read, which the directory catalogue needs"
            ))
        };
        let boot = self
            .boot
            .as_deref()
            .ok_or_else(|| unreadable(format!("the ID of this boot, {BOOT_ID},")))?;
        let since = self
            .clock
            .now()
            .ok_or_else(|| unreadable("the time since the machine booted".into()))?;
        let milliseconds = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Ok(BootTime { boot, milliseconds })
    }
}

pub(super) fn failed(what: &str, path: &Path, error: &io::Error) -> CatalogueError {
    let cause = cause::in_kernel_words(error);
    CatalogueError::Failed(format!("cannot {what} {}: {cause}", path.display()))
}
