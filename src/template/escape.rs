//! Escapes text for other languages: `html`, `js` and `urlquery`.
//!
//! Each takes any number of values, formats them together unless there is exactly one text, and replaces the
//! characters that have a meaning in the other language.

use super::format;
use crate::limit::BoundedText;
use crate::quote::is_printable;
use crate::value::{Outcome, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Text escaped for HTML.
pub(crate) fn html(arguments: &[Value]) -> Outcome {
    escaped(arguments, |out, character| match character {
        '\0' => out.push("\u{fffd}"),
        '"' => out.push("&#34;"),
        '\'' => out.push("&#39;"),
        '&' => out.push("&amp;"),
        '<' => out.push("&lt;"),
        '>' => out.push("&gt;"),
        _ => out.repeat(character, 1),
    })
}

/// Text escaped for a string in JavaScript.
pub(crate) fn javascript(arguments: &[Value]) -> Outcome {
    escaped(arguments, |out, character| match character {
        '\\' => out.push("\\\\"),
        '\'' => out.push("\\'"),
        '"' => out.push("\\\""),
        '<' | '>' | '&' | '=' | '\0'..='\u{1f}' => out.push(&code_point(character)),
        _ if character.is_ascii() || is_printable(character) => out.repeat(character, 1),
        _ => out.push(&code_point(character)),
    })
}

/// Text escaped for the query of a URL.
pub(crate) fn url_query(arguments: &[Value]) -> Outcome {
    escaped(arguments, |out, character| match character {
        ' ' => out.push("+"),
        _ => utf8_percent_encode(character.encode_utf8(&mut [0; 4]), ESCAPED_IN_QUERIES)
            .for_each(|piece| out.push(piece)),
    })
}

/// The characters that are escaped in a query.
const ESCAPED_IN_QUERIES: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

fn escaped(arguments: &[Value], escape: fn(&mut BoundedText, char)) -> Outcome {
    let mut out = BoundedText::default();
    for character in joined(arguments)?.chars() {
        escape(&mut out, character);
    }
    out.finish().map(Value::text)
}

fn joined(arguments: &[Value]) -> Result<String, String> {
    let shown: Vec<Value> = arguments.iter().map(shown).collect();
    format::print(&shown)
}

/// Nil is formatted as it is in an action of its own.
fn shown(value: &Value) -> Value {
    match value {
        Value::Nil => Value::text("<no value>"),
        other => other.clone(),
    }
}

fn code_point(character: char) -> String {
    format!("\\u{:04X}", u32::from(character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_replaces_markup() {
        let text = [Value::text("<a href=\"x\">'&'</a>")];
        let expected = "&lt;a href=&#34;x&#34;&gt;&#39;&amp;&#39;&lt;/a&gt;";
        assert_eq!(html(&text), Ok(Value::text(expected)));
    }

    #[test]
    fn javascript_replaces_quotes_markup_and_control_characters() {
        let text = [Value::text("'\"\\<=\n\u{a0}é")];
        let expected = "\\'\\\"\\\\\\u003C\\u003D\\u000A\\u00A0é";
        assert_eq!(javascript(&text), Ok(Value::text(expected)));
    }

    #[test]
    fn a_query_keeps_letters_digits_and_a_few_marks() {
        let text = [Value::text("a b&c=d/é~")];
        assert_eq!(url_query(&text), Ok(Value::text("a+b%26c%3Dd%2F%C3%A9~")));
    }

    #[test]
    fn several_values_are_printed_together() {
        let values = [Value::Int(5), Value::Int(6), Value::text("<"), Value::Nil];
        assert_eq!(html(&values), Ok(Value::text("5 6&lt;&lt;no value&gt;")));
    }
}
