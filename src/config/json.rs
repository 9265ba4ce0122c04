//! Parses strict JSON (RFC 8259) into a tree with positions.
//!
//! If a text is not JSON, the error has the position of the offending character, as in the original (CFG-2),
//! and the sentence of Go's `encoding/json`, which operators know. No maintained parser has both the
//! positions of values and such errors; tests compare this parser with `serde_json`. It takes time and memory
//! in proportion to the text.

use super::tree::{DEEPEST, Data, MOST_VALUES, Member, Span, Value};
use std::borrow::Cow;
use std::fmt;

/// Where a text stops being JSON, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The offset of the offending character; the length of the text if the text ends too early.
    pub at: usize,
    /// The reason.
    pub cause: Cause,
    /// If a string has no closing quote: where the string begins.
    pub open_string: Option<usize>,
}

/// Why a text is not JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The text ends too early.
    End,
    /// The character is not allowed in this context.
    Unexpected(char, Context),
    /// An escape for half of a surrogate pair.
    LoneSurrogate,
    /// A number beyond the range of a 64-bit floating-point number; its length in bytes.
    NumberTooLarge(usize),
    /// Lists and objects that are nested deeper than [`DEEPEST`].
    TooDeep,
    /// More than [`MOST_VALUES`] values.
    TooMany,
}

/// The part of the syntax that was being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// A value begins.
    Value,
    /// The key of an object begins.
    Key,
    /// After a key, where a colon must follow.
    AfterKey,
    /// After a value of an object.
    AfterPair,
    /// After a value of a list.
    AfterElement,
    /// After the outermost value.
    AfterAll,
    /// In a string.
    String,
    /// After a backslash in a string.
    Escape,
    /// In the four digits after `\u`.
    Unicode,
    /// The first digit of a number.
    Number,
    /// The first digit after a decimal point.
    Fraction,
    /// The first digit of an exponent.
    Exponent,
    /// In `true`, `false` or `null`, and the character that is expected.
    Literal(&'static str, char),
}

impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "looking for beginning of value",
            Self::Key => "looking for beginning of object key string",
            Self::AfterKey => "after object key",
            Self::AfterPair => "after object key:value pair",
            Self::AfterElement => "after array element",
            Self::AfterAll => "after top-level value",
            Self::String => "in string literal",
            Self::Escape => "in string escape code",
            Self::Unicode => "in \\u hexadecimal character escape",
            Self::Number => "in numeric literal",
            Self::Fraction => "after decimal point in numeric literal",
            Self::Exponent => "in exponent of numeric literal",
            Self::Literal(word, expected) => {
                return write!(f, "in literal {word} (expecting {expected:?})");
            }
        })
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::End => f.write_str("unexpected end of JSON input"),
            Self::Unexpected(character, context) => write!(f, "invalid character {character:?} {context}"),
            Self::LoneSurrogate => f.write_str("half of a surrogate pair in string escape code"),
            Self::NumberTooLarge(_) => f.write_str("number out of range"),
            Self::TooDeep => write!(f, "more than {DEEPEST} lists and objects in one another"),
            Self::TooMany => write!(f, "more than {MOST_VALUES} values"),
        }
    }
}

/// The byte order mark that some editors write at the start of a text; it is ignored (RFC 8259, 8.1).
pub const MARK: &str = "\u{feff}";

/// Parses strict JSON.
///
/// # Errors
/// [`SyntaxError`] at the first offending character.
pub fn parse(text: &str) -> Result<Value<'_>, SyntaxError> {
    let mut parser = Parser {
        text,
        at: if text.starts_with(MARK) { MARK.len() } else { 0 },
        depth: 0,
        values: 0,
    };
    let root = parser.value()?;
    match parser.next() {
        None => Ok(root),
        Some(_) => Err(parser.unexpected(Context::AfterAll)),
    }
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
    values: usize,
}

type Parsed<T> = Result<T, SyntaxError>;

impl<'t> Parser<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that is not white space.
    fn next(&mut self) -> Option<u8> {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.peek()
    }

    fn error(&self, cause: Cause) -> SyntaxError {
        SyntaxError {
            at: self.at,
            cause,
            open_string: None,
        }
    }

    /// The error for the character at the current position, or for the end of the text.
    fn unexpected(&self, context: Context) -> SyntaxError {
        let character = self.text.get(self.at..).and_then(|rest| rest.chars().next());
        self.error(character.map_or(Cause::End, |character| Cause::Unexpected(character, context)))
    }

    fn value(&mut self) -> Parsed<Value<'t>> {
        let first = self.next();
        let start = self.at;
        self.values += 1;
        if self.values > MOST_VALUES {
            return Err(self.error(Cause::TooMany));
        }
        let data = match first {
            Some(b'{') => self.nested(Self::object)?,
            Some(b'[') => self.nested(Self::list)?,
            Some(b'"') => Data::String(self.string()?),
            Some(b't') => self.literal("true", Data::Boolean(true))?,
            Some(b'f') => self.literal("false", Data::Boolean(false))?,
            Some(b'n') => self.literal("null", Data::Null)?,
            Some(b'-' | b'0'..=b'9') => self.number()?,
            _ => return Err(self.unexpected(Context::Value)),
        };
        Ok(Value {
            span: start..self.at,
            data,
        })
    }

    /// Reads a list or an object, after its opening bracket.
    fn nested(&mut self, read: impl Fn(&mut Self) -> Parsed<Data<'t>>) -> Parsed<Data<'t>> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.error(Cause::TooDeep));
        }
        self.at += 1;
        let data = read(self)?;
        self.depth -= 1;
        Ok(data)
    }

    fn list(&mut self) -> Parsed<Data<'t>> {
        let mut elements = Vec::new();
        if self.next() == Some(b']') {
            self.at += 1;
            return Ok(Data::List(elements));
        }
        loop {
            elements.push(self.value()?);
            if self.is_last(b']', Context::AfterElement)? {
                elements.shrink_to_fit();
                return Ok(Data::List(elements));
            }
        }
    }

    fn object(&mut self) -> Parsed<Data<'t>> {
        let mut members = Vec::new();
        if self.next() == Some(b'}') {
            self.at += 1;
            return Ok(Data::Object(members));
        }
        loop {
            members.push(self.member()?);
            if self.is_last(b'}', Context::AfterPair)? {
                members.shrink_to_fit();
                return Ok(Data::Object(members));
            }
        }
    }

    fn member(&mut self) -> Parsed<Member<'t>> {
        if self.next() != Some(b'"') {
            return Err(self.unexpected(Context::Key));
        }
        let start = self.at;
        let key = self.string()?;
        let key_span: Span = start..self.at;
        if self.next() != Some(b':') {
            return Err(self.unexpected(Context::AfterKey));
        }
        self.at += 1;
        Ok(Member {
            key,
            key_span,
            value: self.value()?,
        })
    }

    /// After a value: whether the list or object ends; otherwise a comma must follow.
    fn is_last(&mut self, end: u8, context: Context) -> Parsed<bool> {
        let next = self.next();
        if next != Some(b',') && next != Some(end) {
            return Err(self.unexpected(context));
        }
        self.at += 1;
        Ok(next == Some(end))
    }

    fn literal(&mut self, word: &'static str, data: Data<'t>) -> Parsed<Data<'t>> {
        for expected in word.chars() {
            if self.peek() != u8::try_from(expected).ok() {
                return Err(self.unexpected(Context::Literal(word, expected)));
            }
            self.at += 1;
        }
        Ok(data)
    }

    fn number(&mut self) -> Parsed<Data<'t>> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => self.at += 1,
            _ => self.digits(Context::Number)?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits(Context::Fraction)?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits(Context::Exponent)?;
        }
        let number = &self.text[start..self.at];
        if !number.parse::<f64>().is_ok_and(f64::is_finite) {
            self.at = start;
            return Err(self.error(Cause::NumberTooLarge(number.len())));
        }
        Ok(Data::Number(number))
    }

    /// Reads at least one digit.
    fn digits(&mut self, context: Context) -> Parsed<()> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        match self.at > start {
            true => Ok(()),
            false => Err(self.unexpected(context)),
        }
    }

    fn string(&mut self) -> Parsed<Cow<'t, str>> {
        let quote = self.at;
        let in_string = |error: SyntaxError| {
            let is_open = matches!(error.cause, Cause::End | Cause::Unexpected(_, Context::String));
            SyntaxError {
                open_string: is_open.then_some(quote),
                ..error
            }
        };
        self.at += 1;
        let mut unescaped = String::new();
        let mut from = self.at;
        loop {
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    unescaped.push_str(&self.text[from..self.at]);
                    unescaped.push(self.escape().map_err(in_string)?);
                    from = self.at;
                }
                None | Some(..b' ') => return Err(in_string(self.unexpected(Context::String))),
                Some(_) => self.at += 1,
            }
        }
        let last = &self.text[from..self.at];
        self.at += 1;
        if unescaped.is_empty() && from == quote + 1 {
            return Ok(last.into());
        }
        Ok((unescaped + last).into())
    }

    /// The character that an escape denotes.
    fn escape(&mut self) -> Parsed<char> {
        self.at += 1;
        let character = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.unexpected(Context::Escape)),
        };
        self.at += 1;
        Ok(character)
    }

    /// The character of `\uXXXX`, or of two such escapes that form a surrogate pair; `self.at` is at the `u`.
    fn unicode(&mut self) -> Parsed<char> {
        let first = self.hexadecimal()?;
        let second = if (0xD800..0xDC00).contains(&first) && self.text[self.at..].starts_with("\\u") {
            self.at += 1;
            self.hexadecimal()?
        } else {
            0
        };
        let pair = 0x1_0000 + ((first & 0x3FF) << 10) + (second & 0x3FF);
        let code = match second {
            0xDC00..0xE000 => Some(pair),
            0 => Some(first),
            _ => None,
        };
        code.and_then(char::from_u32)
            .ok_or_else(|| self.error(Cause::LoneSurrogate))
    }

    /// The four digits after the character at `self.at`.
    fn hexadecimal(&mut self) -> Parsed<u32> {
        self.at += 1;
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.unexpected(Context::Unicode))?;
            self.at += 1;
        }
        Ok(code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same tree in the form of `serde_json`. If a key occurs twice, the last one counts there.
    fn plain(value: &Value<'_>) -> serde_json::Value {
        match &value.data {
            Data::Null => serde_json::Value::Null,
            Data::Boolean(boolean) => (*boolean).into(),
            Data::Number(number) => serde_json::from_str(number).unwrap(),
            Data::String(text) => text.as_ref().into(),
            Data::List(elements) => elements.iter().map(plain).collect(),
            Data::Object(members) => {
                let member = |member: &Member<'_>| (member.key.to_string(), plain(&member.value));
                serde_json::Value::Object(members.iter().map(member).collect())
            }
        }
    }

    /// Checks that both parsers accept the same text with the same result, except for a byte order mark.
    fn agrees_with_serde_json(text: &str) -> Result<(), TestCaseError> {
        let without_mark = text.strip_prefix(MARK).unwrap_or(text);
        let theirs: Result<serde_json::Value, _> = serde_json::from_str(without_mark);
        let ours = parse(text);
        prop_assert_eq!(ours.is_ok(), theirs.is_ok(), "{}: {:?} {:?}", text, ours, theirs);
        match ours {
            Ok(ours) => prop_assert_eq!(plain(&ours), theirs.unwrap()),
            Err(error) => prop_assert!(text.is_char_boundary(error.at), "{}: {:?}", text, error),
        }
        Ok(())
    }

    /// Random sequences of pieces of JSON, many of which are JSON.
    fn pieces() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"a\"",
            "\"",
            "\\",
            "\\n",
            "\\u00e9",
            "\\ud83d\\ude00",
            "\\ud83d",
            "null",
            "true",
            "false",
            "nul",
            "0",
            "01",
            "-",
            "-1",
            "1.5",
            "1.",
            "1e5",
            "1E+",
            "1e999",
            "é",
            " ",
            "\n",
            "\t",
            "\u{1}",
            "\u{feff}",
            "x",
            "{\"a\": 1}",
            "[1, 2]",
            "\"\\q\"",
            "\"é\"",
        ]);
        prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
    }

    fn json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|boolean| boolean.to_string()),
            any::<f64>()
                .prop_filter("a number", |number| number.is_finite())
                .prop_map(|number| number.to_string()),
            any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap()),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let key = any::<String>().prop_map(|key| serde_json::to_string(&key).unwrap());
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4)
                    .prop_map(|list| format!("[{}]", list.join(" ,\n"))),
                prop::collection::vec((key, inner), 0..4).prop_map(|members| {
                    let member = |(key, value): &(String, String)| format!("{key}\t: {value}");
                    let members: Vec<String> = members.iter().map(member).collect();
                    format!("{{ {} }}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_parser_accepts_what_serde_json_accepts(text in prop_oneof![pieces(), json()]) {
            agrees_with_serde_json(&text)?;
        }
    }

    #[test]
    fn unusual_json_is_accepted_or_refused_as_by_serde_json() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        for text in [
            "",
            " ",
            "1 2",
            "\"\u{7f}\"",
            "\"\\ud800\"",
            "\"\\ud83d\\ud83d\"",
            "\"\\udc00\"",
            "\"\\ud83dx\"",
            "\"\\ud83d\\u0041\"",
            "\"\\u0000\"",
            "\"\\u00g0\"",
            "\"\\u\"",
            "-0",
            "-",
            "+1",
            ".5",
            "0e999",
            "1e308",
            "1e309",
            "01",
            "-01",
            "-1e309",
            "123456789012345678901234567890",
            "[,]",
            "[1,]",
            "{,}",
            "{\"a\":1,}",
            "{\"a\"}",
            "tru",
            "nulll",
            "\u{feff}{}",
            "{\"a\":1,\"a\":2}",
            &nested(127),
            &nested(128),
            &"9".repeat(400),
        ] {
            agrees_with_serde_json(text).unwrap();
        }
    }

    fn error(text: &str) -> (usize, String) {
        let error = parse(text).unwrap_err();
        (error.at, error.cause.to_string())
    }

    #[test]
    fn syntax_errors_have_gos_messages() {
        for (text, at, cause) in [
            ("", 0, "unexpected end of JSON input"),
            ("{\"a\" 1}", 5, "invalid character '1' after object key"),
            (
                "{\"a\": 1 2}",
                8,
                "invalid character '2' after object key:value pair",
            ),
            ("[1 2]", 3, "invalid character '2' after array element"),
            ("{} x", 3, "invalid character 'x' after top-level value"),
            ("01", 1, "invalid character '1' after top-level value"),
            (
                "{x",
                1,
                "invalid character 'x' looking for beginning of object key string",
            ),
            (
                "{\"a\": 1,}",
                8,
                "invalid character '}' looking for beginning of object key string",
            ),
            ("[1,]", 3, "invalid character ']' looking for beginning of value"),
            ("nine", 1, "invalid character 'i' in literal null (expecting 'u')"),
            ("-x", 1, "invalid character 'x' in numeric literal"),
            (
                "1.x",
                2,
                "invalid character 'x' after decimal point in numeric literal",
            ),
            ("1ex", 2, "invalid character 'x' in exponent of numeric literal"),
            ("\"\n\"", 1, "invalid character '\\n' in string literal"),
            ("\"\\q\"", 2, "invalid character 'q' in string escape code"),
            (
                "\"\\u00x0\"",
                5,
                "invalid character 'x' in \\u hexadecimal character escape",
            ),
            ("[1e999]", 1, "number out of range"),
            ("é", 0, "invalid character 'é' looking for beginning of value"),
        ] {
            assert_eq!(error(text), (at, cause.to_owned()), "{text}");
        }
    }

    #[test]
    fn the_error_of_an_unclosed_string_has_the_place_of_its_quote() {
        for (text, quote) in [
            ("[\"a\n\"]", Some(1)),
            ("{\"a\": \"b", Some(6)),
            ("[\"\\", Some(1)),
            ("[\"\\q\"]", None),
            ("[1", None),
        ] {
            assert_eq!(parse(text).unwrap_err().open_string, quote, "{text}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_ignored() {
        assert_eq!(parse("\u{feff}[]").map(|value| value.span), Ok(3..5));
        assert_eq!(error("[\u{feff}]").0, 1);
    }

    #[test]
    fn values_have_their_spans() {
        let text = "{\n \"services\": [\n  {\"n\\u0061me\":\n 5}]}";
        let root = parse(text).unwrap();
        let Data::Object(members) = &root.data else {
            panic!("{root:?}");
        };
        assert_eq!(&text[members[0].key_span.clone()], "\"services\"");
        let Data::List(services) = &members[0].value.data else {
            panic!("{root:?}");
        };
        let Data::Object(members) = &services[0].data else {
            panic!("{root:?}");
        };
        assert_eq!(members[0].key, "name");
        assert_eq!(&text[members[0].value.span.clone()], "5");
        assert_eq!(&text[services[0].span.clone()], "{\"n\\u0061me\":\n 5}");
    }

    #[test]
    fn the_number_and_the_nesting_of_values_are_limited() {
        let list = |number: usize| format!("[{}]", vec!["1"; number - 1].join(","));
        assert!(parse(&list(MOST_VALUES)).is_ok());
        assert_eq!(error(&list(MOST_VALUES + 1)).1, "more than 500000 values");
        assert_eq!(
            error(&"[".repeat(100_000)).1,
            "more than 127 lists and objects in one another"
        );
    }
}
