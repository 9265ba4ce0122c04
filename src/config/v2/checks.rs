//! The health checks of a service: a command as in version 2, an object with a command or a probe, and with thresholds, or
//! an array of such objects with names.

use super::error::{CheckError, DurationKey, Subject, Warning};
use super::{jobs, probes};
use crate::config::Target;
use crate::config::keys::command::{self, Run};
use crate::config::keys::{Section, duration, integer, list, string};
use crate::config::problem::Problems;
use crate::config::tree::{Data, Value};
use domain::plan::{self, HealthActions, OwnCheck, Role, Thresholds};
use domain::probe::{LONGEST_PAUSE, Probe, ProbeTarget};
use domain::time::Duration;
use std::collections::HashSet;
use std::num::NonZeroU32;

/// The largest number of failures or successes in a row (docs/bounds.md).
const MOST_IN_A_ROW: u32 = 1000;

/// The largest number of checks of a service (docs/bounds.md).
const MOST_CHECKS: usize = 16;

/// The longest name of a check, in characters (docs/bounds.md).
const LONGEST_NAME: usize = 64;

/// A health check.
pub struct Check {
    /// What it does.
    work: Work,
    /// Which results count, if the object says so.
    thresholds: Option<Thresholds>,
    /// The time between two runs, if the object says so.
    interval: Option<Duration>,
}

/// What a health check does.
pub enum Work {
    Command(Run),
    Probe {
        target: ProbeTarget,
        time_limit: Duration,
        keeps_connection: bool,
    },
}

impl Check {
    /// The check in the plan.
    fn into_plan(self, role: Role) -> plan::Check {
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

    /// The same with a schedule of its own.
    fn into_own(mut self, name: Option<String>, role: Role, poll: Duration) -> OwnCheck {
        OwnCheck {
            name,
            interval: self.interval.unwrap_or(poll),
            thresholds: self.thresholds.take().unwrap_or_default(),
            check: self.into_plan(role),
        }
    }
}

/// The health checks of a service, as they are written.
pub enum Checks {
    /// `health`, if it is given and not empty.
    One(Option<Check>),
    /// `checks`, each with its name.
    Several(Vec<(String, Check)>),
}

impl Checks {
    /// Those of the service with this name and ID: the check that runs at each `poll` with its thresholds, and the checks
    /// with schedules of their own.
    pub fn of(
        self,
        name: &str,
        id: &str,
        poll: Duration,
    ) -> (Option<plan::Check>, Option<Thresholds>, Vec<OwnCheck>) {
        let role = |check| Role::Health {
            service: name.to_owned(),
            id: id.to_owned(),
            check,
        };
        match self {
            Self::One(None) => (None, None, Vec::new()),
            Self::One(Some(check)) if check.interval.is_some() => {
                (None, None, vec![check.into_own(None, role(None), poll)])
            }
            Self::One(Some(check)) => {
                let thresholds = check.thresholds;
                (Some(check.into_plan(role(None))), thresholds, Vec::new())
            }
            Self::Several(checks) => {
                let own = checks.into_iter().map(|(name, check)| {
                    let role = role(Some(name.clone()));
                    check.into_own(Some(name), role, poll)
                });
                (None, None, own.collect())
            }
        }
    }
}

/// Reads `timeout`, `health` and `checks` of a service, and what is done when its health changes.
pub fn read(
    section: &mut Section<'_>,
    subject: Subject<'_>,
    poll: Option<Duration>,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> (Checks, Actions) {
    let limit = section.take("timeout");
    let health = section.take("health");
    let checks = section.take("checks");
    let has_check = health.or(checks).is_some();
    let actions = actions(section, subject, has_check, target, problems);
    let Some(several) = checks else {
        let health = health.and_then(|value| self::health(value, subject, poll, limit, target, problems));
        return (Checks::One(health), actions);
    };
    if health.is_some() {
        problems.error(several, CheckError::HealthAndChecks(subject));
    } else if let Some(limit) = limit {
        problems.error(limit, CheckError::TimeoutBesideChecks(subject));
    }
    (
        Checks::Several(self::several(several, subject, poll, target, problems)),
        actions,
    )
}

/// Reads `checks`.
fn several(
    value: &Value<'_>,
    subject: Subject<'_>,
    poll: Option<Duration>,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Vec<(String, Check)> {
    let fault = match &value.data {
        Data::List(elements) if elements.is_empty() => Some(CheckError::NoChecks(subject)),
        Data::List(elements) if elements.len() > MOST_CHECKS => {
            Some(CheckError::TooMany(subject, elements.len(), MOST_CHECKS))
        }
        _ => None,
    };
    if let Some(fault) = fault {
        problems.error(value, fault);
        return Vec::new();
    }
    let mut names = HashSet::new();
    list(value, "an array of health checks", problems, |value, problems| {
        let mut section = Section::open(value, "an object", problems)?;
        let name = name(value, &mut section, subject, problems);
        if let Some(name) = name
            && !names.insert(name)
        {
            problems.error(value, CheckError::OneName(name, subject));
        }
        let named = of_service(name.unwrap_or_default(), subject);
        let check = object(value, section, named, poll, None, target, problems);
        Some((name?.to_owned(), check?))
    })
}

/// The subject of messages about a check of a service.
fn of_service<'a>(name: &'a str, service: Subject<'a>) -> Subject<'a> {
    match service {
        Subject::Service(service) => Subject::Check(name, service),
        other => other,
    }
}

/// Reads `name` of a check.
fn name<'v>(
    value: &Value<'_>,
    section: &mut Section<'v>,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> Option<&'v str> {
    let allowed = format!("1 to {LONGEST_NAME} characters");
    let Some(given) = section.take("name") else {
        problems.error(value, CheckError::NoName(of_service("", subject)));
        return None;
    };
    let name = string(given, problems)?;
    let is_short = (1..=LONGEST_NAME).contains(&name.chars().count());
    if !is_short || name.chars().any(char::is_control) {
        problems.wrong(given, CheckError::NoName(of_service("", subject)), &allowed);
        return None;
    }
    Some(name)
}

/// Reads `health`; an empty command means that there is no check (CFG-8). `beside` is the `timeout` of the service. A
/// command alone has no other limit (EX-19).
fn health(
    value: &Value<'_>,
    subject: Subject<'_>,
    poll: Option<Duration>,
    beside: Option<&Value<'_>>,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<Check> {
    if matches!(value.data, Data::Object(_)) {
        let section = Section::open(value, "a command or an object", problems)?;
        return object(value, section, subject, poll, beside, target, problems);
    }
    let run = command::optional(value, target, problems);
    let run = command::limited(run, beside, &DurationKey::HealthTimeout(subject), problems)?;
    let is_long = run.time_limit.zip(poll).is_some_and(|(limit, poll)| limit > poll);
    if is_long && target.examination.is_some() {
        problems.warning(beside.unwrap_or(value), Warning::LongCheck(subject));
    }
    Some(Check {
        work: Work::Command(run),
        thresholds: None,
        interval: None,
    })
}

/// Reads the object of a check. Its time limit is the interval if none is given, and at most the interval, which is `poll`
/// if none is given.
fn object(
    value: &Value<'_>,
    mut section: Section<'_>,
    subject: Subject<'_>,
    poll: Option<Duration>,
    beside: Option<&Value<'_>>,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<Check> {
    let given = section.take("interval");
    let interval = given.and_then(|value| {
        let key = DurationKey::Key("interval", subject);
        duration::positive(value, &key, problems)
    });
    let (key, period) = match given {
        Some(_) => ("interval", interval),
        None => ("poll", poll),
    };
    let found = probes::read(&mut section, subject, problems);
    let (work, own) = match found {
        probes::Found::Nothing => command_in_object(value, &mut section, subject, beside, target, problems),
        probes::Found::Probe(probe) => {
            probe_in_object(probe, &mut section, subject, period, beside, problems)
        }
    };
    let thresholds = thresholds(&mut section, subject, problems);
    section.close(problems);
    let mut work = work?;
    if let (Some(limit), Some(period)) = (work.time_limit(), period)
        && limit > period
    {
        problems.error(
            own.or(beside).unwrap_or(value),
            CheckError::TooLong(subject, key, period),
        );
    }
    if let Work::Command(run) = &mut work {
        run.time_limit = run.time_limit.or(period);
    }
    Some(Check {
        work,
        thresholds,
        interval,
    })
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

/// A probe with its time limit, which is `period` if none is given, and the value of the limit in the object.
fn probe_in_object<'v>(
    target: Option<ProbeTarget>,
    section: &mut Section<'v>,
    subject: Subject<'_>,
    period: Option<Duration>,
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
    let work = target.zip(period).map(|(target, period)| Work::Probe {
        target,
        time_limit: limit.unwrap_or(period),
        keeps_connection: period < LONGEST_PAUSE,
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
            on_unhealthy: self
                .on_unhealthy
                .map(|run| Box::new(jobs::on_demand(on_unhealthy, run))),
            on_healthy: self
                .on_healthy
                .map(|run| Box::new(jobs::on_demand(on_healthy, run))),
            exit_after: self.exit_after,
        }
    }
}

/// Reads `onUnhealthy`, `onHealthy` and `exitAfter` of a service; each of them needs a health check.
fn actions(
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
