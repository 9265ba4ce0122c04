//! The thread that accesses the folder. A file system may hang (frozen, or on a server that is unreachable);
//! then only this thread hangs.
//!
//! The first request starts the thread. Requests wait for each other, up to a limit. A request that was
//! cancelled is not started, or stops at the next file. When the catalogue is dropped, the thread ends; if it
//! hangs, nothing waits for it. Two requests never run at the same time.

use crate::adapters::descriptors::while_opening;
use crate::cause;
use crate::ports::CatalogueError;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use tokio::sync::oneshot;

/// The limit on requests that wait for the folder (docs/bounds.md)
const MOST_WAITING: usize = 1000;
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

/// The thread that accesses the folder, and the channel to it.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: RefCell<Option<mpsc::Sender<Job>>>,
    waiting: Arc<AtomicUsize>,
    threads: &'static AtomicUsize,
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
            jobs: RefCell::default(),
            waiting: Arc::default(),
            threads,
        }
    }

    /// Runs `work` on the thread. Dropping the future cancels the request.
    ///
    /// # Errors
    /// The errors of `work`; the thread cannot be started or panicked, or too many requests wait for it.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(IsAbandoned<'_>) -> Result<T, CatalogueError> + Send + 'static,
    ) -> Result<T, CatalogueError> {
        let (sender, answer) = oneshot::channel();
        let waiting = Arc::clone(&self.waiting);
        let job = move || {
            waiting.fetch_sub(1, Ordering::Relaxed);
            if !sender.is_closed() {
                let done = work(&|| sender.is_closed());
                sender.send(done).ok();
            }
        };
        self.hand_in(Box::new(job))?;
        let broken = |_| CatalogueError::Failed("the thread that works in the folder broke off".into());
        answer.await.map_err(broken)?
    }

    fn hand_in(&self, job: Job) -> Result<(), CatalogueError> {
        if self.waiting.load(Ordering::Relaxed) >= MOST_WAITING {
            let sentence =
                format!("the file system of the folder hangs: {MOST_WAITING} requests wait for it");
            return Err(CatalogueError::Failed(sentence));
        }
        let mut jobs = self.jobs.borrow_mut();
        let sender = match jobs.take() {
            Some(sender) => sender,
            None => start(self.threads)?,
        };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let Err(mpsc::SendError(job)) = sender.send(job) else {
            *jobs = Some(sender);
            return Ok(());
        };
        // Requests that waited for a thread that panicked are lost with it.
        self.waiting.store(0, Ordering::Relaxed);
        let sender = start(self.threads)?;
        self.waiting.store(1, Ordering::Relaxed);
        sender.send(job).ok();
        *jobs = Some(sender);
        Ok(())
    }
}

/// Starts a thread that runs jobs until all senders are dropped.
fn start(threads: &'static AtomicUsize) -> Result<mpsc::Sender<Job>, CatalogueError> {
    let refused = |cause: &str| {
        CatalogueError::Failed(format!(
            "the thread that works in the folder cannot be started: {cause}"
        ))
    };
    let running =
        Running::new(threads).ok_or_else(|| refused("others hang in folders of former configurations"))?;
    let (sender, jobs) = mpsc::channel::<Job>();
    let work = move || {
        let _running = running;
        // This thread blocks all signals, so that the kernel delivers them to the thread that handles them.
        nix::sys::signal::SigSet::all().thread_block().ok();
        jobs.into_iter().for_each(while_opening);
    };
    let thread = std::thread::Builder::new()
        .name("folder".into())
        .stack_size(STACK);
    thread
        .spawn(work)
        .map_err(|error| refused(&cause::in_kernel_words(&error)))?;
    Ok(sender)
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
    use std::sync::mpsc::channel;
    use tokio::time::timeout;

    fn run<T>(test: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_time().build().unwrap().block_on(test)
    }

    const SHORT: Duration = Duration::from_millis(20);

    /// Starts a request that hangs until the sender is dropped, and cancels it once it has begun.
    async fn hang(worker: &Worker) -> mpsc::Sender<()> {
        let ((release, hang), (begin, begun)) = (channel::<()>(), channel());
        let mut hanging = std::pin::pin!(worker.run(move |_| {
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
            let behind = worker.run(move |_| Ok(begin.send(()).ok()));
            assert!(timeout(SHORT, behind).await.is_err());
            release.send(()).unwrap();
            let next = timeout(LONG, worker.run(|_| Ok(2))).await;
            assert_eq!(next.expect("in time"), Ok(2));
            assert!(begun.try_recv().is_err(), "it was cancelled");
        });
    }

    #[test]
    fn a_running_request_can_see_that_it_was_cancelled() {
        run(async {
            let worker = Worker::default();
            let ((sender, receiver), (begin, begun)) = (channel::<()>(), channel());
            let working = worker.run(move |is_abandoned| {
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
    fn more_requests_than_may_wait_are_refused_at_once() {
        run(async {
            let worker = Worker::default();
            let _release = hang(&worker).await;
            for _ in 0..MOST_WAITING {
                assert!(timeout(Duration::ZERO, worker.run(|_| Ok(()))).await.is_err());
            }
            let refused = timeout(LONG, worker.run(|_| Ok(()))).await.expect("at once");
            let message = refused.unwrap_err().to_string();
            assert_eq!(
                message,
                "the file system of the folder hangs: 1000 requests wait for it"
            );
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
                .run(|_| Ok(()))
                .await
                .unwrap_err()
                .to_string();
            assert!(refused.contains("others hang in folders of former"), "{refused}");
            drop(hanging);
            let worker = Worker::counted(&HERE);
            let again = async { while worker.run(|_| Ok(())).await.is_err() {} };
            assert!(timeout(LONG, again).await.is_ok(), "they ended");
        });
    }

    #[test]
    fn a_panic_of_the_thread_fails_one_request_and_the_next_one_gets_a_new_thread() {
        run(async {
            let worker = Worker::default();
            let broken = worker.run::<()>(|_| panic!("as it is to")).await.unwrap_err();
            assert!(broken.to_string().contains("broke off"), "{broken}");
            while let Err(error) = worker.run(|_| Ok(())).await {
                assert!(error.to_string().contains("broke off"), "{error}");
            }
        });
    }
}
