//! Renders templates and writes their files on a thread of their own, because a template may take long and a file system
//! may hang; the loop continues meanwhile.
//!
//! The thread starts with the first template and takes one job after the other, in order. A job that takes too long has
//! failed; those that wait behind it fail in the same way. If it was a writing that had begun, it may still take effect.

mod file;
mod lookup;
mod render;

use crate::adapters::clock;
use crate::adapters::descriptors::while_opening;
use crate::adapters::environment::Environment;
use crate::adapters::inbox::InboxSender;
use crate::adapters::tasks::spawn_local;
use crate::cause;
use crate::panics;
use crate::ports::Templates;
use domain::effect::{Rendering, Writing};
use domain::event::Rendered;
use domain::template::{Outcome, Written};
use domain::time::Duration;
use domain::{Event, Ticket};
use render::Surroundings;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The time limit on a rendering or a writing, together with the wait for others before it (docs/bounds.md).
const LIMIT: Duration = Duration::from_secs(10);

/// The most renderings and writings that wait for the thread; further ones fail (docs/bounds.md).
const MOST_WAITING: usize = 256;

/// The stack of the thread, in bytes; the deepest template needs less (docs/bounds.md).
const STACK: usize = 2 * 1024 * 1024;

/// A job for the thread.
type Work = Box<dyn FnOnce() + Send>;

/// The templates of this machine. Runs on a tokio `LocalSet`.
pub struct MachineTemplates {
    environment: Environment,
    inbox_sender: InboxSender,
    thread: Option<Sender<Work>>,
    waiting: Arc<AtomicUsize>,
}

impl MachineTemplates {
    /// Templates that see this environment, and whose results are posted to this inbox.
    pub fn new(environment: Environment, inbox_sender: InboxSender) -> Self {
        Self {
            environment,
            inbox_sender,
            thread: None,
            waiting: Arc::default(),
        }
    }

    /// Runs `work` on the thread and posts the event that `then` makes of its result, or of the failure to get one.
    fn begin<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        then: impl FnOnce(Result<T, String>) -> Event + 'static,
    ) {
        let inbox_sender = self.inbox_sender.clone();
        let (sender, result) = oneshot::channel();
        let waiting = Arc::clone(&self.waiting);
        let job = Box::new(move || {
            // The time is over: nothing begins any more.
            if !sender.is_closed() {
                // The receiver may be gone.
                sender.send(panics::caught_in(work)).ok();
            }
            waiting.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(cause) = self.hand_over(job) {
            return inbox_sender.post(then(Err(cause)));
        }
        spawn_local(async move {
            let done = match timeout(clock::limit(LIMIT), result).await {
                Ok(Ok(Ok(done))) => Ok(done),
                Ok(Ok(Err(panicked))) => Err(panicked.to_string()),
                Ok(Err(_)) => Err("the thread for templates has ended".into()),
                Err(_) => Err(format!("it took longer than {LIMIT:?}")),
            };
            inbox_sender.post(then(done));
        });
    }

    fn hand_over(&mut self, job: Work) -> Result<(), String> {
        if self.waiting.load(Ordering::Relaxed) >= MOST_WAITING {
            return Err(format!(
                "{MOST_WAITING} renderings and writings before it have not ended"
            ));
        }
        let thread = match &self.thread {
            Some(thread) => thread,
            None => {
                let started = start().map_err(|error| {
                    let cause = cause::in_kernel_words(&error);
                    format!("the thread for templates cannot be started: {cause}")
                })?;
                self.thread.insert(started)
            }
        };
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let sent = thread.send(job);
        sent.map_err(|_| {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            self.thread = None;
            "the thread for templates has ended".into()
        })
    }
}

/// Starts the thread. It ends when the sender is dropped.
fn start() -> io::Result<Sender<Work>> {
    let (sender, jobs): (_, Receiver<Work>) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name("templates".into())
        .stack_size(STACK);
    thread.spawn(move || {
        // This thread blocks all signals, so that the kernel delivers them to the thread that handles them.
        nix::sys::signal::SigSet::all().thread_block().ok();
        for job in jobs {
            job();
        }
    })?;
    Ok(sender)
}

impl Templates for MachineTemplates {
    fn render(&mut self, ticket: Ticket, rendering: Rendering) {
        let surroundings = Surroundings {
            variables: self.environment.variables(),
            now: clock::calendar(),
        };
        let work = move || while_opening(|| render::render(&rendering, &surroundings));
        self.begin(work, move |rendered| {
            let rendered = rendered.unwrap_or_else(|cause| Rendered {
                names: BTreeSet::new(),
                missing: BTreeSet::new(),
                files: None,
                outcome: Outcome::Failed(cause),
            });
            Event::Rendered(ticket, rendered)
        });
    }

    fn write(&mut self, ticket: Ticket, writing: Writing) {
        let work = move || while_opening(|| file::write(&writing));
        self.begin(work, move |written| {
            Event::Written(ticket, written.unwrap_or_else(Written::Failed))
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::MachineClock;
    use crate::adapters::inbox::Queue;
    use crate::ports::Inbox as _;
    use domain::plan::TemplateSource;
    use std::collections::BTreeMap;
    use std::sync::Barrier;
    use tokio::task::LocalSet;

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        LocalSet::new().block_on(&runtime.unwrap(), future)
    }

    fn rendering(text: &str) -> Rendering {
        Rendering {
            destination: "/nowhere".into(),
            source: TemplateSource::Contents(text.into()),
            known: BTreeMap::new(),
            has_keys: true,
        }
    }

    async fn outcome(queue: &mut Queue) -> (Ticket, Outcome) {
        match queue.next(None).await {
            Event::Rendered(ticket, rendered) => (ticket, rendered.outcome),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn results_are_posted_under_their_tickets_in_order() {
        block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let mut queue = Queue::new(MachineClock::start());
            let mut templates = MachineTemplates::new(Environment::default(), queue.sender());
            templates.render(Ticket(1), rendering("x"));
            let destination = folder.path().join("f").to_string_lossy().into_owned();
            templates.write(
                Ticket(2),
                Writing {
                    destination,
                    contents: "x".into(),
                    mode: None,
                    owner: None,
                },
            );
            assert_eq!(
                outcome(&mut queue).await,
                (Ticket(1), Outcome::Complete("x".into()))
            );
            assert_eq!(
                queue.next(None).await,
                Event::Written(Ticket(2), Written::Changed)
            );
        });
    }

    #[test]
    fn work_that_hangs_fails_in_time_and_what_waits_behind_it_does_not_begin() {
        block_on(async {
            tokio::time::pause();
            let mut queue = Queue::new(MachineClock::start());
            let mut templates = MachineTemplates::new(Environment::default(), queue.sender());
            let barrier = Arc::new(Barrier::new(2));
            let hangs = Arc::clone(&barrier);
            let (begins, has_begun) = mpsc::channel();
            let began = tokio::time::Instant::now();
            let failed =
                |failed: Result<_, String>| Event::Written(Ticket(1), failed.unwrap_or_else(Written::Failed));
            templates.begin(
                move || {
                    begins.send(()).ok();
                    hangs.wait();
                    Written::Changed
                },
                failed,
            );
            has_begun.recv().unwrap();
            templates.begin(|| panic!("it must not begin"), failed);
            for _ in 0..2 {
                let late = Written::Failed("it took longer than 10s".into());
                assert_eq!(queue.next(None).await, Event::Written(Ticket(1), late));
            }
            assert_eq!(began.elapsed().as_secs(), LIMIT.as_secs());
            tokio::time::resume();
            barrier.wait();
            templates.render(Ticket(2), rendering("again"));
            assert_eq!(
                outcome(&mut queue).await,
                (Ticket(2), Outcome::Complete("again".into()))
            );
        });
    }

    #[test]
    fn more_work_than_may_wait_fails_at_once() {
        block_on(async {
            let mut queue = Queue::new(MachineClock::start());
            let mut templates = MachineTemplates::new(Environment::default(), queue.sender());
            let barrier = Arc::new(Barrier::new(2));
            let hangs = Arc::clone(&barrier);
            templates.begin(move || hangs.wait().is_leader(), |_| Event::Woken);
            for _ in 1..MOST_WAITING {
                templates.begin(|| (), |_| Event::Woken);
            }
            templates.render(Ticket(3), rendering("x"));
            let (ticket, Outcome::Failed(cause)) = outcome(&mut queue).await else {
                panic!("it fails");
            };
            assert_eq!(ticket, Ticket(3));
            assert_eq!(cause, "256 renderings and writings before it have not ended");
            barrier.wait();
        });
    }

    #[test]
    fn a_panic_is_a_failure_and_the_thread_goes_on() {
        block_on(async {
            let mut queue = Queue::new(MachineClock::start());
            let mut templates = MachineTemplates::new(Environment::default(), queue.sender());
            let failed =
                |failed: Result<_, String>| Event::Written(Ticket(1), failed.unwrap_or_else(Written::Failed));
            templates.begin(|| panic!("a fault"), failed);
            let event = queue.next(None).await;
            assert!(
                matches!(event, Event::Written(Ticket(1), Written::Failed(_))),
                "{event:?}"
            );
            templates.render(Ticket(2), rendering("on"));
            assert_eq!(
                outcome(&mut queue).await,
                (Ticket(2), Outcome::Complete("on".into()))
            );
        });
    }
}
