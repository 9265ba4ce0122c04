//! The members of the cluster, and how one of them gets asked.
//!
//! Each has a connection of its own, opened when it is needed, and the last one that answered is asked first.
//! A question goes round until one answers: a member that is gone or frozen beside a live one costs time and no
//! heartbeat. All our questions may be asked twice.
//!
//! A connection on which a question was given up is never used for another: whoever does not answer may be
//! frozen, or be gone without having said so. There are no pings for that: etcd hangs up on clients that send
//! more than one in five seconds.

use super::connection::{Connection, Target};
use super::failure::Failure;
use super::meter;
use crate::adapters::discovery::address::{self, HostPort};
use crate::adapters::discovery::tls::Secured;
use crate::cause;
use crate::ports::CatalogueError;
use domain::plan;
use domain::time::Duration;
use etcd_client::{Client, ConnectOptions, Error};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use tokio::time::timeout;

/// How long one of several members may take before the next is asked, the first time round. (docs/bounds.md)
const PATIENCE: Duration = Duration::from_millis(400);
/// How long any may take at the most.
const LIMIT: Duration = plan::REQUEST_LIMIT;
/// How often a question goes round. A connection may turn out to be broken only when it is used.
const ROUNDS: usize = 2;
/// The members of an etcd cluster and which of them is asked first.
#[derive(Debug)]
pub struct Members {
    members: Vec<Member>,
    first: Cell<usize>,
}

impl Members {
    /// The members a plan names.
    pub fn new(settings: &plan::Etcd) -> Result<Self, CatalogueError> {
        let members = settings.endpoints.iter();
        let members: Result<Vec<_>, _> = members.map(|url| Member::new(url, settings)).collect();
        let members = members?;
        if members.is_empty() {
            return Err(CatalogueError::Failed("no endpoint of etcd is given".into()));
        }
        Ok(Self {
            members,
            first: Cell::new(0),
        })
    }

    /// Asks one after the other until one answers; the answer may have this size.
    pub async fn ask<T>(
        &self,
        size: usize,
        question: impl AsyncFn(&Client) -> Result<T, Error>,
    ) -> Result<T, CatalogueError> {
        let count = self.members.len();
        let mut failures = vec![String::new(); count];
        let first = self.first.get();
        let ways = self.ways().await;
        for attempt in 0..ROUNDS * ways {
            let index = (first + attempt) % count;
            let patience = if attempt < ways && ways > 1 {
                PATIENCE
            } else {
                LIMIT
            };
            match self.trial(index, size, &question, patience).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::Refused(refusal)) => return Err(CatalogueError::Failed(refusal)),
                Err(Failure::Unreachable(cause)) => failures[index] = cause,
            }
        }
        let failures = self.members.iter().zip(failures);
        let failures: Vec<_> = failures
            .map(|(member, cause)| format!("{}: {cause}", member.name))
            .collect();
        Err(CatalogueError::Failed(failures.join("; ")))
    }

    /// How many there are to be asked: the members, or the addresses of the only one.
    async fn ways(&self) -> usize {
        match &self.members[..] {
            [member] => member.connection().ways(&member.target).await,
            several => several.len(),
        }
    }

    async fn trial<T>(
        &self,
        index: usize,
        size: usize,
        question: impl AsyncFn(&Client) -> Result<T, Error>,
        patience: Duration,
    ) -> Result<T, Failure> {
        let member = &self.members[index];
        let trial = Trial {
            members: self,
            index,
            connection: member.connection(),
            answered: Cell::new(false),
        };
        let asked = async {
            let client = trial.connection.client(&member.target).await?;
            question(client).await
        };
        let expected = trial.connection.asked.ask(size);
        let answer = match timeout(patience, asked).await {
            Ok(answer) => answer.map_err(Failure::from),
            Err(_) => Err(trial.silence(patience)),
        };
        drop(expected);
        let answered = !matches!(answer, Err(Failure::Unreachable(_)));
        trial.answered.set(answered);
        answer
    }
}

/// One member.
struct Member {
    /// As the operator wrote it, without user information.
    name: String,
    target: Target,
    connection: RefCell<Rc<Connection>>,
}

impl Member {
    fn new(url: &str, settings: &plan::Etcd) -> Result<Self, CatalogueError> {
        let shown = address::shown(url);
        let refused =
            |error: &str| CatalogueError::Failed(format!("'{shown}' is not an address of etcd: {error}"));
        let (is_secure, place) = endpoint(url).map_err(|error| refused(&error))?;
        let secured = is_secure
            .then(|| secured(&settings.tls, &place.host))
            .transpose()?;
        let target = Target::new(place, options(settings), secured);
        Ok(Self {
            name: cause::without_user_information(url),
            target: target.map_err(|error| refused(&cause::in_full(&error)))?,
            connection: RefCell::default(),
        })
    }

    fn connection(&self) -> Rc<Connection> {
        Rc::clone(&self.connection.borrow())
    }

    /// The next question gets another connection, and to another address if there are several.
    fn replace(&self, connection: &Rc<Connection>) {
        let mut current = self.connection.borrow_mut();
        if Rc::ptr_eq(&current, connection) {
            *current = Rc::default();
            connection.avoid(&self.target);
        }
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Member").field(&self.name).finish()
    }
}

/// A question on its way to one member, whose connection goes with it unless it is answered.
struct Trial<'m> {
    members: &'m Members,
    index: usize,
    connection: Rc<Connection>,
    answered: Cell<bool>,
}

impl Trial<'_> {
    fn silence(&self, patience: Duration) -> Failure {
        let cause = if self.connection.asked.is_flooded() {
            format!("no answer within {patience:?}, but {}", meter::sentence())
        } else {
            format!("no answer within {patience:?}")
        };
        Failure::Unreachable(cause)
    }
}

impl Drop for Trial<'_> {
    fn drop(&mut self) {
        let Members { members, first } = self.members;
        if self.answered.get() {
            first.set(self.index);
            return;
        }
        members[self.index].replace(&self.connection);
        if first.get() == self.index {
            first.set((self.index + 1) % members.len());
        }
    }
}

/// Whether a member is spoken to over TLS, and where it is.
fn endpoint(text: &str) -> Result<(bool, HostPort), String> {
    let (scheme, rest) = text.split_once("://").ok_or("it has no scheme")?;
    let (is_secure, port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (false, 80),
        "https" => (true, 443),
        _ => return Err("the scheme is neither http nor https".into()),
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.contains(['/', '?', '#', '@']) {
        return Err("nothing but scheme://host:port is allowed".into());
    }
    Ok((is_secure, HostPort::parse(authority, port)?))
}

fn options(settings: &plan::Etcd) -> ConnectOptions {
    let options = ConnectOptions::new()
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    match &settings.login {
        Some((user, password)) => options.with_user(user, &password.0),
        None => options,
    }
}

fn secured(tls: &plan::Tls, host: &str) -> Result<Secured, CatalogueError> {
    if !tls.verify {
        let refusal = "etcd's certificate is always checked, `verify: false` is for Consul only: name the \
                       authority in `cafile`, and the name in the certificate in `servername`";
        return Err(CatalogueError::Failed(refusal.into()));
    }
    Secured::for_http2(tls, host)
}
