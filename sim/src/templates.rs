//! The templates of the simulated world: which names one uses, and what its file contains.
//!
//! The source of a template is a list of words: the name of a service, or a name, a slash and a tag; `=` and a key that has
//! to exist; `?` and a key that has a default; `:` and what the keys of a level begin with. Its contents are the addresses
//! of all instances, and the values. The real language of templates is not simulated.

use domain::catalogue::{Data, Dependency, Instance};
use domain::plan::TemplateSource;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The words of a template.
fn words(source: &TemplateSource) -> impl Iterator<Item = &str> {
    let (TemplateSource::Contents(text) | TemplateSource::File(text)) = source;
    text.split_whitespace()
}

fn name(word: &str) -> Dependency {
    if let Some(key) = word.strip_prefix(['=', '?']) {
        return Dependency::Key(key.into());
    }
    if let Some(prefix) = word.strip_prefix(':') {
        return Dependency::Keys(prefix.into());
    }
    let (name, tag) = match word.split_once('/') {
        Some((name, tag)) => (name, Some(tag.to_owned())),
        None => (word, None),
    };
    let name = name.to_owned();
    Dependency::Service { name, tag }
}

/// What a template uses.
pub(crate) fn names(source: &TemplateSource) -> BTreeSet<Dependency> {
    words(source).map(name).collect()
}

/// Whether a template uses keys.
pub(crate) fn uses_keys(source: &TemplateSource) -> bool {
    let is_key = |name: &Dependency| matches!(name, Dependency::Key(_) | Dependency::Keys(_));
    names(source).iter().any(is_key)
}

/// The keys that have to exist, and of which it is known that they do not.
pub(crate) fn missing(source: &TemplateSource, known: &BTreeMap<Dependency, Data>) -> BTreeSet<Dependency> {
    let needed = words(source).filter(|word| word.starts_with('=')).map(name);
    needed
        .filter(|name| known.get(name) == Some(&Data::Key(None)))
        .collect()
}

/// The contents of its file, if everything is known, and every key exists that has to.
pub(crate) fn contents(source: &TemplateSource, known: &BTreeMap<Dependency, Data>) -> Option<String> {
    let mut contents = String::new();
    for word in words(source) {
        let name = name(word);
        let text = match known.get(&name)? {
            Data::Instances(instances) => {
                let address = |found: &Instance| format!("{}:{}", found.address, found.port);
                let mut addresses: Vec<String> = instances.iter().map(address).collect();
                addresses.sort_unstable();
                addresses.join(" ")
            }
            Data::Key(None) if word.starts_with('=') => return None,
            Data::Key(value) => value.clone().unwrap_or_else(|| "default".into()),
            Data::Keys(pairs) => {
                let mut pairs: Vec<_> = pairs
                    .iter()
                    .map(|(key, value)| format!("{key}={value}"))
                    .collect();
                pairs.sort_unstable();
                pairs.join(" ")
            }
            Data::Services(_) => return None,
        };
        write!(contents, "{name} {text}; ").ok()?;
    }
    Some(contents)
}
