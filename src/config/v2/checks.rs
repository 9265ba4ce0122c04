//! The health check of a service: a command as in version 2, or an object with a command and thresholds.

use super::error::{CheckError, DurationKey, Subject, Warning};
use crate::config::Target;
use crate::config::keys::command::{self, Run};
use crate::config::keys::{Section, duration, integer};
use crate::config::problem::Problems;
use crate::config::tree::{Data, Value};
use domain::plan::Thresholds;
use domain::time::Duration;
use std::num::NonZeroU32;

/// The largest number of failures or successes in a row (docs/bounds.md).
const MOST_IN_A_ROW: u32 = 1000;

/// A health check.
pub struct Check {
    /// The command.
    pub run: Run,
    /// Which results count, if the object says so.
    pub thresholds: Option<Thresholds>,
}

/// Reads `health`; an empty command means that there is no check (CFG-8). `beside` is the `timeout` of the service. A
/// command alone has no other limit (EX-19). The limit of an object is `poll` if none is given, and at most `poll`.
pub fn health(
    value: &Value<'_>,
    subject: Subject<'_>,
    poll: Option<Duration>,
    beside: Option<&Value<'_>>,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<Check> {
    let key = DurationKey::HealthTimeout(subject);
    if !matches!(value.data, Data::Object(_)) {
        let run = command::optional(value, target, problems);
        let run = command::limited(run, beside, &key, problems)?;
        let is_long = run.time_limit.zip(poll).is_some_and(|(limit, poll)| limit > poll);
        if is_long && target.examination.is_some() {
            problems.warning(beside.unwrap_or(value), Warning::LongCheck(subject));
        }
        return Some(Check {
            run,
            thresholds: None,
        });
    }
    let mut section = Section::open(value, "a command or an object", problems)?;
    let missing = CheckError::NoCommand(subject);
    let (run, own) = command::in_object(value, &mut section, missing, target, problems);
    let run = command::limited(run, beside, &key, problems);
    let thresholds = thresholds(&mut section, subject, problems);
    section.close(problems);
    let mut run = run?;
    if let (Some(limit), Some(poll)) = (run.time_limit, poll)
        && limit > poll
    {
        problems.error(
            own.or(beside).unwrap_or(value),
            CheckError::TooLong(subject, poll),
        );
    }
    run.time_limit = run.time_limit.or(poll);
    Some(Check { run, thresholds })
}

fn thresholds(
    section: &mut Section<'_>,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> Option<Thresholds> {
    let [failures, successes] = ["failures", "successes"].map(|key| {
        section
            .take(key)
            .and_then(|value| in_a_row(value, key, subject, problems))
    });
    let start_period = section.take("startPeriod").and_then(|value| {
        let key = DurationKey::Key("startPeriod", subject);
        duration::limit(value, &key, problems)
    });
    let given = failures.or(successes).is_some() || start_period.is_some();
    given.then(|| Thresholds {
        failures,
        successes: successes.unwrap_or(NonZeroU32::MIN),
        start_period: start_period.unwrap_or(Duration::ZERO),
    })
}

fn in_a_row(
    value: &Value<'_>,
    key: &'static str,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> Option<NonZeroU32> {
    let allowed = format!("a whole number from 1 to {MOST_IN_A_ROW}");
    let number = u32::try_from(integer(value, &allowed, problems)?).ok();
    let number = number.filter(|number| *number <= MOST_IN_A_ROW);
    let number = number.and_then(NonZeroU32::new);
    if number.is_none() {
        problems.wrong(value, CheckError::OutOfRange(key, subject), &allowed);
    }
    number
}
