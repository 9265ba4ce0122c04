//! The bounds on what a template may consume.
//!
//! A template comes with the configuration, not from an enemy, but a slip in it must not take down
//! process 1: every bound is far above what a configuration needs and ends in an error that names
//! it.

use crate::value::Value;

/// Items a single list may have (docs/bounds.md).
pub(crate) const ITEMS: usize = 100_000;

/// Bytes a single text may have, the result included (docs/bounds.md).
pub const TEXT: usize = 4 * 1024 * 1024;

/// Tokens a template may have: words, numbers, marks and the text between actions (docs/bounds.md).
pub(crate) const TOKENS: usize = 500_000;

/// Variables that may be visible in one place of a template (docs/bounds.md).
pub(crate) const VARIABLES: usize = 500;

/// Actions, pieces of text and rounds of loops that may be executed for one result, and what functions do in
/// the time of so many (docs/bounds.md).
pub(crate) const STEPS: usize = 1_000_000;

/// Bytes of text that a function takes or gives in the time of a step.
const BYTES_PER_STEP: usize = 64;

/// Items of a list that a function takes or gives in the time of a step.
const ITEMS_PER_STEP: usize = 2;

/// Parentheses and blocks that may enclose one another in a template (docs/bounds.md).
pub(crate) const NESTING: usize = 100;

/// Template calls, blocks and parentheses that may enclose one another while executing (docs/bounds.md).
pub(crate) const DEPTH: usize = 200;

/// Width or precision in a format.
pub(crate) const WIDTH: usize = 1_000_000;

/// Text that stops growing at the bound and remembers that it was reached.
#[derive(Default)]
pub(crate) struct BoundedText {
    text: String,
    overflowed: bool,
}

impl BoundedText {
    /// Appends the text if it still fits.
    pub(crate) fn push(&mut self, text: &str) {
        if self.overflowed || self.text.len() + text.len() > TEXT {
            self.overflowed = true;
        } else {
            self.text.push_str(text);
        }
    }

    /// Appends the character so many times, if they all still fit.
    pub(crate) fn repeat(&mut self, character: char, times: usize) {
        let length = character.len_utf8().saturating_mul(times);
        if self.overflowed || self.text.len().saturating_add(length) > TEXT {
            self.overflowed = true;
        } else {
            self.text.extend(std::iter::repeat_n(character, times));
        }
    }

    /// Counts something as not fitting that was never appended.
    pub(crate) fn mark_overflowed(&mut self) {
        self.overflowed = true;
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }

    /// Whether something did not fit.
    pub(crate) fn overflowed(&self) -> bool {
        self.overflowed
    }

    /// The text, if everything fitted.
    pub(crate) fn finish(self) -> Result<String, String> {
        if self.overflowed {
            return Err(too_long());
        }
        Ok(self.text)
    }
}

/// How many steps it counts that a function takes or gives this value.
pub(crate) fn steps_for(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len() / BYTES_PER_STEP,
        Value::List(list) => list.items.len() / ITEMS_PER_STEP,
        _ => 0,
    }
}

/// The complaint about more steps than there may be.
pub(crate) fn exceeded() -> String {
    format!("exceeded {STEPS} steps")
}

/// The complaint about a text beyond the bound.
pub(crate) fn too_long() -> String {
    format!("text is longer than {TEXT} bytes")
}

/// The items, unless there are too many of them.
pub(crate) fn bounded<T>(items: impl Iterator<Item = T>) -> Result<Vec<T>, String> {
    let items: Vec<T> = items.take(ITEMS + 1).collect();
    if items.len() > ITEMS {
        return Err(format!("list has more than {ITEMS} items"));
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_up_to_the_bound_is_kept() {
        let mut text = BoundedText::default();
        text.repeat('x', TEXT);
        assert_eq!(text.finish().map(|text| text.len()), Ok(TEXT));
    }

    #[test]
    fn text_beyond_the_bound_is_an_error() {
        let mut text = BoundedText::default();
        text.repeat('x', TEXT + 1);
        text.push("");
        assert_eq!(text.finish(), Err(too_long()));
    }

    #[test]
    fn lists_are_bounded() {
        assert_eq!(bounded(0..ITEMS).map(|items| items.len()), Ok(ITEMS));
        assert!(bounded(0..=ITEMS).is_err());
    }
}
