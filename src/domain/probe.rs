//! A health check without a process: a request over HTTP or gRPC, or a connection over TCP.
//!
//! This is data: what is requested, what counts as a success, and how a probe ended. When a probe runs and what follows
//! from its result is decided as for a command; an adapter performs it.

use crate::plan::{Role, Secret, Tls};
use crate::time::Duration;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// Where the next run of a probe is this far away or farther, its connection is closed after each run
/// (docs/bounds.md).
pub const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A probe, and how it is run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Probe {
    /// What the probe is for.
    pub role: Role,
    /// What it requests.
    pub target: ProbeTarget,
    /// How long one run may take, everything included.
    pub time_limit: Duration,
    /// Whether its connection stays open until the next run, if the protocol allows that.
    pub keeps_connection: bool,
}

/// What a probe requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeTarget {
    /// A request over HTTP.
    Http(Box<HttpProbe>),
    /// A connection over TCP, which is closed at once.
    Tcp(Place),
    /// The standard health protocol of gRPC.
    Grpc(Box<GrpcProbe>),
}

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// A name or an IP address; an IPv6 address is in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// A request over HTTP, and which answers count as a success.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpProbe {
    /// The server.
    pub place: Place,
    /// The path of the Unix socket to connect to, instead of the host and the port.
    pub socket: Option<String>,
    /// What counts for TLS, if the connection uses it.
    pub tls: Option<Tls>,
    /// The host that the request names.
    pub host: String,
    /// The path and the query, escaped.
    pub path: String,
    /// The method.
    pub method: String,
    /// Further headers, with names in lower case.
    pub headers: Vec<(String, Secret)>,
    /// The lowest and the highest status of a success.
    pub status: (u16, u16),
    /// The regular expression that the body of a success matches.
    pub body: Option<String>,
}

/// A request for the health of a service over gRPC.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GrpcProbe {
    /// The server.
    pub place: Place,
    /// What counts for TLS, if the connection uses it.
    pub tls: Option<Tls>,
    /// The name of the service; empty for the server as a whole.
    pub service: String,
}

impl Probe {
    /// What counts for TLS, if the probe uses it.
    pub fn tls(&self) -> Option<&Tls> {
        match &self.target {
            ProbeTarget::Http(http) => http.tls.as_ref(),
            ProbeTarget::Tcp(_) => None,
            ProbeTarget::Grpc(grpc) => grpc.tls.as_ref(),
        }
    }

    /// The same, to be changed.
    pub fn tls_mut(&mut self) -> Option<&mut Tls> {
        match &mut self.target {
            ProbeTarget::Http(http) => http.tls.as_mut(),
            ProbeTarget::Tcp(_) => None,
            ProbeTarget::Grpc(grpc) => grpc.tls.as_mut(),
        }
    }
}

/// How a run of a probe ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProbeEnd {
    /// The result.
    pub verdict: Verdict,
    /// What came: a status, or the cause of the failure.
    pub detail: String,
}

/// The result of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The answer is a success.
    Passed,
    /// The answer is none, or there is no connection.
    Failed,
    /// It did not end within its time limit.
    TimedOut,
}

crate::keyed_as_is!(Probe);
