//! A configuration as a tree of values, each with its position in the text.
//!
//! Parsers produce the tree and front ends read it. It contains what JSON, JSON5 and YAML have in common, and
//! nothing that depends on a parser. Spans are byte offsets in the rendered text.

use std::borrow::Cow;
use std::ops::Range;

/// A range of byte offsets in the text.
pub type Span = Range<usize>;

/// The limit on values in one configuration (docs/bounds.md).
pub const MOST_VALUES: usize = 500_000;

/// How deep lists and objects may be nested (docs/bounds.md).
pub const DEEPEST: usize = 127;

/// How many characters of a key messages show (docs/bounds.md).
pub const LONGEST_KEY: usize = 100;

/// A text and the tree that was parsed from it.
#[derive(Debug)]
pub struct Document<'t> {
    /// The rendered text, which spans refer to.
    pub text: &'t str,
    /// The outermost value.
    pub root: Value<'t>,
}

/// A value and its span.
#[derive(Clone, Debug, PartialEq)]
pub struct Value<'t> {
    /// From its first byte to the byte after its last one.
    pub span: Span,
    /// The data.
    pub data: Data<'t>,
}

/// The data of a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Data<'t> {
    /// Null; a key with it counts as absent.
    Null,
    /// True or false.
    Boolean(bool),
    /// A number, as it is written.
    Number(&'t str),
    /// A string, with its escapes resolved.
    String(Cow<'t, str>),
    /// A list.
    List(Vec<Value<'t>>),
    /// Keys and values, in the order of the text; a key may occur more than once.
    Object(Vec<Member<'t>>),
}

/// A key of an object and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Member<'t> {
    /// The key, with its escapes resolved.
    pub key: Cow<'t, str>,
    /// The span of the key.
    pub key_span: Span,
    /// The value.
    pub value: Value<'t>,
}

/// The subject of a problem: a value, or a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The span under which the caret is shown.
    pub span: Span,
    /// The offset at which the value begins, from which its path is determined.
    pub value: usize,
}

impl From<&Value<'_>> for Place {
    /// A list or an object is marked at its first character.
    fn from(value: &Value<'_>) -> Self {
        let Span { start, end } = value.span;
        let end = match value.data {
            Data::List(_) | Data::Object(_) => start + 1,
            _ => end,
        };
        Self {
            span: start..end,
            value: start,
        }
    }
}

impl From<&Member<'_>> for Place {
    /// The key.
    fn from(member: &Member<'_>) -> Self {
        Self {
            span: member.key_span.clone(),
            value: member.value.span.start,
        }
    }
}

impl<'t> Value<'t> {
    /// Whether the value is null.
    pub fn is_null(&self) -> bool {
        self.data == Data::Null
    }

    /// The string, if the value is one.
    pub fn string(&self) -> Option<&str> {
        match &self.data {
            Data::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number as written, if the value is one.
    pub fn number(&self) -> Option<&'t str> {
        match self.data {
            Data::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The boolean, if the value is one.
    pub fn boolean(&self) -> Option<bool> {
        match self.data {
            Data::Boolean(boolean) => Some(boolean),
            _ => None,
        }
    }

    /// The keys and indices that lead from this value to the one that begins at `start`, for instance
    /// `services[1].interfaces[0]`; empty for this value itself.
    pub fn path_to(&self, start: usize) -> String {
        let mut path = String::new();
        let mut value = self;
        while value.span.start != start {
            value = match &value.data {
                Data::List(elements) => {
                    let after = elements.partition_point(|element| element.span.start <= start);
                    let Some(index) = after.checked_sub(1) else { break };
                    path.push_str(&format!("[{index}]"));
                    &elements[index]
                }
                Data::Object(members) => {
                    let after = members.partition_point(|member| member.value.span.start <= start);
                    let Some(index) = after.checked_sub(1) else { break };
                    let member = &members[index];
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&shortened(&member.key));
                    &member.value
                }
                _ => break,
            };
        }
        path
    }
}

/// A key as messages show it.
pub fn shortened(key: &str) -> Cow<'_, str> {
    match key.char_indices().nth(LONGEST_KEY) {
        Some((end, _)) => format!("{}...", &key[..end]).into(),
        None => key.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::json;

    #[test]
    fn each_value_has_a_path() {
        let text = r#"{"a": [1, {"b": [], "c": {"d": null}}], "e": "x"}"#;
        let root = json::parse(text).unwrap();
        for (part, path) in [
            ("{\"a\"", ""),
            ("[1", "a"),
            ("1", "a[0]"),
            ("{\"b\"", "a[1]"),
            ("[]", "a[1].b"),
            ("null", "a[1].c.d"),
            ("\"x\"", "e"),
        ] {
            assert_eq!(root.path_to(text.find(part).unwrap()), path, "{part}");
        }
    }

    #[test]
    fn the_beginning_of_a_long_key_is_shown() {
        assert_eq!(shortened(&"k".repeat(LONGEST_KEY)).len(), LONGEST_KEY);
        assert_eq!(shortened(&"é".repeat(200)).chars().count(), LONGEST_KEY + 3);
    }
}
