//! The leases that were granted and not yet revoked, by key.
//!
//! A lease is recorded before a key is put under it, because after a put without an answer it is unknown
//! whether the key was written. The cell is never borrowed across an `await`.

use std::cell::RefCell;
use std::collections::BTreeMap;

/// The leases of all keys.
#[derive(Debug, Default)]
pub struct Leases(RefCell<BTreeMap<String, KeyLeases>>);

#[derive(Debug, Default)]
struct KeyLeases {
    /// The leases, oldest first.
    leases: Vec<i64>,
    /// The lease of the last put that etcd confirmed.
    confirmed: Option<i64>,
}

impl Leases {
    /// Records that a lease was granted for this key.
    pub fn insert(&self, key: &str, lease: i64) {
        let mut keys = self.0.borrow_mut();
        keys.entry(key.into()).or_default().leases.push(lease);
    }

    /// Records that etcd confirmed a put of this key under this lease.
    pub fn confirmed(&self, key: &str, lease: i64) {
        if let Some(held) = self.0.borrow_mut().get_mut(key) {
            held.confirmed = Some(lease);
        }
    }

    /// Whether the newest lease is the one of the last confirmed put.
    pub fn is_confirmed(&self, key: &str) -> bool {
        let keys = self.0.borrow();
        keys.get(key)
            .is_some_and(|held| held.confirmed.is_some() && held.confirmed.as_ref() == held.leases.last())
    }

    /// All leases granted for a key.
    pub fn all(&self, key: &str) -> Vec<i64> {
        self.0
            .borrow()
            .get(key)
            .map(|held| held.leases.clone())
            .unwrap_or_default()
    }

    /// All leases of a key but the newest.
    pub fn former(&self, key: &str) -> Vec<i64> {
        let mut leases = self.all(key);
        leases.pop();
        leases
    }

    /// Records that a lease was revoked.
    pub fn remove(&self, key: &str, lease: i64) {
        let mut keys = self.0.borrow_mut();
        let Some(held) = keys.get_mut(key) else {
            return;
        };
        held.leases.retain(|other| *other != lease);
        if held.leases.is_empty() {
            keys.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_put_counts_only_under_the_newest_lease() {
        let leases = Leases::default();
        leases.insert("app", 1);
        assert!(!leases.is_confirmed("app"), "the put may not have landed");
        leases.confirmed("app", 1);
        assert!(leases.is_confirmed("app"));
        leases.insert("app", 2);
        assert!(!leases.is_confirmed("app"));
        assert_eq!((leases.all("app"), leases.former("app")), (vec![1, 2], vec![1]));
        leases.remove("app", 1);
        leases.confirmed("app", 2);
        assert!(leases.is_confirmed("app"));
        leases.remove("app", 2);
        assert!(leases.0.borrow().is_empty());
    }
}
