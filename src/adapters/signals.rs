//! Signals to the shim, as events.
//!
//! All are blocked before anything else happens, and wait in the kernel until they are taken: a few of each number
//! in each round of the loop, and after some rounds only once in a while. So whoever sends signals without pause
//! does not keep the shim from its work, as a handler that runs for each of them would. Ordinary signals come
//! once for many, as the kernel has it; each real-time signal comes, however many wait. Children start with none blocked. SIGCHLD is for `processes`,
//! not an event. Signals that tell of a fault of our own, and those that cannot be caught, are left alone.

use crate::adapters::inbox::InboxSender;
use crate::adapters::processes::pending::{self, Pending};
use domain::Event;
use domain::signal::Signal;
use domain::time::Duration;
use nix::libc;
use nix::sys::signal::{self, SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use std::io;
use std::rc::Rc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::sleep;

/// Never passed on: ours, a child's, the kernel's word about a fault of our own, or not to be caught.
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

/// The kernel's word that a limit of our own is reached: a write fails by it, or the time that is left until
/// the hard limit counts. They neither end us nor reach the application, which has limits of its own.
const LIMITS: [i32; 2] = [libc::SIGXFSZ, libc::SIGXCPU];

/// What the kernel says by a signal about a fault of ours must not wait.
const FAULTS: [signal::Signal; 7] = [
    signal::Signal::SIGILL,
    signal::Signal::SIGTRAP,
    signal::Signal::SIGABRT,
    signal::Signal::SIGBUS,
    signal::Signal::SIGFPE,
    signal::Signal::SIGSEGV,
    signal::Signal::SIGSYS,
];

/// Nothing to anybody: left to the kernel, which drops them. Were they blocked, they would wait for ever, and wake
/// us each time we look.
const NOTHING: [signal::Signal; 2] = [signal::Signal::SIGPIPE, signal::Signal::SIGURG];

/// How many of each number are taken at a time. (docs/bounds.md)
const TAKEN: usize = 8;
/// How often in a row signals are taken before there is a pause each time. (docs/bounds.md)
const ROUNDS: usize = 32;
/// How long signals wait when they come without pause. (docs/bounds.md)
const PAUSE: Duration = Duration::from_millis(1);

/// From here on every signal waits until it is taken.
#[derive(Debug)]
pub struct Signals {
    /// Readable while one waits; never read.
    waiting: Rc<SignalFd>,
    /// The signals that are posted, in the order in which they are looked at.
    signals: Vec<Signal>,
    child_died: Rc<Notify>,
}

impl Signals {
    /// Blocks all signals but those of a fault of ours and those that are nothing. Threads that start later inherit that.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn install() -> io::Result<Self> {
        let mut taken = SigSet::all();
        let left_alone = FAULTS.iter().chain(&NOTHING);
        left_alone.for_each(|number| taken.remove(*number));
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&taken), None)?;
        let ours = [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1];
        let signals: Vec<_> = ours.into_iter().chain(passed_on().map(Signal::new)).collect();
        pending::reset(libc::SIGCHLD)?;
        for signal in &signals {
            pending::reset(signal.number())?;
        }
        let waiting = SignalFd::with_flags(&taken, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(Self {
            waiting: Rc::new(waiting),
            signals,
            child_died: Rc::default(),
        })
    }

    /// Posts each signal as it comes; what comes back is notified when children may have died. Lives on a tokio
    /// `LocalSet`.
    pub fn post_to(self, inbox_sender: InboxSender) -> Rc<Notify> {
        let child_died = Rc::clone(&self.child_died);
        inbox_sender.clone().rely_on(async move {
            loop {
                self.any().await;
                let mut rounds = 0;
                while self.take_some(&inbox_sender) {
                    rounds += 1;
                    match rounds < ROUNDS {
                        true => yield_now().await,
                        false => sleep(PAUSE).await,
                    }
                }
            }
        });
        child_died
    }

    /// Waits until a signal waits. It is watched only here, so that not every signal of many wakes us.
    async fn any(&self) {
        match watched(Rc::clone(&self.waiting)) {
            Ok(waiting) => drop(waiting.readable().await),
            // The machine has no room to watch it.
            Err(_) => sleep(PAUSE).await,
        }
    }

    /// Whether there was any.
    fn take_some(&self, inbox_sender: &InboxSender) -> bool {
        let pending = Pending::now();
        let take = |number: i32| pending.has(number) && pending::take(number);
        let died = take(libc::SIGCHLD);
        if died {
            self.child_died.notify_one();
        }
        for limit in LIMITS {
            take(limit);
        }
        let mut posted = false;
        for signal in &self.signals {
            for _ in (0..TAKEN).take_while(|_| take(signal.number())) {
                inbox_sender.post(Event::Signal(*signal));
                posted = true;
            }
        }
        died || posted
    }
}

fn watched(signals: Rc<SignalFd>) -> io::Result<AsyncFd<Rc<SignalFd>>> {
    #[expect(
        deprecated,
        reason = "its successor is an unsafe function; what it asks for holds here: the descriptor is kept open"
    )]
    AsyncFd::with_interest(signals, Interest::READABLE)
}

/// All other signals the kernel lets us catch; 32 and 33 are the C library's own.
fn passed_on() -> impl Iterator<Item = i32> {
    let ordinary = 1..=31;
    let realtime = libc::SIGRTMIN()..=libc::SIGRTMAX();
    ordinary
        .chain(realtime)
        .filter(|number| !NOT_PASSED_ON.contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quit_winch_and_real_time_signals_are_passed_on_and_faults_are_not() {
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
