//! What a template looks up: the known data of the catalogue, files and the time; and the record of what it wanted.

use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use domain::catalogue::{Data, Dependency, Instance};
use domain::event::Rendered;
use domain::template::Outcome;
use nix::libc::O_NONBLOCK;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use template::{Lookup, Type, Value};

/// The most names that one template may use (docs/bounds.md).
const MOST_NAMES: usize = 1000;
/// The largest file that a template reads, and the largest template, in bytes (docs/bounds.md).
const LARGEST_FILE: usize = 1024 * 1024;
/// The longest name that is looked up, in bytes (docs/bounds.md).
const LONGEST_NAME: usize = 1024;

/// Why no key is looked up.
const NO_KEYS: &str = "keys need Consul or etcd, and the catalogue is a folder";

/// What is known during one rendering.
pub(super) struct Known<'a> {
    data: &'a BTreeMap<Dependency, Data>,
    has_keys: bool,
    now: DateTime<FixedOffset>,
    names: RefCell<BTreeSet<Dependency>>,
    /// The keys that were needed and do not exist.
    missing: RefCell<BTreeSet<Dependency>>,
    is_incomplete: Cell<bool>,
    files: RefCell<Option<DefaultHasher>>,
    /// The lists that were made already.
    values: RefCell<BTreeMap<Dependency, Value>>,
}

impl<'a> Known<'a> {
    /// What is known of the catalogue, whether it has keys with values, and the time.
    pub(super) fn new(
        data: &'a BTreeMap<Dependency, Data>,
        has_keys: bool,
        now: DateTime<FixedOffset>,
    ) -> Self {
        Self {
            data,
            has_keys,
            now,
            names: RefCell::default(),
            missing: RefCell::default(),
            is_incomplete: Cell::new(false),
            files: RefCell::default(),
            values: RefCell::default(),
        }
    }

    /// Whether something was wanted that is not known.
    pub(super) fn is_incomplete(&self) -> bool {
        self.is_incomplete.get()
    }

    /// The result of the rendering, with the names that were wanted, and a number that stands for the contents of the files
    /// that were read.
    pub(super) fn rendered(self, outcome: Outcome) -> Rendered {
        Rendered {
            names: self.names.into_inner(),
            missing: self.missing.into_inner(),
            files: self.files.into_inner().map(|hasher| hasher.finish()),
            outcome,
        }
    }

    /// Reads a file and adds it to those that were read.
    pub(super) fn read(&self, path: &str) -> Result<String, String> {
        let text = read_file(path).map_err(|error| {
            let cause = crate::cause::in_kernel_words(&error);
            format!("{path} cannot be read: {cause}")
        });
        let mut files = self.files.borrow_mut();
        (path, &text).hash(files.get_or_insert_default());
        text
    }

    /// What is known under a name, which is wanted from now on.
    fn look_up(&self, name: Dependency) -> Result<Option<&'a Data>, String> {
        let data = self.data.get(&name);
        let mut names = self.names.borrow_mut();
        names.insert(name);
        if names.len() > MOST_NAMES {
            // The rendering ends with this error, and waits for nothing.
            names.clear();
            self.missing.borrow_mut().clear();
            self.is_incomplete.set(false);
            return Err(format!("a template uses more than {MOST_NAMES} names"));
        }
        if data.is_none() {
            self.is_incomplete.set(true);
        }
        Ok(data)
    }

    /// The path of a key, or of keys, as it was given. What a slash before it means depends on the catalogue.
    fn path(&self, path: &str) -> Result<String, String> {
        match path.len() {
            _ if !self.has_keys => Err(NO_KEYS.into()),
            ..=LONGEST_NAME => Ok(path.to_owned()),
            _ => Err(format!("the path is longer than {LONGEST_NAME} bytes")),
        }
    }

    /// The list that is known under a name, made once; empty if it is not known.
    fn list(&self, name: Dependency, make: impl FnOnce(&Data) -> Vec<Value>) -> Result<Value, String> {
        if let Some(value) = self.values.borrow().get(&name) {
            return Ok(value.clone());
        }
        let Some(data) = self.look_up(name.clone())? else {
            return Ok(Value::list(Type::Any, []));
        };
        let value = Value::list(Type::Any, make(data));
        self.values.borrow_mut().insert(name, value.clone());
        Ok(value)
    }
}

impl Lookup for Known<'_> {
    fn service(&self, wanted: &str) -> Result<Value, String> {
        let dependency = service(wanted)?;
        let Dependency::Service { name, .. } = &dependency else {
            return Err("not a service".into());
        };
        let name = name.clone();
        self.list(dependency, |data| match data {
            Data::Instances(instances) => instances
                .iter()
                .map(|instance| structure(&name, instance))
                .collect(),
            _ => Vec::new(),
        })
    }

    fn services(&self) -> Result<Value, String> {
        self.list(Dependency::Services, |data| match data {
            Data::Services(services) => services
                .iter()
                .map(|(name, tags)| {
                    Value::structure([("Name", Value::text(name.as_str())), ("Tags", texts(tags))])
                })
                .collect(),
            _ => Vec::new(),
        })
    }

    fn key(&self, path: &str, needs: bool) -> Result<Option<Value>, String> {
        let name = Dependency::Key(self.path(path)?);
        let Some(Data::Key(value)) = self.look_up(name.clone())? else {
            return Ok(None);
        };
        if needs && value.is_none() {
            self.missing.borrow_mut().insert(name);
            self.is_incomplete.set(true);
        }
        Ok(value.as_deref().map(Value::text))
    }

    fn keys(&self, path: &str) -> Result<Value, String> {
        let mut prefix = self.path(path)?;
        if !prefix.ends_with('/') {
            prefix.push('/');
        }
        let pair = |(key, value): &(String, String)| {
            let (key, value) = (Value::text(key.as_str()), Value::text(value.as_str()));
            Value::structure([("Key", key), ("Value", value)])
        };
        self.list(Dependency::Keys(prefix), |data| match data {
            Data::Keys(keys) => keys.iter().map(pair).collect(),
            _ => Vec::new(),
        })
    }

    fn file(&self, path: &str) -> Result<Value, String> {
        self.read(path).map(Value::text)
    }

    fn timestamp(&self, format: Option<&str>) -> Result<Value, String> {
        let now = self.now.with_timezone(&Utc);
        match format {
            None => Ok(Value::text(now.to_rfc3339_opts(SecondsFormat::Secs, true))),
            Some("unix") => Ok(Value::text(now.timestamp().to_string())),
            Some(_) => Err("the only format is \"unix\"".into()),
        }
    }
}

/// The name of a service, or a tag, a dot and a name.
fn service(wanted: &str) -> Result<Dependency, String> {
    if wanted.len() > LONGEST_NAME {
        return Err(format!("the name is longer than {LONGEST_NAME} bytes"));
    }
    if let Some(mark) = wanted.chars().find(|mark| matches!(mark, '@' | '~' | '|' | '?')) {
        return Err(format!(
            "\"{}\" has a '{mark}' in it; only a name, or a tag, a dot and a name can be looked up",
            wanted.escape_debug()
        ));
    }
    let (tag, name) = match wanted.rsplit_once('.') {
        Some((tag, name)) => (Some(tag.to_owned()), name),
        None => (None, wanted),
    };
    if name.is_empty() || tag.as_deref() == Some("") {
        return Err(format!(
            "\"{}\" is not the name of a service",
            wanted.escape_debug()
        ));
    }
    let name = name.to_owned();
    Ok(Dependency::Service { name, tag })
}

fn structure(name: &str, instance: &Instance) -> Value {
    let details = instance.details.as_deref().cloned().unwrap_or_default();
    let meta = details
        .meta
        .into_iter()
        .map(|(key, value)| (key, Value::text(value)));
    let meta = Value::map(Type::Text, meta);
    Value::structure([
        ("ID", Value::text(instance.id.as_str())),
        ("Name", Value::text(name)),
        ("Address", Value::text(instance.address.as_str())),
        ("Port", Value::Int(instance.port.into())),
        ("Tags", texts(&details.tags)),
        ("Meta", meta.clone()),
        ("ServiceMeta", meta),
        ("Node", Value::text(details.node)),
    ])
}

fn texts(texts: &[String]) -> Value {
    Value::list(Type::Text, texts.iter().map(|text| Value::text(text.as_str())))
}

/// The text of a regular file that is not too large. Reading never waits for a writer.
fn read_file(path: &str) -> io::Result<String> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(O_NONBLOCK).open(path)?;
    let unfit = |sentence: String| io::Error::new(ErrorKind::InvalidData, sentence);
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(unfit("it is a directory".into()));
    }
    if !metadata.is_file() {
        return Err(unfit("it is not a regular file".into()));
    }
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > LARGEST_FILE {
        return Err(unfit(format!("it is larger than {LARGEST_FILE} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| unfit("it is not UTF-8".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_service_may_have_a_tag_before_it() {
        let named = |tag: Option<&str>, name: &str| {
            Ok(Dependency::Service {
                name: name.into(),
                tag: tag.map(Into::into),
            })
        };
        assert_eq!(service("web"), named(None, "web"));
        assert_eq!(service("v1.2.web"), named(Some("v1.2"), "web"));
        assert!(service(&"x".repeat(LONGEST_NAME)).is_ok());
        assert!(service(&"x".repeat(LONGEST_NAME + 1)).is_err());
        for wrong in ["", ".web", "web.", "web@dc1", "web|any", "web~near"] {
            assert!(service(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_template_may_use_a_thousand_names_and_with_more_none_is_watched() {
        let data = BTreeMap::new();
        let known = Known::new(&data, true, DateTime::UNIX_EPOCH.fixed_offset());
        for number in 0..MOST_NAMES {
            known.service(&format!("s{number}")).unwrap();
        }
        assert!(known.service("s0").is_ok() && known.is_incomplete());
        assert_eq!(known.names.borrow().len(), MOST_NAMES);
        assert!(known.service("one-more").is_err());
        assert!(!known.is_incomplete());
        assert_eq!(known.rendered(Outcome::Incomplete).names.len(), 0);
    }

    #[test]
    fn the_keys_of_a_level_are_a_list_of_pairs() {
        let keys = [("c".to_owned(), "1".to_owned())];
        let data = [(Dependency::Keys("/a/b/".into()), Data::Keys(keys.into()))].into();
        let known = Known::new(&data, true, DateTime::UNIX_EPOCH.fixed_offset());
        let only = Value::structure([("Key", Value::text("c")), ("Value", Value::text("1"))]);
        for path in ["/a/b", "/a/b/"] {
            let pairs = known.keys(path);
            assert_eq!(pairs, Ok(Value::list(Type::Any, [only.clone()])), "{path}");
        }
        assert!(!known.is_incomplete());
        assert!(
            known.keys("a/b").is_ok() && known.is_incomplete(),
            "that is another"
        );
        assert!(known.keys(&"x".repeat(LONGEST_NAME + 1)).is_err());
    }

    #[test]
    fn a_needed_key_that_does_not_exist_is_waited_for() {
        let data = [(Dependency::Key("a".into()), Data::Key(None))].into();
        let known = Known::new(&data, true, DateTime::UNIX_EPOCH.fixed_offset());
        assert_eq!(known.key("a", false), Ok(None));
        assert!(!known.is_incomplete());
        assert_eq!(known.key("a", true), Ok(None));
        assert_eq!(known.key("not known", true), Ok(None));
        assert!(known.is_incomplete());
        let rendered = known.rendered(Outcome::Incomplete);
        assert_eq!(rendered.missing, [Dependency::Key("a".into())].into());
        assert_eq!(rendered.names.len(), 2);
    }

    #[test]
    fn without_a_catalogue_that_has_keys_they_are_an_error_and_nothing_is_waited_for() {
        let data = BTreeMap::new();
        let known = Known::new(&data, false, DateTime::UNIX_EPOCH.fixed_offset());
        assert_eq!(known.key("a", true), Err(NO_KEYS.into()));
        assert_eq!(known.key("a", false), Err(NO_KEYS.into()));
        assert_eq!(known.keys("a"), Err(NO_KEYS.into()));
        assert!(!known.is_incomplete());
        assert!(known.services().is_ok());
        assert_eq!(
            known.rendered(Outcome::Incomplete).names,
            [Dependency::Services].into()
        );
    }

    #[test]
    fn the_time_is_that_of_the_calendar_in_utc() {
        let data = BTreeMap::new();
        let known = Known::new(&data, true, DateTime::UNIX_EPOCH.fixed_offset());
        assert_eq!(known.timestamp(None), Ok(Value::text("1970-01-01T00:00:00Z")));
        assert_eq!(known.timestamp(Some("unix")), Ok(Value::text("0")));
        assert!(known.timestamp(Some("2006-01-02")).is_err());
    }
}
