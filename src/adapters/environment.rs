//! The environment: the process's own, as it was at the start, and the variables exported since.
//!
//! Children and templates get both. The environment of the process itself is never changed.

use domain::filled;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A handle to the environment; all clones share the exported variables.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    exports: Rc<RefCell<Exports>>,
}

#[derive(Debug, Default)]
struct Exports {
    variables: BTreeMap<String, String>,
    changes: u64,
}

impl Environment {
    /// Sets a variable for children that start, and templates that are rendered, from now on.
    pub fn export(&self, name: &str, value: &str) {
        let mut exports = self.exports.borrow_mut();
        let before = exports.variables.insert(name.into(), value.into());
        if before.as_deref() != Some(value) {
            exports.changes += 1;
        }
    }

    /// The exported variables, to be added to the environment that children inherit.
    pub fn exports(&self) -> BTreeMap<String, String> {
        self.exports.borrow().variables.clone()
    }

    /// How often an exported variable has changed: while this number is the same, so are [`Self::exports`].
    pub fn changes(&self) -> u64 {
        self.exports.borrow().changes
    }

    /// All variables, for templates. Bytes that are not UTF-8 become U+FFFD.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        let own = std::env::vars_os().map(|(name, value)| (text(name), text(value)));
        filled::map(own.chain(self.exports()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exported_variables_are_visible_in_all_clones_and_replace_inherited_ones() {
        let environment = Environment::default();
        let view = environment.clone();
        environment.export("PATH", "/nowhere");
        assert_eq!(view.variables()["PATH"], "/nowhere");
        let exported = BTreeMap::from([("PATH".to_owned(), "/nowhere".to_owned())]);
        assert_eq!(view.exports(), exported);
    }

    #[test]
    fn changes_are_counted() {
        let environment = Environment::default();
        assert_eq!(environment.changes(), 0);
        environment.export("A", "1");
        environment.export("A", "1");
        assert_eq!(environment.changes(), 1);
        environment.export("A", "2");
        assert_eq!(environment.changes(), 2);
    }
}
