//! Log entries for one stream. They are written together when the caller has no more; if the reader is slow,
//! they are stored up to a limit; beyond it they are dropped and counted.
//!
//! No function waits except [`Sink::wait`], which has a time limit. At most [`CAPACITY`] bytes and one entry
//! are stored. Entries are never interleaved. Nothing here fails: what a broken stream does not accept is
//! discarded. Several whole entries share a write if the stream keeps the bytes of one write together.

use super::writer::NonBlockingWriter;
use crate::ports::Clock;
use domain::Instant;
use nix::errno::Errno;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// How many bytes are stored for a slow reader. (docs/bounds.md)
pub const CAPACITY: usize = 256 * 1024;
/// How many bytes are collected before they are written without a call of [`Sink::drain`].
const GATHERED: usize = 16 * 1024;

/// The buffer in front of one stream.
#[derive(Debug)]
pub struct Sink {
    stream: Arc<NonBlockingWriter>,
    /// The stored bytes; before them, bytes of the same allocation that were written.
    bytes: Vec<u8>,
    /// The index in `bytes` at which the first entry begins.
    first: usize,
    /// The lengths of the stored entries.
    waiting: VecDeque<usize>,
    /// How many bytes are stored.
    size: usize,
    /// How many bytes of the first stored entry were written.
    begun: usize,
    /// How many entries were dropped since this number was last logged.
    lost: u64,
    /// Whether the last write to the stream was refused.
    full: bool,
    stalled: Arc<Notify>,
}

impl Sink {
    /// A sink for the stream behind this descriptor. The flags of the descriptor are not changed.
    pub fn new(descriptor: OwnedFd) -> Self {
        Self {
            stream: Arc::new(NonBlockingWriter::new(descriptor)),
            bytes: Vec::new(),
            first: 0,
            waiting: VecDeque::new(),
            size: 0,
            begun: 0,
            lost: 0,
            full: false,
            stalled: Arc::default(),
        }
    }

    /// Appends one entry, which `render` writes into the buffer. After one entry was dropped, all are dropped
    /// until [`Self::take_lost`] returns their number, so that the gap is in one place.
    pub fn take(&mut self, render: impl FnOnce(&mut Vec<u8>)) {
        if self.lost > 0 && !self.waiting.is_empty() {
            self.lost += 1;
            return;
        }
        let before = self.bytes.len();
        render(&mut self.bytes);
        self.waiting.push_back(self.bytes.len() - before);
        self.size += self.bytes.len() - before;
        if self.size >= GATHERED && !self.full {
            self.drain();
        }
        if self.size > CAPACITY && self.waiting.len() > 1 {
            self.lose_last();
        }
    }

    /// Appends one entry and writes it, if that is possible now.
    #[cfg(test)]
    fn write(&mut self, entry: &[u8]) {
        self.drain();
        self.take(|bytes| bytes.extend_from_slice(entry));
        self.drain();
    }

    /// Drops the last entry, because the limit is exceeded.
    fn lose_last(&mut self) {
        let length = self.waiting.pop_back().unwrap_or(0);
        self.size -= length;
        self.bytes.truncate(self.bytes.len() - length);
        self.lost += 1;
    }

    /// How many entries were dropped, each counted once. `None` until half of the capacity is free again, so
    /// that a slow reader does not get such a message after every other entry.
    pub fn take_lost(&mut self) -> Option<u64> {
        let has_space = self.lost > 0 && self.size <= CAPACITY / 2;
        has_space.then(|| std::mem::take(&mut self.lost))
    }

    /// Writes stored entries as far as possible. Returns whether all are written.
    pub fn drain(&mut self) -> bool {
        let noticed = std::mem::replace(&mut self.full, false);
        while let Some(length) = self.next_write() {
            let start = self.first + self.begun;
            match self.stream.write(&self.bytes[start..start + length]) {
                Ok(written) if written > 0 => self.discard(written),
                Err(Errno::EAGAIN) => {
                    self.full = true;
                    break;
                }
                Err(Errno::EINTR) => {}
                Ok(_) | Err(_) => self.discard(length),
            }
        }
        self.drop_lines();
        if self.full && !noticed {
            self.stalled.notify_one();
        }
        self.waiting.is_empty()
    }

    /// The length of the next write: the rest of an entry that was written in part, or as many whole entries
    /// as the stream keeps together, at least one.
    fn next_write(&self) -> Option<usize> {
        let first = *self.waiting.front()?;
        if self.begun > 0 {
            return Some(first - self.begun);
        }
        let mut length = first;
        for next in self.waiting.iter().skip(1) {
            if length + next > self.stream.together() {
                break;
            }
            length += next;
        }
        Some(length)
    }

    /// Removes bytes that were written, or that the stream will never accept.
    fn discard(&mut self, count: usize) {
        self.begun += count;
        while let Some(length) = self.waiting.front().copied()
            && length <= self.begun
        {
            self.begun -= length;
            self.first += length;
            self.size -= length;
            self.waiting.pop_front();
        }
    }

    /// Frees the space of written bytes once it is worth a copy.
    fn drop_lines(&mut self) {
        if self.first == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(4 * GATHERED);
            self.first = 0;
        } else if self.first >= CAPACITY / 2 {
            self.bytes.drain(..self.first);
            self.first = 0;
        }
    }

    /// Waits until the stream accepts bytes, at most until `until`. Returns whether it does.
    pub fn wait(&self, clock: &impl Clock, until: Instant) -> bool {
        let mut left = until.since(clock.now());
        while !left.is_zero() {
            if self.stream.can_write(left) {
                return true;
            }
            left = until.since(clock.now());
        }
        false
    }

    /// A future that waits for a slow reader.
    pub fn watcher(&self) -> Watcher {
        Watcher {
            stream: Arc::clone(&self.stream),
            stalled: Arc::clone(&self.stalled),
        }
    }
}

/// Waits until a sink that could not write can write again.
#[derive(Debug)]
pub struct Watcher {
    stream: Arc<NonBlockingWriter>,
    stalled: Arc<Notify>,
}

impl Watcher {
    /// Calls `drain`, which returns whether all is written, whenever the reader may have continued.
    pub async fn run(self, drain: impl Fn() -> bool) {
        loop {
            self.stalled.notified().await;
            // If the stream cannot be watched, the next entry tries to write again.
            let _ = self.watch(&drain).await;
        }
    }

    /// Watches the stream while entries are stored. The readiness is cleared *before* each attempt to write,
    /// so that the reader's progress after a failed attempt is noticed.
    async fn watch(&self, drain: &impl Fn() -> bool) -> std::io::Result<()> {
        #[expect(
            deprecated,
            reason = "its successor is an unsafe function; what it asks for holds here: a stream keeps its one descriptor open"
        )]
        let stream = AsyncFd::with_interest(Arc::clone(&self.stream), Interest::WRITABLE)?;
        loop {
            stream.writable().await?.clear_ready();
            if drain() {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::MachineClock;
    use domain::time::Duration;
    use nix::poll::{PollFd, PollFlags, poll};
    use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, socketpair};
    use nix::unistd::{pipe, read};
    use std::cell::RefCell;
    use std::os::fd::{AsFd, AsRawFd};
    use std::rc::Rc;

    /// A sink whose reader has stopped reading, and how many bytes are in the pipe.
    fn stalled() -> (Sink, OwnedFd, usize) {
        let (reader, writer) = pipe().unwrap();
        let mut sink = Sink::new(writer);
        let mut written = 0;
        while sink.drain() {
            sink.write(&[b'x'; 1000]);
            written += 1000;
        }
        (sink, reader, written)
    }

    fn read_some(reader: &OwnedFd) -> Vec<u8> {
        let mut buffer = vec![0; 1 << 20];
        let length = read(reader, &mut buffer).unwrap();
        buffer.truncate(length);
        buffer
    }

    /// Reads everything up to the end of what the sink has stored.
    fn read_all(sink: &mut Sink, reader: &OwnedFd) -> Vec<u8> {
        let mut all = Vec::new();
        while !sink.drain() {
            all.extend(read_some(reader));
        }
        all.extend(read_some(reader));
        all
    }

    #[test]
    fn entries_for_a_full_pipe_are_written_later_and_in_order() {
        let (mut sink, reader, before) = stalled();
        for number in 0..1000 {
            sink.write(format!("{number}\n").as_bytes());
        }
        let expected: String = (0..1000).map(|number| format!("{number}\n")).collect();
        let all = read_all(&mut sink, &reader);
        assert_eq!(String::from_utf8(all[before..].into()).unwrap(), expected);
        assert_eq!(sink.take_lost(), None);
        assert_eq!(sink.size, 0);
    }

    #[test]
    fn an_entry_larger_than_the_pipe_is_written_whole_and_before_the_next() {
        let (reader, writer) = pipe().unwrap();
        let mut sink = Sink::new(writer);
        let large = vec![b'a'; 2 * CAPACITY];
        sink.write(&large);
        assert!(sink.begun > 0);
        sink.write(b"lost");
        let all = read_all(&mut sink, &reader);
        assert_eq!(sink.take_lost(), Some(1));
        sink.write(b"b");
        assert!(all == large);
        assert_eq!(read_some(&reader), b"b");
    }

    #[test]
    fn a_reader_that_has_stopped_costs_bounded_memory_and_whole_entries_are_counted() {
        let (mut sink, reader, before) = stalled();
        let kept = sink.waiting.len();
        for _ in 0..100_000 {
            sink.write(&[b'y'; 100]);
            assert!(sink.size <= CAPACITY);
        }
        let kept = sink.waiting.len() - kept;
        assert_eq!(sink.take_lost(), None, "there is no room to tell it");
        let all = read_all(&mut sink, &reader);
        assert_eq!(all[before..], vec![b'y'; kept * 100]);
        assert_eq!(sink.take_lost(), Some(100_000 - kept as u64));
        assert_eq!(sink.take_lost(), None);
    }

    #[test]
    fn after_a_loss_no_entry_is_stored_until_the_loss_is_reported() {
        let (mut sink, reader, _) = stalled();
        sink.write(&[b'y'; CAPACITY]);
        sink.write(b"y");
        read_some(&reader);
        sink.write(b"y");
        assert_eq!(sink.take_lost(), Some(2));
    }

    #[test]
    fn an_entry_is_one_write() {
        let (reader, writer) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        let mut sink = Sink::new(writer);
        let entry = |number: usize| format!("{number} {}\n", "x".repeat(number)).into_bytes();
        let mut sent = 0;
        while sink.waiting.len() < 3 {
            sink.write(&entry(sent));
            sent += 1;
        }
        let mut buffer = vec![0; 1 << 16];
        for number in 0..sent {
            sink.drain();
            let length = recv(reader.as_raw_fd(), &mut buffer, MsgFlags::empty()).unwrap();
            assert_eq!(buffer[..length], entry(number));
        }
    }

    #[test]
    fn a_closed_pipe_discards_entries_without_an_error() {
        let (mut sink, reader, _) = stalled();
        drop(reader);
        sink.write(b"x");
        assert!(sink.drain());
        assert_eq!((sink.size, sink.begun, sink.take_lost()), (0, 0, None));
    }

    #[test]
    fn a_full_disk_discards_entries_without_an_error() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut sink = Sink::new(full.into());
        sink.write(b"x");
        assert!(sink.drain());
    }

    #[test]
    fn waiting_for_a_reader_ends_in_time() {
        let (sink, _reader, _) = stalled();
        let clock = MachineClock::start();
        let until = clock.now() + Duration::from_millis(50);
        assert!(!sink.wait(&clock, until));
        assert!(clock.now() >= until);
        assert!(clock.now().since(until) < Duration::from_secs(5));
    }

    #[test]
    fn each_time_a_reader_continues_it_gets_the_stored_entries() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let local = tokio::task::LocalSet::new();
        let (reader, writer) = pipe().unwrap();
        let sink = Rc::new(RefCell::new(Sink::new(writer)));
        let drained = Rc::clone(&sink);
        let watcher = sink.borrow().watcher();
        local.spawn_local(watcher.run(move || drained.borrow_mut().drain()));
        local.block_on(&runtime, async {
            for _ in 0..3 {
                while sink.borrow_mut().drain() {
                    sink.borrow_mut().write(&[b'x'; 100_000]);
                }
                sink.borrow_mut().write(b"the last");
                until_read(&reader, b"the last").await;
            }
        });
    }

    /// Reads while the runtime runs other tasks, until the text ends with `end`; fails at a deadline.
    async fn until_read(reader: &OwnedFd, end: &[u8]) {
        let reading = async {
            let mut ready = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
            while poll(&mut ready, 0_u8).unwrap() == 0 || !read_some(reader).ends_with(end) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), reading)
            .await
            .unwrap();
    }
}
