//! Catalogues: what one can do for us ([`Catalogue`]), and how the driver asks the one in use ([`Discovery`]).

use async_trait::async_trait;
use domain::Ticket;
use domain::catalogue::{Endpoint, Listing, Query, Request};
use domain::plan::{self, Registration};
use domain::time::Duration;
use std::fmt;

/// Asks the catalogue in use without waiting for it.
#[cfg_attr(test, mockall::automock)]
pub trait Discovery {
    /// From now on requests go to this catalogue.
    fn connect(&mut self, catalogue: &plan::Catalogue);

    /// Asks. The answer arrives in the inbox under `ticket` within `limit`, come what may.
    /// From now on at most that many `connections` are open, those that nobody uses among them, if it is a number.
    fn ask(&mut self, ticket: Ticket, request: Request, connections: Option<u32>, limit: Duration);

    /// Nobody waits for the answer any more: the request is given up if it is still on its way.
    fn forget(&mut self, ticket: Ticket);
}

/// A service catalogue. Each call is one conversation with it; dropping the future gives it up.
#[cfg_attr(test, mockall::automock)]
#[async_trait(?Send)]
pub trait Catalogue {
    /// From now on at most that many connections are open, those that nobody uses among them; none if only the
    /// requests bound them.
    fn allow(&self, _connections: Option<u32>) {}

    /// Enters the instance as passing for one TTL, in one step, over whatever stands under its ID.
    ///
    /// # Errors
    /// The catalogue cannot be reached or refuses.
    async fn register(&self, registration: &Registration) -> Result<(), CatalogueError>;

    /// Keeps the instance passing for another TTL. An entry that is not there, or not there any more, is
    /// [`Renewal::Unknown`], and stays so.
    ///
    /// # Errors
    /// The catalogue cannot be reached or refuses; whether the heartbeat counted is unknown.
    async fn renew(&self, registration: &Registration) -> Result<Renewal, CatalogueError>;

    /// Says where the instance is reached that stands under this one's ID; none if nothing stands there. It may be
    /// another's: whoever registers last overwrites the entry, and Consul takes the heartbeats of both for it.
    ///
    /// # Errors
    /// The catalogue cannot be reached or refuses, or what stands there cannot be read.
    async fn holder(&self, registration: &Registration) -> Result<Option<Endpoint>, CatalogueError>;

    /// Removes the instance. One that is not there counts as removed.
    ///
    /// # Errors
    /// The catalogue cannot be reached or refuses.
    async fn deregister(&self, registration: &Registration) -> Result<(), CatalogueError>;

    /// Lists the passing instances of a service, all those with the tag if the query names one. With
    /// [`Query::after`] it answers as soon as something differs from what stood at that cursor, or after
    /// [`Query::wait`]; without, at once. A service nobody registered has no instances.
    ///
    /// # Errors
    /// The catalogue cannot be reached or refuses: then nothing is known, not even that there are none.
    async fn instances(&self, query: &Query) -> Result<Listing, CatalogueError>;
}

/// What came of a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The entry is passing.
    Renewed,
    /// There is no entry to keep: the catalogue's own words, and where the instance is reached that stands under its
    /// ID, if another one was found there.
    Unknown(String, Option<Endpoint>),
}

/// Why a catalogue did not do what it was asked for; a sentence with all its causes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CatalogueError {
    /// The request failed, or was refused.
    Failed(String),
    /// The catalogue takes no more connections or requests of ours for now, and did nothing.
    Busy(String),
}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Failed(cause) | Self::Busy(cause)) = self;
        f.write_str(cause)
    }
}

impl std::error::Error for CatalogueError {}
