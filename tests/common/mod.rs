//! Asynchronous helpers of the tests: polling a condition until a deadline, and running two futures together.

use std::fmt::Debug;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The time limit of a change that is reported at once, on a busy machine. A request that is not answered because of the
/// change waits several times longer.
pub const PROMPTLY: Duration = Duration::from_secs(10);

/// Runs a test on one thread, as the program runs.
pub fn run(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().expect("a runtime");
    runtime.block_on(tokio::task::LocalSet::new().run_until(test));
}

/// Calls `look` until it returns a value; panics with the description `fact` after `limit`.
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

/// Runs both futures until `fact` is done, then drops `waiting`; panics if `waiting` ends first.
pub async fn while_waiting<T: Debug>(waiting: impl Future<Output = T>, fact: impl Future<Output = ()>) {
    let (mut waiting, mut fact) = (pin!(waiting), pin!(fact));
    poll_fn(
        |context| match (waiting.as_mut().poll(context), fact.as_mut().poll(context)) {
            (_, Poll::Ready(())) => Poll::Ready(()),
            (Poll::Ready(answer), Poll::Pending) => panic!("the request was answered too early: {answer:?}"),
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
