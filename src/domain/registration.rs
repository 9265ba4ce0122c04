//! Whether one service is registered in the catalogue, and the one request about it that is in flight.
//!
//! The desired state is compared with the last answer of the catalogue: a healthy service is renewed if it is
//! registered by that answer, and registered if it is not; each answer updates the known state. There is at
//! most one request in flight, so no registration or heartbeat can take effect after a deregistration.
//!
//! Another instance may use the same ID, and a catalogue may accept the service's heartbeats for the other's
//! entry. So the first heartbeat that succeeds after a registration, and each of so many after it, is followed by
//! an inspection: a request for the holder of the ID. An inspection changes nothing and delays neither the
//! next check nor the deregistration.

/// The registration of one service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegistrationState {
    desired: DesiredState,
    in_flight: Option<Operation>,
    known: KnownRegistration,
    /// The number of heartbeats that still have to succeed before one is followed by an inspection.
    until_inspection: u8,
    heartbeats_per_inspection: u8,
}

/// A request to the catalogue about one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Register the service as passing.
    Register,
    /// Send a heartbeat: the service is healthy.
    Renew,
    /// Report that the service is unhealthy: its entry becomes critical, or is removed.
    Fail,
    /// Read which instance has the service's ID.
    Inspect,
    /// Deregister the service.
    Deregister,
}

/// The result of the request in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reply {
    /// The catalogue carried it out.
    Done,
    /// The catalogue has no such registration, or no longer has it.
    NotRegistered,
    /// It failed; whether it took effect is unknown.
    Failed,
    /// It was never sent.
    Unsent,
}

/// The state in which the service is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DesiredState {
    /// Registered while it is healthy.
    Registered,
    /// Not registered: maintenance, a reload that removes it, or the stop.
    Absent,
}

/// The known state of the catalogue's entry with the service's ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum KnownRegistration {
    /// There may be an entry of an earlier process, or of a request whose outcome is unknown.
    Unknown,
    /// The entry is the service's registration.
    Registered,
    /// There is no entry.
    Absent,
}

impl RegistrationState {
    /// A registration before the first answer of the catalogue. After how many heartbeats there is an inspection is
    /// [`crate::plan::Service::heartbeats_per_inspection`].
    pub const fn new(desired: DesiredState, heartbeats_per_inspection: u8) -> Self {
        Self {
            desired,
            in_flight: None,
            known: KnownRegistration::Unknown,
            until_inspection: 0,
            heartbeats_per_inspection,
        }
    }

    /// The desired state.
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

    /// Whether the catalogue has no entry, by its last answer.
    pub fn is_absent(&self) -> bool {
        self.known == KnownRegistration::Absent
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

    /// Called when a health check passed. Ignored while a request is in flight, and if the service is to be
    /// absent (SD-9).
    pub fn on_healthy(&mut self) -> Option<Operation> {
        match (self.desired, self.in_flight) {
            (DesiredState::Registered, None) => self.register_or_renew(),
            _ => None,
        }
    }

    /// Called when a health check of an unhealthy service failed. Ignored while a request is in flight, if the service is
    /// to be absent, and if the catalogue has no entry.
    pub fn on_unhealthy(&mut self) -> Option<Operation> {
        match (self.desired, self.in_flight, self.known) {
            (DesiredState::Registered, None, KnownRegistration::Registered | KnownRegistration::Unknown) => {
                self.request(Operation::Fail)
            }
            _ => None,
        }
    }

    /// Called when the request in flight has ended. Returns the request that follows it at once.
    pub fn on_reply(&mut self, reply: Reply) -> Option<Operation> {
        let operation = self.end_request(reply)?;
        if (operation, reply) == (Operation::Register, Reply::Done) {
            self.until_inspection = 0;
        }
        match (self.desired, operation, reply) {
            (DesiredState::Absent, Operation::Register | Operation::Renew | Operation::Fail, _) => {
                self.request_deregistration()
            }
            (DesiredState::Registered, Operation::Renew, Reply::NotRegistered) => self.register_or_renew(),
            (DesiredState::Registered, Operation::Renew, Reply::Done) => self.inspect_if_due(),
            _ => None,
        }
    }

    /// Called when the request was cancelled: it was never sent, or the catalogue refused it for now.
    pub fn on_cancelled(&mut self, reply: Reply) {
        self.end_request(reply);
    }

    /// Discards an inspection in flight.
    pub fn discard_inspection(&mut self) {
        self.in_flight = self
            .in_flight
            .filter(|operation| *operation != Operation::Inspect);
    }

    /// Sets the desired state to absent: the service is deregistered at once, or after the request in flight.
    /// An inspection in flight is discarded.
    pub fn deregister(&mut self) -> Option<Operation> {
        self.discard_inspection();
        self.desired = DesiredState::Absent;
        self.request_deregistration()
    }

    /// Sets the desired state to registered, from the next passing check on (LC-12).
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
        self.until_inspection = left.unwrap_or(self.heartbeats_per_inspection.saturating_sub(1));
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
            // An entry of an earlier process that became critical is replaced when the service is healthy.
            (Operation::Inspect, _)
            | (Operation::Renew, Reply::Failed)
            | (Operation::Fail, Reply::Done | Reply::Failed)
            | (_, Reply::Unsent) => self.known,
            (Operation::Register | Operation::Renew, Reply::Done) => KnownRegistration::Registered,
            (Operation::Deregister, Reply::Done | Reply::NotRegistered)
            | (Operation::Fail, Reply::NotRegistered) => KnownRegistration::Absent,
            (_, Reply::Failed | Reply::NotRegistered) => KnownRegistration::Unknown,
        }
    }
}

crate::keyed_as_is!(RegistrationState);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_was_never_sent_does_not_change_the_known_state() {
        let mut registration = RegistrationState::new(DesiredState::Registered, 10);
        assert_eq!(registration.on_healthy(), Some(Operation::Register));
        assert_eq!(registration.on_healthy(), None, "one request is in flight");
        registration.on_reply(Reply::Done);
        assert_eq!(registration.on_healthy(), Some(Operation::Renew));
        registration.on_cancelled(Reply::Unsent);
        assert!(registration.is_registered());
        assert_eq!(registration.in_flight(), None);
    }

    #[test]
    fn an_unhealthy_service_is_reported_until_the_catalogue_has_no_entry() {
        let mut registration = RegistrationState::new(DesiredState::Registered, 10);
        assert_eq!(
            registration.on_unhealthy(),
            Some(Operation::Fail),
            "of an earlier process"
        );
        assert_eq!(registration.on_unhealthy(), None, "one request is in flight");
        assert_eq!(registration.on_reply(Reply::Done), None);
        assert!(!registration.is_registered(), "the entry is another one");
        assert_eq!(registration.on_healthy(), Some(Operation::Register));
        registration.on_reply(Reply::Done);
        assert_eq!(registration.on_unhealthy(), Some(Operation::Fail));
        registration.on_reply(Reply::Done);
        assert!(registration.is_registered(), "as critical");
        assert_eq!(registration.on_unhealthy(), Some(Operation::Fail));
        registration.on_reply(Reply::Failed);
        assert_eq!(registration.on_unhealthy(), Some(Operation::Fail));
        registration.on_reply(Reply::NotRegistered);
        assert_eq!(registration.on_unhealthy(), None, "there is no entry");
        assert_eq!(registration.on_healthy(), Some(Operation::Register));
    }

    #[test]
    fn a_deregistration_follows_a_report_that_may_have_left_an_entry() {
        for (reply, follows) in [
            (Reply::Done, Some(Operation::Deregister)),
            (Reply::Failed, Some(Operation::Deregister)),
            (Reply::NotRegistered, None),
        ] {
            let mut registration = RegistrationState::new(DesiredState::Registered, 10);
            registration.on_unhealthy();
            assert_eq!(registration.deregister(), None, "one request is in flight");
            assert_eq!(registration.on_reply(reply), follows, "{reply:?}");
            assert_eq!(registration.on_unhealthy(), None, "it is to be absent");
        }
    }

    #[test]
    fn only_an_inspection_lets_a_check_start() {
        let mut registration = RegistrationState::new(DesiredState::Registered, 10);
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
        let mut registration = RegistrationState::new(DesiredState::Absent, 10);
        assert_eq!(registration.on_reply(Reply::Done), None);
        assert_eq!(registration.deregister(), Some(Operation::Deregister));
        assert_eq!(registration.on_reply(Reply::NotRegistered), None);
        assert_eq!(registration.deregister(), None, "the catalogue has no entry");
    }
}
