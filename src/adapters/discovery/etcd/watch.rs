//! Waits until the result of a query may differ from the result at an earlier revision.
//!
//! The watch begins at the revision after that one, so that no change between two queries is missed, removals
//! included. Its result means only that the list has to be read again. A watch that etcd cancels (for example
//! because the history was compacted) or that breaks also ends the wait, so that no query waits without a
//! watch.

use super::failure::Ended;
use super::{Etcd, SHORT, key, value};
use crate::ports::CatalogueError;
use domain::catalogue::{Cursor, Instance, Query};
use etcd_client::{Client, Error, Event, EventType, KeyValue, WatchOptions, WatchStream};

/// The largest message of a watch, in bytes; a larger one ends the wait, so that the list is read again
/// (docs/bounds.md).
const LARGEST_EVENTS: usize = 256 * 1024;

impl Etcd {
    /// Returns when the list has to be read again. Dropping the future ends the watch.
    pub(super) async fn differing(&self, query: &Query, Cursor(after): Cursor) -> Result<(), CatalogueError> {
        let folder = key::of_service(&self.prefix, &query.service);
        let after = i64::try_from(after).unwrap_or(i64::MAX - 1);
        let opened = self
            .members
            .request(SHORT, async |client| open(client, &folder, after + 1).await);
        let (mut stream, now) = opened.await?;
        // The revisions of a new cluster begin at one again.
        if now < after {
            return Ok(());
        }
        while let Ok(Some(response)) = stream.message().await {
            let mut events = response.events().iter();
            if response.canceled() || events.any(|event| is_change(event, &folder, query)) {
                break;
            }
        }
        Ok(())
    }
}

/// Opens a watch. When this returns, etcd has confirmed the watch; the answer has the revision at that time.
async fn open(client: &Client, folder: &str, revision: i64) -> Result<(WatchStream, i64), Error> {
    let options = WatchOptions::new()
        .with_prefix()
        .with_prev_key()
        .with_start_revision(revision);
    let mut watcher = client.watch_client().max_decoding_message_size(LARGEST_EVENTS);
    let mut stream = watcher.watch(folder, Some(options)).await?;
    let created = stream
        .message()
        .await?
        .ok_or_else(|| Error::WatchError(Ended.into()))?;
    let revision = created.header().map_or(0, etcd_client::ResponseHeader::revision);
    Ok((stream, revision))
}

/// Whether an event may change the result of the query.
fn is_change(event: &Event, folder: &str, query: &Query) -> bool {
    let Some(kv) = event.kv() else {
        return false;
    };
    let seen = |kv: &KeyValue| seen(kv, folder, query);
    let now = match event.event_type() {
        EventType::Put => seen(kv),
        EventType::Delete => None,
    };
    let before = match event.prev_kv() {
        Some(before) => seen(before),
        None if kv.version() == 1 => None,
        // The previous value was compacted away.
        None => return key::is_instance(folder, kv.key()),
    };
    before != now
}

fn seen(kv: &KeyValue, folder: &str, query: &Query) -> Option<Instance> {
    let is_instance = key::is_instance(folder, kv.key());
    is_instance.then(|| value::instance(kv.value(), query).ok().flatten())?
}
