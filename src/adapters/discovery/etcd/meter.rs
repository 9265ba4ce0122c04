//! How much a server may send on one connection.
//!
//! What was asked for may come at once, up to the size that was asked for. Whatever else comes (pings, settings,
//! window updates, events of watches) may come at a slow pace: a server that sends faster is read no faster, and
//! waits for us. If it goes on all the same, the connection breaks. In each turn of the loop only a small part
//! is read, so that everybody else gets his turn.
//!
//! Counts bytes and knows nothing of what they mean, so that it is the same above and below TLS.

use crate::adapters::discovery::metered::ReadRule;
use domain::time::Duration;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep, sleep};

/// What may come unasked in a second on a connection (docs/bounds.md)
const UNASKED: usize = 256 * 1024;
/// What may come unasked at once on a connection that was quiet for a while (docs/bounds.md)
const BURST: usize = 256 * 1024;
/// What is read of a connection in one turn of the loop (docs/bounds.md)
const TURN: usize = 32 * 1024;
/// How long a server may go on to send faster than it is read (docs/bounds.md)
const FLOOD: Duration = Duration::from_millis(500);
/// The time between two reads of a server that sends too fast.
const PACE: Duration = Duration::from_millis(50);

/// What was asked for on one connection, and did not come yet.
#[derive(Clone, Debug, Default)]
pub struct ExpectedBytes(Arc<Mutex<Totals>>);

#[derive(Debug, Default)]
struct Totals {
    /// All that is asked for at the moment.
    asked: usize,
    /// How much of it may still come.
    left: usize,
    /// Whether more came than was asked for, faster than it may.
    flooded: bool,
}

/// Something asked for; dropping it ends that.
#[derive(Debug)]
pub struct Expectation {
    of: ExpectedBytes,
    size: usize,
}

impl ExpectedBytes {
    /// From now on an answer of this size may come.
    pub fn ask(&self, size: usize) -> Expectation {
        let mut totals = self.totals();
        totals.asked += size;
        totals.left += size;
        Expectation {
            of: self.clone(),
            size,
        }
    }

    /// Whether the server sends faster than it may.
    pub fn is_flooded(&self) -> bool {
        self.totals().flooded
    }

    /// Nothing is left half done under this lock.
    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes from what may still come; says how much could not be taken.
    fn take(&self, count: usize) -> usize {
        let mut totals = self.totals();
        let taken = count.min(totals.left);
        totals.left -= taken;
        count - taken
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        let mut totals = self.of.totals();
        totals.asked -= self.size;
        totals.left = totals.left.min(totals.asked);
    }
}

/// What may be read of one connection to a member.
#[derive(Debug)]
pub struct Pacing {
    asked: ExpectedBytes,
    /// What may come unasked, as of `since`.
    unasked: usize,
    since: Instant,
    /// What may still be read in this turn.
    turn: usize,
    /// Since when the server sends faster than it is read.
    flooded: Option<Instant>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pacing {
    /// What is asked for through `asked` may come at once.
    pub fn new(asked: ExpectedBytes) -> Self {
        Self {
            asked,
            unasked: BURST,
            since: Instant::now(),
            turn: TURN,
            flooded: None,
            pause: None,
        }
    }

    fn earn(&mut self) {
        let now = Instant::now();
        let milliseconds = usize::try_from((now - self.since).as_millis()).unwrap_or(usize::MAX);
        let earned = milliseconds.min(1000) * UNASKED / 1000;
        if earned > 0 {
            self.since = now;
            self.unasked = BURST.min(self.unasked + earned);
        }
    }

    /// The server waits for us, or has gone on for too long.
    fn poll_slowed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let since = *self.flooded.get_or_insert_with(Instant::now);
        self.asked.totals().flooded = true;
        if since.elapsed() >= FLOOD {
            return Poll::Ready(Err(io::Error::other(sentence())));
        }
        let mut pause = Box::pin(sleep(PACE));
        // It cannot be over yet, and whoever waits for it is woken.
        let _ = pause.as_mut().poll(context);
        self.pause = Some(pause);
        Poll::Pending
    }
}

impl ReadRule for Pacing {
    fn poll_allowed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        self.earn();
        let allowed = self.unasked + self.asked.totals().left;
        if allowed == 0 {
            return self.poll_slowed(context);
        }
        if self.turn == 0 {
            self.turn = TURN;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(allowed.min(self.turn)))
    }

    fn count(&mut self, bytes: usize) {
        self.turn -= bytes.min(self.turn);
        self.unasked -= self.asked.take(bytes).min(self.unasked);
    }

    fn rest(&mut self) {
        self.turn = TURN;
        self.flooded = None;
        self.asked.totals().flooded = false;
    }
}

/// What is logged of a server that sends too fast.
pub fn sentence() -> String {
    format!(
        "it sends more than {} KiB/s that nobody asked for",
        UNASKED / 1024
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::discovery::metered::Metered;
    use std::future::poll_fn;
    use tokio::io::{AsyncRead, ReadBuf};

    /// A server that has as much to send as is read, or nothing more.
    struct Server {
        left: usize,
    }

    impl AsyncRead for Server {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let count = buffer.remaining().min(self.left);
            if count == 0 {
                return Poll::Pending;
            }
            self.left -= count;
            buffer.put_slice(&vec![7; count]);
            Poll::Ready(Ok(()))
        }
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(test)
    }

    fn metered(left: usize) -> (Metered<Server, Pacing>, ExpectedBytes) {
        let asked = ExpectedBytes::default();
        let (stream, rule) = (Server { left }, Pacing::new(asked.clone()));
        (Metered { stream, rule }, asked)
    }

    async fn read(stream: &mut Metered<Server, Pacing>) -> io::Result<usize> {
        let mut space = vec![0; 8192];
        let mut buffer = ReadBuf::new(&mut space);
        poll_fn(|context| Pin::new(&mut *stream).poll_read(context, &mut buffer)).await?;
        assert!(buffer.filled().iter().all(|byte| *byte == 7));
        Ok(buffer.filled().len())
    }

    /// Reads that much.
    async fn read_all(stream: &mut Metered<Server, Pacing>, size: usize) {
        let mut done = 0;
        while done < size {
            done += read(stream).await.unwrap();
        }
    }

    #[test]
    fn what_is_asked_for_comes_at_once_and_what_is_not_is_slowed_and_then_ends() {
        run(async {
            let (mut stream, asked) = metered(usize::MAX);
            let begin = Instant::now();
            let question = asked.ask(10 << 20);
            read_all(&mut stream, (10 << 20) + BURST).await;
            assert_eq!(begin.elapsed(), Duration::ZERO);
            drop(question);
            assert!(!asked.is_flooded());
            let mut more = 0;
            let error = loop {
                match read(&mut stream).await {
                    Ok(count) => more += count,
                    Err(error) => break error,
                }
            };
            assert_eq!(error.to_string(), sentence());
            assert!(asked.is_flooded());
            let seconds = begin.elapsed().as_secs_f64();
            assert!(seconds < 2.0 * FLOOD.as_secs_f64(), "{seconds}");
            let most = UNASKED as f64 * (seconds + PACE.as_secs_f64());
            assert!((more as f64) < most, "{more} in {seconds} s");
        });
    }

    #[test]
    fn what_was_not_fetched_of_one_answer_is_nothing_that_may_come_later() {
        run(async {
            let (mut stream, asked) = metered(usize::MAX);
            drop(asked.ask(10 << 20));
            let kept = asked.ask(1000);
            read_all(&mut stream, BURST + 1000).await;
            let slowed = tokio::time::timeout(Duration::from_millis(1), read(&mut stream)).await;
            assert!(slowed.is_err(), "{slowed:?}");
            drop(kept);
        });
    }

    #[test]
    fn a_server_that_falls_quiet_may_send_again_as_before() {
        run(async {
            let (mut stream, asked) = metered(BURST + 10_000);
            read_all(&mut stream, BURST + 10_000).await;
            let quiet = tokio::time::timeout(Duration::from_secs(5), read(&mut stream)).await;
            assert!(quiet.is_err() && !asked.is_flooded());
            stream.stream.left = BURST;
            let begin = Instant::now();
            read_all(&mut stream, BURST).await;
            assert_eq!(begin.elapsed(), Duration::ZERO);
        });
    }

    #[test]
    fn nobody_waits_for_more_than_one_turn_of_a_stream() {
        let (mut stream, asked) = metered(usize::MAX);
        let _question = asked.ask(usize::MAX / 2);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let mut read = 0;
        run(async {
            loop {
                let mut space = vec![0; 8192];
                let mut buffer = ReadBuf::new(&mut space);
                if Pin::new(&mut stream)
                    .poll_read(&mut context, &mut buffer)
                    .is_pending()
                {
                    break;
                }
                read += buffer.filled().len();
            }
        });
        assert_eq!(read, TURN);
    }
}
