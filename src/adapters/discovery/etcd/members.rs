//! The members of the cluster, and how one of them gets asked.
//!
//! Each has a connection of its own, opened when it is needed, and the last one that answered is asked first.
//! A question goes round until one answers: a member that is gone or frozen beside a live one costs time and no
//! heartbeat. All our questions may be asked twice.
//!
//! A connection on which a question was given up is never used for another: whoever does not answer may be
//! frozen, or be gone without having said so. There are no pings for that: etcd hangs up on clients that send
//! more than one in five seconds.

use super::failure::Failure;
use crate::adapters::discovery::tls;
use crate::ports::CatalogueError;
use domain::plan;
use domain::time::Duration;
use etcd_client::{Certificate, Client, ConnectOptions, Error, Identity, TlsOptions};
use reqwest::Url;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use tokio::sync::OnceCell;
use tokio::time::timeout;

/// How long one of several members may take before the next is asked, the first time round. (docs/bounds.md)
const PATIENCE: Duration = Duration::from_millis(400);
/// How long any may take at the most.
const LIMIT: Duration = plan::REQUEST_LIMIT;
/// How often a question goes round. A connection may turn out to be broken only when it is used.
const ROUNDS: usize = 2;
/// The time between two pings on a watch where nothing happens, and how long the answer may take.
const PING: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(2));

/// See the module.
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

    /// Asks one after the other until one answers.
    pub async fn ask<T>(
        &self,
        question: impl AsyncFn(&Client) -> Result<T, Error>,
    ) -> Result<T, CatalogueError> {
        let count = self.members.len();
        let mut failures = vec![String::new(); count];
        let first = self.first.get();
        for attempt in 0..ROUNDS * count {
            let index = (first + attempt) % count;
            let patience = if attempt < count && count > 1 {
                PATIENCE
            } else {
                LIMIT
            };
            match self.trial(index, &question, patience).await {
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

    async fn trial<T>(
        &self,
        index: usize,
        question: impl AsyncFn(&Client) -> Result<T, Error>,
        patience: Duration,
    ) -> Result<T, Failure> {
        let trial = Trial {
            members: self,
            index,
            connection: self.members[index].connection(),
            answered: Cell::new(false),
        };
        let asked = async {
            let client = self.members[index].client(&trial.connection).await?;
            question(client).await
        };
        let answer = match timeout(patience, asked).await {
            Ok(answer) => answer.map_err(Failure::from),
            Err(_) => Err(Failure::Unreachable(format!("no answer within {patience:?}"))),
        };
        let answered = !matches!(answer, Err(Failure::Unreachable(_)));
        trial.answered.set(answered);
        answer
    }
}

/// One member.
struct Member {
    /// As the operator wrote it.
    name: String,
    url: Url,
    options: ConnectOptions,
    connection: RefCell<Connection>,
}

/// A connection that may have to be opened first; whoever needs it at that moment waits for the one who does.
type Connection = Rc<OnceCell<Client>>;

impl Member {
    fn new(url: &str, settings: &plan::Etcd) -> Result<Self, CatalogueError> {
        let parsed = endpoint(url)
            .map_err(|error| CatalogueError::Failed(format!("'{url}' is not an address of etcd: {error}")))?;
        Ok(Self {
            name: url.into(),
            options: options(&parsed, settings)?,
            url: parsed,
            connection: RefCell::default(),
        })
    }

    fn connection(&self) -> Connection {
        Rc::clone(&self.connection.borrow())
    }

    async fn client<'c>(&self, connection: &'c Connection) -> Result<&'c Client, Error> {
        let open = || Client::connect([self.url.as_str()], Some(self.options.clone()));
        connection.get_or_try_init(open).await
    }

    /// The next question gets another connection.
    fn replace(&self, connection: &Connection) {
        let mut current = self.connection.borrow_mut();
        if Rc::ptr_eq(&current, connection) {
            *current = Connection::default();
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
    connection: Connection,
    answered: Cell<bool>,
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

fn endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    if url.scheme() != "http" && url.scheme() != "https" {
        return Err("the scheme is neither http nor https".into());
    }
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !bare || !url.username().is_empty() || url.password().is_some() {
        return Err("nothing but scheme://host:port is allowed".into());
    }
    Ok(url)
}

fn options(url: &Url, settings: &plan::Etcd) -> Result<ConnectOptions, CatalogueError> {
    let (interval, limit) = PING;
    let mut options = ConnectOptions::new()
        .with_keep_alive(interval, limit)
        .with_keep_alive_while_idle(false)
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    if let Some((user, password)) = &settings.login {
        options = options.with_user(user, &password.0);
    }
    if url.scheme() == "https" {
        options = options.with_tls(secure(&settings.tls)?);
    }
    Ok(options)
}

fn secure(tls: &plan::Tls) -> Result<TlsOptions, CatalogueError> {
    if !tls.verify {
        let refusal = "etcd's certificate is always checked, `verify: false` is for Consul only: name the \
                       authority in `cafile`, and the name in the certificate in `servername`";
        return Err(CatalogueError::Failed(refusal.into()));
    }
    let mut options = match tls::authorities(tls)? {
        Some(texts) => TlsOptions::new().ca_certificates(texts.into_iter().map(Certificate::from_pem)),
        None => TlsOptions::new().with_native_roots(),
    };
    if let Some(tls::Proof { certificate, key, .. }) = tls::proof(tls)? {
        options = options.identity(Identity::from_pem(certificate, key));
    }
    if let Some(name) = &tls.server_name {
        options = options.domain_name(name);
    }
    Ok(options)
}
