//! Quotes text as Go does.
//!
//! Error messages, the verb `%q` and log entries in Go's format use it: characters that cannot be printed are
//! escaped, so that a quoted text has no line ends. `literal` parses quoted text.

use std::fmt::{Display, Formatter, Result, Write as _};

/// The text in double quotes; with `ascii_only`, all other characters are escaped, too.
pub(crate) fn quote(text: &str, ascii_only: bool) -> String {
    quoted(text.chars(), '"', ascii_only)
}

/// The character in single quotes.
pub(crate) fn quote_character(character: char, ascii_only: bool) -> String {
    quoted([character].into_iter(), '\'', ascii_only)
}

fn quoted(characters: impl Iterator<Item = char>, delimiter: char, ascii_only: bool) -> String {
    let mut quoted = String::from(delimiter);
    for character in characters {
        // Writing to a string cannot fail.
        _ = write!(
            quoted,
            "{}",
            Escaped {
                character,
                delimiter,
                ascii_only
            }
        );
    }
    quoted.push(delimiter);
    quoted
}

/// Whether the text can be written between back quotes unchanged.
pub(crate) fn fits_back_quotes(text: &str) -> bool {
    let spoils = |character: char| {
        matches!(character, '`' | '\u{7f}' | '\u{feff}') || (character < ' ' && character != '\t')
    };
    !text.contains(spoils)
}

/// Whether Go regards the character as printable: letters, marks, numbers, punctuation, symbols and the
/// space.
pub(crate) fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return matches!(character, ' '..='~');
    }
    // `escape_debug` escapes a combining mark only at the start of a text, hence the letter before it.
    let mut buffer = [b'a', 0, 0, 0, 0];
    let length = character.encode_utf8(&mut buffer[1..]).len();
    std::str::from_utf8(&buffer[..=length])
        .is_ok_and(|marked| marked.escape_debug().nth(1) == Some(character))
}

/// One character of a text between quotes of the kind `delimiter`, escaped as Go's `%q` does.
pub fn escaped(character: char, delimiter: char) -> impl Display {
    let ascii_only = false;
    Escaped {
        character,
        delimiter,
        ascii_only,
    }
}

struct Escaped {
    character: char,
    delimiter: char,
    /// Whether every character beyond ASCII is escaped.
    ascii_only: bool,
}

impl Display for Escaped {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> Result {
        let short = match self.character {
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\u{c}' => 'f',
            '\n' => 'n',
            '\r' => 'r',
            '\t' => 't',
            '\u{b}' => 'v',
            '\\' => '\\',
            plain if plain == self.delimiter => plain,
            plain if is_printable(plain) && (plain.is_ascii() || !self.ascii_only) => {
                return write!(formatter, "{plain}");
            }
            other => {
                return match u32::from(other) {
                    number @ (0..0x20 | 0x7f) => write!(formatter, "\\x{number:02x}"),
                    number @ 0x1_0000.. => write!(formatter, "\\U{number:08x}"),
                    number => write!(formatter, "\\u{number:04x}"),
                };
            }
        };
        write!(formatter, "\\{short}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_backslashes_and_control_characters_are_escaped() {
        assert_eq!(quote("a\"b\\c\n\u{1}\u{7f}", false), r#""a\"b\\c\n\x01\x7f""#);
    }

    #[test]
    fn printable_text_is_kept_unless_only_ascii_is_wanted() {
        assert_eq!(quote("hé'💡", false), "\"hé'💡\"");
        assert_eq!(quote("hé💡", true), r#""h\u00e9\U0001f4a1""#);
    }

    #[test]
    fn invisible_characters_are_escaped() {
        assert_eq!(quote("\u{a0}\u{200b}", false), r#""\u00a0\u200b""#);
    }

    #[test]
    fn combining_marks_are_printable() {
        assert!(is_printable('\u{301}'));
    }

    #[test]
    fn a_character_escapes_its_own_quote_only() {
        assert_eq!(quote_character('\'', false), r"'\''");
        assert_eq!(quote_character('"', false), "'\"'");
    }

    #[test]
    fn back_quotes_hold_tabs_but_not_newlines() {
        assert!(fits_back_quotes("a\tb"));
        assert!(!fits_back_quotes("a\nb"));
        assert!(!fits_back_quotes("`"));
    }
}
