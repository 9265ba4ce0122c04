//! The requests of clients of all servers: posts them to the inbox, and passes the answers of the core to the
//! connections that wait for them.
//!
//! A connection waits for a limited time; if it ends before, its answer is dropped.

use super::inbox::InboxSender;
use chrono::{DateTime, Utc};
use domain::Event;
use domain::control::{ControlAnswer, ControlRequest, RequestNumber};
use domain::time::Duration;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The sentence for a client whose request was not answered in time.
pub const NO_ANSWER: &str = "The shim did not answer in time.\n";

/// The answer of the core, and its calendar time.
#[derive(Debug)]
pub struct Answered {
    /// The answer.
    pub answer: ControlAnswer,
    /// When it was given.
    pub time: DateTime<Utc>,
}

/// The requests that wait for their answers; clones share them.
#[derive(Clone)]
pub struct Clients(Rc<Waiting>);

struct Waiting {
    inbox_sender: InboxSender,
    last: Cell<u64>,
    waiting: RefCell<BTreeMap<RequestNumber, oneshot::Sender<Answered>>>,
}

/// One request; its end is the end of the wait.
struct Place<'a>(&'a Waiting, RequestNumber);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.waiting.borrow_mut().remove(&self.1);
    }
}

impl Clients {
    /// Requests for the shim that reads this inbox.
    pub fn new(inbox_sender: InboxSender) -> Self {
        Self(Rc::new(Waiting {
            inbox_sender,
            last: Cell::new(0),
            waiting: RefCell::default(),
        }))
    }

    /// Sends a request to the core. `None` if there is no answer within the limit.
    pub async fn request(&self, request: ControlRequest, limit: Duration) -> Option<Answered> {
        let waiting = &*self.0;
        let number = RequestNumber(waiting.last.get() + 1);
        waiting.last.set(number.0);
        let (sender, answer) = oneshot::channel();
        waiting.waiting.borrow_mut().insert(number, sender);
        let _place = Place(waiting, number);
        waiting.inbox_sender.post(Event::Requested(number, request));
        timeout(limit, answer).await.ok()?.ok()
    }

    /// Passes an answer to its client. `now` is the calendar time of the answer.
    pub fn answer(&self, number: RequestNumber, answer: ControlAnswer, now: impl FnOnce() -> DateTime<Utc>) {
        let client = self.0.waiting.borrow_mut().remove(&number);
        if let Some(client) = client {
            // The client may be gone.
            client.send(Answered { answer, time: now() }).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::MachineClock;
    use crate::adapters::inbox::Queue;
    use crate::ports::Inbox as _;
    use tokio::task::{LocalSet, spawn_local};

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        LocalSet::new().block_on(&runtime.unwrap(), future)
    }

    #[test]
    fn each_client_gets_the_answer_to_its_own_request() {
        block_on(async {
            let mut inbox = Queue::new(MachineClock::start());
            let clients = Clients::new(inbox.sender());
            let ask = |request| {
                let clients = clients.clone();
                spawn_local(async move { clients.request(request, Duration::from_secs(1)).await })
            };
            let (ping, reload) = (ask(ControlRequest::Ping), ask(ControlRequest::Reload));
            let mut numbers = Vec::new();
            for request in [ControlRequest::Ping, ControlRequest::Reload] {
                match inbox.next(None).await {
                    Event::Requested(number, requested) if requested == request => numbers.push(number),
                    other => panic!("{other:?}"),
                }
            }
            let refused = ControlAnswer::Refused("no".into());
            clients.answer(numbers[1], refused.clone(), || DateTime::UNIX_EPOCH);
            clients.answer(numbers[0], ControlAnswer::Done, || DateTime::UNIX_EPOCH);
            assert_eq!(reload.await.unwrap().unwrap().answer, refused);
            assert_eq!(ping.await.unwrap().unwrap().answer, ControlAnswer::Done);
        });
    }

    #[test]
    fn a_client_that_is_gone_or_waited_long_enough_is_forgotten() {
        block_on(async {
            let inbox = Queue::new(MachineClock::start());
            let clients = Clients::new(inbox.sender());
            let late = clients
                .request(ControlRequest::Ping, Duration::from_secs(1))
                .await;
            assert!(late.is_none());
            let gone = clients.request(ControlRequest::Ping, Duration::from_secs(9));
            let gone = timeout(Duration::from_secs(1), gone).await;
            assert!(gone.is_err());
            assert!(clients.0.waiting.borrow().is_empty());
            clients.answer(RequestNumber(1), ControlAnswer::Done, || DateTime::UNIX_EPOCH);
        });
    }
}
