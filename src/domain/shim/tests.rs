//! Scenarios of the whole core: its effects, event by event, in the short form of [`brief`].

mod actions;
mod checks;
mod control;
mod drain;
mod handlers;
mod health;
mod holders;
mod probes;
mod requests;
mod spread;
mod state_key;
mod telemetry;
mod templates;
mod terminal;
mod trees;

use super::*;
use crate::catalogue::{Cursor, Instance, Listing, Request, Skipped};
use crate::check::Health;
use crate::plan::*;
use crate::process::{ExitStatus, Pid, StartFailure};
use std::collections::BTreeMap;
use std::format;
use std::string::{String, ToString};
use std::vec;

/// A core, and the children and requests that are open.
struct Fixture {
    shim: Shim,
    now: Instant,
    children: BTreeMap<String, Ticket>,
    probes: BTreeMap<String, Ticket>,
    requests: BTreeMap<String, Ticket>,
    loads: Vec<Ticket>,
    /// Renderings and writings.
    works: Vec<(Ticket, String)>,
    logged: Vec<String>,
    levels: Vec<Level>,
    measured: Vec<Measurement>,
    /// Of each service whether it is healthy, and until when it is registered, as measured last.
    states: BTreeMap<String, (bool, Option<Instant>)>,
    exposed: Vec<Plan>,
    /// Signals for all processes that are left.
    to_all: Vec<Signal>,
    /// Processes that no child is are left: they end at SIGKILL.
    others: bool,
    awaits_all: bool,
}

impl Fixture {
    fn new(plan: Plan) -> Self {
        Self {
            shim: Shim::new(plan, 1),
            now: Instant::START,
            children: BTreeMap::new(),
            probes: BTreeMap::new(),
            requests: BTreeMap::new(),
            loads: Vec::new(),
            works: Vec::new(),
            logged: Vec::new(),
            levels: Vec::new(),
            measured: Vec::new(),
            states: BTreeMap::new(),
            exposed: Vec::new(),
            to_all: Vec::new(),
            others: false,
            awaits_all: false,
        }
    }

    /// A core that has begun, and whose application runs.
    fn running(plan: Plan) -> Self {
        let mut fixture = Self::new(plan);
        fixture.step(Event::Begin);
        fixture
    }

    /// The effects of the event, without notices.
    fn step(&mut self, event: Event) -> Vec<String> {
        let effects = self.shim.step(self.now, event);
        let deadline = self.shim.deadline();
        assert!(
            deadline.is_none_or(|deadline| deadline > self.now),
            "the deadline lies in the future"
        );
        let mut done: Vec<String> = effects
            .into_iter()
            .filter_map(|effect| self.note(effect))
            .collect();
        self.measured_is_shown();
        let all_end = self.children.is_empty() && !self.others;
        if all_end && core::mem::take(&mut self.awaits_all) {
            done.extend(self.step(Event::AllEnded));
        }
        done
    }

    /// What is measured of the services is what the status shows.
    fn measured_is_shown(&self) {
        for shown in self.shim.status(self.now).services {
            let state = self.states.get(&shown.registration.name);
            let measured =
                state.map(|(healthy, until)| (*healthy, until.is_some_and(|until| self.now < until)));
            let shown = (shown.health == Health::Healthy, shown.registered);
            assert_eq!(measured, Some(shown));
        }
    }

    fn record(&mut self, measurement: Measurement) {
        if let Measurement::ServiceState {
            service,
            healthy,
            registered_until,
        } = &measurement
        {
            let state = (*healthy, *registered_until);
            self.states.insert(service.clone(), state);
        }
        self.measured.push(measurement);
    }

    fn note(&mut self, effect: Effect) -> Option<String> {
        let brief = match &effect {
            Effect::EndProbe(ticket) => {
                let running = self.probes.iter().find(|(_, open)| *open == ticket);
                let name = running.map(|(name, _)| format!(" of {name}")).unwrap_or_default();
                self.probes.retain(|_, open| open != ticket);
                format!("end the probe{name}")
            }
            effect => brief(effect, &self.children),
        };
        match effect {
            Effect::Start(ticket, job) => {
                let earlier = self.children.insert(job.role.to_string(), ticket);
                assert_eq!(earlier, None, "one run of {} at a time", job.role);
            }
            Effect::Request { ticket, request, .. } => {
                let earlier = self.requests.insert(requester(&request), ticket);
                assert_eq!(earlier, None, "one request of {} at a time", requester(&request));
            }
            Effect::Probe(ticket, probe) => {
                let earlier = self.probes.insert(probe.role.to_string(), ticket);
                assert_eq!(earlier, None, "one probe of {} at a time", probe.role);
            }
            Effect::Cancel(ticket) => self.requests.retain(|_, open| *open != ticket),
            Effect::Render(ticket, rendering) => self.works.push((ticket, rendering.destination)),
            Effect::Write(ticket, writing) => self.works.push((ticket, writing.destination)),
            Effect::Load(ticket) => self.loads.push(ticket),
            Effect::Log(notice) => {
                self.logged.push(notice.to_string());
                self.levels.push(notice.level());
                return None;
            }
            Effect::Measure(measurement) => {
                self.record(measurement);
                return None;
            }
            Effect::Expose(plan) => {
                self.exposed.push(*plan);
                return None;
            }
            Effect::Send(_, Signal::CONT, _) => return None,
            Effect::SendToAll(signal) => {
                self.to_all.push(signal);
                self.awaits_all = true;
                self.others &= signal != Signal::KILL;
                return None;
            }
            Effect::Connect(_) | Effect::Configure(_) | Effect::Export { .. } => return None,
            Effect::Send(..)
            | Effect::Suspend
            | Effect::EndProbe(_)
            | Effect::Listen(_)
            | Effect::Answer(..)
            | Effect::Exit(_) => {}
        }
        Some(brief)
    }

    fn signal(&mut self, signal: Signal) -> Vec<String> {
        self.step(Event::Signal(signal))
    }

    fn exits(&mut self, role: &str, code: u8) -> Vec<String> {
        let ticket = self
            .children
            .remove(role)
            .unwrap_or_else(|| panic!("{role} does not run"));
        self.step(Event::Exited(ticket, ExitStatus::Code(code)))
    }

    fn dies(&mut self, role: &str, signal: Signal) -> Vec<String> {
        let ticket = self
            .children
            .remove(role)
            .unwrap_or_else(|| panic!("{role} does not run"));
        self.step(Event::Exited(ticket, ExitStatus::Signal(signal)))
    }

    fn is_missing(&mut self, role: &str) -> Vec<String> {
        let ticket = self
            .children
            .remove(role)
            .unwrap_or_else(|| panic!("{role} does not run"));
        let failure = StartFailure {
            not_found: true,
            cause: "no such file or directory".into(),
        };
        self.step(Event::NotStarted(ticket, failure))
    }

    fn answers(&mut self, requester: &str, answer: Answer) -> Vec<String> {
        let ticket = self
            .requests
            .remove(requester)
            .unwrap_or_else(|| panic!("{requester} has sent no request"));
        self.step(Event::Answered(ticket, answer))
    }

    fn loads(&mut self, plan: Plan) -> Vec<String> {
        let ticket = self.loads.pop().expect("nothing is being loaded");
        self.step(Event::Loaded(
            ticket,
            Loaded::Plan {
                plan: plan.into(),
                notices: vec![Notice::Warning("hm".into())],
            },
        ))
    }

    fn after(&mut self, milliseconds: u64) -> Vec<String> {
        self.now = self.now + Duration::from_millis(milliseconds);
        self.step(Event::Woken)
    }

    /// The notices that are warnings or errors.
    fn warnings(&self) -> impl Iterator<Item = &str> {
        let levels = self.levels.iter();
        let logged = self.logged.iter().zip(levels);
        let severe = logged.filter(|(_, level)| matches!(level, Level::Warning | Level::Error));
        severe.map(|(text, _)| text.as_str())
    }

    fn how_often(&self, part: &str) -> usize {
        self.logged.iter().filter(|text| text.contains(part)).count()
    }

    fn has_logged(&self, sentence: &str) -> bool {
        self.logged.iter().any(|text| text.contains(sentence))
    }
}

fn requester(request: &Request) -> String {
    match request {
        Request::Register(r) | Request::Renew(r) | Request::Inspect(r) | Request::Deregister(r) => {
            r.name.clone()
        }
        Request::Report(report) => report.registration.name.clone(),
        Request::Instances(query) => format!("{}?", query.service),
        Request::LookUp(look_up) => format!("{}?", look_up.dependency),
    }
}

fn brief(effect: &Effect, children: &BTreeMap<String, Ticket>) -> String {
    match effect {
        Effect::Start(_, job) => format!("start {}", job.role),
        Effect::Probe(_, probe) => format!("probe {}", probe.role),
        Effect::Send(ticket, signal, reach) => {
            let name = children
                .iter()
                .find(|(_, open)| *open == ticket)
                .map(|(name, _)| name.as_str());
            format!("send {signal} to the {reach:?} of {}", name.unwrap_or("nobody"))
        }
        Effect::Request {
            request: Request::Register(r),
            ..
        } => format!("register {}", r.name),
        Effect::Request {
            request: Request::Renew(r),
            ..
        } => format!("renew {}", r.name),
        Effect::Request {
            request: Request::Report(report),
            ..
        } => {
            let result = if report.healthy { "pass" } else { "fail" };
            format!("{result} {} ({})", report.registration.name, report.output)
        }
        Effect::Request {
            request: Request::Inspect(r),
            ..
        } => format!("inspect {}", r.name),
        Effect::Request {
            request: Request::Deregister(r),
            ..
        } => format!("deregister {}", r.name),
        Effect::Request {
            request: Request::Instances(query),
            ..
        } => format!("list {}", query.service),
        Effect::Request {
            request: Request::LookUp(look_up),
            ..
        } => format!("look up {}", look_up.dependency),
        Effect::Render(_, rendering) => {
            format!("render {} with {}", rendering.destination, rendering.known.len())
        }
        Effect::Write(_, writing) => format!("write {}: {}", writing.destination, writing.contents),
        other => format!("{other:?}").to_lowercase(),
    }
}

fn job(role: Role, trigger: Trigger) -> Job {
    Job::new(role, Command::new("true", []), trigger, Output::Log)
}

fn hook(role: Role) -> Option<Job> {
    let stop = Stop {
        reach: SignalTarget::Tree,
        grace: Duration::from_secs(5),
        ..Stop::AT_ONCE
    };
    Some(Job {
        stop,
        ..job(role, Trigger::Lifecycle)
    })
}

fn service(name: &str) -> Service {
    let registration = Registration {
        id: format!("{name}-host"),
        name: name.into(),
        address: [192, 0, 2, 1].into(),
        port: 80,
        tags: vec![],
        ttl: Duration::from_secs(30),
        enable_tag_override: false,
        deregister_critical_after: None,
        attributes: Box::default(),
    };
    let role = Role::Health {
        service: name.into(),
        id: format!("{name}-host"),
        check: None,
    };
    Service {
        registration,
        poll: Duration::from_secs(10),
        check: Some(Check::Command(job(role, Trigger::OnDemand))),
        thresholds: None,
        checks: vec![],
        actions: HealthActions::default(),
        heartbeats_per_inspection: HEARTBEATS_PER_INSPECTION,
    }
}

fn backend(name: &str) -> Backend {
    let role = Role::OnChange { backend: name.into() };
    Backend {
        name: name.into(),
        tag: None,
        poll: Duration::from_secs(10),
        on_change: job(role, Trigger::OnDemand),
        filter: Filter::default(),
        timing: Timing::default(),
        json: false,
    }
}

fn coprocess(name: &str) -> Job {
    let stop = Stop {
        reach: SignalTarget::Tree,
        grace: Duration::from_secs(3),
        ..Stop::AT_ONCE
    };
    let restarts = Restarts::Unlimited;
    Job {
        stop,
        restarts,
        ..job(Role::Coprocess { name: name.into() }, Trigger::Lifecycle)
    }
}

fn task(name: &str) -> Job {
    job(
        Role::Task { name: name.into() },
        Trigger::Every(Duration::from_secs(10)),
    )
}

/// An application alone.
fn bare() -> Plan {
    let catalogue = Catalogue::Directory {
        path: "/run/containerpilot".into(),
    };
    let stop = Stop {
        reach: SignalTarget::Leader,
        ..Stop::AT_ONCE
    };
    let application = Job {
        stop,
        ..job(Role::Application, Trigger::Lifecycle)
    };
    Plan {
        application: Some(application),
        ..Plan::new(catalogue)
    }
}

/// Everything there is, once.
fn full() -> Plan {
    Plan {
        pre_start: hook(Role::PreStart),
        pre_stop: hook(Role::PreStop),
        post_stop: hook(Role::PostStop),
        services: vec![service("app")],
        backends: vec![backend("db")],
        jobs: vec![coprocess("side"), task("clean")],
        ..bare()
    }
}

fn instances(ports: &[u16]) -> Answer {
    let instance = |port: &u16| Instance {
        id: format!("db-{port}"),
        address: "192.0.2.2".into(),
        port: *port,
        details: None,
    };
    let instances = ports.iter().map(instance).collect();
    Answer::Instances(Listing {
        instances,
        cursor: Some(Cursor(1)),
        ..Listing::default()
    })
}

/// The full plan with its service registered, at second 10.
fn registered() -> Fixture {
    registered_by(full())
}

fn registered_by(plan: Plan) -> Fixture {
    let mut fixture = Fixture::running(plan);
    fixture.exits("preStart", 0);
    fixture.after(10_000);
    fixture.exits("app.health", 0);
    fixture.answers("app", Answer::Done);
    fixture.answers("db?", instances(&[]));
    fixture.exits("task[clean]", 0);
    fixture
}

#[test]
fn hooks_coprocesses_and_application_start_and_stop_in_their_order() {
    let mut fixture = Fixture::new(full());
    assert_eq!(fixture.step(Event::Begin), ["start preStart"]);
    assert_eq!(
        fixture.exits("preStart", 0),
        ["start coprocess[side]", "start APP"]
    );
    assert_eq!(fixture.after(9_999), [""; 0]);
    assert_eq!(
        fixture.after(1),
        ["start app.health", "list db", "start task[clean]"]
    );
    assert_eq!(fixture.exits("app.health", 0), ["register app"]);
    assert_eq!(fixture.answers("app", Answer::Done), [""; 0]);
    fixture.exits("task[clean]", 0);
    fixture.answers("db?", instances(&[]));
    assert_eq!(fixture.signal(Signal::TERM)[..1], ["deregister app"]);
    assert_eq!(fixture.answers("app", Answer::Done), ["start preStop"]);
    assert_eq!(
        fixture.exits("preStop", 1),
        ["send SIGTERM to the Leader of APP"],
        "its result is ignored"
    );
    assert_eq!(fixture.dies("APP", Signal::TERM), ["start postStop"]);
    assert_eq!(
        fixture.exits("postStop", 0),
        ["send SIGTERM to the Tree of coprocess[side]"]
    );
    assert_eq!(fixture.dies("coprocess[side]", Signal::TERM), ["exit(143)"]);
    assert_eq!(fixture.shim.deadline(), None);
    assert_eq!(
        fixture.signal(Signal::TERM),
        [""; 0],
        "nothing happens after the end"
    );
}

#[test]
fn sigint_is_sigterm() {
    let mut fixture = registered();
    assert!(fixture.signal(Signal::INT).contains(&"deregister app".into()));
}

#[test]
fn the_exit_code_is_the_applications_unless_post_stop_fails() {
    for (application, post_stop, code) in [(0, 0, 0), (7, 0, 7), (0, 3, 3), (7, 3, 3)] {
        let mut fixture = Fixture::running(Plan {
            post_stop: hook(Role::PostStop),
            ..bare()
        });
        assert_eq!(fixture.exits("APP", application), ["start postStop"]);
        assert_eq!(fixture.exits("postStop", post_stop), [format!("exit({code})")]);
    }
}

#[test]
fn an_application_that_cannot_be_started_goes_the_same_way_with_127() {
    let mut fixture = Fixture::running(Plan {
        post_stop: hook(Role::PostStop),
        ..bare()
    });
    assert_eq!(fixture.is_missing("APP"), ["start postStop"]);
    assert_eq!(fixture.exits("postStop", 0), ["exit(127)"]);
}

#[test]
fn when_the_application_ends_by_itself_its_services_are_deregistered_before_post_stop() {
    let mut fixture = registered();
    assert_eq!(fixture.exits("APP", 2)[0], "deregister app");
    assert_eq!(
        fixture.answers("app", Answer::Done),
        ["start postStop"],
        "without preStop"
    );
    fixture.exits("postStop", 0);
    assert_eq!(fixture.dies("coprocess[side]", Signal::TERM), ["exit(2)"]);
}

#[test]
fn a_pre_start_that_fails_ends_it_with_its_code_and_nothing_is_started() {
    let mut fixture = Fixture::running(full());
    assert_eq!(fixture.exits("preStart", 4), ["exit(4)"]);
    let mut fixture = Fixture::running(full());
    assert_eq!(fixture.dies("preStart", Signal::KILL), ["exit(137)"]);
    let mut fixture = Fixture::running(full());
    assert_eq!(fixture.is_missing("preStart"), ["exit(127)"]);
}

#[test]
fn a_stop_during_pre_start_calls_everything_off() {
    let mut fixture = Fixture::running(full());
    assert_eq!(
        fixture.signal(Signal::TERM),
        ["send SIGTERM to the Tree of preStart"]
    );
    assert_eq!(fixture.signal(Signal::TERM), [""; 0]);
    assert_eq!(fixture.after(5_000), ["send SIGKILL to the Tree of preStart"]);
    assert_eq!(fixture.dies("preStart", Signal::KILL), ["exit(143)"]);
    let mut fixture = Fixture::running(full());
    fixture.signal(Signal::TERM);
    assert_eq!(fixture.exits("preStart", 0), ["exit(143)"], "even if it passes");
}

#[test]
fn an_application_that_ignores_sigterm_is_killed_with_its_group_after_the_stop_timeout() {
    let mut fixture = Fixture::running(bare());
    assert_eq!(
        fixture.signal(Signal::TERM),
        ["send SIGTERM to the Leader of APP"]
    );
    assert_eq!(fixture.after(4_999), [""; 0]);
    assert_eq!(fixture.after(1), ["send SIGKILL to the Tree of APP"]);
    assert_eq!(fixture.dies("APP", Signal::KILL), ["exit(137)"]);
}

#[test]
fn a_stop_timeout_of_minus_one_kills_at_once() {
    let mut fixture = Fixture::running(Plan {
        stop_timeout: StopTimeout::Immediately,
        ..bare()
    });
    assert_eq!(fixture.signal(Signal::TERM), ["send SIGKILL to the Tree of APP"]);
}

#[test]
fn an_application_that_cannot_be_killed_does_not_hold_the_end_for_ever() {
    let mut fixture = Fixture::running(bare());
    fixture.signal(Signal::TERM);
    fixture.after(5_000);
    assert_eq!(fixture.after(10_000), ["send SIGKILL to the Tree of APP"]);
    assert_eq!(fixture.after(2_000), ["exit(137)"]);
    assert!(fixture.has_logged("APP was killed and is still there"));
}

#[test]
fn a_coprocess_that_is_killed_at_the_end_is_not_restarted() {
    let mut fixture = Fixture::running(Plan {
        jobs: vec![coprocess("side")],
        ..bare()
    });
    fixture.signal(Signal::TERM);
    fixture.after(5_000);
    fixture.after(10_000);
    assert_eq!(fixture.dies("coprocess[side]", Signal::KILL), [""; 0]);
    assert_eq!(fixture.after(2_000), ["exit(137)"]);
}

#[test]
fn without_an_application_a_stop_ends_with_0_and_no_post_stop() {
    let mut fixture = Fixture::new(Plan {
        application: None,
        ..full()
    });
    fixture.step(Event::Begin);
    assert_eq!(fixture.exits("preStart", 0), ["start coprocess[side]"]);
    fixture.signal(Signal::TERM);
    assert_eq!(fixture.answers("app", Answer::Done), ["start preStop"]);
    assert_eq!(
        fixture.exits("preStop", 0),
        ["send SIGTERM to the Tree of coprocess[side]"]
    );
    assert_eq!(fixture.exits("coprocess[side]", 0), ["exit(0)"]);
}

#[test]
fn a_second_stop_a_reload_and_maintenance_change_nothing_while_stopping() {
    let mut fixture = registered();
    fixture.signal(Signal::TERM);
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1] {
        assert_eq!(fixture.signal(signal), [""; 0], "{signal}");
    }
    assert!(fixture.has_logged("Ignoring SIGHUP"));
}

#[test]
fn other_signals_reach_the_application_once() {
    let mut fixture = Fixture::running(bare());
    assert_eq!(
        fixture.signal(Signal::new(28)),
        ["send SIGWINCH to the Process of APP"]
    );
}

#[test]
fn a_signal_that_comes_during_pre_start_reaches_the_application_once_it_runs() {
    let mut fixture = Fixture::running(full());
    for number in [28, 12, 28] {
        assert_eq!(
            fixture.signal(Signal::new(number)),
            [""; 0],
            "it does not run yet"
        );
    }
    let effects = fixture.exits("preStart", 0);
    let sent = effects.iter().filter(|effect| effect.starts_with("send"));
    assert_eq!(
        sent.collect::<Vec<_>>(),
        [
            "send SIGUSR2 to the Process of APP",
            "send SIGWINCH to the Process of APP"
        ]
    );
}

#[test]
fn a_signal_for_an_application_that_never_starts_goes_nowhere() {
    let without = Plan {
        application: None,
        ..full()
    };
    let mut fixture = Fixture::running(without);
    fixture.signal(Signal::new(28));
    assert!(
        !fixture
            .exits("preStart", 0)
            .iter()
            .any(|effect| effect.starts_with("send"))
    );
    let mut fixture = Fixture::running(full());
    fixture.signal(Signal::new(28));
    fixture.signal(Signal::TERM);
    assert!(
        !fixture
            .exits("preStart", 0)
            .iter()
            .any(|effect| effect.contains("SIGWINCH"))
    );
}

#[test]
fn a_stop_kills_checks_and_handlers_and_forgets_queries() {
    let mut fixture = registered();
    fixture.after(50);
    fixture.answers("db?", instances(&[1]));
    fixture.after(9_950);
    assert_eq!(fixture.children.len(), 5, "{:?}", fixture.children);
    let effects = fixture.signal(Signal::TERM);
    for effect in [
        "send SIGKILL to the Tree of app.health",
        "send SIGKILL to the Tree of db.onChange",
        "send SIGKILL to the Tree of task[clean]",
        "deregister app",
    ] {
        assert!(effects.contains(&effect.into()), "{effect} in {effects:?}");
    }
    assert!(!fixture.requests.contains_key("db?"));
    assert_eq!(
        fixture.exits("app.health", 0),
        [""; 0],
        "no heartbeat after the deregistration began"
    );
}

#[test]
fn a_frozen_catalogue_delays_the_stop_by_two_seconds_with_any_number_of_services() {
    let services = (0..50).map(|n| service(&format!("app{n}"))).collect();
    let mut fixture = Fixture::running(Plan { services, ..bare() });
    fixture.after(10_000);
    (0..6).for_each(|_| drop(fixture.after(40)));
    for n in 0..25 {
        fixture.exits(&format!("app{n}.health"), 0);
    }
    fixture.signal(Signal::TERM);
    assert_eq!(fixture.after(1_999), [""; 0]);
    assert_eq!(fixture.after(1), ["send SIGTERM to the Leader of APP"]);
    assert!(fixture.has_logged("app49"));
}

#[test]
fn a_heartbeat_in_flight_is_answered_before_the_deregistration() {
    let mut fixture = registered();
    fixture.after(10_000);
    assert_eq!(fixture.exits("app.health", 0), ["renew app"]);
    let effects = fixture.signal(Signal::TERM);
    assert!(!effects.contains(&"deregister app".into()));
    assert_eq!(
        fixture.answers("app", Answer::Failed("no answer".into())),
        ["deregister app"]
    );
    assert_eq!(fixture.answers("app", Answer::Done), ["start preStop"]);
}

#[test]
fn a_hung_check_delays_neither_others_nor_the_stop() {
    let mut fixture = Fixture::running(Plan {
        services: vec![service("hung"), service("app")],
        ..bare()
    });
    fixture.after(10_000);
    assert_eq!(fixture.exits("app.health", 0), ["register app"]);
    fixture.answers("app", Answer::Done);
    assert_eq!(fixture.after(10_000), ["start app.health"]);
    assert_eq!(fixture.exits("app.health", 0), ["renew app"]);
    fixture.answers("app", Answer::Done);
    fixture.answers("app", Answer::Holder(None));
    let effects = fixture.signal(Signal::TERM);
    assert_eq!(
        effects,
        [
            "send SIGKILL to the Tree of hung.health",
            "deregister hung",
            "deregister app"
        ]
    );
}

#[test]
fn an_unknown_registration_is_registered_again() {
    let mut fixture = registered();
    fixture.after(10_000);
    fixture.exits("app.health", 0);
    assert_eq!(
        fixture.answers("app", Answer::Unknown("unknown check".into(), None)),
        ["register app"]
    );
    assert_eq!(fixture.answers("app", Answer::Done), [""; 0]);
    assert!(fixture.has_logged("Service not registered: unknown check"));
    assert!(fixture.has_logged("Service registered: app"));
}

#[test]
fn a_change_of_health_is_logged() {
    let mut fixture = registered();
    for code in [1, 1, 0, 0] {
        fixture.after(10_000);
        fixture.exits("app.health", code);
        if fixture.requests.contains_key("app") {
            fixture.answers("app", Answer::Done);
        }
        fixture.children.remove("task[clean]");
    }
    let logged = |sentence: &str| {
        fixture
            .logged
            .iter()
            .filter(|text| text.contains(sentence))
            .count()
    };
    assert_eq!(
        logged("Health check of app does not pass any more: exit status 1"),
        1
    );
    assert_eq!(logged("Health check of app passes again"), 1);
}

#[test]
fn each_new_cause_of_a_failing_health_check_is_logged_once() {
    let mut fixture = registered();
    for code in [1, 2, 1, 2, 2] {
        fixture.after(10_000);
        fixture.exits("app.health", code);
        fixture.children.remove("task[clean]");
    }
    assert_eq!(fixture.how_often("does not pass any more: exit status 1"), 1);
    assert_eq!(fixture.how_often("fails in another way now: exit status 2"), 1);
    assert_eq!(fixture.how_often("Health check of app"), 2);
}

#[test]
fn a_new_cause_of_a_failed_query_is_logged_at_once() {
    let mut fixture = watching();
    for cause in ["refused", "refused", "permission denied", "refused"] {
        fixture.answers("db?", Answer::Failed(cause.into()));
        fixture.after(10_000);
    }
    let logged: Vec<&str> = fixture
        .warnings()
        .filter(|text| text.contains("Failed to query"))
        .collect();
    assert_eq!(logged, ["Failed to query db: refused"]);
    assert_eq!(fixture.how_often("The catalogue fails all requests: refused"), 1);
    assert_eq!(
        fixture.how_often("The catalogue fails all requests: permission denied"),
        1
    );
}

#[test]
fn changes_while_the_handler_runs_collapse_into_one_more_run() {
    let mut fixture = Fixture::running(Plan {
        backends: vec![backend("db")],
        ..bare()
    });
    fixture.after(10_000);
    assert_eq!(fixture.answers("db?", instances(&[1])), ["start db.onChange"]);
    for port in [2, 3, 4] {
        fixture.after(50);
        assert_eq!(fixture.answers("db?", instances(&[port])), [""; 0]);
    }
    assert_eq!(fixture.exits("db.onChange", 1), ["start db.onChange"]);
    assert_eq!(fixture.exits("db.onChange", 0), [""; 0]);
}

#[test]
fn a_failed_query_is_no_change() {
    let mut fixture = watching();
    assert_eq!(fixture.answers("db?", Answer::Failed("refused".into())), [""; 0]);
    assert!(fixture.has_logged("Failed to query db: refused"));
    assert_eq!(fixture.after(500), ["list db"]);
    assert_eq!(
        fixture.answers("db?", instances(&[1])),
        ["list db"],
        "no handler, and on with the watch"
    );
    assert!(fixture.has_logged("answers again for db after 1 failed requests"));
}

/// One service whose check may take two seconds, and one backend whose handler may.
fn limited() -> Plan {
    let limit = Some(Duration::from_secs(2));
    let (mut service, mut backend) = (service("app"), backend("db"));
    if let Some(Check::Command(check)) = &mut service.check {
        check.time_limit = limit;
    }
    backend.on_change.time_limit = limit;
    Plan {
        services: vec![service],
        backends: vec![backend],
        ..bare()
    }
}

#[test]
fn after_a_late_wake_up_limits_count_anew_and_exits_that_wait_are_seen_first() {
    let mut fixture = Fixture::running(limited());
    fixture.after(10_000);
    fixture.answers("db?", instances(&[1]));
    assert_eq!(fixture.after(60_000), ["list db"], "nothing is killed");
    assert!(fixture.has_logged(" s late: the machine was paused or overloaded"));
    assert_eq!(fixture.exits("app.health", 0), ["register app"]);
    assert_eq!(fixture.after(1_999), [""; 0]);
    assert_eq!(fixture.after(1), ["send SIGKILL to the Tree of db.onChange"]);
    fixture.dies("db.onChange", Signal::KILL);
    assert_eq!(fixture.how_often("timeout after 2s"), 1);
}

#[test]
fn a_check_that_ended_with_0_is_never_logged_as_timed_out() {
    let mut fixture = Fixture::running(limited());
    fixture.after(10_000);
    fixture.answers("db?", instances(&[]));
    assert_eq!(fixture.after(2_500), ["send SIGKILL to the Tree of app.health"]);
    assert_eq!(
        fixture.exits("app.health", 0),
        ["register app"],
        "its end was seen late"
    );
    assert_eq!(fixture.how_often("timeout"), 0);
    let timed_out = |measured: &Measurement| format!("{measured:?}").contains("TimedOut");
    assert!(!fixture.measured.iter().any(timed_out));
}

#[test]
fn after_a_late_wake_up_there_is_one_check_a_poll() {
    let mut fixture = Fixture::running(Plan {
        backends: vec![],
        ..limited()
    });
    assert_eq!(fixture.after(97_000), ["start app.health"]);
    fixture.exits("app.health", 1);
    assert_eq!(fixture.after(9_999), [""; 0]);
    assert_eq!(fixture.after(1), ["start app.health"]);
    fixture.after(60_000);
    assert_eq!(fixture.exits("app.health", 1), [""; 0]);
}

#[test]
fn after_a_late_wake_up_the_application_has_its_time_to_stop_again() {
    let mut fixture = Fixture::running(bare());
    fixture.signal(Signal::TERM);
    assert_eq!(fixture.after(60_000), [""; 0]);
    assert_eq!(fixture.after(4_999), [""; 0]);
    assert_eq!(fixture.after(1), ["send SIGKILL to the Tree of APP"]);
}

/// A backend with one instance, whose handler ran and whose next query is in flight.
fn watching() -> Fixture {
    let mut fixture = Fixture::running(Plan {
        backends: vec![backend("db")],
        ..bare()
    });
    fixture.after(10_000);
    fixture.answers("db?", instances(&[1]));
    fixture.exits("db.onChange", 0);
    fixture.after(50);
    fixture
}

fn listing(ports: &[u16]) -> Listing {
    match instances(ports) {
        Answer::Instances(listing) => listing,
        other => panic!("{other:?}"),
    }
}

fn filtered(ports: &[u16]) -> Answer {
    Answer::Instances(Listing {
        filtered: true,
        ..listing(ports)
    })
}

fn skipping(count: usize, example: &str) -> Answer {
    let skipped = Skipped {
        count,
        example: example.into(),
    };
    Answer::Instances(Listing {
        skipped,
        ..listing(&[1])
    })
}

#[test]
fn a_handler_that_could_not_be_started_is_tried_again_until_it_ran() {
    let mut fixture = watching();
    assert_eq!(fixture.answers("db?", instances(&[2])), ["start db.onChange"]);
    let mut waits = Vec::new();
    for _ in 0..8 {
        assert_eq!(fixture.is_missing("db.onChange"), [""; 0]);
        let failed = fixture.now;
        while !fixture.children.contains_key("db.onChange") {
            fixture.after(25);
            fixture.requests.clear();
        }
        waits.push(fixture.now - failed);
    }
    assert!(waits[0] <= Duration::from_millis(525) && waits[0] >= Duration::from_millis(250));
    assert!(waits[7] <= Duration::from_millis(10_025) && waits[7] >= Duration::from_secs(5));
    assert_eq!(
        fixture.exits("db.onChange", 1),
        [""; 0],
        "it ran, whatever it ended with"
    );
    let logged: Vec<&str> = fixture
        .warnings()
        .filter(|text| text.contains("db.onChange"))
        .collect();
    assert_eq!(logged.len(), 2, "{logged:?}");
    assert_eq!(fixture.how_often("is started again until it runs, first in"), 1);
    assert!(fixture.has_logged("db.onChange ran again after it could not be started 8 times"));
}

#[test]
fn a_handler_that_waits_to_be_started_is_not_while_it_may_not() {
    let mut fixture = watching();
    fixture.answers("db?", instances(&[2]));
    fixture.is_missing("db.onChange");
    fixture.signal(Signal::USR1);
    assert_eq!(fixture.after(20_000), [""; 0]);
    assert_eq!(fixture.signal(Signal::USR1), ["start db.onChange"]);
    fixture.is_missing("db.onChange");
    assert_eq!(
        fixture.signal(Signal::TERM),
        ["send SIGTERM to the Leader of APP"]
    );
    assert_eq!(fixture.after(3_000), [""; 0]);
}

#[test]
fn a_lost_answer_never_runs_a_handler_twice_for_the_same_list() {
    let mut fixture = watching();
    for _ in 0..5 {
        let lost = Answer::Failed("no answer in time".into());
        assert_eq!(fixture.answers("db?", lost), [""; 0]);
        fixture.after(10_000);
        assert_eq!(fixture.answers("db?", instances(&[1])), ["list db"], "no handler");
    }
    let lost = Answer::Failed("the answer with the change was lost".into());
    fixture.answers("db?", lost);
    fixture.after(10_000);
    assert_eq!(fixture.answers("db?", instances(&[2])), ["start db.onChange"]);
    fixture.exits("db.onChange", 0);
    fixture.after(10_000);
    fixture.answers("db?", Answer::Failed("lost again".into()));
    fixture.after(10_000);
    fixture.answers("db?", instances(&[2]));
    assert!(!fixture.children.contains_key("db.onChange"));
}

/// A list that takes 20 MiB.
fn large(port: u16) -> Answer {
    let mut listing = listing(&[port; 20]);
    for instance in &mut listing.instances {
        instance.address = "a".repeat(1024 * 1024);
    }
    Answer::Instances(listing)
}

#[test]
fn the_lists_of_all_backends_together_have_a_bound() {
    let mut fixture = Fixture::running(Plan {
        backends: vec![backend("db"), backend("cache")],
        ..bare()
    });
    fixture.after(10_000);
    assert_eq!(fixture.answers("db?", large(1)), ["start db.onChange"]);
    fixture.exits("db.onChange", 0);
    assert_eq!(fixture.answers("cache?", large(1)), [""; 0]);
    assert!(fixture.has_logged("the lists of all backends together would take more than 32 MiB"));
    fixture.after(20_000);
    assert_eq!(
        fixture.answers("db?", large(2)),
        ["start db.onChange"],
        "what a list takes the place of does not count"
    );
    fixture.exits("db.onChange", 0);
    fixture.after(20_000);
    assert_eq!(fixture.answers("db?", instances(&[1])), ["start db.onChange"]);
    fixture.exits("db.onChange", 0);
    assert_eq!(fixture.answers("cache?", large(1)), ["start cache.onChange"]);
}

#[test]
fn an_empty_list_that_was_filtered_is_no_change_and_is_reported_once() {
    let mut fixture = watching();
    for _ in 0..3 {
        assert_eq!(fixture.answers("db?", filtered(&[])), [""; 0]);
        fixture.after(10_000);
    }
    let warnings = |fixture: &Fixture| fixture.how_often("says that its ACLs hide some");
    assert_eq!(warnings(&fixture), 1);
    assert_eq!(
        fixture.answers("db?", instances(&[1])),
        [""; 0],
        "the same as before"
    );
    assert!(fixture.has_logged("hides no instance of db any more"));
    fixture.after(10_000);
    assert_eq!(fixture.answers("db?", filtered(&[])), [""; 0]);
    assert_eq!(warnings(&fixture), 2, "it is logged again after it was over");
}

#[test]
fn the_visible_instances_of_a_filtered_list_are_used() {
    let mut fixture = watching();
    assert_eq!(fixture.answers("db?", filtered(&[2])), ["start db.onChange"]);
    assert!(fixture.has_logged("The catalogue lists 1 instances of db, and says that its ACLs hide others"));
}

#[test]
fn invalid_instances_are_reported_once_for_each_content() {
    let mut fixture = watching();
    for (count, example) in [(1, "port 70000"), (1, "port 70000"), (2, "port 70000")] {
        assert_eq!(
            fixture.answers("db?", skipping(count, example)),
            [""; 0],
            "the others are used"
        );
        fixture.after(10_000);
    }
    let logged = |fixture: &Fixture| fixture.how_often("unusable instances of db");
    assert_eq!(logged(&fixture), 2);
    assert!(fixture.has_logged("Left out 2 unusable instances of db, for example: port 70000"));
    fixture.answers("db?", instances(&[1]));
    fixture.after(10_000);
    fixture.answers("db?", skipping(1, "port 70000"));
    assert_eq!(logged(&fixture), 3, "it is logged again after it was over");
}

#[test]
fn maintenance_deregisters_and_pauses_and_ends_at_the_next_tick() {
    let mut fixture = registered();
    fixture.after(50);
    assert_eq!(fixture.signal(Signal::USR1)[0], "deregister app");
    fixture.answers("app", Answer::Done);
    assert!(fixture.has_logged("Marking for maintenance: app"));
    assert!(fixture.requests.is_empty(), "the query is forgotten");
    assert_eq!(fixture.after(60_000), [""; 0], "nothing begins");
    assert_eq!(fixture.signal(Signal::USR1), [""; 0]);
    let mut effects = fixture.after(10_000);
    effects.sort();
    assert_eq!(effects, ["list db", "start app.health", "start task[clean]"]);
    assert_eq!(fixture.exits("app.health", 0), ["register app"]);
}

#[test]
fn a_check_in_flight_when_maintenance_begins_is_no_heartbeat() {
    let mut fixture = registered();
    fixture.after(10_000);
    fixture.signal(Signal::USR1);
    fixture.answers("app", Answer::Done);
    assert_eq!(fixture.exits("app.health", 0), [""; 0]);
}

#[test]
fn maintenance_during_pre_start_begins_with_the_application() {
    let mut fixture = Fixture::running(full());
    fixture.signal(Signal::USR1);
    assert_eq!(
        fixture.exits("preStart", 0),
        ["start coprocess[side]", "start APP"]
    );
    assert_eq!(fixture.after(30_000), [""; 0]);
    fixture.signal(Signal::USR1);
    assert!(fixture.after(10_000).contains(&"start app.health".into()));
}

#[test]
fn a_change_seen_before_maintenance_is_handled_after_it() {
    let mut fixture = Fixture::running(Plan {
        backends: vec![backend("db")],
        ..bare()
    });
    fixture.after(10_000);
    fixture.answers("db?", instances(&[1]));
    fixture.after(50);
    fixture.answers("db?", instances(&[2]));
    fixture.signal(Signal::USR1);
    assert_eq!(
        fixture.exits("db.onChange", 0),
        [""; 0],
        "no handler begins in maintenance"
    );
    assert_eq!(fixture.signal(Signal::USR1), ["start db.onChange"]);
}

#[test]
fn a_wrong_configuration_changes_nothing() {
    let mut fixture = registered();
    let before = fixture.shim.clone();
    fixture.signal(Signal::HUP);
    let ticket = fixture.loads.pop().unwrap();
    let refused = Loaded::Refused("cp.json:3: x".into());
    assert_eq!(fixture.step(Event::Loaded(ticket, refused)), [""; 0]);
    assert!(fixture.has_logged("Error initializing config: cp.json:3: x"));
    assert_eq!(fixture.shim.plan, before.plan);
    assert_eq!(fixture.shim.units, before.units);
}

#[test]
fn a_reload_keeps_unchanged_services_and_deregisters_the_others_first() {
    let mut fixture = Fixture::running(Plan {
        services: vec![service("keep"), service("change"), service("go")],
        ..bare()
    });
    fixture.after(10_000);
    for name in ["keep", "change", "go"] {
        fixture.exits(&format!("{name}.health"), 0);
        fixture.answers(name, Answer::Done);
    }
    fixture.signal(Signal::HUP);
    let mut changed = service("change");
    changed.registration.port = 81;
    let plan = Plan {
        services: vec![service("keep"), changed, service("new")],
        ..bare()
    };
    assert_eq!(fixture.loads(plan), ["deregister change", "deregister go"]);
    fixture.answers("change", Answer::Done);
    assert!(!fixture.has_logged("Configuration reloaded."));
    fixture.answers("go", Answer::Done);
    assert!(fixture.has_logged("Configuration reloaded."));
    let checks = fixture.after(10_000);
    assert_eq!(
        checks,
        ["start keep.health", "start change.health", "start new.health"]
    );
    assert_eq!(fixture.exits("keep.health", 0), ["renew keep"]);
    assert_eq!(fixture.exits("change.health", 0), ["register change"]);
}

#[test]
fn with_a_new_catalogue_every_service_is_deregistered_first() {
    let mut fixture = registered();
    fixture.signal(Signal::HUP);
    let other = Catalogue::Directory {
        path: "/other".into(),
    };
    assert!(
        fixture
            .loads(Plan {
                catalogue: other.clone(),
                ..full()
            })
            .contains(&"deregister app".into())
    );
    fixture.dies("coprocess[side]", Signal::KILL);
    let ticket = fixture.requests.remove("app").unwrap();
    let effects = fixture
        .shim
        .step(fixture.now, Event::Answered(ticket, Answer::Done));
    assert!(effects.contains(&Effect::Connect(other)), "{effects:?}");
}

/// The full plan in an etcd whose certificates have these contents.
fn full_with_certificates(contents: u64) -> Plan {
    let catalogue = Catalogue::Etcd(Etcd {
        endpoints: vec!["https://etcd:2379".into()],
        prefix: "/containerpilot".into(),
        login: None,
        tls: Tls {
            contents,
            ..Tls::default()
        },
    });
    Plan { catalogue, ..full() }
}

#[test]
fn replaced_certificates_open_the_catalogue_again_and_deregister_no_service() {
    let mut fixture = registered_by(full_with_certificates(1));
    fixture.signal(Signal::HUP);
    let effects = fixture.loads(full_with_certificates(2));
    assert!(!effects.contains(&"deregister app".into()), "{effects:?}");
    let ticket = fixture.children.remove("coprocess[side]").unwrap();
    let died = Event::Exited(ticket, ExitStatus::Signal(Signal::KILL));
    let effects = fixture.shim.step(fixture.now, died);
    let connect = Effect::Connect(full_with_certificates(2).catalogue);
    assert!(effects.contains(&connect), "{effects:?}");
    assert!(!fixture.requests.contains_key("app"), "{:?}", fixture.requests);
}

#[test]
fn an_unchanged_catalogue_is_not_opened_again() {
    let mut fixture = Fixture::running(bare());
    fixture.signal(Signal::HUP);
    let ticket = fixture.loads.pop().unwrap();
    let plan = Plan {
        services: vec![service("new")],
        ..bare()
    };
    let loaded = Loaded::Plan {
        plan: plan.into(),
        notices: vec![],
    };
    let effects = fixture.shim.step(fixture.now, Event::Loaded(ticket, loaded));
    assert!(effects.contains(&Effect::Log(Notice::Reloaded)), "{effects:?}");
    assert!(
        !effects.iter().any(|effect| matches!(effect, Effect::Connect(_))),
        "{effects:?}"
    );
}

#[test]
fn a_reload_starts_coprocesses_anew_once_the_old_ones_are_gone() {
    let mut fixture = registered();
    fixture.signal(Signal::HUP);
    assert_eq!(
        fixture.loads(full()),
        ["send SIGKILL to the Tree of coprocess[side]"]
    );
    assert_eq!(
        fixture.dies("coprocess[side]", Signal::KILL),
        ["start coprocess[side]"]
    );
}

#[test]
fn a_reload_keeps_the_last_list_of_a_backend() {
    let mut fixture = Fixture::running(Plan {
        backends: vec![backend("db")],
        ..bare()
    });
    fixture.after(10_000);
    fixture.answers("db?", instances(&[1]));
    fixture.exits("db.onChange", 0);
    fixture.signal(Signal::HUP);
    let mut changed = backend("db");
    changed.on_change.command.program = "false".into();
    fixture.loads(Plan {
        backends: vec![changed, backend("cache")],
        ..bare()
    });
    fixture.after(50);
    assert_eq!(
        fixture.answers("db?", instances(&[1])),
        [""; 0],
        "a new command alone is no change (SD-19)"
    );
    fixture.after(9_950);
    assert_eq!(
        fixture.answers("cache?", instances(&[9])),
        ["start cache.onChange"],
        "a new backend begins empty"
    );
}

#[test]
fn two_backends_of_one_name_and_tag_are_both_handled() {
    let mut second = backend("db");
    second.on_change.role = Role::OnChange {
        backend: "db, second".into(),
    };
    let mut fixture = Fixture::new(Plan {
        backends: vec![backend("db"), second],
        ..bare()
    });
    fixture.step(Event::Begin);
    assert_eq!(fixture.shim.units.backends().count(), 2);
}

#[test]
fn of_two_backends_of_one_name_each_keeps_its_own_handler_over_reloads() {
    let other = || {
        let mut other = backend("db");
        other.on_change.command.program = "other".into();
        other
    };
    let backends = |backends| Plan { backends, ..bare() };
    let mut fixture = Fixture::running(backends(vec![backend("db")]));
    for plan in [backends(vec![other(), backend("db")]), backends(vec![other()])] {
        fixture.signal(Signal::HUP);
        fixture.loads(plan);
    }
    fixture.after(10_000);
    let question = fixture.requests["db?"];
    let effects = fixture
        .shim
        .step(fixture.now, Event::Answered(question, instances(&[1])));
    let started = effects.iter().find_map(|effect| match effect {
        Effect::Start(_, job) => Some(&job.command),
        _ => None,
    });
    assert_eq!(started, Some(&other().on_change.command));
}

#[test]
fn a_new_plan_waits_a_limited_time_for_processes_and_always_for_answers() {
    let mut fixture = registered();
    fixture.signal(Signal::HUP);
    let mut plan = Plan {
        jobs: vec![],
        ..full()
    };
    fixture.loads(plan.clone());
    fixture.after(4_900);
    plan.services[0].registration.port = 81;
    fixture.signal(Signal::HUP);
    assert_eq!(fixture.loads(plan), ["deregister app"]);
    fixture.after(100);
    fixture.after(1_000);
    assert!(
        !fixture.has_logged("Configuration reloaded."),
        "the deregistration may still land"
    );
    fixture.answers("app", Answer::Done);
    assert!(
        fixture.has_logged("Configuration reloaded."),
        "though the coprocess is still there"
    );
}

#[test]
fn a_handler_that_runs_while_it_is_replaced_is_killed_and_the_new_one_runs() {
    let mut fixture = Fixture::running(Plan {
        backends: vec![backend("db")],
        ..bare()
    });
    fixture.after(10_000);
    fixture.answers("db?", instances(&[1]));
    fixture.signal(Signal::HUP);
    let mut changed = backend("db");
    changed.on_change.command.program = "false".into();
    assert_eq!(
        fixture.loads(Plan {
            backends: vec![changed],
            ..bare()
        }),
        ["send SIGKILL to the Tree of db.onChange"]
    );
    assert_eq!(fixture.dies("db.onChange", Signal::KILL), ["start db.onChange"]);
}

#[test]
fn a_reload_during_pre_start_replaces_the_plan_that_waits() {
    let mut fixture = Fixture::running(full());
    fixture.signal(Signal::HUP);
    assert_eq!(
        fixture.loads(Plan {
            services: vec![service("other")],
            ..bare()
        }),
        [""; 0]
    );
    assert!(fixture.has_logged("hm"), "its warnings are logged");
    assert_eq!(
        fixture.exits("preStart", 0),
        ["start APP"],
        "preStart is not run again, and starts once"
    );
    assert_eq!(fixture.after(10_000), ["start other.health"]);
}

#[test]
fn a_reload_in_maintenance_stays_in_maintenance() {
    let mut fixture = registered();
    fixture.signal(Signal::USR1);
    fixture.answers("app", Answer::Done);
    fixture.signal(Signal::HUP);
    fixture.loads(Plan {
        services: vec![service("other")],
        jobs: vec![],
        ..full()
    });
    fixture.dies("coprocess[side]", Signal::KILL);
    assert_eq!(fixture.after(60_000), [""; 0]);
    fixture.signal(Signal::USR1);
    assert!(fixture.after(10_000).contains(&"start other.health".into()));
}

#[test]
fn a_stop_during_a_reload_is_not_lost() {
    let mut fixture = registered();
    fixture.signal(Signal::HUP);
    fixture.loads(Plan {
        services: vec![],
        ..full()
    });
    fixture.signal(Signal::TERM);
    assert_eq!(fixture.answers("app", Answer::Done), ["start preStop"]);
    fixture.exits("preStop", 0);
    fixture.exits("APP", 0);
    fixture.exits("postStop", 0);
    assert_eq!(fixture.dies("coprocess[side]", Signal::KILL), ["exit(0)"]);
}

#[test]
fn a_reload_that_is_asked_for_while_one_is_read_follows_it() {
    let mut fixture = registered();
    for _ in 0..5 {
        fixture.signal(Signal::HUP);
    }
    assert_eq!(fixture.loads.len(), 1, "the configuration is read once at a time");
    let logged = "The configuration is being read; it will be read once more after that.";
    assert!(fixture.has_logged(logged));
    assert!(fixture.loads(bare()).contains(&"deregister app".into()));
    assert_eq!(
        fixture.loads.len(),
        1,
        "and once more, however often it was asked for"
    );
    fixture.loads(bare());
    assert_eq!(fixture.loads.len(), 0);
}

#[test]
fn a_reload_that_is_asked_for_does_not_follow_a_stop() {
    let mut fixture = registered();
    fixture.signal(Signal::HUP);
    fixture.signal(Signal::HUP);
    assert!(fixture.signal(Signal::TERM).contains(&"deregister app".into()));
    assert_eq!(fixture.loads(bare()), [""; 0]);
    assert_eq!(fixture.loads.len(), 0);
}

#[test]
fn only_the_reading_under_way_is_waited_for() {
    let mut fixture = registered();
    fixture.signal(Signal::HUP);
    let other = Ticket(fixture.loads[0].0 + 1);
    let stale = Loaded::Plan {
        plan: bare().into(),
        notices: vec![],
    };
    assert_eq!(fixture.step(Event::Loaded(other, stale)), [""; 0]);
    assert!(fixture.loads(bare()).contains(&"deregister app".into()));
}

#[test]
fn a_coprocess_is_started_again_and_does_not_end_the_shim() {
    let mut fixture = registered();
    assert_eq!(
        fixture.dies("coprocess[side]", Signal::new(11)),
        ["start coprocess[side]"]
    );
    assert!(fixture.has_logged("coprocess[side] exited (139): signal: segmentation fault"));
}

#[test]
fn pids_and_addresses_are_exported() {
    let mut fixture = Fixture::new(full());
    let exported = |effects: Vec<Effect>| -> Vec<String> {
        let exported = |effect| match effect {
            Effect::Export { name, value } => Some(format!("{name}={value}")),
            _ => None,
        };
        effects.into_iter().filter_map(exported).collect()
    };
    let effects = fixture.shim.step(fixture.now, Event::Begin);
    let Some(Effect::Start(ticket, _)) = effects.last().cloned() else {
        panic!("{effects:?}")
    };
    assert_eq!(exported(effects), ["CONTAINERPILOT_APP_IP=192.0.2.1"]);
    let effects = fixture.shim.step(fixture.now, Event::Started(ticket, Pid(42)));
    assert_eq!(exported(effects), ["CONTAINERPILOT_PRESTART_PID=42"]);
}

#[test]
fn late_answers_are_discarded() {
    let mut fixture = registered();
    let before = fixture.shim.clone();
    let open: Vec<Ticket> = fixture
        .children
        .values()
        .chain(fixture.requests.values())
        .copied()
        .collect();
    for ticket in (1..20).map(Ticket).filter(|ticket| !open.contains(ticket)) {
        assert_eq!(fixture.step(Event::Answered(ticket, instances(&[5]))), [""; 0]);
        assert_eq!(fixture.step(Event::Exited(ticket, ExitStatus::Code(1))), [""; 0]);
    }
    assert_eq!(fixture.shim, before);
}

#[test]
fn an_application_that_ends_during_pre_stop_lets_it_finish_for_the_stop_timeout() {
    let mut fixture = registered();
    fixture.signal(Signal::TERM);
    fixture.answers("app", Answer::Done);
    assert_eq!(fixture.exits("APP", 5), [""; 0]);
    assert_eq!(fixture.after(5_000), ["send SIGKILL to the Tree of preStop"]);
    assert_eq!(fixture.dies("preStop", Signal::KILL), ["start postStop"]);
    fixture.exits("postStop", 0);
    assert_eq!(fixture.dies("coprocess[side]", Signal::TERM), ["exit(5)"]);
}

/// A machine whose preStop outlived the application, was killed, and is not waited for any more.
fn pre_stop_given_up() -> Fixture {
    let mut fixture = registered();
    fixture.signal(Signal::TERM);
    fixture.answers("app", Answer::Done);
    fixture.exits("APP", 5);
    assert_eq!(fixture.after(5_000), ["send SIGKILL to the Tree of preStop"]);
    let swept = fixture.after(10_000);
    assert!(
        swept.contains(&"send SIGKILL to the Tree of preStop".into()),
        "{swept:?}"
    );
    fixture
}

#[test]
fn a_pre_stop_that_cannot_be_killed_does_not_delay_the_exit_for_ever() {
    assert_eq!(pre_stop_given_up().after(2_000), ["exit(5)"]);
}

#[test]
fn a_pre_stop_that_ends_after_it_was_given_up_on_changes_no_exit_code() {
    let mut fixture = pre_stop_given_up();
    fixture.dies("coprocess[side]", Signal::KILL);
    assert_eq!(fixture.dies("preStop", Signal::KILL), ["exit(5)"]);
}

fn with_application(change: impl FnOnce(&mut Job)) -> Plan {
    let mut plan = bare();
    plan.application.as_mut().map(change);
    plan
}

#[test]
fn an_application_with_restarts_is_started_again_until_they_are_used_up() {
    let mut fixture = Fixture::running(with_application(|job| job.restarts = Restarts::AtMost(1)));
    assert_eq!(fixture.exits("APP", 3), ["start APP"]);
    assert_eq!(fixture.shim.lifecycle.phase(), Phase::Running);
    assert_eq!(fixture.exits("APP", 4), ["exit(4)"], "the code of the last run");
}

#[test]
fn an_application_that_gets_sigterm_is_not_started_again() {
    let mut fixture = Fixture::running(with_application(|job| job.restarts = Restarts::Unlimited));
    assert_eq!(
        fixture.signal(Signal::TERM),
        ["send SIGTERM to the Leader of APP"]
    );
    assert_eq!(fixture.exits("APP", 5), ["exit(5)"]);
}

#[test]
fn an_application_that_waits_for_its_restart_ends_at_the_stop() {
    let mut fixture = Fixture::running(with_application(|job| job.restarts = Restarts::Unlimited));
    assert_eq!(fixture.exits("APP", 3), ["start APP"]);
    assert_eq!(fixture.exits("APP", 3), [""; 0], "it waits");
    assert_eq!(fixture.signal(Signal::TERM), ["exit(3)"]);
}

#[test]
fn the_stop_policy_of_the_application_names_the_target_of_sigterm() {
    let mut fixture = Fixture::running(with_application(|job| job.stop.reach = SignalTarget::Tree));
    assert_eq!(fixture.signal(Signal::TERM), ["send SIGTERM to the Tree of APP"]);
}

#[test]
fn the_time_limit_of_a_hook_counts() {
    let mut plan = full();
    for hook in [&mut plan.pre_start, &mut plan.pre_stop, &mut plan.post_stop] {
        hook.as_mut().unwrap().time_limit = Some(Duration::from_secs(2));
    }
    let mut fixture = Fixture::running(plan.clone());
    assert_eq!(fixture.after(1_999), [""; 0]);
    assert_eq!(fixture.after(1), ["send SIGKILL to the Tree of preStart"]);
    assert_eq!(fixture.dies("preStart", Signal::KILL), ["exit(137)"]);

    let mut fixture = registered_by(plan);
    fixture.signal(Signal::TERM);
    assert_eq!(fixture.answers("app", Answer::Done), ["start preStop"]);
    assert!(
        fixture
            .after(2_000)
            .contains(&"send SIGKILL to the Tree of preStop".into())
    );
    assert_eq!(
        fixture.dies("preStop", Signal::KILL),
        ["send SIGTERM to the Leader of APP"]
    );
    fixture.exits("APP", 0);
    assert!(
        fixture
            .after(2_000)
            .contains(&"send SIGKILL to the Tree of postStop".into())
    );
}

#[test]
fn a_post_stop_beyond_its_time_limit_has_failed() {
    let mut plan = Plan {
        post_stop: hook(Role::PostStop),
        ..bare()
    };
    plan.post_stop.as_mut().unwrap().time_limit = Some(Duration::from_secs(2));
    let mut fixture = Fixture::running(plan);
    assert_eq!(fixture.exits("APP", 5), ["start postStop"]);
    assert_eq!(fixture.after(2_000), ["send SIGKILL to the Tree of postStop"]);
    assert_eq!(fixture.dies("postStop", Signal::KILL), ["exit(137)"]);
}

#[test]
fn a_pre_start_that_is_asked_to_stop_has_its_grace_and_not_its_time_limit() {
    let mut plan = full();
    let pre_start = plan.pre_start.as_mut().unwrap();
    pre_start.time_limit = Some(Duration::from_secs(2));
    pre_start.stop.grace = Duration::from_secs(5);
    let mut fixture = Fixture::running(plan);
    fixture.after(1_000);
    assert_eq!(
        fixture.signal(Signal::TERM),
        ["send SIGTERM to the Tree of preStart"]
    );
    assert_eq!(fixture.after(4_999), [""; 0]);
    assert_eq!(fixture.after(1), ["send SIGKILL to the Tree of preStart"]);
    assert_eq!(fixture.dies("preStart", Signal::KILL), ["exit(143)"]);
}

#[test]
fn a_pre_stop_beyond_its_time_limit_is_killed_also_when_the_application_has_ended() {
    let mut plan = full();
    plan.pre_stop.as_mut().unwrap().time_limit = Some(Duration::from_secs(2));
    let mut fixture = registered_by(plan);
    fixture.signal(Signal::TERM);
    fixture.answers("app", Answer::Done);
    assert_eq!(fixture.exits("APP", 5), [""; 0]);
    assert_eq!(fixture.after(2_000), ["send SIGKILL to the Tree of preStop"]);
    assert_eq!(fixture.dies("preStop", Signal::KILL), ["start postStop"]);
}

#[test]
fn a_coprocess_beyond_its_time_limit_is_killed_and_counts_as_one_that_ended() {
    let mut plan = Plan {
        jobs: vec![coprocess("side")],
        ..bare()
    };
    plan.jobs[0].time_limit = Some(Duration::from_secs(2));
    plan.jobs[0].restarts = Restarts::AtMost(1);
    let mut fixture = Fixture::running(plan);
    for next in [&["start coprocess[side]"][..], &[]] {
        assert_eq!(
            fixture.after(2_000),
            ["send SIGKILL to the Tree of coprocess[side]"]
        );
        assert_eq!(fixture.dies("coprocess[side]", Signal::KILL), next);
    }
}

#[test]
fn a_hook_with_restarts_has_ended_after_its_last_run() {
    let mut plan = full();
    plan.pre_start.as_mut().unwrap().restarts = Restarts::AtMost(1);
    let mut fixture = Fixture::running(plan);
    assert_eq!(fixture.exits("preStart", 1), ["start preStart"]);
    assert_eq!(fixture.shim.lifecycle.phase(), Phase::PreStarting);
    assert_eq!(fixture.exits("preStart", 1), ["exit(1)"]);
}

#[test]
fn the_lifetime_of_a_job_says_whether_it_survives_the_beginning_of_the_stop() {
    let mut plan = Plan {
        jobs: vec![coprocess("side"), task("clean")],
        ..bare()
    };
    plan.jobs[0].lifetime = Lifetime::UntilStop;
    plan.jobs[1].lifetime = Lifetime::UntilExit;
    let mut fixture = Fixture::running(plan);
    fixture.after(10_000);
    assert_eq!(
        fixture.signal(Signal::TERM),
        [
            "send SIGKILL to the Tree of coprocess[side]",
            "send SIGTERM to the Leader of APP"
        ]
    );
}

#[test]
fn a_timeout_is_logged_again_after_a_run_that_ended_in_time() {
    let mut fixture = Fixture::running(Plan {
        backends: vec![],
        ..limited()
    });
    let mut check = |ends: bool| {
        fixture.after(10_000);
        fixture.logged.clear();
        fixture.levels.clear();
        if ends {
            fixture.exits("app.health", 0);
            fixture.answers("app", Answer::Done);
        } else {
            fixture.after(2_500);
            fixture.dies("app.health", Signal::KILL);
        }
        let (warnings, all) = (fixture.warnings().collect::<Vec<_>>(), fixture.logged.iter());
        let of_timeouts = |text: &&str| text.contains("timeout after") || text.contains("killing command");
        let all = all.map(String::as_str).filter(of_timeouts).count();
        (warnings.into_iter().filter(of_timeouts).count(), all)
    };
    assert_eq!([false, false, false].map(&mut check), [(2, 2), (0, 2), (0, 2)]);
    assert_eq!([true, false, false].map(&mut check), [(0, 0), (2, 2), (0, 2)]);
}
