//! Signals to the shim, as events.
//!
//! Handlers are installed before anything else happens, so that a signal of the first millisecond waits in
//! the inbox. SIGCHLD is for `processes`, not an event. Signals that tell of a fault of our own, and those
//! that cannot be caught, are left alone.

use crate::adapters::inbox::Postbox;
use domain::Event;
use domain::event::Signal;
use nix::libc;
use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};
use tokio::task::spawn_local;

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

/// From here on every signal is taken.
#[derive(Debug)]
pub struct Signals(Vec<(Signal, Stream)>);

impl Signals {
    /// Installs all handlers, and opens the mask we may have inherited.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn install() -> io::Result<Self> {
        sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
        let ours = [
            (Signal::Terminate, libc::SIGTERM),
            (Signal::Interrupt, libc::SIGINT),
            (Signal::Hangup, libc::SIGHUP),
            (Signal::User1, libc::SIGUSR1),
        ];
        for number in LIMITS {
            // Once a handler stands, it stays, whether or not somebody waits for the signal.
            drop(signal(SignalKind::from_raw(number))?);
        }
        let others = passed_on().map(|number| (Signal::Other(number), number));
        let stream = |(name, number)| signal(SignalKind::from_raw(number)).map(|stream| (name, stream));
        ours.into_iter()
            .chain(others)
            .map(stream)
            .collect::<io::Result<_>>()
            .map(Self)
    }

    /// Posts each signal as it comes. Lives on a tokio `LocalSet`.
    pub fn post_to(mut self, postbox: Postbox) {
        spawn_local(async move {
            loop {
                let signal = poll_fn(|context| self.poll(context)).await;
                postbox.post(Event::Signal(signal));
            }
        });
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Signal> {
        for (name, stream) in &mut self.0 {
            if stream.poll_recv(context).is_ready() {
                return Poll::Ready(*name);
            }
        }
        Poll::Pending
    }
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
