//! A catalogue without a server, for one host: several shims, also in several containers, share a folder.
//!
//! Each instance has one file, `<path>/<service>/<id>.json`. Its shim writes it at every heartbeat and
//! removes it when it deregisters. Every reader ignores an expired entry, whether or not the file was
//! removed. Changes are reported by inotify. Readers trust no file in the folder.
//!
//! There are no locks: a process that was stopped while it held one would block all others. Each file has one
//! writer. If two shims use the same ID, the last one to write wins, until the next heartbeat of the other
//! finds an entry with different values. All access to the folder happens on a separate thread, because its
//! file system may hang. The loop itself waits only for timers and for events of the kernel.

mod all_services;
mod boot_clock;
mod entry;
mod file;
mod fingerprint;
mod folders;
#[cfg(test)]
mod model;
mod name;
mod readers;
#[cfg(test)]
mod tests;
mod view;
mod watcher;
mod worker;

use crate::adapters::timers::{sleep, timeout};
use crate::ports::{Catalogue, CatalogueError, Renewal};
use all_services::AllServices;
use async_trait::async_trait;
use domain::catalogue::{Cursor, Dependency, Endpoint, Found, Instance, Listing, LookUp, Query};
use domain::plan::Registration;
use domain::time::Duration;
use folders::{Folders, failed};
use readers::FolderEvent;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use view::View;
use watcher::{FolderWatch, Watches};
use worker::{IsAbandoned, Urgency, Worker};

/// The time between two reads of a folder by a waiting reader. Changes in that time are read together.
const GATHER: Duration = Duration::from_millis(20);

/// The time between two reads of all folders by a reader that waits for a change of the services (docs/bounds.md).
const GATHER_ALL: Duration = Duration::from_millis(500);
/// The most folders of services that are watched for a change of the services; if there are more, the folders are read at
/// intervals (docs/bounds.md).
const MOST_WATCHES: usize = 1000;
/// Why no key is looked up.
const NO_KEYS: &str = "keys need Consul or etcd, and the catalogue is a folder";

/// The `directory` catalogue.
pub struct Directory {
    folders: Arc<Folders>,
    worker: Worker,
    watches: Watches,
}

/// What a reader has read of a folder at one time.
struct Snapshot {
    view: View,
    listing: Listing,
    /// How long until the next entry expires; `None` if no entry is valid.
    expiry: Option<Duration>,
}

impl Directory {
    /// The catalogue in this folder, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::of(Folders::new(path))
    }

    fn of(folders: Folders) -> Self {
        Self {
            folders: Arc::new(folders),
            worker: Worker::default(),
            watches: Watches::default(),
        }
    }

    /// Waits until the result of the query differs from the state at the cursor. A renewal makes it read one
    /// file and continue to wait. `latest` is the result that does not differ.
    async fn differing(
        &self,
        query: &Query,
        cursor: Cursor,
        latest: &mut Option<Listing>,
    ) -> Result<Listing, CatalogueError> {
        loop {
            let (watch, mut snapshot) = self.watch_and_read(query).await?;
            loop {
                if snapshot.listing.cursor != Some(cursor) {
                    return Ok(snapshot.listing);
                }
                *latest = Some(snapshot.listing);
                sleep(GATHER).await;
                snapshot = match self.event_or_expiry(&watch, snapshot.expiry).await {
                    None => self.read_again(snapshot.view, BTreeSet::new(), query).await?,
                    Some(FolderEvent::Files(files)) => self.read_again(snapshot.view, files, query).await?,
                    Some(FolderEvent::Everything) => break,
                }
            }
        }
    }

    /// Waits for an event of the folder, at most until the next entry expires.
    async fn event_or_expiry(&self, watch: &FolderWatch, expiry: Option<Duration>) -> Option<FolderEvent> {
        match expiry {
            Some(expiry) => timeout(expiry, self.watches.next(watch)).await,
            None => Some(self.watches.next(watch).await),
        }
    }

    /// Starts the watch before it reads the folder, so that every change after the read is reported.
    async fn watch_and_read(&self, query: &Query) -> Result<(FolderWatch, Snapshot), CatalogueError> {
        let (folders, watcher, query) = (Arc::clone(&self.folders), self.watches.watcher(), query.clone());
        let read = move |is_abandoned: IsAbandoned<'_>| {
            let watch = watcher.start(&folders.folder(&query.service));
            let view = folders.read(&query.service, is_abandoned)?;
            Ok((watch, Snapshot::of(view, &query, &folders)?))
        };
        self.run(Urgency::Read, read).await
    }

    async fn read_again(
        &self,
        mut view: View,
        files: BTreeSet<OsString>,
        query: &Query,
    ) -> Result<Snapshot, CatalogueError> {
        let (folders, query) = (Arc::clone(&self.folders), query.clone());
        let read = move |is_abandoned: IsAbandoned<'_>| {
            let again = view.read_again(&files, is_abandoned);
            again.map_err(|error| failed("read", &folders.folder(&query.service), &error))?;
            Snapshot::of(view, &query, &folders)
        };
        self.run(Urgency::Read, read).await
    }

    async fn list(&self, query: &Query) -> Result<Listing, CatalogueError> {
        let (folders, query) = (Arc::clone(&self.folders), query.clone());
        let read = move |is_abandoned: IsAbandoned<'_>| {
            let view = folders.read(&query.service, is_abandoned)?;
            Snapshot::of(view, &query, &folders)
        };
        Ok(self.run(Urgency::Read, read).await?.listing)
    }

    /// All services that have a valid entry, as soon as they differ from those at the cursor.
    async fn services(&self, look_up: &LookUp) -> Result<Found, CatalogueError> {
        let mut latest = None;
        if let Some(cursor) = look_up.after
            && let Some(answer) = timeout(look_up.wait, self.other_services(cursor, &mut latest)).await
        {
            return answer;
        }
        if let Some(found) = latest {
            return Ok(found);
        }
        let folders = Arc::clone(&self.folders);
        let read = move |is_abandoned: IsAbandoned<'_>| AllServices::read(&folders, is_abandoned);
        Ok(self.run(Urgency::Read, read).await?.found)
    }

    /// Waits until the services differ from those at the cursor. `latest` are those that do not differ. Each watch
    /// is kept until the next one has been started, so that folders stay watched in the kernel.
    async fn other_services(
        &self,
        cursor: Cursor,
        latest: &mut Option<Found>,
    ) -> Result<Found, CatalogueError> {
        let mut former = None;
        loop {
            let (watch, services) = self.watch_and_read_services().await?;
            drop(former);
            if services.found.cursor != Some(cursor) {
                return Ok(services.found);
            }
            *latest = Some(services.found);
            self.event_or_expiry(&watch, services.expiry).await;
            sleep(GATHER_ALL).await;
            former = Some(watch);
        }
    }

    /// Starts the watches before it reads the folders, so that every change after the read is reported.
    async fn watch_and_read_services(&self) -> Result<(FolderWatch, AllServices), CatalogueError> {
        let (folders, watcher) = (Arc::clone(&self.folders), self.watches.watcher());
        let read = move |is_abandoned: IsAbandoned<'_>| {
            let watch = watcher.start_all(&folders.path, MOST_WATCHES);
            Ok((watch, AllServices::read(&folders, is_abandoned)?))
        };
        self.run(Urgency::Read, read).await
    }

    /// Runs one operation on the files of one instance on the folder's thread.
    async fn change<T: Send + 'static>(
        &self,
        registration: &Registration,
        change: fn(&Folders, &Registration) -> Result<T, CatalogueError>,
    ) -> Result<T, CatalogueError> {
        let (folders, registration) = (Arc::clone(&self.folders), registration.clone());
        let change = move |_: IsAbandoned<'_>| change(&folders, &registration);
        self.run(Urgency::Change, change).await
    }

    /// Runs a request on the folder's thread.
    fn run<T, W>(
        &self,
        urgency: Urgency,
        work: W,
    ) -> impl Future<Output = Result<T, CatalogueError>> + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(IsAbandoned<'_>) -> Result<T, CatalogueError> + Send + 'static,
    {
        let watcher = self.watches.watcher();
        let job = move |is_abandoned: IsAbandoned<'_>| {
            watcher.remove_unused();
            work(is_abandoned)
        };
        self.worker.run(urgency, job)
    }
}

impl Snapshot {
    fn of(view: View, query: &Query, folders: &Folders) -> Result<Self, CatalogueError> {
        let now = folders.now()?;
        Ok(Self {
            listing: view.listing(query, &now),
            expiry: view.next_expiry(&now),
            view,
        })
    }
}

/// The instance that a file with this ID in a service's folder describes, and the text that this program
/// would write for the same entry. Public for the properties in `fuzz/`.
///
/// # Errors
/// A sentence: the text is not an entry, or the entry belongs to another file.
#[doc(hidden)]
pub fn entry_in(text: &[u8], service: &str, id: &str) -> Result<(Instance, Vec<u8>), String> {
    let entry = file::parse(text, name::of_entry(id).as_ref(), service)?;
    let again = serde_json::to_vec(&entry).map_err(|error| error.to_string())?;
    Ok((entry.instance(false), again))
}

#[async_trait(?Send)]
impl Catalogue for Directory {
    async fn register(&self, registration: &Registration) -> Result<(), CatalogueError> {
        let register = |folders: &Folders, registration: &_| folders.register(registration, &folders.now()?);
        self.change(registration, register).await
    }

    async fn renew(&self, registration: &Registration) -> Result<Renewal, CatalogueError> {
        let keep = |folders: &Folders, registration: &_| folders.keep(registration, &folders.now()?);
        self.change(registration, keep).await
    }

    async fn holder(&self, registration: &Registration) -> Result<Option<Endpoint>, CatalogueError> {
        let holder = |folders: &Folders, registration: &_| folders.holder(registration, &folders.now()?);
        self.change(registration, holder).await
    }

    async fn deregister(&self, registration: &Registration) -> Result<(), CatalogueError> {
        self.change(registration, Folders::remove).await
    }

    async fn look_up(&self, look_up: &LookUp) -> Result<Found, CatalogueError> {
        if let Some(query) = look_up.query() {
            return Ok(self.instances(&query).await?.found());
        }
        match look_up.dependency {
            Dependency::Services => self.services(look_up).await,
            _ => Err(CatalogueError::Failed(NO_KEYS.into())),
        }
    }

    async fn instances(&self, query: &Query) -> Result<Listing, CatalogueError> {
        let Some(cursor) = query.after else {
            return self.list(query).await;
        };
        let mut latest = None;
        if let Some(answer) = timeout(query.wait, self.differing(query, cursor, &mut latest)).await {
            return answer;
        }
        match latest {
            Some(listing) => Ok(listing),
            None => self.list(query).await,
        }
    }
}
