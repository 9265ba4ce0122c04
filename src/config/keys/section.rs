//! An object of the configuration. Known keys are taken out of it; the remaining ones are unknown.

use super::{Error, Warning};
use crate::config::problem::Problems;
use crate::config::tree::{Data, LONGEST_KEY, Member, Value};
use std::collections::BTreeMap;

/// An object with the members that were not taken yet.
pub struct Section<'v> {
    members: BTreeMap<&'v str, &'v Member<'v>>,
    known: Vec<&'static str>,
}

impl<'v> Section<'v> {
    /// Opens an object. If a key is given more than once, the last one counts, with a warning. A value of
    /// another type is reported as an error.
    pub fn open(value: &'v Value<'v>, allowed: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let Data::Object(members) = &value.data else {
            problems.wrong(value, Error::NotAnObject, allowed);
            return None;
        };
        let mut section = Self {
            members: BTreeMap::new(),
            known: Vec::new(),
        };
        for member in members {
            if let Some(earlier) = section.members.insert(&member.key, member) {
                let Member { key, key_span, .. } = member;
                problems.warning(earlier, Warning::GivenAgain(key, key_span.start));
            }
        }
        Some(section)
    }

    /// Takes the value of a key; `null` counts as absent.
    pub fn take(&mut self, key: &'static str) -> Option<&'v Value<'v>> {
        self.known.push(key);
        let member = self.members.remove(key)?;
        (!member.value.is_null()).then_some(&member.value)
    }

    /// Takes a key that is an error here, if it is given, for a message of its own.
    pub fn take_wrong(&mut self, key: &str) -> Option<&'v Member<'v>> {
        self.members.remove(key)
    }

    /// Reports every key that was not taken as unknown.
    pub fn close(self, problems: &mut Problems<'_>) {
        for (key, member) in &self.members {
            let known = &self.known;
            problems.error(*member, Error::UnknownKey { key, known });
        }
    }
}

/// A hint with the key that was probably meant.
pub fn hint(key: &str, known: &[&'static str]) -> String {
    match nearest(key, known) {
        Some(meant) => format!("did you mean `{meant}`?"),
        None => format!("known keys are {}", known.join(", ")),
    }
}

/// The known word with the smallest difference, if the difference is small.
pub fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    if key.len() > LONGEST_KEY {
        return None;
    }
    let distance = |candidate: &&str| edits(&key.to_lowercase(), &candidate.to_lowercase());
    let nearest = known.iter().copied().min_by_key(distance)?;
    (distance(&nearest) <= 2.min(key.len() / 2)).then_some(nearest)
}

/// How many letters must be added, removed or replaced to turn one word into the other.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (removed, letter) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = removed + 1;
        for (index, other) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = row[index + 1];
            row[index + 1] = replaced.min(diagonal + 1).min(row[index] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_has_a_hint_and_a_different_one_has_none() {
        let known = ["services", "backends", "preStart", "stopTimeout"];
        assert_eq!(nearest("servces", &known), Some("services"));
        assert_eq!(nearest("prestart", &known), Some("preStart"));
        assert_eq!(nearest("stoptimeot", &known), Some("stopTimeout"));
        assert_eq!(nearest("zookeeper", &known), None);
        assert_eq!(nearest("", &known), None);
    }
}
