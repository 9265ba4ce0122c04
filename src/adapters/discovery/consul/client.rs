//! Requests to Consul, and the connections they go over.
//!
//! Over TLS the server chooses between HTTP/2, of which one connection carries all requests (`multiplexed.rs`), and
//! HTTP/1.1. Of that a connection carries one request at a time and is kept for a while afterwards. One whose answer
//! is not read to its end, for whatever reason, is closed. A request on a kept connection that breaks before it is
//! answered is sent once more on another: all our requests may be sent twice. No redirect is followed: the token
//! must not reach another host.

use super::idle::{self, IDLE, Idle};
use super::multiplexed::{Multiplexed, Place, Pool};
use super::open::{Closing, LONGEST_HEAD, Open};
use super::wire::{self, Allowance, Connected, Route, Target};
use crate::adapters::discovery::names;
use crate::adapters::tasks::spawn_local;
use crate::cause;
use crate::ports::CatalogueError;
use domain::time::Duration;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, PROXY_AUTHORIZATION};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::error::Error as _;
use std::net::IpAddr;
use std::rc::{Rc, Weak};
use tokio::sync::Mutex;
use tokio::task::{AbortHandle, yield_now};
use tokio::time::Instant;

/// The longest body of an answer (docs/bounds.md)
const LONGEST_BODY: usize = 16 * 1024 * 1024;
/// The longest body of a refusal, or of an answer whose body is not used (docs/bounds.md)
const LONGEST_REFUSAL: usize = 64 * 1024;
/// The most headers of an answer (docs/bounds.md)
const MOST_HEADERS: usize = 100;
/// How much of a body is read before all else has its turn (docs/bounds.md)
const TURN: usize = 32 * 1024;
/// What a piece costs beside its bytes, as so many bytes.
const COST: usize = 256;
/// How many turns the tasks of a connection get to end after it broke.
const TURNS_TO_CLOSE: usize = 4;
/// The limit on idle connections that are kept (docs/bounds.md)
const MOST_IDLE: usize = 16;
/// A connection beyond the agent's limit is cut at once; one that is cut later is cut for another reason
/// (docs/bounds.md).
pub const CUT: Duration = Duration::from_secs(1);
/// How many characters of a refusal are shown (docs/bounds.md)
const LONGEST_QUOTE: usize = 200;

/// Sends requests to one server.
#[derive(Debug)]
pub struct Client {
    route: Route,
    host: HeaderValue,
    headers: RefCell<HeaderMap>,
    /// The text before the path: for a request over HTTP/1.1, empty unless it goes to a proxy, ...
    origin: String,
    /// ... and of one over HTTP/2.
    authority: String,
    kept: Rc<Kept>,
    pool: Rc<Pool>,
    /// Held while a connection is opened that may carry many requests.
    opening: Mutex<()>,
    attempts: RefCell<Attempts>,
    /// Whether the server chose HTTP/1.1 over TLS.
    refuses_http2: Cell<bool>,
}

impl Client {
    /// A client that sends these headers with each request. Nothing is sent yet.
    ///
    /// # Errors
    /// The host cannot be named in a header.
    pub fn new(route: Route, host: &str, headers: HeaderMap) -> Result<Self, String> {
        let is_forwarded = route.proxy.is_some() && route.secured.is_none();
        let mut headers = headers;
        if let (true, Some((proxy, _))) = (is_forwarded, &route.proxy) {
            headers.extend(
                proxy
                    .authorization
                    .clone()
                    .map(|value| (PROXY_AUTHORIZATION, value)),
            );
        }
        route.prepare();
        Ok(Self {
            route,
            host: HeaderValue::try_from(host).map_err(|_| "no header can carry the host".to_owned())?,
            headers: RefCell::new(headers),
            origin: if is_forwarded {
                format!("http://{host}")
            } else {
                String::new()
            },
            authority: format!("https://{host}"),
            kept: Rc::default(),
            pool: Rc::default(),
            opening: Mutex::default(),
            attempts: RefCell::default(),
            refuses_http2: Cell::default(),
        })
    }

    /// From now on at most that many connections are open, or any number: of the idle ones those that were
    /// used longest ago are closed. Those in use stay. None is opened while others are being closed.
    pub fn allow(&self, connections: Option<u32>) {
        let limit = connections.and_then(|limit| usize::try_from(limit).ok());
        self.kept.limit.set(limit);
        self.kept.drop_surplus();
    }

    /// The header that is sent with each request under this name.
    pub fn header(&self, name: HeaderName) -> Option<HeaderValue> {
        self.headers.borrow().get(name).cloned()
    }

    /// From now on this header is sent with each request.
    pub fn set_header(&self, name: HeaderName, value: HeaderValue) {
        self.headers.borrow_mut().insert(name, value);
    }

    /// Closes the connections that carry no request.
    pub fn close(&self) {
        self.kept.connections.borrow_mut().clear();
        self.pool.close();
    }

    /// The connections that carry many requests.
    #[cfg(test)]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Sends a request, and returns when the head of its answer is there.
    ///
    /// # Errors
    /// The server cannot be reached, or does not answer in HTTP within the limits.
    pub async fn send(&self, method: Method, path: &str, body: &str) -> Result<Answer, CatalogueError> {
        if let Some(way) = self.existing().await {
            match self.send_on(way, &method, path, body).await {
                Err(unanswered) if unanswered.may_be_repeated => {}
                answer => return answer.map_err(|unanswered| self.failed(&unanswered.error)),
            }
        }
        let way = self.open().await?;
        let opened = Instant::now();
        let answer = self.send_on(way, &method, path, body).await;
        answer.map_err(|unanswered| match unanswered.is_cut && opened.elapsed() < CUT {
            true => CatalogueError::Busy(self.in_words(&unanswered.error)),
            false => self.failed(&unanswered.error),
        })
    }

    /// Whether a request waits for a new connection rather than for others on an open one.
    fn shall_open(&self) -> bool {
        self.kept.may_open() || self.opening.try_lock().is_err()
    }

    /// An open connection that can take another request.
    async fn existing(&self) -> Option<Way> {
        if let Some(place) = self.pool.place(self.shall_open()) {
            return Some(Way::Shared(place));
        }
        while let Some(mut connection) = self.kept.take() {
            // A connection that was closed meanwhile returns an error here.
            if connection.sender.ready().await.is_ok() {
                return Some(Way::Own(connection));
            }
        }
        None
    }

    /// Opens a connection. Where it may carry many requests, the others that need one wait for it, and fail with it.
    async fn open(&self) -> Result<Way, CatalogueError> {
        if self.route.secured.is_none() || self.refuses_http2.get() {
            return self.connect().await;
        }
        let before = self.attempts.borrow().count;
        let _turn = self.opening.lock().await;
        if let Some(place) = self.pool.place(self.kept.may_open()) {
            return Ok(Way::Shared(place));
        }
        if self.attempts.borrow().count != before
            && let Some(error) = &self.attempts.borrow().failure
        {
            return Err(error.clone());
        }
        if self.refuses_http2.get() && !self.kept.may_open() {
            let sentence = "it speaks HTTP/1.1, so it takes fewer requests at a time than there are";
            return Err(CatalogueError::Busy(format!("{}: {sentence}", self.route.target)));
        }
        let connected = self.connect().await;
        let mut attempts = self.attempts.borrow_mut();
        attempts.count += 1;
        attempts.failure = connected.as_ref().err().cloned();
        connected
    }

    async fn connect(&self) -> Result<Way, CatalogueError> {
        let open = Open::new(&self.kept.open);
        self.kept.closing.ended().await;
        let connected = self.route.connect().await?;
        self.refuses_http2.set(!connected.is_http2);
        if connected.is_http2 {
            let begun = Multiplexed::begin(connected, &self.kept.closing, open).await;
            let connection = begun.map_err(|error| self.failed(&error))?;
            return Ok(Way::Shared(self.pool.add(connection)));
        }
        let connection = self.begin_http1(connected, open).await;
        Ok(Way::Own(connection.map_err(|error| self.failed(&error))?))
    }

    async fn begin_http1(&self, connected: Connected, open: Open) -> Result<Connection, hyper::Error> {
        let Connected {
            stream,
            allowance,
            peer,
            ..
        } = connected;
        let handshake = http1::Builder::new()
            .max_headers(MOST_HEADERS)
            .max_header_size(LONGEST_HEAD)
            .max_buf_size(LONGEST_HEAD)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await?;
        let task = spawn_local(async move {
            // A request that waits for an answer on this connection fails with the same cause.
            connection.await.ok();
        });
        Ok(Connection {
            sender,
            allowance,
            peer,
            task: Aborted(task.abort_handle(), self.kept.closing.clone()),
            open,
            idle_since: Instant::now(),
        })
    }

    async fn send_on(
        &self,
        mut way: Way,
        method: &Method,
        path: &str,
        body: &str,
    ) -> Result<Answer, Unanswered> {
        let request = self.request(&way, method, path, body);
        let answer = match &mut way {
            Way::Own(connection) => connection.send(request).await,
            Way::Shared(place) => send_in_place(place, request).await,
        };
        let (head, body) = answer?.into_parts();
        way.grow(LONGEST_HEAD);
        Ok(Answer {
            head: Response::from_parts(head, ()),
            body,
            taken: 0,
            turn: 0,
            way,
            kept: Rc::downgrade(&self.kept),
            whom: self.route.target.clone(),
        })
    }

    fn request(&self, way: &Way, method: &Method, path: &str, body: &str) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
        *request.method_mut() = method.clone();
        let is_own = matches!(way, Way::Own(_));
        let origin = if is_own { &self.origin } else { &self.authority };
        // The path has been escaped, so that it always is one.
        *request.uri_mut() = format!("{origin}{path}").parse().unwrap_or_default();
        if is_own {
            request.headers_mut().insert(HOST, self.host.clone());
        }
        request.headers_mut().extend(self.headers.borrow().clone());
        request
    }

    fn failed(&self, error: &hyper::Error) -> CatalogueError {
        CatalogueError::Failed(self.in_words(error))
    }

    fn in_words(&self, error: &hyper::Error) -> String {
        in_words(&self.route.target, error)
    }
}

/// The attempts to open a connection that carries many requests.
#[derive(Debug, Default)]
struct Attempts {
    count: u64,
    /// Why the last one failed.
    failure: Option<CatalogueError>,
}

/// What carries a request.
#[derive(Debug)]
enum Way {
    /// A connection of HTTP/1.1 of its own.
    Own(Connection),
    /// A place on a connection of HTTP/2.
    Shared(Place),
}

impl Way {
    /// So many bytes of an answer were of use.
    fn grow(&mut self, bytes: usize) {
        match self {
            Self::Own(connection) => connection.allowance.grow(bytes),
            Self::Shared(place) => place.grow(bytes),
        }
    }
}

/// Why a request got no answer.
struct Unanswered {
    error: hyper::Error,
    /// Whether the connection broke, so that the request may be sent on another.
    may_be_repeated: bool,
    /// Whether the server closed the connection without any answer.
    is_cut: bool,
}

impl From<hyper::Error> for Unanswered {
    fn from(error: hyper::Error) -> Self {
        Self {
            may_be_repeated: is_broken(&error),
            is_cut: is_cut(&error),
            error,
        }
    }
}

async fn send_in_place(
    place: &Place,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, Unanswered> {
    match place.send(request).await {
        Ok(answer) => Ok(answer),
        Err(error) => {
            // The tasks of a connection that broke need their turns to end.
            for _ in 0..TURNS_TO_CLOSE {
                yield_now().await;
            }
            let may_be_repeated = !place.is_flooded();
            Err(Unanswered {
                may_be_repeated,
                is_cut: may_be_repeated && place.is_closed() && !place.has_answered() && is_cut_short(&error),
                error,
            })
        }
    }
}

/// Whether the server ended a connection of HTTP/2, rather than broke its rules. Consul from 1.9 on ends one too many
/// with an answer in HTTP/1.1, which no frame of HTTP/2 can be.
fn is_cut_short(error: &hyper::Error) -> bool {
    let cause = cause::in_full(error);
    !cause.contains("error detected") || cause.contains("frame with invalid size")
}

/// Whether a connection broke before an answer; whether the request took effect is unknown.
fn is_broken(error: &hyper::Error) -> bool {
    error.is_canceled() || error.is_closed() || error.is_incomplete_message()
}

/// Whether the other side took a connection and closed it without an answer, or with one that came before the
/// request, as Consul's 429 may.
fn is_cut(error: &hyper::Error) -> bool {
    let io = error
        .source()
        .and_then(|cause| cause.downcast_ref::<std::io::Error>());
    is_broken(error) || io.is_some_and(|error| wire::is_cut(error.kind()))
}

fn in_words(whom: &Target, error: &hyper::Error) -> String {
    if error.is_parse_too_large() {
        let limit = LONGEST_HEAD / 1024;
        return format!("{whom}: the head of the answer has more than {MOST_HEADERS} headers or {limit} KiB");
    }
    if error.is_parse() {
        let cause = cause::in_full(error);
        return format!(
            "{whom}: whoever listens there does not answer in HTTP, or wants TLS (https): {cause}"
        );
    }
    format!("{whom}: {}", cause::in_full(error))
}

/// A connection of HTTP/1.1.
#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    allowance: Allowance,
    peer: Option<(String, IpAddr)>,
    #[expect(dead_code, reason = "held, so that the connection ends with it")]
    task: Aborted,
    #[expect(
        dead_code,
        reason = "held, so that the connection counts as long as this lives"
    )]
    open: Open,
    idle_since: Instant,
}

impl Connection {
    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Unanswered> {
        self.allowance.renew();
        let mut awaited = Awaited(self.peer.clone());
        let answer = self.sender.send_request(request).await?;
        awaited.0 = None;
        Ok(answer)
    }
}

/// A task that ends soon after this was dropped.
#[derive(Debug)]
struct Aborted(AbortHandle, Closing);

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
        self.1.add(&self.0);
    }
}

/// A request in flight: an address that does not answer is tried last the next time.
struct Awaited(Option<(String, IpAddr)>);

impl Drop for Awaited {
    fn drop(&mut self) {
        if let Some((host, address)) = self.0.take() {
            names::avoid(&host, address);
        }
    }
}

/// The idle connections.
#[derive(Debug, Default)]
struct Kept {
    connections: RefCell<Vec<Connection>>,
    /// How many connections are open or being opened, those in use among them, those being closed not.
    open: Rc<Cell<usize>>,
    /// Those being closed.
    closing: Closing,
    /// How many may be.
    limit: Cell<Option<usize>>,
    is_tended: Cell<bool>,
}

impl Kept {
    /// The connection that was used last.
    fn take(&self) -> Option<Connection> {
        self.close_old();
        self.connections.borrow_mut().pop()
    }

    /// Whether fewer connections are open than may be.
    fn may_open(&self) -> bool {
        self.limit.get().is_none_or(|limit| self.open.get() < limit)
    }

    fn put(self: &Rc<Self>, mut connection: Connection) {
        connection.idle_since = Instant::now();
        let mut connections = self.connections.borrow_mut();
        if connections.len() < MOST_IDLE {
            connections.push(connection);
        }
        drop(connections);
        self.drop_surplus();
        idle::tend(self);
    }

    /// Closes those that were used longest ago, if more are open than may be.
    fn drop_surplus(&self) {
        let surplus = |limit| self.open.get().saturating_sub(limit);
        let surplus = self.limit.get().map_or(0, surplus);
        let mut connections = self.connections.borrow_mut();
        let surplus = surplus.min(connections.len());
        connections.drain(..surplus);
    }
}

impl Idle for Kept {
    fn close_old(&self) -> bool {
        let is_young = |connection: &mut Connection| {
            connection.idle_since.elapsed() < IDLE && !connection.sender.is_closed()
        };
        let mut connections = self.connections.borrow_mut();
        connections.retain_mut(is_young);
        !connections.is_empty()
    }

    fn is_tended(&self) -> &Cell<bool> {
        &self.is_tended
    }
}

/// An answer whose head is there.
#[derive(Debug)]
pub struct Answer {
    head: Response<()>,
    body: Incoming,
    taken: usize,
    turn: usize,
    way: Way,
    kept: Weak<Kept>,
    whom: Target,
}

impl Answer {
    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.head.status()
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        self.head.headers()
    }

    /// The next piece of the body; none at its end. Other tasks have their turn in between.
    ///
    /// # Errors
    /// The connection breaks, or the body is too long.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, CatalogueError> {
        if self.turn >= TURN {
            self.turn = 0;
            yield_now().await;
        }
        let piece = match self.body.frame().await {
            None => return Ok(None),
            Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
            Some(Err(error)) => return Err(CatalogueError::Failed(in_words(&self.whom, &error))),
        };
        self.taken += piece.len();
        self.turn += piece.len() + COST;
        self.way.grow(piece.len());
        if self.taken > LONGEST_BODY {
            let limit = LONGEST_BODY / 1024 / 1024;
            let sentence = format!("{}: the answer is longer than {limit} MiB", self.whom);
            return Err(CatalogueError::Failed(sentence));
        }
        Ok(Some(piece))
    }

    /// The body was read to its end: the connection may serve another request.
    pub fn done(self) {
        if let (Some(kept), Way::Own(connection)) = (self.kept.upgrade(), self.way) {
            kept.put(connection);
        }
    }

    /// Reads what is left of an answer whose body does not count.
    pub async fn ignore(mut self) {
        while let Ok(piece) = self.piece().await {
            if piece.is_none() {
                return self.done();
            }
            if self.taken > LONGEST_REFUSAL {
                return;
            }
        }
    }

    /// The refusal that this answer is.
    pub async fn refusal(mut self) -> Refusal {
        let (status, target) = (self.status(), redirected_to(self.headers()));
        let mut body = Vec::new();
        while body.len() < LONGEST_REFUSAL {
            match self.piece().await {
                Ok(Some(piece)) => body.extend(piece),
                Ok(None) => {
                    self.done();
                    break;
                }
                Err(_) => break,
            }
        }
        let body = String::from_utf8_lossy(&body);
        let quoted = body.trim().chars().take(LONGEST_QUOTE);
        let quoted = quoted.map(|character| if character.is_control() { ' ' } else { character });
        Refusal {
            status,
            body: quoted.collect(),
            target: target.filter(|_| status.is_redirection()),
        }
    }
}

/// The host that a redirect leads to, without a user and a path.
fn redirected_to(headers: &HeaderMap) -> Option<String> {
    let target = headers.get(LOCATION)?.to_str().ok()?;
    let uri: Option<Uri> = target.parse().ok();
    let host = uri
        .as_ref()
        .and_then(Uri::host)
        .unwrap_or("another path of the same host");
    Some(host.chars().take(LONGEST_QUOTE).collect())
}

/// An answer that is not 200.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its status.
    pub status: StatusCode,
    /// The beginning of its body.
    pub body: String,
    /// The target of its redirect.
    target: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let status = self.status.as_u16();
        match &self.target {
            Some(host) => write!(
                f,
                "Unexpected response code: {status} (redirects to {host} are not followed)"
            ),
            None => write!(f, "Unexpected response code: {status} ({})", self.body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::discovery::address::HostPort;
    use std::future::poll_fn;
    use std::io::Read as _;
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::pin::pin;
    use std::task::Poll;
    use tokio::task::LocalSet;
    use tokio::time::{advance, pause};

    /// Runs a test that is given a client of this target.
    fn with_client(target: Target, test: impl AsyncFnOnce(Client)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let route = Route {
            target,
            proxy: None,
            secured: None,
            purpose: names::Purpose::Catalogue,
        };
        let client = Client::new(route, "consul", HeaderMap::new()).unwrap();
        LocalSet::new().block_on(&runtime, test(client));
    }

    fn target_of(listener: &TcpListener) -> Target {
        Target::Host(HostPort::parse(&listener.local_addr().unwrap().to_string(), 80).unwrap())
    }

    async fn own(client: &Client) -> Connection {
        match client.connect().await.unwrap() {
            Way::Own(connection) => connection,
            Way::Shared(place) => panic!("{place:?}"),
        }
    }

    #[test]
    fn idle_connections_and_those_in_use_are_limited_together() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        with_client(target_of(&listener), async |client| {
            let mut used = Vec::new();
            for _ in 0..4 {
                used.push(own(&client).await);
            }
            let idle = || client.kept.connections.borrow().len();
            client.allow(Some(4));
            used.drain(..2).for_each(|connection| client.kept.put(connection));
            assert_eq!((idle(), client.kept.open.get()), (2, 4));
            client.allow(Some(3));
            client.allow(Some(3));
            assert_eq!((idle(), client.kept.open.get()), (1, 3));
            client.allow(Some(1));
            assert_eq!((idle(), client.kept.open.get()), (0, 2), "those in use stay");
            used.drain(..).for_each(|connection| client.kept.put(connection));
            assert_eq!((idle(), client.kept.open.get()), (1, 1));
            client.allow(None);
            client.kept.put(own(&client).await);
            assert_eq!((idle(), client.kept.open.get()), (2, 2));
        });
    }

    #[test]
    fn no_connection_is_opened_before_the_cancelled_ones_are_closed() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        // Such a connection exists as soon as it was requested.
        let target = Target::Socket(socket.display().to_string());
        with_client(target, async |client| {
            let first = own(&client).await;
            let mut accepted = listener.accept().unwrap().0;
            accepted.set_nonblocking(true).unwrap();
            drop(first);
            let mut second = pin!(client.connect());
            let mut is_begun = false;
            while !is_begun {
                let polled = poll_fn(|context| Poll::Ready(second.as_mut().poll(context))).await;
                assert!(!matches!(polled, Poll::Ready(Err(_))), "{polled:?}");
                is_begun = listener.accept().is_ok();
                if !is_begun {
                    yield_now().await;
                }
            }
            let read = accepted.read(&mut [0]);
            assert!(matches!(read, Ok(0)), "the first one still is open: {read:?}");
        });
    }

    #[test]
    fn idle_connections_are_closed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        with_client(target_of(&listener), async |client| {
            for _ in 0..=MOST_IDLE {
                client.kept.put(own(&client).await);
            }
            let kept = || client.kept.connections.borrow().len();
            assert_eq!(kept(), MOST_IDLE);
            pause();
            yield_now().await;
            advance(IDLE + Duration::from_secs(1)).await;
            while kept() > 0 {
                yield_now().await;
            }
            assert!(
                !client.kept.is_tended.get(),
                "and nobody looks after them any more"
            );
        });
    }
}
