//! The limits on the resources of a template.
//!
//! Templates are trusted, but a mistake in one must not stop process 1: every limit is far above the needs of
//! a configuration, and exceeding it is an error that names the limit.

use crate::value::Value;

/// The limit on the items of a list (docs/bounds.md).
pub(crate) const ITEMS: usize = 100_000;

/// The limit on a text, including the result, in bytes (docs/bounds.md).
pub const TEXT: usize = 4 * 1024 * 1024;

/// The limit on the tokens of a template: words, numbers, marks and the text between actions
/// (docs/bounds.md).
pub(crate) const TOKENS: usize = 500_000;

/// The limit on the variables that are visible in one place of a template (docs/bounds.md).
pub(crate) const VARIABLES: usize = 500;

/// The limit on steps: executed actions, pieces of text and iterations of loops for one result; functions
/// count as many steps as their work takes time (docs/bounds.md).
pub(crate) const STEPS: usize = 1_000_000;

/// How many bytes of a function's arguments or result count as a step.
const BYTES_PER_STEP: usize = 64;

/// How many items of a list in a function's arguments or result count as a step.
const ITEMS_PER_STEP: usize = 2;

/// How deep parentheses and blocks may be nested in a template (docs/bounds.md).
pub(crate) const NESTING: usize = 100;

/// How deep template calls, blocks and parentheses may be nested during execution (docs/bounds.md).
pub(crate) const DEPTH: usize = 200;

/// The limit on the width and the precision in a format.
pub(crate) const WIDTH: usize = 1_000_000;

/// A text that stops growing at the limit and records that it was reached.
#[derive(Default)]
pub(crate) struct BoundedText {
    text: String,
    overflowed: bool,
}

impl BoundedText {
    /// Appends the text if it fits.
    pub(crate) fn push(&mut self, text: &str) {
        if self.overflowed || self.text.len() + text.len() > TEXT {
            self.overflowed = true;
        } else {
            self.text.push_str(text);
        }
    }

    /// Appends the character this many times, if they all fit.
    pub(crate) fn repeat(&mut self, character: char, times: usize) {
        let length = character.len_utf8().saturating_mul(times);
        if self.overflowed || self.text.len().saturating_add(length) > TEXT {
            self.overflowed = true;
        } else {
            self.text.extend(std::iter::repeat_n(character, times));
        }
    }

    /// Records that something did not fit, without appending it.
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

/// How many steps a function counts for a value that it takes or returns.
pub(crate) fn steps_for(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len() / BYTES_PER_STEP,
        Value::List(list) => list.items.len() / ITEMS_PER_STEP,
        _ => 0,
    }
}

/// The error for too many steps.
pub(crate) fn exceeded() -> String {
    format!("exceeded {STEPS} steps")
}

/// The error for a text beyond the limit.
pub(crate) fn too_long() -> String {
    format!("text is longer than {TEXT} bytes")
}

/// Collects the items, unless there are too many.
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
