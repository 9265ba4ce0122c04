//! An object of the configuration: known keys are taken out of it, and what is left over is unknown.

use crate::config::json::{Kind, Node};
use crate::config::problem::Problems;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// An object that is being read.
pub struct Section<'a> {
    node: Node<'a>,
    members: BTreeMap<String, &'a RawValue>,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The members of this object; of a key that stands twice, the last one. Anything but an object is noted
    /// as a problem.
    pub fn open(node: &Node<'a>, allowed: &str, problems: &mut Problems) -> Option<Self> {
        let Some(members) = node.members() else {
            problems.wrong(node, "Could not parse configuration", allowed);
            return None;
        };
        Some(Self {
            node: node.clone(),
            members: members.into_iter().collect(),
            known: Vec::new(),
        })
    }

    /// The value of a key; `null` counts as absent.
    pub fn take(&mut self, key: &'static str) -> Option<Node<'a>> {
        self.known.push(key);
        let raw = self.members.remove(key)?;
        let node = self.node.member(key, raw);
        (node.kind() != Kind::Null).then_some(node)
    }

    /// Notes every key that nobody asked for.
    pub fn close(self, problems: &mut Problems) {
        for (key, raw) in &self.members {
            let message = match problems.are_enough() {
                true => String::new(),
                false => format!("unknown key `{}`, {}", shortened(key), self.hint(key)),
            };
            problems.add(&self.node.member(&shortened(key), raw), message);
        }
    }

    fn hint(&self, key: &str) -> String {
        match nearest(key, &self.known) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known keys are {}", self.known.join(", ")),
        }
    }
}

/// A key as messages show it.
fn shortened(key: &str) -> Cow<'_, str> {
    match key.char_indices().nth(LONGEST_KEY) {
        Some((end, _)) => format!("{}...", &key[..end]).into(),
        None => key.into(),
    }
}

/// Characters of an unknown key that are shown; a longer one is compared with no known key (docs/bounds.md).
const LONGEST_KEY: usize = 100;

/// Elements that a list of the configuration may have (docs/bounds.md).
const LONGEST_LIST: usize = 100_000;

/// The known key that differs least, if it differs little.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
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

/// A list, each element read by `read`; elements that are wrong, `null` among them, are noted.
pub fn list<'a, T>(
    node: &Node<'a>,
    allowed: &str,
    problems: &mut Problems,
    mut read: impl FnMut(&Node<'a>, &mut Problems) -> Option<T>,
) -> Vec<T> {
    let Some(elements) = node.elements() else {
        problems.wrong(node, "not a list", allowed);
        return Vec::new();
    };
    let length = elements.len();
    if length > LONGEST_LIST {
        problems.add(
            node,
            format!("a list of {length} elements, allowed are {LONGEST_LIST} at the most"),
        );
        return Vec::new();
    }
    elements.filter_map(|element| read(&element, problems)).collect()
}

/// A string, or a list of strings, each with its place.
pub fn strings<'a>(node: &Node<'a>, problems: &mut Problems) -> Vec<(Node<'a>, String)> {
    if let Some(text) = node.string() {
        return vec![(node.clone(), text)];
    }
    list(
        node,
        "a string or an array of strings",
        problems,
        |node, problems| string(node, problems).map(|text| (node.clone(), text)),
    )
}

/// A string.
pub fn string(node: &Node<'_>, problems: &mut Problems) -> Option<String> {
    let string = node.string();
    if string.is_none() {
        problems.wrong(node, "not a string", "a string");
    }
    string
}

/// `true` or `false`, also as a string.
pub fn boolean(node: &Node<'_>, problems: &mut Problems) -> Option<bool> {
    let text = node.string();
    let boolean = node.boolean().or_else(|| text?.parse().ok());
    if boolean.is_none() {
        problems.wrong(node, "not a boolean", "true or false");
    }
    boolean
}

/// A whole number, also as a decimal string; with a leading zero it might be meant to be octal (CFG-5).
pub fn integer(node: &Node<'_>, allowed: &str, problems: &mut Problems) -> Option<i64> {
    let integer = match (node.number(), node.string()) {
        (Some(number), _) => whole(number),
        (_, Some(text)) => text.parse().ok().filter(|_| is_plain(&text)),
        _ => None,
    };
    if integer.is_none() {
        problems.wrong(node, "not a whole number", allowed);
    }
    integer
}

fn is_plain(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    !number.starts_with('+') && (digits == "0" || !digits.starts_with('0'))
}

/// `10`, `1e1` and `10.0` are whole numbers.
fn whole(number: &str) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number.parse().ok().or_else(|| {
        let number: f64 = number.parse().ok()?;
        let exact = number.fract() == 0.0 && number.abs() < EXACT;
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
        exact.then_some(number as i64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_recognised_and_a_foreign_one_is_not() {
        let known = ["services", "backends", "preStart", "stopTimeout"];
        assert_eq!(nearest("servces", &known), Some("services"));
        assert_eq!(nearest("prestart", &known), Some("preStart"));
        assert_eq!(nearest("stoptimeot", &known), Some("stopTimeout"));
        assert_eq!(nearest("zookeeper", &known), None);
        assert_eq!(nearest("", &known), None);
    }

    #[test]
    fn numbers_that_are_whole_are_integers() {
        assert_eq!(whole("10"), Some(10));
        assert_eq!(whole("-1"), Some(-1));
        assert_eq!(whole("1e1"), Some(10));
        assert_eq!(whole("10.0"), Some(10));
        assert_eq!(whole("10.5"), None);
        assert_eq!(whole("1e300"), None);
    }
}
