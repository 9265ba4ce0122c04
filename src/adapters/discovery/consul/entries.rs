//! Divides an answer of Consul into the entries of its outermost array or object, piece by piece as it arrives.
//!
//! At most one entry is stored as text, and no step takes long. An entry beyond a limit is dropped and reported.

use std::fmt;

/// What the outermost brackets of an answer are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outermost {
    /// `[` and `]`.
    Array,
    /// `{` and `}`.
    Object,
}

/// An entry of the answer: an item of the array, or a member of the object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry<'t> {
    /// Its text.
    Text(&'t [u8]),
    /// It is longer than the limit. This is reported as soon as it is, and once.
    TooLong,
}

/// Why a text has no entries; a part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken(pub(super) String);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The position of the next byte in the outermost array or object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Position {
    /// Before its opening bracket.
    #[default]
    Before,
    /// After its opening bracket: an entry or the end follows.
    Begun,
    /// After a comma: an entry follows.
    Between,
    /// In an entry.
    Within,
    /// After its closing bracket.
    Behind,
}

/// Divides a text.
#[derive(Debug)]
pub(super) struct Splitter {
    outermost: Outermost,
    /// The longest entry, in bytes.
    limit: usize,
    position: Position,
    entry: Vec<u8>,
    is_too_long: bool,
    /// How many brackets and braces of the entry are open.
    depth: usize,
    /// Whether the next byte is in a string of the entry; and whether a backslash precedes it.
    quoted: bool,
    escaped: bool,
}

impl Splitter {
    /// Divides an array or an object whose entries have at most that many bytes.
    pub fn new(outermost: Outermost, limit: usize) -> Self {
        Self {
            outermost,
            limit,
            position: Position::default(),
            entry: Vec::new(),
            is_too_long: false,
            depth: 0,
            quoted: false,
            escaped: false,
        }
    }

    /// Takes another piece of the text, and calls `each` with every entry that ends in it.
    ///
    /// # Errors
    /// The text is no array or object, or `each` fails.
    pub fn take<E: From<Broken>>(
        &mut self,
        piece: &[u8],
        mut each: impl FnMut(Entry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        piece.iter().try_for_each(|byte| self.step(*byte, &mut each))
    }

    /// The text is complete.
    ///
    /// # Errors
    /// It is not.
    pub fn finish(&self) -> Result<(), Broken> {
        match self.position {
            Position::Behind => Ok(()),
            _ => Err(Broken("it ends too early".into())),
        }
    }

    fn step<E: From<Broken>>(
        &mut self,
        byte: u8,
        each: &mut impl FnMut(Entry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match (self.position, byte) {
            (Position::Within, byte) => return self.within(byte, each),
            (_, b' ' | b'\t' | b'\n' | b'\r') => {}
            (Position::Before, byte) if byte == self.opening() => self.position = Position::Begun,
            (Position::Begun, byte) if byte == self.closing() => self.position = Position::Behind,
            (Position::Begun | Position::Between, byte) if !matches!(byte, b',' | b']' | b'}') => {
                self.position = Position::Within;
                return self.within(byte, each);
            }
            (_, byte) => return Err(self.unexpected(byte).into()),
        }
        Ok(())
    }

    /// Takes a byte of an entry, or the one that ends it.
    fn within<E: From<Broken>>(
        &mut self,
        byte: u8,
        each: &mut impl FnMut(Entry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if self.quoted {
            self.quoted = self.escaped || byte != b'"';
            self.escaped = !self.escaped && byte == b'\\';
        } else {
            match byte {
                b'"' => self.quoted = true,
                b'{' | b'[' => self.depth += 1,
                byte if self.depth == 0 && (byte == b',' || byte == self.closing()) => {
                    return self.end_of_entry(byte, each);
                }
                b'}' | b']' => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        if self.entry.len() < self.limit {
            self.entry.push(byte);
        } else if !std::mem::replace(&mut self.is_too_long, true) {
            return each(Entry::TooLong);
        }
        Ok(())
    }

    fn end_of_entry<E>(
        &mut self,
        byte: u8,
        each: &mut impl FnMut(Entry<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.position = if byte == b',' {
            Position::Between
        } else {
            Position::Behind
        };
        if !std::mem::take(&mut self.is_too_long) {
            each(Entry::Text(&self.entry))?;
        }
        self.entry.clear();
        Ok(())
    }

    fn opening(&self) -> u8 {
        match self.outermost {
            Outermost::Array => b'[',
            Outermost::Object => b'{',
        }
    }

    fn closing(&self) -> u8 {
        match self.outermost {
            Outermost::Array => b']',
            Outermost::Object => b'}',
        }
    }

    fn unexpected(&self, byte: u8) -> Broken {
        let expected = match self.position {
            Position::Before => format!("'{}'", char::from(self.opening())),
            Position::Begun => format!("an entry or '{}'", char::from(self.closing())),
            Position::Between | Position::Within => "an entry".into(),
            Position::Behind => "nothing more".into(),
        };
        Broken(format!("found '{}', expected {expected}", byte.escape_ascii()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The entries of a text that arrives in pieces of this length.
    fn entries(outermost: Outermost, text: &str, piece: usize) -> Result<Vec<String>, Broken> {
        let mut splitter = Splitter::new(outermost, 20);
        let mut found = Vec::new();
        for piece in text.as_bytes().chunks(piece) {
            splitter.take(piece, |entry| {
                found.push(match entry {
                    Entry::Text(text) => String::from_utf8_lossy(text).into_owned(),
                    Entry::TooLong => "too long".into(),
                });
                Ok::<_, Broken>(())
            })?;
        }
        splitter.finish().map(|()| found)
    }

    #[test]
    fn an_object_is_divided_into_its_members() {
        let text = r#" {"a": ["x,}"], "b\"": {"c": []},"too long": "12345678901234567890", "d":1} "#;
        let expected = [r#""a": ["x,}"]"#, r#""b\"": {"c": []}"#, "too long", r#""d":1"#];
        for piece in 1..text.len() {
            assert_eq!(
                entries(Outermost::Object, text, piece).unwrap(),
                expected,
                "{piece}"
            );
        }
        assert_eq!(entries(Outermost::Object, "{}", 1), Ok(vec![]));
        for broken in ["", "[]", "{", "{\"a\": 1", "{,}", "{]", "{\"a\": 1}}"] {
            assert!(entries(Outermost::Object, broken, 1).is_err(), "{broken}");
        }
    }
}
