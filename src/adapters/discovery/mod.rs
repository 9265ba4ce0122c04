//! The catalogues, and the dispatcher that sends requests to the one in use.
//!
//! Each request is a task of its own, so that a request that hangs delays no other. Its answer, or the error
//! after its time limit, is always posted to the inbox.

pub(super) mod address;
pub mod consul;
pub mod directory;
#[cfg(feature = "etcd")]
pub mod etcd;
#[cfg(not(feature = "etcd"))]
#[path = "without_etcd.rs"]
pub mod etcd;
mod metered;
pub mod names;
mod pacing;
pub(super) mod tls;
mod values;

use crate::adapters::inbox::InboxSender;
use crate::adapters::tasks::spawn_local;
use crate::adapters::timers::timeout;
use crate::cause::without_user_information;
use crate::panics;
use crate::ports::{Catalogue, CatalogueError, Discovery, Renewal};
use async_trait::async_trait;
use consul::Consul;
use directory::Directory;
use domain::catalogue::{Answer, Endpoint, Found, Listing, LookUp, Query, Request};
use domain::plan::{self, Registration};
use domain::time::Duration;
use domain::{Event, Ticket};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::rc::Rc;
use tokio::task::AbortHandle;

/// Whether this program was built with etcd.
pub const HAS_ETCD: bool = etcd::IS_BUILT_IN;

/// Opens the catalogue that a plan names.
///
/// # Errors
/// The description of the catalogue is invalid, so that it could never be reached.
pub fn open(catalogue: &plan::Catalogue) -> Result<Rc<dyn Catalogue>, CatalogueError> {
    Ok(match catalogue {
        plan::Catalogue::Consul(consul) => Rc::new(Consul::new(consul)?),
        plan::Catalogue::Etcd(etcd) => etcd::open(etcd)?,
        plan::Catalogue::Directory { path } => Rc::new(Directory::new(path)),
    })
}

/// Records in the plan a fingerprint of the files that TLS uses and of that of the token, so that a plan with replaced
/// certificates or another token differs from the one before.
pub fn note_contents(catalogue: &mut plan::Catalogue) {
    if let Some(tls) = catalogue.tls_mut() {
        tls.contents = tls::contents(tls);
    }
    if let plan::Catalogue::Consul(consul) = catalogue
        && let Some(token) = consul::token::fingerprint(consul)
    {
        let mut hash = DefaultHasher::new();
        (consul.tls.contents, token).hash(&mut hash);
        consul.tls.contents = hash.finish();
    }
}

/// Sends requests to the catalogue in use. Runs on a tokio `LocalSet`.
pub struct Dispatcher {
    catalogue: Rc<dyn Catalogue>,
    inbox_sender: InboxSender,
    on_their_way: BTreeMap<Ticket, AbortHandle>,
}

impl Dispatcher {
    /// A dispatcher that posts answers to the inbox. It has no catalogue until the driver gives it one.
    pub fn new(inbox_sender: InboxSender) -> Self {
        let none = CatalogueError::Failed("no catalogue is configured".into());
        Self {
            catalogue: Rc::new(UnusableCatalogue(none)),
            inbox_sender,
            on_their_way: BTreeMap::new(),
        }
    }
}

impl Discovery for Dispatcher {
    fn connect(&mut self, catalogue: &plan::Catalogue) {
        self.catalogue = open(catalogue).unwrap_or_else(|error| Rc::new(UnusableCatalogue(error)));
    }

    fn request(&mut self, ticket: Ticket, request: Request, connections: Option<u32>, limit: Duration) {
        let catalogue = Rc::clone(&self.catalogue);
        catalogue.allow(connections);
        let inbox_sender = self.inbox_sender.clone();
        // A future contains a value once for each function that the value is passed to, and thousands of futures may wait; a
        // pointer is small.
        let request = Box::new(request);
        let task = spawn_local(async move {
            let answered = panics::caught(perform(&*catalogue, &request));
            let answer = match timeout(limit, answered).await {
                Some(answer) => answer.unwrap_or_else(|panicked| Answer::Failed(panicked.to_string())),
                None => Answer::Failed(format!("no answer within {limit:?}")),
            };
            inbox_sender.post(Event::Answered(ticket, answer));
        });
        self.on_their_way.retain(|_, task| !task.is_finished());
        self.on_their_way.insert(ticket, task.abort_handle());
    }

    fn cancel(&mut self, ticket: Ticket) {
        if let Some(task) = self.on_their_way.remove(&ticket) {
            task.abort();
        }
    }
}

async fn perform(catalogue: &dyn Catalogue, request: &Request) -> Answer {
    let answer = match request {
        Request::Register(registration) => catalogue.register(registration).await.map(|()| Answer::Done),
        Request::Renew(registration) => catalogue.renew(registration).await.map(Answer::from),
        Request::Report(report) => catalogue.report(report).await.map(Answer::from),
        Request::Inspect(registration) => catalogue.holder(registration).await.map(Answer::Holder),
        Request::Deregister(registration) => catalogue.deregister(registration).await.map(|()| Answer::Done),
        Request::Instances(query) => catalogue.instances(query).await.map(Answer::Instances),
        Request::LookUp(look_up) => catalogue.look_up(look_up).await.map(Answer::Found),
    };
    answer.unwrap_or_else(Answer::from)
}

impl From<Renewal> for Answer {
    fn from(renewal: Renewal) -> Self {
        match renewal {
            Renewal::Renewed => Self::Done,
            Renewal::Removed => Self::Removed,
            Renewal::Unknown(cause, holder) => Self::Unknown(cause, holder),
        }
    }
}

impl From<CatalogueError> for Answer {
    fn from(error: CatalogueError) -> Self {
        match error {
            CatalogueError::Failed(cause) => Self::Failed(without_user_information(&cause)),
            CatalogueError::Busy(cause) => Self::Busy(without_user_information(&cause)),
        }
    }
}

/// A catalogue that cannot be opened: every request fails with the reason.
struct UnusableCatalogue(CatalogueError);

#[async_trait(?Send)]
impl Catalogue for UnusableCatalogue {
    async fn register(&self, _: &Registration) -> Result<(), CatalogueError> {
        Err(self.0.clone())
    }

    async fn renew(&self, _: &Registration) -> Result<Renewal, CatalogueError> {
        Err(self.0.clone())
    }

    async fn holder(&self, _: &Registration) -> Result<Option<Endpoint>, CatalogueError> {
        Err(self.0.clone())
    }

    async fn deregister(&self, _: &Registration) -> Result<(), CatalogueError> {
        Err(self.0.clone())
    }

    async fn instances(&self, _: &Query) -> Result<Listing, CatalogueError> {
        Err(self.0.clone())
    }

    async fn look_up(&self, _: &LookUp) -> Result<Found, CatalogueError> {
        Err(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::MachineClock;
    use crate::adapters::inbox::Queue;
    use crate::ports::{Inbox, MockCatalogue};

    #[test]
    fn a_panic_is_a_failed_request_and_the_next_request_is_sent() {
        let mut catalogue = MockCatalogue::new();
        catalogue.expect_allow().return_const(());
        let instances = catalogue.expect_instances().times(1);
        instances.returning(|_| panic!("a fault of the catalogue"));
        catalogue.expect_instances().returning(|_| Ok(Listing::default()));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        tokio::task::LocalSet::new().block_on(&runtime.unwrap(), async {
            let mut queue = Queue::new(MachineClock::start());
            let mut dispatcher = Dispatcher::new(queue.sender());
            dispatcher.catalogue = Rc::new(catalogue);
            let query = Query {
                service: "app".into(),
                after: None,
                wait: Duration::ZERO,
                ..Default::default()
            };
            for number in 1..=2 {
                let request = Request::Instances(query.clone());
                dispatcher.request(Ticket(number), request, None, Duration::from_secs(20));
            }
            let first = queue.next(None).await;
            let failed = matches!(first, Event::Answered(Ticket(1), Answer::Failed(_)));
            assert!(failed, "{first:?}");
            let second = Event::Answered(Ticket(2), Answer::Instances(Listing::default()));
            assert_eq!(queue.next(None).await, second);
        });
    }
}
