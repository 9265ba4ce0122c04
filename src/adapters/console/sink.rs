//! Entries on their way to a stream: written now if possible, kept if the reader is slow, and counted instead
//! of kept if the reader is gone for long.
//!
//! Never waits (except in [`Sink::wait`], for so long), never holds more than [`CAPACITY`] and one
//! entry, never lets one entry into the middle of another, and never fails: what a broken stream does not
//! take is discarded.

use super::door::Door;
use crate::ports::Clock;
use domain::Instant;
use nix::errno::Errno;
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;

/// How many bytes may wait for the reader. (docs/bounds.md)
pub const CAPACITY: usize = 256 * 1024;

/// The way to one stream.
#[derive(Debug)]
pub struct Sink {
    door: Arc<Door>,
    waiting: VecDeque<Vec<u8>>,
    /// Bytes of all that waits.
    size: usize,
    /// Bytes of the first waiting entry that are written already.
    begun: usize,
    /// Entries that found no room since the last time this was told.
    lost: u64,
    stalled: Arc<Notify>,
}

impl Sink {
    /// The sink of the stream behind this descriptor, whose flags stay as they are.
    pub fn new(descriptor: OwnedFd) -> Self {
        Self {
            door: Arc::new(Door::new(descriptor)),
            waiting: VecDeque::new(),
            size: 0,
            begun: 0,
            lost: 0,
            stalled: Arc::default(),
        }
    }

    /// Takes one entry, behind those that wait.
    pub fn write(&mut self, entry: Vec<u8>) {
        if !self.drain() && !self.has_room(entry.len()) {
            self.lost += 1;
            return;
        }
        self.size += entry.len();
        self.waiting.push_back(entry);
        if self.waiting.len() == 1 && !self.drain() {
            self.stalled.notify_one();
        }
    }

    /// Once an entry is lost, none is taken before that is told: the gap is in one place.
    fn has_room(&self, length: usize) -> bool {
        self.lost == 0 && self.size + length <= CAPACITY
    }

    /// How many entries were lost, each counted once, and only when half of the room is free again: so a slow
    /// reader is not told of every other entry.
    pub fn take_lost(&mut self) -> Option<u64> {
        let tellable = self.lost > 0 && self.size <= CAPACITY / 2;
        tellable.then(|| std::mem::take(&mut self.lost))
    }

    /// Writes what waits, as far as that is possible now; whether all is written.
    pub fn drain(&mut self) -> bool {
        while let Some(entry) = self.waiting.front() {
            match self.door.write(&entry[self.begun..]) {
                Ok(written) if written > 0 && self.begun + written < entry.len() => self.begun += written,
                Err(Errno::EAGAIN) => return false,
                Err(Errno::EINTR) => {}
                Ok(_) | Err(_) => self.forget_first(),
            }
        }
        true
    }

    /// The first entry is written, or will never be.
    fn forget_first(&mut self) {
        self.size -= self.waiting.pop_front().map_or(0, |entry| entry.len());
        self.begun = 0;
    }

    /// Waits until there is room, but not beyond `until`; whether there is.
    pub fn wait(&self, clock: &impl Clock, until: Instant) -> bool {
        let mut left = until.since(clock.now());
        while !left.is_zero() {
            if self.door.has_room(left) {
                return true;
            }
            left = until.since(clock.now());
        }
        false
    }

    /// Who watches for the reader's return.
    pub fn watcher(&self) -> Watcher {
        Watcher {
            door: Arc::clone(&self.door),
            stalled: Arc::clone(&self.stalled),
        }
    }
}

/// Sleeps until a sink that could not write has room again.
#[derive(Debug)]
pub struct Watcher {
    door: Arc<Door>,
    stalled: Arc<Notify>,
}

impl Watcher {
    /// Calls `drain`, which tells whether all is written, whenever the reader may have come back.
    pub async fn run(self, drain: impl Fn() -> bool) {
        loop {
            self.stalled.notified().await;
            // What cannot be watched is tried again with the next entry.
            let _ = self.watch(&drain).await;
        }
    }

    /// The stream is watched only as long as something waits. The readiness is cleared *before* the attempt:
    /// an attempt that fails comes after the last reading that could have been missed.
    async fn watch(&self, drain: &impl Fn() -> bool) -> std::io::Result<()> {
        #[expect(
            deprecated,
            reason = "its successor is an unsafe function; what it asks for holds here: a door keeps its one descriptor open"
        )]
        let door = AsyncFd::with_interest(Arc::clone(&self.door), Interest::WRITABLE)?;
        loop {
            door.writable().await?.clear_ready();
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

    /// A sink whose reader has stopped reading, and how many bytes went into the pipe.
    fn stalled() -> (Sink, OwnedFd, usize) {
        let (reader, writer) = pipe().unwrap();
        let mut sink = Sink::new(writer);
        let mut written = 0;
        while sink.drain() {
            sink.write(vec![b'x'; 1000]);
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

    /// Everything up to the end of what the sink has to say.
    fn read_all(sink: &mut Sink, reader: &OwnedFd) -> Vec<u8> {
        let mut all = Vec::new();
        while !sink.drain() {
            all.extend(read_some(reader));
        }
        all.extend(read_some(reader));
        all
    }

    #[test]
    fn what_a_full_pipe_does_not_take_comes_later_and_in_order() {
        let (mut sink, reader, before) = stalled();
        for number in 0..1000 {
            sink.write(format!("{number}\n").into());
        }
        let expected: String = (0..1000).map(|number| format!("{number}\n")).collect();
        let all = read_all(&mut sink, &reader);
        assert_eq!(String::from_utf8(all[before..].into()).unwrap(), expected);
        assert_eq!(sink.take_lost(), None);
        assert_eq!(sink.size, 0);
    }

    #[test]
    fn an_entry_larger_than_all_there_is_goes_out_whole_and_before_the_next() {
        let (reader, writer) = pipe().unwrap();
        let mut sink = Sink::new(writer);
        let large = vec![b'a'; 2 * CAPACITY];
        sink.write(large.clone());
        assert!(sink.begun > 0);
        sink.write(b"lost".into());
        let all = read_all(&mut sink, &reader);
        assert_eq!(sink.take_lost(), Some(1));
        sink.write(b"b".into());
        assert!(all == large);
        assert_eq!(read_some(&reader), b"b");
    }

    #[test]
    fn a_reader_that_has_stopped_costs_bounded_memory_and_whole_entries_are_counted() {
        let (mut sink, reader, before) = stalled();
        let kept = sink.waiting.len();
        for _ in 0..100_000 {
            sink.write(vec![b'y'; 100]);
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
    fn after_a_loss_nothing_is_taken_until_the_loss_is_told() {
        let (mut sink, reader, _) = stalled();
        sink.write(vec![b'y'; CAPACITY]);
        sink.write(b"y".into());
        read_some(&reader);
        sink.write(b"y".into());
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
            sink.write(entry(sent));
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
    fn a_reader_that_has_gone_is_not_missed() {
        let (mut sink, reader, _) = stalled();
        drop(reader);
        sink.write(b"x".into());
        assert!(sink.drain());
        assert_eq!((sink.size, sink.begun, sink.take_lost()), (0, 0, None));
    }

    #[test]
    fn a_full_disk_is_not_missed() {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut sink = Sink::new(full.into());
        sink.write(b"x".into());
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
    fn a_reader_that_comes_back_is_noticed_each_time() {
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
                    sink.borrow_mut().write(vec![b'x'; 100_000]);
                }
                sink.borrow_mut().write(b"the last".into());
                until_read(&reader, b"the last").await;
            }
        });
    }

    /// Reads as the runtime comes round, and fails if the end does not come.
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
