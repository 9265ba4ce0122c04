//! Tests of what the front end accepts, refuses and warns of, by the rows CFG-* of
//! docs/development/behaviour.md.

mod actions;
mod backends;
mod checks;
mod extremes;
mod identities;
mod registration;
mod templates;

use super::*;
use crate::config::{Compiled, Readable, Source, load};
use crate::ports::{MockInterfaces, MockUsers};
use domain::address::InterfaceAddress;
use domain::plan::{
    Catalogue, Check, Consul, Level, LogFormat, LogOutput, Output, Restarts, Scheme, Secret, SensorKind,
    SignalTarget, Telemetry, Thresholds, Tls, Trigger,
};
use domain::probe::{Probe, ProbeTarget};
use domain::time::Duration;
use nix::time::ClockId;
use std::num::NonZeroU32;

fn interfaces() -> MockInterfaces {
    let mut interfaces = MockInterfaces::new();
    interfaces.expect_addresses().returning(|| {
        let entry = |name: &str, address: &str| InterfaceAddress {
            interface: name.into(),
            address: address.parse().unwrap(),
        };
        Ok(vec![
            entry("eth0", "192.0.2.1"),
            entry("eth0", "fd00::1"),
            entry("lo", "127.0.0.1"),
        ])
    });
    interfaces
}

fn users() -> MockUsers {
    let mut users = MockUsers::new();
    users
        .expect_accounts()
        .returning(|| Ok(std::rc::Rc::new(crate::accounts::accounts())));
    users
}

fn compiled_with(text: &str, variables: &[(&str, &str)], application: &[&str]) -> Result<Compiled, String> {
    let application: Vec<Word> = application.iter().map(|word| Word::from(*word)).collect();
    let target = Target {
        variables: variables
            .iter()
            .map(|(name, value)| ((*name).into(), (*value).into()))
            .collect(),
        hostname: Some("host".into()),
        interfaces: &interfaces(),
        users: &users(),
        application: &application,
        has_etcd: true,
        examination: None,
    };
    load(&Source::Inline(text.into()), Readable::Files, &target)
}

/// The result on a machine with this host name, of a program with or without etcd.
fn compiled_on(hostname: Option<&str>, has_etcd: bool, text: &str) -> Result<Compiled, String> {
    let target = Target {
        variables: BTreeMap::new(),
        hostname: hostname.map(Into::into),
        interfaces: &interfaces(),
        users: &users(),
        application: &[],
        has_etcd,
        examination: None,
    };
    load(&Source::Inline(text.into()), Readable::Files, &target)
}

fn compiled(text: &str) -> Compiled {
    compiled_with(text, &[], &[]).unwrap_or_else(|report| panic!("{report}"))
}

/// The plan of a document with a catalogue and these members.
fn plan_of(members: &str) -> Plan {
    compiled(&format!("{{\"consul\": \"consul:8500\", {members}}}")).plan
}

fn report_of(members: &str) -> String {
    let text = format!("{{\"consul\": \"consul:8500\",\n{members}}}");
    compiled_with(&text, &[], &[])
        .map(|compiled| compiled.plan)
        .unwrap_err()
}

fn service_with(members: &str) -> String {
    format!("\"services\": [{{\"name\": \"app\", \"poll\": 10, \"ttl\": 30, \"port\": 80, {members}}}]")
}

fn line(command: &Job) -> Vec<String> {
    let words = std::iter::once(&command.command.program).chain(&command.command.arguments);
    words.map(ToString::to_string).collect()
}

#[test]
fn the_control_socket_is_off_unless_it_is_written() {
    assert_eq!(plan_of(r#""stopTimeout": 5"#).control, None);
    assert_eq!(plan_of(r#""control": null"#).control, None);
    let socket = |members: &str| plan_of(&format!("\"control\": {{{members}}}")).control.unwrap();
    assert_eq!(socket("").path, "/var/run/containerpilot.socket");
    assert_eq!(socket("").group, None);
    let longest = format!("/{}", "x".repeat(106));
    let written = socket(&format!(r#""socket": "{longest}", "group": 7"#));
    assert_eq!((written.path, written.group), (longest, Some(7)));
    assert_eq!(socket(r#""group": "www-data""#).group, Some(33));
}

#[test]
fn errors_in_the_control_socket_are_reported() {
    let too_long = format!("/{}", "x".repeat(107));
    for (members, sentence) in [
        (
            r#""socket": """#,
            "this cannot be the path of the control socket: found \"\", allowed is an absolute path of at most 107 bytes",
        ),
        (
            r#""socket": "run/s""#,
            "this cannot be the path of the control socket",
        ),
        (
            r#""socket": "/a\u0000""#,
            "this cannot be the path of the control socket",
        ),
        (
            &format!(r#""socket": "{too_long}""#),
            "this cannot be the path of the control socket",
        ),
        (r#""socket": 7"#, "not a string"),
        (r#""group": "wheels""#, "control.group: "),
        (r#""path": "/run/s""#, "unknown key `path`"),
    ] {
        let report = report_of(&format!("\"control\": {{{members}}}"));
        assert!(report.contains(sentence), "{members}: {report}");
        assert_eq!(
            report.matches("allowed is").count(),
            report.matches("found ").count(),
            "{report}"
        );
    }
}

#[test]
fn the_control_socket_is_found_in_a_configuration_with_errors_elsewhere() {
    let found = |text: &str| {
        let variables = [("RUN".to_owned(), "/run/x".to_owned())].into();
        crate::config::control_socket(&Source::Inline(text.into()), &variables)
    };
    let text = r#"{"nonsense": [], "control": {"socket": "{{.RUN}}/s", "more": 1}}"#;
    assert_eq!(found(text), Ok(Some("/run/x/s".into())));
    assert_eq!(
        found(r#"{"control": {}}"#),
        Ok(Some("/var/run/containerpilot.socket".into()))
    );
    for without in ["{}", r#"{"control": null}"#, "7"] {
        assert_eq!(found(without), Ok(None), "{without}");
    }
    let twice = r#"{"control": {"socket": "/a"}, "control": {"socket": "/b"}}"#;
    assert_eq!(found(twice), Ok(Some("/b".into())));
    assert!(found("{").is_err());
    assert!(found("{{ nonsense }}").is_err());
}

#[test]
fn the_configuration_of_the_original_unit_test_loads() {
    let text = r#"{
        "consul": "consul:8500",
        "preStart": "/bin/to/preStart.sh arg1 arg2",
        "preStop": ["/bin/to/preStop.sh", "arg1", "arg2"],
        "postStop": ["/bin/to/postStop.sh"],
        "stopTimeout": 5,
        "services": [
            {"name": "serviceA", "port": 8080, "interfaces": "eth0", "health": ["/bin/to/healthcheck/for/service/A.sh"],
             "poll": 30, "ttl": "19", "tags": ["tag1", "tag2"]},
            {"name": "serviceB", "port": 5000, "interfaces": ["ethwe", "eth0"],
             "health": "/bin/to/healthcheck/for/service/B.sh", "poll": 30, "ttl": 103}
        ],
        "backends": [
            {"name": "upstreamA", "poll": 11, "onChange": ["/bin/to/onChangeEvent/for/upstream/A.sh", "{{.TEST}}"], "tag": "dev"},
            {"name": "upstreamB", "poll": 79, "onChange": "/bin/to/onChangeEvent/for/upstream/B.sh {{.ENV_NOT_FOUND}}"}
        ]
    }"#;
    let compiled = compiled_with(text, &[("TEST", "HELLO")], &["/testdata/test.sh", "arg1", "arg2"]).unwrap();
    let plan = compiled.plan;
    assert_eq!(
        line(plan.pre_start.as_ref().unwrap()),
        ["/bin/to/preStart.sh", "arg1", "arg2"]
    );
    assert_eq!(
        line(plan.pre_stop.as_ref().unwrap()),
        ["/bin/to/preStop.sh", "arg1", "arg2"]
    );
    assert_eq!(line(plan.post_stop.as_ref().unwrap()), ["/bin/to/postStop.sh"]);
    assert_eq!(
        line(plan.application.as_ref().unwrap()),
        ["/testdata/test.sh", "arg1", "arg2"]
    );
    let ttls: Vec<u64> = plan
        .services
        .iter()
        .map(|service| service.registration.ttl.as_secs())
        .collect();
    assert_eq!(ttls, [19, 103]);
    assert_eq!(plan.services[0].registration.tags, ["tag1", "tag2"]);
    assert_eq!(plan.services[0].registration.id, "serviceA-host");
    assert_eq!(plan.services[1].registration.address.to_string(), "192.0.2.1");
    assert_eq!(plan.backends[0].tag.as_deref(), Some("dev"));
    assert_eq!(plan.backends[1].tag, None);
    assert_eq!(line(&plan.backends[0].on_change)[1], "HELLO");
    assert_eq!(
        line(&plan.backends[1].on_change).len(),
        1,
        "an empty variable leaves no empty argument"
    );
}

#[test]
fn jobs_have_their_output_and_stop_policies() {
    let plan = plan_of(&format!(
        "\"preStart\": \"a\", {}",
        service_with("\"health\": \"b\", \"timeout\": \"1s\"")
    ));
    let hook = plan.pre_start.unwrap();
    assert_eq!(
        (hook.output, hook.trigger, hook.time_limit),
        (Output::Inherit, Trigger::Lifecycle, None)
    );
    let check = command(&plan.services[0].check);
    assert_eq!((check.output, check.trigger), (Output::Log, Trigger::OnDemand));
    assert_eq!(check.time_limit, Some(Duration::from_secs(1)));
}

#[test]
fn an_empty_optional_hook_counts_as_absent() {
    for empty in ["\"\"", "[]", "[\"\"]", "null", "\"  \""] {
        let plan = plan_of(&format!(
            "\"preStart\": {empty}, \"preStop\": {empty}, \"postStop\": {empty}"
        ));
        assert_eq!(
            (plan.pre_start, plan.pre_stop, plan.post_stop),
            (None, None, None),
            "{empty}"
        );
        let plan = plan_of(&service_with(&format!("\"health\": {empty}")));
        assert_eq!(plan.services[0].check, None, "{empty}");
    }
    let report = report_of("\"backends\": [{\"name\": \"db\", \"poll\": 1, \"onChange\": \"\"}]");
    assert!(
        report.contains("`onChange` is required in backend db"),
        "{report}"
    );
}

#[test]
fn on_start_is_pre_start_with_a_warning_and_pre_start_wins() {
    let both = compiled(r#"{"consul": "c:1", "onStart": "old", "preStart": "new"}"#);
    assert_eq!(line(both.plan.pre_start.as_ref().unwrap()), ["new"]);
    assert!(
        both.warnings[0].contains("will use only the preStart option provided"),
        "{:?}",
        both.warnings
    );
    let only = compiled(r#"{"consul": "c:1", "onStart": "old"}"#);
    assert_eq!(line(only.plan.pre_start.as_ref().unwrap()), ["old"]);
    assert!(only.warnings[0].contains("will use the onStart option as a preStart"));
}

#[test]
fn stop_timeout_is_five_seconds_by_default_and_minus_one_is_at_once() {
    let grace = |members: &str| plan_of(members).stop_timeout;
    let after = |seconds| StopTimeout::After(Duration::from_secs(seconds));
    assert_eq!(plan_of("\"preStart\": \"\"").stop_timeout, after(5));
    assert_eq!(grace("\"stopTimeout\": 12"), after(12));
    assert_eq!(grace("\"stopTimeout\": \"12\""), after(12));
    assert_eq!(grace("\"stopTimeout\": -1"), StopTimeout::Immediately);
    let zero = compiled(r#"{"consul": "c:1", "stopTimeout": 0}"#);
    assert_eq!(zero.plan.stop_timeout, after(5));
    assert!(zero.warnings[0].contains("-1"));
}

#[test]
fn the_drain_is_a_duration() {
    for (value, milliseconds) in [
        ("30", 30_000),
        ("\"1m30s\"", 90_000),
        ("\"250ms\"", 250),
        ("0", 0),
    ] {
        let drain = plan_of(&format!("\"drain\": {value}")).drain;
        assert_eq!(drain, Duration::from_millis(milliseconds), "{value}");
    }
    assert_eq!(plan_of("\"tasks\": []").drain, Duration::ZERO);
    for (value, sentence) in [
        ("-1", "`drain`: it cannot be less than 1ms: found -1"),
        ("\"soon\"", "`drain`: time: invalid duration soon: found \"soon\""),
        ("true", "`drain`: not a duration: found true"),
        ("1e30", "`drain`: not a number of seconds: found 1e30"),
    ] {
        let text = format!("{{\"consul\": \"c:1\", \"drain\": {value}}}");
        let report = compiled_with(&text, &[], &[]).unwrap_err();
        assert!(report.contains(sentence), "{value}: {report}");
    }
}

#[test]
fn the_application_can_have_another_stop_signal_which_its_tree_gets_too() {
    let stop = |members: &str| {
        let text = format!("{{\"consul\": \"c:1\", {members}}}");
        let compiled = compiled_with(&text, &[], &["app"]).unwrap();
        let stop = compiled.plan.application.unwrap().stop;
        (stop.signal.number(), stop.reach)
    };
    assert_eq!(stop("\"tasks\": []"), (15, SignalTarget::Leader));
    assert_eq!(stop("\"stopSignal\": \"QUIT\""), (3, SignalTarget::Leader));
    assert_eq!(stop("\"stopSignal\": 28"), (28, SignalTarget::Leader));
    assert_eq!(stop("\"stopSignal\": \"SIGRTMIN+3\""), (37, SignalTarget::Leader));
    assert_eq!(stop("\"signalGroup\": true"), (15, SignalTarget::Tree));
    assert_eq!(stop("\"signalGroup\": false"), (15, SignalTarget::Leader));
}

#[test]
fn stop_on_names_the_signals_that_begin_the_stop_and_sigterm_is_always_one() {
    let on = |members: &str| {
        let signals = plan_of(members).stop_on;
        let numbers = signals.into_iter().map(|signal| signal.number());
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(on("\"tasks\": []"), [15, 2]);
    assert_eq!(on("\"stopOn\": []"), [15]);
    assert_eq!(on("\"stopOn\": [\"SIGQUIT\", 28]"), [15, 3, 28]);
}

#[test]
fn signals_that_cannot_be_used_are_refused() {
    let report = |members: &str| {
        let text = format!("{{\"consul\": \"c:1\", {members}}}");
        compiled_with(&text, &[], &[]).unwrap_err()
    };
    for (members, sentence) in [
        ("\"stopSignal\": \"SIGFOO\"", "not a signal: found \"SIGFOO\""),
        ("\"stopSignal\": 65", "not a signal: found 65"),
        ("\"stopSignal\": true", "not a signal: found true"),
        (
            "\"stopSignal\": \"KILL\"",
            "SIGKILL cannot be used: no process can handle it",
        ),
        (
            "\"stopOn\": [\"STOP\"]",
            "SIGSTOP cannot be used: no process can handle it",
        ),
        ("\"stopOn\": [\"SIGHUP\"]", "SIGHUP cannot begin the stop"),
        ("\"stopOn\": [17]", "SIGCHLD cannot begin the stop"),
        ("\"stopOn\": \"QUIT\"", "not a list: found \"QUIT\""),
        ("\"signalGroup\": 1", "not a boolean: found 1"),
    ] {
        let report = report(members);
        assert!(report.contains(sentence), "{members}: {report}");
    }
}

#[test]
fn integers_are_whole_numbers_or_decimal_strings() {
    let poll = |value: &str| {
        let members =
            format!("\"services\": [{{\"name\": \"app\", \"poll\": {value}, \"ttl\": 30, \"port\": 80}}]");
        let text = format!("{{\"consul\": \"c:1\", {members}}}");
        compiled_with(&text, &[], &[]).map(|compiled| compiled.plan.services[0].poll.as_secs())
    };
    assert_eq!(poll("\"19\""), Ok(19));
    for bad in [
        "\"010\"", "1.5", "true", "\"0x10\"", "\"1e1\"", "\"\"", "[1]", "\"+5\"",
    ] {
        let report = poll(bad).unwrap_err();
        assert!(
            report.contains("services[0].poll: not a whole number: found"),
            "{bad}: {report}"
        );
    }
    for bad in ["0", "-5", "\"0\""] {
        assert!(
            poll(bad)
                .unwrap_err()
                .contains("`poll` must be > 0 in service app"),
            "{bad}"
        );
    }
}

#[test]
fn all_errors_are_reported_at_once_with_line_path_value_and_allowed_values() {
    let text = "{\n  \"consul\": \"consul:8500\",\n  \"stoptimeout\": 5,\n  \"services\": [\n    {\"name\": \"app\",\n     \
                \"poll\": 0,\n     \"ttl\": 30, \"port\": 70000,\n     \"interfaces\": [\"eth0\", \"!\"],\n     \
                \"tag\": []}],\n  \"backends\": {}\n}";
    let report = compiled_with(text, &[], &[])
        .map(|compiled| compiled.plan)
        .unwrap_err();
    let is_first = |line: &&str| line.starts_with("configuration:");
    let lines: Vec<&str> = report.lines().filter(is_first).collect();
    let expected = [
        "configuration:3:3: stoptimeout: unknown key `stoptimeout`",
        "configuration:6:14: services[0].poll: `poll` must be > 0 in service app: found 0, allowed is a whole number of seconds from 1",
        "configuration:7:25: services[0].port: `port` must be < 65536 in service app: found 70000, allowed is a whole number from 1 to 65535",
        "configuration:8:29: services[0].interfaces[1]: Unable to parse interface spec: !, allowed are NAME, NAME:inet6, NAME[N], inet, inet6, static:ADDRESS, and a network such as 10.0.0.0/8",
        "configuration:9:6: services[0].tag: unknown key `tag`",
        "configuration:10:15: backends: not a list: found an object, allowed is an array of backends",
    ];
    assert_eq!(lines, expected);
    for hint in ["hint: did you mean `stopTimeout`?", "hint: did you mean `tags`?"] {
        assert!(report.lines().any(|line| line == hint), "{report}");
    }
}

#[test]
fn required_fields_are_named_in_backquotes() {
    let report = report_of("\"services\": [{}], \"backends\": [{}]");
    for field in ["`name`", "`poll`", "`ttl`", "`port`", "`onChange`"] {
        assert!(report.contains(field), "{field} in {report}");
    }
}

#[test]
fn exactly_one_catalogue_is_needed() {
    let refused = |text: &str| {
        compiled_with(text, &[], &[])
            .map(|compiled| compiled.plan)
            .unwrap_err()
    };
    assert!(refused("{}").contains("No discovery backend defined"));
    assert!(refused("null").contains("No discovery backend defined"));
    assert!(refused("{\"consul\": \"\"}").contains("No discovery backend defined"));
    assert!(refused("{\"consul\": 5}").contains("Unexpected Consul config structure"));
    let both = refused("{\"consul\": \"c:1\", \"directory\": \"/run/x\"}");
    assert!(both.contains("More than one discovery backend defined"));
    assert!(refused("[]").contains("Could not parse configuration"));
}

#[test]
fn a_directory_is_a_path_or_an_object_with_one() {
    for text in [
        "{\"directory\": \"/run/x\"}",
        "{\"directory\": {\"path\": \"/run/x\"}}",
    ] {
        assert_eq!(
            compiled(text).plan.catalogue,
            Catalogue::Directory {
                path: "/run/x".into()
            }
        );
    }
    for bad in [
        "{\"directory\": \"\"}",
        "{\"directory\": {}}",
        "{\"directory\": 5}",
    ] {
        assert!(compiled_with(bad, &[], &[]).is_err(), "{bad}");
    }
}

#[test]
fn consul_is_an_address_or_an_object_and_the_token_of_the_environment_wins() {
    let consul = |text: &str, variables: &[(&str, &str)]| {
        compiled_with(text, variables, &[])
            .map(|compiled| compiled.plan.catalogue)
            .unwrap()
    };
    let expected = |scheme, token: Option<&str>| {
        Catalogue::Consul(Consul {
            address: "consul:8500".into(),
            scheme,
            token: token.map(|token| Secret(token.into())),
            token_file: None,
            tls: Tls::default(),
        })
    };
    let token = [("CONSUL_HTTP_TOKEN", "env")];
    assert_eq!(
        consul("{\"consul\": \"https://consul:8500\"}", &[]),
        expected(Scheme::Https, None)
    );
    assert_eq!(
        consul("{\"consul\": \"consul:8500\"}", &token),
        expected(Scheme::Http, Some("env"))
    );
    let object = "{\"consul\": {\"address\": \"consul:8500\", \"scheme\": \"https\", \"token\": \"file\"}}";
    assert_eq!(consul(object, &[]), expected(Scheme::Https, Some("file")));
    assert_eq!(consul(object, &token), expected(Scheme::Https, Some("env")));
}

#[test]
fn consul_has_sixteen_requests_in_flight_or_the_configured_number() {
    let max_connections =
        |text: &str| compiled_with(text, &[], &[]).map(|compiled| compiled.plan.max_connections);
    let object = |number: &str| {
        format!("{{\"consul\": {{\"address\": \"consul:8500\", \"maxConnections\": {number}}}}}")
    };
    assert_eq!(max_connections("{\"consul\": \"consul:8500\"}"), Ok(Some(16)));
    assert_eq!(max_connections(&object("2")), Ok(Some(2)));
    assert_eq!(max_connections(&object("\"1000\"")), Ok(Some(1000)));
    assert_eq!(max_connections("{\"directory\": \"/run\"}"), Ok(None));
    for wrong in ["1", "0", "-1", "1001", "4294967298"] {
        let report = max_connections(&object(wrong)).unwrap_err();
        assert!(
            report.contains("maxConnections") && report.contains("a whole number from 2 to 1000"),
            "{report}"
        );
    }
}

#[test]
fn logging_words_are_accepted_in_any_case_and_unknown_ones_are_named() {
    let logging =
        plan_of("\"logging\": {\"level\": \"DEBUG\", \"format\": \"json\", \"output\": \"STDERR\"}").logging;
    assert_eq!(
        (logging.level, logging.format, logging.output),
        (Level::Debug, LogFormat::Json, LogOutput::Stderr)
    );
    assert_eq!(
        plan_of("\"logging\": {\"level\": \"\"}").logging.level,
        Level::Info
    );
    let report = report_of("\"logging\": {\"level\": \"loud\", \"format\": \"xml\", \"output\": \"syslog\"}");
    for sentence in [
        "Unknown log level 'loud'",
        "Unknown log format 'xml'",
        "Unknown output type 'syslog'",
    ] {
        assert!(report.contains(sentence), "{report}");
    }
}

#[test]
fn commands_are_split_at_spaces_or_given_as_words() {
    let check = |value: &str| {
        let plan = plan_of(&service_with(&format!("\"health\": {value}")));
        line(&command(&plan.services[0].check))
    };
    assert_eq!(check("\"/testdata/test.sh arg1\""), ["/testdata/test.sh", "arg1"]);
    assert_eq!(
        check("\"  a  b\\tc \""),
        ["a", "b\tc"],
        "only spaces separate, and empty pieces are dropped"
    );
    assert_eq!(
        check("[\"a b\", \"\", 8000, 1e6, true, 1.50]"),
        ["a b", "", "8000", "1000000", "true", "1.5"]
    );
    for bad in ["{}", "5", "[null]", "[[\"a\"]]"] {
        let report = report_of(&service_with(&format!("\"health\": {bad}")));
        assert!(report.contains("services[0].health"), "{bad}: {report}");
    }
}

#[test]
fn a_string_that_expects_a_shell_is_accepted_with_a_warning() {
    for text in ["curl -H \\\"A: b\\\" x", "a && b", "a | b", "a > b", "a; b"] {
        let document = format!("{{\"consul\": \"c:1\", \"preStart\": \"{text}\"}}");
        let compiled = compiled(&document);
        assert!(
            compiled.warnings[0].contains("there is no shell"),
            "{text}: {:?}",
            compiled.warnings
        );
    }
    assert!(
        compiled("{\"consul\": \"c:1\", \"preStart\": [\"sh\", \"-c\", \"a && b\"]}")
            .warnings
            .is_empty()
    );
}

#[test]
fn tasks_and_coprocesses_are_jobs() {
    let plan = plan_of(
        r#""tasks": [{"name": "t", "command": "a b", "frequency": "1500ms", "timeout": 10}, {"command": ["c", "d"], "frequency": 1}],
           "coprocesses": [{"command": "e f", "restarts": "unlimited"}, {"name": "g", "command": "h", "restarts": "2"}, {"command": "i"},
             {"command": ["/usr/bin/e", "--token", "s3cr3t"]}, {"command": "g"}, {"name": "g-2", "command": "x"}, {"command": "g"}]"#,
    );
    let names: Vec<String> = plan.jobs.iter().map(|job| job.role.to_string()).collect();
    assert_eq!(
        names,
        [
            "task[t]",
            "task[c]",
            "coprocess[e]",
            "coprocess[g]",
            "coprocess[i]",
            "coprocess[e-2]",
            "coprocess[g-3]",
            "coprocess[g-2]",
            "coprocess[g-4]"
        ]
    );
    assert_eq!(plan.jobs[0].trigger, Trigger::Every(Duration::from_millis(1500)));
    assert_eq!(plan.jobs[0].time_limit, Some(Duration::from_secs(10)));
    assert_eq!(
        plan.jobs[1].time_limit,
        Some(Duration::from_secs(1)),
        "the frequency is the default"
    );
    let restarts: Vec<Restarts> = plan.jobs[2..5].iter().map(|job| job.restarts).collect();
    assert_eq!(
        restarts,
        [Restarts::Unlimited, Restarts::AtMost(2), Restarts::NEVER]
    );
}

#[test]
fn errors_in_tasks_and_coprocesses_are_reported() {
    let report = report_of(
        "\"tasks\": [{\"command\": \"\", \"frequency\": \"xx\"}, {\"frequency\": \"1ns\"}, {\"command\": \"a\"}],\n\
         \"coprocesses\": [{}, {\"command\": \"a\", \"restarts\": -1}, {\"command\": \"a\", \"restarts\": true}]",
    );
    for sentence in [
        "tasks[0].command: Task did not provide a command",
        "tasks[0].frequency: Unable to parse frequency: time: invalid duration xx",
        "tasks[1]: Task did not provide a command",
        "tasks[1].frequency: Unable to parse frequency: it cannot be less than 1ms",
        "tasks[2]: a task needs a `frequency`",
        "coprocesses[0]: Coprocess did not provide a command",
        "coprocesses[1].restarts: Invalid 'restarts' field \"-1\": accepts positive integers, \"unlimited\" or \"never\"",
        "coprocesses[2].restarts: Invalid 'restarts' field \"true\"",
    ] {
        assert!(report.contains(sentence), "{sentence} in\n{report}");
    }
}

#[test]
fn a_null_element_and_a_duplicate_service_are_errors() {
    assert!(report_of("\"services\": [null]").contains("services[0]"));
    let twice = format!("{}, \"backends\": []", service_with("\"tags\": []")).replace(
        "]}]",
        "]}, {\"name\": \"app\", \"poll\": 1, \"ttl\": 2, \"port\": 3}]",
    );
    assert!(
        report_of(&twice).contains("services[1]: there are two services called app"),
        "{}",
        report_of(&twice)
    );
}

#[test]
fn names_outside_the_rule_and_a_short_ttl_are_warned_of() {
    let text = r#"{"consul": "c:1", "services": [{"name": "my_service", "poll": 10, "ttl": 10, "port": 1}]}"#;
    let warnings = compiled(text).warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("Deprecation warning: service names")),
        "{warnings:?}"
    );
    assert!(
        warnings
            .iter()
            .any(|warning| warning.contains("`ttl` should be longer than `poll`")),
        "{warnings:?}"
    );
    assert!(
        compiled(r#"{"consul": "c:1", "services": [{"name": "a", "poll": 1, "ttl": 10, "port": 1}]}"#)
            .warnings
            .is_empty()
    );
    let offends = |name: &str| {
        let text = format!(
            "{{\"consul\": \"c:1\", \"backends\": [{{\"name\": \"{name}\", \"poll\": 1, \"onChange\": \"a\"}}]}}"
        );
        !compiled(&text).warnings.is_empty()
    };
    for valid in ["myService", "my-service", "my-service-123"] {
        assert!(!offends(valid), "{valid}");
    }
    for invalid in ["my_service", "-my-service", "my%service", "Service", "1a"] {
        assert!(offends(invalid), "{invalid}");
    }
}

#[test]
fn the_consul_block_of_a_service_is_read() {
    let plan = plan_of(&service_with(
        "\"consul\": {\"enableTagOverride\": \"true\", \"deregisterCriticalServiceAfter\": \"90m\"}",
    ));
    let registration = &plan.services[0].registration;
    assert!(registration.enable_tag_override);
    assert_eq!(registration.deregister_critical_after.as_deref(), Some("90m"));
    let report = report_of(&service_with(
        "\"consul\": {\"enableTagOverride\": \"nope\", \"deregisterCriticalServiceAfter\": \"90\"}",
    ));
    assert!(report.contains("Could not parse consul `deregisterCriticalServiceAfter` in service app: time: missing unit in duration 90"), "{report}");
    assert!(
        report.contains("enableTagOverride: not a boolean: found \"nope\""),
        "{report}"
    );
}

#[test]
fn no_matching_interface_is_an_error_that_shows_both_sides() {
    let report = report_of(&service_with("\"interfaces\": [\"eth7\"]"));
    assert!(
        report.contains("None of the interface specifications were able to match"),
        "{report}"
    );
    assert!(
        report.contains("[eth0:192.0.2.1 eth0:fd00::1 lo:127.0.0.1]"),
        "{report}"
    );
}

#[test]
fn trailing_arguments_are_templates_with_the_services_addresses() {
    let text = format!("{{\"consul\": \"c:1\", {}}}", service_with("\"tags\": []"));
    let arguments = |words: &[&str]| {
        let compiled = compiled_with(&text, &[("PORT", "8000")], words).unwrap();
        (
            line(compiled.plan.application.as_ref().unwrap()),
            compiled.warnings,
        )
    };
    let (words, warnings) = arguments(&[
        "app",
        "{{ .PORT }}",
        "{{ .CONTAINERPILOT_APP_IP }}",
        "{{ .NONE }}",
    ]);
    assert_eq!(words, ["app", "8000", "192.0.2.1", ""]);
    assert!(warnings.is_empty());
    let (words, warnings) = arguments(&["app", "{{ .PORT }}", "{{ .PORT }"]);
    assert_eq!(
        words,
        ["app", "{{ .PORT }}", "{{ .PORT }"],
        "one that is wrong leaves all as they are (CLI-4)"
    );
    assert!(
        warnings[0].starts_with("Unable to render command arguments template: "),
        "{warnings:?}"
    );
}

#[test]
fn telemetry_is_a_service_of_its_own() {
    let plan = plan_of(r#""telemetry": {"port": 9091, "interfaces": "lo", "tags": ["t"]}"#);
    let address = "127.0.0.1:9091".parse().unwrap();
    let sensors = Vec::new();
    assert_eq!(plan.telemetry, Some(Telemetry { address, sensors }));
    let [endpoint] = plan.services.as_slice() else {
        panic!("{:?}", plan.services);
    };
    assert_eq!(endpoint.registration.id, "containerpilot-host");
    assert_eq!(endpoint.registration.name, "containerpilot");
    assert_eq!(
        (endpoint.registration.address.clone(), endpoint.registration.port),
        (address.ip().into(), 9091)
    );
    assert_eq!(endpoint.registration.tags, ["t"]);
    assert_eq!(
        (endpoint.poll, endpoint.registration.ttl),
        (Duration::from_secs(5), Duration::from_secs(15))
    );
    assert_eq!(endpoint.check, None);
    assert_eq!(endpoint.address_variable(), "CONTAINERPILOT_CONTAINERPILOT_IP");
    let default = plan_of(r#""telemetry": {}"#).telemetry.unwrap();
    assert_eq!(default.address, "192.0.2.1:9090".parse().unwrap());
    let own = service_with("\"name\": \"containerpilot\"");
    assert!(report_of(&format!("{own}, \"telemetry\": {{}}")).contains("two services called containerpilot"));
}

#[test]
fn telemetry_listens_on_ipv6_too() {
    let plan = plan_of(r#""telemetry": {"interfaces": "eth0:inet6"}"#);
    assert_eq!(plan.telemetry.unwrap().address, "[fd00::1]:9090".parse().unwrap());
    assert_eq!(plan.services[0].registration.address.to_string(), "fd00::1");
}

#[test]
fn a_sensor_is_a_job_whose_output_is_captured() {
    let plan = plan_of(
        r#""telemetry": {"sensors": [
            {"namespace": "a", "subsystem": "b", "name": "c", "help": "h", "type": "counter", "poll": "5", "check": "c x"},
            {"namespace": "a", "name": "d", "help": "h", "type": "gauge", "poll": 1, "check": ["d"], "timeout": "2s"},
            {"name": "telemetry_sensors_partial_name", "help": "h", "type": "summary", "poll": 1, "check": "e"}]}"#,
    );
    let sensors = plan.telemetry.unwrap().sensors;
    let names: Vec<&str> = sensors.iter().map(|sensor| sensor.name.as_str()).collect();
    assert_eq!(names, ["a_b_c", "a_d", "telemetry_sensors_partial_name"]);
    let job = &sensors[0].job;
    assert_eq!(line(job), ["c", "x"]);
    assert_eq!(job.trigger, Trigger::Every(Duration::from_secs(5)));
    assert_eq!((job.output, job.time_limit), (Output::Capture, None));
    assert_eq!(job.role, Role::Sensor { name: "a_b_c".into() });
    assert_eq!(
        (sensors[1].kind, sensors[2].kind),
        (SensorKind::Gauge, SensorKind::Summary)
    );
    assert_eq!(sensors[1].job.time_limit, Some(Duration::from_secs(2)));
}

#[test]
fn two_metrics_with_one_name_are_refused() {
    let report = |sensors: &[(&str, &str)]| {
        let sensor = |(name, kind): &(&str, &str)| {
            format!(r#"{{"name": "{name}", "help": "h", "type": "{kind}", "poll": 1, "check": "c"}}"#)
        };
        let sensors: Vec<String> = sensors.iter().map(sensor).collect();
        report_of(&format!(
            "\"telemetry\": {{\"sensors\": [{}]}}",
            sensors.join(",")
        ))
    };
    for name in [
        "containerpilot_maintenance",
        "process_open_fds",
        "containerpilot_check_duration_seconds_sum",
    ] {
        let sentence = format!(
            "telemetry.sensors[0]: {name} is in the way of a metric that is there without any sensor"
        );
        assert!(report(&[(name, "gauge")]).contains(&sentence), "{name}");
    }
    let both = report(&[("a", "histogram"), ("a_count", "counter")]);
    assert!(
        both.contains("telemetry.sensors[1]: a_count and a need series of one name"),
        "{both}"
    );
    let own_namespace = r#""telemetry": {"sensors": [{"namespace": "containerpilot", "subsystem": "app",
        "name": "some_counter", "help": "h", "type": "counter", "poll": 1, "check": "c"}]}"#;
    let name = &plan_of(own_namespace).telemetry.unwrap().sensors[0].name;
    assert_eq!(
        name, "containerpilot_app_some_counter",
        "as in the original's own test"
    );
}

#[test]
fn errors_in_telemetry_are_reported() {
    let sensor =
        r#"{"namespace": "a", "name": "b", "help": "h", "type": "counter", "poll": 5, "check": "c"}"#;
    assert!(report_of("\"telemetry\": {\"port\": 65536}").contains("telemetry.port: `port` is out of range"));
    let report = report_of(&format!(
        "\"telemetry\": {{\"name\": \"x\", \"sensors\": [{sensor}, {sensor}, {{\"type\": \"nonsense\", \"name\": \"Test.Sensor\"}}]}}"
    ));
    for sentence in [
        "telemetry.name: unknown key `name`",
        "telemetry.sensors[1]: there are two sensors called a_b",
        "telemetry.sensors[2]: invalid sensor type: nonsense",
        "\"Test.Sensor\" is not a valid metric name",
        "`help` must not be blank in sensor Test.Sensor",
        "`poll` must be > 0 in sensor Test.Sensor",
        "could not parse check in sensor Test.Sensor: received zero-length argument",
    ] {
        assert!(report.contains(sentence), "{sentence} in\n{report}");
    }
}

#[test]
fn tls_of_consul_is_read_and_the_environment_wins() {
    let tls = |members: &str, variables: &[(&str, &str)]| {
        let text = format!("{{\"consul\": {{\"address\": \"c:1\", {members}}}}}");
        match compiled_with(&text, variables, &[]).unwrap().plan.catalogue {
            Catalogue::Consul(consul) => (consul.scheme, consul.tls),
            other => panic!("{other:?}"),
        }
    };
    let written = r#""scheme": "https", "tls": {"cafile": "a", "capath": "b", "clientcert": "c", "clientkey": "d", "servername": "e", "verify": false}"#;
    let read = Tls {
        ca_file: Some("a".into()),
        ca_path: Some("b".into()),
        client: Some(("c".into(), "d".into())),
        server_name: Some("e".into()),
        verify: false,
        contents: 0,
    };
    assert_eq!(tls(written, &[]), (Scheme::Https, read));
    let variables = [
        ("CONSUL_CACERT", "A"),
        ("CONSUL_CAPATH", "B"),
        ("CONSUL_CLIENT_CERT", "C"),
        ("CONSUL_CLIENT_KEY", "D"),
        ("CONSUL_TLS_SERVER_NAME", "E"),
        ("CONSUL_HTTP_SSL_VERIFY", "true"),
        ("CONSUL_HTTP_SSL", "true"),
    ];
    let environment = Tls {
        ca_file: Some("A".into()),
        ca_path: Some("B".into()),
        client: Some(("C".into(), "D".into())),
        server_name: Some("E".into()),
        verify: true,
        contents: 0,
    };
    assert_eq!(tls(written, &variables), (Scheme::Https, environment));
    assert_eq!(
        tls("\"token\": \"\"", &variables).0,
        Scheme::Https,
        "where the file has no scheme"
    );
    assert_eq!(tls("\"scheme\": \"http\"", &variables).0, Scheme::Http);
    assert!(
        tls("\"token\": \"\"", &[]).1.verify,
        "certificates are verified by default"
    );
    let half = compiled_with(
        "{\"consul\": {\"address\": \"c:1\", \"tls\": {\"clientcert\": \"c\"}}}",
        &[],
        &[],
    );
    assert!(
        half.unwrap_err()
            .contains("consul.tls: `clientcert` and `clientkey` are needed together")
    );
}

#[test]
fn etcd_has_endpoints_as_a_string_or_an_array_and_a_prefix() {
    let etcd = |text: &str| match compiled_with(text, &[], &[]).map(|compiled| compiled.plan.catalogue) {
        Ok(Catalogue::Etcd(etcd)) => Ok((etcd.endpoints.join(","), etcd.prefix, etcd.login)),
        Ok(other) => panic!("{other:?}"),
        Err(report) => Err(report),
    };
    let one = ("http://etcd:4001".to_owned(), "/containerpilot".to_owned(), None);
    assert_eq!(
        etcd(r#"{"etcd": {"endpoints": ["http://etcd:4001"]}}"#),
        Ok(one.clone())
    );
    assert_eq!(etcd(r#"{"etcd": {"endpoints": "http://etcd:4001"}}"#), Ok(one));
    let login = Some(("u".to_owned(), Secret("p".into())));
    let full = r#"{"etcd": {"endpoints": ["http://a:1", "https://b:2"], "prefix": "x//y/", "username": "u", "password": "p"}}"#;
    assert_eq!(
        etcd(full),
        Ok(("http://a:1,https://b:2".to_owned(), "/x/y".to_owned(), login))
    );
    for (bad, sentence) in [
        (r#"{"etcd": {}}"#, "Must provide etcd endpoints"),
        (r#"{"etcd": {"endpoints": []}}"#, "Must provide etcd endpoints"),
        (
            r#"{"etcd": {"endpoints": [5]}}"#,
            "etcd.endpoints[0]: not a string",
        ),
        (
            r#"{"etcd": {"endpoints": "etcd:4001"}}"#,
            "an endpoint without a scheme",
        ),
        (r#"{"etcd": "http://etcd:4001"}"#, "an object with `endpoints`"),
        (
            r#"{"etcd": {"endpoints": "http://a:1", "username": "u"}}"#,
            "are needed together",
        ),
        (
            r#"{"etcd": {"endpoints": "http://a:1"}, "consul": "c:1"}"#,
            "More than one discovery backend defined",
        ),
    ] {
        let report = etcd(bad).unwrap_err();
        assert!(report.contains(sentence), "{bad}: {report}");
    }
}

#[test]
fn etcd_is_an_error_of_a_program_that_was_built_without_it() {
    let loaded = |text: &str| compiled_on(None, false, text).map(drop);
    assert_eq!(loaded(r#"{"consul": "c:1"}"#), Ok(()));
    let report = loaded("{\n \"etcd\": {\"endpoints\": \"http://a:1\"}}").unwrap_err();
    let sentence = "configuration:2:10: etcd: this containerpilot was built without etcd; use one that was built with it, or \
                    `consul` or `directory`\n";
    assert!(report.starts_with(sentence), "{report}");
    let both = loaded(r#"{"etcd": {"endpoints": "a:1"}}"#).unwrap_err();
    assert!(
        both.contains("built without etcd") && both.contains("without a scheme"),
        "{both}"
    );
    // It names no catalogue that it does not have.
    for wrong in [
        "null",
        "{}",
        r#"{"etcd": {"endpoints": "http://a:1"}, "consul": "c:1"}"#,
    ] {
        let report = loaded(wrong).unwrap_err();
        assert!(report.contains(" is one of consul, directory\n"), "{report}");
    }
}

#[test]
fn the_debug_form_of_a_configuration_shows_no_secret() {
    let text = r#"{"etcd": {"endpoints": "http://a:1", "username": "u", "password": "hidden"}}"#;
    assert!(!format!("{:?}", compiled(text)).contains("hidden"));
}

#[test]
fn time_limits_are_at_least_a_millisecond_and_zero_means_no_limit() {
    let limit = |value: &str| {
        let text = format!(
            "{{\"consul\": \"c:1\", {}}}",
            service_with(&format!("\"health\": \"a\", \"timeout\": {value}"))
        );
        compiled_with(&text, &[], &[]).map(|compiled| command(&compiled.plan.services[0].check).time_limit)
    };
    assert_eq!(limit("\"1s\""), Ok(Some(Duration::from_secs(1))));
    assert_eq!(limit("\"10\""), Ok(Some(Duration::from_secs(10))));
    assert_eq!(limit("5"), Ok(Some(Duration::from_secs(5))));
    for none in ["\"\"", "\"0\"", "0", "null", "\"0s\""] {
        assert_eq!(limit(none), Ok(None), "{none}");
    }
    for bad in ["\"-1s\"", "-1", "\"1us\""] {
        assert!(
            limit(bad).unwrap_err().contains("it cannot be less than 1ms"),
            "{bad}"
        );
    }
    assert!(
        limit("\"xx\"")
            .unwrap_err()
            .contains("Could not parse `health` in service app: time: invalid duration xx")
    );
}

#[test]
fn telemetry_interfaces_may_be_a_string() {
    for interfaces in ["\"lo\"", "[\"lo\"]"] {
        let text = format!("{{\"consul\": \"c:1\", \"telemetry\": {{\"interfaces\": {interfaces}}}}}");
        assert!(compiled_with(&text, &[], &[]).is_ok(), "{interfaces}");
    }
    assert!(report_of("\"telemetry\": {\"interfaces\": [\"xxxx\"]}").contains("None of the interface"));
}

#[test]
fn a_section_that_is_null_is_absent() {
    let plan = plan_of(
        "\"logging\": null, \"services\": null, \"backends\": null, \"telemetry\": null, \"tasks\": null, \
         \"coprocesses\": null, \"stopTimeout\": null, \"etcd\": null",
    );
    assert_eq!(plan, plan_of("\"preStart\": null"));
    assert!(
        compiled("{\"consul\": \"c:1\", \"telemetry\": null}")
            .warnings
            .is_empty()
    );
}

#[test]
fn a_bare_path_is_json_with_a_hint() {
    let report = compiled_with("/etc/cp.json", &[], &[])
        .map(|compiled| compiled.plan)
        .unwrap_err();
    assert!(
        report.contains("Parse error at line:col [1:1]: invalid character '/'"),
        "{report}"
    );
    assert!(
        report.ends_with("\nhint: Did you mean file:///etc/cp.json?"),
        "{report}"
    );
}

#[test]
fn a_host_without_a_name_cannot_have_services() {
    let text = format!("{{\"consul\": \"c:1\", {}}}", service_with("\"tags\": []"));
    let report = compiled_on(None, true, &text).map(drop).unwrap_err();
    assert!(
        report.contains("services[0]: the host's name, which is part of the service's ID, cannot be read"),
        "{report}"
    );
}

#[test]
fn a_text_of_several_lines_is_quoted_on_one_line() {
    for (members, expected) in [
        (r#""a\nb": 1"#, r"configuration:2:1: a\nb: unknown key `a\nb`"),
        (
            r#""logging": {"level": "x\ny"}"#,
            r"configuration:2:22: logging.level: Unknown log level 'x\ny'",
        ),
        (
            r#""services": [{"name": "a", "port": 80, "poll": 1, "ttl": 1, "interfaces": "e\u001b\n0"}]"#,
            r"configuration:2:75: services[0].interfaces: Unable to parse interface spec: e\u{1b}\n0",
        ),
    ] {
        let report = report_of(members);
        assert!(report.starts_with(expected), "{report}");
        assert!(report.lines().count() <= 4, "{report}");
    }
}

type Text<'a> = &'a dyn Fn(usize) -> String;

/// The processor time that compiling `text(number)` takes, and the same for four times the number. Other
/// processes on the machine do not affect it.
fn takes(text: Text<'_>, number: usize) -> [std::time::Duration; 2] {
    [number, 4 * number].map(|number| {
        let text = text(number);
        let once = |_| {
            let start = processor_time();
            drop(compiled_with(&text, &[], &[]));
            processor_time() - start
        };
        (0..3).map(once).min().unwrap()
    })
}

/// The processor time that this thread has used.
fn processor_time() -> std::time::Duration {
    ClockId::CLOCK_THREAD_CPUTIME_ID.now().unwrap().into()
}

#[test]
fn the_time_to_compile_grows_in_proportion_to_the_text() {
    let list =
        |number: usize, one: &dyn Fn(usize) -> String| (0..number).map(one).collect::<Vec<_>>().join(",\n");
    let services = |number| {
        let one =
            |index| format!(r#"{{"name": "s{index}", "port": 80, "poll": 1, "ttl": 5, "health": "true"}}"#);
        format!(r#"{{"consul": "c:1", "services": [{}]}}"#, list(number, &one))
    };
    let unknown = |number| format!("{{{}}}", list(number, &|index| format!(r#""key{index}": 1"#)));
    let numbers = |number| format!(r#"{{"services": [{}]}}"#, list(number, &|_| "1".into()));
    let sensors = |number| {
        let one = |index| {
            format!(r#"{{"name": "s{index}", "help": "h", "type": "gauge", "poll": 1, "check": "true"}}"#)
        };
        format!(
            r#"{{"consul": "c:1", "telemetry": {{"sensors": [{}]}}}}"#,
            list(number, &one)
        )
    };
    let long = |number| {
        format!(
            r#"{{"consul": "{}", "{}": 1}}"#,
            "x".repeat(number),
            "k".repeat(number)
        )
    };
    let cut_off = |number| format!("{{\"token\": \"{}\n", "x\\n".repeat(number));
    let nested = |number| "[".repeat(number);
    let texts: [(&str, usize, Text<'_>); 7] = [
        ("services", 500, &services),
        ("unknown keys", 5_000, &unknown),
        ("numbers", 20_000, &numbers),
        ("sensors", 500, &sensors),
        ("long strings", 200_000, &long),
        ("a string that does not end", 100_000, &cut_off),
        ("nesting", 200_000, &nested),
    ];
    for (what, number, text) in texts {
        let [once, four_times] = takes(text, number);
        // The factor would be sixteen if each element were compared with each other one.
        assert!(
            four_times < 9 * once.max(std::time::Duration::from_millis(1)),
            "{what}: {once:?} {four_times:?}"
        );
    }
}

#[test]
fn the_first_hundred_problems_are_named_and_the_others_counted() {
    let unknown: Vec<String> = (0..250).map(|index| format!("\"key{index}\": 1")).collect();
    let report = report_of(&unknown.join(","));
    assert_eq!(report.matches("unknown key").count(), 100);
    assert!(
        report.ends_with("\nconfiguration: and 150 more problems"),
        "{report}"
    );
    let warned: Vec<String> = (0..250)
        .map(|index| format!(r#"{{"name": "A{index}", "poll": 1, "onChange": "x"}}"#))
        .collect();
    let warnings = compiled(&format!(
        r#"{{"consul": "c:1", "backends": [{}]}}"#,
        warned.join(",")
    ))
    .warnings;
    assert_eq!(warnings.len(), 101);
    assert_eq!(warnings[100], "configuration: and 150 more warnings");
}

#[test]
fn long_values_in_a_report_are_cut() {
    let long = "x".repeat(1_000_000);
    for members in [
        format!("\"{long}\": 1"),
        format!(r#""stopTimeout": "{long}""#),
        format!(r#""logging": {{"level": "{long}"}}"#),
        format!(r#""tasks": [{{"command": "x", "frequency": "{long}"}}]"#),
        service_with(&format!(r#""interfaces": ["{long}"]"#)),
    ] {
        let report = report_of(&members);
        assert!(
            report.len() < 10_000 && report.contains("..."),
            "{}",
            report.len()
        );
    }
}

#[test]
fn the_length_of_a_list_is_limited() {
    let tags = |number: usize| service_with(&format!(r#""tags": [{}]"#, vec!["\"t\""; number].join(",")));
    assert_eq!(
        plan_of(&tags(100_000)).services[0].registration.tags.len(),
        100_000
    );
    let report = report_of(&tags(100_001));
    assert!(
        report.contains("services[0].tags: a list of 100001 elements, allowed are 100000 at the most"),
        "{report}"
    );
}

#[test]
fn no_report_quotes_a_secret() {
    for text in [
        r#"{"consul": {"address": "c:1", "token": 53827}}"#,
        r#"{"etcd": {"endpoints": "root:53827@etcd:2379", "username": "u", "password": 53827}}"#,
        r#"{"etcd": {"endpoints": ["root:53827@etcd:2379"]}}"#,
        r#"{"consul": {"address": "c:1", "token": "53827"} "services": []}"#,
        r#"{"consul": {"address": "http://u:53827@c:1", "tokens": "53827"}}"#,
    ] {
        let report = compiled_with(text, &[], &[])
            .map(|compiled| compiled.shown)
            .unwrap_err();
        assert!(!report.contains("53827"), "{report}");
    }
    let shown = compiled(r#"{"consul": {"address": "http://u:53827@c:1", "token": "53827"}}"#).shown;
    assert_eq!(shown, r#"{"consul":{"address":"http://***@c:1","token":"***"}}"#);
}

#[test]
fn an_address_of_consul_without_a_port_is_warned_of() {
    let warnings = |address: &str| compiled(&format!(r#"{{"consul": "{address}"}}"#)).warnings;
    assert_eq!(
        warnings("consul"),
        [
            "configuration:1:12: consul: the address of Consul has no port, so 80 is used; Consul's own is 8500\n    \
          1 | {\"consul\": \"consul\"}\n      |            ^^^^^^^^"
        ]
    );
    assert!(warnings("https://[::1]")[0].contains("443"));
    for with_port in [
        "consul:8500",
        "[::1]:8500",
        "u:p@consul:8500",
        "unix:///run/consul",
    ] {
        assert_eq!(warnings(with_port), [""; 0], "{with_port}");
    }
    assert_eq!(warnings("u:p@consul").len(), 1);
}

#[test]
fn a_host_name_that_is_empty_or_has_line_ends_is_refused_in_an_id() {
    for hostname in ["", "a\nb"] {
        let text = format!("{{\"consul\": \"c:1\", {}}}", service_with("\"tags\": []"));
        let report = compiled_on(Some(hostname), true, &text).map(drop).unwrap_err();
        assert!(report.contains("cannot be part of the service's ID"), "{report}");
    }
}

/// The result for a service with a configured ID on a host of this name, with `more` members in the document.
fn with_own_id(id: &str, hostname: Option<&str>, more: &str) -> Result<Plan, String> {
    let service = service_with(&format!("\"id\": {id}"));
    let text = format!("{{\"consul\": \"c:1\", {service}{more}}}");
    compiled_on(hostname, true, &text).map(|compiled| compiled.plan)
}

#[test]
fn with_an_id_of_its_own_a_service_needs_no_host_name() {
    for hostname in [None, Some(""), Some("a\nb"), Some("host")] {
        let plan = with_own_id("\"mine\"", hostname, ", \"telemetry\": null").unwrap();
        assert_eq!(plan.services[0].registration.id, "mine");
    }
    let report = with_own_id("\"mine\"", Some(""), ", \"telemetry\": {}").unwrap_err();
    assert!(report.contains("telemetry: the host's name \"\""), "{report}");
    let plan = with_own_id("null", Some("host"), "").unwrap();
    assert_eq!(plan.services[0].registration.id, "app-host");
}

#[test]
fn the_check_of_a_service_with_a_configured_id_has_that_id() {
    let plan = plan_of(&service_with(r#""id": "mine", "health": "true""#));
    let role = Role::Health {
        service: "app".into(),
        id: "mine".into(),
        check: None,
    };
    assert_eq!(command(&plan.services[0].check).role, role);
}

#[test]
fn an_id_must_be_valid_in_every_catalogue() {
    let longest = "x".repeat(255);
    for id in ["a", "a/b", "10.0.0.1:80", "...", ".a", "\u{e9} x?#%", &longest] {
        let plan = with_own_id(&format!("\"{id}\""), None, "").unwrap();
        assert_eq!(plan.services[0].registration.id, id);
    }
    let too_long = format!("{longest}x");
    for id in [
        "", ".", "..", "/", "/a", "a/", "a//b", "a/./b", "a/../b", "a\\nb", "\\u0000", "\\u0085", &too_long,
    ] {
        let report = with_own_id(&format!("\"{id}\""), None, "").unwrap_err();
        assert!(
            report.contains("services[0].id: `id` cannot be used in service app: found "),
            "{report}"
        );
        assert!(report.contains("allowed is 1 to 255 bytes"), "{report}");
    }
    let report = with_own_id("7", None, "").unwrap_err();
    assert!(report.contains("services[0].id: not a string"), "{report}");
}

#[test]
fn two_services_with_one_id_are_an_error_that_names_both() {
    let services = |members: [&str; 2]| {
        let [one, other] = members
            .map(|members| format!(r#"{{{members}, "poll": 1, "ttl": 5, "port": 80, "interfaces": "lo"}}"#));
        format!("\"services\": [{one}, {other}]")
    };
    let pairs = [
        (r#""name": "one", "id": "x""#, r#""name": "two", "id": "x""#, "x"),
        (
            r#""name": "one""#,
            r#""name": "two", "id": "one-host""#,
            "one-host",
        ),
        (
            r#""name": "one", "id": "two-host""#,
            r#""name": "two""#,
            "two-host",
        ),
    ];
    for (one, two, id) in pairs {
        let report = report_of(&services([one, two]));
        let expected = format!("services[1]: the services one and two have one ID, \"{id}\"");
        assert!(report.contains(&expected), "{report}");
    }
    let report = report_of(&format!(
        "{}, \"telemetry\": {{}}",
        service_with(r#""id": "containerpilot-host""#)
    ));
    let expected = "telemetry: the services app and containerpilot have one ID, \"containerpilot-host\"";
    assert!(report.contains(expected), "{report}");
}

/// The command of a health check.
fn command(check: &Option<Check>) -> Job {
    check.as_ref().and_then(Check::job).cloned().expect("a command")
}

/// The health check of a service with this `health` and these further keys, and its thresholds.
fn checked(health: &str, further: &str) -> Result<(Option<Check>, Option<Thresholds>), String> {
    let text = format!(
        "{{\"consul\": \"c:1\",\n {}}}",
        service_with(&format!("\"health\": {health}{further}"))
    );
    let compiled = compiled_with(&text, &[], &[])?;
    let service = compiled.plan.services.into_iter().next().expect("a service");
    Ok((service.check, service.thresholds))
}

#[test]
fn a_health_check_may_be_an_object_with_thresholds() {
    let (check, thresholds) = checked(
        r#"{"command": ["a", "b"], "failures": 3, "successes": "2", "startPeriod": "1m"}"#,
        "",
    )
    .unwrap();
    let expected = Thresholds {
        failures: NonZeroU32::new(3),
        successes: NonZeroU32::new(2).unwrap(),
        start_period: Duration::from_secs(60),
    };
    assert_eq!(thresholds, Some(expected));
    let check = command(&check);
    assert_eq!(line(&check), ["a", "b"]);
    assert_eq!(check.time_limit, Some(Duration::from_secs(10)), "its poll");
    let (_, thresholds) = checked(r#"{"command": "a", "startPeriod": 5}"#, "").unwrap();
    let expected = Thresholds {
        failures: None,
        successes: NonZeroU32::MIN,
        start_period: Duration::from_secs(5),
    };
    assert_eq!(thresholds, Some(expected));
    let (check, thresholds) = checked(r#"{"command": "a"}"#, "").unwrap();
    assert!(check.is_some());
    assert_eq!(thresholds, None, "each result counts");
}

#[test]
fn the_time_limit_of_a_check_in_an_object_is_at_most_its_poll() {
    let limit = |health, further| checked(health, further).map(|(check, _)| command(&check).time_limit);
    let seconds = |seconds| Ok(Some(Duration::from_secs(seconds)));
    assert_eq!(limit(r#"{"command": "a", "timeout": "2s"}"#, ""), seconds(2));
    assert_eq!(limit(r#"{"command": "a"}"#, r#", "timeout": 3"#), seconds(3));
    assert_eq!(limit(r#"{"command": "a", "timeout": 0}"#, ""), seconds(10));
    assert_eq!(limit(r#""a""#, r#", "timeout": 30"#), seconds(30), "EX-19");
    for report in [
        limit(r#"{"command": "a", "timeout": 11}"#, ""),
        limit(r#"{"command": "a"}"#, r#", "timeout": 11"#),
    ] {
        let report = report.unwrap_err();
        let sentence = "the timeout of `health` in service app must not be longer than `poll`, which is 10s";
        assert!(report.contains(sentence), "{report}");
    }
}

/// The probe of a service with this `health`.
fn probe(health: &str, further: &str) -> Probe {
    let (check, _) = checked(health, further).unwrap();
    check.as_ref().and_then(Check::probe).cloned().expect("a probe")
}

#[test]
fn a_health_check_over_http_has_the_defaults_of_curl() {
    let plain = probe(r#"{"http": "http://localhost:8080/health?deep=1"}"#, "");
    assert_eq!(
        (plain.time_limit, plain.keeps_connection),
        (Duration::from_secs(10), true)
    );
    let ProbeTarget::Http(http) = plain.target else {
        panic!("{plain:?}")
    };
    assert_eq!((&*http.host, &*http.path), ("localhost:8080", "/health?deep=1"));
    assert_eq!((&*http.method, http.status), ("GET", (200, 399)));
    assert_eq!((http.tls, http.socket, http.body), (None, None, None));
}

#[test]
fn a_health_check_over_http_has_all_its_keys() {
    let full = r#"{"http": "https://app", "unix": "/run/app", "method": "POST", "status": 204, "body": "^ok", "timeout": "2s",
        "headers": {"X-Token": "secret", "Host": "example.org"}, "tls": {"cafile": "/ca.pem", "verify": false}}"#;
    let full = probe(full, "");
    assert!(!format!("{full:?}").contains("secret"), "{full:?}");
    assert_eq!(full.time_limit, Duration::from_secs(2));
    let ProbeTarget::Http(http) = full.target else {
        panic!("{full:?}")
    };
    assert_eq!((&*http.host, &*http.path), ("example.org", "/"));
    assert_eq!(http.place.to_string(), "app:443");
    assert_eq!(http.socket.as_deref(), Some("/run/app"));
    assert_eq!(
        (&*http.method, http.status, http.body.as_deref()),
        ("POST", (204, 204), Some("^ok"))
    );
    assert_eq!(http.headers, [("x-token".to_owned(), Secret("secret".into()))]);
    let tls = http.tls.unwrap();
    assert_eq!((tls.ca_file.as_deref(), tls.verify), (Some("/ca.pem"), false));
}

#[test]
fn a_health_check_over_tcp_or_grpc_names_a_host_and_a_port() {
    let tcp = probe(r#"{"tcp": "[::1]:5432", "failures": 2}"#, r#", "timeout": 3"#);
    assert_eq!(tcp.time_limit, Duration::from_secs(3));
    assert!(matches!(tcp.target, ProbeTarget::Tcp(place) if place.to_string() == "[::1]:5432"));
    let grpc = probe(
        r#"{"grpc": "app:50051", "service": "a.B", "tls": {"servername": "x"}}"#,
        "",
    );
    let ProbeTarget::Grpc(grpc) = grpc.target else {
        panic!("{grpc:?}")
    };
    assert_eq!((&*grpc.place.to_string(), &*grpc.service), ("app:50051", "a.B"));
    assert_eq!(grpc.tls.unwrap().server_name.as_deref(), Some("x"));
}

#[test]
fn errors_in_a_health_check_are_reported() {
    for (health, sentence) in [
        (
            "{}",
            "services[0].health: `health` in service app needs a `command`",
        ),
        (
            r#"{"command": ""}"#,
            "services[0].health.command: `health` in service app needs a `command`",
        ),
        (
            r#"{"command": "a", "failures": 0}"#,
            "services[0].health.failures: `failures` of `health` in service app is out of range",
        ),
        (
            r#"{"command": "a", "successes": 1001}"#,
            "services[0].health.successes: `successes` of `health` in service app is out of range",
        ),
        (
            r#"{"command": "a", "failures": "x"}"#,
            "services[0].health.failures: ",
        ),
        (
            r#"{"command": "a", "startPeriod": "x"}"#,
            "services[0].health.startPeriod: `startPeriod` in service app: time: invalid duration x",
        ),
        (r#"{"command": "a", "failure": 2}"#, "did you mean `failures`?"),
        (r#"{"command": "a", "retries": 2}"#, "unknown key `retries`"),
    ] {
        let report = checked(health, "").unwrap_err();
        assert!(report.contains(sentence), "{health}: {report}");
    }
}

#[test]
fn what_a_health_check_requests_has_to_be_clear() {
    for (health, sentence) in [
        (
            r#"{"command": "a", "tcp": "app:80"}"#,
            "services[0].health.command: `health` in service app has a `command` and one of `http`, `tcp`, `grpc`",
        ),
        (
            r#"{"grpc": "app:1", "tcp": "app:80"}"#,
            "services[0].health.grpc: `health` in service app has more than one of `http`, `tcp`, `grpc`",
        ),
        (
            r#"{"tcp": "app"}"#,
            "services[0].health.tcp: not a host and a port: found \"app\"",
        ),
        (r#"{"tcp": "app:80", "status": 200}"#, "unknown key `status`"),
        (
            r#"{"tcp": "app:80", "timeout": "11s"}"#,
            "must not be longer than `poll`, which is 10s",
        ),
        (r#"{"grpc": "app:1", "method": "GET"}"#, "unknown key `method`"),
        (
            r#"{"http": "app:80/health"}"#,
            "services[0].health.http: the URL does not begin with http:// or https://: found \"app:80/health\"",
        ),
        (
            r#"{"http": "http://me:pw@app/"}"#,
            "the URL contains a user, which belongs into `headers`",
        ),
        (
            r#"{"http": "http://app/", "unix": "run/app"}"#,
            "services[0].health.unix: not the path of a socket",
        ),
    ] {
        let report = checked(health, "").unwrap_err();
        assert!(report.contains(sentence), "{health}: {report}");
    }
}

#[test]
fn errors_in_a_request_for_health_are_reported() {
    for (health, sentence) in [
        (
            r#"{"http": "http://app/", "method": "GET /"}"#,
            "services[0].health.method: not a method",
        ),
        (
            r#"{"http": "http://app/", "headers": ["a"]}"#,
            "services[0].health.headers: not headers",
        ),
        (
            r#"{"http": "http://app/", "headers": {"a b": ""}}"#,
            "not the name of a header",
        ),
        (
            r#"{"http": "http://app/", "headers": {"A": "b\nc"}}"#,
            "a header cannot contain control characters",
        ),
        (
            r#"{"http": "http://app/", "headers": {"Connection": "close"}}"#,
            "this header cannot be set: it follows from the connection",
        ),
        (
            r#"{"http": "http://app/", "headers": {"Host": "a b"}}"#,
            "not a host and a port",
        ),
        (
            r#"{"http": "http://app/", "status": [399, 200]}"#,
            "services[0].health.status: not a range of statuses",
        ),
        (
            r#"{"http": "http://app/", "status": [200]}"#,
            "services[0].health.status: not a range of statuses",
        ),
        (
            r#"{"http": "http://app/", "status": 100}"#,
            "allowed is a status from 200 to 599",
        ),
        (
            r#"{"http": "http://app/", "body": "(ok"}"#,
            "services[0].health.body: error parsing regexp: missing closing )",
        ),
        (
            r#"{"http": "http://app/", "tls": {}}"#,
            "services[0].health.tls: `tls` of `health` in service app has no effect without https://",
        ),
    ] {
        let report = checked(health, "").unwrap_err();
        assert!(report.contains(sentence), "{health}: {report}");
    }
}
