//! Maps and sets that are filled one entry after the other.
//!
//! `collect` sorts the entries before it makes a map of them, and the code of a sort exists once for each type of entry: it
//! is some three times as large as that of an insertion (docs/cost.md).

use alloc::collections::{BTreeMap, BTreeSet};

/// A map of these entries. Of several with one key the last one counts.
pub fn map<K: Ord, V>(entries: impl IntoIterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut map = BTreeMap::new();
    map.extend(entries);
    map
}

/// A set of these elements.
pub fn set<T: Ord>(elements: impl IntoIterator<Item = T>) -> BTreeSet<T> {
    let mut set = BTreeSet::new();
    set.extend(elements);
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_have_what_collecting_gives() {
        let entries = [(2, 'a'), (1, 'b'), (2, 'c'), (3, 'd'), (1, 'e')];
        assert_eq!(map(entries), entries.into_iter().collect());
        assert_eq!(set([3, 1, 3, 2]), [3, 1, 3, 2].into_iter().collect());
    }
}
