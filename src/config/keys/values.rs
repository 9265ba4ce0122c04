//! Lists, strings, booleans and whole numbers.

use super::{Error, Section};
use crate::config::problem::Problems;
use crate::config::tree::{Data, Value};

/// Elements that a list of the configuration may have (docs/bounds.md).
pub const LONGEST_LIST: usize = 100_000;

/// Reads a list, each element with `read`. Invalid elements, including `null`, are reported.
pub fn list<'v, 'd, T>(
    value: &'v Value<'v>,
    allowed: &str,
    problems: &mut Problems<'d>,
    mut read: impl FnMut(&'v Value<'v>, &mut Problems<'d>) -> Option<T>,
) -> Vec<T> {
    let Data::List(elements) = &value.data else {
        problems.wrong(value, Error::NotAList, allowed);
        return Vec::new();
    };
    if elements.len() > LONGEST_LIST {
        problems.error(value, Error::LongList(elements.len()));
        return Vec::new();
    }
    elements
        .iter()
        .filter_map(|element| read(element, problems))
        .collect()
}

/// A string, or a list of strings, each with its value.
pub fn strings<'v>(value: &'v Value<'v>, problems: &mut Problems<'_>) -> Vec<(&'v Value<'v>, &'v str)> {
    if let Some(text) = value.string() {
        return vec![(value, text)];
    }
    list(
        value,
        "a string or an array of strings",
        problems,
        |value, problems| string(value, problems).map(|text| (value, text)),
    )
}

/// A string.
pub fn string<'v>(value: &'v Value<'_>, problems: &mut Problems<'_>) -> Option<&'v str> {
    let string = value.string();
    if string.is_none() {
        problems.wrong(value, Error::NotAString, "a string");
    }
    string
}

/// The member of that name, if it is a string that is not empty.
pub fn text(section: &mut Section<'_>, key: &'static str, problems: &mut Problems<'_>) -> Option<String> {
    let text = string(section.take(key)?, problems)?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// A list of tags.
pub fn tags(value: &Value<'_>, problems: &mut Problems<'_>) -> Vec<String> {
    list(value, "an array of strings", problems, |value, problems| {
        string(value, problems).map(str::to_owned)
    })
}

/// `true` or `false`, also as a string.
pub fn boolean(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<bool> {
    let boolean = value.boolean().or_else(|| value.string()?.parse().ok());
    if boolean.is_none() {
        problems.wrong(value, Error::NotABoolean, "true or false");
    }
    boolean
}

/// A whole number, also as a decimal string. A string with a leading zero is refused, because it could be
/// meant as octal (CFG-5).
pub fn integer(value: &Value<'_>, allowed: &str, problems: &mut Problems<'_>) -> Option<i64> {
    let integer = match (value.number(), value.string()) {
        (Some(number), _) => whole(number),
        (_, Some(text)) => text.parse().ok().filter(|_| is_plain(text)),
        _ => None,
    };
    if integer.is_none() {
        problems.wrong(value, Error::NotAWholeNumber, allowed);
    }
    integer
}

fn is_plain(number: &str) -> bool {
    let digits = number.strip_prefix('-').unwrap_or(number);
    !number.starts_with('+') && (digits == "0" || !digits.starts_with('0'))
}

/// The value of a whole number. `10`, `1e1` and `10.0` are whole numbers.
fn whole(number: &str) -> Option<i64> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number.parse().ok().or_else(|| {
        let number: f64 = number.parse().ok()?;
        let exact = number.fract() == 0.0 && number.abs() < EXACT;
        #[expect(clippy::cast_possible_truncation, reason = "it is whole and small enough")]
        exact.then_some(number as i64)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_whole_are_integers() {
        assert_eq!(whole("10"), Some(10));
        assert_eq!(whole("-1"), Some(-1));
        assert_eq!(whole("1e1"), Some(10));
        assert_eq!(whole("10.0"), Some(10));
        assert_eq!(whole("10.5"), None);
        assert_eq!(whole("1e300"), None);
    }
}
