//! A Consul that stops answering for half a minute, and then answers again: checks, `/status` and reloads are on time all
//! the while, nothing piles up, and the services are passing soon afterwards.

use crate::agent::Agent;
use crate::machine::{lateness_since, since_boot};
use crate::observed::{Hostile, Observed, POLL};
use crate::slowness;
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use std::time::Duration;

/// How many services are registered, in addition to the observed one, and how many backends are watched.
const SERVICES: usize = 20;
const BACKENDS: usize = 10;
/// For how many polls of a second the agent is silent, three times as long as the TTL of the services.
const SILENT: usize = 30;
/// How late a check may be, as in the tests of floods.
const PROMPT: Duration = Duration::from_millis(700);

fn config() -> (String, String) {
    let service = |number| {
        format!(
            r#", {{"name": "s{number}", "port": 2, "interfaces": "static:127.0.0.1", "poll": 1, "ttl": 10,
                "health": ["sh", "-c", "echo s{number} >> @/begun"]}}"#
        )
    };
    let backend = |number| {
        format!(
            r#"{{"name": "b{number}", "poll": 1, "onChange": ["sh", "-c", "echo b{number} >> @/changes"]}}"#
        )
    };
    let backends: Vec<String> = (0..BACKENDS).map(backend).collect();
    (
        (0..SERVICES).map(service).collect(),
        format!(r#", "backends": [{}]"#, backends.join(", ")),
    )
}

/// Waits until every service is passing.
fn until_all_pass(agent: &Agent) {
    let names = (0..SERVICES).map(|number| format!("s{number}"));
    names
        .chain(["observed".to_owned()])
        .for_each(|name| agent.until_passing(&name, 1));
}

#[test]
fn a_consul_that_is_silent_for_half_a_minute_holds_nothing_up_and_is_used_again_at_once() {
    let agent = Agent::start();
    let (services, sections) = config();
    let observed = Observed::start(&Hostile {
        catalogue: Some(&format!(r#""consul": "{}""#, agent.address())),
        services: &services,
        sections: &sections,
        ..Hostile::default()
    });
    until_all_pass(&agent);
    agent.signal(Signal::SIGSTOP);
    observed.until_starts(5);
    let (descriptors, begun) = (observed.descriptors(), observed.program.lines("begun"));
    for _ in 5..SILENT {
        observed.until_starts(1);
        let (status, took) = observed.get("/status");
        assert!(
            status.is_some() && took < PROMPT * slowness(),
            "/status in {took:?}"
        );
    }
    observed.program.signal(Signal::SIGHUP);
    observed.program.until_logged("Configuration reloaded.");
    // There are more services than connections: a heartbeat waits for its turn for a poll at the most, then for its answer,
    // and the next check of its service waits for both.
    let late = observed.lateness(SILENT - 1);
    assert!(late < 2 * POLL + PROMPT * slowness(), "{late:?}");
    // A heartbeat that gets no answer ends at its limit, so at least every second tick of a check is used.
    let begun = observed.program.lines("begun") - begun;
    assert!(begun >= SERVICES * (SILENT - 5) / 3, "{begun} checks");
    let (now, threads) = (observed.descriptors(), observed.threads());
    assert!(now <= descriptors + 20, "{descriptors} descriptors became {now}");
    assert!(threads <= 4, "{threads} threads");

    agent.signal(Signal::SIGCONT);
    let heard = since_boot();
    until_all_pass(&agent);
    let took = (since_boot() - heard).saturating_sub(2 * lateness_since(heard));
    assert!(
        took < Duration::from_secs(5) * slowness(),
        "all pass again after {took:?}"
    );
    (0..BACKENDS).for_each(|number| agent.register(&format!("b{number}"), &format!("new{number}"), 1));
    let failed = || format!("each backend's handler ran: {}", observed.program.read("changes"));
    until(SOON, failed, || observed.program.lines("changes") >= BACKENDS);
    let stopped = observed.terminate();
    assert!(stopped < Duration::from_secs(3) * slowness(), "{stopped:?}");
}
