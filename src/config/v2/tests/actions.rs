//! `onUnhealthy`, `onHealthy` and `exitAfter` of services.

use super::*;

fn service_with(keys: &str) -> String {
    format!(
        r#"{{"consul": "c:1", "services": [{{"name": "app", "port": 80, "poll": 5, "ttl": 10,
            "interfaces": "static:192.0.2.1", {keys}}}]}}"#
    )
}

#[test]
fn a_service_has_commands_for_its_health_and_a_number_of_failures() {
    let text = service_with(
        r#""health": "check", "onUnhealthy": {"command": ["dump", "all"], "timeout": "5s"}, "onHealthy": "tell", "exitAfter": 3"#,
    );
    let compiled = compiled_with(&text, &[], &[]).unwrap();
    let service = &compiled.plan.services[0];
    let actions = &service.actions;
    let on_unhealthy = actions.on_unhealthy.as_ref().unwrap();
    assert_eq!(on_unhealthy.role.to_string(), "app.onUnhealthy");
    assert_eq!(on_unhealthy.command.to_string(), "[all]");
    assert_eq!(on_unhealthy.time_limit, Some(Duration::from_secs(5)));
    let on_healthy = actions.on_healthy.as_ref().unwrap();
    assert_eq!(on_healthy.role.to_string(), "app.onHealthy");
    assert_eq!(on_healthy.time_limit, None);
    assert_eq!(actions.exit_after.map(|failures| failures.get()), Some(3));
    assert_eq!(service.thresholds, None, "version 2 decides when it is unhealthy");
}

#[test]
fn errors_in_what_follows_from_the_health_are_reported() {
    for (keys, sentence) in [
        (
            r#""onUnhealthy": "dump""#,
            "`onUnhealthy` in service app needs `health` or `checks`: without them the service is always healthy",
        ),
        (
            r#""onHealthy": "tell""#,
            "`onHealthy` in service app needs `health`",
        ),
        (r#""exitAfter": 3"#, "`exitAfter` in service app needs `health`"),
        (
            r#""health": "check", "exitAfter": 0"#,
            "`exitAfter` in service app is out of range: found 0, allowed is a whole number from 1 to 1000",
        ),
        (
            r#""health": "check", "exitAfter": 1001"#,
            "`exitAfter` in service app is out of range: found 1001",
        ),
        (
            r#""health": "check", "exitAfter": "often""#,
            "not a whole number: found \"often\", allowed is a whole number from 1 to 1000",
        ),
        (r#""health": "check", "onHealthy": 5"#, "not a command: found 5"),
    ] {
        let report = compiled_with(&service_with(keys), &[], &[]).unwrap_err();
        assert!(report.contains(sentence), "{keys}: {report}");
    }
}
