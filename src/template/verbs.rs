//! Formats one value with one verb of a format.
//!
//! Decides the output of `%d`, `%q` and the other verbs for each kind of value, with the given width,
//! precision and flags. A verb that does not apply to a value is not an error: the text contains a remark in
//! Go's form, such as `%!d(string=x)`. The binary and hexadecimal forms of floating-point numbers are not
//! supported and are formatted as such remarks; the flag `#` has no effect on these numbers.

use crate::floats::{self, Layout};
use crate::limit::BoundedText;
use crate::quote::{fits_back_quotes, is_printable, quote, quote_character};
use crate::value::{Key, List, Map, Value};

/// The text between the percent sign and the verb.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Directive {
    pub plus: bool,
    pub minus: bool,
    pub sharp: bool,
    pub space: bool,
    pub zero: bool,
    pub width: Option<usize>,
    pub precision: Option<usize>,
    /// Whether values are formatted as in the source of a Go program, for `%#v`.
    pub as_source: bool,
}

impl Directive {
    /// Appends an argument formatted with a verb.
    pub(crate) fn argument(self, out: &mut BoundedText, value: &Value, verb: char) {
        match (verb, value) {
            ('T' | 'v', Value::Nil) => self.pad(out, "<nil>"),
            (_, Value::Nil) => bad_verb(out, verb, "<nil>"),
            ('T', _) => self.pad(out, &value.type_name()),
            ('v', _) => self.for_any_kind().value(out, value, verb),
            _ => self.value(out, value, verb),
        }
    }

    /// With `%v` two of the flags have a different meaning.
    fn for_any_kind(self) -> Self {
        Self {
            as_source: self.sharp,
            sharp: false,
            plus: false,
            ..self
        }
    }

    fn value(self, out: &mut BoundedText, value: &Value, verb: char) {
        match value {
            Value::Nil if self.as_source => out.push("interface {}(nil)"),
            Value::Nil => out.push("<nil>"),
            Value::Bool(boolean) => self.boolean(out, *boolean, verb),
            Value::Int(number) => self.integer(out, *number, verb),
            Value::Byte(byte) if self.as_source => {
                let hexadecimal = Self { sharp: true, ..self };
                hexadecimal.integer(out, i64::from(*byte), 'x');
            }
            Value::Byte(byte) => self.integer(out, i64::from(*byte), verb),
            Value::Float(number) => self.float(out, *number, verb),
            Value::Text(text) => self.text(out, text, verb),
            Value::List(list) => self.list(out, list, verb),
            Value::Map(map) => self.map(out, map, verb),
        }
    }

    fn boolean(self, out: &mut BoundedText, boolean: bool, verb: char) {
        match verb {
            't' | 'v' => self.pad(out, if boolean { "true" } else { "false" }),
            _ => self.unsuitable(out, &Value::Bool(boolean), verb),
        }
    }

    fn integer(self, out: &mut BoundedText, number: i64, verb: char) {
        let magnitude = number.unsigned_abs();
        let character = || {
            u32::try_from(number)
                .ok()
                .and_then(char::from_u32)
                .unwrap_or('\u{fffd}')
        };
        match verb {
            'v' | 'd' => self.digits(out, number, &magnitude.to_string(), ""),
            'b' => self.digits(out, number, &format!("{magnitude:b}"), "0b"),
            'o' => self.digits(out, number, &format!("{magnitude:o}"), "0"),
            'O' => self.octal(out, number, magnitude),
            'x' => self.digits(out, number, &format!("{magnitude:x}"), "0x"),
            'X' => self.digits(out, number, &format!("{magnitude:X}"), "0X"),
            'c' => self.pad(out, character().encode_utf8(&mut [0; 4])),
            'q' => self.pad(out, &quote_character(character(), self.plus)),
            'U' => self.code_point(out, number, character()),
            _ => self.unsuitable(out, &Value::Int(number), verb),
        }
    }

    fn octal(self, out: &mut BoundedText, number: i64, magnitude: u64) {
        let prefixed = Self { sharp: true, ..self };
        prefixed.digits(out, number, &format!("{magnitude:o}"), "0o");
    }

    fn digits(self, out: &mut BoundedText, number: i64, digits: &str, prefix: &str) {
        if self.precision == Some(0) && number == 0 {
            return Self { zero: false, ..self }.pad(out, "");
        }
        let sign = self.sign(number < 0);
        let least = match (self.precision, self.width) {
            (Some(precision), _) => precision,
            (None, Some(width)) if self.zero => width - sign.len().min(width),
            _ => 0,
        };
        let zeros = "0".repeat(least.saturating_sub(digits.len()));
        let octal_already = prefix == "0" && (digits.starts_with('0') || !zeros.is_empty());
        let prefix = if self.sharp && !octal_already { prefix } else { "" };
        let written = format!("{sign}{prefix}{zeros}{digits}");
        Self { zero: false, ..self }.pad(out, &written);
    }

    fn sign(self, negative: bool) -> &'static str {
        match negative {
            true => "-",
            false if self.plus => "+",
            false if self.space => " ",
            false => "",
        }
    }

    fn code_point(self, out: &mut BoundedText, number: i64, character: char) {
        let digits = format!("{number:X}");
        let least = self.precision.unwrap_or(0).max(4);
        let zeros = "0".repeat(least.saturating_sub(digits.len()));
        let mut written = format!("U+{zeros}{digits}");
        if self.sharp && is_printable(character) {
            written.push_str(&format!(" '{character}'"));
        }
        Self { zero: false, ..self }.pad(out, &written);
    }

    fn float(self, out: &mut BoundedText, number: f64, verb: char) {
        let (layout, precision) = match verb {
            'v' | 'g' | 'G' => (Layout::General, self.precision),
            'f' | 'F' => (Layout::Fixed, self.precision.or(Some(6))),
            'e' | 'E' => (Layout::Exponent, self.precision.or(Some(6))),
            _ => return self.unsuitable(out, &Value::Float(number), verb),
        };
        let written = floats::signed(number, layout, precision);
        match verb {
            'G' | 'E' => self.signed_number(out, &written.replace('e', "E")),
            _ => self.signed_number(out, &written),
        }
    }

    /// A number written with its sign, which is dropped if it is a plus that the format does not ask for.
    fn signed_number(self, out: &mut BoundedText, written: &str) {
        let (sign, magnitude) = written.split_at(1);
        let is_finite = magnitude.starts_with(|start: char| start.is_ascii_digit());
        let sign = match sign {
            "-" => "-",
            _ => self.sign(false),
        };
        let length = sign.len() + magnitude.len();
        match self.width {
            Some(width) if self.zero && is_finite && width > length => {
                let zeros = "0".repeat(width - length);
                out.push(&format!("{sign}{zeros}{magnitude}"));
            }
            _ => Self { zero: false, ..self }.pad(out, &format!("{sign}{magnitude}")),
        }
    }

    fn text(self, out: &mut BoundedText, text: &str, verb: char) {
        match verb {
            'v' if self.as_source => self.pad(out, &quote(text, false)),
            'v' | 's' => self.pad(out, self.cut(text)),
            'q' => self.quoted(out, self.cut(text)),
            'x' => self.pad(out, &self.hexadecimal(text, false)),
            'X' => self.pad(out, &self.hexadecimal(text, true)),
            _ => self.unsuitable(out, &Value::text(text), verb),
        }
    }

    fn cut(self, text: &str) -> &str {
        let end = self.precision.and_then(|count| text.char_indices().nth(count));
        end.map_or(text, |(end, _)| &text[..end])
    }

    fn quoted(self, out: &mut BoundedText, text: &str) {
        if self.sharp && fits_back_quotes(text) {
            return self.pad(out, &format!("`{text}`"));
        }
        self.pad(out, &quote(text, self.plus));
    }

    fn hexadecimal(self, text: &str, upper: bool) -> String {
        let prefix = match (self.sharp, upper) {
            (true, true) => "0X",
            (true, false) => "0x",
            (false, _) => "",
        };
        let digits = text.bytes().take(self.precision.unwrap_or(usize::MAX));
        let digits = digits.map(|byte| match upper {
            true => format!("{byte:02X}"),
            false => format!("{byte:02x}"),
        });
        let digits: Vec<String> = digits.collect();
        match self.space {
            _ if digits.is_empty() => String::new(),
            true => prefix.to_owned() + &digits.join(&format!(" {prefix}")),
            false => prefix.to_owned() + &digits.concat(),
        }
    }

    fn list(self, out: &mut BoundedText, list: &List, verb: char) {
        let (open, separator, close) = match self.as_source {
            true => (format!("[]{}{{", list.element.name()), ", ", "}"),
            false => ("[".to_owned(), " ", "]"),
        };
        out.push(&open);
        for (index, item) in list.items.iter().enumerate() {
            out.push(if index > 0 { separator } else { "" });
            self.value(out, item, verb);
        }
        out.push(close);
    }

    fn map(self, out: &mut BoundedText, map: &Map, verb: char) {
        let (open, separator, close) = match self.as_source {
            true => (Value::Map(map.clone()).type_name() + "{", ", ", "}"),
            false => ("map[".to_owned(), " ", "]"),
        };
        out.push(&open);
        for (index, (key, item)) in map.entries.iter().enumerate() {
            out.push(if index > 0 { separator } else { "" });
            self.key(out, key, verb);
            out.push(":");
            self.value(out, item, verb);
        }
        out.push(close);
    }

    fn key(self, out: &mut BoundedText, key: &Key, verb: char) {
        match key {
            Key::Int(number) => self.integer(out, *number, verb),
            Key::Text(text) => self.text(out, text, verb),
        }
    }

    fn unsuitable(self, out: &mut BoundedText, value: &Value, verb: char) {
        let mut inside = BoundedText::default();
        inside.push(&value.type_name());
        inside.push("=");
        self.value(&mut inside, value, 'v');
        match inside.finish() {
            Ok(inside) => bad_verb(out, verb, &inside),
            Err(_) => out.mark_overflowed(),
        }
    }

    /// Appends the text, padded to the width.
    fn pad(self, out: &mut BoundedText, text: &str) {
        let missing = self.width.unwrap_or(0).saturating_sub(text.chars().count());
        if !self.minus {
            out.repeat(if self.zero { '0' } else { ' ' }, missing);
        }
        out.push(text);
        if self.minus {
            out.repeat(' ', missing);
        }
    }
}

fn bad_verb(out: &mut BoundedText, verb: char, inside: &str) {
    out.push(&format!("%!{verb}({inside})"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Type;

    fn written(directive: Directive, value: &Value, verb: char) -> Result<String, String> {
        let mut out = BoundedText::default();
        directive.argument(&mut out, value, verb);
        out.finish()
    }

    fn check(directive: Directive, value: &Value, verb: char, expected: &str) {
        assert_eq!(written(directive, value, verb).as_deref(), Ok(expected), "{verb}");
    }

    #[test]
    fn bytes_are_numbers() {
        check(Directive::default(), &Value::Byte(104), 'v', "104");
        check(Directive::default(), &Value::Byte(104), 'T', "uint8");
        let sharp = Directive {
            sharp: true,
            ..Directive::default()
        };
        check(sharp, &Value::Byte(104), 'v', "0x68");
    }

    #[test]
    fn nil_is_formatted_by_v_only() {
        check(Directive::default(), &Value::Nil, 'v', "<nil>");
        check(Directive::default(), &Value::Nil, 's', "%!s(<nil>)");
        check(
            Directive::default(),
            &Value::list(Type::Any, [Value::Nil]),
            's',
            "[<nil>]",
        );
    }

    #[test]
    fn integer_keys_are_written_in_numeric_order() {
        let entries = [
            (Key::Int(10), Value::text("ten")),
            (Key::Int(9), Value::text("nine")),
        ];
        let map = Value::keyed_map(Type::Int, Type::Text, entries);
        check(Directive::default(), &map, 'v', "map[9:nine 10:ten]");
    }

    #[test]
    fn binary_and_hexadecimal_fractions_are_not_supported() {
        check(Directive::default(), &Value::Float(1.5), 'x', "%!x(float64=1.5)");
    }

    #[test]
    fn no_width_or_precision_causes_a_panic() {
        let wide = Directive {
            precision: Some(1_000_000),
            width: Some(1_000_000),
            ..Directive::default()
        };
        for verb in "vdboOxXcqUeEfFgGstT".chars() {
            for value in [
                Value::Int(-1),
                Value::Float(1.5),
                Value::text("é"),
                Value::Bool(true),
            ] {
                assert!(written(wide, &value, verb).is_ok(), "{verb}");
            }
        }
    }
}
