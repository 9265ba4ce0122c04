//! The thread that accesses the folder. A file system may hang (frozen, or on a server that is unreachable);
//! then only this thread hangs.
//!
//! The first request starts the thread. Requests wait for each other; those that change an entry go before those that
//! read, so that a heartbeat waits for one read at most. A request that was cancelled gives up its place, or stops at the
//! next file: so no more requests wait than the configuration has services and backends, each until its time limit, and
//! a file system that hangs does not make them pile up. When the catalogue is dropped, the thread ends; if it hangs,
//! nothing waits for it. Two requests never run at the same time.

use crate::adapters::descriptors::while_opening;
use crate::cause;
use crate::panics::caught_in;
use crate::ports::CatalogueError;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The limit on requests that wait for the folder: a configuration of 4 MiB, in which a backend takes 37 bytes at least,
/// has fewer services and backends. (docs/bounds.md)
const MOST_WAITING: usize = 120_000;
/// The limit on threads: the one in use, and those that hang in folders of earlier configurations
/// (docs/bounds.md)
const MOST_THREADS: usize = 64;
/// The stack of a thread, in bytes.
const STACK: usize = 512 * 1024;

/// How many threads of all folders of this process have not ended.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// Work for the thread.
type Job = Box<dyn FnOnce() + Send>;

/// Returns whether the request was cancelled.
pub(super) type IsAbandoned<'a> = &'a dyn Fn() -> bool;

/// Which requests go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// Those that write or remove an entry, or inspect it for that.
    Change,
    /// Those that list entries.
    Read,
}

/// The thread that accesses the folder, and the requests that wait for it.
pub(super) struct Worker {
    queue: Arc<Queue>,
    threads: &'static AtomicUsize,
}

/// The requests that wait, as the loop and the thread share them. Locked only for an instant.
#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// In the order in which they are begun.
    waiting: BTreeMap<Place, Job>,
    next: u64,
    has_thread: bool,
    is_closed: bool,
}

/// A place in the order of requests.
type Place = (Urgency, u64);

/// A request that waits or is running. Dropping this gives up its place.
struct Waiting {
    queue: Arc<Queue>,
    place: Place,
}

impl Default for Worker {
    fn default() -> Self {
        Self::counted(&THREADS)
    }
}

impl Worker {
    /// A worker whose thread counts towards this counter.
    fn counted(threads: &'static AtomicUsize) -> Self {
        Self {
            queue: Arc::default(),
            threads,
        }
    }

    /// Runs `work` on the thread. Dropping the future cancels the request. `work` is handed
    /// to the thread at once and is no part of the future, of which there may be thousands.
    ///
    /// # Errors
    /// The errors of `work`; the thread cannot be started, the work panicked, or too many requests wait for it.
    pub fn run<T, W>(
        &self,
        urgency: Urgency,
        work: W,
    ) -> impl Future<Output = Result<T, CatalogueError>> + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(IsAbandoned<'_>) -> Result<T, CatalogueError> + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let job = move || {
            if !sender.is_closed() {
                let done = work(&|| sender.is_closed());
                sender.send(done).ok();
            }
        };
        let waiting = self.hand_in(urgency, Box::new(job));
        async move {
            let _waiting = waiting?;
            let broken = |_| CatalogueError::Failed("the thread that works in the folder broke off".into());
            answer.await.map_err(broken)?
        }
    }

    fn hand_in(&self, urgency: Urgency, job: Job) -> Result<Waiting, CatalogueError> {
        let mut state = self.queue.lock();
        if state.waiting.len() >= MOST_WAITING {
            let sentence =
                format!("the file system of the folder hangs: {MOST_WAITING} requests wait for it");
            return Err(CatalogueError::Failed(sentence));
        }
        if !state.has_thread {
            start(Arc::clone(&self.queue), self.threads)?;
            state.has_thread = true;
        }
        state.next += 1;
        let place = (urgency, state.next);
        state.waiting.insert(place, job);
        drop(state);
        self.queue.changed.notify_one();
        Ok(Waiting {
            queue: Arc::clone(&self.queue),
            place,
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.queue.lock().is_closed = true;
        self.queue.changed.notify_one();
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let cancelled = self.queue.lock().waiting.remove(&self.place);
        drop(cancelled);
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next request; `None` if the catalogue was dropped.
    fn next(&self) -> Option<Job> {
        let is_idle = |state: &mut State| state.waiting.is_empty() && !state.is_closed;
        let waited = self.changed.wait_while(self.lock(), is_idle);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        if state.is_closed {
            return None;
        }
        state.waiting.pop_first().map(|(_, job)| job)
    }
}

/// Starts a thread that runs requests until the catalogue is dropped.
fn start(queue: Arc<Queue>, threads: &'static AtomicUsize) -> Result<(), CatalogueError> {
    let refused = |cause: &str| {
        CatalogueError::Failed(format!(
            "the thread that works in the folder cannot be started: {cause}"
        ))
    };
    let running =
        Running::new(threads).ok_or_else(|| refused("others hang in folders of former configurations"))?;
    let work = move || {
        let _running = running;
        // This thread blocks all signals, so that the kernel delivers them to the thread that handles them.
        nix::sys::signal::SigSet::all().thread_block().ok();
        while let Some(job) = queue.next() {
            // A request that panics has no answer, and the next one runs.
            caught_in(|| while_opening(job)).ok();
        }
    };
    let thread = std::thread::Builder::new()
        .name("folder".into())
        .stack_size(STACK);
    thread
        .spawn(work)
        .map_err(|error| refused(&cause::in_kernel_words(&error)))?;
    Ok(())
}

/// A thread that is counted.
struct Running(&'static AtomicUsize);

impl Running {
    /// Counts one more thread, unless the limit is reached.
    fn new(threads: &'static AtomicUsize) -> Option<Self> {
        if threads.fetch_add(1, Ordering::Relaxed) < MOST_THREADS {
            return Some(Self(threads));
        }
        threads.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::time::Duration;
    use std::sync::mpsc::{self, channel};
    use tokio::time::timeout;

    fn run<T>(test: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap().block_on(test)
    }

    const SHORT: Duration = Duration::from_millis(20);

    /// Starts a request that hangs until the sender is dropped, and cancels it once it has begun.
    async fn hang(worker: &Worker) -> mpsc::Sender<()> {
        let ((release, hang), (begin, begun)) = (channel::<()>(), channel());
        let mut hanging = std::pin::pin!(worker.run(Urgency::Read, move |_| {
            begin.send(()).ok();
            Ok(hang.recv().ok())
        }));
        while begun.try_recv().is_err() {
            assert!(timeout(Duration::from_millis(1), &mut hanging).await.is_err());
        }
        release
    }
    const LONG: Duration = Duration::from_secs(10);

    #[test]
    fn a_request_that_hangs_delays_only_later_ones_and_cancelled_ones_are_not_started() {
        run(async {
            let worker = Worker::default();
            let release = hang(&worker).await;
            let (begin, begun) = channel::<()>();
            let behind = worker.run(Urgency::Read, move |_| Ok(begin.send(()).ok()));
            assert!(timeout(SHORT, behind).await.is_err());
            release.send(()).unwrap();
            let next = timeout(LONG, worker.run(Urgency::Read, |_| Ok(2))).await;
            assert_eq!(next.expect("in time"), Ok(2));
            assert!(begun.try_recv().is_err(), "it was cancelled");
        });
    }

    #[test]
    fn a_running_request_can_see_that_it_was_cancelled() {
        run(async {
            let worker = Worker::default();
            let ((sender, receiver), (begin, begun)) = (channel::<()>(), channel());
            let working = worker.run(Urgency::Read, move |is_abandoned| {
                begin.send(()).ok();
                while !is_abandoned() {
                    std::thread::yield_now();
                }
                sender.send(()).ok();
                Ok(())
            });
            let mut working = Box::pin(working);
            while begun.try_recv().is_err() {
                assert!(timeout(Duration::from_millis(1), &mut working).await.is_err());
            }
            drop(working);
            assert!(receiver.recv_timeout(LONG).is_ok());
        });
    }

    #[test]
    fn more_requests_than_may_wait_are_refused_at_once_and_cancelled_ones_do_not_count() {
        run(async {
            let worker = Worker::default();
            let _release = hang(&worker).await;
            for _ in 0..=MOST_WAITING {
                let cancelled = &mut Box::pin(worker.run(Urgency::Read, |_| Ok(())));
                assert!(is_pending(cancelled));
            }
            let mut waiting = Vec::new();
            for _ in 0..MOST_WAITING {
                let mut request = Box::pin(worker.run(Urgency::Read, |_| Ok(())));
                assert!(is_pending(&mut request));
                waiting.push(request);
            }
            let refused = timeout(LONG, worker.run(Urgency::Read, |_| Ok(())))
                .await
                .expect("at once");
            let message = refused.unwrap_err().to_string();
            assert_eq!(
                message,
                "the file system of the folder hangs: 120000 requests wait for it"
            );
            waiting.pop();
            assert!(is_pending(&mut Box::pin(worker.run(Urgency::Read, |_| Ok(())))));
        });
    }

    /// Begins a request. Whether it waits.
    fn is_pending<T>(request: &mut std::pin::Pin<Box<impl Future<Output = T>>>) -> bool {
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        request.as_mut().poll(&mut context).is_pending()
    }

    #[test]
    fn requests_that_change_an_entry_go_before_those_that_read_each_in_their_order() {
        run(async {
            let worker = Worker::default();
            let release = hang(&worker).await;
            let (sender, order) = channel();
            let request = |urgency, number| {
                let sender = sender.clone();
                worker.run(urgency, move |_| Ok(sender.send(number).ok()))
            };
            let mut waiting = [
                Box::pin(request(Urgency::Read, 3)),
                Box::pin(request(Urgency::Change, 1)),
                Box::pin(request(Urgency::Read, 4)),
                Box::pin(request(Urgency::Change, 2)),
            ];
            assert!(waiting.iter_mut().all(is_pending));
            release.send(()).unwrap();
            for request in waiting {
                timeout(LONG, request).await.expect("in time").unwrap();
            }
            assert_eq!(order.try_iter().collect::<Vec<_>>(), [1, 2, 3, 4]);
        });
    }

    #[test]
    fn the_number_of_hanging_threads_is_limited() {
        static HERE: AtomicUsize = AtomicUsize::new(0);
        run(async {
            let mut hanging = Vec::new();
            for _ in 0..MOST_THREADS {
                let worker = Worker::counted(&HERE);
                hanging.push(hang(&worker).await);
            }
            let refused = Worker::counted(&HERE)
                .run(Urgency::Read, |_| Ok(()))
                .await
                .unwrap_err()
                .to_string();
            assert!(refused.contains("others hang in folders of former"), "{refused}");
            drop(hanging);
            let worker = Worker::counted(&HERE);
            let again = async { while worker.run(Urgency::Read, |_| Ok(())).await.is_err() {} };
            assert!(timeout(LONG, again).await.is_ok(), "they ended");
        });
    }

    #[test]
    fn a_panic_fails_one_request_and_the_next_one_runs() {
        run(async {
            let worker = Worker::default();
            let broken = worker
                .run(Urgency::Read, |_| -> Result<(), _> { panic!("as it is to") })
                .await;
            let broken = broken.unwrap_err().to_string();
            assert!(broken.contains("broke off"), "{broken}");
            let next = timeout(LONG, worker.run(Urgency::Read, |_| Ok(1))).await;
            assert_eq!(next.expect("in time"), Ok(1));
        });
    }
}
