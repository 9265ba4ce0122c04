//! Timers that wake the shim once, at their time.
//!
//! The runtime sorts its timers into slots that are longer the further away they are, and wakes at the beginning of each
//! slot: a deadline ten seconds away costs three wake-ups. Here one timer of the kernel is set to the earliest of all
//! deadlines. The queue of events waits for it ([`Timers::wait_until`]), so that no task is needed that could end.
//!
//! Where nothing has called [`Timers::install`], [`sleep`] and [`timeout`] use the timers of the runtime: in the tests of
//! single adapters, which may stop the time.

use super::clock::{self, MachineClock};
use crate::ports::Clock as _;
use domain::Instant;
use domain::time::{Duration, earliest};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use pin_project_lite::pin_project;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::mem;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The shortest time for which a timer is set: zero would stop it.
const SHORTEST: Duration = Duration::from_nanos(1);

thread_local! {
    static INSTALLED: RefCell<Weak<Timers>> = const { RefCell::new(Weak::new()) };
}

/// All deadlines that are waited for, and the timer of the kernel.
#[derive(Debug)]
pub struct Timers {
    clock: MachineClock,
    kernel: AsyncFd<KernelTimer>,
    /// What the timer of the kernel is set to.
    set: Cell<Option<Instant>>,
    sleepers: RefCell<BTreeMap<Key, Waker>>,
    /// How many sleepers there have been.
    count: Cell<u64>,
}

/// A deadline, with a number that makes it unique.
type Key = (Instant, u64);

#[derive(Debug)]
struct KernelTimer(TimerFd);

impl AsRawFd for KernelTimer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Timers {
    /// Makes [`sleep`] and [`timeout`] of this thread use the timer of the kernel, as long as the returned value is kept. From
    /// now on they end only while [`Self::wait_until`] is waited for. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// The kernel has no timer or no descriptor for it.
    pub fn install(clock: MachineClock) -> io::Result<Rc<Self>> {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_CLOEXEC)?;
        #[expect(
            deprecated,
            reason = "its successor is an unsafe function; what it asks for holds here: the descriptor is kept open"
        )]
        let kernel = AsyncFd::with_interest(KernelTimer(timer), Interest::READABLE)?;
        let timers = Rc::new(Self {
            clock,
            kernel,
            set: Cell::new(None),
            sleepers: RefCell::default(),
            count: Cell::new(0),
        });
        INSTALLED.set(Rc::downgrade(&timers));
        Ok(timers)
    }

    /// Waits until this time, and meanwhile wakes all sleepers whose time has come.
    pub async fn wait_until(&self, deadline: Option<Instant>) {
        poll_fn(|context| self.poll(deadline, context)).await;
    }

    fn poll(&self, deadline: Option<Instant>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let now = self.clock.now();
            if self.set.get().is_some_and(|set| set <= now) {
                self.set.set(None);
            }
            self.wake_until(now);
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Poll::Ready(());
            }
            self.set(earliest(deadline, self.first()), now);
            match self.kernel.poll_read_ready(context) {
                Poll::Ready(Ok(mut expired)) => expired.clear_ready(),
                // The runtime ends.
                Poll::Ready(Err(_)) | Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn first(&self) -> Option<Instant> {
        let sleepers = self.sleepers.borrow();
        sleepers.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Wakes the sleepers whose deadline is not after this time.
    fn wake_until(&self, now: Instant) {
        if self.first().is_none_or(|first| now < first) {
            return;
        }
        let mut sleepers = self.sleepers.borrow_mut();
        let later = sleepers.split_off(&(now, u64::MAX));
        let due = mem::replace(&mut *sleepers, later);
        drop(sleepers);
        due.into_values().for_each(Waker::wake);
    }

    /// Sets the timer of the kernel, unless it is set to this already.
    fn set(&self, deadline: Option<Instant>, now: Instant) {
        if self.set.replace(deadline) == deadline {
            return;
        }
        let timer = &self.kernel.get_ref().0;
        let set = match deadline {
            Some(deadline) => {
                let wait = clock::limit(deadline.since(now)).max(SHORTEST);
                timer.set(
                    Expiration::OneShot(TimeSpec::from(wait)),
                    TimerSetTimeFlags::empty(),
                )
            }
            None => timer.unset(),
        };
        debug_assert!(set.is_ok(), "the kernel refuses only invalid times");
    }

    /// Waits until this time, while another task waits in [`Self::wait_until`].
    async fn sleep_until(&self, deadline: Instant) {
        let number = self.count.get();
        self.count.set(number + 1);
        let key = (deadline, number);
        let _sleeper = Sleeper { timers: self, key };
        poll_fn(|context| {
            let now = self.clock.now();
            if deadline <= now {
                return Poll::Ready(());
            }
            let waker = context.waker().clone();
            self.sleepers.borrow_mut().insert(key, waker);
            if self.set.get().is_none_or(|set| deadline < set) {
                self.set(Some(deadline), now);
            }
            Poll::Pending
        })
        .await;
    }
}

/// Removes a sleeper when its wait ends or is dropped.
struct Sleeper<'a> {
    timers: &'a Timers,
    key: Key,
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.timers.sleepers.borrow_mut().remove(&self.key);
    }
}

/// Waits for this time.
pub async fn sleep(time: Duration) {
    let time = clock::limit(time);
    let installed = INSTALLED.with_borrow(Weak::upgrade);
    match installed {
        Some(timers) => timers.sleep_until(timers.clock.now() + time).await,
        None => tokio::time::sleep(time).await,
    }
}

/// The result of `work`; `None` if it takes longer than this time, which begins when it is first polled.
pub fn timeout<W: Future>(limit: Duration, work: W) -> impl Future<Output = Option<W::Output>> {
    Timeout {
        work,
        end: sleep(limit),
    }
}

pin_project! {
    /// Not an `async` function, which would contain the work twice.
    struct Timeout<W, E> {
        #[pin]
        work: W,
        #[pin]
        end: E,
    }
}

impl<W: Future, E: Future<Output = ()>> Future for Timeout<W, E> {
    type Output = Option<W::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let both = self.project();
        match both.work.poll(context) {
            Poll::Ready(done) => Poll::Ready(Some(done)),
            Poll::Pending => both.end.poll(context).map(|()| None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::pending;
    use tokio::runtime::Builder;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(3600);

    fn block_on<T>(test: impl AsyncFnOnce(Rc<Timers>) -> T) -> T {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let timers = Timers::install(MachineClock::start()).unwrap();
            let clock = timers.clock;
            let limit = tokio::time::timeout(Duration::from_secs(20), test(timers));
            let done = limit.await.expect("it ends in time");
            // The end of the limit wakes everything, too.
            assert!(clock.now() < Instant::START + Duration::from_secs(20));
            done
        })
    }

    fn soon(timers: &Timers) -> Option<Instant> {
        Some(timers.clock.now() + SHORT)
    }

    #[test]
    fn a_deadline_is_waited_for_and_not_shorter() {
        block_on(async |timers| {
            for deadline in [soon(&timers), soon(&timers), Some(Instant::START)] {
                timers.wait_until(deadline).await;
                assert!(Some(timers.clock.now()) >= deadline);
            }
        });
    }

    #[test]
    fn sleepers_wake_while_a_later_deadline_is_waited_for() {
        block_on(async |timers| {
            let woken = Rc::new(RefCell::new(Vec::new()));
            // Two of them at the same time, and not in the order of their times.
            for factor in [3, 1, 2, 1] {
                let woken = Rc::clone(&woken);
                spawn_local(async move {
                    sleep(SHORT * factor).await;
                    woken.borrow_mut().push(factor);
                });
            }
            yield_now().await;
            timers.wait_until(Some(timers.clock.now() + SHORT * 5)).await;
            assert_eq!(*woken.borrow(), [1, 1, 2, 3]);
        });
    }

    /// The timer of the kernel is already set to a later time when the sleeper begins.
    #[test]
    fn a_sleeper_wakes_that_begins_during_the_wait() {
        block_on(async |timers| {
            let waiting = Rc::clone(&timers);
            spawn_local(async move { waiting.wait_until(None).await });
            yield_now().await;
            let began = timers.clock.now();
            sleep(SHORT).await;
            assert!(timers.clock.now() >= began + SHORT);
        });
    }

    #[test]
    fn a_time_limit_ends_work_and_not_an_earlier_result() {
        block_on(async |timers| {
            spawn_local(async move { timers.wait_until(None).await });
            assert_eq!(timeout(SHORT, pending::<()>()).await, None);
            assert_eq!(timeout(LONG, sleep(SHORT)).await, Some(()));
            assert_eq!(timeout(Duration::ZERO, async { 1 }).await, Some(1));
            assert_eq!(timeout(Duration::MAX, async { 1 }).await, Some(1));
        });
    }

    #[test]
    fn a_sleeper_that_is_dropped_does_not_wake_the_shim() {
        block_on(async |timers| {
            let waiting = Rc::clone(&timers);
            spawn_local(async move { waiting.wait_until(None).await });
            timeout(LONG, sleep(SHORT)).await;
            yield_now().await;
            assert_eq!(timers.first(), None);
            assert_eq!(timers.set.get(), None, "nothing is waited for");
        });
    }

    #[test]
    fn without_a_queue_the_timers_of_the_runtime_are_used() {
        block_on(async |timers| drop(timers));
        let builder = Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        builder.unwrap().block_on(async {
            assert_eq!(timeout(LONG, pending::<()>()).await, None);
            assert_eq!(timeout(Duration::MAX, sleep(LONG)).await, Some(()));
        });
    }
}
