//! Reports texts that are not a valid template or not JSON: the sentence of the original, the position, and a
//! hint for common mistakes.

use super::json::{Cause, Context, SyntaxError};
use super::keys::nearest;
use super::listing::Listing;
use super::problem::{Message, Problem};
use super::report::Report;
use super::secrets;
use super::source::Source;
use super::tree::Span;
use std::collections::BTreeMap;
use std::fmt;
use template::TemplateError;

/// The longest inline text that is regarded as a possible path (CFG-24).
const LONGEST_PATH: usize = 4096;

/// Reports where and why a rendered text is not JSON.
pub fn report(
    source: &Source,
    listing: &Listing,
    error: &SyntaxError,
    variables: &BTreeMap<String, String>,
) -> Report {
    let text = listing.text();
    let offending = offending(text, error);
    let (line, column) = match text.is_empty() {
        true => (1, 0),
        false => listing.position(&offending),
    };
    let wrong = Wrong {
        source,
        text,
        error,
        line,
        column,
    };
    let span = error.open_string.unwrap_or(offending.start)..offending.end;
    let hidden = secrets::hidden_where_json_ends(text, error.at);
    Problem::of_text(span, &wrong).report(listing, &hidden, variables)
}

/// The offending character or number; the last character if the text ends too early.
fn offending(text: &str, error: &SyntaxError) -> Span {
    let at = match error.cause {
        Cause::End => text.char_indices().next_back().map_or(0, |(at, _)| at),
        _ => error.at,
    };
    let length = match error.cause {
        Cause::NumberTooLarge(length) => length,
        _ => text[at..].chars().next().map_or(0, char::len_utf8),
    };
    at..at + length
}

struct Wrong<'a> {
    source: &'a Source,
    text: &'a str,
    error: &'a SyntaxError,
    line: usize,
    column: usize,
}

impl fmt::Display for Wrong<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            line, column, error, ..
        } = self;
        write!(f, "Parse error at line:col [{line}:{column}]: {}", error.cause)
    }
}

impl Message for Wrong<'_> {
    fn hint(&self) -> Option<String> {
        let before = self.text[..self.error.at].trim_end();
        if self.text.trim().is_empty() {
            return Some("there is nothing but white space".into());
        }
        let Cause::Unexpected(character, context) = self.error.cause else {
            return self.error.open_string.map(|_| NOT_CLOSED.into());
        };
        Some(match (context, character) {
            (Context::Value | Context::Key, ']' | '}') if before.ends_with(',') => {
                "Do you have an extra comma somewhere?".into()
            }
            (Context::Value, '/' | '.') if is_path(self.source) => {
                format!("Did you mean file://{}?", self.text)
            }
            (Context::String, _) => NOT_CLOSED.into(),
            (Context::AfterAll, _) => {
                "one configuration is one object; a bracket before it may be too many".into()
            }
            (_, '/' | '#') => {
                "JSON has no comments; {{/* ... */}} is one, which the template leaves out".into()
            }
            (_, '\'' | '\u{201c}' | '\u{201d}' | '\u{2018}' | '\u{2019}') => {
                "strings stand between double quotes: \"...\"".into()
            }
            (Context::Value, _) if before.is_empty() => {
                "a configuration is a JSON object, which begins with {; YAML is not read".into()
            }
            (Context::Key, letter) if letter.is_alphabetic() => {
                "keys stand between double quotes: \"services\": [...]".into()
            }
            (
                Context::AfterPair | Context::AfterElement,
                '"' | '{' | '[' | '0'..='9' | '-' | 't' | 'f' | 'n',
            ) => "Is a comma missing before it?".into(),
            (Context::AfterElement, ':') => "a list [...] has no keys; an object {...} has them".into(),
            _ => return None,
        })
    }
}

const NOT_CLOSED: &str = "the string that begins here is not closed in its line";

/// Whether the inline text is a path without the prefix `file://` (CFG-24).
fn is_path(source: &Source) -> bool {
    matches!(source, Source::Inline(text) if text.len() < LONGEST_PATH && !text.contains('\n'))
}

/// Reports where and why a template is invalid.
pub fn template_report(listing: &Listing, error: &TemplateError) -> Report {
    let (line, column) = listing.position_as_written(error.offset);
    let meant = unknown_function(error).map(|meant| format!("did you mean `{meant}`?"));
    let sentence = format!("Could not apply template to config: {error}");
    Report {
        line: Some(line),
        column: Some(column),
        excerpt: Some(listing.excerpt_as_written(error.offset)),
        hints: meant.into_iter().collect(),
        ..Report::sentence(listing.name(), sentence)
    }
}

/// The known function that is similar to the unknown one.
fn unknown_function(error: &TemplateError) -> Option<&'static str> {
    let known: Vec<&'static str> = template::function_names().collect();
    nearest(error.unknown_function.as_deref()?, &known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::json;

    fn report_of(text: &str) -> String {
        let source = Source::Inline(text.into());
        let listing = Listing::written(&source, text.into());
        let error = json::parse(text).unwrap_err();
        report(&source, &listing, &error, &BTreeMap::new()).to_string()
    }

    #[test]
    fn json_errors_have_the_originals_positions_and_an_excerpt() {
        let missing = "{\n    \"test\": ,\n    \"test2\": 1\n}";
        let bare = "{\n    \"a\": 1,\n    \"b\": 2,\n    \"c\": 3,\n    test2: \"hello\"\n}";
        for (text, begin, excerpt) in [
            (
                "<>",
                "configuration:1:1: Parse error at line:col [1:1]: invalid character '<' looking for beginning of value",
                "\n    1 | <>\n      | ^\n",
            ),
            (
                missing,
                "configuration:2:13: Parse error at line:col [2:13]: invalid character ',' looking for beginning of \
                 value",
                "\n    1 | {\n    2 |     \"test\": ,\n      |             ^",
            ),
            (
                bare,
                "configuration:5:5: Parse error at line:col [5:5]: invalid character 't' looking for beginning of \
                 object key string",
                "\n    4 |     \"c\": 3,\n    5 |     test2: \"hello\"\n      |     ^\n",
            ),
        ] {
            let report = report_of(text);
            assert!(report.starts_with(&format!("{begin}{excerpt}")), "{report}");
        }
    }

    #[test]
    fn an_extra_comma_has_a_hint_with_its_position() {
        let hint = "\nhint: Do you have an extra comma somewhere?";
        let text = "{\n  \"tasks\": [\n    {\n      \"command\": \"a\"\n    },\n  ]\n}";
        let report = report_of(text);
        assert!(
            report.contains("[6:3]: invalid character ']' looking for beginning of value"),
            "{report}"
        );
        assert!(report.ends_with(hint), "{report}");
        let object = report_of("{\"a\": 1,\n}");
        assert!(object.contains("[2:1]") && object.ends_with(hint), "{object}");
        assert!(!report_of("{\"a\": }").contains("comma"));
        assert!(report_of("[1\n2]").ends_with("hint: Is a comma missing before it?"));
    }

    #[test]
    fn an_early_end_is_at_the_last_character() {
        for (text, place) in [
            ("", "configuration:1:1: Parse error at line:col [1:0]"),
            (
                "{\"consul\": \"consul:8500\",",
                "configuration:1:25: Parse error at line:col [1:25]",
            ),
            (
                "{\n  \"a\": 1\n",
                "configuration:2:9: Parse error at line:col [2:9]",
            ),
            ("{\"a\": \"é", "configuration:1:7: Parse error at line:col [1:8]"),
        ] {
            let report = report_of(text);
            let expected = format!("{place}: unexpected end of JSON input\n");
            assert!(report.starts_with(&expected), "{report}");
        }
    }

    #[test]
    fn the_report_of_an_unclosed_string_shows_its_quote() {
        assert_eq!(
            report_of("{\n\t\"a\": \"bc,\n\t\"d\": 1\n}"),
            "configuration:2:7: Parse error at line:col [2:11]: invalid character '\\n' in string literal\n    \
                 1 | {\n    2 | \t\"a\": \"bc,\n      | \t     ^^^^\n\
             hint: the string that begins here is not closed in its line"
        );
    }
}
