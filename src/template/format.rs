//! Formats values: the output of an action, and `print`, `println` and `printf`.
//!
//! Decides where spaces are inserted and how a format is parsed: flags, width, precision, argument numbers
//! and verbs. As in Go, an invalid format is not an error; the text contains a remark, such as
//! `%!d(MISSING)`. The only error is a text beyond the limit.

use crate::limit::{BoundedText, WIDTH};
use crate::value::Value;
use crate::verbs::Directive;

/// The plain form of a value.
pub(crate) fn plain(value: &Value) -> Result<String, String> {
    let mut out = BoundedText::default();
    Directive::default().argument(&mut out, value, 'v');
    out.finish()
}

/// The values one after another, with a space between two values that are not texts.
pub(crate) fn print(values: &[Value]) -> Result<String, String> {
    let mut out = BoundedText::default();
    let is_text = |value: &Value| matches!(value, Value::Text(_));
    for (index, value) in values.iter().enumerate() {
        if index > 0 && !is_text(value) && !is_text(&values[index - 1]) {
            out.push(" ");
        }
        Directive::default().argument(&mut out, value, 'v');
    }
    out.finish()
}

/// The values and a line end, with a space between any two.
pub(crate) fn print_line(values: &[Value]) -> Result<String, String> {
    let mut out = BoundedText::default();
    for (index, value) in values.iter().enumerate() {
        out.push(if index > 0 { " " } else { "" });
        Directive::default().argument(&mut out, value, 'v');
    }
    out.push("\n");
    out.finish()
}

/// The values formatted according to the format.
pub(crate) fn print_formatted(format: &str, values: &[Value]) -> Result<String, String> {
    let mut formatter = Formatter {
        rest: format,
        values,
        next: 0,
        reordered: false,
        numbers_are_good: true,
        out: BoundedText::default(),
    };
    formatter.run();
    formatter.out.finish()
}

struct Formatter<'a> {
    rest: &'a str,
    values: &'a [Value],
    next: usize,
    /// Whether the format numbers its arguments; if so, some may be unused.
    reordered: bool,
    /// Whether the argument numbers of the directive are valid.
    numbers_are_good: bool,
    out: BoundedText,
}

impl Formatter<'_> {
    fn run(&mut self) {
        while let Some((before, after)) = self.rest.split_once('%') {
            self.out.push(before);
            self.rest = after;
            self.directive();
            if self.out.overflowed() {
                return;
            }
        }
        self.out.push(self.rest);
        if !self.reordered {
            self.mention_unused();
        }
    }

    fn directive(&mut self) {
        let mut directive = self.flags();
        self.numbers_are_good = true;
        let numbered = self.argument_number();
        let numbered = self.width(&mut directive, numbered);
        let numbered = self.precision(&mut directive, numbered);
        if !numbered {
            self.argument_number();
        }
        let Some(verb) = self.rest.chars().next() else {
            return self.out.push("%!(NOVERB)");
        };
        self.rest = &self.rest[verb.len_utf8()..];
        self.verb(directive, verb);
    }

    fn verb(&mut self, directive: Directive, verb: char) {
        if verb == '%' {
            return self.out.push("%");
        }
        if !self.numbers_are_good {
            return self.out.push(&format!("%!{verb}(BADINDEX)"));
        }
        match self.values.get(self.next) {
            None => self.out.push(&format!("%!{verb}(MISSING)")),
            Some(value) => {
                self.next += 1;
                directive.argument(&mut self.out, value, verb);
            }
        }
    }

    fn flags(&mut self) -> Directive {
        let mut directive = Directive::default();
        while let Some(flag) = self.rest.chars().next() {
            match flag {
                '#' => directive.sharp = true,
                '+' => directive.plus = true,
                ' ' => directive.space = true,
                '0' => directive.zero = !directive.minus,
                '-' => (directive.minus, directive.zero) = (true, false),
                _ => break,
            }
            self.rest = &self.rest[1..];
        }
        directive
    }

    /// Parses the width. Returns whether an argument number still applies to what follows.
    fn width(&mut self, directive: &mut Directive, numbered: bool) -> bool {
        if !self.skip("*") {
            directive.width = self.number();
            self.numbers_are_good &= !(numbered && directive.width.is_some());
            return numbered;
        }
        match self.number_from_argument() {
            None => self.out.push("%!(BADWIDTH)"),
            Some(width) => {
                directive.width = usize::try_from(width.unsigned_abs()).ok();
                directive.minus |= width < 0;
                directive.zero &= width >= 0;
            }
        }
        false
    }

    /// Parses the precision. Returns whether an argument number still applies to what follows.
    fn precision(&mut self, directive: &mut Directive, numbered: bool) -> bool {
        if !self.skip(".") {
            return numbered;
        }
        self.numbers_are_good &= !numbered;
        let numbered = self.argument_number();
        if !self.skip("*") {
            directive.precision = Some(self.number().unwrap_or(0));
            return numbered;
        }
        let number = self.number_from_argument();
        directive.precision = number.and_then(|number| usize::try_from(number).ok());
        if directive.precision.is_none() {
            self.out.push("%!(BADPREC)");
        }
        false
    }

    /// Parses an argument number such as `[2]`. Returns whether there was one.
    fn argument_number(&mut self) -> bool {
        if !self.rest.starts_with('[') {
            return false;
        }
        self.reordered = true;
        let Some(end) = self.rest.find(']') else {
            self.numbers_are_good = false;
            self.rest = &self.rest[1..];
            return false;
        };
        let number = self.rest[1..end].parse::<usize>().ok();
        self.rest = &self.rest[end + 1..];
        let index = number.and_then(|number| number.checked_sub(1));
        match index.filter(|index| *index < self.values.len()) {
            Some(index) => self.next = index,
            None => self.numbers_are_good = false,
        }
        number.is_some()
    }

    fn number_from_argument(&mut self) -> Option<i64> {
        let value = self.values.get(self.next)?;
        self.next += 1;
        match value {
            Value::Int(number) if number.unsigned_abs() <= WIDTH as u64 => Some(*number),
            Value::Byte(number) => Some(i64::from(*number)),
            _ => None,
        }
    }

    /// Parses digits. If the number exceeds the limit, the rest of the format is consumed, as in Go.
    fn number(&mut self) -> Option<usize> {
        let end = self.rest.find(|character: char| !character.is_ascii_digit());
        let (digits, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        if digits.is_empty() {
            return None;
        }
        let number = digits.parse().ok().filter(|number| *number <= WIDTH);
        self.rest = if number.is_some() { rest } else { "" };
        number
    }

    fn skip(&mut self, prefix: &str) -> bool {
        let rest = self.rest.strip_prefix(prefix);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn mention_unused(&mut self) {
        let unused = self.values.get(self.next..).unwrap_or_default();
        if unused.is_empty() {
            return;
        }
        self.out.push("%!(EXTRA ");
        for (index, value) in unused.iter().enumerate() {
            self.out.push(if index > 0 { ", " } else { "" });
            if *value != Value::Nil {
                self.out.push(&format!("{}=", value.type_name()));
            }
            Directive::default().argument(&mut self.out, value, 'v');
        }
        self.out.push(")");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Type;

    fn check(format: &str, values: &[Value], expected: &str) {
        let printed = print_formatted(format, values);
        assert_eq!(printed.as_deref(), Ok(expected), "{format}");
    }

    fn ints(numbers: &[i64]) -> Value {
        Value::list(Type::Int, numbers.iter().copied().map(Value::Int))
    }

    #[test]
    fn whole_numbers_have_widths_signs_and_bases() {
        for (format, expected) in [
            ("%d|%5d|%-5d|%05d|%+d|% d", "42|   42|42   |00042|+42| 42"),
            (
                "%x|%X|%#x|%o|%#o|%O|%b|%#b",
                "2a|2A|0x2a|52|052|0o52|101010|0b101010",
            ),
            ("%c|%q|%U|%#U", "*|'*'|U+002A|U+002A '*'"),
            ("%.5d|%8.5d|%-8.5d|%+06d", "00042|   00042|00042   |+00042"),
        ] {
            let count = format.matches('|').count() + 1;
            check(format, &vec![Value::Int(42); count], expected);
        }
        check(
            "%05d|%x|%.0d|",
            &[Value::Int(-42), Value::Int(-255), Value::Int(0)],
            "-0042|-ff||",
        );
    }

    #[test]
    fn text_has_widths_and_forms() {
        for (format, expected) in [
            ("%s|%5s|%-5s|%.2s|%05s", "hé!|  hé!|hé!  |hé|00hé!"),
            (
                "%q|%+q|%#q|%x|% x|%#x|%# X",
                r#""hé!"|"h\u00e9!"|`hé!`|68c3a921|68 c3 a9 21|0x68c3a921|0X68 0XC3 0XA9 0X21"#,
            ),
            ("%v|%#v|%T", "hé!|\"hé!\"|string"),
        ] {
            let count = format.matches('|').count() + 1;
            check(format, &vec![Value::text("hé!"); count], expected);
        }
    }

    #[test]
    fn floating_point_numbers_have_widths_and_precisions() {
        check("%e|%E", &vec![Value::Float(1.5); 2], "1.500000e+00|1.500000E+00");
        let format = "%f|%.2f|%8.3f|%-8.1f|%08.2f|%+.1f|% .1f|%g|%G|%v";
        let expected = "1.500000|1.50|   1.500|1.5     |00001.50|+1.5| 1.5|1.5|1.5|1.5";
        check(format, &vec![Value::Float(1.5); 10], expected);
        check(
            "%06v|%+v",
            &[Value::Float(f64::INFINITY), Value::Float(f64::INFINITY)],
            "   Inf|Inf",
        );
    }

    #[test]
    fn containers_apply_the_verb_to_what_they_hold() {
        let strings = Value::list(Type::Text, [Value::text("a"), Value::text("b")]);
        check(
            "%q %d %03d",
            &[strings.clone(), ints(&[1, 2]), ints(&[7])],
            "[\"a\" \"b\"] [1 2] [007]",
        );
        let map = Value::map(
            Type::Int,
            [("b".to_owned(), Value::Int(2)), ("a".to_owned(), Value::Int(1))],
        );
        check(
            "%v %#v",
            &[map.clone(), map],
            "map[a:1 b:2] map[string]int{\"a\":1, \"b\":2}",
        );
        let mixed = Value::list(Type::Any, [Value::Nil, Value::Int(1), Value::text("x")]);
        check(
            "%v %#v",
            &[mixed.clone(), mixed],
            "[<nil> 1 x] []interface {}{interface {}(nil), 1, \"x\"}",
        );
    }

    #[test]
    fn an_unsuitable_verb_leaves_a_remark() {
        check("%d", &[Value::text("x")], "%!d(string=x)");
        check(
            "%s|%z",
            &[Value::Int(5), Value::Bool(true)],
            "%!s(int=5)|%!z(bool=true)",
        );
        check("%d", &[Value::Nil], "%!d(<nil>)");
        check(
            "%d",
            &[Value::list(Type::Text, [Value::text("x")])],
            "[%!d(string=x)]",
        );
    }

    #[test]
    fn a_wrong_number_of_arguments_leaves_a_remark() {
        check("%d %d", &[Value::Int(1)], "1 %!d(MISSING)");
        check(
            "%d",
            &[Value::Int(1), Value::text("x"), Value::Nil],
            "1%!(EXTRA string=x, <nil>)",
        );
        check("100%", &[], "100%!(NOVERB)");
        check("100%%", &[], "100%");
    }

    #[test]
    fn arguments_may_be_numbered() {
        check("%[2]d %[1]d", &[Value::Int(1), Value::Int(2)], "2 1");
        check("%[3]d", &[Value::Int(1)], "%!d(BADINDEX)");
        check("%[x]d %[1", &[Value::Int(1)], "%!d(BADINDEX) %!(NOVERB)");
        check("%[2]*[1]d", &[Value::Int(7), Value::Int(3)], "  7");
    }

    #[test]
    fn widths_may_come_from_arguments() {
        check(
            "%*d|%-*d|",
            &[Value::Int(4), Value::Int(1), Value::Int(4), Value::Int(1)],
            "   1|1   |",
        );
        check("%.*f", &[Value::Int(1), Value::Float(2.0)], "2.0");
        check("%*d", &[Value::text("x"), Value::Int(1)], "%!(BADWIDTH)1");
    }

    #[test]
    fn absurd_widths_are_refused() {
        check("%9999999d", &[Value::Int(1)], "%!(NOVERB)%!(EXTRA int=1)");
    }

    #[test]
    fn spaces_stand_between_values_that_are_not_text() {
        let values = [
            Value::Int(1),
            Value::Int(2),
            Value::text("a"),
            Value::text("b"),
            Value::Int(3),
        ];
        assert_eq!(print(&values).as_deref(), Ok("1 2ab3"));
        assert_eq!(print_line(&values).as_deref(), Ok("1 2 a b 3\n"));
    }
}
