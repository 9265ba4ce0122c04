//! Health checks without a process: requests over HTTP and gRPC, and connections over TCP.
//!
//! Each run is a task of its own on the loop's thread, so that a server that hangs delays nothing else. Its result is always
//! posted to the inbox, at the latest after its time limit. Connections, TLS and the limits on what a server may send are
//! those of the catalogues; names are looked up on threads of their own. No proxy is used and no redirect followed.
//!
//! A connection is kept for the next run of the same probe, unless that is far away. It is closed when the probe is ended.

mod grpc;
mod http;
#[cfg(test)]
mod tests;

use crate::adapters::clock;
use crate::adapters::discovery::address::HostPort;
use crate::adapters::discovery::consul::wire::{Route, Target};
use crate::adapters::discovery::names::Purpose;
use crate::adapters::discovery::tls::{self, Secured};
use crate::adapters::inbox::InboxSender;
use crate::adapters::tasks::spawn_local;
use crate::cause;
use crate::panics;
use crate::ports::Probes;
use domain::plan::{Check, Plan, Role, Tls};
use domain::probe::{Place, Probe, ProbeEnd, ProbeTarget, Verdict};
use domain::{Event, Ticket};
use grpc::Grpc;
use http::Http;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use tokio::task::AbortHandle;
use tokio::time::timeout;

/// How much of an answer's body is read (docs/bounds.md)
const MOST_BODY: usize = 64 * 1024;
/// How much of it is logged and reported, in bytes (docs/bounds.md)
const LONGEST_OUTPUT: usize = 1024;
/// How many settings of TLS are kept for further probes with the same ones (docs/bounds.md)
const MOST_SETTINGS: usize = 16;

/// Records in the plan a fingerprint of the files that the TLS of probes uses, and opens each probe on trial.
///
/// # Errors
/// A file cannot be read or used: a sentence that names the service.
pub fn prepare(plan: &mut Plan) -> Result<(), String> {
    let mut settings = Settings::default();
    for service in &mut plan.services {
        let name = service.registration.name.clone();
        for check in service.all_checks_mut() {
            let Check::Probe(probe) = check else {
                continue;
            };
            if let Some(tls) = probe.tls_mut() {
                tls.contents = tls::contents(tls);
            }
            let opened = Client::new(probe, &mut settings);
            opened.map_err(|cause| format!("the health check {}of {name}: {cause}", named(&probe.role)))?;
        }
    }
    Ok(())
}

/// The name of the check with this role and a space, if it has one.
fn named(role: &Role) -> String {
    match role {
        Role::Health {
            check: Some(check), ..
        } => format!("{check} "),
        _ => String::new(),
    }
}

/// Runs probes. Runs on a tokio `LocalSet`.
#[derive(Debug)]
pub struct Prober {
    inbox_sender: InboxSender,
    running: BTreeMap<Ticket, AbortHandle>,
    /// The clients of probes that do not run at present, with the number of the last run of each.
    resting: Rc<RefCell<BTreeMap<Probe, (Ticket, Client)>>>,
    settings: Settings,
}

impl Prober {
    /// Posts results to the inbox.
    pub fn new(inbox_sender: InboxSender) -> Self {
        Self {
            inbox_sender,
            running: BTreeMap::new(),
            resting: Rc::default(),
            settings: Settings::default(),
        }
    }
}

impl Probes for Prober {
    fn start(&mut self, ticket: Ticket, probe: &Probe) {
        let client = self.resting.borrow_mut().remove(probe);
        let client = match client {
            Some((_, client)) => Ok(client),
            None => Client::new(probe, &mut self.settings),
        };
        let (resting, inbox_sender) = (Rc::clone(&self.resting), self.inbox_sender.clone());
        let probe = probe.clone();
        let task = spawn_local(async move {
            let Outcome { end, output } = match client {
                Ok(client) => {
                    let outcome = run(&client, &probe).await;
                    if !probe.keeps_connection {
                        client.close();
                    }
                    resting.borrow_mut().insert(probe, (ticket, client));
                    outcome
                }
                Err(cause) => Outcome::failed(cause),
            };
            inbox_sender.post(Event::Probed(ticket, end, output));
        });
        self.running.retain(|_, task| !task.is_finished());
        self.running.insert(ticket, task.abort_handle());
    }

    fn end(&mut self, ticket: Ticket) {
        if let Some(task) = self.running.remove(&ticket) {
            task.abort();
        }
        let mut resting = self.resting.borrow_mut();
        resting.retain(|_, (last, _)| *last != ticket);
    }
}

/// Runs a probe within its time limit.
async fn run(client: &Client, probe: &Probe) -> Outcome {
    let stage = Stage::default();
    let ended = panics::caught(client.run(&stage));
    match timeout(clock::limit(probe.time_limit), ended).await {
        Ok(outcome) => outcome.unwrap_or_else(|panicked| Outcome::failed(panicked.to_string())),
        Err(_) => Outcome::new(
            Verdict::TimedOut,
            format!("{} within {:?}", stage.0.get(), probe.time_limit),
        ),
    }
}

/// What did not happen, if the time limit ends now.
#[derive(Debug)]
struct Stage(Cell<&'static str>);

impl Default for Stage {
    fn default() -> Self {
        Self(Cell::new("no answer"))
    }
}

/// The result of a probe.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    end: ProbeEnd,
    output: String,
}

impl Outcome {
    fn new(verdict: Verdict, detail: String) -> Self {
        Self {
            end: ProbeEnd {
                verdict,
                detail: printable(detail.as_bytes()),
            },
            output: String::new(),
        }
    }

    fn failed(cause: String) -> Self {
        Self::new(Verdict::Failed, cause)
    }

    fn of(passed: bool, detail: String) -> Self {
        let verdict = if passed { Verdict::Passed } else { Verdict::Failed };
        Self::new(verdict, detail)
    }

    /// The same with the beginning of an answer.
    fn with(self, body: &[u8]) -> Self {
        Self {
            output: printable(body),
            ..self
        }
    }
}

/// The beginning of a text from outside, with spaces in place of control characters.
fn printable(bytes: &[u8]) -> String {
    let beginning = &bytes[..bytes.len().min(LONGEST_OUTPUT)];
    let mut text = String::new();
    for character in String::from_utf8_lossy(beginning).chars() {
        let shown = match character {
            '\n' | '\t' => character,
            _ if character.is_control() => ' ',
            _ => character,
        };
        if text.len() + shown.len_utf8() > LONGEST_OUTPUT {
            break;
        }
        text.push(shown);
    }
    text
}

/// What runs one probe, with its connections.
#[derive(Debug)]
enum Client {
    Http(Box<Http>),
    Tcp(Place),
    Grpc(Box<Grpc>),
}

impl Client {
    /// Opens no connection yet.
    fn new(probe: &Probe, settings: &mut Settings) -> Result<Self, String> {
        Ok(match &probe.target {
            ProbeTarget::Http(http) => Self::Http(Box::new(Http::new(http, settings)?)),
            ProbeTarget::Tcp(place) => {
                Purpose::Check.prepare(&place.host);
                Self::Tcp(place.clone())
            }
            ProbeTarget::Grpc(grpc) => Self::Grpc(Box::new(Grpc::new(grpc, probe.time_limit, settings)?)),
        })
    }

    async fn run(&self, stage: &Stage) -> Outcome {
        match self {
            Self::Http(http) => http.run(stage).await,
            Self::Tcp(place) => connect(place, stage).await,
            Self::Grpc(grpc) => grpc.run(stage).await,
        }
    }

    /// Closes the connections that are open.
    fn close(&self) {
        match self {
            Self::Http(http) => http.close(),
            Self::Tcp(_) => {}
            Self::Grpc(grpc) => grpc.close(),
        }
    }
}

async fn connect(place: &Place, stage: &Stage) -> Outcome {
    stage.0.set("no connection");
    match Purpose::Check.connect(&place.host, place.port).await {
        Ok(_) => Outcome::of(true, format!("{place} accepts connections")),
        Err(error) => Outcome::failed(cause::in_kernel_words(&error)),
    }
}

/// Settings of TLS with the files that they name, which probes with the same settings share.
#[derive(Debug, Default)]
struct Settings(BTreeMap<(Tls, bool), Secured>);

impl Settings {
    /// TLS to this host. The server has to speak HTTP/2 if that is `required`, otherwise it chooses.
    fn secured(&mut self, tls: &Tls, required: bool, host: &str) -> Result<Secured, String> {
        let key = (tls.clone(), required);
        if let Some(secured) = self.0.get(&key) {
            return secured.renamed(tls, host).map_err(|error| error.to_string());
        }
        let secured = match required {
            true => Secured::requiring_http2(tls, host),
            false => Secured::offering_http2(tls, host),
        };
        let secured = secured.map_err(|error| error.to_string())?;
        if self.0.len() >= MOST_SETTINGS {
            self.0.clear();
        }
        self.0.insert(key, secured.clone());
        Ok(secured)
    }

    /// The way to a server.
    fn route(
        &mut self,
        place: &Place,
        socket: Option<&String>,
        tls: Option<&Tls>,
        required: bool,
    ) -> Result<Route, String> {
        let target = match socket {
            Some(path) => Target::Socket(path.clone()),
            None => Target::Host(HostPort {
                host: place.host.clone(),
                port: place.port,
            }),
        };
        let secured = tls.map(|tls| self.secured(tls, required, &place.host));
        Ok(Route {
            target,
            proxy: None,
            secured: secured.transpose()?,
            purpose: Purpose::Check,
        })
    }
}
