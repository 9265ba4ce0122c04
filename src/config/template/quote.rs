//! Text in quotes, as Go writes it.
//!
//! Error messages and the verb `%q` show text this way: what cannot be printed is escaped, so that
//! a line stays a line. Reading quoted text is the business of `literal`.

/// The text in double quotes; with `ascii_only` everything else is escaped too.
pub(super) fn quote(text: &str, ascii_only: bool) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        push_escaped(&mut quoted, character, '"', ascii_only);
    }
    quoted + "\""
}

/// The character in single quotes.
pub(super) fn quote_character(character: char, ascii_only: bool) -> String {
    let mut quoted = String::from("'");
    push_escaped(&mut quoted, character, '\'', ascii_only);
    quoted + "'"
}

/// Whether the text can stand between back quotes as it is.
pub(super) fn fits_back_quotes(text: &str) -> bool {
    let spoils = |character: char| {
        matches!(character, '`' | '\u{7f}' | '\u{feff}') || (character < ' ' && character != '\t')
    };
    !text.contains(spoils)
}

/// Whether a reader sees the character; of white space only the plain space counts.
pub(super) fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return matches!(character, ' '..='~');
    }
    // Only the first character of text is escaped for being a combining mark, hence the letter.
    let mut text = String::from("a");
    text.push(character);
    text.escape_debug().count() == 2
}

fn push_escaped(quoted: &mut String, character: char, delimiter: char, ascii_only: bool) {
    let short = match character {
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\u{b}' => 'v',
        '\\' => '\\',
        _ if character == delimiter => delimiter,
        _ if is_printable(character) && (character.is_ascii() || !ascii_only) => {
            return quoted.push(character);
        }
        _ => return quoted.push_str(&numeric_escape(character)),
    };
    quoted.extend(['\\', short]);
}

fn numeric_escape(character: char) -> String {
    match u32::from(character) {
        number @ (0..0x20 | 0x7f) => format!("\\x{number:02x}"),
        number @ 0x1_0000.. => format!("\\U{number:08x}"),
        number => format!("\\u{number:04x}"),
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
