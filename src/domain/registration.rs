//! Whether one service is registered in the catalogue, and the one request about it that is in flight.
//!
//! The registration is reconciled, not scripted: a healthy service is renewed if it is believed to be registered and
//! registered if it is not, and each answer of the catalogue corrects that belief. There is at most one request in
//! flight, so no registration or heartbeat can take effect after a deregistration.
//!
//! Another instance may use the same ID, and a catalogue may take our heartbeats for its own. So the first heartbeat
//! that succeeds after a registration, and every tenth after it, is followed by an inspection: a request for the holder
//! of the ID. An inspection changes nothing, and nothing waits for it: neither the next check nor the deregistration.

/// The registration of one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Registration {
    desired: DesiredState,
    in_flight: Option<Operation>,
    known: KnownRegistration,
    /// The number of heartbeats that still have to succeed before one is followed by an inspection.
    until_inspection: u8,
}

/// An inspection follows the first heartbeat since a registration, and each of so many (docs/bounds.md).
const HEARTBEATS_PER_INSPECTION: u8 = 10;

/// A request to the catalogue about one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Register the service as passing.
    Register,
    /// Send a heartbeat: the service is healthy.
    Renew,
    /// Read who holds the service's ID.
    Inspect,
    /// Deregister the service.
    Deregister,
}

/// How the request in flight ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reply {
    /// The catalogue carried it out.
    Done,
    /// The catalogue knows no such registration.
    NotRegistered,
    /// It failed; whether it took effect is unknown.
    Failed,
    /// It was never sent.
    Unsent,
}

/// Whether the service is to be registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DesiredState {
    /// Registered while it is healthy.
    Registered,
    /// Not registered: maintenance, a reload that removes it, or the stop.
    Absent,
}

/// What is believed to stand in the catalogue under the service's ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum KnownRegistration {
    /// Perhaps an entry of an earlier process, or of a request whose outcome is unknown.
    Unknown,
    /// The service's registration.
    Registered,
    /// No entry.
    Absent,
}

impl Registration {
    /// A registration about which the catalogue has said nothing yet.
    pub const fn new(desired: DesiredState) -> Self {
        Self {
            desired,
            in_flight: None,
            known: KnownRegistration::Unknown,
            until_inspection: 0,
        }
    }

    /// Whether the service is to be registered.
    pub const fn desired(&self) -> DesiredState {
        self.desired
    }

    /// The request in flight.
    pub const fn in_flight(&self) -> Option<Operation> {
        self.in_flight
    }

    /// Whether the service is registered, by the last answer of the catalogue.
    pub fn is_registered(&self) -> bool {
        self.known == KnownRegistration::Registered
    }

    /// Whether the deregistration is over: the service is to be absent and no request is in flight. The deregistration
    /// may have failed.
    pub fn has_deregistered(&self) -> bool {
        self.desired == DesiredState::Absent && self.in_flight.is_none()
    }

    /// Whether a health check may start now.
    pub fn allows_check(&self) -> bool {
        self.desired == DesiredState::Registered && !self.holds_check()
    }

    /// Whether a health check has to wait for the request in flight; it never waits for an inspection.
    pub fn holds_check(&self) -> bool {
        !matches!(self.in_flight, None | Some(Operation::Inspect))
    }

    /// A health check passed. Ignored while a request is in flight, and if the service is to be absent (SD-9).
    pub fn on_healthy(&mut self) -> Option<Operation> {
        match (self.desired, self.in_flight) {
            (DesiredState::Registered, None) => self.register_or_renew(),
            _ => None,
        }
    }

    /// The request in flight ended; returns the request that follows it at once.
    pub fn on_reply(&mut self, reply: Reply) -> Option<Operation> {
        let operation = self.end_request(reply)?;
        if (operation, reply) == (Operation::Register, Reply::Done) {
            self.until_inspection = 0;
        }
        match (self.desired, operation, reply) {
            (DesiredState::Absent, Operation::Register | Operation::Renew, _) => {
                self.request_deregistration()
            }
            (DesiredState::Registered, Operation::Renew, Reply::NotRegistered) => self.register_or_renew(),
            (DesiredState::Registered, Operation::Renew, Reply::Done) => self.inspect_if_due(),
            _ => None,
        }
    }

    /// The request was cancelled: it was never sent, or the catalogue refused it for now.
    pub fn on_cancelled(&mut self, reply: Reply) {
        self.end_request(reply);
    }

    /// An inspection in flight is discarded.
    pub fn discard_inspection(&mut self) {
        self.in_flight = self
            .in_flight
            .filter(|operation| *operation != Operation::Inspect);
    }

    /// The service is to be absent: it is deregistered at once, or after the request in flight. An inspection in
    /// flight is discarded.
    pub fn deregister(&mut self) -> Option<Operation> {
        self.discard_inspection();
        self.desired = DesiredState::Absent;
        self.request_deregistration()
    }

    /// The service is to be registered again, from the next passing check on (LC-12).
    pub fn resume(&mut self) {
        self.desired = DesiredState::Registered;
    }

    fn request_deregistration(&mut self) -> Option<Operation> {
        if self.in_flight.is_some() || self.known == KnownRegistration::Absent {
            return None;
        }
        self.request(Operation::Deregister)
    }

    fn register_or_renew(&mut self) -> Option<Operation> {
        self.request(match self.known {
            KnownRegistration::Registered => Operation::Renew,
            KnownRegistration::Unknown | KnownRegistration::Absent => Operation::Register,
        })
    }

    fn inspect_if_due(&mut self) -> Option<Operation> {
        let left = self.until_inspection.checked_sub(1);
        self.until_inspection = left.unwrap_or(HEARTBEATS_PER_INSPECTION - 1);
        match left {
            None => self.request(Operation::Inspect),
            Some(_) => None,
        }
    }

    fn request(&mut self, operation: Operation) -> Option<Operation> {
        self.in_flight = Some(operation);
        self.in_flight
    }

    fn end_request(&mut self, reply: Reply) -> Option<Operation> {
        let operation = self.in_flight.take()?;
        self.known = self.known_after(operation, reply);
        Some(operation)
    }

    fn known_after(&self, operation: Operation, reply: Reply) -> KnownRegistration {
        match (operation, reply) {
            (Operation::Inspect, _) | (Operation::Renew, Reply::Failed) | (_, Reply::Unsent) => self.known,
            (Operation::Register | Operation::Renew, Reply::Done) => KnownRegistration::Registered,
            (Operation::Deregister, Reply::Done | Reply::NotRegistered) => KnownRegistration::Absent,
            (_, Reply::Failed | Reply::NotRegistered) => KnownRegistration::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_never_sent_changes_no_belief() {
        let mut registration = Registration::new(DesiredState::Registered);
        assert_eq!(registration.on_healthy(), Some(Operation::Register));
        assert_eq!(registration.on_healthy(), None, "one request is in flight");
        registration.on_reply(Reply::Done);
        assert_eq!(registration.on_healthy(), Some(Operation::Renew));
        registration.on_cancelled(Reply::Unsent);
        assert!(registration.is_registered());
        assert_eq!(registration.in_flight(), None);
    }

    #[test]
    fn only_an_inspection_lets_a_check_start() {
        let mut registration = Registration::new(DesiredState::Registered);
        registration.on_healthy();
        assert!(!registration.allows_check());
        registration.on_reply(Reply::Done);
        registration.on_healthy();
        assert_eq!(registration.on_reply(Reply::Done), Some(Operation::Inspect));
        assert!(registration.allows_check());
        registration.discard_inspection();
        assert_eq!(registration.in_flight(), None);
    }

    #[test]
    fn a_reply_without_a_request_is_ignored() {
        let mut registration = Registration::new(DesiredState::Absent);
        assert_eq!(registration.on_reply(Reply::Done), None);
        assert_eq!(registration.deregister(), Some(Operation::Deregister));
        assert_eq!(registration.on_reply(Reply::NotRegistered), None);
        assert_eq!(registration.deregister(), None, "the catalogue has no entry");
    }
}
