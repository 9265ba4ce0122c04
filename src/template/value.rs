//! The values in templates.
//!
//! They are the few kinds that text, numbers and configuration need. Containers have the declared type of
//! their contents, because Go's results depend on it: a missing entry of a map of strings is the empty
//! string, one of a map of any type is no value; and a list of any type is not a list of strings. Text and
//! containers are shared, so copies are cheap.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

/// The variables of the environment by name.
pub(crate) type Environment = BTreeMap<String, String>;

/// A function's result, or an error message.
pub(crate) type Outcome = Result<Value, String>;

/// A value of the dot, a variable or an argument.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// No value.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A byte, the result of indexing text.
    Byte(u8),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(Arc<str>),
    /// An ordered list.
    List(List),
    /// A sorted map.
    Map(Map),
}

/// A list with the declared type of its items.
#[derive(Clone, Debug, PartialEq)]
pub struct List {
    /// The declared type of the items.
    pub element: Type,
    /// The items in order.
    pub items: Arc<[Value]>,
}

/// A map with the declared types of its keys and entries.
#[derive(Clone, Debug, PartialEq)]
pub struct Map {
    /// The declared type of the keys.
    pub key: Type,
    /// The declared type of the entries.
    pub element: Type,
    /// The entries, sorted by key.
    pub entries: Arc<BTreeMap<Key, Value>>,
}

/// The key of an entry in a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A whole number.
    Int(i64),
    /// Text.
    Text(Arc<str>),
}

/// The declared type of a container's contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Anything, nil included.
    Any,
    /// True or false.
    Bool,
    /// A whole number.
    Int,
    /// A floating-point number.
    Float,
    /// Text.
    Text,
    /// The names of a structure's fields, as the keys of its map: a name that it lacks is an error.
    Field,
}

impl Value {
    /// Text.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// A list of items of one type.
    pub fn list(element: Type, items: impl IntoIterator<Item = Value>) -> Self {
        let items = items.into_iter().collect();
        Self::List(List { element, items })
    }

    /// A map from text to entries of one type.
    pub fn map(element: Type, entries: impl IntoIterator<Item = (String, Value)>) -> Self {
        let entries = entries
            .into_iter()
            .map(|(key, value)| (Key::Text(key.into()), value));
        Self::keyed_map(Type::Text, element, entries)
    }

    /// A map from keys to entries of one type.
    pub fn keyed_map(key: Type, element: Type, entries: impl IntoIterator<Item = (Key, Value)>) -> Self {
        // One after the other: `collect` would sort them, with code for each type of iterator.
        let mut map = BTreeMap::new();
        for (key, value) in entries {
            map.insert(key, value);
        }
        let entries = Arc::new(map);
        Self::Map(Map {
            key,
            element,
            entries,
        })
    }

    /// A structure: a map whose fields are fixed.
    pub fn structure(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let fields = fields
            .into_iter()
            .map(|(name, value)| (Key::Text(name.into()), value));
        Self::keyed_map(Type::Field, Type::Any, fields)
    }

    /// Whether a condition regards the value as true: it is not nil, zero or empty.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) => *value != 0,
            Self::Byte(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(value) => !value.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
        }
    }

    /// The name of the value's type.
    pub(crate) fn type_name(&self) -> String {
        match self {
            Self::Nil => Type::Any.name().to_owned(),
            Self::Bool(_) => Type::Bool.name().to_owned(),
            Self::Int(_) => Type::Int.name().to_owned(),
            Self::Byte(_) => "uint8".to_owned(),
            Self::Float(_) => Type::Float.name().to_owned(),
            Self::Text(_) => Type::Text.name().to_owned(),
            Self::List(list) => format!("[]{}", list.element.name()),
            Self::Map(map) if map.key == Type::Field => "struct".to_owned(),
            Self::Map(map) => format!("map[{}]{}", map.key.name(), map.element.name()),
        }
    }
}

impl Map {
    /// The entry for `key`; if there is none, the value that Go returns for such a map.
    pub(crate) fn entry(&self, key: &Key) -> Value {
        self.entries
            .get(key)
            .cloned()
            .unwrap_or_else(|| self.element.zero())
    }
}

impl Key {
    /// The key as a value.
    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Int(number) => Value::Int(*number),
            Self::Text(text) => Value::Text(text.clone()),
        }
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(number) => write!(f, "{number}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Type {
    /// The initial value of a variable of the type.
    fn zero(self) -> Value {
        match self {
            Self::Any | Self::Field => Value::Nil,
            Self::Bool => Value::Bool(false),
            Self::Int => Value::Int(0),
            Self::Float => Value::Float(0.0),
            Self::Text => Value::text(""),
        }
    }

    /// The name Go gives the type.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Any => "interface {}",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Float => "float64",
            Self::Text => "string",
            Self::Field => "field",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_and_empty_are_false() {
        let empty = [
            Value::Nil,
            Value::Bool(false),
            Value::Int(0),
            Value::Byte(0),
            Value::Float(0.0),
            Value::text(""),
            Value::list(Type::Any, []),
            Value::map(Type::Any, []),
        ];
        assert_eq!(empty.iter().filter(|value| value.is_true()).count(), 0);
    }

    #[test]
    fn anything_else_is_true() {
        let full = [
            Value::Bool(true),
            Value::Int(-1),
            Value::Byte(1),
            Value::Float(0.1),
            Value::text("false"),
            Value::list(Type::Any, [Value::Nil]),
        ];
        assert_eq!(full.iter().filter(|value| !value.is_true()).count(), 0);
    }

    #[test]
    fn a_missing_entry_is_the_zero_of_the_declared_type() {
        let missing = |element| match Value::map(element, []) {
            Value::Map(map) => map.entry(&Key::Text("x".into())),
            other => other,
        };
        assert_eq!(missing(Type::Text), Value::text(""));
        assert_eq!(missing(Type::Int), Value::Int(0));
        assert_eq!(missing(Type::Any), Value::Nil);
    }

    #[test]
    fn types_have_go_names() {
        assert_eq!(Value::list(Type::Any, []).type_name(), "[]interface {}");
        assert_eq!(Value::map(Type::Int, []).type_name(), "map[string]int");
        assert_eq!(Value::Byte(1).type_name(), "uint8");
    }
}
