//! The requests of clients that are not answered yet.

use super::Observer;
use domain::Ticket;
use domain::control::{ControlRequest, RequestNumber};
use domain::event::Loaded;

/// A request that is not answered yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientRequest {
    pub request: ControlRequest,
    /// The reading of the configuration that began first after the request.
    reading: Option<Ticket>,
    /// Whether that reading found a valid configuration.
    pub read: Option<bool>,
}

impl Observer {
    /// Whether every service that is to be absent in maintenance is.
    pub(crate) fn all_deregistered(&self) -> bool {
        let mut services = self.services.iter();
        services.all(|(id, facts)| self.has_deregistered(id, facts))
    }

    pub(super) fn requested(&mut self, number: RequestNumber, request: ControlRequest) {
        let open = ClientRequest {
            request,
            reading: None,
            read: None,
        };
        self.clients.insert(number, open);
        match request {
            ControlRequest::Status | ControlRequest::Ping => {}
            _ if !self.takes_configuration() => {}
            ControlRequest::Reload => self.to_be_read = true,
            ControlRequest::Maintenance(on) if on != self.maintenance => self.toggle_maintenance(),
            ControlRequest::Maintenance(_) => {}
        }
    }

    pub(super) fn reading_begins(&mut self, ticket: Ticket) {
        for client in self.clients.values_mut() {
            client.reading.get_or_insert(ticket);
        }
    }

    pub(super) fn reading_ended(&mut self, ticket: Ticket, loaded: &Loaded) {
        let valid = matches!(loaded, Loaded::Plan { .. });
        for client in self.clients.values_mut() {
            if client.reading == Some(ticket) {
                client.read = Some(valid);
            }
        }
    }
}

domain::keyed!(ClientRequest {
    request,
    reading,
    read
});
