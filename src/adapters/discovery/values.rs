//! What templates read besides instances: the values of keys, and the names and tags of all services. The bounds are the
//! same for every catalogue.
//!
//! A value has to be text. What exceeds a bound, or is no text, makes the whole request fail: a template never gets a list
//! with a pair missing.

use crate::ports::CatalogueError;
use domain::catalogue::Data;
use std::collections::{BTreeMap, BTreeSet};

/// The largest value of a key, in bytes; Consul allows no larger one (docs/bounds.md).
pub(super) const LARGEST_VALUE: usize = 512 * 1024;
/// The most keys of one level (docs/bounds.md).
const MOST_PAIRS: usize = 16_384;
/// The longest name of a key of a level, in bytes (docs/bounds.md).
const LONGEST_NAME: usize = 1024;
/// The names and values of one level together, in bytes (docs/bounds.md).
const LARGEST_LEVEL: usize = 2 * 1024 * 1024;
/// The most services (docs/bounds.md).
const MOST_SERVICES: usize = 16_384;
/// The names and tags of all services together, in bytes (docs/bounds.md).
const MOST_NAMES: usize = 2 * 1024 * 1024;
/// How many characters of a key are shown.
const SHOWN: usize = 200;

/// The value of a key as text.
///
/// # Errors
/// A sentence: it is too large, or no text.
pub(super) fn text(key: &str, value: Vec<u8>) -> Result<String, CatalogueError> {
    if value.len() > LARGEST_VALUE {
        return Err(too_large(key));
    }
    let text = String::from_utf8(value);
    text.map_err(|_| unfit(key, "is not UTF-8"))
}

/// The error for a value beyond [`LARGEST_VALUE`].
pub(super) fn too_large(key: &str) -> CatalogueError {
    unfit(key, &format!("is larger than {} KiB", LARGEST_VALUE / 1024))
}

/// The error for a value that cannot be used, with the fault as the end of a sentence.
pub(super) fn unfit(key: &str, fault: &str) -> CatalogueError {
    CatalogueError::Failed(format!("the value of key {} {fault}", shown(key)))
}

/// The beginning of a key from outside, without control characters.
fn shown(key: &str) -> String {
    key.chars().take(SHOWN).flat_map(char::escape_debug).collect()
}

/// The keys of one level that were read so far.
#[derive(Debug)]
pub(super) struct Level<'p> {
    prefix: &'p str,
    pairs: Vec<(String, String)>,
    size: usize,
}

impl<'p> Level<'p> {
    /// No keys yet of the level below this prefix.
    pub fn new(prefix: &'p str) -> Self {
        Self {
            prefix,
            pairs: Vec::new(),
            size: 0,
        }
    }

    /// Whether a key belongs to the level: it has a name after the prefix, and no slash in it.
    pub fn includes(&self, key: &str) -> bool {
        self.name(key).is_some()
    }

    fn name<'k>(&self, key: &'k str) -> Option<&'k str> {
        let name = key.strip_prefix(self.prefix)?;
        (!name.is_empty() && !name.contains('/')).then_some(name)
    }

    /// Adds a key, unless it does not belong to the level. Returns how many bytes it takes.
    ///
    /// # Errors
    /// A sentence: the value is no text, or a bound is exceeded.
    pub fn add(&mut self, key: &str, value: Vec<u8>) -> Result<usize, CatalogueError> {
        let Some(name) = self.name(key) else {
            return Ok(0);
        };
        let value = text(key, value)?;
        if name.len() > LONGEST_NAME {
            let fault = format!("the key {} is longer than {LONGEST_NAME} bytes", shown(key));
            return Err(CatalogueError::Failed(fault));
        }
        let size = name.len() + value.len();
        self.size += size;
        self.pairs.push((name.to_owned(), value));
        if self.pairs.len() > MOST_PAIRS {
            return Err(self.beyond(&format!("{MOST_PAIRS} keys")));
        }
        if self.size > LARGEST_LEVEL {
            return Err(self.beyond(&format!("{} MiB", LARGEST_LEVEL / 1024 / 1024)));
        }
        Ok(size + 2 * size_of::<String>())
    }

    fn beyond(&self, bound: &str) -> CatalogueError {
        let prefix = shown(self.prefix);
        CatalogueError::Failed(format!("there are more than {bound} directly below {prefix}"))
    }

    /// The keys.
    pub fn data(self) -> Data {
        Data::Keys(self.pairs)
    }
}

/// The names and tags of the services that were read so far.
#[derive(Debug, Default)]
pub(super) struct Services {
    tags: BTreeMap<String, BTreeSet<String>>,
    size: usize,
}

impl Services {
    /// Adds a service, or more tags of one. Returns how many bytes that takes.
    ///
    /// # Errors
    /// A sentence: a bound is exceeded.
    pub fn add(
        &mut self,
        name: String,
        tags: impl IntoIterator<Item = String>,
    ) -> Result<usize, CatalogueError> {
        let before = self.size;
        if !self.tags.contains_key(&name) {
            self.size += name.len();
        }
        let known = self.tags.entry(name).or_default();
        for tag in tags {
            let size = tag.len();
            self.size += if known.insert(tag) { size + 1 } else { 0 };
        }
        let beyond = |bound: String| CatalogueError::Failed(format!("the services are more than {bound}"));
        if self.tags.len() > MOST_SERVICES {
            return Err(beyond(MOST_SERVICES.to_string()));
        }
        if self.size > MOST_NAMES {
            return Err(beyond(format!(
                "{} MiB of names and tags",
                MOST_NAMES / 1024 / 1024
            )));
        }
        Ok(self.size - before)
    }

    /// The services with their tags.
    pub fn data(self) -> Data {
        let services = self.tags.into_iter();
        Data::Services(
            services
                .map(|(name, tags)| (name, tags.into_iter().collect()))
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.into(), value.into())
    }

    #[test]
    fn a_level_has_the_keys_directly_below_its_prefix() {
        let mut level = Level::new("a/b/");
        for key in ["a/b", "a/b/", "a/b/c", "a/b/d/", "a/b/d/e", "a/bc", "a/b/f", ""] {
            level.add(key, key.into()).unwrap();
        }
        let expected = [pair("c", "a/b/c"), pair("f", "a/b/f")];
        assert_eq!(level.data(), Data::Keys(expected.into()));
        let mut top = Level::new("");
        for key in ["a", "b/c", ""] {
            top.add(key, vec![]).unwrap();
        }
        assert_eq!(top.data(), Data::Keys([pair("a", "")].into()));
    }

    #[test]
    fn a_value_is_text_of_half_a_mebibyte_at_the_most() {
        let sentence = |value: Vec<u8>| text("a\n", value).unwrap_err().to_string();
        assert!(text("a", vec![b'x'; LARGEST_VALUE]).is_ok());
        assert_eq!(
            sentence(vec![b'x'; LARGEST_VALUE + 1]),
            "the value of key a\\n is larger than 512 KiB"
        );
        assert_eq!(sentence(vec![0xff]), "the value of key a\\n is not UTF-8");
    }

    #[test]
    fn a_level_has_bounds() {
        let mut level = Level::new("a/");
        for number in 0..MOST_PAIRS {
            level.add(&format!("a/{number}"), vec![]).unwrap();
            level.add(&format!("a/deeper/{number}"), vec![0xff]).unwrap();
        }
        let error = level.add("a/x", vec![]).unwrap_err().to_string();
        assert_eq!(error, "there are more than 16384 keys directly below a/");
        let mut level = Level::new("a/");
        let half = || vec![b'x'; LARGEST_VALUE];
        for number in 1..4 {
            level.add(&format!("a/{number}"), half()).unwrap();
        }
        let error = level.add("a/4", half()).unwrap_err().to_string();
        assert_eq!(error, "there are more than 2 MiB directly below a/");
        let long = "n".repeat(LONGEST_NAME);
        assert!(Level::new("a/").add(&format!("a/{long}"), vec![]).is_ok());
        let error = Level::new("a/").add(&format!("a/{long}n"), vec![]);
        assert!(
            error
                .unwrap_err()
                .to_string()
                .ends_with("is longer than 1024 bytes")
        );
    }

    #[test]
    fn services_have_bounds() {
        let mut services = Services::default();
        for number in 0..MOST_SERVICES {
            services.add(number.to_string(), ["a".into()]).unwrap();
            services.add(number.to_string(), ["a".into()]).unwrap();
        }
        let error = services.add("x".into(), []).unwrap_err().to_string();
        assert_eq!(error, "the services are more than 16384");
        let long = "x".repeat(MOST_NAMES);
        let error = Services::default()
            .add("a".into(), [long])
            .unwrap_err()
            .to_string();
        assert_eq!(error, "the services are more than 2 MiB of names and tags");
    }
}
