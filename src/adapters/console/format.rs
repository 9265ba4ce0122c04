//! The format of a log entry: level, time, message and fields become the bytes of one line.
//!
//! The formats are those of the original's log library, byte for byte, because other programs parse them;
//! where its releases differ, `text` escapes (LG-2). Messages are bytes, because children print any bytes.
//! This module reads no clock, writes to no stream, and drops no byte that a format can represent.

use chrono::{DateTime, Datelike as _, FixedOffset, SecondsFormat, Timelike as _};
use domain::plan::{Level, LogFormat};
use std::io::Write as _;

/// The content of one log entry.
#[derive(Clone, Debug)]
pub struct LogEntry<'a> {
    /// The level.
    pub level: Level,
    /// When it was logged.
    pub time: &'a Stamp,
    /// The name of the child that wrote the message; empty for the shim itself.
    pub name: &'a str,
    /// The message; any bytes.
    pub message: &'a [u8],
    /// The other fields, sorted by name.
    pub fields: &'a [(&'static str, String)],
}

/// A second of calendar time in the forms that entries use. It is formatted once for all entries of that
/// second.
#[derive(Clone, Debug)]
pub struct Stamp {
    second: i64,
    offset: FixedOffset,
    /// `2016/04/14 01:27:38 `
    plain: String,
    /// Seconds, in the local time zone, with `Z` for UTC.
    rfc3339: String,
}

impl Stamp {
    /// The second of this time, in the time zone that entries use.
    pub fn new(time: DateTime<FixedOffset>) -> Self {
        Self {
            second: time.timestamp(),
            offset: *time.offset(),
            plain: date_and_time(time),
            rfc3339: time.to_rfc3339_opts(SecondsFormat::Secs, true),
        }
    }

    /// Changes to the second of this time. Usually that is the present value already.
    pub fn update(&mut self, time: DateTime<FixedOffset>) {
        if self.second != time.timestamp() || self.offset != *time.offset() {
            *self = Self::new(time);
        }
    }
}

/// Written out, because the interpreter of time formats would be in the program for this one only.
fn date_and_time(time: DateTime<FixedOffset>) -> String {
    let (year, month, day) = (time.year(), time.month(), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{year:04}/{month:02}/{day:02} {hour:02}:{minute:02}:{second:02} ")
}

/// Appends the entry in the given form, its newline included.
pub fn render(line: &mut Vec<u8>, format: LogFormat, entry: &LogEntry<'_>) {
    match format {
        LogFormat::Default => default(line, entry),
        LogFormat::Text => text(line, entry),
        LogFormat::Json => json(line, entry),
        LogFormat::Plain => plain(line, entry),
    }
}

/// `2016/04/14 01:27:38 message`: without level and fields, the message unescaped (LG-1). Before the message of a child is
/// its name, because there are no fields that have it.
fn default(line: &mut Vec<u8>, entry: &LogEntry<'_>) {
    line.extend_from_slice(entry.time.plain.as_bytes());
    if !entry.name.is_empty() {
        line.extend_from_slice(entry.name.as_bytes());
        line.extend_from_slice(b": ");
    }
    line.extend_from_slice(entry.message);
    line.push(b'\n');
}

/// `2016-04-14T01:27:38Z INFO web.health: message`, the message unescaped. If it has several lines, each has the whole beginning.
fn plain(line: &mut Vec<u8>, entry: &LogEntry<'_>) {
    let name = match entry.name {
        "" => "containerpilot",
        name => name,
    };
    for message in entry.message.split(|byte| *byte == b'\n') {
        let level = self::name(entry.level).to_ascii_uppercase();
        append(line, format_args!("{} {level} {name}: ", entry.time.rfc3339));
        line.extend_from_slice(message);
        line.push(b'\n');
    }
}

/// `key=value` pairs, each followed by a space, the last one too (LG-3).
fn text(line: &mut Vec<u8>, entry: &LogEntry<'_>) {
    pair(line, "time", entry.time.rfc3339.as_bytes());
    pair(line, "level", name(entry.level).as_bytes());
    if !entry.message.is_empty() {
        pair(line, "msg", entry.message);
    }
    for (name, value) in entry.fields {
        pair(line, name, value.as_bytes());
    }
    line.push(b'\n');
}

/// One object with sorted keys; `msg` is present even if it is empty.
fn json(line: &mut Vec<u8>, entry: &LogEntry<'_>) {
    let always: [(&str, &[u8]); 3] = [
        ("level", name(entry.level).as_bytes()),
        ("msg", entry.message),
        ("time", entry.time.rfc3339.as_bytes()),
    ];
    let mut fields = entry.fields.iter().peekable();
    line.push(b'{');
    for (key, value) in always {
        while let Some((name, field)) = fields.next_if(|(name, _)| *name < key) {
            member(line, name, field.as_bytes());
        }
        member(line, key, value);
    }
    for (name, field) in fields {
        member(line, name, field.as_bytes());
    }
    // Removes the comma after the last member.
    line.pop();
    line.extend_from_slice(b"}\n");
}

/// `"key":"value",`
fn member(line: &mut Vec<u8>, key: &str, value: &[u8]) {
    json_string(line, key.as_bytes());
    line.push(b':');
    json_string(line, value);
    line.push(b',');
}

/// The names of the levels in log entries.
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

/// `key=value` and a space. The value is quoted if it would be ambiguous without quotes.
fn pair(line: &mut Vec<u8>, key: &str, value: &[u8]) {
    line.extend_from_slice(key.as_bytes());
    line.push(b'=');
    if value.iter().all(|byte| needs_no_quotes(*byte)) {
        line.extend_from_slice(value);
    } else {
        quoted(line, value);
    }
    line.push(b' ');
}

/// Whether a value that consists of such bytes only needs no quotes.
fn needs_no_quotes(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.'
}

/// The value in quotes, escaped as Go's `%q` does.
fn quoted(line: &mut Vec<u8>, value: &[u8]) {
    line.push(b'"');
    match std::str::from_utf8(value) {
        Ok(text) => escaped(line, text, &PLAIN, go_escape),
        Err(_) => {
            for chunk in value.utf8_chunks() {
                escaped(line, chunk.valid(), &PLAIN, go_escape);
                for byte in chunk.invalid() {
                    append(line, format_args!("\\x{byte:02x}"));
                }
            }
        }
    }
    line.push(b'"');
}

/// One character between double quotes.
fn go_escape(line: &mut Vec<u8>, character: char) {
    append(line, format_args!("{}", template::quote::escaped(character, '"')));
}

/// Appends a text: runs of plain bytes unchanged, every other character through `escape`.
fn escaped(line: &mut Vec<u8>, mut text: &str, plain: &[bool; 256], escape: impl Fn(&mut Vec<u8>, char)) {
    loop {
        let run = text
            .bytes()
            .position(|byte| !plain[usize::from(byte)])
            .unwrap_or(text.len());
        // A slice can fail only inside a character of several bytes, and plain bytes are ASCII.
        let (start, rest) = text.split_at_checked(run).unwrap_or((text, ""));
        line.extend_from_slice(start.as_bytes());
        let mut rest = rest.chars();
        match rest.next() {
            Some(character) => escape(line, character),
            None => return,
        }
        text = rest.as_str();
    }
}

/// For each byte, whether it is a character that Go's `%q` writes unchanged. Characters beyond ASCII are
/// examined one by one.
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = b' ';
    while byte <= b'~' {
        plain[byte as usize] = byte != b'"' && byte != b'\\';
        byte += 1;
    }
    plain
};

/// A JSON string, escaped as Go's `encoding/json` does.
fn json_string(line: &mut Vec<u8>, value: &[u8]) {
    line.push(b'"');
    match std::str::from_utf8(value) {
        Ok(text) => escaped(line, text, &PLAIN_IN_JSON, json_escape),
        Err(_) => {
            for chunk in value.utf8_chunks() {
                escaped(line, chunk.valid(), &PLAIN_IN_JSON, json_escape);
                for _ in chunk.invalid() {
                    line.extend_from_slice(b"\\ufffd");
                }
            }
        }
    }
    line.push(b'"');
}

/// For each byte, whether it is, or begins, a character that JSON shows unchanged. 0xE2 begins U+2028 and
/// U+2029.
static PLAIN_IN_JSON: [bool; 256] = {
    let mut plain = [true; 256];
    let mut byte = 0;
    while byte < b' ' {
        plain[byte as usize] = false;
        byte += 1;
    }
    let escaped = [b'"', b'\\', b'<', b'>', b'&', 0xe2];
    let mut index = 0;
    while index < escaped.len() {
        plain[escaped[index] as usize] = false;
        index += 1;
    }
    plain
};

/// One character of a JSON string. Characters that could end a script or a line in a web page are escaped,
/// too.
fn json_escape(line: &mut Vec<u8>, character: char) {
    match character {
        '"' => line.extend_from_slice(b"\\\""),
        '\\' => line.extend_from_slice(b"\\\\"),
        '\n' => line.extend_from_slice(b"\\n"),
        '\r' => line.extend_from_slice(b"\\r"),
        '\t' => line.extend_from_slice(b"\\t"),
        '\0'..' ' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
            append(line, format_args!("\\u{:04x}", u32::from(character)));
        }
        _ => push(line, character),
    }
}

fn push(line: &mut Vec<u8>, character: char) {
    line.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Appends formatted text. Writing into memory cannot fail.
fn append(line: &mut Vec<u8>, what: std::fmt::Arguments<'_>) {
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

    fn stamp(time: &str) -> Stamp {
        Stamp::new(DateTime::parse_from_rfc3339(time).unwrap())
    }

    fn line(format: LogFormat, entry: &LogEntry<'_>) -> Vec<u8> {
        let mut line = Vec::new();
        render(&mut line, format, entry);
        line
    }

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
        let entry = LogEntry {
            level,
            time: &stamp(time),
            name: "",
            message,
            fields: &fields,
        };
        let line = line(format, &entry);
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
    fn the_default_format_has_date_time_and_message_only() {
        let when = (Level::Error, "2016-04-14T01:27:38-04:00");
        let line = |message| rendered(LogFormat::Default, when, message, APP);
        assert_eq!(line(b"message"), r"2016/04/14 01:27:38 message\n");
        assert_eq!(line(b""), r"2016/04/14 01:27:38 \n");
        assert_eq!(line(b"a\nb"), r"2016/04/14 01:27:38 a\nb\n");
        assert_eq!(line(b"\xff\x00\"<"), r#"2016/04/14 01:27:38 \xff\x00\"<\n"#);
    }

    #[test]
    fn the_text_format_has_pairs_each_followed_by_a_space() {
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
    fn the_text_format_quotes_all_values_with_other_characters_than_letters_digits_dash_and_dot() {
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
    fn the_text_format_escapes_as_go_does() {
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
    fn the_json_format_is_one_object_with_sorted_keys() {
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
            ("coprocess", "c"),
            ("process", "onChange"),
            ("task", "t"),
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
        fn the_text_and_json_formats_have_one_line_whatever_a_child_prints(message in any::<Vec<u8>>()) {
            let when = stamp("2026-11-22T11:36:55Z");
            let entry = LogEntry { level: Level::Info, time: &when, name: "", message: &message, fields: &[] };
            for format in [LogFormat::Text, LogFormat::Json] {
                let line = line(format, &entry);
                assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
            }
        }

        #[test]
        fn an_entry_in_json_is_parsed_back_unchanged(message in any::<String>(), task in any::<String>()) {
            let when = stamp("2026-11-22T11:36:55Z");
            let fields = [("task", task.clone())];
            let entry = LogEntry { level: Level::Info, time: &when, name: "", message: message.as_bytes(), fields: &fields };
            let read: serde_json::Value = serde_json::from_slice(&line(LogFormat::Json, &entry)).unwrap();
            assert_eq!(read["msg"], message);
            assert_eq!(read["task"], task);
        }
    }
}
