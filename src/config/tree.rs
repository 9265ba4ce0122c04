//! A configuration as a tree of values, each with its place in the text.
//!
//! The tree is what parsers make and front ends read: it holds what JSON, JSON5 and YAML have in common and
//! nothing of the parser that made it. Spans are offsets in bytes into the rendered text.

use std::borrow::Cow;
use std::ops::Range;

/// Where something stands in the text, in bytes.
pub type Span = Range<usize>;

/// Values that one configuration may have (docs/bounds.md).
pub const MOST_VALUES: usize = 500_000;

/// Lists and objects that may enclose one another (docs/bounds.md).
pub const DEEPEST: usize = 127;

/// Characters of a key that messages show (docs/bounds.md).
pub const LONGEST_KEY: usize = 100;

/// A text and the tree that was parsed from it.
#[derive(Debug)]
pub struct Document<'t> {
    /// The rendered text, which spans refer to.
    pub text: &'t str,
    /// The outermost value.
    pub root: Value<'t>,
}

/// A value and its place.
#[derive(Clone, Debug, PartialEq)]
pub struct Value<'t> {
    /// From its first byte to behind its last one.
    pub span: Span,
    /// What it is.
    pub data: Data<'t>,
}

/// What a value is.
#[derive(Clone, Debug, PartialEq)]
pub enum Data<'t> {
    /// Nothing; a key with it counts as absent.
    Null,
    /// True or false.
    Boolean(bool),
    /// A number, as it is written.
    Number(&'t str),
    /// A string, without quotes and escapes.
    String(Cow<'t, str>),
    /// A list.
    List(Vec<Value<'t>>),
    /// Keys and values, in the order of the text; a key may occur more than once.
    Object(Vec<Member<'t>>),
}

/// A key of an object and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Member<'t> {
    /// The key, without quotes and escapes.
    pub key: Cow<'t, str>,
    /// Where the key stands.
    pub key_span: Span,
    /// The value.
    pub value: Value<'t>,
}

/// What problems are reported about: a value, or a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the caret stands under.
    pub span: Span,
    /// Where the value begins, by which its path is found.
    pub value: usize,
}

impl From<&Value<'_>> for Place {
    /// A list or an object is shown by its first character.
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
    /// Whether it is null.
    pub fn is_null(&self) -> bool {
        self.data == Data::Null
    }

    /// The string it is, if it is one.
    pub fn string(&self) -> Option<&str> {
        match &self.data {
            Data::String(text) => Some(text),
            _ => None,
        }
    }

    /// The number it is, as written, if it is one.
    pub fn number(&self) -> Option<&'t str> {
        match self.data {
            Data::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The boolean it is, if it is one.
    pub fn boolean(&self) -> Option<bool> {
        match self.data {
            Data::Boolean(boolean) => Some(boolean),
            _ => None,
        }
    }

    /// The keys and indices that lead from here to the value that begins at `start`, for instance
    /// `services[1].interfaces[0]`; empty for the value itself.
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
    fn a_path_leads_to_each_value() {
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
    fn a_long_key_is_shown_by_its_beginning() {
        assert_eq!(shortened(&"k".repeat(LONGEST_KEY)).len(), LONGEST_KEY);
        assert_eq!(shortened(&"é".repeat(200)).chars().count(), LONGEST_KEY + 3);
    }
}
