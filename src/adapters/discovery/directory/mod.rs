//! A catalogue without a server, for one host: several shims, also in several containers, share a folder.
//!
//! One file per instance, `<path>/<service>/<id>.json`, written by its shim at every heartbeat and removed by
//! its deregistration. An entry whose time is up is gone for every reader, whether or not somebody removes it.
//! Changes are noticed through inotify. Everything in the folder is meant for readers who do not trust it.
//!
//! There is no lock, because whoever stops while he holds one would stop all others: each file has one writer,
//! and of two that use the same ID the last one wins, until the other's next heartbeat finds an entry that is
//! not its own. Whatever touches the folder happens on one thread of its own, because its file system may hang;
//! the loop never waits but for time and the kernel's word that something changed.

mod boot_clock;
mod entry;
mod file;
mod fingerprint;
mod folders;
#[cfg(test)]
mod model;
mod name;
#[cfg(test)]
mod tests;
mod view;
mod watcher;
mod worker;

use crate::ports::{Catalogue, CatalogueError, Renewal};
use async_trait::async_trait;
use domain::catalogue::{Cursor, Endpoint, Instance, Listing, Query};
use domain::plan::Registration;
use domain::time::Duration;
use folders::{Folders, failed};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::time::{sleep, timeout};
use view::View;
use watcher::{FolderEvent, FolderEvents, FolderWatch};
use worker::{IsAbandoned, Worker};

/// The time between two looks of a waiting reader; what happens meanwhile is looked at together.
const GATHER: Duration = Duration::from_millis(20);

/// The `directory` catalogue.
#[derive(Debug)]
pub struct Directory {
    folders: Arc<Folders>,
    worker: Worker,
}

/// What a reader knows at one time.
struct Snapshot {
    view: View,
    listing: Listing,
    /// How long until the next entry expires, if one lives.
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
        }
    }

    /// Waits until something differs from what stood at the cursor. A renewal wakes it and makes it look at
    /// one file, and it goes on waiting.
    async fn differing(&self, query: &Query, cursor: Cursor) -> Result<Listing, CatalogueError> {
        loop {
            let (watch, mut snapshot) = self.look_and_listen(query).await?;
            let watch = watch.attach();
            loop {
                if snapshot.listing.cursor != Some(cursor) {
                    return Ok(snapshot.listing);
                }
                sleep(GATHER).await;
                snapshot = match event_or_expiry(&watch, snapshot.expiry).await {
                    None => self.look_again(snapshot.view, BTreeSet::new(), query).await?,
                    Some(FolderEvent::Files(files)) => self.look_again(snapshot.view, files, query).await?,
                    Some(FolderEvent::Everything) => break,
                }
            }
        }
    }

    /// Starts the watch before it reads, so that every change after the read is reported.
    async fn look_and_listen(&self, query: &Query) -> Result<(FolderWatch, Snapshot), CatalogueError> {
        let (folders, query) = (Arc::clone(&self.folders), query.clone());
        let look = move |is_abandoned: IsAbandoned<'_>| {
            let watch = FolderWatch::start(&folders.folder(&query.service));
            let view = folders.look(&query.service, is_abandoned)?;
            Ok((watch, Snapshot::of(view, &query, &folders)?))
        };
        self.worker.run(look).await
    }

    async fn look_again(
        &self,
        mut view: View,
        files: BTreeSet<OsString>,
        query: &Query,
    ) -> Result<Snapshot, CatalogueError> {
        let (folders, query) = (Arc::clone(&self.folders), query.clone());
        let look = move |is_abandoned: IsAbandoned<'_>| {
            let again = view.look_again(&files, is_abandoned);
            again.map_err(|error| failed("read", &folders.folder(&query.service), &error))?;
            Snapshot::of(view, &query, &folders)
        };
        self.worker.run(look).await
    }

    async fn list(&self, query: &Query) -> Result<Listing, CatalogueError> {
        let (folders, query) = (Arc::clone(&self.folders), query.clone());
        let look = move |is_abandoned: IsAbandoned<'_>| {
            let view = folders.look(&query.service, is_abandoned)?;
            Snapshot::of(view, &query, &folders)
        };
        Ok(self.worker.run(look).await?.listing)
    }

    /// Does something about one instance, or reads it.
    async fn change<T: Send + 'static>(
        &self,
        registration: &Registration,
        change: fn(&Folders, &Registration) -> Result<T, CatalogueError>,
    ) -> Result<T, CatalogueError> {
        let (folders, registration) = (Arc::clone(&self.folders), registration.clone());
        self.worker.run(move |_| change(&folders, &registration)).await
    }
}

impl Snapshot {
    fn of(view: View, query: &Query, folders: &Folders) -> Result<Self, CatalogueError> {
        let now = folders.now()?;
        Ok(Self {
            listing: view.listing(query.tag.as_deref(), &now),
            expiry: view.next_expiry(&now),
            view,
        })
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
async fn event_or_expiry(watch: &FolderEvents, expiry: Option<Duration>) -> Option<FolderEvent> {
    match expiry {
        Some(expiry) => timeout(expiry, watch.next()).await.ok(),
        None => Some(watch.next().await),
    }
}

#[async_trait(?Send)]
impl Catalogue for Directory {
    async fn register(&self, registration: &Registration) -> Result<(), CatalogueError> {
        let enter = |folders: &Folders, registration: &_| folders.enter(registration, &folders.now()?);
        self.change(registration, enter).await
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

    async fn instances(&self, query: &Query) -> Result<Listing, CatalogueError> {
        let Some(cursor) = query.after else {
            return self.list(query).await;
        };
        match timeout(query.wait, self.differing(query, cursor)).await {
            Ok(answer) => answer,
            Err(_nothing_happened) => self.list(query).await,
        }
    }
}
