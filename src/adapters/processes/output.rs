//! The output of a child that is not inherited: a pipe, read as it fills. It goes to the log line by line,
//! or nowhere; the end of it is kept and handed to the core when the child has ended.
//!
//! All readers share one row of [`Turns`]: in each round of the loop one of them reads and logs a little. A child
//! that prints faster than that finds its pipe full and waits; nothing else does. A child that ended is reported
//! at once: what is in its pipe then is taken out whole, and logged in turns.
//!
//! The end of the pipe is not the end of the run: a grandchild may hold it open (EX-9). Its output is read until
//! it closes the pipe, for so many finished children at a time.

use crate::adapters::console::{Console, Lines, Origin};
use crate::adapters::turns::Turns;
use crate::panics;
use domain::plan::{Job, Output};
use domain::time::Duration;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::{Mode, fchmod};
use std::cell::{Cell, RefCell};
use std::io::{self, PipeWriter};
use std::ops::ControlFlow::{self, Break, Continue};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};
use tokio::net::unix::pipe::Receiver;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::timeout;

/// How long the end of the program waits for pipes that somebody still holds open. (docs/bounds.md)
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How many bytes are read in one turn. (docs/bounds.md)
const CHUNK: usize = 16 * 1024;
/// How many lines are logged in one turn. (docs/bounds.md)
const LINES: usize = 512;
/// How much is taken out of a pipe when its child is reaped: all that a pipe can be made to hold by anybody.
///. (docs/bounds.md)
const PIPE: usize = 1024 * 1024;
/// How much of what finished children wrote may wait to be logged, all together. (docs/bounds.md)
const UNREAD: usize = 16 * 1024 * 1024;
/// How often reading is begun again after a panic. (docs/bounds.md)
const ATTEMPTS: usize = 8;
/// How many bytes of the output's end are kept. (docs/bounds.md)
const TAIL: usize = 1024;

/// What all readers have in common.
#[derive(Clone, Debug)]
pub struct Readers {
    console: Console,
    turns: Turns,
    /// How many bytes wait to be logged, all together.
    unread: Rc<Cell<usize>>,
}

impl Readers {
    /// Nobody reads yet. Lines go to `console`.
    pub fn new(console: Console, turns: Turns) -> Self {
        Self {
            console,
            turns,
            unread: Rc::default(),
        }
    }
}

/// A pipe before its child is started.
#[derive(Debug)]
pub struct Capture {
    receiver: Receiver,
    writer: PipeWriter,
}

impl Capture {
    /// A pipe of which no child knows, if the job's output is not inherited.
    pub fn of(job: &Job) -> io::Result<Option<Self>> {
        if job.output == Output::Inherit {
            return Ok(None);
        }
        let (reader, writer) = io::pipe()?;
        let receiver = Receiver::from_owned_fd(OwnedFd::from(reader))?;
        let_others_open(&writer);
        Ok(Some(Self { receiver, writer }))
    }

    /// The child's end.
    pub fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// Lets go of our copy of the child's end, and reads what it writes.
    pub fn read(self, job: &Job, readers: &Readers) -> Reader {
        // The task alone holds it: at its end the pipe is closed, however long somebody remembers the reader.
        let receiver = Rc::new(self.receiver);
        let pipe = Rc::new(Pipe {
            receiver: Rc::downgrade(&receiver),
            written: RefCell::new(ChildOutput::by(job)),
            readers: readers.clone(),
        });
        let read = Rc::clone(&pipe);
        let reading = spawn_local(through_faults(async move || read.read_to_end(&receiver).await));
        Reader { pipe, reading }
    }
}

/// A child that changed its user may open its own output again, as `/dev/stdout`. Nobody else finds the pipe.
fn let_others_open(writer: &PipeWriter) {
    let mode = Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IWGRP | Mode::S_IWOTH;
    // Where this is forbidden, only such a child misses it.
    fchmod(writer, mode).ok();
}

/// Somebody who reads a pipe to its end.
#[derive(Debug)]
pub struct Reader {
    pipe: Rc<Pipe>,
    reading: JoinHandle<()>,
}

impl Reader {
    /// Whether nobody reads any more.
    pub fn is_finished(&self) -> bool {
        self.reading.is_finished()
    }

    /// The child was reaped: the end of what it wrote, if it wrote anything. The pipe is read on.
    pub fn on_reaped(&self) -> Option<String> {
        self.pipe.drain();
        self.pipe.written.borrow().tail.text()
    }

    /// Closes the pipe whoever holds it; what was read is still logged.
    pub fn give_up(self) {
        self.reading.abort();
        spawn_local(self.pipe.log_rest());
    }

    /// The program ends: waits for the ends of these pipes, for a moment only.
    pub async fn finish(readers: impl IntoIterator<Item = Self>) {
        let all = async {
            for reader in readers {
                reader.reading.await.ok();
            }
        };
        timeout(LAST_WORDS, all).await.ok();
    }
}

/// A panic while output is logged costs what was being logged: a pipe that nobody reads would stop its child.
async fn through_faults(read: impl AsyncFn()) {
    for _ in 0..ATTEMPTS {
        if panics::caught(read()).await.is_ok() {
            return;
        }
    }
}

#[derive(Debug)]
struct Pipe {
    /// Our end, until it has been read to its end.
    receiver: Weak<Receiver>,
    written: RefCell<ChildOutput>,
    readers: Readers,
}

impl Pipe {
    async fn read_to_end(&self, receiver: &Receiver) {
        while self.written.borrow().unread.is_some() || receiver.readable().await.is_ok() {
            self.readers.turns.next().await;
            if self.take_turn(receiver).is_break() {
                break;
            }
        }
        self.written.borrow_mut().finish(&self.readers.console);
    }

    async fn log_rest(self: Rc<Self>) {
        while self.written.borrow().unread.is_some() {
            self.readers.turns.next().await;
            self.written.borrow_mut().log_unread(&self.readers);
        }
        self.written.borrow_mut().finish(&self.readers.console);
    }

    /// Logs what was read earlier, or reads; breaks at the pipe's end.
    fn take_turn(&self, receiver: &Receiver) -> ControlFlow<()> {
        let mut written = self.written.borrow_mut();
        if written.unread.is_some() {
            written.log_unread(&self.readers);
            return Continue(());
        }
        let mut chunk = [0; CHUNK];
        match receiver.try_read(&mut chunk) {
            Ok(0) => Break(()),
            Ok(count) => {
                written.feed(&chunk[..count], &self.readers);
                Continue(())
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Continue(()),
            Err(_) => Break(()),
        }
    }

    /// Takes out what is in the pipe, whether the runtime has noticed it or not, and no more than it can hold at
    /// a time: whoever else writes to it may do so for ever.
    fn drain(&self) {
        let Some(receiver) = self.receiver.upgrade() else {
            return;
        };
        let mut chunk = [0; CHUNK];
        let mut left = capacity(&receiver).min(PIPE);
        let mut dropped = 0;
        while left > 0 {
            let size = left.min(CHUNK);
            match nix::unistd::read(&receiver, &mut chunk[..size]) {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    left -= count;
                    dropped += self.written.borrow_mut().keep(&chunk[..count], &self.readers);
                }
            }
        }
        if dropped > 0 {
            tracing::warn!(
                "{dropped} bytes that a child printed before it ended were dropped: {UNREAD} bytes of others wait to \
                 be logged"
            );
        }
    }
}

/// How much a pipe can hold.
fn capacity(pipe: &impl AsFd) -> usize {
    let size = fcntl(pipe, FcntlArg::F_GETPIPE_SZ).ok();
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(PIPE)
}

/// What was written, as far as it is of use.
#[derive(Debug)]
struct ChildOutput {
    log: Option<(Origin, Lines)>,
    /// What was read and is still to be logged.
    unread: Option<Unread>,
    tail: Tail,
}

impl ChildOutput {
    fn by(job: &Job) -> Self {
        Self {
            log: (job.output == Output::Log).then(|| (Origin::of(&job.role), Lines::default())),
            unread: None,
            tail: Tail::default(),
        }
    }

    /// Logs as much as a turn may have, and keeps the rest for the next one.
    fn feed(&mut self, bytes: &[u8], readers: &Readers) {
        self.tail.feed(bytes);
        let taken = self.log_some(bytes, &readers.console);
        if taken < bytes.len() {
            self.unread_of(readers).push(&bytes[taken..]);
        }
    }

    /// Keeps for later turns what a finished child wrote, if there is room for it; how much was dropped.
    fn keep(&mut self, bytes: &[u8], readers: &Readers) -> usize {
        self.tail.feed(bytes);
        if self.log.is_none() {
            return 0;
        }
        if readers.unread.get() + bytes.len() > UNREAD {
            return bytes.len();
        }
        self.unread_of(readers).push(bytes);
        0
    }

    /// Logs a turn's worth of what was read earlier.
    fn log_unread(&mut self, readers: &Readers) {
        let Some(mut unread) = self.unread.take() else {
            return;
        };
        let bytes = unread.rest();
        let turn = &bytes[..bytes.len().min(CHUNK)];
        unread.begun += self.log_some(turn, &readers.console);
        if !unread.rest().is_empty() {
            self.unread = Some(unread);
        }
    }

    /// Logs the lines of the beginning of this; how many bytes that was.
    fn log_some(&mut self, bytes: &[u8], console: &Console) -> usize {
        let Some((origin, lines)) = &mut self.log else {
            return bytes.len();
        };
        let mut taken = 0;
        console.lines(origin, |emit| taken = lines.feed_at_most(bytes, LINES, emit));
        taken
    }

    fn unread_of(&mut self, readers: &Readers) -> &mut Unread {
        self.unread.get_or_insert_with(|| Unread {
            bytes: Vec::new(),
            begun: 0,
            total: Rc::clone(&readers.unread),
        })
    }

    /// Logs a last line that has no end.
    fn finish(&mut self, console: &Console) {
        if let Some((origin, lines)) = &mut self.log {
            console.lines(origin, |emit| lines.finish(emit));
        }
    }
}

/// Bytes that are read and not yet logged.
#[derive(Debug)]
struct Unread {
    bytes: Vec<u8>,
    /// How many of them are logged.
    begun: usize,
    total: Rc<Cell<usize>>,
}

impl Unread {
    fn push(&mut self, bytes: &[u8]) {
        self.total.set(self.total.get() + bytes.len());
        self.bytes.extend_from_slice(bytes);
    }

    fn rest(&self) -> &[u8] {
        &self.bytes[self.begun..]
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        self.total.set(self.total.get() - self.bytes.len());
    }
}

/// The last bytes of what was written.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    cut: bool,
}

impl Tail {
    fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend(&bytes[bytes.len().saturating_sub(TAIL)..]);
        let surplus = self.bytes.len().saturating_sub(TAIL);
        self.bytes.drain(..surplus);
        self.cut |= surplus > 0 || bytes.len() > TAIL;
    }

    /// It begins with `…` if it is not all there was.
    fn text(&self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = if self.cut {
            format!("…{text}")
        } else {
            text.into_owned()
        };
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::MachineClock;
    use crate::adapters::inbox::Queue;
    use domain::plan::Role;
    use std::io::Write;

    /// Whose lines nobody reads.
    fn readers() -> Readers {
        let inbox_sender = Queue::new(MachineClock::start()).sender();
        Readers::new(Console::to_nobody(), Turns::new(inbox_sender))
    }

    fn tail(pieces: &[&[u8]]) -> Option<String> {
        let mut tail = Tail::default();
        for piece in pieces {
            tail.feed(piece);
        }
        tail.text()
    }

    #[test]
    fn a_panic_while_output_is_read_costs_what_was_being_read() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (faults, begun) in [(0, 1), (1, 2), (100, ATTEMPTS)] {
            let begins = Cell::new(0);
            runtime.block_on(through_faults(async || {
                begins.set(begins.get() + 1);
                assert!(begins.get() > faults, "a fault of the log");
            }));
            assert_eq!(begins.get(), begun);
        }
    }

    /// Whoever is reaped before the runtime has looked at the pipe loses nothing.
    #[test]
    fn a_pipe_is_emptied_when_its_child_is_reaped() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let command = domain::plan::Command::new("true", []);
        let role = Role::Sensor { name: "s".into() };
        let job = Job::new(role, command, domain::plan::Trigger::Asked, Output::Capture);
        let reading = async {
            let capture = Capture::of(&job).unwrap().unwrap();
            let mut child = capture.writer.try_clone().unwrap();
            let reader = capture.read(&job, &readers());
            child.write_all(b"42\n").unwrap();
            reader.on_reaped()
        };
        let printed = tokio::task::LocalSet::new().block_on(&runtime, reading);
        assert_eq!(printed.as_deref(), Some("42\n"));
    }

    fn logged() -> ChildOutput {
        let command = domain::plan::Command::new("true", []);
        let role = Role::Task { name: "t".into() };
        ChildOutput::by(&Job::new(
            role,
            command,
            domain::plan::Trigger::Asked,
            Output::Log,
        ))
    }

    #[test]
    fn a_turn_has_so_many_lines_and_the_rest_waits_for_the_next() {
        let (readers, mut written) = (readers(), logged());
        written.feed(&[b'\n'; CHUNK], &readers);
        for turn in 1..CHUNK / LINES {
            let unread = written.unread.as_ref().unwrap();
            assert_eq!(unread.rest().len(), CHUNK - turn * LINES);
            written.log_unread(&readers);
        }
        assert!(written.unread.is_none());
        assert_eq!(readers.unread.get(), 0);
    }

    #[test]
    fn a_turn_has_so_many_bytes_of_what_a_finished_child_wrote() {
        let (readers, mut written) = (readers(), logged());
        assert_eq!(written.keep(&[b'x'; 3 * CHUNK + 1], &readers), 0);
        for left in [2 * CHUNK + 1, CHUNK + 1, 1, 0] {
            written.log_unread(&readers);
            assert_eq!(
                written.unread.as_ref().map_or(0, |unread| unread.rest().len()),
                left
            );
        }
    }

    #[test]
    fn what_finished_children_wrote_waits_in_bounded_memory() {
        let readers = readers();
        let (mut first, mut second) = (logged(), logged());
        for _ in 0..UNREAD / PIPE {
            assert_eq!(first.keep(&[b'x'; PIPE], &readers), 0);
        }
        assert_eq!(second.keep(b"12345", &readers), 5);
        assert_eq!(second.tail.text(), Some("12345".into()));
        assert_eq!(readers.unread.get(), UNREAD);
        drop(first);
        assert_eq!(second.keep(b"12345", &readers), 0);
        assert_eq!(readers.unread.get(), 5);
    }

    #[test]
    fn what_is_short_is_kept_whole() {
        assert_eq!(tail(&[]), None);
        assert_eq!(tail(&[b"4", b"2\n"]), Some("42\n".into()));
        let full = [b'x'; TAIL];
        assert_eq!(tail(&[&full]).map(|text| text.len()), Some(TAIL));
        assert_eq!(tail(&[b"a\xffb"]), Some("a\u{fffd}b".into()));
    }

    #[test]
    fn of_what_is_long_the_end_is_kept_and_marked() {
        let long = [b'x'; TAIL + 1];
        for pieces in [&[long.as_slice(), b"5"], &[&long[..TAIL], b"xx5"]] {
            let text = tail(pieces).unwrap();
            assert!(text.starts_with("…x") && text.ends_with("x5"));
            assert_eq!(text.len(), TAIL + "…".len());
        }
    }
}
