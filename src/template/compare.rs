//! The comparisons `eq`, `ne`, `lt`, `le`, `gt` and `ge`.
//!
//! Decides which values can be compared: only values of the same kind, where whole numbers of any width are
//! one kind. Comparing a number with a text, or a whole number with a floating-point one, is an error, so
//! that a configuration does not silently take the wrong branch. Nil can be compared with every value and
//! equals only itself.

use std::cmp::Ordering;

use super::format;
use crate::value::{Outcome, Value};

/// Whether the first argument equals one of the others.
pub(crate) fn equal_to_any(arguments: &[Value]) -> Outcome {
    let Some((first, others)) = arguments.split_first() else {
        return Err(MISSING.to_owned());
    };
    check_comparable(first)?;
    if others.is_empty() {
        return Err(MISSING.to_owned());
    }
    for other in others {
        if equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

/// Whether two arguments differ.
pub(crate) fn not_equal(arguments: &[Value]) -> Outcome {
    let (left, right) = pair(arguments)?;
    check_comparable(left)?;
    Ok(Value::Bool(!equal(left, right)?))
}

/// Whether the first argument is less than the second.
pub(crate) fn less(arguments: &[Value]) -> Outcome {
    ordered(arguments, |ordering| ordering == Some(Ordering::Less))
}

/// Whether the first argument is not greater than the second.
pub(crate) fn less_or_equal(arguments: &[Value]) -> Outcome {
    ordered(arguments, is_less_or_equal)
}

/// Whether the first argument is greater than the second.
pub(crate) fn greater(arguments: &[Value]) -> Outcome {
    ordered(arguments, |ordering| !is_less_or_equal(ordering))
}

/// Whether the first argument is not less than the second.
pub(crate) fn greater_or_equal(arguments: &[Value]) -> Outcome {
    ordered(arguments, |ordering| ordering != Some(Ordering::Less))
}

const MISSING: &str = "missing argument for comparison";
const INCOMPATIBLE: &str = "incompatible types for comparison";
const INVALID: &str = "invalid type for comparison";

fn is_less_or_equal(ordering: Option<Ordering>) -> bool {
    matches!(ordering, Some(Ordering::Less | Ordering::Equal))
}

fn pair(arguments: &[Value]) -> Result<(&Value, &Value), String> {
    match arguments {
        [left, right] => Ok((left, right)),
        _ => Err(MISSING.to_owned()),
    }
}

fn equal(left: &Value, right: &Value) -> Result<bool, String> {
    if *left == Value::Nil || *right == Value::Nil {
        return Ok(left == right);
    }
    if let Some((left, right)) = whole_numbers(left, right) {
        return Ok(left == right);
    }
    match (is_basic(left), is_basic(right)) {
        (true, true) if same_kind(left, right) => Ok(left == right),
        (false, false) => check_comparable(right).map(|()| left == right),
        _ => Err(INCOMPATIBLE.to_owned()),
    }
}

/// Lists and maps cannot be compared.
fn check_comparable(value: &Value) -> Result<(), String> {
    if is_basic(value) || *value == Value::Nil {
        return Ok(());
    }
    let name = value.type_name();
    Err(format!("uncomparable type {name}: {}", format::plain(value)?))
}

fn ordered(arguments: &[Value], holds: fn(Option<Ordering>) -> bool) -> Outcome {
    let (left, right) = pair(arguments)?;
    if !is_basic(left) || !is_basic(right) {
        return Err(INVALID.to_owned());
    }
    if let Some((left, right)) = whole_numbers(left, right) {
        return Ok(Value::Bool(holds(left.partial_cmp(&right))));
    }
    let ordering = match (left, right) {
        (Value::Float(left), Value::Float(right)) => left.partial_cmp(right),
        (Value::Text(left), Value::Text(right)) => left.partial_cmp(right),
        (Value::Bool(_), Value::Bool(_)) => return Err(INVALID.to_owned()),
        _ => return Err(INCOMPATIBLE.to_owned()),
    };
    Ok(Value::Bool(holds(ordering)))
}

fn whole_numbers(left: &Value, right: &Value) -> Option<(i64, i64)> {
    Some((whole_number(left)?, whole_number(right)?))
}

fn whole_number(value: &Value) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Byte(number) => Some(i64::from(*number)),
        _ => None,
    }
}

fn is_basic(value: &Value) -> bool {
    !matches!(value, Value::Nil | Value::List(_) | Value::Map(_))
}

fn same_kind(left: &Value, right: &Value) -> bool {
    std::mem::discriminant(left) == std::mem::discriminant(right)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Type;

    fn truth(value: bool) -> Outcome {
        Ok(Value::Bool(value))
    }

    fn error(message: &str) -> Outcome {
        Err(message.to_owned())
    }

    #[test]
    fn one_equal_alternative_is_enough() {
        let [one, two, three] = [1, 2, 3].map(Value::Int);
        assert_eq!(
            equal_to_any(&[one.clone(), two.clone(), one.clone()]),
            truth(true)
        );
        assert_eq!(equal_to_any(&[one.clone(), two, three]), truth(false));
        assert_eq!(equal_to_any(&[one]), error(MISSING));
    }

    #[test]
    fn bytes_and_whole_numbers_are_of_a_kind() {
        assert_eq!(equal_to_any(&[Value::Byte(97), Value::Int(97)]), truth(true));
        assert_eq!(less(&[Value::Byte(97), Value::Int(98)]), truth(true));
    }

    #[test]
    fn values_of_different_kinds_are_not_compared() {
        let number = Value::Int(1);
        for other in [
            Value::text("1"),
            Value::Float(1.0),
            Value::Bool(true),
            Value::list(Type::Int, []),
        ] {
            assert_eq!(equal_to_any(&[number.clone(), other]), error(INCOMPATIBLE));
        }
        assert_eq!(less(&[number, Value::text("1")]), error(INCOMPATIBLE));
    }

    #[test]
    fn nil_equals_nil_only() {
        assert_eq!(equal_to_any(&[Value::Nil, Value::Nil]), truth(true));
        assert_eq!(equal_to_any(&[Value::Nil, Value::Int(0)]), truth(false));
        assert_eq!(not_equal(&[Value::text(""), Value::Nil]), truth(true));
    }

    #[test]
    fn containers_and_truth_have_no_order() {
        let list = Value::list(Type::Int, [Value::Int(1)]);
        assert_eq!(less(&[Value::Bool(true), Value::Bool(false)]), error(INVALID));
        assert_eq!(less(&[list.clone(), list.clone()]), error(INVALID));
        assert_eq!(
            equal_to_any(&[list.clone(), list]),
            error("uncomparable type []int: [1]")
        );
    }

    #[test]
    fn not_a_number_is_neither_less_nor_equal() {
        let pair = [Value::Float(f64::NAN), Value::Float(1.0)];
        assert_eq!(less_or_equal(&pair), truth(false));
        assert_eq!(greater(&pair), truth(true));
        assert_eq!(equal_to_any(&pair), truth(false));
    }

    #[test]
    fn order_is_numeric_or_bytewise() {
        assert_eq!(greater_or_equal(&[Value::Int(10), Value::Int(9)]), truth(true));
        assert_eq!(
            greater_or_equal(&[Value::text("10"), Value::text("9")]),
            truth(false)
        );
    }
}
