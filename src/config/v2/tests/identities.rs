//! Tests of commands in the form of an object, and of the keys `user` and `group`.

use super::*;

/// The hook preStart with this value.
fn hook(value: &str) -> Option<Job> {
    plan_of(&format!("\"preStart\": {value}")).pre_start
}

fn numbers(job: &Job) -> Option<(u32, u32, Option<Vec<u32>>)> {
    let identity = job.identity.as_ref()?;
    Some((identity.user, identity.group, identity.groups.clone()))
}

#[test]
fn a_command_can_be_an_object_with_a_string_or_an_array() {
    for command in [r#""/bin/a b""#, r#"["/bin/a", "b"]"#] {
        let plain = hook(command).unwrap();
        assert_eq!(hook(&format!("{{\"command\": {command}}}")), Some(plain));
    }
}

#[test]
fn an_object_with_an_empty_command_is_an_absent_hook_and_one_without_a_command_an_error() {
    for empty in [
        r#"{"command": ""}"#,
        r#"{"command": [], "user": "root"}"#,
        r#"{"command": [""]}"#,
    ] {
        assert_eq!(hook(empty), None, "{empty}");
    }
    for without in ["{}", r#"{"command": null, "user": "root"}"#] {
        let report = report_of(&format!("\"preStart\": {without}"));
        assert!(
            report.contains("preStart: an object for a command needs the key `command`"),
            "{report}"
        );
    }
    let report = report_of(r#""coprocesses": [{"command": {"user": "root"}}]"#);
    assert!(
        report.contains("coprocesses[0].command: Coprocess did not provide a command"),
        "{report}"
    );
}

#[test]
fn user_and_group_are_names_or_numbers() {
    let all = Some((33, 33, Some(vec![29, 33])));
    for user in [r#""www-data""#, "33", r#""33""#, "3.3e1"] {
        let job = hook(&format!("{{\"command\": \"a\", \"user\": {user}}}")).unwrap();
        assert_eq!(numbers(&job), all, "{user}");
    }
    let job = hook(r#"{"command": "a", "user": 33, "group": "audio"}"#).unwrap();
    assert_eq!(numbers(&job), Some((33, 29, Some(vec![29]))));
    let job = hook(r#"{"command": "a", "group": "29"}"#).unwrap();
    assert_eq!(numbers(&job), Some((0, 29, None)));
    let job = hook(r#"{"command": "a", "user": null, "group": null}"#).unwrap();
    assert_eq!(numbers(&job), None);
}

/// Every place where a command may stand, with `#` in its place.
const PLACES: [&str; 9] = [
    r#""preStart": #"#,
    r#""onStart": #"#,
    r#""preStop": #"#,
    r#""postStop": #"#,
    r#""services": [{"name": "a", "port": 1, "poll": 10, "ttl": 30, "health": #}]"#,
    r#""backends": [{"name": "b", "poll": 1, "onChange": #}]"#,
    r#""tasks": [{"command": #, "frequency": "1s"}]"#,
    r#""coprocesses": [{"command": #}]"#,
    r#""telemetry": {"interfaces": "lo", "sensors": [{"name": "s", "help": "h", "type": "gauge", "poll": 5, "check": #}]}"#,
];

fn jobs(plan: Plan) -> Vec<Job> {
    let hooks = [plan.pre_start, plan.pre_stop, plan.post_stop];
    let checks = plan
        .services
        .into_iter()
        .filter_map(|service| service.check?.job().cloned());
    let handlers = plan.backends.into_iter().map(|backend| backend.on_change);
    let sensors = plan.telemetry.into_iter().flat_map(|telemetry| telemetry.sensors);
    let others = checks.chain(handlers).chain(sensors.map(|sensor| sensor.job));
    hooks
        .into_iter()
        .flatten()
        .chain(others)
        .chain(plan.jobs)
        .collect()
}

#[test]
fn the_object_can_stand_wherever_a_command_can() {
    for place in PLACES {
        let object = r#"{"command": ["a", "b"], "user": "www-data", "timeout": "7s"}"#;
        let jobs = jobs(plan_of(&place.replace('#', object)));
        assert_eq!(jobs.len(), 1, "{place}");
        assert_eq!(line(&jobs[0]), ["a", "b"], "{place}");
        assert_eq!(jobs[0].time_limit, Some(Duration::from_secs(7)), "{place}");
        assert_eq!(numbers(&jobs[0]), Some((33, 33, Some(vec![29, 33]))), "{place}");
    }
}

#[test]
fn user_and_group_at_the_root_are_those_of_the_application_only() {
    let text = r#"{"consul": "c:1", "user": "www-data", "group": 7, "preStart": "a"}"#;
    let plan = compiled_with(text, &[], &["app"]).unwrap().plan;
    assert_eq!(
        numbers(&plan.application.unwrap()),
        Some((33, 7, Some(vec![7, 29])))
    );
    assert_eq!(numbers(&plan.pre_start.unwrap()), None);
}

#[test]
fn a_time_limit_may_stand_in_the_object_or_beside_it_and_not_in_both() {
    let report = report_of(
        r#""services": [{"name": "a", "port": 1, "poll": 1, "ttl": 5,
                         "health": {"command": "a", "timeout": "0"}, "timeout": "1s"}]"#,
    );
    let sentence = "`timeout` is given twice: in the object of the command, and beside it";
    assert!(
        report.contains(&format!("services[0].timeout: {sentence}")),
        "{report}"
    );
    let plan = plan_of(r#""tasks": [{"command": {"command": "a"}, "frequency": 9, "timeout": "1s"}]"#);
    assert_eq!(plan.jobs[0].time_limit, Some(Duration::from_secs(1)));
    let plan = plan_of(r#""tasks": [{"command": {"command": "a"}, "frequency": 9}]"#);
    assert_eq!(plan.jobs[0].time_limit, Some(Duration::from_secs(9)));
}

/// What is refused, its place, and a part of the report.
const REFUSED: [(&str, &str, &str); 16] = [
    (
        r#"{"command": "a", "user": "ghost"}"#,
        "preStart.user",
        "there is no such user in /etc/passwd: found \"ghost\"",
    ),
    (
        r#"{"command": "a", "user": 33, "group": "ghosts"}"#,
        "preStart.group",
        "there is no such group in /etc/group",
    ),
    (
        r#"{"command": "a", "group": "audo"}"#,
        "preStart.group",
        "did you mean `audio`?",
    ),
    (
        r#"{"command": "a", "user": "www_data"}"#,
        "preStart.user",
        "did you mean `www-data`?",
    ),
    (
        r#"{"command": "a", "user": 4711}"#,
        "preStart.user",
        "user 4711 has no entry in /etc/passwd, so a `group` is needed",
    ),
    (
        r#"{"command": "a", "user": ""}"#,
        "preStart.user",
        "an empty name: found \"\"",
    ),
    (
        r#"{"command": "a", "user": -1}"#,
        "preStart.user",
        "out of range: found -1",
    ),
    (
        r#"{"command": "a", "user": 4294967295}"#,
        "preStart.user",
        "out of range: found 4294967295",
    ),
    (
        r#"{"command": "a", "user": 1.5}"#,
        "preStart.user",
        "not a whole number: found 1.5",
    ),
    (
        r#"{"command": "a", "user": true}"#,
        "preStart.user",
        "not a whole number: found true",
    ),
    (
        r#"{"command": "a", "user": 70000, "group": 0}"#,
        "preStart.user",
        "there is no user 70000 in the user namespace",
    ),
    (
        r#"{"command": "a", "group": 70000}"#,
        "preStart.group",
        "there is no group 70000 in the user namespace",
    ),
    (
        r#"{"command": "a", "usr": 1}"#,
        "preStart.usr",
        "did you mean `user`?",
    ),
    (
        r#"{"command": {"command": "a"}}"#,
        "preStart.command",
        "not a command: found an object, allowed is a string or an array of strings",
    ),
    (
        r#"{"command": "a", "timeout": "1 h"}"#,
        "preStart.timeout",
        "`timeout` of a command: time: unknown unit  h in duration 1 h",
    ),
    (
        "7",
        "preStart",
        "allowed is a string, an array of strings, or an object with `command`",
    ),
];

#[test]
fn what_cannot_be_used_is_refused_with_its_place() {
    for (value, place, sentence) in REFUSED {
        let report = report_of(&format!("\"preStart\": {value}"));
        assert!(
            report.contains(&format!(" {place}: ")) && report.contains(sentence),
            "{value}: {report}"
        );
    }
}

#[test]
fn users_that_cannot_be_read_are_reported_and_only_if_they_are_needed() {
    let load = |text: &str| {
        let mut users = MockUsers::new();
        users
            .expect_accounts()
            .returning(|| Err(std::io::Error::other("it is no file")));
        let target = Target {
            variables: BTreeMap::new(),
            hostname: None,
            interfaces: &interfaces(),
            users: &users,
            application: &[],
            has_etcd: true,
            examination: None,
        };
        load(&Source::Inline(text.into()), Readable::Files, &target).map(drop)
    };
    assert_eq!(load(r#"{"consul": "c:1", "preStart": {"command": "a"}}"#), Ok(()));
    let report = load(r#"{"consul": "c:1", "user": "a"}"#).unwrap_err();
    assert!(
        report.contains("user: the users and groups of this machine cannot be read: it is no file"),
        "{report}"
    );
}
