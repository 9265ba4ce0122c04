//! Connections of HTTP/2, each of which carries many requests at a time.
//!
//! A request goes over the first connection that can take another one, so there is no second connection before the
//! first one carries as many requests as its server allows. The amount that a server may send is limited, as
//! for etcd. A connection on which a request got no answer, while none arrived for another one either, gets no
//! further requests; those that are on it may still be answered, within their limits. Pings
//! find a dead connection sooner.
//!
//! This module does not open connections by itself and sends no request twice.

use super::idle::{self, IDLE, Idle};
use super::open::{Closing, LONGEST_HEAD, Open};
use super::wire::Connected;
use crate::adapters::discovery::names;
use crate::adapters::discovery::pacing::{Expectation, ExpectedBytes};
use crate::adapters::http::Stream;
use crate::adapters::tasks::spawn_local;
use domain::time::Duration;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::rt::Executor;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// How many bytes of one answer a server may send before they are read (docs/bounds.md)
const STREAM_WINDOW: u32 = 128 * 1024;
/// How many bytes of all answers together a server may send before they are read (docs/bounds.md)
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The expected size of an answer until its body arrives, in bytes (docs/bounds.md)
const EXPECTED: usize = 16 * 1024;
/// The most requests that one connection carries at a time, whatever its server allows (docs/bounds.md)
const MOST_STREAMS: usize = 1000;
/// How many requests are sent before the settings of the server are known; the others wait for them.
const FIRST_STREAMS: usize = 1;
/// The time between two pings while requests wait (docs/bounds.md)
const PING: Duration = Duration::from_secs(6);
/// The time limit for the answer to a ping (docs/bounds.md)
const PING_LIMIT: Duration = Duration::from_secs(2);
/// How long a request may be unanswered, on a connection without any answer meanwhile, until the connection is
/// not used for further requests (docs/bounds.md)
const SILENCE: Duration = Duration::from_secs(1);

type Sending = http2::Connection<TokioIo<Box<dyn Stream>>, Full<Bytes>, Tasks>;

/// What sends the requests of a connection, until it breaks.
struct Driver(Option<Sending>);

impl Driver {
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let driver = self.0.as_mut();
        driver.map_or(Poll::Ready(()), |driver| Pin::new(driver).poll(context).map(drop))
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Driver")
    }
}

/// The connections to one server.
#[derive(Debug, Default)]
pub struct Pool {
    connections: RefCell<Vec<Rc<Multiplexed>>>,
    is_tended: Cell<bool>,
}

impl Pool {
    /// A place on a connection that can take another request. If there is none and no other is to be opened, it is a
    /// place on the one with the fewest requests.
    pub fn place(self: &Rc<Self>, shall_open: bool) -> Option<Place> {
        let mut connections = self.connections.borrow_mut();
        connections.retain(|connection| connection.is_usable());
        let found = connections.iter().find(|connection| connection.takes_another());
        let emptiest = || {
            connections
                .iter()
                .min_by_key(|connection| connection.in_use.get())
        };
        let found = found.or_else(|| emptiest().filter(|_| !shall_open))?;
        Some(Place::new(found, self))
    }

    /// Closes the connections that carry no request. The others are closed after their last one.
    pub fn close(&self) {
        self.connections.borrow_mut().clear();
    }

    /// Adds a connection, and returns a place on it.
    pub fn add(self: &Rc<Self>, connection: Multiplexed) -> Place {
        let connection = Rc::new(connection);
        let place = Place::new(&connection, self);
        self.connections.borrow_mut().push(connection);
        place
    }
}

impl Idle for Pool {
    fn close_old(&self) -> bool {
        let is_needed = |connection: &Rc<Multiplexed>| connection.is_usable() && !connection.is_old();
        let mut connections = self.connections.borrow_mut();
        connections.retain(is_needed);
        !connections.is_empty()
    }

    fn is_tended(&self) -> &Cell<bool> {
        &self.is_tended
    }
}

/// A connection that carries many requests at a time. It is closed when this is dropped.
#[derive(Debug)]
pub struct Multiplexed {
    sender: SendRequest<Full<Bytes>>,
    driver: Rc<RefCell<Driver>>,
    expected: ExpectedBytes,
    peer: Option<(String, IpAddr)>,
    in_use: Cell<usize>,
    /// How many answers have arrived.
    answers: Cell<u64>,
    is_retired: Cell<bool>,
    idle_since: Cell<Instant>,
    tasks: Tasks,
    closing: Closing,
    #[expect(
        dead_code,
        reason = "held, so that the connection counts as long as this lives"
    )]
    open: Open,
}

impl Multiplexed {
    /// Begins an HTTP/2 connection on a stream.
    ///
    /// # Errors
    /// The preface cannot be written.
    pub async fn begin(connected: Connected, closing: &Closing, open: Open) -> hyper::Result<Self> {
        let tasks = Tasks::default();
        let expected = connected.pace();
        let handshake = http2::Builder::new(tasks.clone())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING)
            .keep_alive_timeout(PING_LIMIT)
            .initial_max_send_streams(FIRST_STREAMS)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(u32::try_from(LONGEST_HEAD).unwrap_or(u32::MAX))
            .handshake(TokioIo::new(connected.stream));
        let (sender, driver) = handshake.await?;
        let driver = Rc::new(RefCell::new(Driver(Some(driver))));
        let driven = Rc::clone(&driver);
        tasks.execute(async move {
            poll_fn(|context| driven.borrow_mut().poll_ended(context)).await;
            // A request that waits for an answer on this connection fails with the same cause.
            driven.borrow_mut().0 = None;
        });
        Ok(Self {
            sender,
            driver,
            expected,
            peer: connected.peer,
            in_use: Cell::new(0),
            answers: Cell::new(0),
            is_retired: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            tasks,
            closing: closing.clone(),
            open,
        })
    }

    /// How many requests its server allows at a time.
    fn streams(&self) -> usize {
        let driver = self.driver.borrow();
        let streams = driver.0.as_ref().map(http2::Connection::current_max_send_streams);
        streams.unwrap_or_default().clamp(1, MOST_STREAMS)
    }

    /// Whether it takes another request. Before the settings of its server are known it takes any number, of which
    /// all but the first wait for the settings.
    fn takes_another(&self) -> bool {
        let is_known = self.answers.get() > 0 || self.streams() > FIRST_STREAMS;
        !is_known || self.in_use.get() < self.streams()
    }

    fn is_usable(&self) -> bool {
        !self.is_retired.get() && !self.sender.is_closed()
    }

    fn is_old(&self) -> bool {
        self.in_use.get() == 0 && self.idle_since.get().elapsed() >= IDLE
    }
}

impl Drop for Multiplexed {
    fn drop(&mut self) {
        for task in self.tasks.0.borrow().iter() {
            task.abort();
            self.closing.add(task);
        }
    }
}

/// One request's place on a connection.
#[derive(Debug)]
pub struct Place {
    connection: Rc<Multiplexed>,
    pool: Weak<Pool>,
    expectation: Expectation,
}

impl Place {
    fn new(connection: &Rc<Multiplexed>, pool: &Rc<Pool>) -> Self {
        connection.in_use.set(connection.in_use.get() + 1);
        Self {
            connection: Rc::clone(connection),
            pool: Rc::downgrade(pool),
            expectation: connection.expected.add(EXPECTED),
        }
    }

    /// Sends a request; returns when the head of its answer has arrived.
    ///
    /// # Errors
    /// The connection breaks, or the server resets the request.
    pub async fn send(&self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        let connection = &self.connection;
        let mut unanswered = Unanswered {
            connection: Some(connection),
            since: Instant::now(),
            answers: connection.answers.get(),
        };
        let answer = connection.sender.clone().send_request(request).await?;
        unanswered.connection = None;
        connection.answers.set(connection.answers.get() + 1);
        Ok(answer)
    }

    /// So many bytes of the answer's body were read; as many again and the frames around them may follow.
    pub fn grow(&mut self, bytes: usize) {
        self.expectation.grow(2 * bytes);
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.connection.sender.is_closed()
    }

    /// Whether an answer has ever arrived on the connection.
    pub fn has_answered(&self) -> bool {
        self.connection.answers.get() > 0
    }

    /// Whether the server sends faster than permitted.
    pub fn is_flooded(&self) -> bool {
        self.connection.expected.is_flooded()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let connection = &self.connection;
        connection.in_use.set(connection.in_use.get().saturating_sub(1));
        connection.idle_since.set(Instant::now());
        if let Some(pool) = self.pool.upgrade() {
            idle::tend(&pool);
        }
    }
}

/// A request in flight: if it gets no answer for long, and no other does, its connection is used no more.
struct Unanswered<'c> {
    connection: Option<&'c Multiplexed>,
    since: Instant,
    answers: u64,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        let is_silent = |connection: &&Multiplexed| {
            connection.answers.get() == self.answers && self.since.elapsed() >= SILENCE
        };
        let Some(connection) = self.connection.filter(is_silent) else {
            return;
        };
        connection.is_retired.set(true);
        if let Some((host, address)) = &connection.peer {
            names::avoid(host, *address);
        }
    }
}

/// Runs the tasks of one connection.
#[derive(Clone, Debug, Default)]
struct Tasks(Rc<RefCell<Vec<AbortHandle>>>);

impl<F: Future<Output = ()> + 'static> Executor<F> for Tasks {
    fn execute(&self, future: F) {
        let mut tasks = self.0.borrow_mut();
        tasks.retain(|task| !task.is_finished());
        tasks.push(spawn_local(future).abort_handle());
    }
}

#[cfg(test)]
mod tests;
