//! One connection to one member. It is opened when it is first used, and only once.
//!
//! Names are resolved and addresses tried as for every catalogue, and the amount that the member may send is
//! limited. A connection that breaks is not opened again: the caller decides when to create another, so a
//! server that closes connections at once does not cause a fast series of attempts.

use crate::adapters::discovery::address::HostPort;
use crate::adapters::discovery::metered::Metered;
use crate::adapters::discovery::names;
use crate::adapters::discovery::pacing::{ExpectedBytes, Pacing};
use crate::adapters::discovery::tls::{self, Secured};
use domain::time::Duration;
use etcd_client::{Channel, Client, ConnectOptions, Error};
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OnceCell;
use tonic::codegen::Service;
use tonic::codegen::http::Uri;
use tonic::transport::Endpoint;

/// The time between two pings on a watch without events, and the time limit for the answer to a ping.
const PING: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(2));
/// How many bytes of one answer a member may send before they are read (docs/bounds.md)
pub const STREAM_WINDOW: u32 = 128 * 1024;
/// How many bytes of all answers together a member may send before they are read (docs/bounds.md)
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The limit on an answer's headers, which contain the text of an error, in bytes (docs/bounds.md)
const LARGEST_HEADERS: u32 = 16 * 1024;

/// How to reach one member.
pub struct Target {
    host: String,
    port: u16,
    endpoint: Endpoint,
    secured: Option<Secured>,
    options: ConnectOptions,
}

impl Target {
    /// A member at this host and port, with TLS if `secured` is given.
    ///
    /// # Errors
    /// The host and port do not form a valid URL.
    pub fn new(place: HostPort, options: ConnectOptions, secured: Option<Secured>) -> Result<Self, Error> {
        let (interval, limit) = PING;
        let endpoint = Endpoint::from_shared(format!("http://{place}"))?
            .http2_keep_alive_interval(interval)
            .keep_alive_timeout(limit)
            .keep_alive_while_idle(false)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_header_list_size(LARGEST_HEADERS);
        let endpoint = match secured {
            Some(_) => endpoint.origin(origin(&place)?),
            None => endpoint,
        };
        let HostPort { host, port } = place;
        names::prepare(&host);
        Ok(Self {
            host,
            port,
            endpoint,
            secured,
            options,
        })
    }
}

/// The URL that requests to this member name. Its scheme is always `http`, so that the gRPC client does not
/// open TLS itself; the connector does that, as for every catalogue.
fn origin(place: &HostPort) -> Result<Uri, Error> {
    let endpoint = Endpoint::from_shared(format!("https://{place}"))?;
    Ok(endpoint.uri().clone())
}

/// A connection to one member, opened or not.
#[derive(Default)]
pub struct Connection {
    client: OnceCell<Client>,
    ways: OnceCell<usize>,
    /// The answers that are expected on this connection.
    pub expected: ExpectedBytes,
    /// The IP address of the other end, once the connection is open.
    peer: Arc<OnceLock<IpAddr>>,
}

impl Connection {
    /// The client on this connection. Callers that need it while it is being opened wait for that.
    ///
    /// # Errors
    /// With a login: the member cannot be reached, or refuses the login.
    pub async fn client(&self, target: &Target) -> Result<&Client, Error> {
        self.client.get_or_try_init(|| self.open(target)).await
    }

    async fn open(&self, target: &Target) -> Result<Client, Error> {
        let connector = Connector {
            host: target.host.clone(),
            port: target.port,
            secured: target.secured.clone(),
            expected: self.expected.clone(),
            peer: Arc::clone(&self.peer),
            used: Cell::new(false),
        };
        let channel = target.endpoint.connect_with_connector_lazy(connector);
        Client::from_channel(Channel::Tonic(channel), Some(target.options.clone())).await
    }

    /// How many addresses the member has.
    pub async fn ways(&self, target: &Target) -> usize {
        let count = async || {
            let found = names::addresses(&target.host, target.port).await;
            found.map_or(1, |found| found.len())
        };
        *self.ways.get_or_init(count).await
    }

    /// Notes that the server at the other end does not answer.
    pub fn avoid(&self, target: &Target) {
        if let Some(peer) = self.peer.get() {
            names::avoid(&target.host, *peer);
        }
    }
}

/// Opens one connection.
struct Connector {
    host: String,
    port: u16,
    secured: Option<Secured>,
    expected: ExpectedBytes,
    peer: Arc<OnceLock<IpAddr>>,
    used: Cell<bool>,
}

/// A stream to a member.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

type Connecting = Pin<Box<dyn Future<Output = io::Result<TokioIo<Box<dyn Stream>>>> + Send>>;

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Stream>>;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Connecting {
        let (host, port, expected) = (self.host.clone(), self.port, self.expected.clone());
        let (peer, secured) = (Arc::clone(&self.peer), self.secured.clone());
        let used = self.used.replace(true);
        Box::pin(async move {
            if used {
                return Err(io::Error::other("the connection was closed"));
            }
            let stream = names::connect(&host, port).await?;
            stream.set_nodelay(true)?;
            peer.set(stream.peer_addr()?.ip()).ok();
            let rule = Pacing::new(expected);
            let stream = Metered { stream, rule };
            let Some(secured) = secured else {
                return Ok(TokioIo::new(Box::new(stream) as Box<dyn Stream>));
            };
            let secure = secured.handshake(stream).await;
            let secure = secure.map_err(|error| io::Error::other(tls::in_words(&error)))?;
            Ok(TokioIo::new(Box::new(secure)))
        })
    }
}
