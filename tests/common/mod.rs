//! What the tests of the whole program share: waiting for a fact with a deadline.
//!
//! Nothing here sleeps and hopes: a fact is looked for until it holds, and the test fails if it does not in
//! time.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How long a fact may take that comes promptly, on a machine that has much else to do. Whoever is not told of it
/// waits several times longer.
pub const PROMPTLY: Duration = Duration::from_secs(10);

/// Runs a test on one thread, as the program runs.
pub fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(tokio::task::LocalSet::new().run_until(test));
}

/// Looks until it finds something; fails if that takes longer than `limit`.
pub async fn within<T>(limit: Duration, fact: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let found = timeout(limit, async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(5)).await;
        }
    });
    match found.await {
        Ok(found) => found,
        Err(_) => panic!("not within {limit:?}: {fact}"),
    }
}

/// Runs `fact` beside `waiting` and gives the waiting up when it is done; fails if the waiting ends before.
pub async fn while_waiting<T: Debug>(waiting: impl Future<Output = T>, fact: impl Future<Output = ()>) {
    let (mut waiting, mut fact) = (pin!(waiting), pin!(fact));
    poll_fn(
        |context| match (waiting.as_mut().poll(context), fact.as_mut().poll(context)) {
            (_, Poll::Ready(())) => Poll::Ready(()),
            (Poll::Ready(answer), Poll::Pending) => panic!("it does not wait, it is answered {answer:?}"),
            (Poll::Pending, Poll::Pending) => Poll::Pending,
        },
    )
    .await;
}

/// Runs both at the same time until both are done.
pub async fn both<A, B>(one: impl Future<Output = A>, other: impl Future<Output = B>) -> (A, B) {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let (mut first, mut second) = (None, None);
    poll_fn(|context| {
        if first.is_none() {
            first = ready(one.as_mut().poll(context));
        }
        if second.is_none() {
            second = ready(other.as_mut().poll(context));
        }
        match (first.take(), second.take()) {
            (Some(first), Some(second)) => Poll::Ready((first, second)),
            (one, other) => {
                (first, second) = (one, other);
                Poll::Pending
            }
        }
    })
    .await
}

fn ready<T>(poll: Poll<T>) -> Option<T> {
    match poll {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}
