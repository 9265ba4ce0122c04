//! A few lives, lived whole in virtual time.
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use domain::event::{ExitStatus, Signal};
use domain::plan::*;
use domain::time::Duration;
use sim::{Behaviour, Script, World};
use std::collections::BTreeMap;

const HOUR: Duration = Duration::from_secs(3600);

fn job(role: Role, trigger: Trigger) -> Job {
    let stop = Stop {
        reach: Reach::Group,
        grace: Duration::from_secs(3),
    };
    Job {
        stop,
        ..Job::new(role, Command::new("true", []), trigger, Output::Log)
    }
}

fn plan() -> Plan {
    let registration = Registration {
        id: "app-host".into(),
        name: "app".into(),
        address: [192, 0, 2, 1].into(),
        port: 80,
        tags: vec![],
        ttl: Duration::from_secs(30),
        enable_tag_override: false,
        deregister_critical_after: None,
    };
    let health = Role::Health {
        service: "app".into(),
        id: "app-host".into(),
    };
    let handler = Role::OnChange {
        backend: "app".into(),
    };
    Plan {
        application: Some(job(Role::Application, Trigger::Moment)),
        pre_start: Some(job(Role::PreStart, Trigger::Moment)),
        pre_stop: Some(job(Role::PreStop, Trigger::Moment)),
        post_stop: Some(job(Role::PostStop, Trigger::Moment)),
        services: vec![Service {
            registration,
            poll: Duration::from_secs(10),
            check: Some(job(health, Trigger::Asked)),
        }],
        backends: vec![Backend {
            name: "app".into(),
            tag: None,
            poll: Duration::from_secs(10),
            on_change: job(handler, Trigger::Asked),
        }],
        jobs: vec![job(Role::Coprocess { name: "side".into() }, Trigger::Moment)],
        ..Plan::new(Catalogue::Directory {
            path: "/run/containerpilot".into(),
        })
    }
}

fn script(application: Behaviour, latency: Option<Duration>, signals: &[(Duration, Signal)]) -> Script {
    let jobs = [
        ("APP".to_owned(), application),
        ("coprocess[side]".to_owned(), Behaviour::STAYS),
    ];
    Script {
        jobs: BTreeMap::from(jobs),
        signals: signals.to_vec(),
        latency,
    }
}

const PROMPT: Option<Duration> = Some(Duration::from_millis(2));

#[test]
fn a_day_is_lived_in_order_and_twice_the_same() {
    let script = script(Behaviour::STAYS, PROMPT, &[(24 * HOUR, Signal::Terminate)]);
    let world = World::new(script.clone());
    let (code, trace) = world.live(plan()).unwrap();
    assert_eq!(code, 143);
    assert!(world.passing().is_empty());
    let renewals = trace.iter().filter(|line| line.contains("renew app")).count();
    assert_eq!(
        renewals,
        24 * 360 - 2,
        "one heartbeat every ten seconds but the registration and the last tick"
    );
    let end: Vec<&str> = trace[trace.len() - 7..]
        .iter()
        .filter_map(|line| line.split_once(' '))
        .map(|(_, what)| what)
        .collect();
    let expected = [
        "withdraw app",
        "start preStop",
        "send 15 to APP",
        "start postStop",
        "send 15 to coprocess[side]",
        "exit 143",
    ];
    assert_eq!(end[1..], expected);
    assert_eq!(World::new(script).live(plan()).unwrap().1, trace);
}

#[test]
fn a_catalogue_that_never_answers_delays_the_end_by_its_bound_only() {
    let world = World::new(script(Behaviour::STAYS, None, &[(HOUR, Signal::Terminate)]));
    let error = world.live(plan()).map(|(code, _)| code);
    assert_eq!(error, Ok(143));
}

#[test]
fn a_stubborn_application_is_killed() {
    let stubborn = Behaviour {
        stubborn: true,
        ..Behaviour::STAYS
    };
    let world = World::new(script(stubborn, PROMPT, &[(HOUR, Signal::Terminate)]));
    let (code, trace) = world.live(plan()).unwrap();
    assert_eq!(code, 137);
    assert!(trace.iter().any(|line| line.ends_with("send 9 to APP")));
}

#[test]
fn an_application_that_ends_by_itself_takes_everything_with_it() {
    let ends = Behaviour {
        lives: Some(HOUR),
        ends: ExitStatus::Code(7),
        stubborn: false,
    };
    let world = World::new(script(ends, PROMPT, &[]));
    assert_eq!(world.live(plan()).unwrap().0, 7);
    assert!(world.passing().is_empty());
}
