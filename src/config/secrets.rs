//! What of a configuration is secret, and how a text is shown without it.
//!
//! A value is secret if its key names one (`token`, `Password`, `CONSUL_CLIENT_KEY`, `--auth-token`), and so is
//! the user information of a URL. A text is looked at as far as it is JSON; where it stops being JSON, more is
//! hidden rather than less. Decides only what is shown; a configuration means the same with or without it.

use crate::cause::{user_information, without_user_information};
use std::ops::Range;

/// What stands in place of a secret.
const HIDDEN: &str = "***";

/// Parts of keys that name secrets, without capitals, dashes and underscores.
const WORDS: [&str; 11] = [
    "token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "authorization",
    "credential",
    "apikey",
    "accesskey",
    "clientkey",
    "privatekey",
];

/// Characters of a line of an excerpt that are shown before the offending one, and from it on.
const BEFORE: usize = 60;
const AFTER: usize = 40;

/// Whether what stands under this name is secret.
fn names_secret(name: &str) -> bool {
    let letters = name.chars().filter(|letter| letter.is_ascii_alphanumeric());
    let plain: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    WORDS.iter().any(|word| plain.contains(word))
}

/// What is shown of a value, as written, that stands under the last key of a path.
pub fn value_of(path: &str, written: &str) -> String {
    let key = path.rsplit('.').next().unwrap_or_default();
    match names_secret(key) {
        true => HIDDEN.into(),
        false => written.into(),
    }
}

/// A JSON text on one line, as written otherwise, with `***` for its secrets.
pub fn on_one_line(json: &str) -> String {
    let mut line = String::with_capacity(json.len());
    let mut reader = Reader::default();
    reader.read(json, json.len(), |piece, range| match piece {
        Piece::Space => {}
        Piece::Shown => line.push_str(&json[range]),
        Piece::Hidden => line.push_str(HIDDEN),
        Piece::HiddenLiteral => line.extend(["\"", HIDDEN, "\""]),
    });
    line
}

/// The lines around a place in a text that is not JSON, for operators to look at.
pub struct Excerpt {
    /// The line before, if there is one, and the line itself.
    pub lines: Vec<String>,
    /// How many characters of the last line stand before the place.
    pub caret: usize,
}

impl Excerpt {
    /// The excerpt around `offset`, up to which the text is JSON. The line before begins at `start`, its own at
    /// `start_of_line`, which is the same if it is the first.
    pub fn of(text: &str, start: usize, start_of_line: usize, offset: usize) -> Self {
        let offset = floor(text, offset);
        let line_before = start..start_of_line.saturating_sub(1).max(start);
        let line = start_of_line..offset;
        let (mut above, mut before) = (String::new(), String::new());
        let mut reader = Reader::default();
        reader.read(text, offset, |piece, range| {
            push(&mut above, text, piece, &range, &line_before);
            push(&mut before, text, piece, &range, &line);
        });
        let before = last(&before, BEFORE);
        let caret = before.chars().count();
        let after = reader.unread(text, offset);
        let above = (start < start_of_line).then(|| first(&above, BEFORE + AFTER));
        Self {
            lines: above
                .into_iter()
                .chain([before + &first(&after, AFTER)])
                .collect(),
            caret,
        }
    }
}

/// Adds the part of a piece that lies in a line.
fn push(shown: &mut String, text: &str, piece: Piece, range: &Range<usize>, line: &Range<usize>) {
    let part = range.start.max(line.start)..range.end.min(line.end);
    if part.is_empty() {
        return;
    }
    match piece {
        Piece::Space | Piece::Shown => shown.push_str(&text[part]),
        Piece::Hidden | Piece::HiddenLiteral => shown.push_str(HIDDEN),
    }
}

fn first(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn last(text: &str, most: usize) -> String {
    match most
        .checked_sub(1)
        .and_then(|most| text.char_indices().rev().nth(most))
    {
        Some((start, _)) if start > 0 => format!("...{}", &text[start..]),
        _ => text.to_owned(),
    }
}

/// The nearest place at or before this one where a character begins.
pub fn floor(text: &str, offset: usize) -> usize {
    let offset = offset.min(text.len());
    (0..=offset)
        .rev()
        .find(|at| text.is_char_boundary(*at))
        .unwrap_or_default()
}

/// How a piece of a text is shown.
#[derive(Clone, Copy, PartialEq)]
enum Piece {
    /// White space between tokens.
    Space,
    Shown,
    /// Hidden inside a string.
    Hidden,
    /// Hidden, and no string.
    HiddenLiteral,
}

/// Reads JSON token by token, and knows whether the next value is secret.
#[derive(Default)]
struct Reader {
    /// For each array or object that is open, whether it is secret.
    open: Vec<bool>,
    /// The last string named a secret, so the next value is one.
    named: bool,
    /// The last token of this line was a secret.
    was_secret: bool,
}

impl Reader {
    /// Reads up to `end`, and gives every byte to `show` in one piece or another.
    fn read(&mut self, text: &str, end: usize, mut show: impl FnMut(Piece, Range<usize>)) {
        let bytes = &text.as_bytes()[..end];
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            let length = match byte {
                b'"' => self.string(text, at..end, &mut show),
                b' ' | b'\t' | b'\r' | b'\n' => {
                    self.was_secret &= *byte != b'\n';
                    show(Piece::Space, at..at + 1);
                    1
                }
                b',' | b':' | b'[' | b'{' | b']' | b'}' => {
                    self.punctuation(*byte);
                    show(Piece::Shown, at..at + 1);
                    1
                }
                _ => self.literal(bytes, at, &mut show),
            };
            at += length;
        }
    }

    fn is_secret(&self) -> bool {
        self.named || self.open.last() == Some(&true)
    }

    fn punctuation(&mut self, byte: u8) {
        match byte {
            b'[' | b'{' => {
                self.open.push(self.is_secret());
                self.named = false;
            }
            b']' | b'}' => {
                self.open.pop();
            }
            _ => {}
        }
        self.was_secret &= byte == b':';
    }

    fn string(
        &mut self,
        text: &str,
        range: Range<usize>,
        show: &mut impl FnMut(Piece, Range<usize>),
    ) -> usize {
        let start = range.start + 1;
        let inside = closing_quote(&text.as_bytes()[start..range.end]);
        let end = inside.map_or(range.end, |length| start + length);
        show(Piece::Shown, range.start..start);
        self.was_secret = self.is_secret();
        let content = &text[start..end];
        if self.was_secret {
            show(Piece::Hidden, start..end);
            self.named = inside.is_none();
        } else if names_secret(content) {
            // Of `--token=value` the name is shown.
            let shown = content.find('=').map_or(content.len(), |equals| equals + 1);
            show(Piece::Shown, start..start + shown);
            if shown < content.len() {
                show(Piece::Hidden, start + shown..end);
            }
            self.named = shown == content.len();
        } else {
            pieces_around_user_information(content, start, show);
        }
        if inside.is_some() {
            show(Piece::Shown, end..end + 1);
        }
        end + usize::from(inside.is_some()) - range.start
    }

    fn literal(&mut self, bytes: &[u8], start: usize, show: &mut impl FnMut(Piece, Range<usize>)) -> usize {
        let is_end = |byte: &u8| b" \t\r\n,:[]{}\"".contains(byte);
        let length = bytes[start..].iter().position(is_end);
        let end = length.map_or(bytes.len(), |length| start + length);
        self.was_secret = self.is_secret();
        let piece = if self.was_secret {
            Piece::HiddenLiteral
        } else {
            Piece::Shown
        };
        show(piece, start..end);
        self.named &= length.is_none();
        end - start
    }

    /// What follows in the line of `offset`, which is no JSON: nothing of it that may be a secret.
    fn unread(&self, text: &str, offset: usize) -> String {
        let rest = &text[offset..];
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        // A few characters more than are shown decide.
        let seen = floor(line, 8 * AFTER);
        let line = &line[..seen];
        if line.is_empty() || self.is_secret() || self.was_secret {
            return if line.is_empty() {
                String::new()
            } else {
                HIDDEN.into()
            };
        }
        let mut words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && !"_-.".contains(letter));
        let named = words.find(|word| names_secret(word));
        let hidden = named.map(|word| word.as_ptr() as usize - line.as_ptr() as usize + word.len());
        match hidden {
            Some(end) if end < line.len() => without_user_information(&line[..end]) + HIDDEN,
            _ => without_user_information(line),
        }
    }
}

/// How far the quote that ends a string is away.
fn closing_quote(bytes: &[u8]) -> Option<usize> {
    let mut escaped = false;
    bytes.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })
}

/// Shows a text that begins at `start` without what stands before the `@` of a URL, or of `user:password@host`.
fn pieces_around_user_information(text: &str, start: usize, show: &mut impl FnMut(Piece, Range<usize>)) {
    let mut from = 0;
    for word in text.split([' ', ',', '"', '\'']) {
        let begin = word.as_ptr() as usize - text.as_ptr() as usize;
        if let Some(hidden) = user_information(word) {
            show(Piece::Shown, start + from..start + begin + hidden.start);
            show(
                Piece::Hidden,
                start + begin + hidden.start..start + begin + hidden.end,
            );
            from = begin + hidden.end;
        }
    }
    show(Piece::Shown, start + from..start + text.len());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excerpt(text: &str, offset: usize) -> Excerpt {
        let line = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let before = text[..line.saturating_sub(1)]
            .rfind('\n')
            .map_or(0, |newline| newline + 1);
        Excerpt::of(text, if line == 0 { 0 } else { before }, line, offset)
    }

    #[test]
    fn keys_that_name_secrets_are_known_in_any_form() {
        for key in [
            "token",
            "Password",
            "CONSUL_HTTP_TOKEN",
            "clientkey",
            "CONSUL_CLIENT_KEY",
            "--auth-token",
            "Authorization",
            "api.key",
        ] {
            assert!(names_secret(key), "{key}");
        }
        for key in ["name", "interfaces", "tags", "keys", "address"] {
            assert!(!names_secret(key), "{key}");
        }
    }

    #[test]
    fn secrets_are_hidden_wherever_they_stand() {
        let table = [
            (r#"{"token": "x", "a": 1}"#, r#"{"token":"***","a":1}"#),
            (
                r#"{ "secret" : [1, "x", {"a": "y"}] }"#,
                r#"{"secret":["***","***",{"***":"***"}]}"#,
            ),
            (
                r#"["app", "--token", "x", "-v"]"#,
                r#"["app","--token","***","-v"]"#,
            ),
            (r#"["--password=x y", "-v"]"#, r#"["--password=***","-v"]"#),
            (r#"{"a": "http://u:p@h:1/x"}"#, r#"{"a":"http://***@h:1/x"}"#),
            (
                r#"{"a": "u:p@h:1 http://h/ b@c"}"#,
                r#"{"a":"***@h:1 http://h/ b@c"}"#,
            ),
            (r#"{"token": "a\"b"}"#, r#"{"token":"***"}"#),
        ];
        for (text, shown) in table {
            assert_eq!(on_one_line(text), shown, "{text}");
            assert!(
                serde_json::from_str::<serde_json::Value>(&on_one_line(text)).is_ok(),
                "{text}"
            );
        }
    }

    #[test]
    fn an_excerpt_hides_secrets_before_and_after_the_caret() {
        let table = [
            (r#"{"token": "s3cr3t" "a": 1}"#, r#""a""#),
            (r#"{"token": s3cr3t, "a": 1}"#, "s3"),
            (r#"{"token" "s3cr3t"}"#, r#""s3"#),
            (r#"{"token": "s3cr3t"s3cr3t"}"#, r#"s3cr3t"}"#),
            (r#"{"token": 53s3cr3t}"#, "s3cr3t}"),
            (r#"{token: "s3cr3t"}"#, "token"),
            (r#"{"a": 1 "token": "s3cr3t"}"#, r#""token"#),
            (r#"{"a": "http://u:s3cr3t@h" "b": 1}"#, r#""b""#),
            ("{\"token\":\n\"s3cr3t\"\n\"b\": 1}", "\"b\""),
            (
                "{\"token\": \"s3cr3t\"\n\"token\": \"s3cr3t\"}",
                "\"token\": \"s3cr3t\"}",
            ),
            ("{\"tokens\": [\n\"s3cr3t\",\ns3cr3t]}", "s3cr3t]"),
        ];
        for (text, rest) in table {
            let excerpt = excerpt(text, text.rfind(rest).unwrap());
            for line in &excerpt.lines {
                assert!(!line.contains("s3"), "{text}: {line}");
            }
            assert!(excerpt.lines.len() < 3);
        }
    }

    #[test]
    fn an_excerpt_is_a_window_around_the_caret() {
        let long = format!(
            "{{\"a\": \"{}\" x \"{}\"}}",
            "é".repeat(1_000_000),
            "é".repeat(1_000_000)
        );
        let excerpt = excerpt(&long, long.find('x').unwrap());
        let line = &excerpt.lines[0];
        assert!(
            line.chars().count() < 110 && line.chars().nth(excerpt.caret) == Some('x'),
            "{line}"
        );
    }
}
