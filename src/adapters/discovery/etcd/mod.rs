//! etcd, through its v3 API.
//!
//! Each registration is one key, `<prefix>/<name>/<id>/service`, bound to a lease of one TTL; a heartbeat
//! keeps the lease alive once. The content of etcd decides, not the requests made before: if the key is
//! missing or has another value, it is registered again, and after a restart of the shim its heartbeats
//! continue with the existing lease. Granted leases are recorded for one purpose: a deregistration revokes
//! them, so that a put still in flight has no effect afterwards.
//!
//! Templates also read values of keys anywhere in etcd, exactly as they are given, and the names of all services.
//!
//! No lease is kept alive without a heartbeat, no connection is used again on which a request was cancelled,
//! and a query waits for a change only with the revision of an earlier answer.

mod collectors;
mod connection;
mod failure;
mod key;
mod leases;
mod members;
mod pages;
#[doc(hidden)]
pub mod value;
mod watch;

use crate::adapters::discovery::values;
use crate::ports::{Catalogue, CatalogueError, Renewal};
use async_trait::async_trait;
use collectors::{AllServices, Instances, OneLevel};
use domain::catalogue::{Cursor, Data, Dependency, Endpoint, Found, Listing, LookUp, Query};
use domain::plan::{self, Registration};
use etcd_client::{DeleteOptions, Error, PutOptions};
use leases::Leases;
use members::Members;
use pages::{Collector, Page, PageRequest, RangeReader};
use std::rc::Rc;
use tokio::sync::Semaphore;
use watch::Watched;

/// Whether this program was built with etcd: the module beside this one, `without_etcd`, replaces it otherwise.
pub const IS_BUILT_IN: bool = true;

/// Opens the cluster that a plan names.
///
/// # Errors
/// As those of [`Etcd::new`].
pub fn open(settings: &plan::Etcd) -> Result<Rc<dyn Catalogue>, CatalogueError> {
    Ok(Rc::new(Etcd::new(settings)?))
}

/// The expected size of an answer about one key or lease, in bytes.
const SHORT: usize = 16 * 1024;

/// An etcd cluster.
#[derive(Debug)]
pub struct Etcd {
    prefix: String,
    members: Members,
    leases: Leases,
    /// Held by the reader that reads large pages.
    large_pages: Semaphore,
}

impl Etcd {
    /// The cluster whose members have these addresses. Sends nothing yet.
    ///
    /// # Errors
    /// An address is invalid, or a file of TLS cannot be read.
    pub fn new(settings: &plan::Etcd) -> Result<Self, CatalogueError> {
        Ok(Self {
            prefix: settings.prefix.clone(),
            members: Members::new(settings)?,
            leases: Leases::default(),
            large_pages: Semaphore::new(1),
        })
    }

    async fn grant(&self, registration: &Registration) -> Result<i64, CatalogueError> {
        let seconds = i64::try_from(registration.ttl.as_secs()).unwrap_or(i64::MAX);
        let granted = self.members.request(SHORT, async |client| {
            client.lease_client().grant(seconds, None).await
        });
        Ok(granted.await?.id())
    }

    async fn put(&self, key: &str, value: &str, lease: i64) -> Result<(), CatalogueError> {
        let question = async |client: &etcd_client::Client| {
            let options = PutOptions::new().with_lease(lease);
            pages::keys_of(client).put(key, value, Some(options)).await
        };
        self.members.request(SHORT, question).await.map(drop)
    }

    /// Revokes a lease. It is no error if the lease does not exist.
    async fn revoke(&self, lease: i64) -> Result<(), CatalogueError> {
        let question = async |client: &etcd_client::Client| {
            let revoked = client.lease_client().revoke(lease).await.map(drop);
            revoked.or_else(|error| failure::is_missing(&error).then_some(()).ok_or(error))
        };
        self.members.request(SHORT, question).await
    }

    /// Revokes all leases of a key but the newest. A failure has no consequence, because leases expire.
    async fn tidy(&self, key: &str) {
        for lease in self.leases.former(key) {
            match self.revoke(lease).await {
                Ok(()) => self.leases.remove(key, lease),
                Err(error) => tracing::debug!("a lease that is not needed any more stays: {error}"),
            }
        }
    }

    async fn page(&self, request: &PageRequest) -> Result<Page, CatalogueError> {
        let question = async |client: &etcd_client::Client| request.send(client).await;
        // If a member sends a page that is too large, the read stops at the limit.
        let size = request.size + connection::STREAM_WINDOW as usize;
        self.members.request(size, question).await
    }

    /// Keeps a lease alive once. Returns whether it still existed.
    async fn keep_alive(&self, lease: i64) -> Result<bool, CatalogueError> {
        let question =
            async |client: &etcd_client::Client| match client.lease_client().keep_alive(lease).await {
                Ok(_dropped_so_that_it_is_once) => Ok(true),
                Err(Error::LeaseKeepAliveError(_)) => Ok(false),
                Err(error) if failure::is_missing(&error) => Ok(false),
                Err(error) => Err(error),
            };
        self.members.request(SHORT, question).await
    }

    async fn delete(&self, folder: &str) -> Result<(), CatalogueError> {
        let question = async |client: &etcd_client::Client| {
            let options = DeleteOptions::new().with_prefix();
            pages::keys_of(client).delete(folder, Some(options)).await
        };
        self.members.request(SHORT, question).await.map(drop)
    }

    /// Reads all keys below a prefix, at one revision.
    async fn range<C: Collector>(
        &self,
        prefix: &str,
        collector: C,
    ) -> Result<(C, Option<Cursor>), CatalogueError> {
        let mut reading = RangeReader::new(prefix, collector);
        let mut turn = None;
        while let Some(request) = reading.request() {
            if request.is_large() && turn.is_none() {
                turn = self.large_pages.acquire().await.ok();
            }
            let page = self.page(&request).await?;
            reading.take(&page, &request)?;
        }
        let cursor = reading.cursor();
        Ok((reading.collected, cursor))
    }

    /// The value of a key. A small answer is expected at first, because only one reader at a time may read a large one.
    async fn value(&self, key: &str) -> Result<(Option<String>, Option<Cursor>), CatalogueError> {
        let mut page = self.page(&PageRequest::for_key(key)).await?;
        if matches!(page, Page::TooLarge) {
            let _turn = self.large_pages.acquire().await;
            page = self.page(&PageRequest::for_value(key)).await?;
        }
        let Page::Found(found) = page else {
            return Err(values::too_large(key));
        };
        let value = found
            .kvs()
            .first()
            .map(|kv| values::text(key, kv.value().to_vec()));
        let revision = found.header().map(etcd_client::ResponseHeader::revision);
        let cursor = revision.and_then(|revision| u64::try_from(revision).ok());
        Ok((value.transpose()?, cursor.map(Cursor)))
    }
}

#[async_trait(?Send)]
impl Catalogue for Etcd {
    async fn register(&self, registration: &Registration) -> Result<(), CatalogueError> {
        let key = key::of_instance(&self.prefix, registration);
        let lease = self.grant(registration).await?;
        self.leases.insert(&key, lease);
        self.put(&key, &value::of(registration), lease).await?;
        self.leases.confirmed(&key, lease);
        self.tidy(&key).await;
        Ok(())
    }

    async fn renew(&self, registration: &Registration) -> Result<Renewal, CatalogueError> {
        let key = key::of_instance(&self.prefix, registration);
        let mut holder = None;
        let reason = match self.page(&PageRequest::for_key(&key)).await? {
            Page::TooLarge => "the entry is another one",
            Page::Found(found) => match found.kvs().first() {
                None => "there is no entry",
                Some(found) if found.value() != value::of(registration).as_bytes() => {
                    holder = value::endpoint(found.value()).ok();
                    "the entry is another one"
                }
                Some(found) if found.lease() == 0 => "the entry has no lease",
                Some(found) if self.keep_alive(found.lease()).await? => return Ok(Renewal::Renewed),
                Some(_) => "its lease ran out",
            },
        };
        Ok(Renewal::Unknown(format!("{key}: {reason}"), holder))
    }

    async fn holder(&self, registration: &Registration) -> Result<Option<Endpoint>, CatalogueError> {
        let key = key::of_instance(&self.prefix, registration);
        let unreadable = |reason: String| CatalogueError::Failed(format!("the value of {key} {reason}"));
        match self.page(&PageRequest::for_key(&key)).await? {
            Page::TooLarge => Err(unreadable("is too large".into())),
            Page::Found(found) => match found.kvs().first() {
                None => Ok(None),
                Some(found) => value::endpoint(found.value()).map(Some).map_err(unreadable),
            },
        }
    }

    async fn deregister(&self, registration: &Registration) -> Result<(), CatalogueError> {
        let key = key::of_instance(&self.prefix, registration);
        let is_ours = self.leases.is_confirmed(&key);
        for lease in self.leases.all(&key) {
            self.revoke(lease).await?;
            self.leases.remove(&key, lease);
        }
        if is_ours {
            return Ok(());
        }
        self.delete(&key::of_folder(&self.prefix, registration)).await
    }

    async fn instances(&self, query: &Query) -> Result<Listing, CatalogueError> {
        let folder = key::of_service(&self.prefix, &query.service);
        self.wait(Watched::Instances(&folder, query), query.after, query.wait)
            .await?;
        let (collected, cursor) = self.range(&folder, Instances::new(&folder, query)).await?;
        Ok(Listing {
            instances: collected.instances,
            cursor,
            skipped: collected.skipped,
            ..Listing::default()
        })
    }

    async fn look_up(&self, look_up: &LookUp) -> Result<Found, CatalogueError> {
        if let Some(query) = look_up.query() {
            return Ok(self.instances(&query).await?.found());
        }
        let wait = async |watched| self.wait(watched, look_up.after, look_up.wait).await;
        let (data, cursor) = match &look_up.dependency {
            Dependency::Key(key) => {
                wait(Watched::Key(key)).await?;
                let (value, cursor) = self.value(key).await?;
                (Data::Key(value), cursor)
            }
            Dependency::Keys(prefix) => {
                wait(Watched::Level(prefix)).await?;
                let (collected, cursor) = self.range(prefix, OneLevel::new(prefix)).await?;
                (collected.level.data(), cursor)
            }
            _ => {
                let prefix = format!("{}/", self.prefix);
                wait(Watched::Services(&prefix)).await?;
                let (collected, cursor) = self.range(&prefix, AllServices::new(&prefix)).await?;
                (collected.services.data(), cursor)
            }
        };
        Ok(Found {
            data,
            cursor,
            filtered: false,
        })
    }
}
