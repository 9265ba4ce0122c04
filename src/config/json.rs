//! JSON as written: every value keeps its place in the text, so that whatever is wrong with it later can be
//! pointed at. Syntax errors are reported as the original reports them, with the true place (CFG-2).
//!
//! The parsing is `serde_json`'s; this only keeps positions and words errors as operators know them. All of it
//! takes time and memory in proportion to the text.

use super::secrets;
use crate::cause::without_user_information;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::fmt;

/// A text that is JSON.
pub struct Document<'a> {
    text: &'a str,
    root: &'a RawValue,
    lines: Lines,
}

/// A value in a document, and how one gets there.
#[derive(Clone)]
pub struct Node<'a> {
    raw: &'a RawValue,
    /// The keys and indices that lead here, for instance `services[1].interfaces[0]`; empty for the root.
    pub path: String,
    document: &'a Document<'a>,
}

/// What sort of value a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

impl<'a> Document<'a> {
    /// Parses strict JSON.
    ///
    /// # Errors
    /// [`SyntaxError`] at the first offending byte.
    pub fn parse(text: &'a str) -> Result<Self, SyntaxError> {
        let root: &RawValue = serde_json::from_str(text).map_err(|error| SyntaxError::new(text, &error))?;
        // Raw text is only scanned; this looks into strings and numbers too.
        let whole: Result<Checked, _> = serde_json::from_str(text);
        whole.map_err(|error| SyntaxError::new(text, &error))?;
        let lines = Lines::of(text);
        Ok(Self { text, root, lines })
    }

    /// The whole on one line, with `***` for what is secret by its key's name.
    pub fn shown(&self) -> String {
        secrets::on_one_line(self.text)
    }

    /// The outermost value.
    pub fn root(&self) -> Node<'_> {
        Node {
            raw: self.root,
            path: String::new(),
            document: self,
        }
    }
}

/// How many newlines stand before each block of a text, so that the line of an offset is found without
/// counting from the start.
struct Lines(Vec<usize>);

impl Lines {
    const BLOCK: usize = 256;

    fn of(text: &str) -> Self {
        let mut before = 0;
        let blocks = text.as_bytes().chunks(Self::BLOCK);
        let counts = blocks.map(|block| {
            let here = before;
            before += newlines(block);
            here
        });
        Self(counts.collect())
    }

    /// The line of an offset in the text, from 1.
    fn at(&self, text: &str, offset: usize) -> usize {
        let block = offset / Self::BLOCK;
        let before = self.0.get(block).copied().unwrap_or_default();
        let rest = text.as_bytes().get(block * Self::BLOCK..offset);
        before + newlines(rest.unwrap_or_default()) + 1
    }
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

impl<'a> Node<'a> {
    /// The line it begins in, from 1.
    pub fn line(&self) -> usize {
        let text = self.document.text;
        // `raw` is a part of `text`.
        let offset = self.raw.get().as_ptr() as usize - text.as_ptr() as usize;
        self.document.lines.at(text, offset)
    }

    /// What sort of value it is.
    pub fn kind(&self) -> Kind {
        match self.raw.get().as_bytes().first() {
            Some(b'"') => Kind::String,
            Some(b'[') => Kind::Array,
            Some(b'{') => Kind::Object,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    /// The value as written, without user information of URLs, and cut where it is long.
    pub fn as_written(&self) -> String {
        const MOST: usize = 60;
        let text = without_user_information(self.raw.get());
        let mut shown: String = text
            .chars()
            .take(MOST)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if shown.len() < text.len() {
            shown.push_str("...");
        }
        shown
    }

    /// The string it is, if it is one.
    pub fn string(&self) -> Option<String> {
        serde_json::from_str(self.raw.get()).ok()
    }

    /// The number it is, as written, if it is one.
    pub fn number(&self) -> Option<&'a str> {
        (self.kind() == Kind::Number).then_some(self.raw.get())
    }

    /// The boolean it is, if it is one.
    pub fn boolean(&self) -> Option<bool> {
        serde_json::from_str(self.raw.get()).ok()
    }

    /// The elements of the array it is, if it is one.
    pub fn elements(&self) -> Option<impl ExactSizeIterator<Item = Self>> {
        let elements: Vec<&'a RawValue> = serde_json::from_str(self.raw.get()).ok()?;
        let node = |(index, raw)| Self {
            raw,
            path: format!("{}[{index}]", self.path),
            document: self.document,
        };
        Some(elements.into_iter().enumerate().map(node))
    }

    /// The keys and values of the object it is, in the order written, if it is one. [`Self::member`] makes
    /// nodes of them.
    pub fn members(&self) -> Option<Vec<(String, &'a RawValue)>> {
        let mut json = serde_json::Deserializer::from_str(self.raw.get());
        json.deserialize_map(Members).ok()
    }

    /// The member of that key.
    pub fn member(&self, key: &str, raw: &'a RawValue) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self {
            raw,
            path: format!("{}{dot}{key}", self.path),
            document: self.document,
        }
    }
}

/// Reads an object without losing the order of its members.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

/// A value that was read to its end, and of which nothing is kept.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self, A::Error> {
        while elements.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        while members.next_entry::<Self, Self>()?.is_some() {}
        Ok(self)
    }
}

/// Where a text stops being JSON, and why (behaviour-v2.md 2.9). The excerpt shows no secrets and is cut where
/// its lines are long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    line: usize,
    column: usize,
    cause: String,
    shown: Vec<String>,
    /// Where the offending byte stands in the last line shown.
    caret: usize,
    extra_comma: bool,
}

impl SyntaxError {
    fn new(text: &str, error: &serde_json::Error) -> Self {
        let (line, column) = place(text, error);
        let (start, start_of_line) = starts(text, line);
        let offset = start_of_line + column.saturating_sub(1);
        let offending = text.get(offset..).and_then(|rest| rest.chars().next());
        let last = text
            .get(..offset)
            .and_then(|read| read.trim_end().chars().next_back());
        let ended = error.classify() == Category::Eof;
        let excerpt = secrets::Excerpt::of(text, start, start_of_line, offset);
        let first = line + 1 - excerpt.lines.len();
        let numbered = |(number, text): (usize, String)| format!("{number:5}: {text}");
        Self {
            line,
            column,
            cause: cause(error, offending.filter(|_| !ended), last),
            shown: (first..).zip(excerpt.lines).map(numbered).collect(),
            caret: excerpt.caret + usize::from(column > 0),
            extra_comma: !ended && matches!(offending, Some(']' | '}')) && last == Some(','),
        }
    }
}

/// Where the line before this one begins, if there is one, and where this one does.
fn starts(text: &str, line: usize) -> (usize, usize) {
    let after_newline = |(at, _)| at + 1;
    let mut starts = [0].into_iter().chain(text.match_indices('\n').map(after_newline));
    match line {
        ..=1 => (0, 0),
        _ => {
            let before = starts.nth(line - 2).unwrap_or_default();
            (before, starts.next().unwrap_or(before))
        }
    }
}

/// The offending byte; for an end that comes too early, the last one of the text.
fn place(text: &str, error: &serde_json::Error) -> (usize, usize) {
    if error.classify() != Category::Eof {
        return (error.line().max(1), error.column().max(1));
    }
    let before_last = &text.as_bytes()[..text.len().saturating_sub(1)];
    let line_start = before_last
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |newline| newline + 1);
    let line = before_last.iter().filter(|byte| **byte == b'\n').count() + 1;
    (line, text.len() - line_start)
}

/// The parser's words, turned into those operators know.
fn cause(error: &serde_json::Error, offending: Option<char>, last: Option<char>) -> String {
    let Some(offending) = offending else {
        return "unexpected end of JSON input".into();
    };
    let message = error.to_string();
    let place = match message.split(" at line ").next().unwrap_or_default() {
        "key must be a string" => "looking for beginning of object key string",
        "trailing comma" if offending == '}' => "looking for beginning of object key string",
        "expected value" | "trailing comma" => "looking for beginning of value",
        "expected `:`" => "after object key",
        "expected `,` or `}`" if last == Some('{') => "looking for beginning of object key string",
        "expected `,` or `}`" => "after object key:value pair",
        "expected `,` or `]`" => "after array element",
        "trailing characters" => "after top-level value",
        "invalid number" => "in numeric literal",
        "expected ident" => "in literal",
        words if words.starts_with("control character") => "in string literal",
        "invalid escape" => "in string escape code",
        other => return other.into(),
    };
    format!("invalid character {offending:?} {place}")
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "Parse error at line:col [{}:{}]: {}",
            self.line, self.column, self.cause
        )?;
        for line in &self.shown {
            writeln!(f, "{line}")?;
        }
        write!(f, "{}^", "-".repeat(6 + self.caret))?;
        if self.extra_comma {
            f.write_str("\nDo you have an extra comma somewhere?")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> String {
        Document::parse(text).map(drop).unwrap_err().to_string()
    }

    #[test]
    fn the_facts_of_section_2_9() {
        assert!(report("<>").starts_with("Parse error at line:col [1:1]: invalid character '<' looking for"));
        assert!(report("<>").ends_with("\n    1: <>\n-------^"));
        let missing = "{\n    \"test\": ,\n    \"test2\": 1\n}";
        assert_eq!(
            report(missing),
            "Parse error at line:col [2:13]: invalid character ',' looking for beginning of value\n    \
             1: {\n    2:     \"test\": ,\n-------------------^"
        );
        let bare = "{\n    \"a\": 1,\n    \"b\": 2,\n    \"c\": 3,\n    test2: \"hello\"\n}";
        assert_eq!(
            report(bare),
            "Parse error at line:col [5:5]: invalid character 't' looking for beginning of object key string\n    \
             4:     \"c\": 3,\n    5:     test2: \"hello\"\n-----------^"
        );
    }

    #[test]
    fn an_extra_comma_is_hinted_at_where_it_is() {
        let text = "{\n  \"tasks\": [\n    {\n      \"command\": \"a\"\n    },\n  ]\n}";
        let report = report(text);
        assert!(
            report.starts_with(
                "Parse error at line:col [6:3]: invalid character ']' looking for beginning of value"
            ),
            "{report}"
        );
        assert!(
            report.ends_with("\n---------^\nDo you have an extra comma somewhere?"),
            "{report}"
        );
        let object = self::report("{\"a\": 1,\n}");
        assert!(
            object.contains("[2:1]") && object.ends_with("extra comma somewhere?"),
            "{object}"
        );
        assert!(!self::report("{\"a\": }").contains("comma"));
    }

    #[test]
    fn an_early_end_is_at_the_last_byte() {
        assert!(report("").starts_with("Parse error at line:col [1:0]: unexpected end of JSON input"));
        let text = "{\"consul\": \"consul:8500\",";
        assert!(report(text).starts_with("Parse error at line:col [1:25]: unexpected end of JSON input"));
        let after_a_newline =
            "Parse error at line:col [2:9]: unexpected end of JSON input\n    1: {\n    2:   \"a\": 1\n";
        assert!(
            report("{\n  \"a\": 1\n").starts_with(after_a_newline),
            "{}",
            report("{\n  \"a\": 1\n")
        );
    }

    #[test]
    fn causes_are_worded_as_operators_know_them() {
        let causes = [
            ("{\"a\" 1}", "invalid character '1' after object key"),
            (
                "{\"a\": 1 2}",
                "invalid character '2' after object key:value pair",
            ),
            ("[1 2]", "invalid character '2' after array element"),
            ("{} x", "invalid character 'x' after top-level value"),
            (
                "{x",
                "invalid character 'x' looking for beginning of object key string",
            ),
            ("nine", "invalid character 'i' in literal"),
        ];
        for (text, cause) in causes {
            assert!(report(text).contains(cause), "{text}: {}", report(text));
        }
    }

    #[test]
    fn values_keep_their_line_and_path() {
        let document =
            Document::parse("{\n \"services\": [\n  {\"name\": \"a\"},\n  {\"name\":\n 5}]}").unwrap();
        fn only<'a>(node: &Node<'a>) -> Node<'a> {
            let (key, raw) = node.members().unwrap().remove(0);
            node.member(&key, raw)
        }
        let root = document.root();
        let services = only(&root);
        let second = services.elements().unwrap().nth(1).unwrap();
        let name = only(&second);
        assert_eq!(
            (name.path.as_str(), name.line(), name.kind()),
            ("services[1].name", 5, Kind::Number)
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = r#"{"consul": {"address": "c:1", "token": "hidden"}, "list": [{"Password": ["hidden"]}]}"#;
        let shown = Document::parse(text).unwrap().shown();
        assert_eq!(
            shown,
            r#"{"consul":{"address":"c:1","token":"***"},"list":[{"Password":["***"]}]}"#
        );
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow() {
        assert!(Document::parse(&"[".repeat(100_000)).is_err());
    }
}
