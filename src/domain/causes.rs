//! Which causes of failures of one thing were logged already, so that each cause is logged once.
//!
//! Two causes are equal if their texts differ only in parts that may change each time: ports, addresses,
//! times, identifiers. A separate number of up to three digits is a difference, because it may be a status or
//! an exit code. At most [`MOST_CAUSES`] are stored, so a server that sends a new text each time does not
//! fill the log.

use alloc::string::String;
use alloc::vec::Vec;

/// How many different causes of one thing are logged at their own level (docs/bounds.md).
pub const MOST_CAUSES: usize = 8;
/// How many characters of a text from outside are stored or shown (docs/bounds.md).
const LONGEST_CAUSE: usize = 200;

/// The causes that were logged so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Causes {
    logged: Vec<String>,
}

impl Causes {
    /// Whether no text with this cause was logged before and the limit is not reached. If so, the cause is
    /// stored.
    pub fn is_new(&mut self, text: &str) -> bool {
        let pattern = pattern(text);
        let new = self.logged.len() < MOST_CAUSES && !self.logged.contains(&pattern);
        if new {
            self.logged.push(pattern);
        }
        new
    }

    /// The failures are over: every cause is new again.
    pub fn clear(&mut self) {
        self.logged.clear();
    }
}

/// The beginning of a text from outside, up to the length that is shown.
pub fn shortened(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST_CAUSE).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// The beginning of a text that has at most so many bytes and ends with a whole character.
pub fn beginning(text: &str, most: usize) -> &str {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// The characters that connect numbers to a longer text: an address, a time, a path.
const JOINS: [char; 6] = ['.', ':', '-', '_', '/', '@'];

/// The text with one `#` for each part that may change each time.
fn pattern(text: &str) -> String {
    let text = shortened(text);
    let mut pattern = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let is_word = first.is_alphanumeric();
        let end = rest.find(|letter: char| letter.is_alphanumeric() != is_word);
        let (part, after) = rest.split_at(end.unwrap_or(rest.len()));
        if is_word && is_changeable(part, is_joined(&pattern, after)) {
            push_changeable(&mut pattern);
        } else {
            pattern.push_str(part);
        }
        rest = after;
    }
    pattern
}

/// Appends `#`, unless the text ends with one that covers both parts: `127.0.0.1:80` and `1.5s` become `#`.
fn push_changeable(pattern: &mut String) {
    if pattern.ends_with(JOINS) {
        let join = pattern.pop();
        if pattern.ends_with('#') {
            return;
        }
        pattern.extend(join);
    }
    pattern.push('#');
}

/// Whether a word is part of a longer text.
fn is_joined(before: &str, after: &str) -> bool {
    let mut after = after.chars();
    let joins_next = after.next().is_some_and(|letter| JOINS.contains(&letter))
        && after.next().is_some_and(char::is_alphanumeric);
    before.ends_with(JOINS) || joins_next
}

fn is_changeable(word: &str, joined: bool) -> bool {
    let is_code = word.len() <= 3 && !joined && word.bytes().all(|byte| byte.is_ascii_digit());
    word.contains(|letter: char| letter.is_ascii_digit()) && !is_code
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn texts_that_differ_in_ports_times_and_identifiers_are_one_cause() {
        for (one, other) in [
            ("127.0.0.1:43210: refused", "127.0.0.1:43211: refused"),
            ("no answer within 2s", "no answer within 1.5s"),
            ("port 43210 is closed", "port 51000 is closed"),
            ("at 2026-11-25T21:00:00Z: reset", "at 2026-11-25T21:00:07Z: reset"),
            ("lease 7587848a3f is gone", "lease 10ab99 is gone"),
        ] {
            assert_eq!(pattern(one), pattern(other));
        }
    }

    #[test]
    fn texts_with_other_words_or_codes_are_different_causes() {
        for (one, other) in [
            ("connection refused", "no answer within 2s"),
            (
                "Unexpected response code: 500 ()",
                "Unexpected response code: 403 ()",
            ),
            ("exit status 1", "exit status 2"),
            ("HTTP 503: unavailable", "HTTP 502: unavailable"),
        ] {
            assert_ne!(pattern(one), pattern(other));
        }
    }

    #[test]
    fn each_cause_is_new_once_until_the_failures_are_over() {
        let mut causes = Causes::default();
        assert!(causes.is_new("refused"));
        assert!(causes.is_new("timeout"));
        assert!(!causes.is_new("refused"));
        causes.clear();
        assert!(causes.is_new("refused"));
    }

    #[test]
    fn a_server_with_a_new_text_each_time_is_logged_a_few_times() {
        let mut causes = Causes::default();
        let new = (0..1000).filter(|number| causes.is_new(&format!("failure {}", "x".repeat(*number))));
        assert_eq!(new.count(), MOST_CAUSES);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let long = "ü".repeat(300);
        assert_eq!(shortened(&long).chars().count(), LONGEST_CAUSE + 1);
        assert!(shortened(&long).ends_with('…'));
        assert_eq!(shortened("short"), "short");
    }
}
