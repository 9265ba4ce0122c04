//! The section `logging`.

use super::error::LoggingError;
use crate::config::keys::{Section, boolean, string};
use crate::config::problem::Problems;
use crate::config::tree::Value;
use domain::plan::{Level, LogFormat, LogOutput, Logging};

/// Reads the section. An absent or empty key has its default.
pub fn read(value: &Value<'_>, problems: &mut Problems<'_>) -> Logging {
    let Some(mut section) = Section::open(value, "an object", problems) else {
        return Logging::default();
    };
    let checks = section.take("checks").and_then(|value| boolean(value, problems));
    let logging = Logging {
        level: choice(
            section.take("level"),
            &LEVELS,
            |word| LoggingError::Level(word),
            problems,
        ),
        format: choice(
            section.take("format"),
            &FORMATS,
            |word| LoggingError::Format(word),
            problems,
        ),
        output: choice(
            section.take("output"),
            &OUTPUTS,
            |word| LoggingError::Output(word),
            problems,
        ),
        checks: checks.unwrap_or_default(),
    };
    section.close(problems);
    logging
}

const LEVELS: [(&str, Level); 7] = [
    ("debug", Level::Debug),
    ("info", Level::Info),
    ("warn", Level::Warning),
    ("warning", Level::Warning),
    ("error", Level::Error),
    ("fatal", Level::Fatal),
    ("panic", Level::Panic),
];

const FORMATS: [(&str, LogFormat); 4] = [
    ("default", LogFormat::Default),
    ("text", LogFormat::Text),
    ("json", LogFormat::Json),
    ("plain", LogFormat::Plain),
];

const OUTPUTS: [(&str, LogOutput); 2] = [("stdout", LogOutput::Stdout), ("stderr", LogOutput::Stderr)];

/// One of several words, in upper or lower case.
fn choice<T: Copy + Default>(
    value: Option<&Value<'_>>,
    choices: &[(&str, T)],
    unknown: fn(&str) -> LoggingError<'_>,
    problems: &mut Problems<'_>,
) -> T {
    let Some(value) = value else {
        return T::default();
    };
    let Some(text) = string(value, problems).filter(|text| !text.is_empty()) else {
        return T::default();
    };
    let chosen = choices.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
    if chosen.is_none() {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        problems.wrong(value, unknown(text), words.join(", "));
    }
    chosen.map(|(_, value)| *value).unwrap_or_default()
}
