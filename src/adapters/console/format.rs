//! The form of an entry: from level, time, message and fields to the bytes of one log line.
//!
//! Byte-compatible with what the original's log library printed (behaviour-v2.md 10.2 to 10.4), because
//! people parse it; where releases differ, `text` escapes (LG-2). Messages are bytes: children print what
//! they like. Never reads a clock, never writes anywhere, and never drops a byte that it can show.

use chrono::{DateTime, FixedOffset, SecondsFormat};
use domain::plan::{Level, LogFormat};
use std::fmt::Write as _;

/// What one entry says.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// How important it is.
    pub level: Level,
    /// When it was said, in the zone that it shall be shown in.
    pub time: DateTime<FixedOffset>,
    /// The sentence; any bytes.
    pub message: &'a [u8],
    /// Further names and values, sorted by name.
    pub fields: &'a [(&'static str, String)],
}

/// The entry in the given form, its newline included.
pub fn render(format: LogFormat, entry: &Entry<'_>) -> Vec<u8> {
    match format {
        LogFormat::Default => default(entry),
        LogFormat::Text => text(entry).into(),
        LogFormat::Json => json(entry).into(),
    }
}

/// `2016/04/14 01:27:38 message`: no level, no fields, and the message's bytes as they are (LG-1).
fn default(entry: &Entry<'_>) -> Vec<u8> {
    let mut line = entry.time.format("%Y/%m/%d %H:%M:%S ").to_string().into_bytes();
    line.extend_from_slice(entry.message);
    line.push(b'\n');
    line
}

/// `key=value` pairs, each followed by a space, the last one too (LG-3).
fn text(entry: &Entry<'_>) -> String {
    let mut line = String::with_capacity(entry.message.len() + 128);
    pair(&mut line, "time", rfc3339(entry).as_bytes());
    pair(&mut line, "level", name(entry.level).as_bytes());
    if !entry.message.is_empty() {
        pair(&mut line, "msg", entry.message);
    }
    for (name, value) in entry.fields {
        pair(&mut line, name, value.as_bytes());
    }
    line.push('\n');
    line
}

/// One object with its keys sorted; `msg` is there even when empty.
fn json(entry: &Entry<'_>) -> String {
    let time = rfc3339(entry);
    let mut members: Vec<(&str, &[u8])> = vec![
        ("level", name(entry.level).as_bytes()),
        ("msg", entry.message),
        ("time", time.as_bytes()),
    ];
    members.extend(entry.fields.iter().map(|(name, value)| (*name, value.as_bytes())));
    members.sort_by_key(|(name, _)| *name);
    let mut line = String::with_capacity(entry.message.len() + 128);
    for (index, (name, value)) in members.into_iter().enumerate() {
        line.push(if index == 0 { '{' } else { ',' });
        json_string(&mut line, name.as_bytes());
        line.push(':');
        json_string(&mut line, value);
    }
    line.push_str("}\n");
    line
}

/// Seconds, local zone, `Z` where that is UTC.
fn rfc3339(entry: &Entry<'_>) -> String {
    entry.time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// The names of the levels in entries.
fn name(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warning => "warning",
        Level::Error => "error",
        Level::Fatal => "fatal",
        Level::Panic => "panic",
    }
}

/// `key=value` and a space; the value is bare where it cannot be misread.
fn pair(line: &mut String, key: &str, value: &[u8]) {
    line.push_str(key);
    line.push('=');
    match std::str::from_utf8(value) {
        Ok(bare) if bare.bytes().all(needs_no_quotes) => line.push_str(bare),
        _ => quoted(line, value),
    }
    line.push(' ');
}

/// Whether a value may stand bare if it consists of such bytes only.
fn needs_no_quotes(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.'
}

/// The value in quotes, escaped as Go's `%q` does.
fn quoted(line: &mut String, value: &[u8]) {
    line.push('"');
    for chunk in value.utf8_chunks() {
        chunk.valid().chars().for_each(|character| quote(line, character));
        for byte in chunk.invalid() {
            append(line, format_args!("\\x{byte:02x}"));
        }
    }
    line.push('"');
}

/// One character inside quotes.
fn quote(line: &mut String, character: char) {
    match character {
        '"' => line.push_str("\\\""),
        '\\' => line.push_str("\\\\"),
        '\x07' => line.push_str("\\a"),
        '\x08' => line.push_str("\\b"),
        '\x0c' => line.push_str("\\f"),
        '\n' => line.push_str("\\n"),
        '\r' => line.push_str("\\r"),
        '\t' => line.push_str("\\t"),
        '\x0b' => line.push_str("\\v"),
        '\0'..' ' | '\x7f' => append(line, format_args!("\\x{:02x}", u32::from(character))),
        _ if printable(character) => line.push(character),
        ..='\u{ffff}' => append(line, format_args!("\\u{:04x}", u32::from(character))),
        _ => append(line, format_args!("\\U{:08x}", u32::from(character))),
    }
}

/// Letters, marks, numbers, punctuation, symbols and the space. The standard library knows which these are
/// but tells it only through `escape_debug`, which escapes a mark where it has nothing to stand on: hence the
/// letter before it.
fn printable(character: char) -> bool {
    if character.is_ascii() {
        return !character.is_ascii_control();
    }
    let mut buffer = [b'a', 0, 0, 0, 0];
    let length = character.encode_utf8(&mut buffer[1..]).len();
    std::str::from_utf8(&buffer[..=length])
        .is_ok_and(|marked| marked.escape_debug().nth(1) == Some(character))
}

/// A JSON string, escaped as Go's `encoding/json` does.
fn json_string(line: &mut String, value: &[u8]) {
    line.push('"');
    for chunk in value.utf8_chunks() {
        chunk
            .valid()
            .chars()
            .for_each(|character| json_escape(line, character));
        for _ in chunk.invalid() {
            line.push_str("\\ufffd");
        }
    }
    line.push('"');
}

/// One character of a JSON string; what could end a script or a line in a web page is escaped too.
fn json_escape(line: &mut String, character: char) {
    match character {
        '"' => line.push_str("\\\""),
        '\\' => line.push_str("\\\\"),
        '\n' => line.push_str("\\n"),
        '\r' => line.push_str("\\r"),
        '\t' => line.push_str("\\t"),
        '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
            append(line, format_args!("\\u{:04x}", u32::from(character)));
        }
        _ => line.push(character),
    }
}

/// Writing into a string cannot fail.
fn append(line: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = line.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    const APP: &[(&str, &str)] = &[
        ("process", "health"),
        ("serviceID", "app-host"),
        ("serviceName", "app"),
    ];

    fn rendered(
        format: LogFormat,
        (level, time): (Level, &str),
        message: &[u8],
        fields: &[(&'static str, &str)],
    ) -> String {
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let entry = Entry {
            level,
            time: DateTime::parse_from_rfc3339(time).unwrap(),
            message,
            fields: &fields,
        };
        let line = render(format, &entry);
        line.iter().map(|byte| byte.escape_ascii().to_string()).collect()
    }

    fn text_message(message: &[u8]) -> String {
        let line = rendered(
            LogFormat::Text,
            (Level::Info, "2026-11-22T11:36:55Z"),
            message,
            &[],
        );
        let start = r#"time=\"2026-11-22T11:36:55Z\" level=info "#;
        line.strip_prefix(start).unwrap().to_owned()
    }

    fn json_message(message: &[u8]) -> String {
        let line = rendered(
            LogFormat::Json,
            (Level::Info, "2026-11-22T11:36:55Z"),
            message,
            &[],
        );
        let rest = line.strip_prefix(r#"{\"level\":\"info\",\"msg\":\""#).unwrap();
        rest.strip_suffix(r#"\",\"time\":\"2026-11-22T11:36:55Z\"}\n"#)
            .unwrap()
            .to_owned()
    }

    #[test]
    fn default_is_date_time_and_message_and_nothing_else() {
        let when = (Level::Error, "2016-04-14T01:27:38-04:00");
        let line = |message| rendered(LogFormat::Default, when, message, APP);
        assert_eq!(line(b"message"), r"2016/04/14 01:27:38 message\n");
        assert_eq!(line(b""), r"2016/04/14 01:27:38 \n");
        assert_eq!(line(b"a\nb"), r"2016/04/14 01:27:38 a\nb\n");
        assert_eq!(line(b"\xff\x00\"<"), r#"2016/04/14 01:27:38 \xff\x00\"<\n"#);
    }

    #[test]
    fn text_is_pairs_each_followed_by_a_space() {
        let when = (Level::Info, "2015-03-26T01:27:38-04:00");
        assert_eq!(
            rendered(LogFormat::Text, when, b"Deregistering service: app", APP),
            r#"time=\"2015-03-26T01:27:38-04:00\" level=info msg=\"Deregistering service: app\" "#.to_owned()
                + r"process=health serviceID=app-host serviceName=app \n"
        );
        assert_eq!(
            rendered(LogFormat::Text, when, b"", &[("process", "task"), ("task", "")]),
            r#"time=\"2015-03-26T01:27:38-04:00\" level=info process=task task= \n"#
        );
        assert_eq!(
            rendered(
                LogFormat::Text,
                (Level::Warning, "2026-11-22T11:36:55+00:00"),
                b"m",
                &[]
            ),
            r#"time=\"2026-11-22T11:36:55Z\" level=warning msg=m \n"#
        );
    }

    #[test]
    fn text_quotes_all_but_letters_digits_dash_and_dot() {
        let bare: [&[u8]; 4] = [b"1.5", b"a-b", b"AZaz09", b"exit"];
        for message in bare {
            assert_eq!(
                text_message(message),
                format!(r"msg={} \n", message.escape_ascii())
            );
        }
        for byte in b" _/@^+:=,'[]{}()!$%&*<>?|~`#;" {
            let message = [b'a', *byte];
            let shown = message.escape_ascii().to_string();
            assert_eq!(text_message(&message), format!(r#"msg=\"{shown}\" \n"#));
        }
    }

    #[test]
    fn text_escapes_as_go_does() {
        let table: [(&[u8], &str); 14] = [
            (b"he said \"hi\"", r#""he said \"hi\"""#),
            (b"a\\b", r#""a\\b""#),
            (b"a\nb\tc\rd", r#""a\nb\tc\rd""#),
            (b"\x07\x08\x0b\x0c", r#""\a\b\v\f""#),
            (b"\x00\x1b[0m\x7f", r#""\x00\x1b[0m\x7f""#),
            (b"\xff", r#""\xff""#),
            (b"\xf0\x9f\x98 ", r#""\xf0\x9f\x98 ""#),
            (b"\xed\xa0\x80", r#""\xed\xa0\x80""#),
            ("é日😀".as_bytes(), r#""é日😀""#),
            ("e\u{301}".as_bytes(), "\"e\u{301}\""),
            ("\u{301}".as_bytes(), "\"\u{301}\""),
            (
                "\u{a0}\u{200b}\u{2028}\u{feff}\u{80}".as_bytes(),
                r#""\u00a0\u200b\u2028\ufeff\u0080""#,
            ),
            ("\u{fffd}".as_bytes(), "\"\u{fffd}\""),
            ("\u{e0001}\u{10ffff}".as_bytes(), r#""\U000e0001\U0010ffff""#),
        ];
        for (message, quoted) in table {
            let expected = format!("msg={quoted} \n");
            assert_eq!(
                text_message(message),
                expected.as_bytes().escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn json_is_one_object_with_sorted_keys() {
        let when = (Level::Info, "2026-11-22T11:36:55Z");
        let fields = [
            ("process", "health"),
            ("serviceID", "svc-host"),
            ("serviceName", "svc"),
        ];
        assert_eq!(
            rendered(LogFormat::Json, when, b"m", &fields).replace(r#"\""#, "\""),
            r#"{"level":"info","msg":"m","process":"health","serviceID":"svc-host","serviceName":"svc","#
                .to_owned()
                + r#""time":"2026-11-22T11:36:55Z"}\n"#
        );
        let fields = [
            ("backend", "b"),
            ("process", "onChange"),
            ("task", "t"),
            ("coprocess", "c"),
        ];
        assert_eq!(
            rendered(
                LogFormat::Json,
                (Level::Debug, "2026-11-22T11:36:55+01:00"),
                b"",
                &fields
            )
            .replace(r#"\""#, "\""),
            r#"{"backend":"b","coprocess":"c","level":"debug","msg":"","process":"onChange","task":"t","#
                .to_owned()
                + r#""time":"2026-11-22T11:36:55+01:00"}\n"#
        );
    }

    #[test]
    fn json_escapes_as_go_does() {
        let table: [(&[u8], &str); 10] = [
            (b"\"\\/", r#"\"\\/"#),
            (b"a\nb\rc\td", r"a\nb\rc\td"),
            (b"\x00\x08\x0c\x1b", r"\u0000\u0008\u000c\u001b"),
            (b"\x7f", "\x7f"),
            (b"<a>&'", r"\u003ca\u003e\u0026'"),
            ("\u{2028}\u{2029}".as_bytes(), r"\u2028\u2029"),
            ("é😀\u{200b}\u{fffd}".as_bytes(), "é😀\u{200b}\u{fffd}"),
            (b"a\xffb", r"a\ufffdb"),
            (b"\xf0\x9f\x98", r"\ufffd\ufffd\ufffd"),
            (b"\xed\xa0\x80", r"\ufffd\ufffd\ufffd"),
        ];
        for (message, escaped) in table {
            assert_eq!(
                json_message(message),
                escaped.as_bytes().escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn levels_are_named_as_the_original_named_them() {
        let levels = [
            Level::Debug,
            Level::Info,
            Level::Warning,
            Level::Error,
            Level::Fatal,
            Level::Panic,
        ];
        assert_eq!(
            levels.map(name),
            ["debug", "info", "warning", "error", "fatal", "panic"]
        );
    }

    proptest! {
        #[test]
        fn text_and_json_are_one_line_whatever_a_child_prints(message in any::<Vec<u8>>()) {
            let when = DateTime::parse_from_rfc3339("2026-11-22T11:36:55Z").unwrap();
            let entry = Entry { level: Level::Info, time: when, message: &message, fields: &[] };
            for format in [LogFormat::Text, LogFormat::Json] {
                let line = render(format, &entry);
                assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
            }
        }

        #[test]
        fn json_is_read_back_as_it_was(message in any::<String>(), task in any::<String>()) {
            let when = DateTime::parse_from_rfc3339("2026-11-22T11:36:55Z").unwrap();
            let fields = [("task", task.clone())];
            let entry = Entry { level: Level::Info, time: when, message: message.as_bytes(), fields: &fields };
            let read: serde_json::Value = serde_json::from_slice(&render(LogFormat::Json, &entry)).unwrap();
            assert_eq!(read["msg"], message);
            assert_eq!(read["task"], task);
        }
    }
}
