//! The worlds that are explored exhaustively.

use crate::explore::Scope;
use domain::plan::*;
use domain::probe::{Place, Probe, ProbeTarget};
use domain::time::Duration;
use std::num::NonZeroU32;

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn job(role: Role, trigger: Trigger, program: &str) -> Job {
    let owner = Word::from(role.to_string().as_str());
    Job::new(role, Command::new(program, [owner]), trigger, Output::Inherit)
}

/// The application, or a hook.
fn hook(role: Role) -> Option<Job> {
    let reach = match role {
        Role::Application => SignalTarget::Leader,
        _ => SignalTarget::Tree,
    };
    let stop = Stop {
        reach,
        grace: seconds(3),
        ..Stop::AT_ONCE
    };
    Some(Job {
        stop,
        ..job(role, Trigger::Lifecycle, "run")
    })
}

fn limited(hook: Option<Job>, limit: u64) -> Option<Job> {
    let time_limit = Some(seconds(limit));
    hook.map(|hook| Job { time_limit, ..hook })
}

fn service(name: &str, port: u16) -> Service {
    let id = format!("{name}-host");
    let role = Role::Health {
        service: name.into(),
        id: id.clone(),
        check: None,
    };
    Service {
        registration: Registration {
            id,
            name: name.into(),
            address: [192, 0, 2, 1].into(),
            port,
            tags: vec![],
            ttl: seconds(30),
            enable_tag_override: false,
            deregister_critical_after: None,
            attributes: Box::default(),
        },
        poll: seconds(10),
        check: Some(Check::Command(job(role, Trigger::OnDemand, "run"))),
        thresholds: None,
        checks: vec![],
        actions: HealthActions::default(),
        heartbeats_per_inspection: 2,
    }
}

fn backend(program: &str) -> Backend {
    let role = Role::OnChange { backend: "b".into() };
    let command = Command::new(program, ["b/-".into()]);
    Backend {
        name: "b".into(),
        tag: None,
        poll: seconds(10),
        on_change: Job {
            command,
            ..job(role, Trigger::OnDemand, program)
        },
        filter: Filter::default(),
        timing: Timing::default(),
        json: false,
    }
}

fn coprocess() -> Job {
    let stop = Stop {
        reach: SignalTarget::Tree,
        grace: seconds(3),
        ..Stop::AT_ONCE
    };
    Job {
        stop,
        restarts: Restarts::AtMost(1),
        ..job(Role::Coprocess { name: "c".into() }, Trigger::Lifecycle, "run")
    }
}

fn bare() -> Plan {
    let path = "/run/containerpilot".into();
    let stop_timeout = StopTimeout::After(seconds(5));
    Plan {
        application: hook(Role::Application),
        stop_timeout,
        ..Plan::new(Catalogue::Directory { path })
    }
}

fn scope(plans: Vec<Plan>) -> Scope {
    Scope {
        plans,
        reloads: false,
        terminal: false,
        maintenance: true,
        between: true,
        starts_fail: true,
        stop_every: 5,
        most: 2_000_000,
    }
}

/// One service, a drain and all hooks, with time limits, of which that of preStop is longer than the stop timeout; failed
/// starts, maintenance, and a terminal that stops the application.
pub fn hooks() -> Scope {
    Scope {
        terminal: true,
        ..scope(vec![Plan {
            pre_start: limited(hook(Role::PreStart), 2),
            pre_stop: limited(hook(Role::PreStop), 8),
            post_stop: limited(hook(Role::PostStop), 2),
            drain: seconds(4),
            services: vec![service("s", 80)],
            ..bare()
        }])
    }
}

/// One service and one backend; every answer and failure, maintenance.
pub fn small() -> Scope {
    Scope {
        between: false,
        starts_fail: false,
        ..scope(vec![Plan {
            services: vec![service("s", 80)],
            backends: vec![backend("run")],
            ..bare()
        }])
    }
}

/// One service whose check has thresholds and a start period; every answer and failure, maintenance.
pub fn thresholds() -> Scope {
    let thresholds = Thresholds {
        failures: NonZeroU32::new(2),
        successes: NonZeroU32::MIN.saturating_add(1),
        start_period: seconds(15),
    };
    Scope {
        between: false,
        starts_fail: false,
        ..scope(vec![Plan {
            services: vec![Service {
                thresholds: Some(thresholds),
                ..service("s", 80)
            }],
            ..bare()
        }])
    }
}

/// One service with two probes with schedules of their own, one of which has two failures; every answer and failure.
pub fn checks() -> Scope {
    let own = |name: &str, interval, failures| {
        let role = Role::Health {
            service: "s".into(),
            id: "s-host".into(),
            check: Some(name.into()),
        };
        let place = Place {
            host: name.into(),
            port: 80,
        };
        OwnCheck {
            name: Some(name.into()),
            check: Check::Probe(Probe {
                role,
                target: ProbeTarget::Tcp(place),
                time_limit: seconds(4),
                keeps_connection: true,
            }),
            interval: seconds(interval),
            thresholds: Thresholds {
                failures: NonZeroU32::new(failures),
                ..Thresholds::default()
            },
        }
    };
    Scope {
        maintenance: false,
        between: false,
        starts_fail: false,
        ..scope(vec![Plan {
            services: vec![Service {
                check: None,
                checks: vec![own("a", 10, 0), own("b", 20, 2)],
                ..service("s", 80)
            }],
            ..bare()
        }])
    }
}

/// A service whose check is a probe.
fn probed(name: &str, port: u16) -> Service {
    let mut service = service(name, port);
    if let Some(Check::Command(job)) = &service.check {
        service.check = Some(Check::Probe(Probe {
            role: job.role.clone(),
            target: ProbeTarget::Tcp(Place {
                host: name.into(),
                port,
            }),
            time_limit: seconds(4),
            keeps_connection: true,
        }));
    }
    service
}

/// One service whose check is a probe, then the same with another port; every result, reloads, maintenance.
pub fn probes() -> Scope {
    let with = |services| Plan { services, ..bare() };
    Scope {
        reloads: true,
        between: false,
        starts_fail: false,
        ..scope(vec![with(vec![probed("s", 80)]), with(vec![probed("s", 81)])])
    }
}

/// One service with commands for changes of its health, and a number of failures in a row that ends the shim; a start
/// period, maintenance.
pub fn reactions() -> Scope {
    let service = service("s", 80);
    let Registration { name, id, .. } = service.registration.clone();
    let on_unhealthy = Role::OnUnhealthy {
        service: name.clone(),
        id: id.clone(),
    };
    let on_healthy = Role::OnHealthy { service: name, id };
    Scope {
        between: false,
        starts_fail: false,
        ..scope(vec![Plan {
            services: vec![Service {
                thresholds: Some(Thresholds {
                    failures: None,
                    successes: NonZeroU32::MIN,
                    start_period: seconds(15),
                }),
                actions: HealthActions {
                    on_unhealthy: Some(Box::new(job(on_unhealthy, Trigger::OnDemand, "run"))),
                    on_healthy: Some(Box::new(job(on_healthy, Trigger::OnDemand, "run"))),
                    exit_after: NonZeroU32::new(2),
                },
                ..service
            }],
            ..bare()
        }])
    }
}

/// One service, then the same with another port, or none; every order of reloads, maintenance and answers.
pub fn reloads() -> Scope {
    let with = |services| Plan {
        services,
        post_stop: hook(Role::PostStop),
        ..bare()
    };
    Scope {
        reloads: true,
        starts_fail: false,
        ..scope(vec![with(vec![service("s", 80)]), with(vec![service("s", 81)])])
    }
}

/// One template that the application needs, with a command, and a reload that replaces it; every answer and failure of the
/// catalogue, the renderings and the writings.
pub fn templates() -> Scope {
    let template = |program: &str| {
        let destination = String::from("/etc/t");
        let role = Role::Template {
            destination: destination.clone(),
        };
        Template {
            source: TemplateSource::Contents("b".into()),
            destination,
            mode: None,
            owner: None,
            command: Some(job(role, Trigger::OnDemand, program)),
            wait: None,
            required: true,
        }
    };
    let with = |program| Plan {
        templates: vec![template(program)],
        start_timeout: seconds(15),
        ..bare()
    };
    Scope {
        maintenance: false,
        between: false,
        starts_fail: false,
        ..scope(vec![with("run")])
    }
}

/// One template that the application needs and that needs a key, with a command; every answer of the catalogue, with the key
/// and without it.
pub fn keys() -> Scope {
    let mut scope = templates();
    for template in scope.plans.iter_mut().flat_map(|plan| &mut plan.templates) {
        template.source = TemplateSource::Contents("=k".into());
    }
    scope
}

/// One backend whose handler a reload replaces; maintenance and answers.
pub fn handlers() -> Scope {
    let with = |backends| Plan { backends, ..bare() };
    Scope {
        reloads: true,
        ..scope(vec![with(vec![backend("run")]), with(vec![backend("walk")])])
    }
}

/// One backend whose handler has a quiet time, a splay and a minimum; failed starts, maintenance and answers.
pub fn delays() -> Scope {
    let timing = Timing {
        wait: Some(Wait {
            quiet: seconds(4),
            most: seconds(6),
        }),
        splay: seconds(3),
        minimum: 1,
    };
    scope(vec![Plan {
        backends: vec![Backend {
            timing,
            ..backend("run")
        }],
        ..bare()
    }])
}

/// One backend of which reloads replace the minimum, and then the handler, while it runs; every answer.
pub fn minimums() -> Scope {
    let with = |minimum, program| Plan {
        backends: vec![Backend {
            timing: Timing {
                minimum,
                ..Timing::default()
            },
            ..backend(program)
        }],
        ..bare()
    };
    Scope {
        reloads: true,
        maintenance: false,
        between: false,
        starts_fail: false,
        ..scope(vec![with(1, "run"), with(2, "run"), with(2, "walk")])
    }
}

/// Two services without a check and a backend, with at most two requests in flight; a catalogue that refuses
/// further requests now and then.
pub fn budget() -> Scope {
    let unchecked = |name, port| Service {
        check: None,
        ..service(name, port)
    };
    Scope {
        between: false,
        starts_fail: false,
        ..scope(vec![Plan {
            services: vec![unchecked("s", 80), unchecked("t", 81)],
            backends: vec![backend("run")],
            max_connections: Some(2),
            ..bare()
        }])
    }
}

/// All features of the small worlds in one: a service, a backend, hooks, reloads, maintenance, every answer
/// and failure. A reload reads the same plan, or none; other plans are in [`reloads`] and [`handlers`],
/// failed starts in [`hooks`].
pub fn whole() -> Scope {
    Scope {
        reloads: true,
        between: false,
        starts_fail: false,
        ..scope(vec![Plan {
            pre_start: hook(Role::PreStart),
            pre_stop: hook(Role::PreStop),
            post_stop: hook(Role::PostStop),
            services: vec![service("s", 80)],
            backends: vec![backend("run")],
            ..bare()
        }])
    }
}

/// Two services, a backend and a coprocess.
pub fn large() -> Scope {
    scope(vec![Plan {
        services: vec![service("s", 80), service("t", 81)],
        backends: vec![backend("run")],
        jobs: vec![coprocess()],
        ..bare()
    }])
}

/// The worlds that the ordinary tests explore.
pub const QUICK: [&str; 11] = [
    "hooks",
    "thresholds",
    "checks",
    "reactions",
    "probes",
    "templates",
    "keys",
    "reloads",
    "handlers",
    "delays",
    "minimums",
];

/// All worlds by name; those that are explored in seconds come first.
pub fn all() -> [(&'static str, Scope); 15] {
    [
        ("hooks", hooks()),
        ("thresholds", thresholds()),
        ("checks", checks()),
        ("reactions", reactions()),
        ("probes", probes()),
        ("templates", templates()),
        ("keys", keys()),
        ("reloads", reloads()),
        ("handlers", handlers()),
        ("delays", delays()),
        ("minimums", minimums()),
        ("small", small()),
        ("budget", budget()),
        ("whole", whole()),
        ("large", large()),
    ]
}
