//! The queue of events for the driver, in the order of their arrival.
//!
//! Each adapter that reports events holds an [`InboxSender`]. While the queue is empty, the driver sleeps
//! until its deadline.

use crate::adapters::clock::MachineClock;
use crate::adapters::tasks::spawn_local;
use crate::adapters::timers::Timers;
use crate::panics;
use crate::ports::Inbox;
use async_trait::async_trait;
use domain::signal::Signal;
use domain::{Event, Instant};
use std::future::{pending, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use tokio::sync::{Notify, mpsc};
use tokio::time::sleep_until;

/// The queue of events.
#[derive(Debug)]
pub struct Queue {
    clock: MachineClock,
    events: mpsc::UnboundedReceiver<Event>,
    inbox_sender: InboxSender,
    /// None in tests of adapters.
    timers: Option<Rc<Timers>>,
}

/// A sender of events to the queue.
#[derive(Clone, Debug)]
pub struct InboxSender {
    events: mpsc::UnboundedSender<Event>,
    /// How many events are in the queue.
    count: Arc<AtomicUsize>,
    broken: Arc<Notify>,
}

impl Queue {
    /// An empty queue whose deadlines refer to `clock`.
    pub fn new(clock: MachineClock) -> Self {
        let (sender, events) = mpsc::unbounded_channel();
        let inbox_sender = InboxSender {
            events: sender,
            count: Arc::default(),
            broken: Arc::default(),
        };
        Self {
            clock,
            events,
            inbox_sender,
            timers: None,
        }
    }

    /// As [`Self::new`], with a timer of the kernel for all deadlines of this thread ([`Timers::install`]).
    ///
    /// # Errors
    /// The kernel has no timer or no descriptor for it.
    pub fn with_kernel_timer(clock: MachineClock) -> io::Result<Self> {
        let timers = Some(Timers::install(clock)?);
        Ok(Self {
            timers,
            ..Self::new(clock)
        })
    }

    /// Another sender to this queue.
    pub fn sender(&self) -> InboxSender {
        self.inbox_sender.clone()
    }

    /// The result of `work`; `None` if SIGTERM or SIGINT arrives first. Other events stay in the queue.
    pub async fn unless_stopped<T>(&mut self, work: impl Future<Output = T>) -> Option<T> {
        let mut work = pin!(work);
        let mut kept = Vec::new();
        let done = loop {
            let mut event = pin!(self.event());
            let happened = poll_fn(|context| match work.as_mut().poll(context) {
                Poll::Ready(done) => Poll::Ready(Err(done)),
                Poll::Pending => event.as_mut().poll(context).map(Ok),
            });
            match happened.await {
                Err(done) => break Some(done),
                Ok(Event::Signal(Signal::TERM | Signal::INT)) => break None,
                Ok(event) => kept.push(event),
            }
        };
        kept.into_iter().for_each(|event| self.inbox_sender.post(event));
        done
    }

    /// Waits until a task has panicked that posts events ([`InboxSender::rely_on`]).
    pub fn broken(&self) -> impl Future<Output = ()> + 'static {
        let broken = Arc::clone(&self.inbox_sender.broken);
        async move { broken.notified().await }
    }

    async fn event(&mut self) -> Event {
        match self.events.recv().await {
            Some(event) => {
                self.inbox_sender.count.fetch_sub(1, Ordering::Relaxed);
                event
            }
            // The queue holds a sender itself, so the channel is never closed.
            None => pending().await,
        }
    }
}

impl InboxSender {
    /// Adds an event to the queue. After the end of the driver the event is dropped.
    pub fn post(&self, event: Event) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.events.send(event).ok();
    }

    /// Runs a task whose events no other task posts. If it panics, the future of [`Queue::broken`] ends. Must
    /// be called on a tokio `LocalSet`.
    pub fn rely_on(&self, task: impl Future<Output = ()> + 'static) {
        let broken = Arc::clone(&self.broken);
        spawn_local(async move {
            if panics::caught(task).await.is_err() {
                broken.notify_one();
            }
        });
    }

    /// Whether the queue has events.
    pub fn has_events(&self) -> bool {
        self.count.load(Ordering::Relaxed) > 0
    }
}

#[async_trait(?Send)]
impl Inbox for Queue {
    async fn next(&mut self, deadline: Option<Instant>) -> Event {
        let timers = self.timers.clone();
        let clock = self.clock;
        let mut end = pin!(async {
            match (timers, deadline) {
                (Some(timers), _) => timers.wait_until(deadline).await,
                (None, Some(deadline)) => sleep_until(clock.as_std(deadline).into()).await,
                (None, None) => pending().await,
            }
        });
        let mut event = pin!(self.event());
        poll_fn(|context| match event.as_mut().poll(context) {
            Poll::Ready(event) => Poll::Ready(event),
            Poll::Pending => end.as_mut().poll(context).map(|()| Event::Woken),
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::timers;
    use crate::ports::Clock;
    use domain::signal::Signal;
    use domain::time::Duration;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(future)
    }

    #[test]
    fn events_come_in_the_order_they_were_posted() {
        block_on(async {
            let mut queue = Queue::new(MachineClock::start());
            let events = [
                Event::Signal(Signal::TERM),
                Event::Signal(Signal::HUP),
                Event::Woken,
            ];
            for event in &events {
                queue.sender().post(event.clone());
            }
            for event in events {
                assert_eq!(queue.next(None).await, event);
            }
        });
    }

    #[test]
    fn a_deadline_does_not_wake_too_early() {
        block_on(async {
            let clock = MachineClock::start();
            let mut queue = Queue::new(clock);
            let deadline = clock.now() + Duration::from_millis(20);
            assert_eq!(queue.next(Some(deadline)).await, Event::Woken);
            assert!(clock.now() >= deadline);
        });
    }

    #[test]
    fn an_event_comes_before_its_deadline() {
        block_on(async {
            let clock = MachineClock::start();
            let mut queue = Queue::new(clock);
            queue.sender().post(Event::Signal(Signal::USR1));
            let deadline = clock.now() + Duration::from_secs(3600);
            assert_eq!(queue.next(Some(deadline)).await, Event::Signal(Signal::USR1));
        });
    }

    #[test]
    fn a_time_limit_ends_while_events_come_without_pause() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        tokio::task::LocalSet::new().block_on(&runtime.unwrap(), async {
            let clock = MachineClock::start();
            let mut queue = Queue::with_kernel_timer(clock).unwrap();
            let limited = spawn_local(timers::timeout(Duration::from_millis(20), pending::<()>()));
            let late = clock.now() + Duration::from_secs(20);
            while !limited.is_finished() {
                queue.sender().post(Event::Woken);
                queue.next(None).await;
                assert!(clock.now() < late);
            }
        });
    }

    #[test]
    fn a_panic_of_a_necessary_task_is_reported_and_its_normal_end_is_not() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        tokio::task::LocalSet::new().block_on(&runtime.unwrap(), async {
            let queue = Queue::new(MachineClock::start());
            queue.sender().rely_on(async {});
            let soon = Duration::from_millis(20);
            assert!(tokio::time::timeout(soon, queue.broken()).await.is_err());
            queue.sender().rely_on(async { panic!("a fault of a task") });
            let in_time = Duration::from_secs(20);
            assert!(tokio::time::timeout(in_time, queue.broken()).await.is_ok());
        });
    }
}
