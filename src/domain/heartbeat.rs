//! One service's conversation with the catalogue: when to check, register, renew and leave.
//!
//! The catalogue is reconciled, not scripted: a passing check is answered by a renewal if we believe to be
//! registered and by a registration if not, and whatever the catalogue says corrects that belief. There is
//! one question on its way at a time, so nothing of ours can land after a deregistration.
//!
//! Somebody else may use our ID, and a catalogue may take our heartbeats for his. So after the first heartbeat that
//! was taken since a registration, and after every tenth, we look who holds it. A look changes nothing, and nothing
//! waits for it: neither the next check nor the deregistration.
//!
//! Never reports "critical" by itself: without a passing check there is no heartbeat, and the TTL does it
//! (behaviour-v2.md 4.3).

use crate::time::{Cadence, Duration, Instant};

/// The conversation of one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Heartbeat {
    cadence: Cadence,
    desired: DesiredState,
    in_flight: InFlight,
    checking: bool,
    known: KnownRegistration,
    /// How many more heartbeats are taken before the next look.
    until_look: u8,
}

/// After how many heartbeats the next one is followed by a look, and how often there is one thus (docs/bounds.md).
const BEATS_PER_LOOK: u8 = 10;

/// What the service's unit is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Run the health check.
    Check,
    /// Register, passing.
    Register,
    /// Tell the catalogue that the service is healthy.
    Renew,
    /// Look who holds our ID.
    Inspect,
    /// Leave the catalogue.
    Deregister,
}

/// What became of the question on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reply {
    /// It was done.
    Done,
    /// There is nothing to renew.
    Unknown,
    /// Nobody knows.
    Failed,
    /// It was never sent.
    Unsent,
}

/// Whether the service is to be in the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DesiredState {
    /// Yes, while it is healthy.
    In,
    /// No: maintenance, a reload or the end.
    Out,
}

/// The question on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum InFlight {
    Nothing,
    Registering,
    Renewing,
    Inspecting,
    Deregistering,
}

/// What we believe to stand in the catalogue under our ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum KnownRegistration {
    /// An earlier life's entry perhaps, or a question of ours whose answer was lost.
    Unknown,
    /// Our registration.
    Registered,
    /// Nothing.
    Nothing,
}

impl Heartbeat {
    /// A service that is first checked one `poll` after `now` (LC-15).
    pub fn new(now: Instant, poll: Duration, desired: DesiredState) -> Self {
        Self {
            cadence: Cadence::new(now, poll),
            desired,
            in_flight: InFlight::Nothing,
            checking: false,
            known: KnownRegistration::Unknown,
            until_look: 0,
        }
    }

    /// When [`Self::on_time`] has something to say, unless something else happens first.
    pub fn deadline(&self) -> Option<Instant> {
        let idle = self.desired == DesiredState::In && !self.holds_the_next_check() && !self.checking;
        idle.then(|| self.cadence.next())
    }

    /// Every question does but a look.
    fn holds_the_next_check(&self) -> bool {
        !matches!(self.in_flight, InFlight::Nothing | InFlight::Inspecting)
    }

    /// Whether it is out of the catalogue as far as it can know, with no question on its way.
    pub fn has_left(&self) -> bool {
        self.desired == DesiredState::Out && self.in_flight == InFlight::Nothing
    }

    /// Whether the service is to be in the catalogue.
    pub fn desired(&self) -> DesiredState {
        self.desired
    }

    /// Whether the service is in the catalogue, as far as the catalogue has said.
    pub fn is_registered(&self) -> bool {
        self.known == KnownRegistration::Registered
    }

    /// Whether a question is on its way.
    pub fn is_asking(&self) -> bool {
        self.in_flight != InFlight::Nothing
    }

    /// Time passed. A look that is on its way when the next check is due is forgotten.
    pub fn on_time(&mut self, now: Instant) -> Option<Action> {
        self.deadline().filter(|deadline| *deadline <= now)?;
        self.cadence.take(now);
        self.in_flight = InFlight::Nothing;
        self.checking = true;
        Some(Action::Check)
    }

    /// The machine stood still: ticks that were missed collapse to one, or to none if a check or a question is under
    /// way.
    pub fn after_standstill(&mut self, now: Instant) {
        let busy = self.checking || self.holds_the_next_check();
        self.cadence.after_standstill(now, busy);
    }

    /// The health check ended. One that ends after the service left counts for nothing (SD-9).
    pub fn on_checked(&mut self, now: Instant, passed: bool) -> Option<Action> {
        self.checking = false;
        match (self.desired, self.in_flight, passed) {
            (DesiredState::In, InFlight::Nothing, true) => Some(self.say_healthy()),
            _ => self.on_time(now),
        }
    }

    /// The catalogue answered the question on its way.
    pub fn on_reply(&mut self, now: Instant, reply: Reply) -> Option<Action> {
        let asked = core::mem::replace(&mut self.in_flight, InFlight::Nothing);
        self.known = self.known_after(asked, reply);
        if (asked, reply) == (InFlight::Registering, Reply::Done) {
            self.until_look = 0;
        }
        match (self.desired, asked, reply) {
            (DesiredState::Out, InFlight::Registering | InFlight::Renewing, _) => self.deregister(),
            (DesiredState::In, InFlight::Renewing, Reply::Unknown) => Some(self.say_healthy()),
            (DesiredState::In, InFlight::Renewing, Reply::Done) => self.on_renewed(now),
            _ => self.on_time(now),
        }
    }

    /// The check that is due goes before the look.
    fn on_renewed(&mut self, now: Instant) -> Option<Action> {
        let is_due = self.until_look == 0;
        self.until_look = self.until_look.checked_sub(1).unwrap_or(BEATS_PER_LOOK - 1);
        self.on_time(now).or_else(|| {
            is_due.then(|| {
                self.in_flight = InFlight::Inspecting;
                Action::Inspect
            })
        })
    }

    /// The question was taken back: it was never sent, or the catalogue did not take it.
    pub fn on_taken_back(&mut self, reply: Reply) {
        let asked = core::mem::replace(&mut self.in_flight, InFlight::Nothing);
        self.known = self.known_after(asked, reply);
    }

    /// Leave the catalogue: at once, or after the answer on its way. A look that is on its way is forgotten.
    pub fn leave(&mut self) -> Option<Action> {
        if self.in_flight == InFlight::Inspecting {
            self.in_flight = InFlight::Nothing;
        }
        self.desired = DesiredState::Out;
        self.deregister()
    }

    /// Be in the catalogue again, from the next tick on (LC-12).
    pub fn enter(&mut self, now: Instant) {
        self.desired = DesiredState::In;
        self.cadence.take(now);
    }

    fn deregister(&mut self) -> Option<Action> {
        if self.in_flight != InFlight::Nothing || self.known == KnownRegistration::Nothing {
            return None;
        }
        self.in_flight = InFlight::Deregistering;
        Some(Action::Deregister)
    }

    fn say_healthy(&mut self) -> Action {
        let (in_flight, action) = match self.known {
            KnownRegistration::Registered => (InFlight::Renewing, Action::Renew),
            KnownRegistration::Unknown | KnownRegistration::Nothing => {
                (InFlight::Registering, Action::Register)
            }
        };
        self.in_flight = in_flight;
        action
    }

    fn known_after(&self, asked: InFlight, reply: Reply) -> KnownRegistration {
        match (asked, reply) {
            (InFlight::Nothing | InFlight::Inspecting, _)
            | (InFlight::Renewing, Reply::Failed)
            | (_, Reply::Unsent) => self.known,
            (InFlight::Registering | InFlight::Renewing, Reply::Done) => KnownRegistration::Registered,
            (InFlight::Deregistering, Reply::Done | Reply::Unknown) => KnownRegistration::Nothing,
            (_, Reply::Failed | Reply::Unknown) => KnownRegistration::Unknown,
        }
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Instant {
        Instant::after_start(Duration::from_secs(seconds))
    }

    fn fresh() -> Heartbeat {
        Heartbeat::new(at(0), Duration::from_secs(10), DesiredState::In)
    }

    /// A heartbeat that is registered, at second 10.
    fn registered() -> Heartbeat {
        let mut heartbeat = fresh();
        heartbeat.on_time(at(10));
        heartbeat.on_checked(at(10), true);
        heartbeat.on_reply(at(10), Reply::Done);
        heartbeat
    }

    #[test]
    fn the_first_check_comes_after_one_poll_and_registers_when_it_passes() {
        let mut heartbeat = fresh();
        assert_eq!(heartbeat.on_time(at(9)), None);
        assert_eq!(heartbeat.on_time(at(10)), Some(Action::Check));
        assert_eq!(heartbeat.on_checked(at(11), true), Some(Action::Register));
        assert_eq!(heartbeat.on_reply(at(11), Reply::Done), None);
    }

    #[test]
    fn after_the_registration_a_passing_check_renews() {
        let mut heartbeat = registered();
        assert_eq!(heartbeat.on_time(at(20)), Some(Action::Check));
        assert_eq!(heartbeat.on_checked(at(20), true), Some(Action::Renew));
    }

    #[test]
    fn a_failing_check_says_nothing() {
        let mut heartbeat = registered();
        heartbeat.on_time(at(20));
        assert_eq!(heartbeat.on_checked(at(20), false), None);
        assert_eq!(heartbeat.on_time(at(30)), Some(Action::Check));
    }

    #[test]
    fn a_service_that_never_passed_is_never_registered() {
        let mut heartbeat = fresh();
        for tick in 1..10 {
            assert_eq!(heartbeat.on_time(at(tick * 10)), Some(Action::Check));
            assert_eq!(heartbeat.on_checked(at(tick * 10), false), None);
        }
    }

    #[test]
    fn a_forgotten_registration_is_made_again_in_the_same_slot() {
        let mut heartbeat = registered();
        heartbeat.on_time(at(20));
        heartbeat.on_checked(at(20), true);
        assert_eq!(heartbeat.on_reply(at(20), Reply::Unknown), Some(Action::Register));
        assert_eq!(heartbeat.on_reply(at(20), Reply::Done), None);
    }

    #[test]
    fn a_failed_registration_is_tried_again_at_the_next_passing_check() {
        let mut heartbeat = fresh();
        heartbeat.on_time(at(10));
        heartbeat.on_checked(at(10), true);
        assert_eq!(heartbeat.on_reply(at(12), Reply::Failed), None);
        heartbeat.on_time(at(20));
        assert_eq!(heartbeat.on_checked(at(20), true), Some(Action::Register));
    }

    #[test]
    fn a_failed_renewal_is_followed_by_a_renewal() {
        let mut heartbeat = registered();
        heartbeat.on_time(at(20));
        heartbeat.on_checked(at(20), true);
        assert_eq!(heartbeat.on_reply(at(22), Reply::Failed), None);
        heartbeat.on_time(at(30));
        assert_eq!(heartbeat.on_checked(at(30), true), Some(Action::Renew));
    }

    #[test]
    fn a_check_that_overruns_is_followed_by_one_tick_only() {
        let mut heartbeat = fresh();
        heartbeat.on_time(at(10));
        assert_eq!(heartbeat.on_time(at(45)), None, "one check at a time");
        assert_eq!(heartbeat.on_checked(at(45), false), Some(Action::Check));
        assert_eq!(heartbeat.on_checked(at(46), false), None);
        assert_eq!(heartbeat.deadline(), Some(at(50)));
    }

    #[test]
    fn after_a_standstill_there_is_one_check_a_poll() {
        let mut idle = registered();
        idle.after_standstill(at(95));
        assert_eq!(idle.on_time(at(95)), Some(Action::Check));
        assert_eq!(idle.on_checked(at(95), false), None);
        assert_eq!(idle.deadline(), Some(at(105)));
        let mut busy = registered();
        busy.on_time(at(20));
        busy.after_standstill(at(95));
        assert_eq!(
            busy.on_checked(at(96), false),
            None,
            "the ticks of the pause are gone"
        );
        assert_eq!(busy.deadline(), Some(at(105)));
    }

    /// Takes heartbeats, and says which of them are followed by a look.
    fn looks(heartbeat: &mut Heartbeat, beats: core::ops::Range<u64>) -> std::vec::Vec<u64> {
        let mut looks = std::vec::Vec::new();
        for beat in beats {
            let now = at((beat + 1) * 10);
            assert_eq!(heartbeat.on_time(now), Some(Action::Check));
            assert_eq!(heartbeat.on_checked(now, true), Some(Action::Renew));
            let next = heartbeat.on_reply(now, Reply::Done);
            looks.extend((next == Some(Action::Inspect)).then_some(beat));
            if next == Some(Action::Inspect) && beat % 20 == 1 {
                assert_eq!(heartbeat.on_reply(now, Reply::Done), None);
            }
        }
        looks
    }

    #[test]
    fn the_first_heartbeat_after_a_registration_and_every_tenth_are_followed_by_a_look() {
        let mut heartbeat = registered();
        assert_eq!(looks(&mut heartbeat, 1..25), [1, 11, 21]);
        heartbeat.on_time(at(260));
        heartbeat.on_checked(at(260), true);
        assert_eq!(
            heartbeat.on_reply(at(260), Reply::Unknown),
            Some(Action::Register)
        );
        assert_eq!(heartbeat.on_reply(at(260), Reply::Done), None);
        assert_eq!(looks(&mut heartbeat, 26..30), [26]);
    }

    #[test]
    fn a_heartbeat_that_failed_is_not_followed_by_a_look() {
        let mut heartbeat = registered();
        heartbeat.on_time(at(20));
        heartbeat.on_checked(at(20), true);
        assert_eq!(heartbeat.on_reply(at(22), Reply::Failed), None);
        assert_eq!(looks(&mut heartbeat, 2..4), [2]);
    }

    /// One whose look is on its way, at second 20.
    fn looking() -> Heartbeat {
        let mut heartbeat = registered();
        assert_eq!(looks(&mut heartbeat, 1..2), [1]);
        heartbeat.in_flight = InFlight::Inspecting;
        heartbeat
    }

    #[test]
    fn nothing_waits_for_a_look() {
        assert_eq!(looking().deadline(), Some(at(30)));
        assert_eq!(looking().leave(), Some(Action::Deregister));
        let mut checked = looking();
        assert_eq!(checked.on_time(at(30)), Some(Action::Check));
        assert_eq!(checked.on_checked(at(30), true), Some(Action::Renew));
        let mut failed = looking();
        assert_eq!(failed.on_reply(at(21), Reply::Failed), None);
        assert!(failed.is_registered());
    }

    #[test]
    fn a_check_that_is_due_goes_before_a_look() {
        let mut heartbeat = registered();
        heartbeat.on_time(at(20));
        heartbeat.on_checked(at(20), true);
        assert_eq!(heartbeat.on_reply(at(31), Reply::Done), Some(Action::Check));
    }

    #[test]
    fn while_a_question_is_on_its_way_there_is_no_deadline() {
        let mut heartbeat = fresh();
        heartbeat.on_time(at(10));
        assert_eq!(heartbeat.deadline(), None);
        heartbeat.on_checked(at(10), true);
        assert_eq!(heartbeat.deadline(), None);
        assert_eq!(
            heartbeat.on_reply(at(25), Reply::Done),
            Some(Action::Check),
            "a tick waited"
        );
    }

    #[test]
    fn a_deregistration_waits_for_the_answer_on_its_way() {
        let mut heartbeat = fresh();
        heartbeat.on_time(at(10));
        heartbeat.on_checked(at(10), true);
        assert_eq!(heartbeat.leave(), None);
        assert!(!heartbeat.has_left());
        assert_eq!(
            heartbeat.on_reply(at(12), Reply::Failed),
            Some(Action::Deregister),
            "it may have landed"
        );
        assert!(!heartbeat.has_left());
        assert_eq!(heartbeat.on_reply(at(13), Reply::Done), None);
        assert!(heartbeat.has_left());
    }

    #[test]
    fn a_service_that_left_is_not_deregistered_twice_unless_that_failed() {
        let mut heartbeat = registered();
        assert_eq!(heartbeat.leave(), Some(Action::Deregister));
        heartbeat.on_reply(at(11), Reply::Failed);
        assert_eq!(heartbeat.leave(), Some(Action::Deregister));
        heartbeat.on_reply(at(11), Reply::Done);
        assert_eq!(heartbeat.leave(), None);
        assert!(heartbeat.has_left());
    }

    #[test]
    fn an_entry_of_an_earlier_life_is_deregistered_too() {
        assert_eq!(fresh().leave(), Some(Action::Deregister));
    }

    #[test]
    fn a_check_that_ends_after_the_service_left_is_no_heartbeat() {
        let mut heartbeat = registered();
        heartbeat.on_time(at(20));
        heartbeat.leave();
        heartbeat.on_reply(at(20), Reply::Done);
        assert_eq!(heartbeat.on_checked(at(21), true), None);
        assert!(heartbeat.has_left());
        assert_eq!(heartbeat.deadline(), None);
    }

    #[test]
    fn a_service_that_enters_again_registers_at_its_next_tick() {
        let mut heartbeat = registered();
        heartbeat.leave();
        heartbeat.on_reply(at(11), Reply::Done);
        heartbeat.enter(at(34));
        assert_eq!(heartbeat.on_time(at(34)), None, "ticks of the pause are gone");
        assert_eq!(heartbeat.on_time(at(40)), Some(Action::Check));
        assert_eq!(heartbeat.on_checked(at(40), true), Some(Action::Register));
    }

    #[test]
    fn a_service_that_enters_while_its_deregistration_is_on_its_way_registers_after_it() {
        let mut heartbeat = registered();
        heartbeat.leave();
        heartbeat.enter(at(12));
        assert_eq!(heartbeat.on_time(at(20)), None, "the answer comes first");
        assert_eq!(heartbeat.on_reply(at(21), Reply::Done), Some(Action::Check));
        assert_eq!(heartbeat.on_checked(at(21), true), Some(Action::Register));
    }
}
