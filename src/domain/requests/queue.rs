//! A queue in which everybody stands once, and from which anybody may leave, in logarithmic time.
//!
//! Two queues are the same if the same stand in the same order, whatever happened before.

use alloc::collections::BTreeMap;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};

/// See the module.
#[derive(Clone)]
pub(super) struct Queue<A> {
    /// Who stands where, the next one first.
    order: BTreeMap<i64, A>,
    places: BTreeMap<A, i64>,
}

impl<A: Copy + Ord> Queue<A> {
    /// Nobody stands in it.
    pub const fn new() -> Self {
        Self {
            order: BTreeMap::new(),
            places: BTreeMap::new(),
        }
    }

    /// Somebody comes, and is the last. Whoever stands in it already keeps the place.
    pub fn push_back(&mut self, asker: A) {
        let last = self.order.last_key_value();
        self.put(asker, last.map_or(0, |(place, _)| place + 1));
    }

    /// Somebody comes, and is the first. Whoever stands in it already keeps the place.
    pub fn push_front(&mut self, asker: A) {
        let first = self.order.first_key_value();
        self.put(asker, first.map_or(0, |(place, _)| place - 1));
    }

    /// The first one leaves.
    pub fn pop_front(&mut self) -> Option<A> {
        let (_, asker) = self.order.pop_first()?;
        self.places.remove(&asker);
        Some(asker)
    }

    /// Somebody leaves who may stand in it.
    pub fn remove(&mut self, asker: A) {
        if let Some(place) = self.places.remove(&asker) {
            self.order.remove(&place);
        }
    }

    /// Whether somebody stands in it.
    pub fn contains(&self, asker: A) -> bool {
        self.places.contains_key(&asker)
    }

    /// Whether nobody does.
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// How many do.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    fn put(&mut self, asker: A, place: i64) {
        if !self.contains(asker) {
            self.order.insert(place, asker);
            self.places.insert(asker, place);
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
        self.order.values().for_each(|asker| asker.hash(state));
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
        fn it_is_a_queue_in_which_everybody_stands_once(steps in prop::collection::vec((0..4_u8, 0..6_u8), 0..60)) {
            let mut queue = Queue::new();
            let mut model = VecDeque::new();
            for (what, asker) in steps {
                let stands = model.contains(&asker);
                assert_eq!(queue.contains(asker), stands);
                match what {
                    0 => queue.push_back(asker),
                    1 => queue.push_front(asker),
                    2 => queue.remove(asker),
                    _ => assert_eq!(queue.pop_front(), model.pop_front()),
                }
                match what {
                    0 if !stands => model.push_back(asker),
                    1 if !stands => model.push_front(asker),
                    2 => model.retain(|other| *other != asker),
                    _ => {}
                }
                let mut fresh = Queue::new();
                model.iter().for_each(|asker| fresh.push_back(*asker));
                assert_eq!((queue.len(), queue.is_empty()), (model.len(), model.is_empty()));
                assert_eq!(format!("{queue:?}"), format!("{:?}", Vec::from_iter(&model)));
                assert!(queue == fresh && queue.cmp(&fresh).is_eq(), "whatever happened before");
            }
        }
    }
}
