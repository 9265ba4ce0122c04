//! Durations: a number of seconds, or Go's notation such as `1h30m` (behaviour-v2.md 2.7).

use crate::config::json::Node;
use crate::config::problem::Problems;
use domain::time::Duration;

/// What is allowed, for messages.
pub const ALLOWED: &str = "a number of seconds or a duration such as \"500ms\" or \"1m30s\"";

/// The most seconds that a whole number may mean: as many as a duration of Go holds (docs/bounds.md).
pub const MOST_SECONDS: u64 = 9_223_372_036;

/// A number of seconds that is not negative. `key` begins the message about one that is too large; `at` and
/// `allowed` are of that message.
pub fn from_seconds(
    at: &Node<'_>,
    seconds: i64,
    key: &str,
    allowed: &str,
    problems: &mut Problems,
) -> Option<Duration> {
    let seconds = u64::try_from(seconds).ok()?;
    if seconds > MOST_SECONDS {
        problems.add(
            at,
            format!("{key} must be <= {MOST_SECONDS}: found {seconds}, allowed is {allowed}"),
        );
        return None;
    }
    Some(Duration::from_secs(seconds))
}

/// A time limit: absent, zero or empty is none. `subject` begins the message about a bad one.
pub fn limit(node: &Node<'_>, subject: &str, problems: &mut Problems) -> Option<Duration> {
    if node.string().is_some_and(|text| text.is_empty()) {
        return None;
    }
    let nanoseconds = read(node, subject, problems).filter(|nanoseconds| *nanoseconds != 0)?;
    at_least_a_millisecond(node, nanoseconds, subject, problems)
}

/// A duration of at least one millisecond.
pub fn positive(node: &Node<'_>, subject: &str, problems: &mut Problems) -> Option<Duration> {
    let nanoseconds = read(node, subject, problems)?;
    at_least_a_millisecond(node, nanoseconds, subject, problems)
}

fn at_least_a_millisecond(
    node: &Node<'_>,
    nanoseconds: i64,
    subject: &str,
    problems: &mut Problems,
) -> Option<Duration> {
    let duration = u64::try_from(nanoseconds).ok().map(Duration::from_nanos);
    let duration = duration.filter(|duration| *duration >= Duration::from_millis(1));
    if duration.is_none() {
        problems.wrong(node, &format!("{subject}: it cannot be less than 1ms"), ALLOWED);
    }
    duration
}

/// In nanoseconds.
fn read(node: &Node<'_>, subject: &str, problems: &mut Problems) -> Option<i64> {
    let parsed = match (node.number(), node.string()) {
        (Some(number), _) => seconds(number).ok_or_else(|| "not a number of seconds".to_owned()),
        (_, Some(text)) => seconds(&text).map_or_else(|| parse(&text), Ok),
        _ => Err("not a duration".into()),
    };
    parsed
        .map_err(|error| problems.wrong(node, &format!("{subject}: {error}"), ALLOWED))
        .ok()
}

fn seconds(text: &str) -> Option<i64> {
    text.parse::<i64>().ok()?.checked_mul(1_000_000_000)
}

/// Go's notation: an optional sign, then numbers with units; `0` alone is zero. In nanoseconds.
///
/// # Errors
/// Go's own words.
pub fn parse(text: &str) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {text}");
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
            return Err(format!("time: missing unit in duration {text}"));
        }
        let unit =
            nanoseconds(unit).ok_or_else(|| format!("time: unknown unit {unit} in duration {text}"))?;
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
    // Beyond a nanosecond's fraction of an hour nothing counts.
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
    fn durations_are_gos() {
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
    fn errors_are_gos() {
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
            assert_eq!(parse(text), Err(error.into()), "{text}");
        }
    }
}
