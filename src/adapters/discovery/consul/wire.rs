//! A connection to Consul: to its socket or its host, through a proxy and over TLS if configured.
//!
//! Everything that is read counts against an allowance, which grows with what was asked for and with what was of
//! use. So a server that sends what belongs to no answer (preliminary answers, records of TLS without content,
//! the shortest of chunks), however fast, soon is a failed request.

use super::proxy::Proxy;
use crate::adapters::discovery::address::HostPort;
use crate::adapters::discovery::metered::{Metered, ReadRule};
use crate::adapters::discovery::names::Purpose;
use crate::adapters::discovery::pacing::{ExpectedBytes, Pacing};
use crate::adapters::discovery::tls::{self, Secured};
use crate::adapters::http::Stream;
use crate::cause;
use crate::ports::CatalogueError;
use domain::time::Duration;
use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Sleep, sleep, timeout};

/// How many bytes may come for a request beyond what is of use: heads, preliminary answers, TLS (docs/bounds.md)
const LONGEST_CHATTER: usize = 256 * 1024;
/// How much that is of no use is read before all else has its turn (docs/bounds.md)
const CHATTER_IN_A_TURN: usize = 16 * 1024;
/// The pause after that.
const PAUSE: Duration = Duration::from_millis(1);
/// How long it may take until a connection is ready, TLS and proxies included (docs/bounds.md)
const SETUP_LIMIT: Duration = Duration::from_millis(1800);
/// The longest answer of a proxy to a request for a tunnel (docs/bounds.md)
const LONGEST_PROXY_ANSWER: usize = 8 * 1024;

/// How to reach a server.
#[derive(Debug)]
pub struct Route {
    /// Where it is.
    pub target: Target,
    /// By which proxy, and what TLS to that one needs.
    pub proxy: Option<(Proxy, Option<Secured>)>,
    /// The TLS client, if the connection to the server uses TLS.
    pub secured: Option<Secured>,
    /// What it is for.
    pub purpose: Purpose,
}

/// Where a server is.
#[derive(Clone, Debug)]
pub enum Target {
    /// At a socket of this machine.
    Socket(String),
    /// At a host.
    Host(HostPort),
}

/// A stream that is ready to be used.
pub struct Connected {
    /// The stream itself.
    pub stream: Box<dyn Stream>,
    /// What may still be read from it.
    pub allowance: Allowance,
    /// Whether the server chose HTTP/2.
    pub is_http2: bool,
    /// The address at the other end, and the host that has it, if another address may be tried the next time.
    pub peer: Option<(String, IpAddr)>,
    /// What it is for.
    purpose: Purpose,
}

impl Route {
    /// Connects.
    ///
    /// # Errors
    /// No address accepts, the proxy refuses, or TLS fails; a sentence. All steps together have one time limit.
    pub async fn connect(&self) -> Result<Connected, CatalogueError> {
        let connected = timeout(SETUP_LIMIT, self.connect_at_leisure()).await;
        let late = |_| failed(format!("{} is not ready within {SETUP_LIMIT:?}", self.first()));
        connected.unwrap_or_else(|elapsed| Err(late(elapsed)))
    }

    /// Starts what is needed to look up the name of the host to connect to.
    pub fn prepare(&self) {
        if let Some(HostPort { host, .. }) = self.first().place() {
            self.purpose.prepare(host);
        }
    }

    /// What a connection is opened to: the proxy or the server.
    fn first(&self) -> Target {
        match &self.proxy {
            Some((proxy, _)) => Target::Host(proxy.place.clone()),
            None => self.target.clone(),
        }
    }

    async fn connect_at_leisure(&self) -> Result<Connected, CatalogueError> {
        let allowance = Allowance::default();
        allowance.renew();
        let (mut stream, peer) = self.first().open(self.purpose, &allowance).await?;
        if let Some((proxy, secured)) = &self.proxy {
            if let Some(secured) = secured {
                (stream, _) = secure(stream, secured, &proxy.place.to_string()).await?;
            }
            if let (Some(_), Target::Host(place)) = (&self.secured, &self.target) {
                let tunnel = tunnel(&mut stream, place, proxy).await;
                tunnel.map_err(|cause| failed(format!("the proxy {}: {cause}", proxy.place)))?;
            }
        }
        let mut is_http2 = false;
        if let Some(secured) = &self.secured {
            (stream, is_http2) = secure(stream, secured, &self.target.to_string()).await?;
        }
        Ok(Connected {
            stream,
            allowance,
            is_http2,
            peer,
            purpose: self.purpose,
        })
    }
}

impl Connected {
    /// From now on the stream carries HTTP/2, whose answers interleave: what is read is limited by a rate instead
    /// of the allowance.
    pub fn pace(&self) -> ExpectedBytes {
        let expected = ExpectedBytes::default();
        let pacing = match self.purpose {
            Purpose::Catalogue => Pacing::new(expected.clone()),
            Purpose::Check => Pacing::of_check(expected.clone()),
        };
        self.allowance.2.replace(Some(pacing));
        expected
    }
}

impl Target {
    fn place(&self) -> Option<&HostPort> {
        match self {
            Self::Socket(_) => None,
            Self::Host(place) => Some(place),
        }
    }

    async fn open(
        &self,
        purpose: Purpose,
        allowance: &Allowance,
    ) -> Result<(Box<dyn Stream>, Option<(String, IpAddr)>), CatalogueError> {
        let allowance = allowance.clone();
        match self {
            Self::Socket(path) => {
                let stream = UnixStream::connect(path).await;
                let inner =
                    stream.map_err(|error| failed(format!("{path}: {}", cause::in_kernel_words(&error))))?;
                Ok((Box::new(metered(inner, allowance)), None))
            }
            Self::Host(HostPort { host, port }) => {
                let inner = purpose.connect(host, *port).await;
                let inner = inner.map_err(|error| failed(error.to_string()))?;
                inner.set_nodelay(true).ok();
                let noted = inner.peer_addr().ok().filter(|_| purpose == Purpose::Catalogue);
                let peer = noted.map(|peer| (host.clone(), peer.ip()));
                Ok((Box::new(metered(inner, allowance)), peer))
            }
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Socket(path) => f.write_str(path),
            Self::Host(place) => place.fmt(f),
        }
    }
}

/// The stream over TLS to the server at its end, and whether the server chose HTTP/2.
async fn secure(
    stream: Box<dyn Stream>,
    secured: &Secured,
    who: &str,
) -> Result<(Box<dyn Stream>, bool), CatalogueError> {
    match secured.handshake(stream).await {
        Ok(stream) => {
            let is_http2 = tls::uses_http2(&stream);
            Ok((Box::new(stream), is_http2))
        }
        Err(error) => {
            let sentence = format!("{who}: {}", tls::in_words(&error));
            Err(match is_cut(error.kind()) {
                true => CatalogueError::Busy(sentence),
                false => failed(sentence),
            })
        }
    }
}

fn failed(sentence: String) -> CatalogueError {
    CatalogueError::Failed(sentence)
}

/// Whether the other side took a connection and closed it without an answer.
pub fn is_cut(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof
    )
}

/// Requests a tunnel to a host from a proxy.
async fn tunnel(stream: &mut Box<dyn Stream>, place: &HostPort, proxy: &Proxy) -> Result<(), String> {
    let mut request = format!("CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n").into_bytes();
    if let Some(authorization) = &proxy.authorization {
        request.extend(b"Proxy-Authorization: ");
        request.extend(authorization.as_bytes());
        request.extend(b"\r\n");
    }
    request.extend(b"\r\n");
    let in_words = |error: io::Error| cause::in_kernel_words(&error);
    stream.write_all(&request).await.map_err(in_words)?;
    stream.flush().await.map_err(in_words)?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= LONGEST_PROXY_ANSWER {
            return Err(format!("its answer is longer than {LONGEST_PROXY_ANSWER} bytes"));
        }
        // Byte by byte: what follows belongs to the tunnel.
        answer.push(stream.read_u8().await.map_err(in_words)?);
    }
    let status = String::from_utf8_lossy(&answer);
    let status = status.lines().next().unwrap_or_default();
    let is_open = status.starts_with("HTTP/1.") && status.split(' ').nth(1) == Some("200");
    let shown: String = status.chars().take(80).flat_map(char::escape_debug).collect();
    is_open
        .then_some(())
        .ok_or_else(|| format!("it opens no tunnel: {shown}"))
}

/// How many bytes may still be read from a connection. What was read beyond it in one go is owed.
#[derive(Clone, Debug, Default)]
pub struct Allowance(Rc<Cell<isize>>, Rc<Cell<usize>>, Rc<RefCell<Option<Pacing>>>);

impl Allowance {
    /// A request is sent: its answer may begin.
    pub fn renew(&self) {
        self.0.set(self.0.get().max(signed(LONGEST_CHATTER)));
    }

    /// So many bytes were of use. Frames and records around them may be as long again.
    pub fn grow(&self, bytes: usize) {
        let grown = self.0.get().saturating_add(2 * signed(bytes));
        self.0.set(grown.min(2 * signed(LONGEST_CHATTER)));
        self.1.set(0);
    }

    /// Whether much was read since a request or an answer; the second call returns false.
    fn is_time_for_a_pause(&self) -> bool {
        let is_time = self.1.get() >= CHATTER_IN_A_TURN;
        if is_time {
            self.1.set(0);
        }
        is_time
    }

    fn spend(&self, bytes: usize) {
        self.1.set(self.1.get().saturating_add(bytes));
        self.0.set(self.0.get().saturating_sub(signed(bytes)));
    }

    fn is_spent(&self) -> bool {
        self.0.get() <= 0
    }
}

/// No buffer is so long that it would not fit.
fn signed(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX / 4)
}

/// Reading that counts against an allowance, or at a limited rate.
struct Spending {
    allowance: Allowance,
    pause: Option<Pin<Box<Sleep>>>,
}

impl ReadRule for Spending {
    fn poll_allowed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(pacing) = &mut *self.allowance.2.borrow_mut() {
            return pacing.poll_allowed(context);
        }
        if self.allowance.is_spent() {
            let sentence = format!(
                "it sent more than {} KiB that is no answer",
                LONGEST_CHATTER / 1024
            );
            return Poll::Ready(Err(io::Error::other(sentence)));
        }
        if self.allowance.is_time_for_a_pause() {
            self.pause = Some(Box::pin(sleep(PAUSE)));
        }
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        Poll::Ready(Ok(usize::MAX))
    }

    fn count(&mut self, bytes: usize) {
        match &mut *self.allowance.2.borrow_mut() {
            Some(pacing) => pacing.count(bytes),
            None => self.allowance.spend(bytes),
        }
    }

    fn rest(&mut self) {
        if let Some(pacing) = &mut *self.allowance.2.borrow_mut() {
            pacing.rest();
        }
    }
}

fn metered<S>(stream: S, allowance: Allowance) -> Metered<S, Spending> {
    let rule = Spending {
        allowance,
        pause: None,
    };
    Metered { stream, rule }
}
