//! Finds the secrets in a configuration, and shows a text without them.
//!
//! A value is secret if its key is the name of a secret (`token`, `Password`, `CONSUL_CLIENT_KEY`,
//! `--auth-token`), and so is the user information of a URL. A text is read as JSON; from the place where it
//! stops being JSON, everything that may be secret is hidden. This affects only what is shown, not what the
//! configuration means.

use super::tree::Span;
use crate::cause::user_information;

/// The text that replaces a secret.
const HIDDEN: &str = "***";

/// Parts of keys that are names of secrets, in lower case, without dashes and underscores.
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

/// How many bytes after the place where a text stops being JSON are searched for secrets.
const LOOKED_THROUGH: usize = 512;

/// Whether a value with this key is secret.
fn names_secret(name: &str) -> bool {
    let letters = name.chars().filter(|letter| letter.is_ascii_alphanumeric());
    let plain: String = letters.map(|letter| letter.to_ascii_lowercase()).collect();
    WORDS.iter().any(|word| plain.contains(word))
}

/// A JSON text on one line, otherwise as written, with `***` in place of its secrets.
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

/// The spans of the secrets in a JSON text, in its order.
pub fn hidden(json: &str) -> Vec<Span> {
    hidden_up_to(json, json.len()).0
}

/// The spans of the secrets in a text that is JSON up to `offset` only, in its order. The rest of that line
/// is hidden if it may be secret; the lines after it must not be shown.
pub fn hidden_where_json_ends(text: &str, offset: usize) -> Vec<Span> {
    let (mut hidden, reader) = hidden_up_to(text, offset);
    reader.unread(text, offset, &mut hidden);
    hidden
}

fn hidden_up_to(text: &str, end: usize) -> (Vec<Span>, Reader) {
    let mut hidden = Vec::new();
    let mut reader = Reader::default();
    reader.read(text, end, |piece, range| {
        if matches!(piece, Piece::Hidden | Piece::HiddenLiteral) {
            hidden.push(range);
        }
    });
    (hidden, reader)
}

/// In a line that is not JSON, for example a template: where the first name of a secret, or the first secret,
/// ends. Nothing after it may be shown.
pub fn end_of_harmless(line: &str) -> Option<usize> {
    let mut words = line.split(|letter: char| !letter.is_ascii_alphanumeric() && !"_-.".contains(letter));
    let named = words.find(|word| names_secret(word));
    let named = named.map(|word| word.as_ptr() as usize - line.as_ptr() as usize + word.len());
    let mut user = None;
    pieces_around_user_information(line, 0, &mut |piece, range| {
        if piece == Piece::Hidden {
            user = user.or(Some(range.start));
        }
    });
    named.into_iter().chain(user).min()
}

/// The nearest character boundary at or before this offset.
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
    /// A secret inside a string.
    Hidden,
    /// A secret that is not a string.
    HiddenLiteral,
}

/// Reads JSON token by token, and records whether the next value is secret.
#[derive(Default)]
struct Reader {
    /// For each array or object that is open, whether it is secret.
    open: Vec<bool>,
    /// Whether the last string was the name of a secret, so that the next value is one.
    named: bool,
    /// Whether the last token of this line was a secret.
    was_secret: bool,
}

impl Reader {
    /// Reads up to `end`, and passes every byte to `show` as part of one piece.
    fn read(&mut self, text: &str, end: usize, mut show: impl FnMut(Piece, Span)) {
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

    fn string(&mut self, text: &str, range: Span, show: &mut impl FnMut(Piece, Span)) -> usize {
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
            // In `--token=value` the name is shown.
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

    fn literal(&mut self, bytes: &[u8], start: usize, show: &mut impl FnMut(Piece, Span)) -> usize {
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

    /// Hides everything that may be secret in the line of `offset`, which is not JSON from there on.
    fn unread(&self, text: &str, offset: usize, hidden: &mut Vec<Span>) {
        let rest = &text[offset..];
        let end = offset + rest.find('\n').unwrap_or(rest.len());
        let seen = floor(text, end.min(offset + LOOKED_THROUGH));
        let harmless = match self.is_secret() || self.was_secret {
            true => Some(0),
            false => end_of_harmless(&text[offset..seen]),
        };
        let from = harmless.map_or(seen, |length| offset + length);
        if from < end {
            hidden.push(from..end);
        }
    }
}

/// The distance to the quote that ends a string.
fn closing_quote(bytes: &[u8]) -> Option<usize> {
    let mut escaped = false;
    bytes.iter().position(|byte| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    })
}

/// Shows a text that begins at `start`, without the user information of a URL or of `user:password@host`.
fn pieces_around_user_information(text: &str, start: usize, show: &mut impl FnMut(Piece, Span)) {
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

    #[test]
    fn keys_of_secrets_are_recognised_in_any_form() {
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
    fn secrets_are_hidden_in_every_position() {
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
            let offset = text.rfind(rest).unwrap();
            let line_end = text[offset..].find('\n').map_or(text.len(), |end| offset + end);
            let mut shown = String::new();
            let mut from = 0;
            for hidden in hidden_where_json_ends(text, offset) {
                shown.push_str(&text[from..hidden.start]);
                from = hidden.end;
            }
            shown.push_str(&text[from.min(line_end)..line_end]);
            assert!(!shown.contains("s3"), "{text}: {shown}");
        }
    }

    #[test]
    fn in_a_line_that_is_not_json_everything_after_the_name_of_a_secret_is_hidden() {
        for (line, harmless) in [
            (r#""port": {{ .PORT }},"#, None),
            (r#""token": "{{ if .X }}s3{{ end }}""#, Some(r#""token"#)),
            (
                r#""a": "http://u:s3@h/{{ .X }}", "b": 1"#,
                Some(r#""a": "http://"#),
            ),
        ] {
            assert_eq!(end_of_harmless(line), harmless.map(str::len), "{line}");
        }
    }
}
