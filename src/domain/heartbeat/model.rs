//! Compares the heartbeat with a model: a catalogue with at most one entry of the service, a network that may
//! lose a request or its answer, and rules that predict each action.

use super::{Action, DesiredState, Heartbeat, Operation, Reply};
use crate::time::{Duration, Instant};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// The time between two checks, in milliseconds.
const POLL: u64 = 1000;
/// An inspection follows the first heartbeat since a registration, and each of so many.
const PER_INSPECTION: u8 = 3;

/// An input of the heartbeat.
#[derive(Clone, Debug)]
enum Input {
    /// This many milliseconds pass.
    Wait(u64),
    /// The check that runs ends.
    CheckEnds {
        passed: bool,
    },
    /// The request in flight takes effect or not, and its answer is lost or not.
    Answer {
        lands: bool,
        lost: bool,
    },
    /// The catalogue loses the entry.
    Forget,
    Deregister,
    Resume,
}

/// The catalogue's last answer about the entry.
#[derive(Clone, Copy, Debug, PartialEq)]
enum LastAnswer {
    Nothing,
    Registered,
    Absent,
}

/// The model of the service.
#[derive(Clone, Debug)]
struct Observer {
    now: u64,
    due: u64,
    desired: DesiredState,
    is_checking: bool,
    request: Option<Operation>,
    last_answer: LastAnswer,
    /// How many heartbeats succeeded since the last registration did.
    beats: u32,
    /// Whether the catalogue really has the entry.
    entry: bool,
    /// The answer that arrives, and the action that the last input must cause.
    reply: Reply,
    expected: Option<Action>,
}

impl Observer {
    fn new(desired: DesiredState, entry: bool) -> Self {
        Self {
            now: 0,
            due: POLL,
            desired,
            is_checking: false,
            request: None,
            last_answer: LastAnswer::Nothing,
            beats: 0,
            entry,
            reply: Reply::Failed,
            expected: None,
        }
    }

    /// Whether a check could start: an inspection in flight does not delay it.
    fn is_idle(&self) -> bool {
        let is_free = matches!(self.request, None | Some(Operation::Inspect));
        self.desired == DesiredState::Registered && is_free && !self.is_checking
    }

    fn on(&mut self, input: &Input) {
        self.expected = match *input {
            Input::Forget => {
                self.entry = false;
                None
            }
            Input::Wait(milliseconds) => {
                self.now += milliseconds;
                self.check_if_due()
            }
            Input::CheckEnds { passed } => {
                self.is_checking = false;
                match passed && self.is_idle() {
                    true => self.register_or_renew(),
                    false => self.check_if_due(),
                }
            }
            Input::Answer { lands, lost } => self.on_answer(lands, lost),
            Input::Deregister => {
                self.desired = DesiredState::Absent;
                self.request = self.request.filter(|asked| *asked != Operation::Inspect);
                self.deregister()
            }
            Input::Resume => {
                self.desired = DesiredState::Registered;
                self.take_ticks();
                None
            }
        };
    }

    fn on_answer(&mut self, lands: bool, lost: bool) -> Option<Action> {
        let asked = self.request.take();
        let truth = match asked {
            Some(Operation::Renew) if !self.entry => Reply::NotRegistered,
            _ => Reply::Done,
        };
        if lands && !matches!(asked, Some(Operation::Renew | Operation::Inspect)) {
            self.entry = asked == Some(Operation::Register);
        }
        self.reply = if lands && !lost { truth } else { Reply::Failed };
        self.last_answer = match (asked, self.reply) {
            (Some(Operation::Inspect), _) => self.last_answer,
            (Some(Operation::Deregister), Reply::Done) => LastAnswer::Absent,
            (_, Reply::Done) => LastAnswer::Registered,
            (Some(Operation::Renew), Reply::Failed) => self.last_answer,
            _ => LastAnswer::Nothing,
        };
        match (asked, self.reply) {
            (Some(Operation::Register), Reply::Done) => self.beats = 0,
            (Some(Operation::Renew), Reply::Done) => self.beats += 1,
            _ => {}
        }
        match (self.desired, asked) {
            (DesiredState::Absent, Some(Operation::Register | Operation::Renew)) => self.deregister(),
            (DesiredState::Registered, _) if self.reply == Reply::NotRegistered => self.register_or_renew(),
            (DesiredState::Registered, Some(Operation::Renew))
                if self.reply == Reply::Done && self.beats % u32::from(PER_INSPECTION) == 1 =>
            {
                self.check_if_due().or_else(|| {
                    self.request = Some(Operation::Inspect);
                    self.request.map(Action::Send)
                })
            }
            _ => self.check_if_due(),
        }
    }

    fn register_or_renew(&mut self) -> Option<Action> {
        let is_there = self.last_answer == LastAnswer::Registered;
        self.request = Some(if is_there {
            Operation::Renew
        } else {
            Operation::Register
        });
        self.request.map(Action::Send)
    }

    fn deregister(&mut self) -> Option<Action> {
        if self.request.is_some() || self.last_answer == LastAnswer::Absent {
            return None;
        }
        self.request = Some(Operation::Deregister);
        self.request.map(Action::Send)
    }

    fn check_if_due(&mut self) -> Option<Action> {
        let begins = self.is_idle() && self.due <= self.now;
        begins.then(|| {
            self.take_ticks();
            self.is_checking = true;
            self.request = None;
            Action::RunCheck
        })
    }

    /// The next tick is the first one after the present time, however many were missed.
    fn take_ticks(&mut self) {
        self.due = (self.now / POLL + 1) * POLL;
    }
}

impl ReferenceStateMachine for Observer {
    type State = Self;
    type Transition = Input;

    fn init_state() -> BoxedStrategy<Self> {
        let desired = prop_oneof![Just(DesiredState::Registered), Just(DesiredState::Absent)];
        (desired, any::<bool>())
            .prop_map(|(desired, entry)| Self::new(desired, entry))
            .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Input> {
        prop_oneof![
            4 => prop_oneof![Just(POLL), 0..3 * POLL].prop_map(Input::Wait),
            6 => prop::bool::weighted(0.8).prop_map(|passed| Input::CheckEnds { passed }),
            8 => (prop::bool::weighted(0.8), prop::bool::weighted(0.2))
                .prop_map(|(lands, lost)| Input::Answer { lands, lost }),
            1 => Just(Input::Forget),
            2 => Just(Input::Deregister),
            2 => Just(Input::Resume),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, input: &Input) -> bool {
        match input {
            Input::CheckEnds { .. } => state.is_checking,
            Input::Answer { .. } => state.request.is_some(),
            Input::Resume => state.desired == DesiredState::Absent,
            Input::Wait(_) | Input::Forget | Input::Deregister => true,
        }
    }

    fn apply(mut state: Self, input: &Input) -> Self {
        state.on(input);
        state
    }
}

const fn at(milliseconds: u64) -> Instant {
    Instant::after_start(Duration::from_millis(milliseconds))
}

struct Model;

impl StateMachineTest for Model {
    type SystemUnderTest = Heartbeat;
    type Reference = Observer;

    fn init_test(observer: &Observer) -> Heartbeat {
        Heartbeat::new(
            at(0),
            Duration::from_millis(POLL),
            PER_INSPECTION,
            observer.desired,
        )
    }

    fn apply(mut heartbeat: Heartbeat, observer: &Observer, input: Input) -> Heartbeat {
        let now = at(observer.now);
        let action = match input {
            Input::Wait(_) => heartbeat.on_time(now),
            Input::CheckEnds { passed } => heartbeat.on_checked(now, passed),
            Input::Answer { .. } => heartbeat.on_reply(now, observer.reply),
            Input::Forget => None,
            Input::Deregister => heartbeat.deregister(),
            Input::Resume => {
                heartbeat.resume(now);
                None
            }
        };
        assert_eq!(action, observer.expected);
        heartbeat
    }

    fn check_invariants(heartbeat: &Heartbeat, observer: &Observer) {
        let is_asking = observer.request.is_some();
        assert_eq!(heartbeat.registration().in_flight().is_some(), is_asking);
        assert_eq!(
            heartbeat.registration().is_registered(),
            observer.last_answer == LastAnswer::Registered
        );
        assert_eq!(
            heartbeat.registration().has_deregistered(),
            observer.desired == DesiredState::Absent && !is_asking
        );
        let deadline = observer.is_idle().then(|| at(observer.due));
        assert_eq!(heartbeat.deadline(), deadline);
        let is_said_wrongly = observer.last_answer == LastAnswer::Absent && observer.entry;
        assert!(!is_said_wrongly, "something landed after the deregistration");
    }

    /// In every state: if the service is deregistered and all further requests take effect, the catalogue has
    /// no entry of it at the end.
    fn teardown(mut heartbeat: Heartbeat, mut observer: Observer) {
        let answered = Input::Answer {
            lands: true,
            lost: false,
        };
        observer.on(&Input::Deregister);
        heartbeat = Self::apply(heartbeat, &observer, Input::Deregister);
        while observer.request.is_some() {
            observer.on(&answered);
            heartbeat = Self::apply(heartbeat, &observer, answered.clone());
        }
        assert!(heartbeat.registration().has_deregistered());
        assert!(!observer.entry, "an entry is left behind");
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn each_action_is_the_one_that_the_model_predicts(sequential 1..60 => Model);
}
