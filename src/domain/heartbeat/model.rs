//! The heartbeat against a model: a catalogue that keeps at most one entry of ours, a network that may lose a
//! question or its answer, and the rules by which an onlooker foretells each action.

use super::{Action, DesiredState, Heartbeat, Reply};
use crate::time::{Duration, Instant};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// Milliseconds between two checks.
const POLL: u64 = 1000;

/// What happens to a heartbeat.
#[derive(Clone, Debug)]
enum Happening {
    /// So many milliseconds pass.
    Wait(u64),
    /// The check that runs ends.
    CheckEnds {
        passed: bool,
    },
    /// The question on its way lands or not, and its answer is lost or not.
    Answer {
        lands: bool,
        lost: bool,
    },
    /// The catalogue loses the entry.
    Forget,
    Leave,
    Enter,
}

/// What the catalogue last said of our entry.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Told {
    Nothing,
    ItIsThere,
    ItIsGone,
}

/// What an onlooker sees.
#[derive(Clone, Debug)]
struct Onlooker {
    now: u64,
    due: u64,
    desired: DesiredState,
    is_checking: bool,
    question: Option<Action>,
    told: Told,
    /// How many heartbeats were taken since the last registration was.
    beats: u32,
    /// Whether our entry truly stands in the catalogue.
    entry: bool,
    /// The answer that arrives, and the action that the last happening calls for.
    reply: Reply,
    expected: Option<Action>,
}

impl Onlooker {
    fn new(desired: DesiredState, entry: bool) -> Self {
        Self {
            now: 0,
            due: POLL,
            desired,
            is_checking: false,
            question: None,
            told: Told::Nothing,
            beats: 0,
            entry,
            reply: Reply::Failed,
            expected: None,
        }
    }

    /// A look holds nothing up.
    fn is_idle(&self) -> bool {
        let is_silent = matches!(self.question, None | Some(Action::Inspect));
        self.desired == DesiredState::In && is_silent && !self.is_checking
    }

    fn on(&mut self, happening: &Happening) {
        self.expected = match *happening {
            Happening::Forget => {
                self.entry = false;
                None
            }
            Happening::Wait(milliseconds) => {
                self.now += milliseconds;
                self.check_if_due()
            }
            Happening::CheckEnds { passed } => {
                self.is_checking = false;
                match passed && self.is_idle() {
                    true => self.say_healthy(),
                    false => self.check_if_due(),
                }
            }
            Happening::Answer { lands, lost } => self.on_answer(lands, lost),
            Happening::Leave => {
                self.desired = DesiredState::Out;
                self.question = self.question.filter(|asked| *asked != Action::Inspect);
                self.deregister()
            }
            Happening::Enter => {
                self.desired = DesiredState::In;
                self.take_ticks();
                None
            }
        };
    }

    fn on_answer(&mut self, lands: bool, lost: bool) -> Option<Action> {
        let asked = self.question.take();
        let truth = match asked {
            Some(Action::Renew) if !self.entry => Reply::Unknown,
            _ => Reply::Done,
        };
        if lands && !matches!(asked, Some(Action::Renew | Action::Inspect)) {
            self.entry = asked == Some(Action::Register);
        }
        self.reply = if lands && !lost { truth } else { Reply::Failed };
        self.told = match (asked, self.reply) {
            (Some(Action::Inspect), _) => self.told,
            (Some(Action::Deregister), Reply::Done) => Told::ItIsGone,
            (_, Reply::Done) => Told::ItIsThere,
            (Some(Action::Renew), Reply::Failed) => self.told,
            _ => Told::Nothing,
        };
        match (asked, self.reply) {
            (Some(Action::Register), Reply::Done) => self.beats = 0,
            (Some(Action::Renew), Reply::Done) => self.beats += 1,
            _ => {}
        }
        match (self.desired, asked) {
            (DesiredState::Out, Some(Action::Register | Action::Renew)) => self.deregister(),
            (DesiredState::In, _) if self.reply == Reply::Unknown => self.say_healthy(),
            (DesiredState::In, Some(Action::Renew)) if self.reply == Reply::Done && self.beats % 10 == 1 => {
                self.check_if_due().or_else(|| {
                    self.question = Some(Action::Inspect);
                    self.question
                })
            }
            _ => self.check_if_due(),
        }
    }

    fn say_healthy(&mut self) -> Option<Action> {
        let is_there = self.told == Told::ItIsThere;
        self.question = Some(if is_there { Action::Renew } else { Action::Register });
        self.question
    }

    fn deregister(&mut self) -> Option<Action> {
        if self.question.is_some() || self.told == Told::ItIsGone {
            return None;
        }
        self.question = Some(Action::Deregister);
        self.question
    }

    fn check_if_due(&mut self) -> Option<Action> {
        let begins = self.is_idle() && self.due <= self.now;
        begins.then(|| {
            self.take_ticks();
            self.is_checking = true;
            self.question = None;
            Action::Check
        })
    }

    /// However many ticks were missed, the next one is the first after now.
    fn take_ticks(&mut self) {
        self.due = (self.now / POLL + 1) * POLL;
    }
}

impl ReferenceStateMachine for Onlooker {
    type State = Self;
    type Transition = Happening;

    fn init_state() -> BoxedStrategy<Self> {
        let desired = prop_oneof![Just(DesiredState::In), Just(DesiredState::Out)];
        (desired, any::<bool>())
            .prop_map(|(desired, entry)| Self::new(desired, entry))
            .boxed()
    }

    fn transitions(_: &Self) -> BoxedStrategy<Happening> {
        prop_oneof![
            4 => prop_oneof![Just(POLL), 0..3 * POLL].prop_map(Happening::Wait),
            6 => prop::bool::weighted(0.8).prop_map(|passed| Happening::CheckEnds { passed }),
            8 => (prop::bool::weighted(0.8), prop::bool::weighted(0.2))
                .prop_map(|(lands, lost)| Happening::Answer { lands, lost }),
            1 => Just(Happening::Forget),
            2 => Just(Happening::Leave),
            2 => Just(Happening::Enter),
        ]
        .boxed()
    }

    fn preconditions(state: &Self, happening: &Happening) -> bool {
        match happening {
            Happening::CheckEnds { .. } => state.is_checking,
            Happening::Answer { .. } => state.question.is_some(),
            Happening::Enter => state.desired == DesiredState::Out,
            Happening::Wait(_) | Happening::Forget | Happening::Leave => true,
        }
    }

    fn apply(mut state: Self, happening: &Happening) -> Self {
        state.on(happening);
        state
    }
}

const fn at(milliseconds: u64) -> Instant {
    Instant::after_start(Duration::from_millis(milliseconds))
}

struct Conversation;

impl StateMachineTest for Conversation {
    type SystemUnderTest = Heartbeat;
    type Reference = Onlooker;

    fn init_test(onlooker: &Onlooker) -> Heartbeat {
        Heartbeat::new(at(0), Duration::from_millis(POLL), onlooker.desired)
    }

    fn apply(mut heartbeat: Heartbeat, onlooker: &Onlooker, happening: Happening) -> Heartbeat {
        let now = at(onlooker.now);
        let action = match happening {
            Happening::Wait(_) => heartbeat.on_time(now),
            Happening::CheckEnds { passed } => heartbeat.on_checked(now, passed),
            Happening::Answer { .. } => heartbeat.on_reply(now, onlooker.reply),
            Happening::Forget => None,
            Happening::Leave => heartbeat.leave(),
            Happening::Enter => {
                heartbeat.enter(now);
                None
            }
        };
        assert_eq!(action, onlooker.expected);
        heartbeat
    }

    fn check_invariants(heartbeat: &Heartbeat, onlooker: &Onlooker) {
        let is_asking = onlooker.question.is_some();
        assert_eq!(heartbeat.is_asking(), is_asking);
        assert_eq!(heartbeat.is_registered(), onlooker.told == Told::ItIsThere);
        assert_eq!(
            heartbeat.has_left(),
            onlooker.desired == DesiredState::Out && !is_asking
        );
        let deadline = onlooker.is_idle().then(|| at(onlooker.due));
        assert_eq!(heartbeat.deadline(), deadline);
        let is_told_wrongly = onlooker.told == Told::ItIsGone && onlooker.entry;
        assert!(!is_told_wrongly, "something landed after the deregistration");
    }

    /// Whatever happened: when the service leaves and everything lands from now on, nothing of it stays.
    fn teardown(mut heartbeat: Heartbeat, mut onlooker: Onlooker) {
        let answered = Happening::Answer {
            lands: true,
            lost: false,
        };
        onlooker.on(&Happening::Leave);
        heartbeat = Self::apply(heartbeat, &onlooker, Happening::Leave);
        while onlooker.question.is_some() {
            onlooker.on(&answered);
            heartbeat = Self::apply(heartbeat, &onlooker, answered.clone());
        }
        assert!(heartbeat.has_left());
        assert!(!onlooker.entry, "an entry is left behind");
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn each_action_is_the_one_an_onlooker_foretells(sequential 1..60 => Conversation);
}
