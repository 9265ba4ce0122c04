//! What becomes of the keys of a range: a list of instances, the names of all services, or the keys of one level.
//!
//! In the lists of instances and services, values of other programs are skipped; they do not make the list unreadable.
//! The keys of one level have to be text, and so do their values.

use super::pages::{Collector, beyond};
use super::{key, value};
use crate::adapters::discovery::values::{self, Level, Services};
use crate::ports::CatalogueError;
use domain::catalogue::{Instance, Query, Skipped};

/// The most instances in a list (docs/bounds.md).
const MOST_INSTANCES: usize = 20_000;
/// The largest value that is read as an instance, in bytes (docs/bounds.md).
const LARGEST_VALUE: usize = 64 * 1024;
/// How many bytes of a skipped value's key are logged.
const LONGEST_KEY: usize = 200;

/// The instances of one service that a query selects.
#[derive(Debug)]
pub struct Instances<'q> {
    folder: &'q str,
    query: &'q Query,
    pub instances: Vec<Instance>,
    pub skipped: Skipped,
}

impl<'q> Instances<'q> {
    /// No instances yet of those below this folder.
    pub fn new(folder: &'q str, query: &'q Query) -> Self {
        Self {
            folder,
            query,
            instances: Vec::new(),
            skipped: Skipped::default(),
        }
    }

    fn skip(&mut self, key: &[u8], reason: &str) {
        self.skipped.count += 1;
        if self.skipped.count == 1 {
            let key = String::from_utf8_lossy(key.get(..LONGEST_KEY).unwrap_or(key));
            self.skipped.example = format!("the value of {key} {reason}");
        }
    }
}

impl Collector for Instances<'_> {
    fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), CatalogueError> {
        if !key::is_instance(self.folder, key) {
            return Ok(());
        }
        let larger_than = |limit: usize| Err(format!("is larger than {} KiB", limit / 1024));
        let read = match value {
            None => larger_than(values::LARGEST_VALUE),
            Some(long) if long.len() > LARGEST_VALUE => larger_than(LARGEST_VALUE),
            Some(value) => value::instance(value, self.query),
        };
        match read {
            Ok(instance) => self.instances.extend(instance),
            Err(reason) => self.skip(key, &reason),
        }
        match self.instances.len() > MOST_INSTANCES {
            true => Err(beyond(self.folder, &format!("{MOST_INSTANCES} instances"))),
            false => Ok(()),
        }
    }
}

/// All services below a prefix, with their tags.
#[derive(Debug)]
pub struct AllServices<'q> {
    prefix: &'q str,
    pub services: Services,
}

impl<'q> AllServices<'q> {
    /// No services yet of those below this prefix, which ends in a slash.
    pub fn new(prefix: &'q str) -> Self {
        Self {
            prefix,
            services: Services::default(),
        }
    }
}

impl Collector for AllServices<'_> {
    fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), CatalogueError> {
        match service(self.prefix, key, value.unwrap_or_default()) {
            Some((name, tags)) => self.services.add(name, tags).map(drop),
            None => Ok(()),
        }
    }
}

/// The name and the tags of the service whose instance a key is; `None` if it is none.
pub fn service(prefix: &str, key: &[u8], value: &[u8]) -> Option<(String, Vec<String>)> {
    let is_small = value.len() <= LARGEST_VALUE;
    let (name, tags) = value::service(value).filter(|_| is_small)?;
    key::is_instance(&key::of_service(prefix.strip_suffix('/')?, &name), key).then_some((name, tags))
}

/// The keys of one level.
#[derive(Debug)]
pub struct OneLevel<'q> {
    prefix: &'q str,
    pub level: Level<'q>,
}

impl<'q> OneLevel<'q> {
    /// No keys yet of those directly below this prefix.
    pub fn new(prefix: &'q str) -> Self {
        let level = Level::new(prefix);
        Self { prefix, level }
    }
}

/// Whether a key lies directly below a prefix.
pub fn is_direct(prefix: &str, key: &[u8]) -> bool {
    let name = key.strip_prefix(prefix.as_bytes()).unwrap_or_default();
    !name.is_empty() && !name.contains(&b'/')
}

impl Collector for OneLevel<'_> {
    fn take(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), CatalogueError> {
        if !is_direct(self.prefix, key) {
            return Ok(());
        }
        let name = String::from_utf8_lossy(key);
        let Some(value) = value else {
            return Err(values::too_large(&name));
        };
        let key = std::str::from_utf8(key);
        let key = key.map_err(|_| CatalogueError::Failed(format!("the key {name} is not UTF-8")))?;
        self.level.add(key, value.to_vec()).map(drop)
    }

    /// What is below a key of the level is of no use.
    fn next_after(&self, key: &[u8]) -> Option<Vec<u8>> {
        let rest = key.strip_prefix(self.prefix.as_bytes())?;
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        Some([self.prefix.as_bytes(), &rest[..slash], &[b'/' + 1]].concat())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_of_a_key_is_named_by_its_value() {
        let value = br#"{"id":"a-1","name":"a/b","address":"h","port":1,"tags":["x"]}"#;
        let found = service("/p/", b"/p/a%2Fb/a-1/service", value);
        assert_eq!(found, Some(("a/b".into(), vec!["x".into()])));
        for other in [
            "/p/b/a-1/service",
            "/p/a%2Fb/a-1/more",
            "/p/a/b/a-1/service",
            "/q/a%2Fb/a-1/service",
        ] {
            assert_eq!(service("/p/", other.as_bytes(), value), None, "{other}");
        }
        assert_eq!(service("/p/", b"/p/a%2Fb/a-1/service", b"{}"), None);
    }

    #[test]
    fn what_is_below_a_level_is_skipped() {
        let level = OneLevel::new("/p/");
        assert_eq!(level.next_after(b"/p/a"), None);
        assert_eq!(level.next_after(b"/p/a/b"), Some(b"/p/a0".to_vec()));
        assert_eq!(level.next_after(b"/p/a/b/c"), Some(b"/p/a0".to_vec()));
        assert!(is_direct("/p/", b"/p/a") && !is_direct("/p/", b"/p/") && !is_direct("/p/", b"/p/a/"));
    }

    #[test]
    fn a_level_refuses_keys_and_values_that_are_no_text_or_too_large() {
        let mut level = OneLevel::new("/p/");
        assert!(level.take(b"/p/deep/\xff", None).is_ok());
        for (key, value, sentence) in [
            (&b"/p/a"[..], None, "the value of key /p/a is larger than 512 KiB"),
            (b"/p/a", Some(&b"\xff"[..]), "the value of key /p/a is not UTF-8"),
            (b"/p/\xff", Some(b""), "the key /p/\u{fffd} is not UTF-8"),
        ] {
            let error = level.take(key, value).unwrap_err().to_string();
            assert_eq!(error, sentence);
        }
    }
}
