//! Parses the constants of a template: numbers, characters and quoted text.
//!
//! Escapes may denote single bytes. Bytes that do not form valid UTF-8 become the replacement character,
//! because text is always valid here.

use crate::quote::quote;
use crate::value::Value;

/// The whole or floating-point number that `text` denotes.
pub(crate) fn number(text: &str) -> Result<Value, String> {
    if text.ends_with('i') {
        let number = quote(text, false);
        return Err(format!("imaginary numbers are not supported: {number}"));
    }
    let (sign, magnitude) = split_sign(text);
    let valid = underscores_separate_digits(magnitude);
    let digits = magnitude.replace('_', "");
    let value = match looks_like_float(&digits) {
        true => float(&digits).map(|float| Value::Float(sign * float)),
        false => whole(&digits, sign).map(Value::Int),
    };
    match value {
        Some(value) if valid => Ok(value),
        None if valid && is_decimal(&digits) => Err(format!("integer overflow: {}", quote(text, false))),
        _ => Err(format!("illegal number syntax: {}", quote(text, false))),
    }
}

/// The code point of a character in single quotes.
pub(crate) fn character(text: &str) -> Result<Value, String> {
    let malformed = || format!("malformed character constant: {text}");
    let mut rest = text.strip_prefix('\'').ok_or_else(malformed)?.chars();
    let unit = next_unit(&mut rest, '\'').ok_or_else(malformed)?;
    match rest.as_str() {
        "'" => Ok(Value::Int(unit.number())),
        _ => Err(malformed()),
    }
}

/// The text between double quotes, escapes resolved.
pub(crate) fn quoted(text: &str) -> Result<Value, String> {
    let inside = inside(text, '"').ok_or(INVALID)?;
    let mut bytes = Vec::with_capacity(inside.len());
    let mut rest = inside.chars();
    while !rest.as_str().is_empty() {
        next_unit(&mut rest, '"').ok_or(INVALID)?.append_to(&mut bytes);
    }
    Ok(Value::text(String::from_utf8_lossy(&bytes)))
}

/// The text between back quotes, unchanged except that carriage returns are removed.
pub(crate) fn raw(text: &str) -> Result<Value, String> {
    let inside = inside(text, '`').ok_or(INVALID)?;
    Ok(Value::text(inside.replace('\r', "")))
}

const INVALID: &str = "invalid syntax";

fn inside(text: &str, delimiter: char) -> Option<&str> {
    text.strip_prefix(delimiter)?.strip_suffix(delimiter)
}

fn split_sign(text: &str) -> (f64, &str) {
    match text.strip_prefix('-') {
        Some(magnitude) => (-1.0, magnitude),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    }
}

fn looks_like_float(digits: &str) -> bool {
    match base(digits) {
        (16, _) => digits.contains(['.', 'p', 'P']),
        _ => digits.contains(['.', 'e', 'E', 'p', 'P']),
    }
}

fn is_decimal(digits: &str) -> bool {
    !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit())
}

/// The base that a prefix denotes, and the digits after it.
fn base(digits: &str) -> (u32, &str) {
    let prefixed = |prefix: &str| digits.get(..2).filter(|start| start.eq_ignore_ascii_case(prefix));
    for (prefix, base) in [("0x", 16), ("0o", 8), ("0b", 2)] {
        if prefixed(prefix).is_some() {
            return (base, &digits[2..]);
        }
    }
    match digits.strip_prefix('0') {
        Some(octal) if !octal.is_empty() => (8, octal),
        _ => (10, digits),
    }
}

fn whole(digits: &str, sign: f64) -> Option<i64> {
    let (base, digits) = base(digits);
    if !digits.starts_with(|digit: char| digit.is_digit(base)) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, base).ok()?);
    i64::try_from(if sign < 0.0 { -magnitude } else { magnitude }).ok()
}

fn float(digits: &str) -> Option<f64> {
    let value = match base(digits) {
        (16, digits) => hexadecimal_float(digits)?,
        _ if digits.starts_with(|start: char| start == '.' || start.is_ascii_digit()) => {
            digits.parse().ok()?
        }
        _ => return None,
    };
    f64::is_finite(value).then_some(value)
}

fn hexadecimal_float(digits: &str) -> Option<f64> {
    let (mantissa, exponent) = digits.split_once(['p', 'P'])?;
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if integer.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for digit in integer.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let scale = exponent.parse::<i32>().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    Some(value * 2f64.powi(scale.saturating_sub(places.saturating_mul(4))))
}

/// Whether each underscore is between two digits; a base prefix counts as a digit.
fn underscores_separate_digits(text: &str) -> bool {
    let is_digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    let prefixed = bytes.first() == Some(&b'0');
    let marks = (0..bytes.len()).filter(|index| bytes[*index] == b'_');
    marks.into_iter().all(|index| {
        let after_prefix = prefixed && index == 2 && bytes[1].is_ascii_alphabetic();
        let before = index.checked_sub(1).and_then(|index| bytes.get(index));
        (after_prefix || is_digit(before)) && is_digit(bytes.get(index + 1))
    })
}

/// What a character or an escape denotes.
enum Unit {
    Byte(u8),
    Character(char),
}

impl Unit {
    fn number(&self) -> i64 {
        match self {
            Self::Byte(byte) => i64::from(*byte),
            Self::Character(character) => i64::from(u32::from(*character)),
        }
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Byte(byte) => bytes.push(*byte),
            Self::Character(character) => {
                bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
}

fn next_unit(rest: &mut std::str::Chars<'_>, delimiter: char) -> Option<Unit> {
    match rest.next()? {
        '\\' => escape(rest, delimiter),
        '\n' => None,
        character if character == delimiter => None,
        character => Some(Unit::Character(character)),
    }
}

fn escape(rest: &mut std::str::Chars<'_>, delimiter: char) -> Option<Unit> {
    let character = match rest.next()? {
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\u{b}',
        '\\' => '\\',
        'x' => return byte(digits(rest, 2, 16, 0)?),
        'u' => char::from_u32(digits(rest, 4, 16, 0)?)?,
        'U' => char::from_u32(digits(rest, 8, 16, 0)?)?,
        octal @ '0'..='7' => return byte(digits(rest, 2, 8, octal.to_digit(8)?)?),
        other if other == delimiter => delimiter,
        _ => return None,
    };
    Some(Unit::Character(character))
}

fn byte(number: u32) -> Option<Unit> {
    u8::try_from(number).ok().map(Unit::Byte)
}

fn digits(rest: &mut std::str::Chars<'_>, count: u32, base: u32, start: u32) -> Option<u32> {
    let mut number = start;
    for _ in 0..count {
        let digit = rest.next()?.to_digit(base)?;
        number = number.checked_mul(base)?.checked_add(digit)?;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_come_in_four_bases() {
        for (text, value) in [
            ("0", 0),
            ("31", 31),
            ("0x1F", 31),
            ("0b101", 5),
            ("0o17", 15),
            ("017", 15),
            ("1_000", 1000),
            ("0x_ff", 255),
            ("-5", -5),
            ("+5", 5),
            ("0x1E", 30),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(number(text), Ok(Value::Int(value)), "{text}");
        }
    }

    #[test]
    fn floating_point_numbers_may_be_hexadecimal() {
        for (text, value) in [
            ("1e3", 1000.0),
            (".5", 0.5),
            ("1.", 1.0),
            ("0x1p4", 16.0),
            ("-0x1.8p1", -3.0),
        ] {
            assert_eq!(number(text), Ok(Value::Float(value)), "{text}");
        }
    }

    #[test]
    fn malformed_numbers_are_refused() {
        for text in [
            "1__0", "1_", "0x", "0x.p1", "+", "-", "1e", "0x1.8", "1e999", "++1",
        ] {
            let message = format!("illegal number syntax: \"{text}\"");
            assert_eq!(number(text), Err(message), "{text}");
        }
    }

    #[test]
    fn too_large_numbers_are_refused() {
        // Go reports a leading zero without octal digits as a number that is too large, too.
        for text in ["9223372036854775808", "-9223372036854775809", "08"] {
            let message = format!("integer overflow: \"{text}\"");
            assert_eq!(number(text), Err(message), "{text}");
        }
    }

    #[test]
    fn imaginary_numbers_are_refused_by_name() {
        let message = "imaginary numbers are not supported: \"1i\"".to_owned();
        assert_eq!(number("1i"), Err(message));
    }

    #[test]
    fn characters_are_code_points() {
        assert_eq!(character("'a'"), Ok(Value::Int(97)));
        assert_eq!(character(r"'\n'"), Ok(Value::Int(10)));
        assert_eq!(character(r"'\''"), Ok(Value::Int(39)));
        assert_eq!(character("'é'"), Ok(Value::Int(233)));
        assert!(character("'ab'").is_err());
        assert!(character("''").is_err());
    }

    #[test]
    fn escapes_in_quoted_text_are_resolved() {
        let text = r#""tab\tnl\nq\"uni\u00e9 \x41 \101 \U0001f4a1""#;
        assert_eq!(quoted(text), Ok(Value::text("tab\tnl\nq\"unié A A 💡")));
    }

    #[test]
    fn unknown_escapes_are_refused() {
        for text in [r#""\q""#, r#""\'""#, r#""\x4""#, r#""\400""#, r#""\ud800""#] {
            assert_eq!(quoted(text), Err(INVALID.to_owned()), "{text}");
        }
    }

    #[test]
    fn bytes_may_form_a_character() {
        assert_eq!(quoted(r#""\xc3\xa9""#), Ok(Value::text("é")));
        assert_eq!(quoted(r#""\xff""#), Ok(Value::text("\u{fffd}")));
    }

    #[test]
    fn raw_text_keeps_backslashes_and_drops_carriage_returns() {
        assert_eq!(raw("`a\\tb\r\nc`"), Ok(Value::text("a\\tb\nc")));
    }
}
