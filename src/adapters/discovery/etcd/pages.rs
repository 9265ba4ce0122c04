//! Reads all keys of a range, such as those of a service: in pages, at one revision, up to a limit.
//!
//! The first page is small, so that many backends may read theirs at the same time; the rest of a longer list
//! is read by one reader at a time. So the memory is bounded for any number of backends. Between two pages
//! the loop runs other tasks.
//!
//! What becomes of the keys is decided by a [`Collector`]. A value that is longer than a page is not read, and reported by
//! its key. The server's answers are checked against what was requested.

use super::key;
use crate::ports::CatalogueError;
use domain::catalogue::Cursor;
use etcd_client::{Client, Error, GetOptions, GetResponse, KvClient, ResponseHeader};
use tonic::Code;

/// The limit on a list: the bytes of keys and values together (docs/bounds.md).
const LARGEST_LIST: usize = 16 * 1024 * 1024;
/// The size limit on the first page of a list, as a message, in bytes (docs/bounds.md).
const FIRST_PAGE: usize = 32 * 1024;
/// The size limit on a further page of a list, as a message, in bytes (docs/bounds.md).
const LARGEST_PAGE: usize = 512 * 1024;
/// How many keys the first page may have.
const FIRST_KEYS: usize = 128;
/// How many keys a page may have.
const MOST_KEYS: usize = 2048;
/// The size limit on an answer with the value of one key, as a message, in bytes: the largest value, and the rest
/// (docs/bounds.md).
const ONE_VALUE: usize = 528 * 1024;
/// The size that a further page should have, in bytes.
const DESIRED_PAGE: usize = 256 * 1024;

/// A request for one page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    from: Vec<u8>,
    end: Vec<u8>,
    /// The revision to read at; 0 is the present one.
    revision: i64,
    keys: usize,
    /// The largest message that is accepted, in bytes.
    pub size: usize,
    keys_only: bool,
}

/// The result of a request for a page.
#[derive(Debug)]
pub enum Page {
    /// The server sent it.
    Found(GetResponse),
    /// The message is larger than `size`.
    TooLarge,
}

impl PageRequest {
    /// A request for this key alone, whose value may be as large as the values that templates read.
    pub fn for_value(key: &str) -> Self {
        Self {
            size: ONE_VALUE,
            ..Self::for_key(key)
        }
    }

    /// A request for this key alone.
    pub fn for_key(key: &str) -> Self {
        Self {
            from: key.into(),
            end: [key.as_bytes(), b"\0"].concat(),
            revision: 0,
            keys: 1,
            size: FIRST_PAGE,
            keys_only: false,
        }
    }

    /// Whether the page may be so large that only one reader at a time may request it.
    pub fn is_large(&self) -> bool {
        self.size > FIRST_PAGE
    }

    /// Sends the request to one member.
    ///
    /// # Errors
    /// The member does not answer, or refuses the request.
    pub async fn send(&self, client: &Client) -> Result<Page, Error> {
        let options = GetOptions::new()
            .with_range(self.end.clone())
            .with_revision(self.revision)
            .with_limit(i64::try_from(self.keys).unwrap_or(i64::MAX));
        let options = match self.keys_only {
            true => options.with_keys_only(),
            false => options,
        };
        let mut client = kv_client(client, self.size);
        match client.get(self.from.clone(), Some(options)).await {
            Ok(found) => Ok(Page::Found(found)),
            Err(error) if is_too_large(&error) => Ok(Page::TooLarge),
            Err(error) => Err(error),
        }
    }
}

/// A client for all requests about keys except pages.
pub fn keys_of(client: &Client) -> KvClient {
    kv_client(client, FIRST_PAGE)
}

fn kv_client(client: &Client, largest: usize) -> KvClient {
    client.kv_client().max_decoding_message_size(largest)
}

/// Whether the client refused an answer because of its size.
fn is_too_large(error: &Error) -> bool {
    let is_size = |status: &tonic::Status| {
        status.code() == Code::OutOfRange && status.message().contains("message length too large")
    };
    matches!(error, Error::GRpcStatus(status) if is_size(status))
}

/// What becomes of the keys that are read.
pub trait Collector {
    /// Takes a key and its value; without a value that is too large to be read.
    ///
    /// # Errors
    /// A sentence: the keys exceed a limit, or the value cannot be used.
    fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), CatalogueError>;

    /// The first key after this one that may be of use; `None` if it may be the next one.
    fn next_after(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }
}

/// A range of keys that is being read: the next request, and what becomes of the keys.
#[derive(Debug)]
pub struct RangeReader<C> {
    /// What all keys begin with.
    prefix: String,
    next: Option<PageRequest>,
    /// The revision of the first page, which the further pages use, too.
    revision: i64,
    size: usize,
    /// What the keys were made of so far.
    pub collected: C,
}

impl<C: Collector> RangeReader<C> {
    /// A reader of all keys that begin with this prefix, which ends in a slash.
    pub fn new(prefix: &str, collector: C) -> Self {
        let first = PageRequest {
            from: prefix.into(),
            end: key::end_of(prefix),
            revision: 0,
            keys: FIRST_KEYS,
            size: FIRST_PAGE,
            keys_only: false,
        };
        Self {
            prefix: prefix.into(),
            next: Some(first),
            revision: 0,
            size: 0,
            collected: collector,
        }
    }

    /// The next request; `None` when everything was read.
    pub fn request(&self) -> Option<PageRequest> {
        self.next.clone()
    }

    /// The revision at which everything is read.
    pub fn cursor(&self) -> Option<Cursor> {
        u64::try_from(self.revision).ok().map(Cursor)
    }

    /// Takes the answer to the last request.
    ///
    /// # Errors
    /// A sentence: the keys exceed a limit, or the answer does not match the request.
    pub fn take(&mut self, page: &Page, request: &PageRequest) -> Result<(), CatalogueError> {
        match page {
            Page::Found(found) => self.add(found, request),
            Page::TooLarge => self.shrink(request),
        }
    }

    fn add(&mut self, found: &GetResponse, request: &PageRequest) -> Result<(), CatalogueError> {
        let before = self.size;
        if request.revision == 0 {
            self.revision = found.header().map_or(0, ResponseHeader::revision);
        }
        for kv in found.kvs() {
            self.size = self.size.saturating_add(kv.key().len() + kv.value().len());
            if self.size > LARGEST_LIST {
                return Err(self.too_large(&format!("{} MiB", LARGEST_LIST / (1024 * 1024))));
            }
            self.collected
                .take(kv.key(), (!request.keys_only).then(|| kv.value()))?;
        }
        self.next = match found.kvs().last() {
            Some(last) if found.more() => {
                let average = ((self.size - before) / found.kvs().len()).max(1);
                let next = after(last.key(), request)?;
                Some(PageRequest {
                    from: self.collected.next_after(last.key()).unwrap_or(next),
                    end: request.end.clone(),
                    revision: self.revision,
                    keys: (DESIRED_PAGE / average).clamp(1, MOST_KEYS),
                    size: LARGEST_PAGE,
                    keys_only: false,
                })
            }
            _ => None,
        };
        Ok(())
    }

    /// Makes the next request smaller: first it permits a larger message, then it requests fewer keys, then one key of the
    /// largest value that is used at all, and at last one key without its value.
    fn shrink(&mut self, request: &PageRequest) -> Result<(), CatalogueError> {
        let mut next = request.clone();
        match request {
            PageRequest { keys_only: true, .. } => return Err(self.too_large("one key of its size")),
            PageRequest { size: FIRST_PAGE, .. } => next.size = LARGEST_PAGE,
            PageRequest {
                keys: 1,
                size: ONE_VALUE,
                ..
            } => next.keys_only = true,
            PageRequest { keys: 1, .. } => next.size = ONE_VALUE,
            PageRequest { keys, .. } => next.keys = (keys / 4).max(1),
        }
        self.next = Some(next);
        Ok(())
    }

    fn too_large(&self, allowed: &str) -> CatalogueError {
        beyond(&self.prefix, allowed)
    }
}

/// The error for more keys than are read.
pub fn beyond(prefix: &str, allowed: &str) -> CatalogueError {
    CatalogueError::Failed(format!(
        "what stands below {prefix} is more than is read of one service, {allowed}"
    ))
}

/// The first key after `last`, which must lie in the requested range.
fn after(last: &[u8], request: &PageRequest) -> Result<Vec<u8>, CatalogueError> {
    if last < &request.from[..] || last >= &request.end[..] {
        let sentence = "etcd's answer has keys that were not asked for";
        return Err(CatalogueError::Failed(sentence.into()));
    }
    Ok([last, b"\0"].concat())
}
