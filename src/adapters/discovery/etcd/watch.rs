//! Waits until the result of a query or a look-up may differ from the result at an earlier revision.
//!
//! The watch begins at the revision after that one, so that no change between two queries is missed, removals
//! included. Its result means only that the list has to be read again. A watch that etcd cancels (for example
//! because the history was compacted) or that breaks also ends the wait, so that no query waits without a
//! watch.

use super::failure::Ended;
use super::{Etcd, SHORT, collectors, key, value};
use crate::adapters::timers::timeout;
use crate::ports::CatalogueError;
use domain::catalogue::{Cursor, Query};
use domain::time::Duration;
use etcd_client::{Client, Error, Event, EventType, KeyValue, WatchOptions, WatchStream};

/// The largest message of a watch, in bytes; a larger one ends the wait, so that the list is read again
/// (docs/bounds.md).
const LARGEST_EVENTS: usize = 256 * 1024;

/// The keys whose changes end a wait.
#[derive(Clone, Copy, Debug)]
pub(super) enum Watched<'q> {
    /// The instances in this folder that the query selects.
    Instances(&'q str, &'q Query),
    /// The instances of all services below this prefix.
    Services(&'q str),
    /// This key.
    Key(&'q str),
    /// The keys directly below this prefix.
    Level(&'q str),
}

impl Etcd {
    /// Waits until something has changed since the revision of the cursor, and at most so long. Dropping the future ends
    /// the watch.
    pub(super) async fn wait(
        &self,
        watched: Watched<'_>,
        after: Option<Cursor>,
        wait: Duration,
    ) -> Result<(), CatalogueError> {
        let Some(cursor) = after else {
            return Ok(());
        };
        let differing = timeout(wait, self.differing(watched, cursor));
        differing.await.unwrap_or(Ok(()))
    }

    /// Returns when everything has to be read again.
    async fn differing(&self, watched: Watched<'_>, Cursor(after): Cursor) -> Result<(), CatalogueError> {
        let after = i64::try_from(after).unwrap_or(i64::MAX - 1);
        let opened = self
            .members
            .request(SHORT, async |client| open(client, watched, after + 1).await);
        let (mut stream, now) = opened.await?;
        // The revisions of a new cluster begin at one again.
        if now < after {
            return Ok(());
        }
        while let Ok(Some(response)) = stream.message().await {
            let mut events = response.events().iter();
            if response.canceled() || events.any(|event| watched.is_change(event)) {
                break;
            }
        }
        Ok(())
    }
}

/// Opens a watch. When this returns, etcd has confirmed the watch; the answer has the revision at that time.
async fn open(client: &Client, watched: Watched<'_>, revision: i64) -> Result<(WatchStream, i64), Error> {
    let options = WatchOptions::new().with_prev_key().with_start_revision(revision);
    let (from, options) = match watched {
        Watched::Key(key) => (key, options),
        Watched::Instances(prefix, _) | Watched::Services(prefix) | Watched::Level(prefix) => {
            (prefix, options.with_prefix())
        }
    };
    let mut watcher = client.watch_client().max_decoding_message_size(LARGEST_EVENTS);
    let mut stream = watcher.watch(from, Some(options)).await?;
    let created = stream
        .message()
        .await?
        .ok_or_else(|| Error::WatchError(Ended.into()))?;
    let revision = created.header().map_or(0, etcd_client::ResponseHeader::revision);
    Ok((stream, revision))
}

impl Watched<'_> {
    /// Whether an event may change what is read.
    fn is_change(self, event: &Event) -> bool {
        let Some(kv) = event.kv() else {
            return false;
        };
        let is_put = event.event_type() == EventType::Put;
        let now = is_put.then_some(kv);
        match event.prev_kv() {
            Some(before) => self.differs(Some(before), now),
            None if kv.version() == 1 => self.differs(None, now),
            // The previous value was compacted away.
            None => self.concerns(kv.key()),
        }
    }

    /// Whether a key may be of use.
    fn concerns(self, key: &[u8]) -> bool {
        match self {
            Self::Instances(folder, _) => key::is_instance(folder, key),
            Self::Services(_) | Self::Key(_) => true,
            Self::Level(prefix) => collectors::is_direct(prefix, key),
        }
    }

    /// Whether two states of a key, or its absence, differ in what is read of it.
    fn differs(self, before: Option<&KeyValue>, now: Option<&KeyValue>) -> bool {
        let states = [before, now].map(|kv| kv.filter(|kv| self.concerns(kv.key())));
        match self {
            Self::Instances(_, query) => {
                let [before, now] =
                    states.map(|kv| kv.and_then(|kv| value::instance(kv.value(), query).ok().flatten()));
                before != now
            }
            Self::Services(prefix) => {
                let [before, now] =
                    states.map(|kv| kv.and_then(|kv| collectors::service(prefix, kv.key(), kv.value())));
                before != now
            }
            Self::Key(_) | Self::Level(_) => {
                let [before, now] = states.map(|kv| kv.map(KeyValue::value));
                before != now
            }
        }
    }
}
