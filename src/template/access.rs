//! Reaching into text, lists and maps: `index`, `slice` and `len`.
//!
//! Text is a sequence of bytes here, as in Go. A slice that cuts a character in two has the replacement
//! character in its place, because text is always valid.

use crate::value::{Key, List, Map, Outcome, Type, Value};

/// The item at the first index; in it, the item at the second index, and so on.
pub(crate) fn index(arguments: &[Value]) -> Outcome {
    let Some((item, indexes)) = arguments.split_first() else {
        return Err("index of untyped nil".to_owned());
    };
    if *item == Value::Nil {
        return Err("index of untyped nil".to_owned());
    }
    indexes
        .iter()
        .try_fold(item.clone(), |item, index| item_at(&item, index))
}

/// The part of a text or list from the first index up to the second.
pub(crate) fn slice(arguments: &[Value]) -> Outcome {
    let (item, indexes) = arguments.split_first().unwrap_or((&Value::Nil, &[]));
    if indexes.len() > 3 {
        return Err(format!("too many slice indexes: {}", indexes.len()));
    }
    match item {
        Value::Nil => Err("slice of untyped nil".to_owned()),
        Value::Text(_) if indexes.len() == 3 => Err("cannot 3-index slice a string".to_owned()),
        Value::Text(text) => {
            let (from, to) = bounds(indexes, text.len())?;
            Ok(Value::text(String::from_utf8_lossy(&text.as_bytes()[from..to])))
        }
        Value::List(list) => {
            let (from, to) = bounds(indexes, list.items.len())?;
            Ok(Value::list(list.element, list.items[from..to].iter().cloned()))
        }
        _ => Err(format!("can't slice item of type {}", item.type_name())),
    }
}

/// The number of bytes, items or entries.
pub(crate) fn length(arguments: &[Value]) -> Outcome {
    let length = match arguments {
        [Value::Text(text)] => text.len(),
        [Value::List(list)] => list.items.len(),
        [Value::Map(map)] => map.entries.len(),
        [] | [Value::Nil, ..] => return Err("len of nil pointer".to_owned()),
        [value, ..] => return Err(format!("len of type {}", value.type_name())),
    };
    i64::try_from(length)
        .map(Value::Int)
        .map_err(|error| error.to_string())
}

fn item_at(item: &Value, index: &Value) -> Outcome {
    match item {
        Value::Nil => Err("index of nil pointer".to_owned()),
        Value::Text(text) => byte_at(text, index),
        Value::List(list) => list_item(list, index),
        Value::Map(map) => entry(map, index),
        _ => Err(format!("can't index item of type {}", item.type_name())),
    }
}

fn byte_at(text: &str, index: &Value) -> Outcome {
    let position = position(index, text.len())?;
    let byte = text.as_bytes().get(position).copied();
    byte.map(Value::Byte)
        .ok_or_else(|| "reflect: string index out of range".to_owned())
}

fn list_item(list: &List, index: &Value) -> Outcome {
    let position = position(index, list.items.len())?;
    let item = list.items.get(position).cloned();
    item.ok_or_else(|| "reflect: slice index out of range".to_owned())
}

fn entry(map: &Map, index: &Value) -> Outcome {
    let key = match (map.key, index) {
        (Type::Text, Value::Text(text)) => Key::Text(text.clone()),
        (Type::Int, Value::Int(number)) => Key::Int(*number),
        (Type::Int, Value::Byte(number)) => Key::Int(i64::from(*number)),
        (key, Value::Nil) => return Err(format!("value is nil; should be of type {}", key.name())),
        (key, other) => {
            let (found, wanted) = (other.type_name(), key.name());
            return Err(format!("value has type {found}; should be {wanted}"));
        }
    };
    Ok(map.entry(&key))
}

/// Converts an index to a position: a whole number from 0 to the length, which is the position after the last
/// item.
fn position(index: &Value, length: usize) -> Result<usize, String> {
    let number = match index {
        Value::Int(number) => *number,
        Value::Byte(number) => i64::from(*number),
        Value::Nil => return Err("cannot index slice/array with nil".to_owned()),
        other => {
            let name = other.type_name();
            return Err(format!("cannot index slice/array with type {name}"));
        }
    };
    let position = usize::try_from(number)
        .ok()
        .filter(|position| *position <= length);
    position.ok_or_else(|| format!("index out of range: {number}"))
}

fn bounds(indexes: &[Value], length: usize) -> Result<(usize, usize), String> {
    let mut bounds = [0, length, length];
    for (bound, index) in bounds.iter_mut().zip(indexes) {
        *bound = position(index, length)?;
    }
    let [from, to, capacity] = bounds;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    if to > capacity {
        return Err(format!("invalid slice index: {to} > {capacity}"));
    }
    Ok((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(message: &str) -> Outcome {
        Err(message.to_owned())
    }

    fn numbers() -> Value {
        Value::list(Type::Int, [1, 2, 3].map(Value::Int))
    }

    #[test]
    fn indexes_reach_inwards() {
        let nested = Value::map(Type::Any, [("x".to_owned(), numbers())]);
        let path = [nested.clone(), Value::text("x"), Value::Int(1)];
        assert_eq!(index(&path), Ok(Value::Int(2)));
        let missing = [nested, Value::text("y"), Value::Int(1)];
        assert_eq!(index(&missing), error("index of nil pointer"));
    }

    #[test]
    fn text_is_indexed_by_bytes() {
        assert_eq!(index(&[Value::text("é"), Value::Int(1)]), Ok(Value::Byte(0xa9)));
        assert_eq!(
            slice(&[Value::text("é!"), Value::Int(1)]),
            Ok(Value::text("\u{fffd}!"))
        );
    }

    #[test]
    fn keys_must_fit_the_map() {
        let map = Value::keyed_map(Type::Int, Type::Text, [(Key::Int(9), Value::text("nine"))]);
        assert_eq!(index(&[map.clone(), Value::Int(9)]), Ok(Value::text("nine")));
        assert_eq!(index(&[map.clone(), Value::Int(8)]), Ok(Value::text("")));
        assert_eq!(
            index(&[map, Value::text("9")]),
            error("value has type string; should be int")
        );
    }

    #[test]
    fn indexes_out_of_range_are_errors() {
        for number in [-1, 4] {
            let message = format!("index out of range: {number}");
            assert_eq!(index(&[numbers(), Value::Int(number)]), Err(message));
        }
        let message = error("reflect: slice index out of range");
        assert_eq!(index(&[numbers(), Value::Int(3)]), message);
        let message = error("invalid slice index: 2 > 1");
        assert_eq!(slice(&[numbers(), Value::Int(2), Value::Int(1)]), message);
    }

    #[test]
    fn only_text_lists_and_maps_have_a_length() {
        assert_eq!(length(&[Value::text("é")]), Ok(Value::Int(2)));
        assert_eq!(length(&[numbers()]), Ok(Value::Int(3)));
        assert_eq!(length(&[Value::Int(3)]), error("len of type int"));
    }
}
