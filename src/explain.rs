//! Describes in plain sentences what the shim will do with a plan: at the start, while it runs, and when it stops.

use domain::catalogue::Endpoint;
use domain::lifecycle;
use domain::plan::{
    Backend, Catalogue, Check, ControlSocket, HealthActions, Job, OwnCheck, Plan, Restarts, Role, Scheme,
    Service, StopTimeout, Telemetry, Timing, Trigger, Wait,
};
use domain::probe::{Probe, ProbeTarget};
use domain::signal::Signal;
use domain::time::Duration;
use std::fmt::Write as _;

/// The whole description, as lines of text. It contains arguments of commands, which may be secret.
pub fn explain(plan: &Plan) -> String {
    let mut text = String::new();
    for (title, steps) in [
        ("At the start", at_the_start(plan)),
        ("While it runs", while_it_runs(plan)),
        ("At the stop", at_the_stop(plan)),
    ] {
        // Writing to a string cannot fail.
        writeln!(text, "{title}:").ok();
        for (number, step) in (1..).zip(steps) {
            writeln!(text, "{number:>3}. {step}").ok();
        }
    }
    text
}

fn at_the_start(plan: &Plan) -> Vec<String> {
    let pre_start = plan.pre_start.as_ref().map(|hook| {
        format!(
            "preStart runs {}. If it fails, the shim ends with its exit code",
            command(hook)
        )
    });
    let coprocesses = plan.jobs.iter().filter(|job| job.trigger == Trigger::Lifecycle);
    let coprocesses = coprocesses.map(|job| {
        let restarts = match job.restarts {
            Restarts::NEVER => "is not started again when it ends".to_owned(),
            Restarts::AtMost(times) => format!("is started again {times} times at most"),
            Restarts::Unlimited => "is started again whenever it ends".to_owned(),
        };
        format!(
            "the coprocess {} starts: {}; it {restarts}",
            name(job),
            command(job)
        )
    });
    let application = match &plan.application {
        Some(application) => format!(
            "the application starts: {}. Its exit code is that of the shim",
            command(application)
        ),
        None => "there is no application; the shim runs until it is stopped".to_owned(),
    };
    let limit = time(plan.start_timeout);
    let required = plan.templates.iter().filter(|template| template.required);
    let required = required.map(|template| {
        let destination = &template.destination;
        format!(
            "the template {destination} is written; without it the shim ends after {limit} with the code 1"
        )
    });
    pre_start
        .into_iter()
        .chain(required)
        .chain(coprocesses)
        .chain([application])
        .collect()
}

fn while_it_runs(plan: &Plan) -> Vec<String> {
    let catalogue = catalogue(&plan.catalogue);
    let services = plan.services.iter().map(|entry| service(entry, &catalogue));
    let backends = plan.backends.iter().map(|entry| backend(entry, &catalogue));
    let tasks = plan.jobs.iter().filter_map(|job| match job.trigger {
        Trigger::Every(period) => Some(format!(
            "the task {} runs every {}: {}",
            name(job),
            time(period),
            command(job)
        )),
        Trigger::Lifecycle | Trigger::OnDemand => None,
    });
    let telemetry = plan.telemetry.as_ref().map(|Telemetry { address, sensors }| {
        let sensors = match sensors.len() {
            0 => String::new(),
            number => format!(", with the values of {number} sensors"),
        };
        format!(
            "metrics are served at http://{address}/metrics and the state at http://{address}/status{sensors}"
        )
    });
    let control = plan.control.as_ref().map(|ControlSocket { path, group }| {
        let group = group.map(|group| format!(" and members of the group {group}"));
        let group = group.unwrap_or_default();
        format!(
            "the flags -status, -healthy, -reload, -maintenance and -ping reach the shim at the socket {path}, for its own user{group}"
        )
    });
    let templates = plan.templates.iter().map(|template| {
        let destination = &template.destination;
        let then = template.command.as_ref().map(command);
        let then = then.map(|command| format!(", and then {command} runs"));
        format!(
            "the template {destination} is written when what it uses from {catalogue} changes{}",
            then.unwrap_or_default()
        )
    });
    services
        .chain(backends)
        .chain(templates)
        .chain(tasks)
        .chain(telemetry)
        .chain(control)
        .collect()
}

fn service(service: &Service, catalogue: &str) -> String {
    let registration = &service.registration;
    let (name, id, ttl) = (&registration.name, &registration.id, time(registration.ttl));
    let poll = time(service.poll);
    let address = Endpoint {
        address: registration.address.to_string(),
        port: registration.port,
    };
    let place = format!("{address} in {catalogue} as {id}");
    let check = match &service.check {
        _ if !service.checks.is_empty() => own_checks(service, &poll, &place),
        Some(check) => format!(
            "every {poll} its health check {}. Each check that passes sends a heartbeat, and the first one registers {place}",
            checks(check)
        ),
        None => format!(
            "there is no health check; every {poll} a heartbeat is sent, and the first one registers {place}"
        ),
    };
    let actions = actions(&service.actions);
    format!("the service {name}: {check}. Without a heartbeat for {ttl} the entry is critical{actions}")
}

/// What checks with schedules of their own do.
fn own_checks(service: &Service, poll: &str, place: &str) -> String {
    let checks: Vec<String> = service.checks.iter().map(own_check).collect();
    let checks = checks.join("; ");
    let all = match service.checks.len() {
        1 => "it passes",
        _ => "all of them pass",
    };
    format!("{checks}. While {all}, a heartbeat is sent every {poll}, and the first one registers {place}")
}

fn own_check(own: &OwnCheck) -> String {
    let name = own
        .name
        .as_ref()
        .map_or_else(String::new, |name| format!(" {name}"));
    format!(
        "every {} its health check{name} {}",
        time(own.interval),
        checks(&own.check)
    )
}

/// What follows from a change of health.
fn actions(actions: &HealthActions) -> String {
    let on_unhealthy = actions.on_unhealthy.as_ref();
    let on_healthy = actions.on_healthy.as_ref();
    [
        on_unhealthy.map(|job| format!(". When it becomes unhealthy, {} runs", command(job))),
        on_healthy.map(|job| format!(". When it is healthy again, {} runs", command(job))),
        actions
            .exit_after
            .map(|failures| format!(". After {failures} failures in a row the shim stops")),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What a health check does.
fn checks(check: &Check) -> String {
    match check {
        Check::Command(job) => format!("runs {}", command(job)),
        Check::Probe(probe) => format!("{} (failed after {})", probes(probe), time(probe.time_limit)),
    }
}

fn probes(probe: &Probe) -> String {
    match &probe.target {
        ProbeTarget::Http(http) => {
            let scheme = if http.tls.is_some() { "https" } else { "http" };
            let socket = http
                .socket
                .as_ref()
                .map(|path| format!(" through the socket {path}"));
            format!(
                "requests {} {scheme}://{}{}{}",
                http.method,
                http.host,
                http.path,
                socket.unwrap_or_default()
            )
        }
        ProbeTarget::Tcp(place) => format!("connects to {place}"),
        ProbeTarget::Grpc(grpc) => match grpc.service.as_str() {
            "" => format!("asks {} for its health over gRPC", grpc.place),
            service => format!("asks {} for the health of {service} over gRPC", grpc.place),
        },
    }
}

fn backend(backend: &Backend, catalogue: &str) -> String {
    let tags = backend.tag.iter().chain(&backend.filter.tags);
    let tags: Vec<String> = tags.map(|tag| format!(" with the tag {tag}")).collect();
    let datacenter = backend.filter.datacenter.as_ref();
    let datacenter = datacenter.map(|name| format!(" of the datacenter {name}"));
    format!(
        "the backend {}: when its {}instances{}{} in {catalogue} change, {} runs{}. The shim asks again after {} at the latest",
        backend.name,
        if backend.filter.also_failing {
            ""
        } else {
            "healthy "
        },
        tags.concat(),
        datacenter.unwrap_or_default(),
        command(&backend.on_change),
        timing(backend.timing),
        time(backend.poll)
    )
}

/// When the handler runs after a change, unless it runs at once.
fn timing(timing: Timing) -> String {
    let Timing { wait, splay, minimum } = timing;
    let mut text = String::new();
    if let Some(Wait { quiet, most }) = wait {
        let (quiet, most) = (time(quiet), time(most));
        text =
            format!(" when nothing has changed for {quiet}, and {most} after the first change at the latest");
    }
    if splay > Duration::ZERO {
        text += &format!(", delayed by a random time of at most {}", time(splay));
    }
    if minimum > 0 {
        text += &format!(", if there are at least {minimum} instances");
    }
    text
}

fn at_the_stop(plan: &Plan) -> Vec<String> {
    let signals: Vec<String> = plan.stop_on.iter().map(Signal::to_string).collect();
    let deregistration = match plan.services.len() {
        0 => String::new(),
        number => format!(
            ", and deregisters its services ({number}) within {}",
            time(lifecycle::DEREGISTRATION)
        ),
    };
    let mut steps = vec![format!(
        "after {} the shim kills health checks, handlers, tasks and sensors{deregistration}. It does the same when the \
         application ends by itself, and then preStop does not run",
        signals.join(" or ")
    )];
    if plan.application.is_some() && plan.drain > Duration::ZERO {
        steps.push(format!(
            "the application goes on for {}, or until the signal comes again",
            time(plan.drain)
        ));
    }
    steps.extend(
        plan.pre_stop
            .as_ref()
            .map(|hook| format!("preStop runs {}", command(hook))),
    );
    steps.extend(
        plan.application
            .as_ref()
            .map(|application| match plan.stop_timeout {
                StopTimeout::Immediately => "the application gets SIGKILL".to_owned(),
                StopTimeout::After(grace) => format!(
                    "the application gets {}, and SIGKILL after {} if it still runs",
                    application.stop.signal,
                    time(grace)
                ),
            }),
    );
    steps.extend(plan.post_stop.as_ref().map(|hook| {
        format!(
            "postStop runs {}. If it fails, its exit code is that of the shim",
            command(hook)
        )
    }));
    steps.push(format!(
        "all processes that are left get SIGTERM, and SIGKILL after {}; then the shim exits",
        time(lifecycle::TERMINATING_REMAINING)
    ));
    steps
}

/// The catalogue, without its secrets.
/// What a plan has, in a few words.
pub fn summary(plan: &Plan) -> String {
    let counted = |number: usize, one: &str| match number {
        0 => None,
        1 => Some(format!("1 {one}")),
        _ => Some(format!("{number} {one}s")),
    };
    let parts = [
        Some(catalogue(&plan.catalogue)),
        counted(plan.services.len(), "service"),
        counted(plan.backends.len(), "backend"),
        counted(plan.templates.len(), "template"),
        counted(plan.jobs.len(), "other job"),
    ];
    let application = plan.application.as_ref().map_or_else(
        || "there is no application".to_owned(),
        |job| format!("the application is {}", job.command.program),
    );
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{}; {application}", parts.join(", "))
}

fn catalogue(catalogue: &Catalogue) -> String {
    match catalogue {
        Catalogue::Consul(consul) => {
            let tls = match consul.scheme {
                Scheme::Http => "",
                Scheme::Https => " over TLS",
            };
            format!("Consul at {}{tls}", consul.address)
        }
        Catalogue::Etcd(etcd) => format!("etcd at {} below {}", etcd.endpoints.join(", "), etcd.prefix),
        Catalogue::Directory { path } => format!("the folder {path}"),
    }
}

fn name(job: &Job) -> &str {
    match &job.role {
        Role::Task { name } | Role::Coprocess { name } => name,
        _ => "",
    }
}

/// A command line, its user and its time limit.
fn command(job: &Job) -> String {
    let words = std::iter::once(&job.command.program).chain(&job.command.arguments);
    let words: Vec<String> = words.map(|word| quoted(&word.to_string())).collect();
    let user = job
        .identity
        .as_ref()
        .map(|identity| format!(" as user {}", identity.user));
    let limit = job
        .time_limit
        .map(|limit| format!(" (killed after {})", time(limit)));
    format!(
        "`{}`{}{}",
        words.join(" "),
        user.unwrap_or_default(),
        limit.unwrap_or_default()
    )
}

/// A word as one would write it for a shell, so that it is clear where it begins and ends.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "-_./:=@%+,".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let escaped = |letter: char| match letter {
        '\'' => "'\\''".to_owned(),
        letter if letter.is_control() => letter.escape_default().to_string(),
        letter => letter.to_string(),
    };
    format!("'{}'", word.chars().map(escaped).collect::<String>())
}

/// A duration as a configuration has it, such as `1h30m`.
fn time(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if duration.subsec_nanos() != 0 || seconds == 0 {
        return format!("{duration:?}");
    }
    let parts = [
        (seconds / 3600, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
    ];
    let parts = parts.iter().filter(|(number, _)| *number != 0);
    parts.map(|(number, unit)| format!("{number}{unit}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::plan::{Command, Output, Tls};
    use domain::probe::{GrpcProbe, HttpProbe, Place};

    #[test]
    fn durations_have_the_form_of_the_configuration() {
        for (milliseconds, text) in [
            (5_000, "5s"),
            (5_400_000, "1h30m"),
            (3_601_000, "1h1s"),
            (1_500, "1.5s"),
            (0, "0ns"),
        ] {
            assert_eq!(time(Duration::from_millis(milliseconds)), text);
        }
    }

    #[test]
    fn checks_with_schedules_of_their_own_are_described() {
        let own = |name: Option<&str>, interval| OwnCheck {
            name: name.map(str::to_owned),
            check: Check::Command(Job::new(
                Role::PreStart,
                Command::new("look", []),
                Trigger::OnDemand,
                Output::Log,
            )),
            interval: Duration::from_secs(interval),
            thresholds: domain::plan::Thresholds::default(),
        };
        let service = |checks| Service {
            registration: domain::plan::Registration {
                id: "app-host".into(),
                name: "app".into(),
                address: [192, 0, 2, 1].into(),
                port: 80,
                tags: vec![],
                ttl: Duration::from_secs(20),
                enable_tag_override: false,
                deregister_critical_after: None,
                attributes: Box::default(),
            },
            poll: Duration::from_secs(5),
            check: None,
            thresholds: None,
            checks,
            actions: HealthActions::default(),
            heartbeats_per_inspection: 0,
        };
        let end = "a heartbeat is sent every 5s, and the first one registers 192.0.2.1:80 in Consul as app-host. \
                   Without a heartbeat for 20s the entry is critical";
        assert_eq!(
            super::service(&service(vec![own(Some("a"), 2), own(Some("b"), 60)]), "Consul"),
            format!(
                "the service app: every 2s its health check a runs `look`; every 1m its health check b runs `look`. \
                 While all of them pass, {end}"
            )
        );
        assert_eq!(
            super::service(&service(vec![own(None, 60)]), "Consul"),
            format!("the service app: every 1m its health check runs `look`. While it passes, {end}")
        );
    }

    #[test]
    fn health_checks_without_a_command_are_described() {
        let place = Place {
            host: "app".into(),
            port: 80,
        };
        let http = HttpProbe {
            place: place.clone(),
            socket: Some("/run/app".into()),
            tls: Some(Tls::default()),
            host: "app".into(),
            path: "/health".into(),
            method: "HEAD".into(),
            headers: vec![],
            status: (200, 399),
            body: None,
        };
        let grpc = |service: &str| {
            ProbeTarget::Grpc(Box::new(GrpcProbe {
                place: place.clone(),
                tls: None,
                service: service.into(),
            }))
        };
        for (target, sentence) in [
            (
                ProbeTarget::Http(Box::new(http)),
                "requests HEAD https://app/health through the socket /run/app",
            ),
            (ProbeTarget::Tcp(place.clone()), "connects to app:80"),
            (grpc(""), "asks app:80 for its health over gRPC"),
            (grpc("a.B"), "asks app:80 for the health of a.B over gRPC"),
        ] {
            let probe = Probe {
                role: Role::PreStart,
                target,
                time_limit: Duration::from_secs(2),
                keeps_connection: true,
            };
            assert_eq!(
                checks(&Check::Probe(probe)),
                format!("{sentence} (failed after 2s)")
            );
        }
    }

    #[test]
    fn words_are_quoted_where_that_is_needed_and_stay_on_one_line() {
        let words = ["a b", "it's", "", "x\ny", "--all=1"].map(Into::into);
        let job = Job::new(
            Role::PreStart,
            Command::new("run", words),
            Trigger::Lifecycle,
            Output::Inherit,
        );
        assert_eq!(command(&job), "`run 'a b' 'it'\\''s' '' 'x\\ny' --all=1`");
    }
}
