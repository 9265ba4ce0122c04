//! Health checks without a process: when they run, what follows from their results, and what ends them.

use super::*;
use crate::plan::Check;
use crate::probe::{Place, Probe, ProbeEnd, ProbeTarget, Verdict};
use core::num::NonZeroU32;

/// A service with a probe that may take two seconds.
fn probed(name: &str) -> Service {
    let role = Role::Health {
        service: name.into(),
        id: format!("{name}-host"),
        check: None,
    };
    let place = Place {
        host: name.into(),
        port: 80,
    };
    Service {
        check: Some(Check::Probe(Probe {
            role,
            target: ProbeTarget::Tcp(place),
            time_limit: Duration::from_secs(2),
            keeps_connection: true,
        })),
        ..service(name)
    }
}

fn with(thresholds: Option<u32>) -> Plan {
    let thresholds = thresholds.map(|failures| Thresholds {
        failures: NonZeroU32::new(failures),
        successes: NonZeroU32::MIN,
        start_period: Duration::ZERO,
    });
    Plan {
        services: vec![Service {
            thresholds,
            ..probed("app")
        }],
        ..bare()
    }
}

fn ends(fixture: &mut Fixture, verdict: Verdict, detail: &str, answer: &str) -> Vec<String> {
    let ticket = fixture.probes.remove("app.health").expect("a probe runs");
    let end = ProbeEnd {
        verdict,
        detail: detail.into(),
    };
    fixture.step(Event::Probed(ticket, end, answer.into()))
}

#[test]
fn a_probe_that_passes_is_a_heartbeat_and_one_that_fails_is_none() {
    let mut fixture = Fixture::running(with(None));
    assert_eq!(fixture.after(9_999), [""; 0]);
    assert_eq!(fixture.after(1), ["probe app.health"]);
    assert_eq!(
        ends(&mut fixture, Verdict::Passed, "HTTP 200 OK", "fine"),
        ["register app"]
    );
    fixture.answers("app", Answer::Done);
    assert_eq!(fixture.after(10_000), ["probe app.health"]);
    assert_eq!(
        ends(&mut fixture, Verdict::TimedOut, "no answer within 2s", ""),
        [""; 0]
    );
    assert!(fixture.has_logged("Health check of app does not pass any more: no answer within 2s"));
    assert!(fixture.has_logged("app.health failed: no answer within 2s"));
    assert_eq!(fixture.after(10_000), ["probe app.health"]);
}

#[test]
fn the_catalogue_gets_the_answer_and_the_log_has_it_once() {
    let mut fixture = Fixture::running(with(Some(2)));
    fixture.after(10_000);
    ends(&mut fixture, Verdict::Passed, "HTTP 200 OK", "fine");
    fixture.answers("app", Answer::Done);
    fixture.after(10_000);
    let passes = ends(&mut fixture, Verdict::Passed, "HTTP 200 OK", "fine");
    assert_eq!(passes, ["pass app (HTTP 200 OK: fine)"]);
    fixture.answers("app", Answer::Done);
    fixture.answers("app", Answer::Holder(None));
    for sent in ["pass", "fail"] {
        fixture.after(10_000);
        assert_eq!(
            ends(
                &mut fixture,
                Verdict::Failed,
                "HTTP 503 Service Unavailable",
                "warming up\n"
            ),
            [format!("{sent} app (HTTP 503 Service Unavailable: warming up)")]
        );
        fixture.answers("app", Answer::Done);
    }
    assert_eq!(
        fixture.how_often("app.health got: warming up"),
        1,
        "{:?}",
        fixture.logged
    );
}

#[test]
fn maintenance_cancels_a_probe_and_the_next_one_comes_at_its_tick() {
    let mut fixture = Fixture::running(with(None));
    fixture.after(10_000);
    let ticket = fixture.probes["app.health"];
    assert_eq!(
        fixture.signal(Signal::USR1),
        ["end the probe of app.health", "deregister app"]
    );
    fixture.answers("app", Answer::Done);
    let late = ProbeEnd {
        verdict: Verdict::Passed,
        detail: "late".into(),
    };
    assert_eq!(fixture.step(Event::Probed(ticket, late, "".into())), [""; 0]);
    assert_eq!(fixture.signal(Signal::USR1), [""; 0]);
    assert_eq!(fixture.after(10_000), ["probe app.health"]);
    assert_eq!(ends(&mut fixture, Verdict::Passed, "", ""), ["register app"]);
}

#[test]
fn the_stop_cancels_a_probe_and_closes_a_connection_that_was_kept() {
    let mut running = Fixture::running(with(None));
    running.after(10_000);
    let stop = running.signal(Signal::TERM);
    assert_eq!(stop[..2], ["end the probe of app.health", "deregister app"]);
    let mut rests = Fixture::running(with(None));
    rests.after(10_000);
    ends(&mut rests, Verdict::Failed, "", "");
    let stop = rests.signal(Signal::TERM);
    assert_eq!(stop[..2], ["end the probe", "deregister app"]);
    let mut fresh = Fixture::running(with(None));
    assert_eq!(fresh.signal(Signal::TERM)[0], "deregister app");
}

#[test]
fn a_reload_that_removes_the_service_ends_its_probe_and_waits_for_nothing() {
    let mut fixture = Fixture::running(with(None));
    fixture.after(10_000);
    fixture.signal(Signal::HUP);
    assert_eq!(
        fixture.loads(Plan {
            services: vec![probed("other")],
            ..bare()
        }),
        ["end the probe of app.health", "deregister app"]
    );
    fixture.answers("app", Answer::Done);
    assert!(fixture.has_logged("Configuration reloaded"));
    assert_eq!(fixture.after(10_000), ["probe other.health"]);
}
