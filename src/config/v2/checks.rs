//! The health check of a service: a command as in version 2, or an object with a command or a probe, and with thresholds.

use super::error::{CheckError, DurationKey, Subject, Warning};
use super::{jobs, probes};
use crate::config::Target;
use crate::config::keys::command::{self, Run};
use crate::config::keys::{Section, duration, integer};
use crate::config::problem::Problems;
use crate::config::tree::{Data, Value};
use domain::plan::{self, HealthActions, Role, Thresholds};
use domain::probe::{LONGEST_PAUSE, Probe, ProbeTarget};
use domain::time::Duration;
use std::num::NonZeroU32;

/// The largest number of failures or successes in a row (docs/bounds.md).
const MOST_IN_A_ROW: u32 = 1000;

/// A health check.
pub struct Check {
    /// What it does.
    work: Work,
    /// Which results count, if the object says so.
    pub thresholds: Option<Thresholds>,
}

/// What a health check does.
enum Work {
    Command(Run),
    Probe {
        target: ProbeTarget,
        time_limit: Duration,
        keeps_connection: bool,
    },
}

impl Check {
    /// The check in the plan.
    pub fn into_plan(self, role: Role) -> plan::Check {
        match self.work {
            Work::Command(run) => plan::Check::Command(jobs::on_demand(role, run)),
            Work::Probe {
                target,
                time_limit,
                keeps_connection,
            } => plan::Check::Probe(Probe {
                role,
                target,
                time_limit,
                keeps_connection,
            }),
        }
    }
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
            work: Work::Command(run),
            thresholds: None,
        });
    }
    let mut section = Section::open(value, "a command or an object", problems)?;
    let found = probes::read(&mut section, subject, problems);
    let (work, own) = match found {
        probes::Found::Nothing => command_in_object(value, &mut section, subject, beside, target, problems),
        probes::Found::Probe(probe) => probe_in_object(probe, &mut section, subject, poll, beside, problems),
    };
    let thresholds = thresholds(&mut section, subject, problems);
    section.close(problems);
    let mut work = work?;
    let limit = work.time_limit();
    if let (Some(limit), Some(poll)) = (limit, poll)
        && limit > poll
    {
        problems.error(
            own.or(beside).unwrap_or(value),
            CheckError::TooLong(subject, poll),
        );
    }
    if let Work::Command(run) = &mut work {
        run.time_limit = run.time_limit.or(poll);
    }
    Some(Check { work, thresholds })
}

impl Work {
    fn time_limit(&self) -> Option<Duration> {
        match self {
            Self::Command(run) => run.time_limit,
            Self::Probe { time_limit, .. } => Some(*time_limit),
        }
    }
}

/// A command with its time limit, and the value of the limit in the object.
fn command_in_object<'v>(
    value: &Value<'_>,
    section: &mut Section<'v>,
    subject: Subject<'_>,
    beside: Option<&Value<'_>>,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> (Option<Work>, Option<&'v Value<'v>>) {
    let missing = CheckError::Nothing(subject);
    let (run, own) = command::in_object(value, section, missing, target, problems);
    let run = command::limited(run, beside, &DurationKey::HealthTimeout(subject), problems);
    (run.map(Work::Command), own)
}

/// A probe with its time limit, which is `poll` if none is given, and the value of the limit in the object.
fn probe_in_object<'v>(
    target: Option<ProbeTarget>,
    section: &mut Section<'v>,
    subject: Subject<'_>,
    poll: Option<Duration>,
    beside: Option<&Value<'_>>,
    problems: &mut Problems<'_>,
) -> (Option<Work>, Option<&'v Value<'v>>) {
    if let Some(command) = section.take("command") {
        problems.error(command, CheckError::Several(subject));
    }
    let own = section.take("timeout");
    if let (Some(_), Some(beside)) = (own, beside) {
        problems.error(beside, CheckError::TwoLimits(subject));
    }
    let limit = own
        .or(beside)
        .and_then(|value| duration::limit(value, &DurationKey::HealthTimeout(subject), problems));
    let work = target.zip(poll).map(|(target, poll)| Work::Probe {
        target,
        time_limit: limit.unwrap_or(poll),
        keeps_connection: poll < LONGEST_PAUSE,
    });
    (work, own)
}

/// What is done when the health of a service changes, as it is written.
pub struct Actions {
    on_unhealthy: Option<Run>,
    on_healthy: Option<Run>,
    exit_after: Option<NonZeroU32>,
}

impl Actions {
    /// Those of the service with this name and ID.
    pub fn of(self, name: &str, id: &str) -> HealthActions {
        let (service, id) = (name.to_owned(), id.to_owned());
        let on_unhealthy = Role::OnUnhealthy {
            service: service.clone(),
            id: id.clone(),
        };
        let on_healthy = Role::OnHealthy { service, id };
        HealthActions {
            on_unhealthy: self.on_unhealthy.map(|run| jobs::on_demand(on_unhealthy, run)),
            on_healthy: self.on_healthy.map(|run| jobs::on_demand(on_healthy, run)),
            exit_after: self.exit_after,
        }
    }
}

/// Reads `onUnhealthy`, `onHealthy` and `exitAfter` of a service; each of them needs a health check.
pub fn actions(
    section: &mut Section<'_>,
    subject: Subject<'_>,
    has_check: bool,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Actions {
    let mut take = |key: &'static str, problems: &mut Problems<'_>| {
        let value = section.take(key);
        if let (Some(value), false) = (value, has_check) {
            problems.error(value, CheckError::NoHealth(key, subject));
        }
        value
    };
    let on_unhealthy = take("onUnhealthy", problems);
    let on_healthy = take("onHealthy", problems);
    let exit_after = take("exitAfter", problems);
    Actions {
        on_unhealthy: on_unhealthy.and_then(|value| command::optional(value, target, problems)),
        on_healthy: on_healthy.and_then(|value| command::optional(value, target, problems)),
        exit_after: exit_after.and_then(|value| in_a_row(value, CheckError::ExitAfter(subject), problems)),
    }
}

fn thresholds(
    section: &mut Section<'_>,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> Option<Thresholds> {
    let [failures, successes] = ["failures", "successes"].map(|key| {
        section
            .take(key)
            .and_then(|value| in_a_row(value, CheckError::OutOfRange(key, subject), problems))
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

fn in_a_row(value: &Value<'_>, error: CheckError<'_>, problems: &mut Problems<'_>) -> Option<NonZeroU32> {
    let allowed = format!("a whole number from 1 to {MOST_IN_A_ROW}");
    let number = u32::try_from(integer(value, &allowed, problems)?).ok();
    let number = number.filter(|number| *number <= MOST_IN_A_ROW);
    let number = number.and_then(NonZeroU32::new);
    if number.is_none() {
        problems.wrong(value, error, &allowed);
    }
    number
}
