//! Resolves host names on helper threads, and connects to the first address that accepts.
//!
//! The system's resolver is used (`getaddrinfo`, so that `/etc/hosts` and `nsswitch.conf` apply). It blocks
//! while a name server is silent, so it runs on helper threads: one for each name that a catalogue uses, up
//! to a limit, started when the catalogue is opened. So a name whose look-up hangs delays no other. Requests
//! for a name that is being looked up share that look-up. A result is used for a second without another
//! look-up; an older result is used while the resolver is silent. Of several addresses, the one that accepted
//! a connection last is tried first, and the next one is tried before the attempt ends if the first is
//! silent.
//!
//! No request starts a thread while there is one, blocks the loop, or takes longer than its time limit.

use crate::adapters::descriptors::while_opening;
use domain::time::Duration;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::panic::catch_unwind;
use std::sync::mpsc;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

/// How long a request waits for the addresses of a name without an earlier result (docs/bounds.md)
const LOOKUP_LIMIT: Duration = Duration::from_millis(1500);
/// How long a request waits for a look-up before it uses the earlier result (docs/bounds.md)
const LONGEST_WAIT: Duration = Duration::from_millis(500);
/// How long a result is used without another look-up (docs/bounds.md)
const FRESH: Duration = Duration::from_secs(1);
/// How old a result may be that is used while the resolver is silent (docs/bounds.md)
const USABLE: Duration = Duration::from_secs(600);
/// The limit on names with a stored result or a look-up in progress (docs/bounds.md)
const NAMES: usize = 64;
/// How many addresses of one name are used (docs/bounds.md)
const ADDRESSES: usize = 32;
/// The time limit for a connection to any of a host's addresses (docs/bounds.md)
const CONNECT_LIMIT: Duration = Duration::from_millis(1500);
/// How long one address may be silent before the next is tried as well (docs/bounds.md)
const HEAD_START: Duration = Duration::from_millis(200);
/// The time within which an attempt is made for every address of a host, whatever their number
/// (docs/bounds.md)
const ALL_TRIED: Duration = Duration::from_secs(1);
/// The limit on threads that look names up (docs/bounds.md)
const THREADS: usize = 4;
/// The stack of such a thread, in bytes; modules of the system's resolver may need much (docs/bounds.md)
const STACK: usize = 1024 * 1024;

/// The names of this process. All catalogues share its helper threads.
static OF_PROCESS: LazyLock<Names> = LazyLock::new(|| Names::new(system));
/// The names of health checks, which have helper threads of their own: none that hangs delays a catalogue.
static OF_CHECKS: LazyLock<Names> = LazyLock::new(|| Names::new(system));
/// The addresses of `localhost` for health checks, which is not looked up, as in curl.
const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A catalogue.
    Catalogue,
    /// A health check.
    Check,
}

impl Purpose {
    /// As [`connect`].
    ///
    /// # Errors
    /// As [`connect`].
    pub async fn connect(self, host: &str, port: u16) -> io::Result<TcpStream> {
        match self {
            Self::Catalogue => connect(host, port).await,
            Self::Check if is_localhost(host) => {
                let addresses = LOCALHOST.map(|address| SocketAddr::new(address, port));
                connect_to(&addresses).await
            }
            Self::Check => OF_CHECKS.connect(host, port).await,
        }
    }

    /// As [`prepare`].
    pub fn prepare(self, host: &str) {
        match self {
            Self::Catalogue => prepare(host),
            Self::Check if is_localhost(host) => {}
            Self::Check => OF_CHECKS.prepare(host),
        }
    }
}

fn is_localhost(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
}

/// The addresses of a host, in the order in which they are to be tried; at least one. A host that is an IP
/// address (an IPv6 one with or without brackets) is its own address.
///
/// # Errors
/// The name has no address, the resolver fails or is silent, too many names are being looked up, or the helper
/// thread cannot be started.
pub async fn addresses(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    OF_PROCESS.addresses(host, port).await
}

/// A connection to the first address of a host that accepts one. The attempts are staggered, so that a silent
/// address costs a fraction of the limit.
///
/// # Errors
/// As [`addresses`]; or no address accepts a connection within the limit.
pub async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    OF_PROCESS.connect(host, port).await
}

/// Starts a helper thread for a host name that has none, unless the limit on threads is reached. If the start
/// fails and there is no other thread, later requests fail with the reason.
pub fn prepare(host: &str) {
    OF_PROCESS.prepare(host);
}

/// Records that the server at this address of the host did not answer: the next connection tries the address
/// last.
pub fn avoid(host: &str, address: IpAddr) {
    OF_PROCESS.table().avoid(host, address);
}

/// The host, if it is an IP address.
fn literal(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Calls the system's resolver, which may block.
fn system(name: &str) -> io::Result<Vec<IpAddr>> {
    let found = (name, 0).to_socket_addrs()?;
    Ok(found.map(|address| address.ip()).collect())
}

/// The results of look-ups, and the threads that make them.
#[derive(Clone)]
struct Names {
    find: fn(&str) -> io::Result<Vec<IpAddr>>,
    table: Arc<Mutex<Table>>,
}

#[derive(Default)]
struct Table {
    helpers: Option<Helpers>,
    names: BTreeMap<String, NameState>,
}

/// The threads that look names up. Any free thread takes the next look-up.
struct Helpers {
    lookups: mpsc::Sender<Lookup>,
    taken: Arc<Mutex<mpsc::Receiver<Lookup>>>,
    /// The names for which a thread was started.
    started_for: Vec<String>,
}

/// The state of one name.
#[derive(Default)]
struct NameState {
    running: Option<watch::Receiver<Option<LookupResult>>>,
    known: Option<(Instant, Vec<IpAddr>)>,
    /// The address that accepted a connection last.
    first: Option<IpAddr>,
    /// The address that did not answer, although it may have accepted a connection.
    last: Option<IpAddr>,
}

/// The result of a look-up: the addresses, or the reason why there are none.
type LookupResult = Result<Vec<IpAddr>, String>;

/// A name to be looked up, and the channel for its result.
struct Lookup {
    name: String,
    found: watch::Sender<Option<LookupResult>>,
}

/// What a request for a name gets.
enum Wanted {
    /// A result that is recent enough.
    Known(Vec<IpAddr>),
    /// A look-up in progress, and the result of an earlier one.
    Running(watch::Receiver<Option<LookupResult>>, Option<Vec<IpAddr>>),
}

impl Names {
    fn new(find: fn(&str) -> io::Result<Vec<IpAddr>>) -> Self {
        Self {
            find,
            table: Arc::default(),
        }
    }

    /// The state under the lock. No code panics between two changes of it, so a poisoned lock is used as it
    /// is.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn prepare(&self, host: &str) {
        if literal(host).is_none() {
            self.table().start_for(host, self).ok();
        }
    }

    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = match literal(host) {
            Some(address) => vec![address],
            None => self.look_up(host).await?,
        };
        let ordered = self.table().ordered(host, found);
        Ok(ordered.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    async fn look_up(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let wanted = self.table().want(name, self)?;
        let (mut running, before) = match wanted {
            Wanted::Known(addresses) => return Ok(addresses),
            Wanted::Running(running, before) => (running, before),
        };
        let limit = if before.is_some() {
            LONGEST_WAIT
        } else {
            LOOKUP_LIMIT
        };
        let found = match timeout(limit, running.wait_for(Option::is_some)).await {
            Ok(Ok(found)) => found.clone(),
            Ok(Err(_)) => Some(Err("the threads that look names up have ended".into())),
            Err(_) => before.map(Ok),
        };
        let silent = || {
            Err(format!(
                "no answer of the system's resolver within {LOOKUP_LIMIT:?}"
            ))
        };
        let found = found.unwrap_or_else(silent);
        found.map_err(|cause| io::Error::other(format!("the name '{name}' cannot be looked up: {cause}")))
    }

    async fn connect(&self, host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses = self.addresses(host, port).await?;
        let stream = connect_to(&addresses).await?;
        self.table().prefer(host, stream.peer_addr()?.ip());
        Ok(stream)
    }

    /// Looks up one name after the other, until all senders are dropped.
    fn work(&self, lookups: &Mutex<mpsc::Receiver<Lookup>>) {
        // This thread blocks all signals, so that the kernel delivers them to the thread that handles them.
        nix::sys::signal::SigSet::all().thread_block().ok();
        let next = || lookups.lock().unwrap_or_else(PoisonError::into_inner).recv();
        while let Ok(Lookup { name, found }) = next() {
            // A panic in a module of the system's resolver is a failed look-up.
            let found_by_system = while_opening(|| catch_unwind(|| (self.find)(&name)));
            let broke_off = |_| Err(io::Error::other("the look-up broke off"));
            let answer = checked(found_by_system.unwrap_or_else(broke_off));
            self.table().finish(&name, &answer);
            found.send_replace(Some(answer));
        }
    }
}

/// Checks a result: at least one address, and at most the limit; or the cause of the failure.
fn checked(found: io::Result<Vec<IpAddr>>) -> LookupResult {
    let mut addresses = found.map_err(|error| error.to_string())?;
    addresses.truncate(ADDRESSES);
    if addresses.is_empty() {
        return Err("it has no address".into());
    }
    Ok(addresses)
}

impl Table {
    /// Starts a helper thread for this name, unless it has one or the limit is reached.
    fn start_for(&mut self, name: &str, names: &Names) -> io::Result<()> {
        let helpers = self.helpers.get_or_insert_with(Helpers::none);
        let is_known = helpers.started_for.iter().any(|known| known == name);
        if is_known || helpers.started_for.len() >= THREADS {
            return Ok(());
        }
        let (names, lookups) = (names.clone(), Arc::clone(&helpers.taken));
        let thread = std::thread::Builder::new().name("names".into()).stack_size(STACK);
        thread.spawn(move || names.work(&lookups)).map_err(|error| {
            io::Error::other(format!(
                "the thread that looks names up cannot be started: {error}"
            ))
        })?;
        helpers.started_for.push(name.into());
        Ok(())
    }

    /// Hands a look-up to any free thread; starts a thread if there is none.
    fn send(&mut self, lookup: Lookup, names: &Names) -> io::Result<()> {
        if self.threads() == 0 {
            self.start_for(&lookup.name, names)?;
        }
        let sent = self.helpers.as_ref().map(|helpers| helpers.lookups.send(lookup));
        sent.and_then(Result::ok)
            .ok_or_else(|| io::Error::other("there is no thread that looks names up"))
    }

    fn threads(&self) -> usize {
        self.helpers
            .as_ref()
            .map_or(0, |helpers| helpers.started_for.len())
    }

    /// What a request for this name gets; starts a look-up if one is needed and none is in progress.
    fn want(&mut self, name: &str, names: &Names) -> io::Result<Wanted> {
        self.reserve_place(name)?;
        let entry = self.names.entry(name.into()).or_default();
        let before = entry.known.clone();
        match before {
            Some((at, addresses)) if at.elapsed() < FRESH => return Ok(Wanted::Known(addresses)),
            _ => {}
        }
        let before = before.filter(|(at, _)| at.elapsed() < USABLE);
        let before = before.map(|(_, addresses)| addresses);
        if let Some(running) = entry.running() {
            return Ok(Wanted::Running(running, before));
        }
        let (found, running) = watch::channel(None);
        entry.running = Some(running.clone());
        let lookup = Lookup {
            name: name.into(),
            found,
        };
        self.send(lookup, names)?;
        Ok(Wanted::Running(running, before))
    }

    /// Removes the result that is oldest if the limit is reached.
    fn reserve_place(&mut self, name: &str) -> io::Result<()> {
        if self.names.len() < NAMES || self.names.contains_key(name) {
            return Ok(());
        }
        let idle = self.names.iter().filter(|(_, entry)| entry.running().is_none());
        let oldest = idle.min_by_key(|(_, entry)| entry.known.as_ref().map(|(at, _)| *at));
        let oldest = oldest.map(|(name, _)| name.clone()).ok_or_else(|| {
            io::Error::other(format!(
                "the name '{name}' cannot be looked up: {NAMES} others are being looked up"
            ))
        })?;
        self.names.remove(&oldest);
        Ok(())
    }

    fn finish(&mut self, name: &str, found: &LookupResult) {
        if let Some(entry) = self.names.get_mut(name) {
            entry.running = None;
            if let Ok(addresses) = found {
                entry.known = Some((Instant::now(), addresses.clone()));
            }
        }
    }

    fn prefer(&mut self, host: &str, address: IpAddr) {
        if let Some(entry) = self.names.get_mut(host) {
            entry.first = Some(address);
            entry.last = entry.last.filter(|last| *last != address);
        }
    }

    fn avoid(&mut self, host: &str, address: IpAddr) {
        if let Some(entry) = self.names.get_mut(host) {
            entry.last = Some(address);
            entry.first = entry.first.filter(|first| *first != address);
        }
    }

    /// The addresses in the order in which they are to be tried.
    fn ordered(&self, host: &str, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
        if let Some(NameState { first, last, .. }) = self.names.get(host) {
            addresses.sort_by_key(|address| match Some(*address) {
                address if address == *first => 0,
                address if address == *last => 2,
                _ => 1,
            });
        }
        addresses
    }
}

impl Helpers {
    fn none() -> Self {
        let (lookups, taken) = mpsc::channel();
        Self {
            lookups,
            taken: Arc::new(Mutex::new(taken)),
            started_for: Vec::new(),
        }
    }
}

impl NameState {
    /// The look-up in progress, unless its thread has ended.
    fn running(&self) -> Option<watch::Receiver<Option<LookupResult>>> {
        let running = self.running.as_ref();
        running.filter(|running| running.has_changed().is_ok()).cloned()
    }
}

/// A connection to the first of these addresses that accepts one, within the limit.
async fn connect_to(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    match timeout(CONNECT_LIMIT, first_to_accept(addresses)).await {
        Ok(stream) => stream,
        Err(_) => Err(silent(addresses)),
    }
}

/// Tries one address after the other; a silent attempt continues while the next one starts.
async fn first_to_accept(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let head_start = HEAD_START.min(ALL_TRIED / count);
    let mut attempts = JoinSet::new();
    let mut failures = Vec::new();
    let mut left = addresses.iter().copied();
    loop {
        let next = left.next();
        if let Some(address) = next {
            attempts.spawn(attempt(address));
        }
        let wait = if next.is_some() { head_start } else { CONNECT_LIMIT };
        match timeout(wait, attempts.join_next()).await {
            Ok(Some(Ok(Ok(stream)))) => return Ok(stream),
            Ok(Some(Ok(Err(failure)))) => failures.push(failure),
            Ok(Some(Err(_panic))) => failures.push("an attempt to connect broke off".into()),
            Ok(None) => return Err(io::Error::new(ErrorKind::ConnectionRefused, failures.join("; "))),
            Err(_) => {}
        }
    }
}

async fn attempt(address: SocketAddr) -> Result<TcpStream, String> {
    let stream = TcpStream::connect(address).await;
    stream.map_err(|error| format!("{address}: {}", crate::cause::in_kernel_words(&error)))
}

fn silent(addresses: &[SocketAddr]) -> io::Error {
    let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let sentence = format!(
        "no connection within {CONNECT_LIMIT:?} to {}",
        addresses.join(", ")
    );
    io::Error::new(ErrorKind::TimedOut, sentence)
}

#[cfg(test)]
mod tests;
