//! `toJSON` and `parseJSON`, as `encoding/json` of Go reads and writes values.
//!
//! Keys are sorted, and `<`, `>` and `&` are escaped, because Go does so. Both directions are limited.

use crate::floats::{self, Layout};
use crate::limit::{self, BoundedText, ITEMS};
use crate::value::{Key, Outcome, Type, Value};
use serde_json::Value as Json;
use std::fmt::Write as _;

/// The value of a JSON text; numbers are floating-point numbers, and an empty text is an empty map.
pub(crate) fn parse(arguments: &[Value]) -> Outcome {
    let [Value::Text(text)] = arguments else {
        return Err("wrong arguments".to_owned());
    };
    if text.is_empty() {
        return Ok(Value::map(Type::Any, []));
    }
    let json: Json = serde_json::from_str(text).map_err(|error| format!("parseJSON: {error}"))?;
    let mut left = ITEMS;
    value(json, &mut left)
}

/// Takes at most `left` values.
fn value(json: Json, left: &mut usize) -> Outcome {
    *left = left
        .checked_sub(1)
        .ok_or_else(|| format!("the JSON text has more than {ITEMS} values"))?;
    Ok(match json {
        Json::Null => Value::Nil,
        Json::Bool(truth) => Value::Bool(truth),
        Json::Number(number) => Value::Float(number.as_f64().unwrap_or_default()),
        Json::String(text) => Value::text(text),
        Json::Array(items) => {
            let items = items.into_iter().map(|item| value(item, left));
            Value::list(Type::Any, items.collect::<Result<Vec<_>, _>>()?)
        }
        Json::Object(entries) => {
            let entries = entries
                .into_iter()
                .map(|(key, entry)| Ok((key, value(entry, left)?)));
            Value::map(Type::Any, entries.collect::<Result<Vec<_>, String>>()?)
        }
    })
}

/// The value as JSON on one line.
pub(crate) fn write(arguments: &[Value]) -> Outcome {
    let mut out = BoundedText::default();
    for argument in arguments {
        add(&mut out, argument)?;
    }
    out.finish().map(Value::text)
}

fn add(out: &mut BoundedText, value: &Value) -> Result<(), String> {
    match value {
        Value::Nil => out.push("null"),
        Value::Bool(truth) => out.push(if *truth { "true" } else { "false" }),
        Value::Int(number) => out.push(&number.to_string()),
        Value::Byte(number) => out.push(&number.to_string()),
        Value::Float(number) => out.push(&float(*number)?),
        Value::Text(text) => string(out, text),
        Value::List(list) => {
            out.push("[");
            for (index, item) in list.items.iter().enumerate() {
                out.push(if index > 0 { "," } else { "" });
                add(out, item)?;
            }
            out.push("]");
        }
        Value::Map(map) => {
            out.push("{");
            for (index, (key, item)) in map.entries.iter().enumerate() {
                out.push(if index > 0 { "," } else { "" });
                match key {
                    Key::Text(text) => string(out, text),
                    Key::Int(number) => string(out, &number.to_string()),
                }
                out.push(":");
                add(out, item)?;
            }
            out.push("}");
        }
    }
    match out.overflowed() {
        true => Err(limit::too_long()),
        false => Ok(()),
    }
}

/// A number as Go writes it: with an exponent only below 1e-6 and from 1e21 on.
fn float(number: f64) -> Result<String, String> {
    if !number.is_finite() {
        return Err("toJSON: json: unsupported value".to_owned());
    }
    let magnitude = number.abs();
    let exponent = magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude);
    let layout = if exponent { Layout::Exponent } else { Layout::Fixed };
    let written = floats::signed(number, layout, None).replace("e-0", "e-");
    Ok(written
        .strip_prefix('+')
        .map_or(written.clone(), ToOwned::to_owned))
}

fn string(out: &mut BoundedText, text: &str) {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                // Writing to a text does not fail.
                write!(quoted, "\\u{:04x}", u32::from(character)).ok();
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    out.push(&quoted);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Outcome {
        parse(&[Value::text(text)])
    }

    /// What `toJSON` makes of the result of `parseJSON`.
    fn again(text: &str) -> String {
        match write(&[parsed(text).unwrap()]) {
            Ok(Value::Text(text)) => text.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_was_parsed_is_written_as_go_writes_it() {
        for (text, expected) in [
            ("", "{}"),
            (
                r#" {"b": [1, 2.5, true, null], "a": {}} "#,
                r#"{"a":{},"b":[1,2.5,true,null]}"#,
            ),
            (r#""<a&b>\u0001\n\"""#, r#""\u003ca\u0026b\u003e\u0001\n\"""#),
            (
                "[1e20, 1e21, 1e-6, 1e-7, -0.5, 8080]",
                "[100000000000000000000,1e+21,0.000001,1e-7,-0.5,8080]",
            ),
        ] {
            assert_eq!(again(text), expected, "{text}");
        }
    }

    #[test]
    fn integers_structures_and_maps_are_written() {
        let value = Value::structure([("Port", Value::Int(80)), ("Address", Value::text("h"))]);
        assert_eq!(write(&[value]), Ok(Value::text(r#"{"Address":"h","Port":80}"#)));
        let numbered = Value::keyed_map(Type::Int, Type::Text, [(Key::Int(9), Value::text("x"))]);
        assert_eq!(write(&[numbered]), Ok(Value::text(r#"{"9":"x"}"#)));
    }

    #[test]
    fn invalid_and_large_texts_are_refused() {
        assert!(parsed("{").unwrap_err().starts_with("parseJSON: EOF"));
        assert!(parsed(&"[".repeat(100_000)).is_err());
        let many = format!("[{}1]", "1,".repeat(ITEMS));
        assert!(parsed(&many).unwrap_err().contains("more than 100000 values"));
        let list = Value::list(
            Type::Any,
            std::iter::repeat_n(Value::text("x".repeat(1000)), 5_000),
        );
        assert_eq!(write(&[list]), Err(limit::too_long()));
        assert!(write(&[Value::Float(f64::NAN)]).is_err());
    }
}
