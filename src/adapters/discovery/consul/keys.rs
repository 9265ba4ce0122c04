//! What templates read from Consul besides instances: values of its key-value store, and the list of all services.
//!
//! These are blocking queries with the rules of those for instances. The keys of one level are read together with all that
//! is below them, as consul-template does, and only those of the level are stored. A key may be given with a slash before
//! it, which is not a part of it, as in consul-template.

use super::client::Answer;
use super::entries::{Broken, Entry, Outermost, Splitter};
use super::listing::MemoryShare;
use super::{Consul, cursor, is_filtered, path, waiting};
use crate::adapters::discovery::values::{self, LARGEST_VALUE, Level, Services};
use crate::ports::CatalogueError;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use domain::catalogue::{Cursor, Data, Found, LookUp};
use hyper::{Method, StatusCode};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The longest entry of an answer about keys, in bytes: a value of the largest size in base64, its key, and the rest.
/// A longer one has a value that is too large, or belongs to a level that is not read (docs/bounds.md).
const LONGEST_PAIR: usize = 720 * 1024;
/// The longest entry of the list of all services, in bytes: one service with its tags (docs/bounds.md).
const LONGEST_SERVICE: usize = 256 * 1024;
/// How many characters of an unexpected key are shown.
const SHOWN: usize = 64;

impl Consul {
    /// The value of a key.
    pub(super) async fn key(&self, key: &str, look_up: &LookUp) -> Result<Found, CatalogueError> {
        let key = key.trim_start_matches('/');
        let parts: Vec<&str> = ["v1", "kv"].into_iter().chain(key.split('/')).collect();
        let answer = self.query(&parts, &[], look_up).await?;
        let mut value = None;
        let read = read(answer, look_up, Outermost::Array, LONGEST_PAIR, |entry| {
            value = Some(match entry {
                Entry::TooLong => return Err(values::too_large(key).into()),
                Entry::Text(entry) => values::text(key, value_of(key, entry)?)?,
            });
            Ok(())
        });
        let (cursor, filtered) = read.await?;
        Ok(Found {
            data: Data::Key(value),
            cursor,
            filtered,
        })
    }

    /// The keys directly below a prefix.
    pub(super) async fn keys(&self, prefix: &str, look_up: &LookUp) -> Result<Found, CatalogueError> {
        let prefix = prefix.trim_start_matches('/');
        let parts: Vec<&str> = ["v1", "kv"].into_iter().chain(prefix.split('/')).collect();
        let answer = self.query(&parts, &[("recurse", "1")], look_up).await?;
        let (mut level, mut share) = (Level::new(prefix), MemoryShare::default());
        let read = read(answer, look_up, Outermost::Array, LONGEST_PAIR, |entry| {
            let Entry::Text(entry) = entry else {
                let fault = format!(
                    "a value below {prefix} is larger than {} KiB",
                    LARGEST_VALUE / 1024
                );
                return Err(CatalogueError::Failed(fault).into());
            };
            let key = named(entry)?;
            if level.includes(&key) {
                share.add(level.add(&key, value_of(&key, entry)?)?)?;
            }
            Ok(())
        });
        let (cursor, filtered) = read.await?;
        Ok(Found {
            data: level.data(),
            cursor,
            filtered,
        })
    }

    /// All services.
    pub(super) async fn services(&self, look_up: &LookUp) -> Result<Found, CatalogueError> {
        let answer = self.query(&["v1", "catalog", "services"], &[], look_up).await?;
        let (mut services, mut share) = (Services::default(), MemoryShare::default());
        let read = read(answer, look_up, Outermost::Object, LONGEST_SERVICE, |entry| {
            let Entry::Text(entry) = entry else {
                let fault = format!("a service has more than {} KiB of tags", LONGEST_SERVICE / 1024);
                return Err(CatalogueError::Failed(fault).into());
            };
            let entry = [b"{", entry, b"}"].concat();
            let service: BTreeMap<String, Option<Vec<String>>> =
                serde_json::from_slice(&entry).map_err(|error| Broken(error.to_string()))?;
            for (name, tags) in service {
                share.add(services.add(name, tags.unwrap_or_default())?)?;
            }
            Ok(())
        });
        let (cursor, filtered) = read.await?;
        Ok(Found {
            data: services.data(),
            cursor,
            filtered,
        })
    }

    /// Sends a query that waits for a change if the look-up has a cursor.
    async fn query(
        &self,
        parts: &[&str],
        parameters: &[(&str, &str)],
        look_up: &LookUp,
    ) -> Result<Answer, CatalogueError> {
        let waiting = waiting(look_up.after, look_up.wait);
        let waiting = waiting.iter().map(|(key, value)| (*key, value.as_str()));
        let parameters: Vec<_> = parameters.iter().copied().chain(waiting).collect();
        self.send(Method::GET, &path(parts, &parameters), "").await
    }
}

/// Reads an answer, entry by entry. The answer 404 means that there are none. Returns the cursor, and whether ACLs hid
/// something.
async fn read(
    mut answer: Answer,
    look_up: &LookUp,
    outermost: Outermost,
    longest: usize,
    mut each: impl FnMut(Entry<'_>) -> Result<(), Fault>,
) -> Result<(Option<Cursor>, bool), CatalogueError> {
    let headers = answer.headers();
    let seen = (cursor(headers, look_up.after), is_filtered(headers));
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::NOT_FOUND => {
            answer.ignore().await;
            return Ok(seen);
        }
        _ => return Err(CatalogueError::Failed(answer.refusal().await.to_string())),
    }
    let mut splitter = Splitter::new(outermost, longest);
    while let Some(piece) = answer.piece().await? {
        splitter.take(&piece, &mut each)?;
    }
    answer.done();
    splitter.finish().map_err(Fault::from)?;
    Ok(seen)
}

/// Why an answer cannot be used.
struct Fault(CatalogueError);

impl From<CatalogueError> for Fault {
    fn from(error: CatalogueError) -> Self {
        Self(error)
    }
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        let sentence = format!("the answer is not what was asked for: {broken}");
        Self(CatalogueError::Failed(sentence))
    }
}

impl From<Fault> for CatalogueError {
    fn from(Fault(error): Fault) -> Self {
        error
    }
}

/// The key of an entry.
fn named(entry: &[u8]) -> Result<String, Broken> {
    let Named { key } = serde_json::from_slice(entry).map_err(|error| Broken(error.to_string()))?;
    Ok(key)
}

/// The bytes of the value in the entry of this key. An empty value may be missing.
fn value_of(wanted: &str, entry: &[u8]) -> Result<Vec<u8>, Fault> {
    let pair: Result<Pair, _> = serde_json::from_slice(entry);
    let Pair { key, value } = pair.map_err(|error| Broken(error.to_string()))?;
    if key != wanted {
        let key: String = key.chars().take(SHOWN).flat_map(char::escape_debug).collect();
        return Err(Broken(format!("it has the key {key}")).into());
    }
    let bytes = BASE64_STANDARD.decode(value.unwrap_or_default());
    Ok(bytes.map_err(|error| values::unfit(&key, &format!("is not base64: {error}")))?)
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Pair {
    key: String,
    value: Option<String>,
}
