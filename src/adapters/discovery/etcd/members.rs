//! The members of the cluster, and the order in which a request tries them.
//!
//! Each member has its own connection, opened when it is needed. The member that answered last is tried
//! first. A request tries one member after the other until one answers: if one member is gone or frozen and
//! another is live, that costs time, but no heartbeat fails. All requests are idempotent, so they may be sent
//! twice.
//!
//! A connection on which a request was cancelled is not used again, because the server may be frozen, or gone
//! without closing the connection. Pings are no substitute: etcd closes the connections of clients that send
//! more than one ping in five seconds.

use super::connection::{Connection, Target};
use super::failure::Failure;
use crate::adapters::discovery::address::{HostPort, without_user};
use crate::adapters::discovery::pacing::{self, UNEXPECTED};
use crate::adapters::discovery::tls::Secured;
use crate::adapters::timers::timeout;
use crate::cause;
use crate::ports::CatalogueError;
use domain::plan;
use domain::time::Duration;
use etcd_client::{Client, ConnectOptions, Error};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

/// In the first round, how long one of several members may take before the next one is tried.
/// (docs/bounds.md)
const LONGEST_WAIT: Duration = Duration::from_millis(400);
/// The time limit for each attempt.
const LIMIT: Duration = plan::REQUEST_LIMIT;
/// How many rounds a request makes. That a connection is broken may be noticed only when it is used.
const ROUNDS: usize = 2;
/// The members of an etcd cluster, and which of them is tried first.
#[derive(Debug)]
pub struct Members {
    members: Vec<Member>,
    first: Cell<usize>,
}

impl Members {
    /// The members that a plan names.
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

    /// Tries one member after the other until one answers. `size` is the expected size of the answer in
    /// bytes.
    pub async fn request<T>(
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
            let longest_wait = if attempt < ways && ways > 1 {
                LONGEST_WAIT
            } else {
                LIMIT
            };
            match self.trial(index, size, &question, longest_wait).await {
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

    /// How many destinations there are to try: the members, or the addresses of the only member.
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
        longest_wait: Duration,
    ) -> Result<T, Failure> {
        let member = &self.members[index];
        let trial = Trial {
            members: self,
            index,
            connection: member.connection(),
            answered: Cell::new(false),
        };
        let answered = async {
            let client = trial.connection.client(&member.target).await?;
            question(client).await
        };
        let expected = trial.connection.expected.add(size);
        let answer = match timeout(longest_wait, answered).await {
            Some(answer) => answer.map_err(Failure::from),
            None => Err(trial.silence(longest_wait)),
        };
        drop(expected);
        let answered = !matches!(answer, Err(Failure::Unreachable(_)));
        trial.answered.set(answered);
        answer
    }
}

/// One member.
struct Member {
    /// The address as the operator wrote it, without user information.
    name: String,
    target: Target,
    connection: RefCell<Rc<Connection>>,
}

impl Member {
    fn new(url: &str, settings: &plan::Etcd) -> Result<Self, CatalogueError> {
        let shown = shown(url);
        let refused =
            |error: &str| CatalogueError::Failed(format!("'{shown}' is not an address of etcd: {error}"));
        let (is_secure, place) = endpoint(url).map_err(|error| refused(&error))?;
        let secured = is_secure
            .then(|| Secured::requiring_http2(&settings.tls, &place.host))
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

    /// Makes the next request use a new connection, to another address if the member has several.
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

/// A request in flight to one member. Unless it is answered, its connection is dropped with it.
struct Trial<'m> {
    members: &'m Members,
    index: usize,
    connection: Rc<Connection>,
    answered: Cell<bool>,
}

impl Trial<'_> {
    fn silence(&self, longest_wait: Duration) -> Failure {
        let cause = if self.connection.expected.is_flooded() {
            format!(
                "no answer within {longest_wait:?}, but {}",
                pacing::sentence(UNEXPECTED)
            )
        } else {
            format!("no answer within {longest_wait:?}")
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

/// Whether the member uses TLS, and its host and port.
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

/// A URL without user name and password, for logs.
fn shown(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", without_user(rest).1),
        None => without_user(url).1.into(),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_user_information() {
        assert_eq!(shown("http://me:secret@etcd:2379/x"), "http://etcd:2379/x");
        assert_eq!(shown("me:secret@etcd"), "etcd");
    }
}
