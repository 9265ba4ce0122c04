//! Durations: a number of seconds, or Go's notation such as `1h30m`.

use super::Error as Unreadable;
use crate::config::problem::Problems;
use crate::config::tree::Value;
use domain::time::Duration;
use std::fmt::{self, Display};

/// The allowed values, for messages.
pub const ALLOWED: &str = "a number of seconds or a duration such as \"500ms\" or \"1m30s\"";

/// The largest whole number of seconds: that of a duration in Go (docs/bounds.md).
pub const MOST_SECONDS: u64 = 9_223_372_036;

/// Why a duration cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<'a> {
    /// The text has another form, or the duration is too long.
    Invalid(&'a str),
    /// A number without a unit.
    MissingUnit(&'a str),
    /// An unknown unit, and the duration.
    UnknownUnit(&'a str, &'a str),
    /// A number that is not whole, or too large.
    NotSeconds,
    /// Neither a number nor a string.
    NotADuration,
    /// Less than a millisecond.
    TooShort,
}

/// The first three messages are Go's.
impl Display for Error<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(text) => write!(f, "time: invalid duration {text}"),
            Self::MissingUnit(text) => write!(f, "time: missing unit in duration {text}"),
            Self::UnknownUnit(unit, text) => write!(f, "time: unknown unit {unit} in duration {text}"),
            Self::NotSeconds => f.write_str("not a number of seconds"),
            Self::NotADuration => f.write_str("not a duration"),
            Self::TooShort => f.write_str("it cannot be less than 1ms"),
        }
    }
}

/// A number of seconds that is not negative. In the message about a number that is too large, `subject` is
/// the beginning, and `value` and `allowed` are the found and the allowed values.
pub fn from_seconds(
    value: &Value<'_>,
    seconds: i64,
    subject: &dyn Display,
    allowed: &str,
    problems: &mut Problems<'_>,
) -> Option<Duration> {
    let seconds = u64::try_from(seconds).ok()?;
    if seconds > MOST_SECONDS {
        problems.error(value, Unreadable::TooManySeconds(subject, seconds, allowed));
        return None;
    }
    Some(Duration::from_secs(seconds))
}

/// A time limit. If it is absent, zero or empty, there is none. `subject` is the beginning of the message
/// about an invalid one.
pub fn limit(value: &Value<'_>, subject: &dyn Display, problems: &mut Problems<'_>) -> Option<Duration> {
    if value.string() == Some("") {
        return None;
    }
    let nanoseconds = read(value, subject, problems).filter(|nanoseconds| *nanoseconds != 0)?;
    at_least_a_millisecond(value, nanoseconds, subject, problems)
}

/// A duration of at least one millisecond.
pub fn positive(value: &Value<'_>, subject: &dyn Display, problems: &mut Problems<'_>) -> Option<Duration> {
    let nanoseconds = read(value, subject, problems)?;
    at_least_a_millisecond(value, nanoseconds, subject, problems)
}

/// A duration of at least one millisecond, as a part of the text of a value.
pub fn part(
    value: &Value<'_>,
    text: &str,
    subject: &dyn Display,
    problems: &mut Problems<'_>,
) -> Option<Duration> {
    let parsed = seconds(text).map_or_else(|| parse(text), Ok);
    let nanoseconds = parsed
        .map_err(|error| problems.wrong(value, Unreadable::Duration(subject, error), ALLOWED))
        .ok()?;
    at_least_a_millisecond(value, nanoseconds, subject, problems)
}

fn at_least_a_millisecond(
    value: &Value<'_>,
    nanoseconds: i64,
    subject: &dyn Display,
    problems: &mut Problems<'_>,
) -> Option<Duration> {
    let duration = u64::try_from(nanoseconds).ok().map(Duration::from_nanos);
    let duration = duration.filter(|duration| *duration >= Duration::from_millis(1));
    if duration.is_none() {
        problems.wrong(value, Unreadable::Duration(subject, Error::TooShort), ALLOWED);
    }
    duration
}

/// Reads a duration, in nanoseconds.
fn read(value: &Value<'_>, subject: &dyn Display, problems: &mut Problems<'_>) -> Option<i64> {
    let parsed = match (value.number(), value.string()) {
        (Some(number), _) => seconds(number).ok_or(Error::NotSeconds),
        (_, Some(text)) => seconds(text).map_or_else(|| parse(text), Ok),
        _ => Err(Error::NotADuration),
    };
    parsed
        .map_err(|error| problems.wrong(value, Unreadable::Duration(subject, error), ALLOWED))
        .ok()
}

fn seconds(text: &str) -> Option<i64> {
    text.parse::<i64>().ok()?.checked_mul(1_000_000_000)
}

/// Parses Go's notation: an optional sign, then numbers with units; `0` needs no unit. The result is in
/// nanoseconds.
///
/// # Errors
/// The text has another form, a unit is missing or unknown, or the duration is too long.
pub fn parse(text: &str) -> Result<i64, Error<'_>> {
    let invalid = || Error::Invalid(text);
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let number = leading(rest, |c| c.is_ascii_digit() || c == '.');
        rest = &rest[number.len()..];
        let unit = leading(rest, |c| !c.is_ascii_digit() && c != '.');
        rest = &rest[unit.len()..];
        let (value, scale) = decimal(number).ok_or_else(invalid)?;
        if unit.is_empty() {
            return Err(Error::MissingUnit(text));
        }
        let unit = nanoseconds(unit).ok_or(Error::UnknownUnit(unit, text))?;
        total = total
            .checked_add(value.checked_mul(unit).ok_or_else(invalid)? / scale)
            .ok_or_else(invalid)?;
    }
    i64::try_from(if negative { -total } else { total }).map_err(|_| invalid())
}

fn leading(text: &str, belongs: impl Fn(char) -> bool) -> &str {
    text.find(|c| !belongs(c)).map_or(text, |end| &text[..end])
}

/// A number with at most one point and at least one digit, as a fraction.
fn decimal(text: &str) -> Option<(i128, i128)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    // Further digits are less than a nanosecond, even for hours.
    let fraction: String = fraction.chars().take(15).collect();
    let digits = format!("{whole}{fraction}");
    let scale = 10_i128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    Some((digits.parse().ok()?, scale))
}

fn nanoseconds(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_parsed_as_in_go() {
        let table = [
            ("0", 0),
            ("10ns", 10),
            ("1us", 1_000),
            ("1µs", 1_000),
            ("10ms", 10_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1h30m", 5_400_000_000_000),
            ("10h", 36_000_000_000_000),
            ("-1ms", -1_000_000),
            ("+3s", 3_000_000_000),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn errors_in_durations_have_gos_messages() {
        let table = [
            ("asf", "time: invalid duration asf"),
            ("20yy", "time: unknown unit yy in duration 20yy"),
            ("1.5", "time: missing unit in duration 1.5"),
            ("x", "time: invalid duration x"),
            ("", "time: invalid duration "),
            ("-", "time: invalid duration -"),
            (".s", "time: invalid duration .s"),
            ("1.2.3s", "time: invalid duration 1.2.3s"),
            ("5s ", "time: unknown unit s  in duration 5s "),
            ("1d", "time: unknown unit d in duration 1d"),
            ("99999999999h", "time: invalid duration 99999999999h"),
        ];
        for (text, error) in table {
            let found = parse(text).map_err(|error| error.to_string());
            assert_eq!(found, Err(error.into()), "{text}");
        }
    }
}
