//! Every notice in every log format.

use super::{Console, LogFormat, Read};
use crate::ports::Console as _;
use domain::Notice;
use domain::catalogue::{Dependency, Endpoint};
use domain::lifecycle::Phase;
use domain::notice::catalogue::CatalogueNotice;
use domain::notice::lifecycle::LifecycleNotice;
use domain::notice::templates::TemplateNotice;
use domain::notice::{Failure, Named, Server};
use domain::plan::{Level, Role};
use domain::process::{Ending, ExitStatus, Pid};
use domain::signal::Signal;
use domain::time::Duration;
use regex::Regex;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// Lists the variants of [`Notice`]. A variant that is missing here does not compile; one that is listed here
/// but missing in [`every`] fails a test.
macro_rules! variants {
    ($($name:ident)*) => {
        const VARIANTS: &[&str] = &[$(stringify!($name)),*];

        fn variant(notice: &Notice) -> &'static str {
            match notice {
                $(Notice::$name { .. } => stringify!($name),)*
            }
        }
    };
}

variants! {
    Warning LoadedConfiguration Lifecycle Reloading ReloadFollows Reloaded ReloadRefused SignalIgnored SignalForwarded
    SignalKept Maintenance MarkedForMaintenance Deregistering DeregisteringInCase DeregisteringFailed StillRegistered NotRegistered Registered
    HeldByAnother RegistrationFailed HeartbeatFailed HeartbeatsResumed Failing Unhealthy UnhealthyAnew Healthy
    FailedTooOften
    QueryFailed QueryResumed Filtered NoLongerFiltered Skipped HeldBack ListLeftOut Changed Catalogue SensorFailed SensorResumed Template WokenLate
    Listening TimedOut Killing Started Ended Answer NotStarted StartedAgain StartRetried Stopped Outlived RestartDelayed
    KillingApplication LeftBehind
}

/// At least one notice of each variant, with these names of a service, a backend and a sensor.
pub(super) fn every() -> Vec<Notice> {
    let of_roles = roles().into_iter().flat_map(of_role);
    [
        of_the_program(),
        of_services(),
        of_backends(),
        of_sensors(),
        of_templates(),
    ]
    .concat()
    .into_iter()
    .chain(of_roles)
    .collect()
}

fn roles() -> Vec<Role> {
    let name = || String::from("job");
    vec![
        Role::Application,
        Role::PreStart,
        Role::PreStop,
        Role::PostStop,
        Role::Health {
            service: name(),
            id: name(),
            check: None,
        },
        Role::OnUnhealthy {
            service: name(),
            id: name(),
        },
        Role::OnHealthy {
            service: name(),
            id: name(),
        },
        Role::OnChange { backend: name() },
        Role::Task { name: name() },
        Role::Coprocess { name: name() },
        Role::Sensor { name: name() },
        Role::Template { destination: name() },
    ]
}

fn failure() -> Failure {
    Failure {
        cause: "refused".into(),
        times: 10,
        at_full_level: true,
    }
}

fn ending(code: u8) -> Ending {
    Ending::Exited(ExitStatus::Code(code))
}

fn of_the_program() -> Vec<Notice> {
    let text = || String::from("a < \"b\"\nc");
    vec![
        Notice::Warning(text()),
        Notice::LoadedConfiguration(text()),
        Notice::Reloading,
        Notice::ReloadFollows,
        Notice::Reloaded,
        Notice::ReloadRefused(text()),
        Notice::SignalIgnored(Signal::TERM),
        Notice::Lifecycle(LifecycleNotice::Starting {
            version: "0.1.0",
            pid: Pid(7),
            configuration: text(),
            contents: text(),
        }),
        Notice::Lifecycle(LifecycleNotice::StopRequested(Signal::TERM)),
        Notice::Lifecycle(LifecycleNotice::StopDone(
            vec![(Phase::Terminating, Duration::from_millis(1_500))],
            143,
        )),
        Notice::Lifecycle(LifecycleNotice::ApplicationEnded {
            status: ExitStatus::Code(3),
            ran: Duration::from_secs(2),
            requested: false,
        }),
        Notice::Lifecycle(LifecycleNotice::Draining(Duration::from_secs(10))),
        Notice::Lifecycle(LifecycleNotice::DrainEnded(Signal::TERM)),
        Notice::SignalForwarded(Signal::HUP),
        Notice::SignalKept(Signal::HUP),
        Notice::Maintenance(true),
        Notice::Maintenance(false),
        Notice::Catalogue(CatalogueNotice::Lost(text())),
        Notice::Catalogue(CatalogueNotice::Regained(Duration::from_secs(70), 12)),
        Notice::Catalogue(CatalogueNotice::BudgetCut {
            allowed: 1,
            whole: 2,
            cause: text(),
        }),
        Notice::Catalogue(CatalogueNotice::BudgetWhole(2)),
        Notice::WokenLate(Duration::from_secs(1)),
        Notice::Listening(Server::Telemetry(([192, 0, 2, 1], 9090).into())),
        Notice::Listening(Server::Control(text())),
        Notice::KillingApplication(Pid(7)),
    ]
}

fn of_role(role: Role) -> Vec<Notice> {
    let delay = Duration::from_secs(1);
    vec![
        Notice::TimedOut {
            role: role.clone(),
            limit: delay,
            program: "/bin/true".into(),
            again: false,
        },
        Notice::Killing {
            role: role.clone(),
            again: false,
        },
        Notice::Started(role.clone(), Pid(7)),
        Notice::Ended(role.clone(), ending(0)),
        Notice::Ended(role.clone(), ending(1)),
        Notice::Answer(role.clone(), "not\n\"ready\"".into()),
        Notice::NotStarted {
            role: role.clone(),
            code: 127,
            failure: failure(),
        },
        Notice::StartedAgain(role.clone(), 3),
        Notice::StartRetried(role.clone(), delay),
        Notice::Stopped(role.clone(), ending(0)),
        Notice::Outlived(role.clone()),
        Notice::RestartDelayed(role.clone(), delay),
        Notice::LeftBehind(role),
    ]
}

fn of_services() -> Vec<Notice> {
    let named = || Named {
        service: "app".into(),
        id: "app-host".into(),
        check: None,
    };
    let endpoint = |port| Endpoint {
        address: "192.0.2.1".into(),
        port,
    };
    vec![
        Notice::MarkedForMaintenance(named()),
        Notice::Deregistering(named()),
        Notice::DeregisteringInCase(named()),
        Notice::DeregisteringFailed(named(), "refused".into()),
        Notice::StillRegistered(named()),
        Notice::NotRegistered(named(), "unknown".into()),
        Notice::Registered(named()),
        Notice::FailedTooOften {
            named: named(),
            failures: 5,
            reason: "exit status 1: refused".into(),
        },
        Notice::HeldByAnother {
            named: named(),
            ours: endpoint(80),
            other: endpoint(81),
        },
        Notice::RegistrationFailed(named(), failure()),
        Notice::HeartbeatFailed(named(), failure()),
        Notice::HeartbeatsResumed(named(), 3),
        Notice::Failing {
            named: named(),
            reason: "exit status 1: no".into(),
            counted: Some((1, 3)),
        },
        Notice::Failing {
            named: named(),
            reason: "exit status 1: no".into(),
            counted: None,
        },
        Notice::Unhealthy {
            named: named(),
            reason: "exit status 1: no".into(),
            passed_before: true,
        },
        Notice::Unhealthy {
            named: named(),
            reason: "exit status 1: no".into(),
            passed_before: false,
        },
        Notice::UnhealthyAnew(named(), "exit status 1: no".into()),
        Notice::Healthy {
            named: named(),
            after: Duration::from_secs(10),
            failures: 5,
        },
    ]
}

fn of_backends() -> Vec<Notice> {
    let backend = || String::from("db");
    let filtered = |instances| Notice::Filtered {
        backend: backend(),
        instances,
    };
    vec![
        Notice::QueryFailed {
            backend: backend(),
            failure: failure(),
        },
        Notice::QueryResumed {
            backend: backend(),
            failures: 3,
        },
        filtered(0),
        filtered(1),
        Notice::NoLongerFiltered(backend()),
        Notice::Skipped {
            backend: backend(),
            count: 2,
            example: "none".into(),
        },
        Notice::HeldBack {
            backend: backend(),
            instances: 1,
            minimum: 2,
        },
        Notice::ListLeftOut {
            backend: backend(),
            what: "CONTAINERPILOT_INSTANCES",
        },
        Notice::Changed {
            backend: backend(),
            instances: 1,
            difference: "+192.0.2.1:80".into(),
        },
    ]
}

fn of_sensors() -> Vec<Notice> {
    let sensor = || String::from("load");
    vec![
        Notice::SensorFailed {
            sensor: sensor(),
            failure: failure(),
        },
        Notice::SensorResumed {
            sensor: sensor(),
            failures: 3,
        },
    ]
}

fn of_templates() -> Vec<Notice> {
    let destination = || String::from("/etc/app.conf");
    let dependency = || Dependency::Service {
        name: "db".into(),
        tag: Some("blue".into()),
    };
    let notices = [
        TemplateNotice::Written(destination()),
        TemplateNotice::Failed {
            destination: destination(),
            failure: failure(),
        },
        TemplateNotice::Resumed {
            destination: destination(),
            failures: 3,
        },
        TemplateNotice::Missing {
            destination: destination(),
            waits_for: vec![dependency()],
            limit: Duration::from_secs(60),
        },
        TemplateNotice::Waits {
            destination: destination(),
            first: dependency(),
            others: 0,
        },
        TemplateNotice::Waits {
            destination: destination(),
            first: dependency(),
            others: 2,
        },
        TemplateNotice::LookUpFailed {
            dependency: dependency(),
            failure: failure(),
        },
        TemplateNotice::LookUpResumed {
            dependency: dependency(),
            failures: 3,
        },
        TemplateNotice::Hidden(dependency()),
    ];
    notices.map(Notice::Template).into()
}

#[test]
fn every_variant_has_an_example() {
    let examples: BTreeSet<_> = every().iter().map(variant).collect();
    assert_eq!(examples, VARIANTS.iter().copied().collect());
}

/// The line contains the level, the message and all fields of the notice, and nothing else.
#[test]
fn every_notice_is_formatted_in_every_format_with_all_its_fields() {
    let [default, text, json] =
        [LogFormat::Default, LogFormat::Text, LogFormat::Json].map(|format| Read::new(Level::Debug, format));
    for notice in every() {
        let line = |log: &Read| log.after_unescaped(|console: &mut Console| console.log(&notice));
        assert_eq!(line(&default), format!("2026/11/22 12:00:00 {notice}\n"));
        let fields: String = notice
            .fields()
            .iter()
            .map(|(name, value)| format!("{name}={value} "))
            .collect();
        let text = line(&text);
        assert!(
            text.ends_with(&format!("\" {fields}\n")),
            "{text} has not {fields}"
        );
        let read: Map<String, Value> = serde_json::from_str(&line(&json)).unwrap();
        let level = format!("{:?}", notice.level()).to_lowercase();
        let always = [
            ("level", level.as_str()),
            ("msg", &notice.to_string()),
            ("time", "2026-11-22T12:00:00Z"),
        ];
        let expected = always.into_iter().chain(notice.fields());
        let expected: Map<_, _> = expected
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect();
        assert_eq!(read, expected, "{notice:?}");
    }
}

/// The rows of the tables in docs/log.md: the levels and the sentence, as an expression.
fn documented() -> Vec<(Vec<String>, String, Regex)> {
    let page = include_str!("../../../../docs/log.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| "));
    let rows = rows.filter_map(|row| {
        let (levels, rest) = row.split_once(" | `")?;
        let (sentence, _) = rest.split_once("` |")?;
        let parts: Vec<String> = sentence
            .split('<')
            .enumerate()
            .map(|(index, part)| match (index, part.split_once('>')) {
                (1.., Some((_, after))) => format!(".*{}", regex::escape(after)),
                _ => regex::escape(part),
            })
            .collect();
        let expression = Regex::new(&format!("(?s)^{}$", parts.concat())).unwrap();
        let levels = levels.split(", ").map(str::to_owned).collect();
        Some((levels, sentence.to_owned(), expression))
    });
    rows.collect()
}

#[test]
fn the_documentation_lists_every_sentence_with_its_level_and_no_others() {
    let rows = documented();
    let mut used = BTreeSet::new();
    let has_any_text = |notice: &Notice| matches!(notice, Notice::Warning(_));
    for notice in every().iter().filter(|notice| !has_any_text(notice)) {
        let sentence = notice.to_string();
        let level = match notice.level() {
            Level::Warning => "WARN".to_owned(),
            level => format!("{level:?}").to_uppercase(),
        };
        let row = rows
            .iter()
            .position(|(levels, _, expression)| levels.contains(&level) && expression.is_match(&sentence));
        used.insert(row.unwrap_or_else(|| panic!("docs/log.md lacks, at {level}: {sentence}")));
    }
    let unused = rows.iter().enumerate().filter(|(row, _)| !used.contains(row));
    let unused: Vec<&String> = unused.map(|(_, (_, sentence, _))| sentence).collect();
    assert!(
        unused.is_empty(),
        "docs/log.md has sentences that do not exist: {unused:?}"
    );
}
