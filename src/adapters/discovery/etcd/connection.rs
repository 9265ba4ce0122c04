//! One connection to one member, opened when it is first used, and never a second time.
//!
//! Names are looked up, and addresses tried, as for every catalogue; what the member may send is metered. A
//! connection that breaks stays broken, so that a server which hangs up at once is asked again only as often as
//! whoever asks decides.

use super::meter::{ExpectedBytes, Pacing};
use crate::adapters::discovery::address::HostPort;
use crate::adapters::discovery::metered::Metered;
use crate::adapters::discovery::names;
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

/// The time between two pings on a watch where nothing happens, and how long the answer may take.
const PING: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(2));
/// What a member may send of one answer before we have read it (docs/bounds.md)
pub const STREAM_WINDOW: u32 = 128 * 1024;
/// What a member may send of all answers together before we have read them (docs/bounds.md)
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The headers of an answer, and so the text of a refusal (docs/bounds.md)
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
    /// A member at this place, spoken to over TLS if that is given.
    ///
    /// # Errors
    /// The place is none that a URL can name.
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

/// What requests over TLS name as their place. The library is to open no TLS of its own, so that the endpoint says
/// `http`; the connector does, as for every catalogue.
fn origin(place: &HostPort) -> Result<Uri, Error> {
    let endpoint = Endpoint::from_shared(format!("https://{place}"))?;
    Ok(endpoint.uri().clone())
}

/// A connection to one member, or none yet.
#[derive(Default)]
pub struct Connection {
    client: OnceCell<Client>,
    ways: OnceCell<usize>,
    /// What is asked for on it.
    pub asked: ExpectedBytes,
    /// Where it leads, once it is there.
    peer: Arc<OnceLock<IpAddr>>,
}

impl Connection {
    /// The client that asks on this connection; whoever needs it while it is made waits for the one who does.
    ///
    /// # Errors
    /// With a login: the member cannot be reached, or refuses.
    pub async fn client(&self, target: &Target) -> Result<&Client, Error> {
        self.client.get_or_try_init(|| self.open(target)).await
    }

    async fn open(&self, target: &Target) -> Result<Client, Error> {
        let connector = Connector {
            host: target.host.clone(),
            port: target.port,
            secured: target.secured.clone(),
            asked: self.asked.clone(),
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

    /// Whoever is at its other end does not answer.
    pub fn avoid(&self, target: &Target) {
        if let Some(peer) = self.peer.get() {
            names::avoid(&target.host, *peer);
        }
    }
}

/// Connects once.
struct Connector {
    host: String,
    port: u16,
    secured: Option<Secured>,
    asked: ExpectedBytes,
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
        let (host, port, asked) = (self.host.clone(), self.port, self.asked.clone());
        let (peer, secured) = (Arc::clone(&self.peer), self.secured.clone());
        let used = self.used.replace(true);
        Box::pin(async move {
            if used {
                return Err(io::Error::other("the connection was closed"));
            }
            let stream = names::connect(&host, port).await?;
            stream.set_nodelay(true)?;
            peer.set(stream.peer_addr()?.ip()).ok();
            let rule = Pacing::new(asked);
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
