//! A regular expression with Go's syntax and meaning, and whether a text matches it, in a bounded time.

use crate::regex;
use crate::search::{Search, Steps};
use regex_automata::nfa::thompson::NFA;

/// How many steps one search may take; as many as eight states of the pattern are followed in each (docs/bounds.md).
pub const MOST_STEPS: usize = 250_000;

/// A compiled regular expression.
#[derive(Clone, Debug)]
pub struct Pattern(NFA);

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// The pattern is invalid or too large: Go's reason.
    pub fn new(pattern: &str) -> Result<Self, String> {
        regex::compile(pattern, &mut Steps::new(MOST_STEPS)).map(Self)
    }

    /// Whether a part of the text matches; `None` if that cannot be found out within the limit.
    pub fn is_found_in(&self, text: &str) -> Option<bool> {
        let mut steps = Steps::new(MOST_STEPS);
        let found = Search::new(&self.0, text).ok()?.find(0, &mut steps).is_some();
        (found || steps.left() > 0).then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_anywhere_in_a_text_by_the_rules_of_go() {
        let pattern = Pattern::new(r#""status":\s*"(UP|ok)""#).unwrap();
        assert_eq!(pattern.is_found_in(r#"{"status": "UP"}"#), Some(true));
        assert_eq!(pattern.is_found_in(r#"{"status": "DOWN"}"#), Some(false));
        let whole = Pattern::new("^ok$").unwrap();
        assert_eq!(whole.is_found_in("ok"), Some(true));
        assert_eq!(whole.is_found_in("ok\n"), Some(false), "as in Go");
        let refused = Pattern::new("(ok").unwrap_err();
        assert!(refused.contains("missing closing )"), "{refused}");
    }

    #[test]
    fn a_search_ends_after_a_limited_number_of_steps() {
        let slow = Pattern::new("(a*)*(a*)*(a{0,90}){0,10}b").unwrap();
        assert_eq!(slow.is_found_in(&"a".repeat(64 * 1024)), None);
    }
}
