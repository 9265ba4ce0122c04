//! From keys and values to instances.
//!
//! Others may write below our prefix too: what is not an instance is left out, and told of once per change.

use super::{key, value};
use domain::event::Instance;
use etcd_client::KeyValue;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The keys that were complained about, with the revision they had then.
#[derive(Debug, Default)]
pub struct Complaints(RefCell<BTreeMap<Vec<u8>, i64>>);

impl Complaints {
    fn is_news(&self, key: &[u8], revision: i64) -> bool {
        self.0.borrow_mut().insert(key.into(), revision) != Some(revision)
    }

    /// Forgets what is not among these keys of the folder any more.
    fn keep(&self, folder: &str, found: &[KeyValue]) {
        let mut told = self.0.borrow_mut();
        told.retain(|key, _| !key.starts_with(folder.as_bytes()) || found.iter().any(|kv| kv.key() == key));
    }
}

/// The instances with the tag, if one is asked for, among what was found below a service's key.
pub fn instances(
    folder: &str,
    found: &[KeyValue],
    tag: Option<&str>,
    complaints: &Complaints,
) -> Vec<Instance> {
    complaints.keep(folder, found);
    let found = found.iter().filter(|kv| key::is_instance(folder, kv.key()));
    let instances = found.filter_map(|kv| match value::instance(kv.value(), tag) {
        Ok(instance) => instance,
        Err(error) => {
            if complaints.is_news(kv.key(), kv.mod_revision()) {
                let key = String::from_utf8_lossy(kv.key());
                tracing::warn!("{key} is skipped, its value is not an instance: {error}");
            }
            None
        }
    });
    instances.collect()
}
