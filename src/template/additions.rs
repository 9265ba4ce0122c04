//! The functions that ContainerPilot adds to Go's: `default`, `env`, `split`, `join`, `replaceAll`,
//! `regexReplaceAll` and `loop`.
//!
//! In a pipeline the piped value is the last argument. All results are limited in size.

use super::format;
use super::regex;
use crate::limit::{BoundedText, bounded};
use crate::search::Steps;
use crate::value::{Environment, Outcome, Type, Value};

/// The second argument if it is a text that is not empty, otherwise the first as text.
pub(crate) fn default(arguments: &[Value]) -> Outcome {
    match arguments {
        [_, Value::Text(text)] if !text.is_empty() => Ok(Value::Text(text.clone())),
        [fallback, ..] => format::plain(fallback).map(Value::text),
        [] => Ok(Value::text("")),
    }
}

/// The environment variable with that name, or nothing.
pub(crate) fn env(arguments: &[Value], environment: &Environment) -> Outcome {
    let [name] = texts(arguments)?;
    let value = environment.get(name).map_or("", String::as_str);
    Ok(Value::text(value))
}

/// The parts between the separators. A text of white space only has no parts.
pub(crate) fn split(arguments: &[Value]) -> Outcome {
    let [separator, text] = texts(arguments)?;
    let text = text.trim();
    let parts = match (text, separator) {
        ("", _) => Vec::new(),
        (_, "") => bounded(text.split_inclusive(|_| true))?,
        _ => bounded(text.split(separator))?,
    };
    Ok(Value::list(Type::Text, parts.into_iter().map(Value::text)))
}

/// The items with the separator between them.
pub(crate) fn join(arguments: &[Value]) -> Outcome {
    let [separator, list] = arguments else {
        return Err(WRONG.to_owned());
    };
    let [separator] = texts(std::slice::from_ref(separator))?;
    let items = match list {
        Value::List(list) => &list.items[..],
        _ => &[],
    };
    let mut out = BoundedText::default();
    for (index, item) in items.iter().enumerate() {
        out.push(if index > 0 { separator } else { "" });
        out.push(text(item)?);
    }
    out.finish().map(Value::text)
}

/// The last argument with every occurrence of the first replaced by the second.
pub(crate) fn replace_all(arguments: &[Value]) -> Outcome {
    let [from, to, text] = texts(arguments)?;
    let mut out = BoundedText::default();
    let mut end = 0;
    for (start, found) in text.match_indices(from) {
        out.push(&text[end..start]);
        out.push(to);
        end = start + found.len();
        if out.overflowed() {
            break;
        }
    }
    out.push(&text[end..]);
    out.finish().map(Value::text)
}

/// The last argument with every match of the first replaced by the second.
pub(crate) fn regex_replace_all(arguments: &[Value], steps: &mut Steps) -> Outcome {
    let [pattern, replacement, text] = texts(arguments)?;
    regex::replace_all(pattern, replacement, text, steps).map(Value::text)
}

/// The numbers from the first argument, or 0, up or down to the last, which is excluded.
pub(crate) fn count(arguments: &[Value]) -> Outcome {
    let (from, to) = match arguments {
        [to] => (0, number(to)?),
        [from, to] => (number(from)?, number(to)?),
        _ => {
            let got = arguments.len();
            let message = "loop: wrong number of arguments, expected 1 or 2, but got";
            return Err(format!("{message} {got}"));
        }
    };
    let numbers = match from <= to {
        true => bounded(from..to)?,
        false => bounded((to..from).rev().map(|number| number.saturating_add(1)))?,
    };
    Ok(Value::list(Type::Int, numbers.into_iter().map(Value::Int)))
}

const WRONG: &str = "wrong arguments";

fn number(value: &Value) -> Result<i64, String> {
    match value {
        Value::Int(number) => Ok(*number),
        Value::Byte(number) => Ok(i64::from(*number)),
        Value::Text(text) => parsed(text),
        other => {
            let name = other.type_name();
            Err(format!(
                "loop: expected an integer, but got a value of type {name}"
            ))
        }
    }
}

fn parsed(text: &str) -> Result<i64, String> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse().map_err(|error: std::num::ParseIntError| {
        let reason = match error.kind() {
            PosOverflow | NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        let text = crate::quote::quote(text, false);
        format!("strconv.Atoi: parsing {text}: {reason}")
    })
}

/// The arguments as texts. The table of functions ensures that they are texts.
fn texts<const COUNT: usize>(arguments: &[Value]) -> Result<[&str; COUNT], String> {
    let texts: Vec<&str> = arguments.iter().map(text).collect::<Result<_, _>>()?;
    texts.try_into().map_err(|_| WRONG.to_owned())
}

fn text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        _ => Err(WRONG.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{ITEMS, TEXT, too_long};

    fn strings(items: &[&str]) -> Value {
        Value::list(Type::Text, items.iter().copied().map(Value::text))
    }

    #[test]
    fn default_is_replaced_only_by_a_text_that_is_not_empty() {
        let fallback = Value::Float(10.0);
        let set = [fallback.clone(), Value::text("set")];
        assert_eq!(default(&set), Ok(Value::text("set")));
        for missing in [Value::text(""), Value::Int(5), Value::Nil, strings(&["a"])] {
            assert_eq!(default(&[fallback.clone(), missing]), Ok(Value::text("10")));
        }
    }

    #[test]
    fn splitting_trims_first() {
        let split = |separator, text| split(&[Value::text(separator), Value::text(text)]);
        assert_eq!(split(":", " a:b "), Ok(strings(&["a", "b"])));
        assert_eq!(split(":", "  "), Ok(strings(&[])));
        assert_eq!(split("", "hé"), Ok(strings(&["h", "é"])));
        assert_eq!(split(":", ":"), Ok(strings(&["", ""])));
    }

    #[test]
    fn joining_nothing_gives_nothing() {
        assert_eq!(join(&[Value::text(","), strings(&[])]), Ok(Value::text("")));
        assert_eq!(join(&[Value::text(","), Value::Nil]), Ok(Value::text("")));
        assert_eq!(
            join(&[Value::text(","), strings(&["a", "b"])]),
            Ok(Value::text("a,b"))
        );
    }

    #[test]
    fn replacing_nothing_inserts_around_all_characters() {
        let replace = |from, to, text| replace_all(&[from, to, text].map(Value::text));
        assert_eq!(replace("", "-", "hé"), Ok(Value::text("-h-é-")));
        assert_eq!(replace("aa", "b", "aaa"), Ok(Value::text("ba")));
        let (many, long) = ("a".repeat(TEXT / 2), "b".repeat(TEXT / 2));
        let outcome = replace_all(&[Value::text("a"), Value::text(long), Value::text(many)]);
        assert_eq!(outcome, Err(too_long()));
    }

    #[test]
    fn loops_count_up_and_down() {
        let numbers = |numbers: &[i64]| Ok(Value::list(Type::Int, numbers.iter().copied().map(Value::Int)));
        assert_eq!(count(&[Value::Int(3)]), numbers(&[0, 1, 2]));
        assert_eq!(count(&[Value::Int(-2)]), numbers(&[0, -1]));
        assert_eq!(count(&[Value::text("5"), Value::text("+2")]), numbers(&[5, 4, 3]));
        assert_eq!(count(&[Value::Int(2), Value::Int(2)]), numbers(&[]));
    }

    #[test]
    fn loops_are_bounded() {
        for (from, to) in [(0, 1_000_000_000), (i64::MAX, i64::MIN), (i64::MIN, i64::MAX)] {
            let outcome = count(&[Value::Int(from), Value::Int(to)]);
            assert_eq!(outcome, Err(format!("list has more than {ITEMS} items")));
        }
    }

    #[test]
    fn loops_need_whole_numbers() {
        for (text, reason) in [
            ("", "invalid syntax"),
            ("1.5", "invalid syntax"),
            ("9999999999999999999", "value out of range"),
        ] {
            let message = format!("strconv.Atoi: parsing \"{text}\": {reason}");
            assert_eq!(count(&[Value::text(text)]), Err(message));
        }
        assert!(count(&[Value::Float(1.0)]).is_err());
    }
}
