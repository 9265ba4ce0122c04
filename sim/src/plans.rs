//! Draws plans that are small enough that their parts interact, with everything that a plan can contain.
//!
//! Each job's command names its owner and a version, so that the simulated machine can distinguish two
//! handlers of one backend. How the processes behave is decided elsewhere.

use crate::choices::Choices;
use crate::options::Options;
use domain::plan::*;
use domain::probe::{Place, Probe, ProbeTarget};
use domain::signal::Signal;
use domain::time::Duration;
use std::num::NonZeroU32;

/// The stop timeouts, in milliseconds.
const QUIT: Signal = Signal::new(3);
const USR2: Signal = Signal::new(12);

const GRACES: [u64; 4] = [3_000, 0, 500, 9_000];
/// The time limit of hooks that have one; shorter and longer than the stop timeouts.
const HOOK_LIMIT: Duration = Duration::from_millis(4_000);
/// The periods, in milliseconds.
const PERIODS: [u64; 4] = [10_000, 5_000, 2_000, 1_000];

/// Draws a plan with the parts that `options` allow.
pub fn draw(choices: &mut Choices, options: &Options) -> Plan {
    let mut plan = Plan {
        stop_timeout: stop_timeout(choices),
        max_connections: options.connections,
        ..Plan::new(catalogue(options, 0))
    };
    plan.application = options.application.then(|| hook(choices, Role::Application));
    // Drawn together with the jitter, so that saved runs keep their meaning.
    if let Some(application) = plan.application.as_mut().filter(|_| options.jitter % 7 == 3) {
        application.stop.signal = QUIT;
    }
    if options.jitter % 11 == 5 {
        plan.stop_on.push(USR2);
    }
    plan.drain = drain(options);
    plan.pre_start = options.hooks[0].then(|| hook(choices, Role::PreStart));
    plan.pre_stop = options.hooks[1].then(|| hook(choices, Role::PreStop));
    plan.post_stop = options.hooks[2].then(|| hook(choices, Role::PostStop));
    if options.jitter % 5 == 2 {
        let hooks = [&mut plan.pre_start, &mut plan.pre_stop, &mut plan.post_stop];
        for hook in hooks.into_iter().flatten() {
            hook.time_limit = Some(HOOK_LIMIT);
        }
    }
    for number in 0..options.services {
        plan.services.push(service(choices, number));
    }
    set_thresholds(options, &mut plan);
    set_probes(options, &mut plan);
    set_checks(options, &mut plan);
    set_actions(options, &mut plan);
    if has_templates(options) {
        plan.templates = [0, 1].map(|number| template(choices, options, number)).into();
    }
    for number in 0..options.backends {
        plan.backends.push(backend(choices, number));
    }
    set_timing(options, &mut plan);
    for number in 0..options.jobs {
        plan.jobs.push(job(choices, number));
    }
    if options.sensors > 0 {
        let sensors = (0..options.sensors)
            .map(|number| sensor(choices, number))
            .collect();
        let address = ([0, 0, 0, 0], 9090).into();
        plan.telemetry = Some(Telemetry { address, sensors });
    }
    plan
}

/// The same plan after an operator edited it, or after the machine's addresses changed.
pub fn edit(choices: &mut Choices, options: &Options, plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    for _ in 0..=choices.below(2) {
        match choices.below(12) {
            0 => {}
            1 => readdress(choices, &mut plan),
            2 => remove(choices, &mut plan.services),
            3 => remove(choices, &mut plan.backends),
            4 => remove(choices, &mut plan.jobs),
            5 => replace_service(choices, &mut plan),
            6 => replace_backend(choices, &mut plan, options),
            7 => replace_job(choices, &mut plan),
            8 => plan.catalogue = catalogue(options, choices.below(2)),
            9 => swap_backends(&mut plan.backends),
            10 => {
                plan.stop_timeout = stop_timeout(choices);
                plan.drain = drain(options) * 2;
            }
            _ => replace_sensor(choices, &mut plan),
        }
    }
    set_thresholds(options, &mut plan);
    set_timing(options, &mut plan);
    set_probes(options, &mut plan);
    set_checks(options, &mut plan);
    set_actions(options, &mut plan);
    if has_templates(options) && choices.below(2) == 1 {
        let number = choices.below(2);
        let new = template(choices, options, number);
        plan.templates.retain(|old| old.destination != new.destination);
        plan.templates.push(new);
    }
    plan
}

/// One run in four has a drain. It is drawn together with the jitter, so that saved runs keep their meaning.
fn drain(options: &Options) -> Duration {
    match options.jitter / 2 % 8 {
        3 => Duration::from_secs(4),
        6 => Duration::from_millis(700),
        _ => Duration::ZERO,
    }
}

/// In a quarter of the runs the health checks are probes. This is drawn together with the jitter, so that saved runs keep
/// their meaning.
fn set_probes(options: &Options, plan: &mut Plan) {
    if options.jitter / 13 % 4 != 2 {
        return;
    }
    for service in &mut plan.services {
        if let Some(Check::Command(job)) = &service.check {
            service.check = Some(Check::Probe(Probe {
                role: job.role.clone(),
                target: ProbeTarget::Tcp(Place {
                    host: job.command.to_string(),
                    port: 80,
                }),
                time_limit: job.time_limit.unwrap_or(service.poll),
                keeps_connection: true,
            }));
        }
    }
}

/// In two of seven runs each check has a schedule of its own, and in one of them some services have two checks. They are
/// drawn together with the jitter, so that saved runs keep their meaning.
fn set_checks(options: &Options, plan: &mut Plan) {
    let drawn = options.jitter as usize;
    if !matches!(drawn % 7, 1 | 4) {
        return;
    }
    for service in &mut plan.services {
        let Some(check) = service.check.take() else {
            continue;
        };
        let thresholds = service.thresholds.take().unwrap_or_default();
        let several = drawn % 7 == 1 && service.registration.port % 2 == 0;
        let names: &[Option<&str>] = if several { &[Some("a"), Some("b")] } else { &[None] };
        service.checks = names
            .iter()
            .enumerate()
            .map(|(number, name)| {
                let factor = [2, 1, 3, 2][(drawn / 7 + number) % 4];
                let thresholds = if number == 0 {
                    thresholds
                } else {
                    Thresholds::default()
                };
                own_check(*name, check.clone(), service.poll * factor / 2, thresholds)
            })
            .collect();
    }
}

fn own_check(name: Option<&str>, mut check: Check, interval: Duration, thresholds: Thresholds) -> OwnCheck {
    let name = name.map(str::to_owned);
    let (role, limit) = match &mut check {
        Check::Command(job) => {
            job.time_limit = job.time_limit.or(Some(interval));
            (&mut job.role, job.time_limit.as_mut())
        }
        Check::Probe(probe) => (&mut probe.role, Some(&mut probe.time_limit)),
    };
    if let Some(limit) = limit {
        *limit = interval.min(*limit);
    }
    if let Role::Health { check, .. } = role {
        check.clone_from(&name);
    }
    OwnCheck {
        name,
        check,
        interval,
        thresholds,
    }
}

/// In two of eleven runs there are templates. They are drawn together with the jitter, so that saved runs keep their
/// meaning.
fn has_templates(options: &Options) -> bool {
    matches!(options.jitter % 11, 2 | 8)
}

/// In half of these runs the templates use keys.
pub fn has_keys(options: &Options) -> bool {
    has_templates(options) && options.jitter / 11 % 2 == 1
}

/// Draws a template; its source is explained in [`crate::templates`].
fn template(choices: &mut Choices, options: &Options, number: u32) -> Template {
    let destination = format!("/etc/t{number}");
    let role = Role::Template {
        destination: destination.clone(),
    };
    let command = (choices.below(3) < 2).then(|| Job {
        time_limit: Some(Duration::from_secs(3)),
        ..plain(role, Trigger::OnDemand, choices.below(2))
    });
    let wait = Wait {
        quiet: Duration::from_secs(2),
        most: Duration::from_secs(5),
    };
    let sources = match has_keys(options) {
        true => ["=k0", "?k1 b0", ":p/", "b0/blue =k1"],
        false => ["b0", "b1", "b0/blue b1", ""],
    };
    Template {
        source: TemplateSource::Contents(choices.one_of(&sources).into()),
        destination,
        mode: None,
        owner: None,
        command,
        wait: (choices.below(2) == 1).then_some(wait),
        required: choices.below(3) == 1,
    }
}

/// In two of five runs the health checks have thresholds. They are drawn together with the jitter, so that saved runs
/// keep their meaning.
fn set_thresholds(options: &Options, plan: &mut Plan) {
    let drawn = options.jitter as usize;
    if !matches!(drawn % 5, 1 | 3) {
        return;
    }
    let thresholds = Thresholds {
        failures: NonZeroU32::new([2, 0, 1, 3][drawn / 5 % 4]),
        successes: NonZeroU32::MIN.saturating_add([0, 1, 2][drawn / 20 % 3]),
        start_period: Duration::from_secs([0, 7, 25][drawn / 60 % 3]),
    };
    for service in plan.services.iter_mut().filter(|service| service.check.is_some()) {
        service.thresholds = Some(thresholds);
    }
}

/// In a third of the runs handlers have a quiet time, a splay or a minimum, which depend on the poll of their backend, so
/// that a reload may change them. They are drawn together with the jitter, so that saved runs keep their meaning.
fn set_timing(options: &Options, plan: &mut Plan) {
    if options.jitter % 3 != 1 {
        return;
    }
    for backend in &mut plan.backends {
        let drawn = options.jitter as usize / 3
            + backend.poll.subsec_millis() as usize
            + backend.poll.as_secs() as usize;
        let wait = |(quiet, most): (u64, u64)| Wait {
            quiet: Duration::from_millis(quiet),
            most: Duration::from_millis(most),
        };
        backend.timing = Timing {
            wait: [
                Some((1_000, 3_000)),
                None,
                Some((2_500, 2_500)),
                Some((5_000, 20_000)),
            ][drawn % 4]
                .map(wait),
            splay: Duration::from_millis([0, 1_500, 0, 10_000][drawn / 4 % 4]),
            minimum: [0, 1, 2][drawn % 3],
        };
    }
}

/// In two of five runs services have commands for changes of their health, and in some of them a number of failures ends
/// the shim. They are drawn together with the jitter, so that saved runs keep their meaning.
fn set_actions(options: &Options, plan: &mut Plan) {
    let drawn = options.jitter as usize;
    if !matches!(drawn % 5, 2 | 3) {
        return;
    }
    let is_checked = |service: &&mut Service| service.all_checks().next().is_some();
    for service in plan.services.iter_mut().filter(is_checked) {
        let Registration { name, id, .. } = &service.registration;
        let (name, id) = (name.clone(), id.clone());
        let on_unhealthy = Role::OnUnhealthy {
            service: name.clone(),
            id: id.clone(),
        };
        let on_healthy = Role::OnHealthy { service: name, id };
        let limit = [None, Some(Duration::from_secs(3))][drawn / 5 % 2];
        let job = |role| Job {
            time_limit: limit,
            ..plain(role, Trigger::OnDemand, 0)
        };
        let own = service.checks.iter().map(|own| own.thresholds);
        let starts_slowly = own
            .chain(service.thresholds)
            .any(|thresholds| thresholds.start_period > Duration::ZERO);
        let exit_after = [0, 3, 0, 1, 0, 5][drawn / 10 % 6];
        service.actions = HealthActions {
            on_unhealthy: (drawn / 60 % 4 != 3).then(|| Box::new(job(on_unhealthy))),
            on_healthy: (drawn / 60 % 4 != 2).then(|| Box::new(job(on_healthy))),
            // Where a start takes time, the trace does not show whether a failure is in the start period.
            exit_after: NonZeroU32::new(exit_after).filter(|_| !starts_slowly),
        };
    }
}

/// One of two catalogues, which have keys if the templates use some.
fn catalogue(options: &Options, number: u32) -> Catalogue {
    if has_keys(options) {
        return Catalogue::Etcd(Etcd {
            endpoints: vec![format!("http://etcd{number}")],
            prefix: String::new(),
            login: None,
            tls: Tls::default(),
        });
    }
    let path = format!("/run/containerpilot/{number}");
    Catalogue::Directory { path }
}

fn stop_timeout(choices: &mut Choices) -> StopTimeout {
    match choices.below(4) {
        3 => StopTimeout::Immediately,
        more => StopTimeout::After(Duration::from_secs([5, 1, 20][more as usize])),
    }
}

fn command(owner: &str, version: u32) -> Command {
    Command::new(
        "run",
        [Word::from(owner), Word::from(format!("v{version}").as_str())],
    )
}

fn plain(role: Role, trigger: Trigger, version: u32) -> Job {
    let owner = role.to_string();
    Job::new(role, command(&owner, version), trigger, Output::Log)
}

/// The application, or a hook.
fn hook(choices: &mut Choices, role: Role) -> Job {
    let grace = Duration::from_millis(choices.one_of(&GRACES));
    let reach = match role {
        Role::Application => SignalTarget::Leader,
        _ => SignalTarget::Tree,
    };
    let stop = Stop {
        reach,
        grace,
        ..Stop::AT_ONCE
    };
    Job {
        stop,
        output: Output::Inherit,
        ..plain(role, Trigger::Lifecycle, 0)
    }
}

fn period(choices: &mut Choices) -> Duration {
    Duration::from_millis(choices.one_of(&PERIODS))
}

fn limit(choices: &mut Choices, period: Duration) -> Option<Duration> {
    match choices.below(3) {
        0 => None,
        1 => Some(period),
        _ => Some(period / 4),
    }
}

fn service(choices: &mut Choices, number: u32) -> Service {
    let (name, poll) = (format!("s{number}"), period(choices));
    let id = format!("{name}-host");
    let role = Role::Health {
        service: name.clone(),
        id: id.clone(),
        check: None,
    };
    let check = (choices.below(6) < 5).then(|| {
        Check::Command(Job {
            time_limit: limit(choices, poll),
            ..plain(role, Trigger::OnDemand, choices.below(3))
        })
    });
    let registration = Registration {
        id,
        name,
        address: [192, 0, 2, 1].into(),
        port: 80,
        tags: vec![],
        ttl: poll * choices.one_of(&[3, 2, 5]),
        enable_tag_override: false,
        deregister_critical_after: None,
        attributes: Box::default(),
    };
    Service {
        registration,
        poll,
        check,
        thresholds: None,
        checks: vec![],
        actions: HealthActions::default(),
        heartbeats_per_inspection: HEARTBEATS_PER_INSPECTION,
    }
}

/// Draws a backend. Two of them may have the same name and tag.
fn backend(choices: &mut Choices, number: u32) -> Backend {
    let name = if choices.below(4) == 3 {
        "b0".into()
    } else {
        format!("b{number}")
    };
    let tag = (choices.below(4) == 3).then(|| "blue".to_owned());
    let role = Role::OnChange {
        backend: name.clone(),
    };
    let version = number * 10 + choices.below(3);
    let owner = format!("{name}/{}", tag.as_deref().unwrap_or("-"));
    let poll = period(choices);
    let on_change = Job {
        command: command(&owner, version),
        time_limit: limit(choices, poll),
        ..plain(role, Trigger::OnDemand, version)
    };
    Backend {
        name,
        tag,
        poll,
        filter: Filter::default(),
        on_change,
        timing: Timing::default(),
        json: false,
    }
}

fn job(choices: &mut Choices, number: u32) -> Job {
    let (grace, version) = (choices.one_of(&GRACES), choices.below(3));
    let stop = Stop {
        reach: SignalTarget::Tree,
        grace: Duration::from_millis(grace),
        ..Stop::AT_ONCE
    };
    if choices.below(2) == 0 {
        let name = format!("t{number}");
        let period = choices.one_of(&[10_000, 5_000, 1_000, 300]);
        let period = Duration::from_millis(period);
        let time_limit = limit(choices, period);
        return Job {
            time_limit,
            ..plain(Role::Task { name }, Trigger::Every(period), version)
        };
    }
    let name = format!("c{number}");
    let restarts = choices.one_of(&[Restarts::Unlimited, Restarts::AtMost(2), Restarts::NEVER]);
    Job {
        stop,
        restarts,
        ..plain(Role::Coprocess { name }, Trigger::Lifecycle, version)
    }
}

fn sensor(choices: &mut Choices, number: u32) -> Sensor {
    let (name, period) = (format!("m{number}"), period(choices));
    let role = Role::Sensor { name: name.clone() };
    let job = Job {
        time_limit: limit(choices, period),
        output: Output::Capture,
        ..plain(role, Trigger::Every(period), choices.below(3))
    };
    Sensor {
        name,
        help: "how much".into(),
        kind: choices.one_of(&[SensorKind::Gauge, SensorKind::Counter]),
        job,
    }
}

fn pick<T>(choices: &mut Choices, several: &[T]) -> Option<usize> {
    let count = u32::try_from(several.len()).unwrap_or(u32::MAX);
    (count > 0).then(|| choices.below(count) as usize)
}

fn readdress(choices: &mut Choices, plan: &mut Plan) {
    let last = 1 + u8::try_from(choices.below(2)).unwrap_or_default();
    for service in &mut plan.services {
        service.registration.address = [192, 0, 2, last].into();
    }
}

fn remove<T>(choices: &mut Choices, several: &mut Vec<T>) {
    if let Some(index) = pick(choices, several) {
        several.remove(index);
    }
}

fn replace_service(choices: &mut Choices, plan: &mut Plan) {
    let number = choices.below(2);
    let new = service(choices, number);
    plan.services
        .retain(|old| old.registration.id != new.registration.id);
    plan.services.push(new);
}

fn replace_backend(choices: &mut Choices, plan: &mut Plan, options: &Options) {
    if options.backends == 0 {
        return;
    }
    let number = choices.below(options.backends);
    let new = backend(choices, number);
    match plan.backends.get_mut(number as usize) {
        Some(old) => *old = new,
        None => plan.backends.push(new),
    }
}

fn swap_backends(backends: &mut [Backend]) {
    if backends.len() > 1 {
        backends.swap(0, 1);
    }
}

fn replace_job(choices: &mut Choices, plan: &mut Plan) {
    let number = choices.below(2);
    let new = job(choices, number);
    plan.jobs.retain(|old| old.role != new.role);
    plan.jobs.push(new);
}

fn replace_sensor(choices: &mut Choices, plan: &mut Plan) {
    if let Some(telemetry) = &mut plan.telemetry {
        let number = choices.below(2);
        let new = sensor(choices, number);
        telemetry.sensors.retain(|old| old.name != new.name);
        telemetry.sensors.push(new);
    }
}
