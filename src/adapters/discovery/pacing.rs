//! Limits how much a server may send on one connection.
//!
//! Expected answers are read at once, up to the expected size. Everything else (pings, settings, window
//! updates, events of watches) is read at a limited rate: a server that sends faster has to wait, because its
//! data is not read. If it continues to send too fast, the connection is closed. In each turn of the loop
//! only a small part is read, so that other tasks run in between.
//!
//! The limits are in bytes, whatever they mean, so they are the same above and below TLS.

use crate::adapters::discovery::metered::ReadRule;
use domain::time::Duration;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep, sleep};

/// How many unexpected bytes are read in a second on a connection (docs/bounds.md)
pub const UNEXPECTED: usize = 256 * 1024;
/// How many unexpected bytes are read at once on a connection that was quiet for a while (docs/bounds.md)
const BURST: usize = 256 * 1024;
/// The same two limits for a connection of a health check, of which there may be many (docs/bounds.md)
const UNEXPECTED_BY_A_CHECK: usize = 16 * 1024;
/// How many bytes of a connection are read in one turn of the loop (docs/bounds.md)
const TURN: usize = 32 * 1024;
/// How long a server may continue to send faster than it is read (docs/bounds.md)
const FLOOD: Duration = Duration::from_millis(500);
/// The time between two reads of a server that sends too fast.
const PACE: Duration = Duration::from_millis(50);

/// The answers that are expected on one connection and have not arrived yet.
#[derive(Clone, Debug, Default)]
pub struct ExpectedBytes(Arc<Mutex<Totals>>);

#[derive(Debug, Default)]
struct Totals {
    /// The expected bytes of all requests in flight.
    expected: usize,
    /// How many of them may still arrive.
    left: usize,
    /// Whether the server sent unexpected bytes faster than permitted.
    flooded: bool,
}

/// One expected answer. Dropping it ends the expectation.
#[derive(Debug)]
pub struct Expectation {
    of: ExpectedBytes,
    size: usize,
}

impl ExpectedBytes {
    /// From now on, expects an answer of this size in bytes.
    pub fn add(&self, size: usize) -> Expectation {
        let mut totals = self.totals();
        totals.expected += size;
        totals.left += size;
        Expectation {
            of: self.clone(),
            size,
        }
    }

    /// Whether the server sends faster than permitted.
    pub fn is_flooded(&self) -> bool {
        self.totals().flooded
    }

    /// The totals. No code panics between two changes under this lock, so a poisoned lock is used as it is.
    fn totals(&self) -> MutexGuard<'_, Totals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subtracts from the expected bytes. Returns how many bytes exceed them.
    fn take(&self, count: usize) -> usize {
        let mut totals = self.totals();
        let taken = count.min(totals.left);
        totals.left -= taken;
        count - taken
    }
}

impl Expectation {
    /// Expects so many bytes more.
    pub fn grow(&mut self, bytes: usize) {
        let mut totals = self.of.totals();
        self.size += bytes;
        totals.expected += bytes;
        totals.left += bytes;
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        let mut totals = self.of.totals();
        totals.expected -= self.size;
        totals.left = totals.left.min(totals.expected);
    }
}

/// How much may be read of one connection to a member.
#[derive(Debug)]
pub struct Pacing {
    expected: ExpectedBytes,
    /// How many unexpected bytes may be read in a second, and how many at once after a quiet time.
    limits: (usize, usize),
    /// How many unexpected bytes may be read, at the time `since`.
    unexpected: usize,
    since: Instant,
    /// How many bytes may still be read in this turn of the loop.
    turn: usize,
    /// Since when the server sends faster than it is read.
    flooded: Option<Instant>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Pacing {
    /// Permits the bytes expected through `expected` without delay.
    pub fn new(expected: ExpectedBytes) -> Self {
        Self::with(expected, (UNEXPECTED, BURST))
    }

    /// As [`Self::new`], for the connection of a health check.
    pub fn of_check(expected: ExpectedBytes) -> Self {
        Self::with(expected, (UNEXPECTED_BY_A_CHECK, UNEXPECTED_BY_A_CHECK))
    }

    fn with(expected: ExpectedBytes, limits: (usize, usize)) -> Self {
        Self {
            expected,
            limits,
            unexpected: limits.1,
            since: Instant::now(),
            turn: TURN,
            flooded: None,
            pause: None,
        }
    }

    fn add_allowance(&mut self) {
        let now = Instant::now();
        let milliseconds = usize::try_from((now - self.since).as_millis()).unwrap_or(usize::MAX);
        let (rate, burst) = self.limits;
        let allowed = milliseconds.min(1000) * rate / 1000;
        if allowed > 0 {
            self.since = now;
            self.unexpected = burst.min(self.unexpected + allowed);
        }
    }

    /// Delays the next read, or fails if the server has sent too fast for too long.
    fn poll_slowed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let since = *self.flooded.get_or_insert_with(Instant::now);
        self.expected.totals().flooded = true;
        if since.elapsed() >= FLOOD {
            return Poll::Ready(Err(io::Error::other(sentence(self.limits.0))));
        }
        let mut pause = Box::pin(sleep(PACE));
        // The timer was created just now, so it is pending, and the task is woken when it ends.
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
        self.add_allowance();
        let allowed = self.unexpected + self.expected.totals().left;
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
        self.unexpected -= self.expected.take(bytes).min(self.unexpected);
    }

    fn rest(&mut self) {
        self.turn = TURN;
        self.flooded = None;
        self.expected.totals().flooded = false;
    }
}

/// The message that is logged if a server sends faster than this rate.
pub fn sentence(rate: usize) -> String {
    format!("it sends more than {} KiB/s that nobody asked for", rate / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::discovery::metered::Metered;
    use std::future::poll_fn;
    use tokio::io::{AsyncRead, ReadBuf};

    /// A server that always has as much to send as is read, or nothing.
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
        let expected = ExpectedBytes::default();
        let (stream, rule) = (Server { left }, Pacing::new(expected.clone()));
        (Metered { stream, rule }, expected)
    }

    async fn read(stream: &mut Metered<Server, Pacing>) -> io::Result<usize> {
        let mut space = vec![0; 8192];
        let mut buffer = ReadBuf::new(&mut space);
        poll_fn(|context| Pin::new(&mut *stream).poll_read(context, &mut buffer)).await?;
        assert!(buffer.filled().iter().all(|byte| *byte == 7));
        Ok(buffer.filled().len())
    }

    /// Reads this many bytes.
    async fn read_all(stream: &mut Metered<Server, Pacing>, size: usize) {
        let mut done = 0;
        while done < size {
            done += read(stream).await.unwrap();
        }
    }

    #[test]
    fn expected_bytes_are_read_at_once_and_unexpected_ones_slowly_until_the_connection_ends() {
        run(async {
            let (mut stream, expected) = metered(usize::MAX);
            let begin = Instant::now();
            let question = expected.add(10 << 20);
            read_all(&mut stream, (10 << 20) + BURST).await;
            assert_eq!(begin.elapsed(), Duration::ZERO);
            drop(question);
            assert!(!expected.is_flooded());
            let mut more = 0;
            let error = loop {
                match read(&mut stream).await {
                    Ok(count) => more += count,
                    Err(error) => break error,
                }
            };
            assert_eq!(error.to_string(), sentence(UNEXPECTED));
            assert!(expected.is_flooded());
            let seconds = begin.elapsed().as_secs_f64();
            assert!(seconds < 2.0 * FLOOD.as_secs_f64(), "{seconds}");
            let most = UNEXPECTED as f64 * (seconds + PACE.as_secs_f64());
            assert!((more as f64) < most, "{more} in {seconds} s");
        });
    }

    #[test]
    fn the_unread_rest_of_one_answer_does_not_extend_the_limit_of_later_ones() {
        run(async {
            let (mut stream, expected) = metered(usize::MAX);
            drop(expected.add(10 << 20));
            let kept = expected.add(1000);
            read_all(&mut stream, BURST + 1000).await;
            let slowed = tokio::time::timeout(Duration::from_millis(1), read(&mut stream)).await;
            assert!(slowed.is_err(), "{slowed:?}");
            drop(kept);
        });
    }

    #[test]
    fn after_a_quiet_time_a_server_may_send_as_much_as_before() {
        run(async {
            let (mut stream, expected) = metered(BURST + 10_000);
            read_all(&mut stream, BURST + 10_000).await;
            let quiet = tokio::time::timeout(Duration::from_secs(5), read(&mut stream)).await;
            assert!(quiet.is_err() && !expected.is_flooded());
            stream.stream.left = BURST;
            let begin = Instant::now();
            read_all(&mut stream, BURST).await;
            assert_eq!(begin.elapsed(), Duration::ZERO);
        });
    }

    #[test]
    fn other_tasks_wait_for_at_most_one_turn_of_a_stream() {
        let (mut stream, expected) = metered(usize::MAX);
        let _question = expected.add(usize::MAX / 2);
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
