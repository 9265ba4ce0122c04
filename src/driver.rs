//! The loop: wait for an event or the deadline, step, perform the effects in order.
//!
//! The same function runs in production and in simulation. It makes no decisions and uses no runtime. After a
//! panic in the core, in the loop or in a port, the same loop runs another state machine, the [`Emergency`],
//! which ends everything in order.

use crate::panics;
use crate::ports::{
    Clock, Console, Control, Discovery, Inbox, Probes, Processes, Settings, Telemetry, Templates,
};
use domain::emergency::{Emergency, FAULT, WithStopList};
use domain::{Effect, Event, Instant, Shim};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::ControlFlow::{self, Break, Continue};
use std::pin::pin;
use std::task::Poll;

/// How often an emergency continues after a panic of its own (docs/bounds.md).
const ATTEMPTS: usize = 8;

/// The ports that the driver uses.
pub struct Ports<'a> {
    /// The clock.
    pub clock: &'a dyn Clock,
    /// The source of events.
    pub inbox: &'a mut dyn Inbox,
    /// Starts, signals and reaps children.
    pub processes: &'a mut dyn Processes,
    /// Runs health checks that have no process.
    pub probes: &'a mut dyn Probes,
    /// Sends requests to the catalogue.
    pub discovery: &'a mut dyn Discovery,
    /// Reads the configuration.
    pub settings: &'a mut dyn Settings,
    /// Logs notices.
    pub console: &'a mut dyn Console,
    /// Takes requests of clients and sends the answers.
    pub control: &'a mut dyn Control,
    /// Counts measurements and serves metrics and the status.
    pub telemetry: &'a mut dyn Telemetry,
    /// Renders templates and writes their files.
    pub templates: &'a mut dyn Templates,
}

/// A state machine that the loop can run.
pub trait Machine {
    /// Passes an event and the time to the machine. Returns the effects to perform, in this order.
    fn step(&mut self, now: Instant, event: Event) -> Vec<Effect>;

    /// When to step with [`Event::Woken`], if no other event comes before.
    fn deadline(&self) -> Option<Instant>;
}

impl Machine for Shim {
    fn step(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        self.step(now, event)
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline()
    }
}

impl Machine for WithStopList {
    fn step(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        self.step(now, event)
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline()
    }
}

impl Machine for Emergency {
    fn step(&mut self, now: Instant, event: Event) -> Vec<Effect> {
        self.step(now, event)
    }

    fn deadline(&self) -> Option<Instant> {
        self.deadline()
    }
}

/// Runs the shim to its end and returns the exit code. After a panic, or when `broken` ends because events no
/// longer arrive, all children and registrations are ended in order, and the code is [`FAULT`].
pub async fn run_to_exit(shim: Shim, ports: &mut Ports<'_>, broken: impl Future<Output = ()>) -> u8 {
    let mut machine = WithStopList::new(shim);
    let shim = unless(broken, run(&mut machine, ports));
    if let Ok(Some(code)) = panics::caught(shim).await {
        return code;
    }
    let mut emergency = machine.emergency();
    for _ in 0..ATTEMPTS {
        if let Ok(code) = panics::caught(run(&mut emergency, ports)).await {
            return code;
        }
    }
    FAULT
}

/// The result of the second future, unless the first one ends before it.
async fn unless<T>(first: impl Future<Output = ()>, second: impl Future<Output = T>) -> Option<T> {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|context| match first.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(None),
        Poll::Pending => second.as_mut().poll(context).map(Some),
    })
    .await
}

/// Runs a machine to its end and returns the exit code.
pub async fn run(machine: &mut impl Machine, ports: &mut Ports<'_>) -> u8 {
    let mut event = Event::Begin;
    loop {
        let now = ports.clock.now();
        if let Break(code) = turn(machine, now, event, |effect| ports.perform(effect)) {
            return code;
        }
        event = ports.inbox.next(machine.deadline()).await;
    }
}

/// Passes an event to a machine and performs the effects, until there are none left. `perform` performs one
/// effect; it returns an event if the outcome is known at once, or ends the turn.
///
/// The time stays the same during a turn: a start that is still to be performed must not be overdue.
pub fn turn<E>(
    machine: &mut impl Machine,
    now: Instant,
    event: Event,
    mut perform: impl FnMut(Effect) -> ControlFlow<E, Option<Event>>,
) -> ControlFlow<E> {
    let mut events = VecDeque::from([event]);
    while let Some(event) = events.pop_front() {
        let mut effects = VecDeque::from(machine.step(now, event));
        while let Some(effect) = effects.pop_front() {
            match perform(effect)? {
                // The PID of each child that was started is exported before the next child starts.
                Some(started @ Event::Started(..)) => {
                    for effect in machine.step(now, started).into_iter().rev() {
                        effects.push_front(effect);
                    }
                }
                // Such events follow after all effects, because they may concern a child whose start is still
                // to be performed.
                Some(outcome) => events.push_back(outcome),
                None => {}
            }
        }
    }
    Continue(())
}

impl Ports<'_> {
    /// Performs one effect. If its outcome is known at once, it is returned as an event.
    fn perform(&mut self, effect: Effect) -> ControlFlow<u8, Option<Event>> {
        match effect {
            Effect::Start(ticket, job) => {
                return Continue(Some(match self.processes.start(ticket, &job) {
                    Ok(pid) => Event::Started(ticket, pid),
                    Err(failure) => Event::NotStarted(ticket, failure),
                }));
            }
            Effect::Load(ticket) => self.settings.load(ticket),
            Effect::Send(ticket, signal, target) => self.processes.send(ticket, signal, target),
            Effect::SendToAll(signal) => self.processes.send_to_all(signal),
            Effect::Suspend => self.processes.suspend(),
            Effect::Request {
                ticket,
                request,
                connections,
                limit,
            } => self.discovery.request(ticket, request, connections, limit),
            Effect::Cancel(ticket) => self.discovery.cancel(ticket),
            Effect::Probe(ticket, probe) => self.probes.start(ticket, &probe),
            Effect::EndProbe(ticket) => self.probes.end(ticket),
            Effect::Render(ticket, rendering) => self.templates.render(ticket, *rendering),
            Effect::Write(ticket, writing) => self.templates.write(ticket, *writing),
            Effect::Connect(catalogue) => self.discovery.connect(&catalogue),
            Effect::Configure(logging) => self.console.configure(logging),
            Effect::Export { name, value } => self.processes.export(&name, &value),
            Effect::Log(notice) => self.console.log(&notice),
            Effect::Measure(measurement) => self.telemetry.record(&measurement),
            Effect::Expose(plan) => self.telemetry.expose(&plan),
            Effect::Listen(socket) => self.control.listen(socket),
            Effect::Answer(number, answer) => self.control.answer(number, answer),
            Effect::Exit(code) => return Break(code),
        }
        Continue(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{
        MockClock, MockConsole, MockControl, MockDiscovery, MockInbox, MockProbes, MockProcesses,
        MockSettings, MockTelemetry, MockTemplates,
    };
    use domain::Instant;
    use domain::event::Loaded;
    use domain::plan::*;
    use domain::process::{ExitStatus, Pid, StartFailure};
    use domain::signal::Signal;
    use domain::time::Duration;
    use mockall::Sequence;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    /// Mocks of all ports, on which no call is expected unless a test adds it.
    #[derive(Default)]
    struct Mocks {
        clock: MockClock,
        inbox: MockInbox,
        processes: MockProcesses,
        probes: MockProbes,
        discovery: MockDiscovery,
        settings: MockSettings,
        console: MockConsole,
        control: MockControl,
        telemetry: MockTelemetry,
        templates: MockTemplates,
    }

    impl Mocks {
        /// Mocks that ignore notices, measurements, and signals for all processes that are left.
        fn ignoring_notices() -> Self {
            let mut mocks = Self::default();
            mocks.console.expect_log().return_const(());
            mocks.console.expect_configure().return_const(());
            mocks.telemetry.expect_expose().return_const(());
            mocks.telemetry.expect_record().return_const(());
            mocks.processes.expect_send_to_all().return_const(());
            mocks
        }

        /// As [`Self::ignoring_notices`], and the time does not advance.
        fn without_time() -> Self {
            let mut mocks = Self::ignoring_notices();
            mocks.clock.expect_now().return_const(Instant::START);
            mocks
        }

        /// Each reading of the clock is 100 seconds later; exports and connections are permitted.
        fn with_fast_clock() -> Self {
            let mut mocks = Self::ignoring_notices();
            mocks.processes.expect_export().return_const(());
            mocks.discovery.expect_connect().return_const(());
            let mut seconds = 0;
            mocks.clock.expect_now().returning(move || {
                seconds += 100;
                Instant::after_start(Duration::from_secs(seconds))
            });
            mocks
        }

        /// The time does not advance, and exports are permitted.
        fn new() -> Self {
            let mut mocks = Self::without_time();
            mocks.processes.expect_export().return_const(());
            mocks
        }

        /// The last event: no process is left.
        fn end_with_all(&mut self, order: &mut Sequence) {
            let next = self.inbox.expect_next().times(1).in_sequence(order);
            next.return_once(|_| Event::AllEnded);
        }

        fn run(self, plan: Plan) -> u8 {
            self.drive(async |ports| run(&mut Shim::new(plan, 1), ports).await)
        }

        fn run_to_exit(self, plan: Plan, broken: impl Future<Output = ()>) -> u8 {
            self.drive(async |ports| run_to_exit(Shim::new(plan, 1), ports, broken).await)
        }

        /// Polls the driver once: it uses no runtime, and with events at hand it never waits.
        fn drive(mut self, drive: impl AsyncFnOnce(&mut Ports<'_>) -> u8) -> u8 {
            let mut ports = Ports {
                clock: &self.clock,
                inbox: &mut self.inbox,
                processes: &mut self.processes,
                probes: &mut self.probes,
                discovery: &mut self.discovery,
                settings: &mut self.settings,
                console: &mut self.console,
                control: &mut self.control,
                telemetry: &mut self.telemetry,
                templates: &mut self.templates,
            };
            let driven = pin!(drive(&mut ports));
            match driven.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(code) => code,
                Poll::Pending => panic!("it waits for something that no mock gives"),
            }
        }
    }

    fn job(role: Role) -> Job {
        Job::new(
            role,
            Command::new("true", []),
            Trigger::Lifecycle,
            Output::Inherit,
        )
    }

    fn found(plan: Plan) -> Loaded {
        Loaded::Plan {
            plan: plan.into(),
            notices: vec![],
        }
    }

    fn plan() -> Plan {
        let catalogue = Catalogue::Directory {
            path: "/run/containerpilot".into(),
        };
        Plan {
            application: Some(job(Role::Application)),
            ..Plan::new(catalogue)
        }
    }

    #[test]
    fn effects_are_performed_in_order_and_the_code_is_returned() {
        let mut mocks = Mocks::new();
        let mut order = Sequence::new();
        mocks
            .discovery
            .expect_connect()
            .times(1)
            .in_sequence(&mut order)
            .return_const(());
        let started = mocks.processes.expect_start().times(1).in_sequence(&mut order);
        started.returning(|_, _| Ok(Pid(5)));
        let next = mocks.inbox.expect_next().times(1).in_sequence(&mut order);
        next.returning(|_| Event::Exited(domain::Ticket(1), ExitStatus::Code(7)));
        mocks.end_with_all(&mut order);
        assert_eq!(mocks.run(plan()), 7);
    }

    #[test]
    fn no_time_passes_while_the_effects_of_one_event_are_performed() {
        let mut mocks = Mocks::with_fast_clock();
        let mut order = Sequence::new();
        let start = mocks.processes.expect_start().times(2).in_sequence(&mut order);
        start.returning(|_, _| Ok(Pid(5)));
        let mut happens = |event: Event| {
            let next = mocks.inbox.expect_next().times(1).in_sequence(&mut order);
            next.return_once(|_| event);
        };
        happens(Event::Exited(domain::Ticket(2), ExitStatus::Code(0)));
        mocks
            .processes
            .expect_send()
            .times(1..)
            .in_sequence(&mut order)
            .return_const(());
        let next = mocks.inbox.expect_next().times(1).in_sequence(&mut order);
        next.returning(|_| Event::Exited(domain::Ticket(1), ExitStatus::Signal(Signal::KILL)));
        mocks.end_with_all(&mut order);
        let limited = Job {
            time_limit: Some(Duration::from_secs(1)),
            ..job(Role::Coprocess { name: "side".into() })
        };
        let limited = Plan {
            jobs: vec![limited],
            ..plan()
        };
        assert_eq!(
            mocks.run(limited),
            0,
            "it is killed for its limit after everything was started"
        );
    }

    #[test]
    fn a_failed_start_is_the_next_event_of_the_core() {
        let mut mocks = Mocks::new();
        mocks.discovery.expect_connect().return_const(());
        let failure = StartFailure {
            not_found: true,
            cause: "no such file".into(),
        };
        mocks
            .processes
            .expect_start()
            .returning(move |_, _| Err(failure.clone()));
        mocks.end_with_all(&mut Sequence::new());
        assert_eq!(mocks.run(plan()), 127);
    }

    #[test]
    fn each_child_has_the_pids_of_earlier_children_in_its_environment() {
        let mut mocks = Mocks::without_time();
        mocks.discovery.expect_connect().return_const(());
        let mut order = Sequence::new();
        for (label, pid, variable) in [
            ("coprocess[side]", 5, "CONTAINERPILOT_SIDE_PID"),
            ("APP", 6, "CONTAINERPILOT_APP_PID"),
        ] {
            let start = mocks.processes.expect_start().times(1).in_sequence(&mut order);
            start
                .withf(move |_, job| job.role.to_string() == label)
                .returning(move |_, _| Ok(Pid(pid)));
            let export = mocks.processes.expect_export().times(1).in_sequence(&mut order);
            export
                .withf(move |name, value| name == variable && value == pid.to_string())
                .return_const(());
        }
        mocks.processes.expect_send().return_const(());
        let mut events = Sequence::new();
        for ticket in [2, 1] {
            let next = mocks.inbox.expect_next().times(1).in_sequence(&mut events);
            next.returning(move |_| Event::Exited(domain::Ticket(ticket), ExitStatus::Code(0)));
        }
        mocks.end_with_all(&mut events);
        let side = job(Role::Coprocess { name: "side".into() });
        assert_eq!(
            mocks.run(Plan {
                jobs: vec![side],
                ..plan()
            }),
            0
        );
    }

    #[test]
    fn the_inbox_waits_until_the_cores_deadline() {
        let mut mocks = Mocks::new();
        mocks.discovery.expect_connect().return_const(());
        mocks.processes.expect_start().returning(|_, _| Ok(Pid(5)));
        mocks.processes.expect_send().times(2).return_const(());
        let mut order = Sequence::new();
        let mut happens = |deadline: Option<Instant>, event: Event| {
            let next = mocks.inbox.expect_next().times(1).in_sequence(&mut order);
            next.withf(move |asked| *asked == deadline).return_once(|_| event);
        };
        happens(None, Event::Signal(Signal::TERM));
        let stop_timeout = Instant::START + Duration::from_secs(5);
        happens(
            Some(stop_timeout),
            Event::Exited(domain::Ticket(1), ExitStatus::Signal(Signal::TERM)),
        );
        mocks.end_with_all(&mut order);
        assert_eq!(mocks.run(plan()), 143);
    }

    #[test]
    fn a_reload_reads_the_configuration_and_passes_it_to_the_core() {
        let mut mocks = Mocks::new();
        let other = Catalogue::Directory {
            path: "/other".into(),
        };
        let mut order = Sequence::new();
        mocks.processes.expect_start().returning(|_, _| Ok(Pid(5)));
        mocks
            .discovery
            .expect_connect()
            .times(1)
            .in_sequence(&mut order)
            .return_const(());
        mocks
            .inbox
            .expect_next()
            .times(1)
            .in_sequence(&mut order)
            .returning(|_| Event::Signal(Signal::HUP));
        let loaded = Plan {
            catalogue: other.clone(),
            ..plan()
        };
        let load = mocks.settings.expect_load().times(1).in_sequence(&mut order);
        load.withf(|ticket| *ticket == domain::Ticket(2)).return_const(());
        let next = mocks.inbox.expect_next().times(1).in_sequence(&mut order);
        next.return_once(|_| Event::Loaded(domain::Ticket(2), found(loaded)));
        let connect = mocks.discovery.expect_connect().times(1).in_sequence(&mut order);
        connect
            .withf(move |catalogue| *catalogue == other)
            .return_const(());
        let next = mocks.inbox.expect_next().times(1).in_sequence(&mut order);
        next.returning(|_| Event::Exited(domain::Ticket(1), ExitStatus::Code(0)));
        mocks.end_with_all(&mut order);
        assert_eq!(mocks.run(plan()), 0);
    }

    /// Mocks with a running application that ends after this signal.
    fn ended_by(signal: Signal) -> Mocks {
        let mut mocks = Mocks::new();
        mocks.discovery.expect_connect().return_const(());
        mocks.processes.expect_start().returning(|_, _| Ok(Pid(5)));
        let send = mocks.processes.expect_send().times(1);
        send.withf(move |ticket, number, _| (ticket.0, *number) == (1, signal))
            .return_const(());
        mocks
    }

    #[test]
    fn after_a_panic_children_are_stopped_and_the_code_is_70() {
        let mut mocks = ended_by(Signal::TERM);
        let mut order = Sequence::new();
        let next = mocks.inbox.expect_next().times(1).in_sequence(&mut order);
        next.returning(|_| panic!("a fault of the inbox"));
        let next = mocks.inbox.expect_next().times(1).in_sequence(&mut order);
        next.returning(|_| Event::Exited(domain::Ticket(1), ExitStatus::Signal(Signal::TERM)));
        mocks.end_with_all(&mut order);
        assert_eq!(mocks.run_to_exit(plan(), std::future::pending()), 70);
    }

    #[test]
    fn when_events_no_longer_arrive_children_are_stopped_and_the_code_is_70() {
        let mut mocks = Mocks::new();
        mocks.end_with_all(&mut Sequence::new());
        assert_eq!(
            mocks.run_to_exit(plan(), std::future::ready(())),
            70,
            "before anything was started"
        );
    }

    #[test]
    fn an_emergency_continues_after_a_panic_of_its_own() {
        let mut mocks = ended_by(Signal::TERM);
        let mut order = Sequence::new();
        for _ in 0..3 {
            let next = mocks.inbox.expect_next().times(1).in_sequence(&mut order);
            next.returning(|_| panic!("a fault of the inbox"));
        }
        let next = mocks.inbox.expect_next().times(1).in_sequence(&mut order);
        next.returning(|_| Event::Exited(domain::Ticket(1), ExitStatus::Signal(Signal::TERM)));
        mocks.end_with_all(&mut order);
        assert_eq!(mocks.run_to_exit(plan(), std::future::pending()), 70);
        let mut mocks = ended_by(Signal::TERM);
        mocks.inbox.expect_next().returning(|_| panic!("always"));
        assert_eq!(
            mocks.run_to_exit(plan(), std::future::pending()),
            70,
            "and not for ever"
        );
    }

    #[test]
    fn without_a_panic_the_code_is_the_applications() {
        let mut mocks = Mocks::new();
        mocks.discovery.expect_connect().return_const(());
        mocks.processes.expect_start().returning(|_, _| Ok(Pid(5)));
        let mut order = Sequence::new();
        let next = mocks.inbox.expect_next().times(1).in_sequence(&mut order);
        next.returning(|_| Event::Exited(domain::Ticket(1), ExitStatus::Code(7)));
        mocks.end_with_all(&mut order);
        assert_eq!(mocks.run_to_exit(plan(), std::future::pending()), 7);
    }
}
