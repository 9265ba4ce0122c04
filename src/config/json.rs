//! JSON as written: every value keeps its place in the text, so that whatever is wrong with it later can be
//! pointed at. Syntax errors are reported as the original reports them, with the true place (CFG-2).
//!
//! The parsing is `serde_json`'s; this only keeps positions and words errors as operators know them.

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::error::Category;
use serde_json::value::RawValue;
use std::fmt;

/// A text that is JSON.
pub struct Document<'a> {
    text: &'a str,
    root: &'a RawValue,
    value: Value,
}

/// A value in a document, and how one gets there.
#[derive(Clone, Debug)]
pub struct Node<'a> {
    raw: &'a RawValue,
    /// The keys and indices that lead here, for instance `services[1].interfaces[0]`; empty for the root.
    pub path: String,
    /// The line it begins in, from 1.
    pub line: usize,
    text: &'a str,
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
        let value = serde_json::from_str(text).map_err(|error| SyntaxError::new(text, &error))?;
        Ok(Self { text, root, value })
    }

    /// The whole on one line, with `***` for what is secret by its key's name.
    pub fn shown(&self) -> String {
        let mut value = self.value.clone();
        hide_secrets(&mut value);
        value.to_string()
    }

    /// The outermost value.
    pub fn root(&self) -> Node<'a> {
        Node::new(self.text, self.root, String::new())
    }
}

fn hide_secrets(value: &mut Value) {
    const SECRET: [&str; 3] = ["token", "password", "secret"];
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                let key = key.to_lowercase();
                match SECRET.iter().any(|word| key.contains(word)) {
                    true => *value = "***".into(),
                    false => hide_secrets(value),
                }
            }
        }
        Value::Array(elements) => elements.iter_mut().for_each(hide_secrets),
        _ => {}
    }
}

impl<'a> Node<'a> {
    fn new(text: &'a str, raw: &'a RawValue, path: String) -> Self {
        // `raw` is a part of `text`.
        let offset = raw.get().as_ptr() as usize - text.as_ptr() as usize;
        let line = text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
        Self {
            raw,
            path,
            line,
            text,
        }
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

    /// The value as written, cut where it is long.
    pub fn as_written(&self) -> String {
        const MOST: usize = 60;
        let text = self.raw.get();
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
    pub fn elements(&self) -> Option<Vec<Self>> {
        let elements: Vec<&'a RawValue> = serde_json::from_str(self.raw.get()).ok()?;
        let node = |(index, raw)| Self::new(self.text, raw, format!("{}[{index}]", self.path));
        Some(elements.into_iter().enumerate().map(node).collect())
    }

    /// The members of the object it is, in the order written, if it is one.
    pub fn members(&self) -> Option<Vec<(String, Self)>> {
        let mut json = serde_json::Deserializer::from_str(self.raw.get());
        let members = json.deserialize_map(Members).ok()?;
        let dot = if self.path.is_empty() { "" } else { "." };
        let node = |(key, raw): (String, &'a RawValue)| {
            let path = format!("{}{dot}{key}", self.path);
            (key, Self::new(self.text, raw, path))
        };
        Some(members.into_iter().map(node).collect())
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

/// Where a text stops being JSON, and why (behaviour-v2.md 2.9).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    line: usize,
    column: usize,
    cause: String,
    shown: Vec<String>,
    extra_comma: bool,
}

impl SyntaxError {
    fn new(text: &str, error: &serde_json::Error) -> Self {
        let lines: Vec<&str> = text.split('\n').collect();
        let (line, column) = place(text, error);
        let numbered = |line: usize| lines.get(line - 1).map(|text| format!("{line:5}: {text}"));
        let shown = (line.saturating_sub(1).max(1)..=line)
            .filter_map(numbered)
            .collect();
        let before: usize = lines.iter().take(line - 1).map(|line| line.len() + 1).sum();
        let offset = before + column.saturating_sub(1);
        let offending = text.get(offset..).and_then(|rest| rest.chars().next());
        let last = text
            .get(..offset)
            .and_then(|read| read.trim_end().chars().next_back());
        let ended = error.classify() == Category::Eof;
        Self {
            line,
            column,
            cause: cause(error, offending.filter(|_| !ended), last),
            shown,
            extra_comma: !ended && matches!(offending, Some(']' | '}')) && last == Some(','),
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
        write!(f, "{}^", "-".repeat(6 + self.column))?;
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
        let (_, services) = document.root().members().unwrap().remove(0);
        let second = services.elements().unwrap().remove(1);
        let (_, name) = second.members().unwrap().remove(0);
        assert_eq!(
            (name.path.as_str(), name.line, name.kind()),
            ("services[1].name", 5, Kind::Number)
        );
    }

    #[test]
    fn secrets_are_not_shown() {
        let text = r#"{"consul": {"address": "c:1", "token": "hidden"}, "list": [{"Password": ["hidden"]}]}"#;
        let shown = Document::parse(text).unwrap().shown();
        assert_eq!(
            shown,
            r#"{"consul":{"address":"c:1","token":"***"},"list":[{"Password":"***"}]}"#
        );
    }

    #[test]
    fn deep_nesting_is_refused_and_does_not_overflow() {
        assert!(Document::parse(&"[".repeat(100_000)).is_err());
    }
}
