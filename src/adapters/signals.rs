//! Signals that the shim receives, as events.
//!
//! All signals are blocked before `main` (`processes/early.rs`), and stay pending in the kernel until they are taken:
//! a few of each number in each round of the loop, and after some rounds without a pause only once a
//! millisecond. So a process that sends signals without pause does not occupy the shim, as it would with a
//! handler that runs for each signal. The kernel merges pending ordinary signals of one number; each
//! real-time signal is delivered. Children start with no signal blocked. SIGCHLD notifies the processes
//! adapter and is not an event. Signals for faults of the program itself, and those that cannot be caught,
//! are not blocked.

use crate::adapters::inbox::InboxSender;
use crate::adapters::processes::mask;
use crate::adapters::processes::pending::{self, Pending, Sender};
use domain::Event;
use domain::signal::{FIRST_REAL_TIME, Signal};
use domain::time::Duration;
use nix::libc;
use nix::sys::signal::{self, SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;

/// Signals that are never passed on: handled by the shim, sent for a child's end, sent for a fault of the
/// shim itself, or impossible to catch.
const NOT_PASSED_ON: [i32; 18] = [
    libc::SIGTERM,
    libc::SIGINT,
    libc::SIGHUP,
    libc::SIGUSR1,
    libc::SIGCHLD,
    libc::SIGPIPE,
    libc::SIGURG,
    libc::SIGKILL,
    libc::SIGSTOP,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGXFSZ,
    libc::SIGXCPU,
];

/// Signals that the kernel sends when the process exceeds a limit of its own. A write beyond the limit fails
/// as well, and a limit of processor time has a hard limit. They neither end the shim nor reach the
/// application, which has limits of its own.
const LIMITS: [i32; 2] = [libc::SIGXFSZ, libc::SIGXCPU];

/// Signals that the kernel sends for a fault of the shim itself; they are not blocked.
const FAULTS: [signal::Signal; 7] = [
    signal::Signal::SIGILL,
    signal::Signal::SIGTRAP,
    signal::Signal::SIGABRT,
    signal::Signal::SIGBUS,
    signal::Signal::SIGFPE,
    signal::Signal::SIGSEGV,
    signal::Signal::SIGSYS,
];

/// Signals whose default is to be ignored and which the shim does not use. They are not blocked: the kernel
/// drops them, whereas a blocked one would stay pending and wake the shim each time it looks for signals.
const NOTHING: [signal::Signal; 2] = [signal::Signal::SIGPIPE, signal::Signal::SIGURG];

/// How many signals of each number are taken at a time. (docs/bounds.md)
const TAKEN: usize = 8;
/// How many times in a row signals are taken before a pause follows each time. (docs/bounds.md)
const ROUNDS: usize = 32;
/// How long signals stay pending if they come without pause. (docs/bounds.md)
const PAUSE: Duration = Duration::from_millis(1);

/// The blocked signals. From its creation on every signal stays pending until it is taken.
#[derive(Debug)]
pub struct Signals {
    /// Readable while a signal is pending; it is never read.
    waiting: Rc<SignalFd>,
    /// The signals that become events, in the order in which they are taken.
    signals: Vec<Signal>,
    child_died: Rc<Notify>,
}

impl Signals {
    /// Blocks all signals except those for faults and those that are ignored by default. Threads that start
    /// later inherit that.
    ///
    /// # Errors
    /// The kernel refuses a call.
    pub fn install() -> io::Result<Self> {
        mask::start_first_thread();
        let taken = taken();
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&taken), None)?;
        let ours = [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1];
        let signals: Vec<_> = ours.into_iter().chain(passed_on().map(Signal::new)).collect();
        pending::reset(libc::SIGCHLD)?;
        // Whether SIGHUP is ignored is for children to inherit (`nohup`); a signal that is blocked waits all the same.
        for signal in signals.iter().filter(|signal| **signal != Signal::HUP) {
            pending::reset(signal.number())?;
        }
        mask::ignore_while_unblocked()?;
        let waiting = SignalFd::with_flags(&taken, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self {
            waiting: Rc::new(waiting),
            signals,
            child_died: Rc::default(),
        })
    }

    /// Posts each signal as an event. The returned handle is notified when children may have died. Lives on a
    /// tokio `LocalSet`.
    pub fn post_to(self, inbox_sender: InboxSender) -> Rc<Notify> {
        let child_died = Rc::clone(&self.child_died);
        inbox_sender.clone().rely_on(async move {
            loop {
                self.take_until_too_many(&inbox_sender).await;
                while self.take_some(&inbox_sender) != Taken::Nothing {
                    sleep(PAUSE).await;
                }
            }
        });
        child_died
    }

    /// Takes signals when any are pending, until there were [`ROUNDS`] without a pause. Then the descriptor is no longer
    /// watched, so that not each of many signals wakes the runtime.
    async fn take_until_too_many(&self, inbox_sender: &InboxSender) {
        let Ok(waiting) = watched(Rc::clone(&self.waiting)) else {
            return sleep(PAUSE).await;
        };
        let (mut rounds, mut taken) = (0, Taken::All);
        while rounds < ROUNDS {
            if taken != Taken::Some {
                let readable = poll_fn(|context| {
                    let readable = waiting.poll_read_ready(context);
                    if readable.is_pending() {
                        rounds = 0;
                    }
                    readable
                });
                // A signal that comes after this is noticed the next time.
                match readable.await {
                    Ok(mut readable) => readable.clear_ready(),
                    Err(_) => return sleep(PAUSE).await,
                }
            }
            taken = self.take_some(inbox_sender);
            rounds += 1;
            yield_now().await;
        }
    }

    /// Takes pending signals, a few of each number.
    fn take_some(&self, inbox_sender: &InboxSender) -> Taken {
        let pending = Pending::now();
        let take = |number: i32| pending.has(number) && pending::take(number);
        let mut taken = Taken::Nothing;
        if take(libc::SIGCHLD) {
            self.child_died.notify_one();
            taken = Taken::All;
        }
        for limit in LIMITS {
            take(limit);
        }
        for signal in &self.signals {
            for count in 1..=TAKEN {
                let Some(event) = pending.has(signal.number()).then(|| next(*signal)).flatten() else {
                    break;
                };
                inbox_sender.post(event);
                taken = taken.max(if count == TAKEN { Taken::Some } else { Taken::All });
            }
        }
        taken
    }
}

/// Which of the pending signals were taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Taken {
    /// There were none.
    Nothing,
    All,
    /// There may be more of one number.
    Some,
}

/// Takes a signal, if it is pending. The kernel sends SIGHUP when the terminal is gone, to the leader of the session; from
/// a process it is a request to read the configuration again.
fn next(signal: Signal) -> Option<Event> {
    let sender = pending::take_with_sender(signal.number())?;
    let hung_up = signal == Signal::HUP && sender == Sender::Kernel;
    Some(if hung_up {
        Event::HungUp
    } else {
        Event::Signal(signal)
    })
}

/// The signals that wait until they are taken: all but those of a fault of ours and those that are nothing.
pub fn taken() -> SigSet {
    let mut taken = mask::all();
    let left_alone = FAULTS.iter().chain(&NOTHING);
    left_alone.for_each(|number| taken.remove(*number));
    taken
}

fn watched(signals: Rc<SignalFd>) -> io::Result<AsyncFd<Rc<SignalFd>>> {
    #[expect(
        deprecated,
        reason = "its successor is an unsafe function; what it asks for holds here: the descriptor is kept open"
    )]
    AsyncFd::with_interest(signals, Interest::READABLE)
}

/// All other signals that can be caught. 32 and 33 belong to the C library.
fn passed_on() -> impl Iterator<Item = i32> {
    let ordinary = 1..=31;
    let realtime = FIRST_REAL_TIME..=libc::SIGRTMAX();
    ordinary
        .chain(realtime)
        .filter(|number| !NOT_PASSED_ON.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::MachineClock;
    use crate::adapters::inbox::Queue;
    use crate::ports::Inbox;
    use tokio::time::advance;

    /// How many turns the runtime gets for what must not happen, or must: a signal needs three.
    const TURNS: usize = 100;

    /// What a thread takes of the signals that are sent to it, while the time of the runtime stands still.
    struct Taker {
        queue: Queue,
        taken: usize,
    }

    impl Taker {
        /// Runs a test with it on a thread of its own.
        fn run(test: impl AsyncFnOnce(Self) + Send) {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.event_interval(1).enable_all().start_paused(true);
            let on_thread = move || {
                let local = tokio::task::LocalSet::new();
                local.block_on(&runtime.build().unwrap(), async {
                    let queue = Queue::new(MachineClock::start());
                    Signals::install().unwrap().post_to(queue.sender());
                    test(Self { queue, taken: 0 }).await;
                });
            };
            std::thread::scope(|scope| scope.spawn(on_thread).join().unwrap());
        }

        /// How many signals were taken, after some turns without a pause of the runtime.
        async fn taken(&mut self) -> usize {
            for _ in 0..TURNS {
                yield_now().await;
                while self.queue.sender().has_events() {
                    assert_eq!(self.queue.next(None).await, Event::Signal(Signal::new(NUMBER)));
                    self.taken += 1;
                }
            }
            self.taken
        }
    }

    const NUMBER: i32 = 64;

    fn raise(count: usize) {
        (0..count).for_each(|_| pending::raise(NUMBER));
    }

    #[test]
    fn many_signals_are_taken_in_rounds_and_then_with_pauses_until_there_are_none() {
        Taker::run(async |mut taker| {
            let (before, pauses) = (ROUNDS * TAKEN, 5);
            raise(before + pauses * TAKEN);
            for pause in 1..=pauses {
                assert_eq!(taker.taken().await, before + pause * TAKEN);
                raise(1);
                advance(PAUSE).await;
            }
            // Those that came meanwhile.
            assert_eq!(taker.taken().await, before + pauses * (TAKEN + 1));
            advance(PAUSE).await;
            let all = taker.taken().await;
            // They are watched again.
            raise(1);
            assert_eq!(taker.taken().await, all + 1);
        });
    }

    #[test]
    fn signals_that_come_with_pauses_are_each_taken_at_once() {
        Taker::run(async |mut taker| {
            for count in 1..=2 * ROUNDS {
                raise(1);
                assert_eq!(taker.taken().await, count);
            }
        });
    }

    #[test]
    fn quit_winch_and_real_time_signals_are_passed_on_and_signals_of_faults_are_not() {
        let passed: Vec<i32> = passed_on().collect();
        for number in [
            libc::SIGQUIT,
            libc::SIGUSR2,
            libc::SIGWINCH,
            libc::SIGALRM,
            libc::SIGRTMIN(),
            64,
        ] {
            assert!(passed.contains(&number), "{number}");
        }
        for number in [
            9,
            19,
            libc::SIGCHLD,
            libc::SIGPIPE,
            libc::SIGURG,
            libc::SIGSEGV,
            libc::SIGTERM,
            32,
            33,
        ] {
            assert!(!passed.contains(&number), "{number}");
        }
    }
}
