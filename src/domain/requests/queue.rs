//! A queue of distinct entries; each can be removed in logarithmic time.
//!
//! Two queues are equal if they hold the same entries in the same order, whatever happened before.

use crate::state_key::{Keyed, StateKey};
use alloc::collections::BTreeMap;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

/// A queue of distinct entries.
#[derive(Clone)]
pub(super) struct Queue<A> {
    /// The entries by place, the first one first.
    order: BTreeMap<i64, A>,
    places: BTreeMap<A, i64>,
}

impl<A: Copy + Ord> Queue<A> {
    /// An empty queue.
    pub const fn new() -> Self {
        Self {
            order: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    /// Adds an entry at the end. One that is in the queue keeps its place.
    pub fn push_back(&mut self, entry: A) {
        let last = self.order.last_key_value();
        self.put(entry, last.map_or(0, |(place, _)| place + 1));
    }

    /// Adds an entry at the front. One that is in the queue keeps its place.
    pub fn push_front(&mut self, entry: A) {
        let first = self.order.first_key_value();
        self.put(entry, first.map_or(0, |(place, _)| place - 1));
    }

    /// Removes the first entry.
    pub fn pop_front(&mut self) -> Option<A> {
        let (_, entry) = self.order.pop_first()?;
        self.places.remove(&entry);
        Some(entry)
    }

    /// Removes an entry, if it is in the queue.
    pub fn remove(&mut self, entry: A) {
        if let Some(place) = self.places.remove(&entry) {
            self.order.remove(&place);
        }
    }

    /// Whether the entry is in the queue.
    pub fn contains(&self, entry: A) -> bool {
        self.places.contains_key(&entry)
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    fn put(&mut self, entry: A, place: i64) {
        if !self.contains(entry) {
            self.order.insert(place, entry);
            self.places.insert(entry, place);
        }
    }
}

impl<A: fmt::Debug> fmt::Debug for Queue<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.order.values()).finish()
    }
}

impl<A: PartialEq> PartialEq for Queue<A> {
    fn eq(&self, other: &Self) -> bool {
        self.order.values().eq(other.order.values())
    }
}

impl<A: Eq> Eq for Queue<A> {}

impl<A: PartialOrd> PartialOrd for Queue<A> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.order.values().partial_cmp(other.order.values())
    }
}

impl<A: Ord> Ord for Queue<A> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order.values().cmp(other.order.values())
    }
}

impl<A: Hash> Hash for Queue<A> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.order.len().hash(state);
        self.order.values().for_each(|entry| entry.hash(state));
    }
}

/// The entries in their order; the numbers of their places have no meaning.
impl<A: Keyed> Keyed for Queue<A> {
    fn write_key(&self, key: &mut impl StateKey) {
        let Self { order, places: _ } = self;
        order.len().write_key(key);
        order.values().for_each(|entry| entry.write_key(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::format;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn the_queue_contains_each_entry_once(steps in prop::collection::vec((0..4_u8, 0..6_u8), 0..60)) {
            let mut queue = Queue::new();
            let mut model = VecDeque::new();
            for (what, entry) in steps {
                let stands = model.contains(&entry);
                assert_eq!(queue.contains(entry), stands);
                match what {
                    0 => queue.push_back(entry),
                    1 => queue.push_front(entry),
                    2 => queue.remove(entry),
                    _ => assert_eq!(queue.pop_front(), model.pop_front()),
                }
                match what {
                    0 if !stands => model.push_back(entry),
                    1 if !stands => model.push_front(entry),
                    2 => model.retain(|other| *other != entry),
                    _ => {}
                }
                let mut fresh = Queue::new();
                model.iter().for_each(|entry| fresh.push_back(*entry));
                assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
                assert_eq!(format!("{queue:?}"), format!("{:?}", Vec::from_iter(&model)));
                assert!(queue == fresh && queue.cmp(&fresh).is_eq(), "whatever happened before");
            }
        }
    }
}
