//! Catalogues: the operations of a catalogue ([`Catalogue`]), and how the driver sends requests to the one in
//! use ([`Discovery`]).

use async_trait::async_trait;
use domain::Ticket;
use domain::catalogue::{Endpoint, Found, Listing, LookUp, Query, Report, Request};
use domain::plan::{self, Registration};
use domain::time::Duration;
use std::fmt;

/// Sends requests to the catalogue in use without waiting for their answers.
#[cfg_attr(test, mockall::automock)]
pub trait Discovery {
    /// From now on requests go to this catalogue.
    fn connect(&mut self, catalogue: &plan::Catalogue);

    /// Sends a request. Its answer always arrives in the inbox under `ticket`, at the latest when `limit` is
    /// over. If `connections` is a number, at most that many connections are open from now on, idle ones
    /// included.
    fn request(&mut self, ticket: Ticket, request: Request, connections: Option<u32>, limit: Duration);

    /// Cancels a request, if it is still in flight. Its answer is discarded.
    fn cancel(&mut self, ticket: Ticket);
}

/// A service catalogue. Each method is one operation; dropping the future cancels it.
#[cfg_attr(test, mockall::automock)]
#[async_trait(?Send)]
pub trait Catalogue {
    /// From now on at most this many connections are open, idle ones included; with `None`, only the requests
    /// limit their number.
    fn allow(&self, _connections: Option<u32>) {}

    /// Registers the instance as passing for one TTL, in one step, replacing the entry with its ID if there
    /// is one.
    ///
    /// # Errors
    /// The catalogue cannot be reached or refuses the request.
    async fn register(&self, registration: &Registration) -> Result<(), CatalogueError>;

    /// Keeps the instance passing for another TTL. If the entry does not exist, or no longer exists, the
    /// result is [`Renewal::Unknown`] and no entry is created.
    ///
    /// # Errors
    /// The catalogue cannot be reached or refuses the request; it is unknown whether the heartbeat took
    /// effect.
    async fn renew(&self, registration: &Registration) -> Result<Renewal, CatalogueError>;

    /// Reports the result of the instance's health check. If it is healthy, this is a heartbeat as [`Self::renew`] is.
    /// Otherwise the entry becomes critical at once, so that it is no longer listed, whatever is left of its TTL; a
    /// catalogue whose entries are all passing removes it. Either way it is no error if there is no entry. A catalogue
    /// that has a place for the output of a check shows it.
    ///
    /// # Errors
    /// The catalogue cannot be reached or refuses the request; it is unknown whether the report took effect.
    async fn report(&self, report: &Report) -> Result<Renewal, CatalogueError> {
        if report.healthy {
            return self.renew(&report.registration).await;
        }
        let removed = self.deregister(&report.registration).await;
        removed.map(|()| Renewal::Removed)
    }

    /// The address and port in the entry with this instance's ID; `None` if there is no entry. It may belong
    /// to another instance: the last one to register replaces the entry, and Consul accepts the heartbeats of
    /// both for it.
    ///
    /// # Errors
    /// The catalogue cannot be reached or refuses the request, or the entry cannot be read.
    async fn holder(&self, registration: &Registration) -> Result<Option<Endpoint>, CatalogueError>;

    /// Removes the instance. It is no error if it does not exist.
    ///
    /// # Errors
    /// The catalogue cannot be reached or refuses the request.
    async fn deregister(&self, registration: &Registration) -> Result<(), CatalogueError>;

    /// Lists the passing instances of a service; if the query names a tag, only those that have it. With
    /// [`Query::after`] the answer comes as soon as the list differs from the state at that cursor, or after
    /// [`Query::wait`]; without it, at once. A service without registrations has an empty list.
    ///
    /// # Errors
    /// The catalogue cannot be reached or refuses the request: the list is unknown, which is not an empty
    /// list.
    async fn instances(&self, query: &Query) -> Result<Listing, CatalogueError>;

    /// Looks up what a template uses. With [`LookUp::after`] the answer comes as soon as it differs from the state at that
    /// cursor, or after [`LookUp::wait`]; without it, at once.
    ///
    /// # Errors
    /// The catalogue cannot be reached, refuses the request or has no such data.
    async fn look_up(&self, look_up: &LookUp) -> Result<Found, CatalogueError>;
}

/// The result of a heartbeat or a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The entry is passing; after a report of an unhealthy instance, critical.
    Renewed,
    /// The entry was removed, because the instance is unhealthy.
    Removed,
    /// The entry does not exist. The text is the catalogue's message; the endpoint is that of another
    /// instance with the same ID, if one was found.
    Unknown(String, Option<Endpoint>),
}

/// Why a catalogue did not perform a request: a sentence with all causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogueError {
    /// The request failed or was refused.
    Failed(String),
    /// The catalogue accepts no more connections or requests of this client at present, and did nothing.
    Busy(String),
}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Failed(cause) | Self::Busy(cause)) = self;
        f.write_str(cause)
    }
}

impl std::error::Error for CatalogueError {}
