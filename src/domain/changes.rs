//! What the handler of a backend gets: the instances, and which were added and removed since its last successful run.
//!
//! The lists are multisets of address and port, as the watch compares them. A run is successful if it ended with 0; what an
//! unsuccessful run got is a part of what the next one gets. A handler that has not run yet has handled no instance.

use crate::plan::Variable;
use crate::watch::AddressPort;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::cmp::Ordering;

/// The longest list in a variable (docs/bounds.md)
pub const LONGEST_LIST: usize = 64 * 1024;

/// What the handler of one backend has handled.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Changes {
    /// What its last successful run got, in order.
    handled: Vec<AddressPort>,
    /// What the run in progress got, in order.
    given: Option<Vec<AddressPort>>,
}

/// The lists for one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lists<'a> {
    /// The instances that there are.
    pub instances: Vec<&'a AddressPort>,
    /// Those that its last successful run did not get.
    pub added: Vec<&'a AddressPort>,
    /// Those of its last successful run that are gone.
    pub removed: Vec<&'a AddressPort>,
}

impl Changes {
    /// The lists for a run that starts with these instances, which are in order.
    pub fn lists<'a>(&'a self, instances: &'a [AddressPort]) -> Lists<'a> {
        let (added, removed) = compare(&self.handled, instances);
        Lists {
            instances: instances.iter().collect(),
            added,
            removed,
        }
    }

    /// A run starts with these instances, which are in order.
    pub fn start(&mut self, instances: &[AddressPort]) {
        self.given = Some(instances.into());
    }

    /// The run has ended.
    pub fn end(&mut self, successful: bool) {
        let given = self.given.take();
        if let Some(given) = given.filter(|_| successful) {
            self.handled = given;
        }
    }
}

/// What is in the second list only, and what is in the first only. Both are in order.
fn compare<'a>(
    first: &'a [AddressPort],
    second: &'a [AddressPort],
) -> (Vec<&'a AddressPort>, Vec<&'a AddressPort>) {
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    let (mut before, mut now) = (first.iter().peekable(), second.iter().peekable());
    while let (Some(old), Some(new)) = (before.peek(), now.peek()) {
        match old.cmp(new) {
            Ordering::Less => removed.extend(before.next()),
            Ordering::Greater => added.extend(now.next()),
            Ordering::Equal => {
                before.next();
                now.next();
            }
        }
    }
    removed.extend(before);
    added.extend(now);
    (added, removed)
}

/// How many instances [`difference`] names. (docs/bounds.md)
const MOST_NAMED: usize = 10;

/// The difference between two lists, which are in order, such as `+10.0.0.7:80 -10.0.0.9:80`.
pub fn difference(before: &[AddressPort], now: &[AddressPort]) -> String {
    let (added, removed) = compare(before, now);
    let all = added.len() + removed.len();
    let signed = |sign: char, list: Vec<&AddressPort>| {
        let named = list.into_iter().take(MOST_NAMED);
        let named = named.map(|(address, port)| format!("{sign}{}", endpoint(address, *port)));
        named.collect::<Vec<String>>()
    };
    let mut named = [signed('+', added), signed('-', removed)].concat();
    named.truncate(MOST_NAMED);
    let mut text = named.join(" ");
    if all > named.len() {
        text += &format!(" and {} more", all - named.len());
    }
    text
}

/// The variables of a run, and the name of the first one that is left out because its list is too long.
pub fn variables(backend: &str, lists: &Lists<'_>) -> (Vec<Variable>, Option<&'static str>) {
    let mut variables = Vec::from([Variable::new("CONTAINERPILOT_BACKEND", backend)]);
    let mut left_out = None;
    for (name, list) in [
        ("CONTAINERPILOT_INSTANCES", &lists.instances),
        ("CONTAINERPILOT_ADDED", &lists.added),
        ("CONTAINERPILOT_REMOVED", &lists.removed),
    ] {
        match text(list) {
            Some(text) => variables.push(Variable::new(name, &text)),
            None => left_out = left_out.or(Some(name)),
        }
    }
    (variables, left_out)
}

/// The endpoints with spaces between them; `None` if that is too long.
fn text(list: &[&AddressPort]) -> Option<String> {
    let mut text = String::new();
    for (address, port) in list {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&endpoint(address, *port));
        if text.len() > LONGEST_LIST {
            return None;
        }
    }
    Some(text)
}

/// `address:port`, without a space in it, whatever another program has written into the catalogue.
fn endpoint(address: &str, port: u16) -> String {
    let mut safe = String::with_capacity(address.len());
    for character in address.chars() {
        match character.is_whitespace() || character.is_control() {
            true => safe.extend(character.escape_unicode()),
            false => safe.push(character),
        }
    }
    match safe.contains(':') {
        true => format!("[{safe}]:{port}"),
        false => format!("{safe}:{port}"),
    }
}

crate::keyed!(Changes { handled, given });

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(ports: &[u16]) -> Vec<AddressPort> {
        let mut pairs: Vec<_> = ports.iter().map(|port| ("192.0.2.1".into(), *port)).collect();
        pairs.sort_unstable();
        pairs
    }

    fn ports(list: &[&AddressPort]) -> Vec<u16> {
        list.iter().map(|(_, port)| *port).collect()
    }

    #[test]
    fn a_difference_names_a_limited_number_of_instances() {
        assert_eq!(
            difference(&pairs(&[1, 2, 2]), &pairs(&[2, 3])),
            "+192.0.2.1:3 -192.0.2.1:1 -192.0.2.1:2"
        );
        let many: Vec<u16> = (100..112).collect();
        let text = difference(&pairs(&[1]), &pairs(&many));
        assert_eq!(text.matches('+').count(), MOST_NAMED);
        assert!(text.ends_with("+192.0.2.1:109 and 3 more"), "{text}");
    }

    #[test]
    fn the_changes_are_those_since_the_last_successful_run() {
        let mut changes = Changes::default();
        let seen = pairs(&[1, 2, 2]);
        assert_eq!(ports(&changes.lists(&seen).added), [1, 2, 2]);
        changes.start(&seen);
        changes.end(false);
        let seen = pairs(&[2, 3]);
        assert_eq!(ports(&changes.lists(&seen).added), [2, 3], "the first run failed");
        changes.start(&seen);
        changes.end(true);
        let seen = pairs(&[1, 2, 2]);
        let lists = changes.lists(&seen);
        assert_eq!(
            (ports(&lists.added), ports(&lists.removed)),
            (vec_of(&[1, 2]), vec_of(&[3]))
        );
        changes.end(true);
        assert_eq!(
            ports(&changes.lists(&[]).removed),
            [2, 3],
            "no run was in progress"
        );
    }

    fn vec_of(ports: &[u16]) -> Vec<u16> {
        ports.into()
    }

    #[test]
    fn a_list_has_brackets_around_ipv6_and_no_space_in_an_endpoint() {
        let pairs = [
            ("192.0.2.1".into(), 80),
            ("a b\tc".into(), 1),
            ("db.example".into(), 2),
            ("fd00::1".into(), 443),
        ];
        let list: Vec<&AddressPort> = pairs.iter().collect();
        assert_eq!(
            text(&list).unwrap(),
            r"192.0.2.1:80 a\u{20}b\u{9}c:1 db.example:2 [fd00::1]:443"
        );
    }

    #[test]
    fn a_list_that_is_too_long_is_left_out() {
        let changes = Changes::default();
        let pairs: Vec<AddressPort> = (0..4_000).map(|port| ("192.0.2.100".into(), port)).collect();
        let (variables, left_out) = variables("db", &changes.lists(&pairs));
        let names: Vec<_> = variables.iter().map(Variable::name).collect();
        assert_eq!(names, ["CONTAINERPILOT_BACKEND", "CONTAINERPILOT_REMOVED"]);
        assert_eq!(left_out, Some("CONTAINERPILOT_INSTANCES"));
        assert_eq!(variables[1].value(), "");
    }

    proptest! {
        #[test]
        fn added_and_removed_lead_from_what_was_handled_to_what_is_there(
            before in prop::collection::vec(0u16..6, 0..12), now in prop::collection::vec(0u16..6, 0..12)
        ) {
            let (before, now) = (pairs(&before), pairs(&now));
            let changes = Changes { handled: before.clone(), given: None };
            let lists = changes.lists(&now);
            prop_assert!(!lists.added.iter().any(|pair| lists.removed.contains(pair)), "{lists:?}");
            let mut result = before.clone();
            for pair in &lists.removed {
                let place = result.iter().position(|other| other == *pair);
                result.remove(place.expect("it was there"));
            }
            result.extend(lists.added.iter().map(|pair| (*pair).clone()));
            result.sort_unstable();
            prop_assert_eq!(result, now, "{}", format!("{before:?}"));
        }
    }
}
