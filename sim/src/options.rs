//! The options of a run: its parts and its faults, drawn and printed before anything else.
//!
//! Each run has some kinds of faults entirely disabled (swarm testing), so that the remaining kinds show
//! their effects alone.

use crate::choices::Choices;
use std::fmt;

/// The options of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether there is an application.
    pub application: bool,
    /// Whether there are preStart, preStop and postStop hooks.
    pub hooks: [bool; 3],
    /// How many services there are at first.
    pub services: u32,
    /// How many backends there are.
    pub backends: u32,
    /// How many tasks and coprocesses there are.
    pub jobs: u32,
    /// How many sensors there are.
    pub sensors: u32,
    /// For how many seconds there are faults.
    pub seconds: u32,
    /// The interval of an operator's actions, in seconds; zero means never.
    pub operators: u32,
    /// Whether an operator may stop the shim while there are faults.
    pub stops_early: bool,
    /// Whether the catalogue returns cursors.
    pub cursors: bool,
    /// Whether an expired entry is removed; otherwise it stays and can be renewed.
    pub expired_are_gone: bool,
    /// The seed of the core's own jitter.
    pub jitter: u32,
    /// The limit on requests in flight, if there is one.
    pub connections: Option<u32>,
    /// The kinds of faults.
    pub faults: Faults,
}

/// The kinds of faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each fault is there or not, whatever the others are"
)]
pub struct Faults {
    /// Children exit with a code that is not zero, or a signal ends them.
    pub children_fail: bool,
    /// Children never end by themselves.
    pub children_hang: bool,
    /// Children ignore SIGTERM.
    pub children_ignore_term: bool,
    /// Children exist for a long time after SIGKILL.
    pub children_outlive_kill: bool,
    /// Programs cannot be started.
    pub children_cannot_start: bool,
    /// For a while no process can be started.
    pub no_pids_for_a_while: bool,
    /// The machine, or the shim alone, is paused for a while.
    pub machine_pauses: bool,
    /// A child prints without end.
    pub children_flood: bool,
    /// Starting a process takes time, which the shim waits.
    pub starting_takes_time: bool,
    /// Children leave orphans.
    pub orphans: bool,
    /// Children start processes that outlive them, some of which ignore SIGTERM.
    pub children_are_outlived: bool,
    /// The catalogue takes long to answer.
    pub catalogue_is_slow: bool,
    /// Requests or their answers are lost.
    pub answers_are_lost: bool,
    /// The catalogue cannot be reached for a while.
    pub outages: bool,
    /// The catalogue loses all data.
    pub catalogue_loses_data: bool,
    /// Requests arrive after they were cancelled, and answers after their requests were cancelled.
    pub late_arrivals: bool,
    /// A blocking query is answered early without a change.
    pub early_answers: bool,
    /// The catalogue refuses further connections now and then.
    pub catalogue_is_busy: bool,
    /// The catalogue answers nothing. Never drawn: a run asks for it.
    pub catalogue_is_silent: bool,
    /// No check ends by itself. Never drawn: a run asks for it.
    pub checks_hang: bool,
    /// Configurations cannot be read.
    pub configurations_break: bool,
    /// Configurations change.
    pub configurations_change: bool,
    /// The instances of backends change.
    pub instances_change: bool,
}

impl Options {
    /// Draws the options; all zeros give a run without faults of an application alone.
    pub fn draw(choices: &mut Choices) -> Self {
        let application = choices.below(8) != 7;
        let hooks = [0; 3].map(|_| choices.below(2) == 1);
        let (services, backends) = (choices.below(3), choices.below(3));
        let (jobs, sensors) = (choices.below(3), choices.below(2));
        Self {
            application,
            hooks,
            services,
            backends,
            jobs,
            sensors,
            seconds: 20 + choices.below(581),
            operators: choices.one_of(&[0, 60, 10, 2]),
            stops_early: choices.below(3) == 2,
            cursors: choices.below(4) != 3,
            expired_are_gone: choices.below(2) == 0,
            jitter: choices.below(1000),
            connections: None,
            faults: Faults::draw(choices),
        }
        .with_connections()
    }

    /// Every other run has a budget, and one in three of those a catalogue that refuses further requests now
    /// and then. Both are drawn together with the jitter, so that recorded runs keep their meaning.
    fn with_connections(mut self) -> Self {
        self.connections = [None, None, None, Some(2), Some(4), Some(3)][self.jitter as usize % 6];
        self.faults.children_are_outlived = self.jitter / 18 % 2 == 1;
        self.faults.catalogue_is_busy = self.connections.is_some() && self.jitter / 6 % 3 == 2;
        self
    }

    /// A run without faults of an application alone.
    pub fn quiet() -> Self {
        Self::draw(&mut Choices::recorded(Vec::new()))
    }
}

impl Faults {
    fn draw(choices: &mut Choices) -> Self {
        let mut fault = || choices.below(3) == 2;
        Self {
            children_fail: fault(),
            children_hang: fault(),
            children_ignore_term: fault(),
            children_outlive_kill: fault(),
            children_cannot_start: fault(),
            no_pids_for_a_while: fault(),
            machine_pauses: fault(),
            children_flood: fault(),
            starting_takes_time: fault(),
            orphans: fault(),
            catalogue_is_slow: fault(),
            answers_are_lost: fault(),
            outages: fault(),
            catalogue_loses_data: fault(),
            late_arrivals: fault(),
            early_answers: fault(),
            catalogue_is_busy: false,
            catalogue_is_silent: false,
            checks_hang: false,
            children_are_outlived: false,
            configurations_break: fault(),
            configurations_change: fault(),
            instances_change: fault(),
        }
    }

    fn named(&self) -> [(&'static str, bool); 23] {
        [
            ("children fail", self.children_fail),
            ("children hang", self.children_hang),
            ("children ignore TERM", self.children_ignore_term),
            ("children outlive KILL", self.children_outlive_kill),
            ("children cannot start", self.children_cannot_start),
            ("no PIDs for a while", self.no_pids_for_a_while),
            ("the machine pauses", self.machine_pauses),
            ("children flood", self.children_flood),
            ("starting takes time", self.starting_takes_time),
            ("orphans", self.orphans),
            ("children are outlived", self.children_are_outlived),
            ("the catalogue is slow", self.catalogue_is_slow),
            ("answers are lost", self.answers_are_lost),
            ("outages", self.outages),
            ("the catalogue loses data", self.catalogue_loses_data),
            ("late arrivals", self.late_arrivals),
            ("early answers", self.early_answers),
            ("the catalogue is busy", self.catalogue_is_busy),
            ("the catalogue is silent", self.catalogue_is_silent),
            ("checks hang", self.checks_hang),
            ("configurations break", self.configurations_break),
            ("configurations change", self.configurations_change),
            ("instances change", self.instances_change),
        ]
    }
}

impl fmt::Display for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "faults for {} s; an operator every {} s (0: never), who may stop it early: {}; cursors: {}; \
             expired entries are gone: {}; jitter {}; requests at a time: {:?}",
            self.seconds,
            self.operators,
            self.stops_early,
            self.cursors,
            self.expired_are_gone,
            self.jitter,
            self.connections
        )?;
        let there = self.faults.named().into_iter().filter(|(_, there)| *there);
        let there: Vec<&str> = there.map(|(name, _)| name).collect();
        write!(
            f,
            "faults: {}",
            if there.is_empty() {
                "none".into()
            } else {
                there.join(", ")
            }
        )
    }
}
