//! A catalogue without a server, for one host: several shims, also in several containers, share a folder.
//!
//! One file per instance, `<path>/<service>/<id>.json`, written by its shim at every heartbeat and removed by
//! its withdrawal. An entry whose time is up is gone for every reader, whether or not somebody removes it.
//! Changes are noticed through inotify. Everything in the folder is meant for readers who do not trust it.
//!
//! There is no lock, because whoever stops while he holds one would stop all others: each file has one writer,
//! and of two that use the same ID the last one wins, until the other's next heartbeat finds an entry that is
//! not its own. Never waits but for time and the kernel's word that something changed; never starts a thread.

mod bell;
mod complaints;
mod entry;
mod file;
mod fingerprint;
#[cfg(test)]
mod model;
mod name;
#[cfg(test)]
mod tests;
mod view;

use crate::adapters::clock;
use crate::cause;
use crate::ports::{Catalogue, CatalogueError, Renewal};
use async_trait::async_trait;
use bell::{Bell, Ring};
use complaints::Complaints;
use domain::event::{Cursor, Instance, Listing, Query};
use domain::plan::Registration;
use domain::time::Duration;
use entry::{Entry, Moment};
use file::Found;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tokio::time::{sleep, timeout};
use view::View;

/// Where the kernel tells the boot's ID.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// The time between two looks of a waiting reader; what happens meanwhile is looked at together.
const GATHER: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    boot: Option<String>,
    complaints: Complaints,
}

impl Directory {
    /// The catalogue in this folder, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let boot = fs::read_to_string(BOOT_ID).ok();
        Self {
            path: path.into(),
            boot: boot.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty()),
            complaints: Complaints::default(),
        }
    }

    fn write(&self, registration: &Registration, now: &Moment<'_>) -> Result<(), CatalogueError> {
        let folder = self.folder(&registration.name);
        file::write(&folder, &Entry::new(registration, now), now)
            .map_err(|error| failed("write an entry in", &folder, &error))
    }

    /// Tidies up around a new entry; nothing depends on it.
    fn sweep(&self, service: &str, now: &Moment<'_>) -> Result<(), CatalogueError> {
        let folder = self.folder(service);
        file::sweep(&folder, service, now).map_err(|error| failed("sweep", &folder, &error))
    }

    /// Why there is no entry of ours to keep, if there is none.
    fn lost(&self, registration: &Registration, now: &Moment<'_>) -> Result<Option<String>, CatalogueError> {
        let folder = self.folder(&registration.name);
        let file = name::of_entry(&registration.id);
        let found = file::read(&folder, file.as_ref(), &registration.name)
            .map_err(|error| failed("read", &folder.join(&file), &error))?;
        let reason = match found {
            Found::Nothing => "there is no entry".into(),
            Found::Foreign(foreign) => foreign.reason,
            Found::Entry(entry) if !entry.describes(registration) => "the entry is another one".into(),
            Found::Entry(entry) if entry.remaining(now).is_none() => "the entry expired".into(),
            Found::Entry(_) => return Ok(None),
        };
        Ok(Some(format!("{}: {reason}", folder.join(file).display())))
    }

    fn list(&self, query: &Query) -> Result<Listing, CatalogueError> {
        let view = self.look(&query.service)?;
        Ok(view.listing(query.tag.as_deref(), &self.now()?))
    }

    fn enter(&self, registration: &Registration, now: &Moment<'_>) -> Result<(), CatalogueError> {
        self.write(registration, now)?;
        if let Err(error) = self.sweep(&registration.name, now) {
            tracing::debug!("{error}");
        }
        Ok(())
    }

    fn keep(&self, registration: &Registration, now: &Moment<'_>) -> Result<Renewal, CatalogueError> {
        if let Some(reason) = self.lost(registration, now)? {
            return Ok(Renewal::Unknown(reason));
        }
        self.write(registration, now)?;
        Ok(Renewal::Renewed)
    }

    fn remove(&self, registration: &Registration) -> Result<(), CatalogueError> {
        let path = self
            .folder(&registration.name)
            .join(name::of_entry(&registration.id));
        file::remove(&path).map_err(|error| failed("remove", &path, &error))
    }

    /// Waits until something differs from what stood at the cursor. A renewal wakes it and makes it look at
    /// one file, and it goes on waiting.
    async fn differing(&self, query: &Query, cursor: Cursor) -> Result<Listing, CatalogueError> {
        let folder = self.folder(&query.service);
        loop {
            // The bell first: what happens after the look rings.
            let bell = Bell::hang(&folder);
            let mut view = self.look(&query.service)?;
            loop {
                let now = self.now()?;
                let listing = view.listing(query.tag.as_deref(), &now);
                if listing.cursor != Some(cursor) {
                    return Ok(listing);
                }
                sleep(GATHER).await;
                match ring_or_expiry(&bell, view.next_expiry(&now)).await {
                    None => {}
                    Some(Ring::Files(files)) => {
                        view.look_again(&files)
                            .map_err(|error| failed("read", &folder, &error))?;
                    }
                    Some(Ring::Everything) => break,
                }
            }
        }
    }

    fn look<'a>(&'a self, service: &'a str) -> Result<View<'a>, CatalogueError> {
        let folder = self.folder(service);
        View::look(service, folder.clone(), &self.complaints).map_err(|error| failed("read", &folder, &error))
    }

    fn folder(&self, service: &str) -> PathBuf {
        self.path.join(name::of_folder(service))
    }

    fn now(&self) -> Result<Moment<'_>, CatalogueError> {
        let untold = |what: &str| CatalogueError::Failed(format!("this machine does not tell {what}"));
        let boot = self.boot.as_deref().ok_or_else(|| untold("its boot ID"))?;
        let since = clock::since_boot().ok_or_else(|| untold("the time since it booted"))?;
        let milliseconds = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Ok(Moment { boot, milliseconds })
    }
}

/// The instance that the file of this ID describes in a service's folder, and the text we would write for the
/// same entry; public for the properties in `fuzz/`.
///
/// # Errors
/// A sentence: it is not an entry, or does not belong there.
#[doc(hidden)]
pub fn entry_in(text: &[u8], service: &str, id: &str) -> Result<(Instance, Vec<u8>), String> {
    let entry = file::parse(text, name::of_entry(id).as_ref(), service)?;
    let again = serde_json::to_vec(&entry).map_err(|error| error.to_string())?;
    Ok((entry.instance(), again))
}

/// Nothing once the next entry may have expired.
async fn ring_or_expiry(bell: &Bell, expiry: Option<Duration>) -> Option<Ring> {
    match expiry {
        Some(expiry) => timeout(clock::limit(expiry), bell.rings()).await.ok(),
        None => Some(bell.rings().await),
    }
}

fn failed(what: &str, path: &Path, error: &io::Error) -> CatalogueError {
    let cause = cause::in_kernel_words(error);
    CatalogueError::Failed(format!("cannot {what} {}: {cause}", path.display()))
}

#[async_trait(?Send)]
impl Catalogue for Directory {
    async fn register(&self, registration: &Registration) -> Result<(), CatalogueError> {
        self.enter(registration, &self.now()?)
    }

    async fn renew(&self, registration: &Registration) -> Result<Renewal, CatalogueError> {
        self.keep(registration, &self.now()?)
    }

    async fn withdraw(&self, registration: &Registration) -> Result<(), CatalogueError> {
        self.remove(registration)
    }

    async fn instances(&self, query: &Query) -> Result<Listing, CatalogueError> {
        let Some(cursor) = query.after else {
            return self.list(query);
        };
        match timeout(clock::limit(query.wait), self.differing(query, cursor)).await {
            Ok(answer) => answer,
            Err(_nothing_happened) => self.list(query),
        }
    }
}
