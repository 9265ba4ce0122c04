//! `interval` of `health`, and the array `checks`.

use super::*;

fn service_of(keys: &str) -> Result<Service, String> {
    let text = format!(
        r#"{{"consul": "c:1", "services": [{{"name": "app", "port": 80, "poll": 10, "ttl": 30,
            "interfaces": "static:192.0.2.1", {keys}}}]}}"#
    );
    let compiled = compiled_with(&text, &[], &[])?;
    Ok(compiled.plan.services.into_iter().next().expect("a service"))
}

#[test]
fn checks_have_names_intervals_and_time_limits_of_their_own() {
    let service = service_of(
        r#""checks": [
            {"name": "http", "http": "http://localhost/", "interval": "2s", "failures": 3},
            {"name": "disk usage", "command": ["df", "/"], "interval": 60, "timeout": "5s"},
            {"name": "db", "tcp": "localhost:5432"}
        ], "exitAfter": 5"#,
    )
    .unwrap();
    assert_eq!((service.check.as_ref(), service.thresholds), (None, None));
    let found: Vec<_> = service
        .checks
        .iter()
        .map(|own| {
            let limit = own.check.time_limit().map(|limit| limit.as_secs());
            let name = own.name.as_deref().unwrap_or_default();
            (name, own.check.role().to_string(), own.interval.as_secs(), limit)
        })
        .collect();
    let expected = [
        ("http", "app.health[http]".to_owned(), 2, Some(2)),
        ("disk usage", "app.health[disk usage]".to_owned(), 60, Some(5)),
        ("db", "app.health[db]".to_owned(), 10, Some(10)),
    ];
    assert_eq!(found, expected);
    assert_eq!(service.checks[0].thresholds.failures, NonZeroU32::new(3));
    assert_eq!(service.checks[1].thresholds, Thresholds::default());
}

#[test]
fn a_health_check_with_an_interval_has_a_schedule_of_its_own_and_no_name() {
    let service = service_of(r#""health": {"tcp": "app:80", "interval": "40s"}"#).unwrap();
    assert_eq!(service.check, None);
    let own = &service.checks[0];
    assert_eq!((&own.name, own.interval.as_secs()), (&None, 40));
    assert_eq!(own.check.role().to_string(), "app.health");
    let probe = own.check.probe().expect("a probe");
    assert_eq!(probe.time_limit, Duration::from_secs(40));
    assert!(!probe.keeps_connection, "the next run is too far away");
    let limit = service_of(r#""health": {"command": "a", "interval": "1m"}, "timeout": 20"#);
    assert_eq!(
        limit.unwrap().checks[0].check.time_limit(),
        Some(Duration::from_secs(20))
    );
    let without = service_of(r#""health": {"tcp": "app:80"}"#).unwrap();
    assert!(without.check.is_some() && without.checks.is_empty());
}

#[test]
fn errors_in_checks_are_reported() {
    let many = (0..17).map(|number| format!(r#"{{"name": "c{number}", "tcp": "a:1"}}"#));
    let many = format!(r#""checks": [{}]"#, many.collect::<Vec<_>>().join(","));
    let long = format!(r#""checks": [{{"name": "{}", "tcp": "a:1"}}]"#, "n".repeat(65));
    for (keys, sentence) in [
        (
            r#""checks": []"#,
            "services[0].checks: `checks` in service app is empty, so nothing is checked",
        ),
        (
            many.as_str(),
            "`checks` in service app has 17 elements, and there can be 16 at most",
        ),
        (r#""checks": "true""#, "services[0].checks: not a list"),
        (r#""checks": ["true"]"#, "services[0].checks[0]: "),
        (
            r#""checks": [{"tcp": "a:1"}]"#,
            "services[0].checks[0]: a check of service app needs a `name`",
        ),
        (
            long.as_str(),
            "services[0].checks[0].name: a check of service app needs a `name`: found \"nnn",
        ),
        (
            r#""checks": [{"name": "", "tcp": "a:1"}]"#,
            "allowed is 1 to 64 characters",
        ),
        (
            r#""checks": [{"name": "a\nb", "tcp": "a:1"}]"#,
            "allowed is 1 to 64 characters",
        ),
        (
            r#""checks": [{"name": "a", "tcp": "a:1"}, {"name": "a", "tcp": "a:2"}]"#,
            "services[0].checks[1]: two checks of service app have the name a",
        ),
        (
            r#""health": "true", "checks": [{"name": "a", "tcp": "a:1"}]"#,
            "services[0].checks: service app has `health` and `checks`: give one of them",
        ),
        (
            r#""timeout": 3, "checks": [{"name": "a", "tcp": "a:1"}]"#,
            "services[0].timeout: `timeout` in service app has no effect with `checks`: each of them may have its own",
        ),
    ] {
        let report = service_of(keys).unwrap_err();
        assert!(report.contains(sentence), "{keys}: {report}");
    }
}

#[test]
fn errors_in_one_of_several_checks_name_it() {
    for (keys, sentence) in [
        (
            r#""checks": [{"name": "a"}]"#,
            "services[0].checks[0]: check a of service app needs a `command`, or one of `http`, `tcp`, `grpc`",
        ),
        (
            r#""checks": [{"name": "a", "tcp": "a:1", "interval": "5s", "timeout": "6s"}]"#,
            "the timeout of check a of service app must not be longer than `interval`, which is 5s",
        ),
        (
            r#""checks": [{"name": "a", "tcp": "a:1", "timeout": "11s"}]"#,
            "the timeout of check a of service app must not be longer than `poll`, which is 10s",
        ),
        (
            r#""health": {"tcp": "a:1", "interval": "5s", "timeout": "6s"}"#,
            "the timeout of `health` in service app must not be longer than `interval`, which is 5s",
        ),
        (
            r#""health": {"tcp": "a:1", "interval": 0}"#,
            "`interval` in service app: it cannot be less than 1ms",
        ),
        (
            r#""checks": [{"name": "a", "tcp": "a:1", "interval": "x"}]"#,
            "`interval` in check a of service app: time: invalid duration x",
        ),
        (
            r#""checks": [{"name": "a", "tcp": "a:1", "failures": 0}]"#,
            "`failures` of check a of service app is out of range",
        ),
        (r#""health": {"name": "a", "tcp": "a:1"}"#, "unknown key `name`"),
    ] {
        let report = service_of(keys).unwrap_err();
        assert!(report.contains(sentence), "{keys}: {report}");
    }
}
