//! The templates of the simulated world: which names one uses, and what its file contains.
//!
//! The source of a template is a list of words: each is the name of a service, or a name, a slash and a tag. Its contents
//! are the addresses of all their instances. The real language of templates is not simulated.

use domain::catalogue::{Data, Dependency, Instance};
use domain::plan::TemplateSource;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What a template uses.
pub(crate) fn names(source: &TemplateSource) -> BTreeSet<Dependency> {
    let (TemplateSource::Contents(text) | TemplateSource::File(text)) = source;
    let name = |word: &str| {
        let (name, tag) = match word.split_once('/') {
            Some((name, tag)) => (name, Some(tag.to_owned())),
            None => (word, None),
        };
        let name = name.to_owned();
        Dependency::Service { name, tag }
    };
    text.split_whitespace().map(name).collect()
}

/// The contents of its file, if everything is known.
pub(crate) fn contents(source: &TemplateSource, known: &BTreeMap<Dependency, Data>) -> Option<String> {
    let mut contents = String::new();
    for name in names(source) {
        let Data::Instances(instances) = known.get(&name)? else {
            return None;
        };
        let address = |found: &Instance| format!("{}:{}", found.address, found.port);
        let mut addresses: Vec<String> = instances.iter().map(address).collect();
        addresses.sort_unstable();
        write!(contents, "{name} {}; ", addresses.join(" ")).ok()?;
    }
    Some(contents)
}
