//! The order of starting and stopping: one table of (phase, input) => (phase, action).
//!
//! ```text
//!  PreStarting ─► Running ───────► Deregistering ─► Draining ─► PreStopping ─► Terminating ─► Killing
//!      │ stop        │ application     │ ended         │ ended     │ ended         │            │
//!      ▼             ▼ ended           ▼               │           ▼               │            │
//!  AbortingStart  DeregisteringAfterExit ◄             │    PreStoppingAfterExit   │            │
//!      │             └─────────────────────────► PostStopping ◄────┴───────────────┴────────────┘
//!      │                                               ▼
//!      └─────────────────────────────────────► TerminatingRemaining ─► KillingRemaining ─► Exited
//! ```
//!
//! Between PreStarting and Running is AwaitingTemplates, which ends in the same step if no template is required. From it,
//! too, a stop leads to TerminatingRemaining at once.
//!
//! The whole of it is in [`next`], and a test applies every input to every phase. What a cell does not name
//! changes nothing: an input that comes too late, or twice, is no error.
//!
//! It has no access to services, processes or hooks; its inputs say only that one of them has ended.

use crate::time::{Duration, Instant};
use alloc::vec::Vec;

/// How long children that are left may take to stop before they are killed. (docs/bounds.md)
pub const TERMINATING_REMAINING: Duration = Duration::from_secs(5);
/// How long killed children may take to be gone before the shim ends without them. (docs/bounds.md)
const KILLING_REMAINING: Duration = Duration::from_secs(2);
/// How long the deregistration of all services together may delay a stop (SD-10 as amended). (docs/bounds.md)
pub const DEREGISTRATION: Duration = Duration::from_secs(2);
/// How long a killed application, or a killed preStop hook that outlived it, may take to be gone. (docs/bounds.md)
const KILLING: Duration = Duration::from_secs(10);
/// The exit code of a cancelled start: 128 + SIGTERM (LC-1).
const CANCELLED_START: u8 = 143;
/// The exit code if a health check ends the shim and everything else ended with 0.
const UNHEALTHY: u8 = 1;
/// The exit code if a template that is required was not written in time.
const WITHOUT_TEMPLATES: u8 = 1;
/// The exit code if the application was killed and did not end: 128 + SIGKILL.
const UNKILLABLE: u8 = 137;

/// The phase of the lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// The preStart hook runs; nothing else does.
    PreStarting,
    /// The preStart hook is being stopped; nothing will be started.
    AbortingStart,
    /// The templates that are required are rendered and written; the application does not run yet.
    AwaitingTemplates,
    /// The application runs, or none was given.
    Running,
    /// A stop was requested: the services are deregistered.
    Deregistering,
    /// The services were deregistered; the application goes on for the drain of the plan.
    Draining,
    /// The preStop hook runs.
    PreStopping,
    /// The application got its stop signal.
    Terminating,
    /// The application was killed, or the preStop hook that outlived it.
    Killing,
    /// The application ended; the services are deregistered.
    DeregisteringAfterExit,
    /// The application ended while the preStop hook runs, which may finish.
    PreStoppingAfterExit,
    /// The postStop hook runs.
    PostStopping,
    /// Children that are left got their stop signals.
    TerminatingRemaining,
    /// Children that are left were killed.
    KillingRemaining,
    /// The end.
    Exited,
}

/// What may change the phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// The preStart hook passed, or there is none.
    PreStartPassed,
    /// The preStart hook failed.
    PreStartFailed,
    /// All templates that are required were written.
    TemplatesWritten,
    /// A template cannot be written, and nothing is to start without it.
    TemplatesFailed,
    /// A signal requests the stop.
    StopRequested,
    /// The deregistration of every service is over.
    ServicesDeregistered,
    /// The preStop hook ended, or there is none.
    PreStopEnded,
    /// The application is gone, or could not be started.
    ApplicationEnded,
    /// There is no application to stop.
    NoApplication,
    /// The postStop hook ended, or there is none.
    PostStopEnded,
    /// No process below the shim is left.
    ChildrenGone,
    /// The time limit of the phase is over.
    TimeIsUp,
}

/// What is to be done on the way from one phase to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Nothing.
    Nothing,
    /// Render the templates.
    OpenTemplates,
    /// End the templates and all children that are left; nothing is started.
    CancelStart,
    /// Start coprocesses, heartbeats, watches, tasks and the application.
    Open,
    /// Send its stop signal to the hook that runs.
    StopHook,
    /// Kill the hook that runs.
    KillHook,
    /// Stop everything periodic, and deregister every service.
    Deregister,
    /// Let the application go on for the drain of the plan, or not at all.
    Drain,
    /// Run the preStop hook.
    RunPreStop,
    /// Send its stop signal to the application.
    Terminate,
    /// Kill the application.
    Kill,
    /// Run the postStop hook.
    RunPostStop,
    /// Send their stop signals to all children that are left.
    TerminateRemaining,
    /// Kill all children that are left.
    KillRemaining,
    /// End the program.
    Exit,
}

/// The table. Combinations that it does not name change nothing.
pub fn next(phase: Phase, input: Input) -> (Phase, Action) {
    use {Action::*, Input::*, Phase::*};
    match (phase, input) {
        (PreStarting, PreStartPassed) => (AwaitingTemplates, OpenTemplates),
        (PreStarting, PreStartFailed) => (TerminatingRemaining, TerminateRemaining),
        (PreStarting, StopRequested) => (AbortingStart, StopHook),

        (AbortingStart, PreStartPassed | PreStartFailed) => (TerminatingRemaining, TerminateRemaining),

        (AwaitingTemplates, TemplatesWritten) => (Running, Open),
        (AwaitingTemplates, StopRequested | TemplatesFailed | TimeIsUp) => {
            (TerminatingRemaining, CancelStart)
        }

        (Running, StopRequested) => (Deregistering, Deregister),
        (Running, ApplicationEnded) => (DeregisteringAfterExit, Deregister),

        (Deregistering, ServicesDeregistered | TimeIsUp) => (Draining, Drain),
        (Deregistering, ApplicationEnded) => (DeregisteringAfterExit, Nothing),

        (Draining, TimeIsUp | StopRequested | NoApplication) => (PreStopping, RunPreStop),
        (Draining, ApplicationEnded) => (PostStopping, RunPostStop),

        (PreStopping, PreStopEnded) => (Terminating, Terminate),
        (PreStopping, ApplicationEnded) => (PreStoppingAfterExit, Nothing),

        (Terminating, ApplicationEnded) => (PostStopping, RunPostStop),
        (Terminating, NoApplication) => (TerminatingRemaining, TerminateRemaining),
        (Terminating, TimeIsUp) => (Killing, Kill),

        (Killing, ApplicationEnded | PreStopEnded) => (PostStopping, RunPostStop),
        (Killing, TimeIsUp) => (KillingRemaining, KillRemaining),

        (DeregisteringAfterExit, ServicesDeregistered | TimeIsUp) => (PostStopping, RunPostStop),

        (PreStoppingAfterExit, PreStopEnded) => (PostStopping, RunPostStop),
        (PreStoppingAfterExit, TimeIsUp) => (Killing, KillHook),

        (PostStopping, PostStopEnded) => (TerminatingRemaining, TerminateRemaining),

        (TerminatingRemaining | KillingRemaining, ChildrenGone) => (Exited, Exit),
        (TerminatingRemaining, TimeIsUp) => (KillingRemaining, KillRemaining),
        (KillingRemaining, TimeIsUp) => (Exited, Exit),

        (unmoved, _) => (unmoved, Nothing),
    }
}

/// How long phases may take, by the plan in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limits {
    /// How long the application goes on after the services were deregistered.
    pub drain: Duration,
    /// How long the application, or a preStop hook that outlives it, may take to stop.
    pub stop_grace: Duration,
}

impl Phase {
    /// The name of the phase in `/status` and in the log; there are spaces in the place of its underscores in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreStarting => "pre_starting",
            Self::AbortingStart => "aborting_start",
            Self::AwaitingTemplates => "awaiting_templates",
            Self::Running => "running",
            Self::Deregistering => "deregistering",
            Self::Draining => "draining",
            Self::PreStopping => "pre_stopping",
            Self::Terminating => "terminating",
            Self::Killing => "killing",
            Self::DeregisteringAfterExit => "deregistering_after_exit",
            Self::PreStoppingAfterExit => "pre_stopping_after_exit",
            Self::PostStopping => "post_stopping",
            Self::TerminatingRemaining => "terminating_remaining",
            Self::KillingRemaining => "killing_remaining",
            Self::Exited => "exited",
        }
    }
}

/// The state of the lifecycle: its phase, how long that may take, and the exit code.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lifecycle {
    phase: Phase,
    deadline: Option<Instant>,
    /// Whether a second stop was requested while the services were deregistered, so that there is no drain.
    hurries: bool,
    code: u8,
    /// Whether a health check ends the shim.
    unhealthy: bool,
    /// When the present phase began.
    began: Instant,
    /// How long the phases of the stop took that are over.
    took: Vec<(Phase, Duration)>,
}

impl Lifecycle {
    /// The lifecycle at the start.
    pub const fn new() -> Self {
        Self {
            phase: Phase::PreStarting,
            deadline: None,
            hurries: false,
            code: 0,
            unhealthy: false,
            began: Instant::START,
            took: Vec::new(),
        }
    }

    /// The phases of the stop that are over, in their order, and how long each took.
    pub fn stop_phases(&self) -> &[(Phase, Duration)] {
        &self.took
    }

    /// The phase.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// When [`Input::TimeIsUp`] is due.
    pub const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The exit code, if the shim ended now.
    pub const fn code(&self) -> u8 {
        match (self.code, self.unhealthy) {
            (0, true) => UNHEALTHY,
            (code, _) => code,
        }
    }

    /// A health check ends the shim: the exit code is not 0.
    pub fn is_unhealthy(&mut self) {
        self.unhealthy = true;
    }

    /// Whether a new configuration can still be taken.
    pub const fn takes_configuration(&self) -> bool {
        matches!(
            self.phase,
            Phase::PreStarting | Phase::AwaitingTemplates | Phase::Running
        )
    }

    /// Whether the application may still go on for the drain of the plan: a further request to stop prevents it.
    pub const fn may_drain(&self) -> bool {
        matches!(self.phase, Phase::Deregistering | Phase::Draining) && !self.hurries
    }

    /// Whether the phase ends when every service is deregistered.
    pub const fn awaits_deregistrations(&self) -> bool {
        matches!(self.phase, Phase::Deregistering | Phase::DeregisteringAfterExit)
    }

    /// Something ended with this code, which the shim will end with: the application, a failed preStart, or
    /// a failed postStop, whose code replaces the application's. A start that was called off keeps its own.
    pub fn will_exit_with(&mut self, code: u8) {
        if self.phase != Phase::AbortingStart {
            self.code = code;
        }
    }

    /// The application is killed: the exit code, unless it ends all the same, and with another one.
    pub fn kills_application(&mut self) {
        self.code = UNKILLABLE;
    }

    /// Waits for the templates for so long.
    pub fn limit_templates(&mut self, now: Instant, limit: Duration) {
        if self.phase == Phase::AwaitingTemplates {
            self.deadline = Some(now + limit);
        }
    }

    /// The machine was paused: the time limit of the phase starts again, unless it is over.
    pub fn after_standstill(&mut self, now: Instant, limits: Limits) {
        if self.deadline.is_some() {
            self.deadline = limit(self.phase, limits).map(|limit| now + limit);
        }
    }

    /// Takes an input. The `limits` are those of the phase that it may lead to.
    pub fn take(&mut self, now: Instant, input: Input, limits: Limits) -> Action {
        let (phase, action) = next(self.phase, input);
        if (self.phase, phase) == (Phase::PreStarting, Phase::AbortingStart) {
            self.code = CANCELLED_START;
        }
        let again = (self.phase, input) == (Phase::Deregistering, Input::StopRequested);
        self.hurries |= again && limits.drain > Duration::ZERO;
        if (self.phase, action) == (Phase::AwaitingTemplates, Action::CancelStart) {
            self.code = match input {
                Input::StopRequested => CANCELLED_START,
                _ => WITHOUT_TEMPLATES,
            };
        }
        if (self.phase, phase) == (Phase::Deregistering, Phase::DeregisteringAfterExit) {
            // The same wait for another reason: it gets no longer by it (SD-10 as amended).
        } else if phase != self.phase {
            self.deadline = limit(phase, limits).map(|limit| now + limit);
        } else if input == Input::TimeIsUp {
            self.deadline = None;
        }
        if phase != self.phase {
            self.leave(now);
        }
        self.phase = phase;
        action
    }

    /// Another phase begins. What is kept is only reported, and each phase comes once.
    fn leave(&mut self, now: Instant) {
        if !self.takes_configuration() {
            self.took.push((self.phase, now.since(self.began)));
        }
        self.began = now;
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

/// How long a phase may take. The time limit of a hook is that of its job (LC-9).
fn limit(phase: Phase, limits: Limits) -> Option<Duration> {
    match phase {
        Phase::Terminating | Phase::PreStoppingAfterExit => Some(limits.stop_grace),
        Phase::Draining => Some(limits.drain),
        Phase::Deregistering | Phase::DeregisteringAfterExit => Some(DEREGISTRATION),
        Phase::Killing => Some(KILLING),
        Phase::TerminatingRemaining => Some(TERMINATING_REMAINING),
        Phase::KillingRemaining => Some(KILLING_REMAINING),
        Phase::PreStarting
        | Phase::AbortingStart
        | Phase::AwaitingTemplates
        | Phase::Running
        | Phase::PreStopping
        | Phase::PostStopping
        | Phase::Exited => None,
    }
}

crate::keyed!(Lifecycle {
    phase,
    deadline,
    hurries,
    code,
    unhealthy
} without {
    began,
    took
});

crate::keyed_as_is!(Phase);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    const PHASES: [Phase; 15] = [
        Phase::PreStarting,
        Phase::AbortingStart,
        Phase::AwaitingTemplates,
        Phase::Running,
        Phase::Deregistering,
        Phase::Draining,
        Phase::PreStopping,
        Phase::Terminating,
        Phase::Killing,
        Phase::DeregisteringAfterExit,
        Phase::PreStoppingAfterExit,
        Phase::PostStopping,
        Phase::TerminatingRemaining,
        Phase::KillingRemaining,
        Phase::Exited,
    ];

    const INPUTS: [Input; 12] = [
        Input::PreStartPassed,
        Input::PreStartFailed,
        Input::TemplatesWritten,
        Input::TemplatesFailed,
        Input::StopRequested,
        Input::ServicesDeregistered,
        Input::PreStopEnded,
        Input::ApplicationEnded,
        Input::NoApplication,
        Input::PostStopEnded,
        Input::ChildrenGone,
        Input::TimeIsUp,
    ];

    #[test]
    fn the_table_of_phases_and_inputs_matches_its_snapshot() {
        let mut table = String::new();
        for phase in PHASES {
            for input in INPUTS {
                let (after, action) = next(phase, input);
                if after != phase || action != Action::Nothing {
                    writeln!(table, "{phase:?} + {input:?} => {after:?}, {action:?}").unwrap();
                } else {
                    writeln!(table, "{phase:?} + {input:?} => -").unwrap();
                }
            }
        }
        insta::assert_snapshot!(table);
    }

    fn reachable_from(phase: Phase, inputs: &[Input]) -> BTreeSet<Phase> {
        let mut found = BTreeSet::from([phase]);
        let mut open = vec![phase];
        while let Some(phase) = open.pop() {
            for input in inputs {
                let (after, _) = next(phase, *input);
                if found.insert(after) {
                    open.push(after);
                }
            }
        }
        found
    }

    #[test]
    fn the_end_can_be_reached_from_every_phase_and_nothing_leads_out_of_it() {
        for phase in PHASES {
            assert!(
                reachable_from(phase, &INPUTS).contains(&Phase::Exited),
                "{phase:?}"
            );
        }
        assert_eq!(reachable_from(Phase::Exited, &INPUTS).len(), 1);
    }

    #[test]
    fn no_input_leads_back_to_an_earlier_phase() {
        let rank = |phase| match phase {
            Phase::PreStarting => 0,
            Phase::AbortingStart | Phase::AwaitingTemplates | Phase::Running => 1,
            Phase::Deregistering => 2,
            Phase::Draining => 3,
            Phase::PreStopping => 4,
            Phase::Terminating | Phase::PreStoppingAfterExit | Phase::DeregisteringAfterExit => 5,
            Phase::Killing => 6,
            Phase::PostStopping => 7,
            Phase::TerminatingRemaining => 8,
            Phase::KillingRemaining => 9,
            Phase::Exited => 10,
        };
        for phase in PHASES {
            for input in INPUTS {
                assert!(rank(next(phase, input).0) >= rank(phase), "{phase:?} + {input:?}");
            }
        }
    }

    #[test]
    fn a_second_stop_ends_the_drain_and_changes_no_other_phase() {
        for phase in PHASES {
            let expected = match phase {
                Phase::PreStarting | Phase::AwaitingTemplates | Phase::Running => continue,
                Phase::Draining => (Phase::PreStopping, Action::RunPreStop),
                _ => (phase, Action::Nothing),
            };
            assert_eq!(next(phase, Input::StopRequested), expected);
        }
    }

    const GRACE: Duration = Duration::from_secs(5);
    const DRAIN: Duration = Duration::from_secs(8);
    const LIMITS: Limits = Limits {
        drain: DRAIN,
        stop_grace: GRACE,
    };

    #[test]
    fn a_cancelled_start_exits_143_whatever_the_code_of_the_hook() {
        let mut life = Lifecycle::new();
        assert_eq!(
            life.take(Instant::START, Input::StopRequested, LIMITS),
            Action::StopHook
        );
        life.will_exit_with(3);
        assert_eq!(
            life.take(Instant::START, Input::PreStartFailed, LIMITS),
            Action::TerminateRemaining
        );
        assert_eq!(life.code(), 143);
    }

    #[test]
    fn the_time_limit_of_a_phase_is_reported_once() {
        let mut life = Lifecycle::new();
        for input in [
            Input::PreStartPassed,
            Input::TemplatesWritten,
            Input::StopRequested,
            Input::ServicesDeregistered,
            Input::TimeIsUp,
            Input::ApplicationEnded,
        ] {
            life.take(Instant::START, input, LIMITS);
        }
        assert_eq!(
            (life.phase(), life.deadline()),
            (Phase::PreStoppingAfterExit, Some(Instant::START + GRACE))
        );
        assert_eq!(
            life.take(Instant::START + GRACE, Input::TimeIsUp, LIMITS),
            Action::KillHook
        );
        let killed = Instant::START + GRACE;
        assert_eq!(
            (life.phase(), life.deadline()),
            (Phase::Killing, Some(killed + KILLING))
        );
        assert_eq!(
            life.take(killed + KILLING, Input::TimeIsUp, LIMITS),
            Action::KillRemaining
        );
        assert_eq!(life.deadline(), Some(killed + KILLING + KILLING_REMAINING));
        assert_eq!(
            life.take(killed + KILLING + KILLING_REMAINING, Input::TimeIsUp, LIMITS),
            Action::Exit
        );
        assert_eq!(life.deadline(), None);
    }

    #[test]
    fn a_health_check_that_ends_the_shim_replaces_the_code_0_only() {
        for (code, expected) in [(0, 1), (3, 3), (143, 143)] {
            let mut life = Lifecycle::new();
            life.take(Instant::START, Input::PreStartPassed, LIMITS);
            life.will_exit_with(code);
            assert_eq!(life.code(), code);
            life.is_unhealthy();
            assert_eq!(life.code(), expected);
        }
    }

    #[test]
    fn a_second_stop_before_the_drain_prevents_it() {
        let mut life = Lifecycle::new();
        life.take(Instant::START, Input::PreStartPassed, LIMITS);
        life.take(Instant::START, Input::TemplatesWritten, LIMITS);
        assert!(!life.may_drain());
        life.take(Instant::START, Input::StopRequested, LIMITS);
        assert!(life.may_drain());
        life.take(Instant::START, Input::StopRequested, LIMITS);
        assert!(!life.may_drain());
        let action = life.take(Instant::START, Input::ServicesDeregistered, LIMITS);
        assert_eq!((life.phase(), action), (Phase::Draining, Action::Drain));
        assert!(!life.may_drain());
    }

    #[test]
    fn the_drain_takes_as_long_as_the_plan_says() {
        let mut life = Lifecycle::new();
        life.take(Instant::START, Input::PreStartPassed, LIMITS);
        life.take(Instant::START, Input::TemplatesWritten, LIMITS);
        life.take(Instant::START, Input::StopRequested, LIMITS);
        let later = Instant::START + Duration::from_secs(1);
        life.take(later, Input::ServicesDeregistered, LIMITS);
        assert_eq!(life.deadline(), Some(later + DRAIN));
        assert_eq!(
            life.take(later + DRAIN, Input::TimeIsUp, LIMITS),
            Action::RunPreStop
        );
    }

    #[test]
    fn an_application_that_ends_during_the_deregistrations_does_not_extend_them() {
        let mut life = Lifecycle::new();
        life.take(Instant::START, Input::PreStartPassed, LIMITS);
        life.take(Instant::START, Input::TemplatesWritten, LIMITS);
        life.take(Instant::START, Input::StopRequested, LIMITS);
        let bound = life.deadline();
        let later = Instant::START + Duration::from_secs(1);
        life.take(later, Input::ApplicationEnded, LIMITS);
        assert_eq!(
            (life.phase(), life.deadline()),
            (Phase::DeregisteringAfterExit, bound)
        );
    }

    #[test]
    fn after_a_pause_the_time_limit_of_a_phase_starts_again() {
        let mut life = Lifecycle::new();
        life.after_standstill(Instant::START, LIMITS);
        assert_eq!(life.deadline(), None);
        life.take(Instant::START, Input::PreStartPassed, LIMITS);
        life.take(Instant::START, Input::TemplatesWritten, LIMITS);
        life.take(Instant::START, Input::StopRequested, LIMITS);
        let later = Instant::START + Duration::from_secs(60);
        life.after_standstill(later, LIMITS);
        assert_eq!(life.deadline(), Some(later + DEREGISTRATION));
    }

    #[test]
    fn deregistering_takes_two_seconds_at_the_most() {
        let mut life = Lifecycle::new();
        life.take(Instant::START, Input::PreStartPassed, LIMITS);
        life.take(Instant::START, Input::TemplatesWritten, LIMITS);
        life.take(Instant::START, Input::StopRequested, LIMITS);
        assert_eq!(life.deadline(), Some(Instant::START + Duration::from_secs(2)));
    }
}
