//! Reads the output of a child from a pipe, unless the child inherits the shim's output. The lines are logged
//! or discarded; the last bytes are kept and passed to the core when the child has ended.
//!
//! All readers share one sequence of [`Turns`]: in each round of the loop one of them reads and logs a
//! limited amount. A child that prints faster fills its pipe and waits; nothing else is delayed. The end of a
//! child is reported at once: the content of its pipe at that time is read completely, and logged in turns.
//!
//! The pipe may remain open after its child has ended, because a grandchild may hold it (EX-9). It is read
//! until it is closed, for a limited number of finished children.

use crate::adapters::console::{Console, Lines, Origin};
use crate::adapters::tasks::spawn_local;
use crate::adapters::turns::Turns;
use crate::panics;
use domain::plan::{Job, Output};
use domain::time::Duration;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::stat::{Mode, fchmod, fstat};
use nix::sys::statfs::{FsType, fstatfs};
use std::cell::{Cell, RefCell};
use std::io::{self, PipeWriter};
use std::ops::ControlFlow::{self, Break, Continue};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::{Rc, Weak};
use tokio::net::unix::pipe::Receiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long the end of the program waits for pipes that other processes hold open. (docs/bounds.md)
const OUTPUT_LIMIT: Duration = Duration::from_millis(200);
/// How many bytes are read in one turn. (docs/bounds.md)
const CHUNK: usize = 16 * 1024;
/// How many lines are logged in one turn. (docs/bounds.md)
const LINES: usize = 512;
/// How many bytes are read from a pipe when its child is reaped: the largest capacity that any process can
/// give a pipe. (docs/bounds.md)
const PIPE: usize = 1024 * 1024;
/// How often a pipe is read then. A child can write packets instead of a stream (`O_DIRECT`); a reading returns one of them,
/// and each takes a page of the pipe, so it holds no more than this. (docs/bounds.md)
const READS: usize = 256;
/// How many bytes of finished children may wait to be logged, all together. (docs/bounds.md)
const UNREAD: usize = 16 * 1024 * 1024;
/// How often reading starts again after a panic. (docs/bounds.md)
const ATTEMPTS: usize = 8;
/// How many bytes at the end of the output are kept. (docs/bounds.md)
const TAIL: usize = 1024;

/// What all readers share.
#[derive(Clone, Debug)]
pub struct Readers {
    console: Console,
    turns: Turns,
    /// How many bytes wait to be logged, all together.
    unread: Rc<Cell<usize>>,
    /// What was read last. One buffer for all of them does not have to be zeroed for each.
    chunk: Rc<RefCell<Vec<u8>>>,
}

impl Readers {
    /// Without readers at first. Lines are logged to `console`.
    pub fn new(console: Console, turns: Turns) -> Self {
        Self {
            console,
            turns,
            unread: Rc::default(),
            chunk: Rc::new(RefCell::new(vec![0; CHUNK])),
        }
    }
}

/// A pipe whose child has not been started.
#[derive(Debug)]
pub struct Capture {
    receiver: Receiver,
    writer: PipeWriter,
}

impl Capture {
    /// A pipe for a child of this job; `None` if the child inherits the shim's output.
    pub fn of(job: &Job) -> io::Result<Option<Self>> {
        if job.output == Output::Inherit {
            return Ok(None);
        }
        let (reader, writer) = io::pipe()?;
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // It is the reading end of a pipe that does not block, so this need not be checked.
        let receiver = Receiver::from_owned_fd_unchecked(OwnedFd::from(reader))?;
        let_others_open(&writer);
        Ok(Some(Self { receiver, writer }))
    }

    /// The child's end of the pipe.
    pub fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// Closes the shim's copy of the child's end, and starts to read.
    pub fn read(self, job: &Job, readers: &Readers) -> Reader {
        // Only the task holds the receiver, so that the pipe is closed when the task ends, even if the reader
        // exists longer.
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

/// Permits a child that changed its user to open its own output again, as `/dev/stdout`. No other process can
/// reach the pipe.
fn let_others_open(writer: &PipeWriter) {
    let mode = Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IWGRP | Mode::S_IWOTH;
    // Where this is not permitted, only such a child is affected.
    fchmod(writer, mode).ok();
}

/// The file system of pipes without a name.
const PIPES: FsType = FsType(0x5049_5045);

/// Permits the same for the standard output and error of the shim, which most children with another user get as well, if
/// these are pipes without a name. Their flags, which all processes share that have them, stay as they are.
pub fn let_others_open_own() {
    let is_pipe = |stream: BorrowedFd<'_>| {
        let kind = fstatfs(stream).map(|statistics| statistics.filesystem_type());
        kind == Ok(PIPES)
    };
    for stream in [io::stdout().as_fd(), io::stderr().as_fd()] {
        if let (true, Ok(present)) = (is_pipe(stream), fstat(stream)) {
            let mode = Mode::from_bits_truncate(present.st_mode) | Mode::S_IWGRP | Mode::S_IWOTH;
            // Where this is not permitted, only such a child is affected.
            fchmod(stream, mode).ok();
        }
    }
}

/// A task that reads a pipe to its end.
#[derive(Debug)]
pub struct Reader {
    pipe: Rc<Pipe>,
    reading: JoinHandle<()>,
}

impl Reader {
    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.reading.is_finished()
    }

    /// Called when the child was reaped: returns the end of its output, `None` if it printed nothing. The
    /// pipe continues to be read.
    pub fn on_reaped(&self) -> Option<String> {
        self.pipe.drain();
        self.pipe.written.borrow().tail.text()
    }

    /// Closes the pipe even if other processes hold it; what was read is still logged.
    pub fn give_up(self) {
        self.reading.abort();
        spawn_local(self.pipe.log_rest());
    }

    /// At the end of the program, waits for the ends of these pipes, for a short time only.
    pub async fn finish(readers: impl IntoIterator<Item = Self>) {
        let all = async {
            for reader in readers {
                reader.reading.await.ok();
            }
        };
        timeout(OUTPUT_LIMIT, all).await.ok();
    }
}

/// Continues after a panic of `read`, up to a limit. The bytes that were being logged are lost, but the pipe
/// is still read, so that the child does not block.
async fn through_faults(read: impl AsyncFn()) {
    for _ in 0..ATTEMPTS {
        if panics::caught(read()).await.is_ok() {
            return;
        }
    }
}

#[derive(Debug)]
struct Pipe {
    /// The reading end, until the end of the pipe was read.
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

    /// Logs bytes that were read earlier, or reads new ones; breaks at the end of the pipe.
    fn take_turn(&self, receiver: &Receiver) -> ControlFlow<()> {
        let mut written = self.written.borrow_mut();
        if written.unread.is_some() {
            written.log_unread(&self.readers);
            return Continue(());
        }
        let mut chunk = self.readers.chunk.borrow_mut();
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

    /// Reads the present content of the pipe, whether or not the runtime has noticed it, up to the pipe's
    /// capacity, because another process may write to it without end.
    fn drain(&self) {
        let Some(receiver) = self.receiver.upgrade() else {
            return;
        };
        let mut chunk = self.readers.chunk.borrow_mut();
        let (mut taken, mut dropped) = (0, 0);
        // A short reading may be one packet of several, so only an empty pipe ends it, or as many bytes as the pipe holds:
        // another process may go on writing. How much it holds is not asked for little output.
        for _ in 0..READS {
            let count = nix::unistd::read(&receiver, &mut chunk).unwrap_or(0);
            dropped += self.written.borrow_mut().keep(&chunk[..count], &self.readers);
            taken += count;
            if count == 0 || (taken >= CHUNK && taken >= capacity(&receiver).min(PIPE)) {
                break;
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

/// The capacity of a pipe, in bytes.
fn capacity(pipe: &impl AsFd) -> usize {
    let size = fcntl(pipe, FcntlArg::F_GETPIPE_SZ).ok();
    size.and_then(|size| usize::try_from(size).ok()).unwrap_or(PIPE)
}

/// The output that was read and is still needed.
#[derive(Debug)]
struct ChildOutput {
    log: Option<(Origin, Lines)>,
    /// Bytes that were read and are still to be logged.
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

    /// Logs as much as one turn permits, and stores the rest for the next one.
    fn feed(&mut self, bytes: &[u8], readers: &Readers) {
        self.tail.feed(bytes);
        let taken = self.log_some(bytes, &readers.console);
        if taken < bytes.len() {
            self.unread_of(readers).push(&bytes[taken..]);
        }
    }

    /// Stores the output of a finished child for later turns, up to the limit. Returns how many bytes were
    /// dropped.
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

    /// Logs as many stored bytes as one turn permits.
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

    /// Logs the first lines of these bytes, up to the limit of a turn. Returns how many bytes were logged.
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

    /// Logs a last line that has no line end.
    fn finish(&mut self, console: &Console) {
        if let Some((origin, lines)) = &mut self.log {
            console.lines(origin, |emit| lines.finish(emit));
        }
    }
}

/// Bytes that were read and not logged yet.
#[derive(Debug)]
struct Unread {
    bytes: Vec<u8>,
    /// How many of them were logged.
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

/// The last bytes of the output.
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

    /// The text, which begins with `…` if the output was longer.
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

    /// Readers whose lines are discarded.
    fn readers() -> Readers {
        let inbox_sender = Queue::new(MachineClock::start()).sender();
        Readers::new(Console::discarding(), Turns::new(inbox_sender))
    }

    fn tail(pieces: &[&[u8]]) -> Option<String> {
        let mut tail = Tail::default();
        for piece in pieces {
            tail.feed(piece);
        }
        tail.text()
    }

    #[test]
    fn after_a_panic_while_output_is_read_only_the_bytes_being_read_are_lost() {
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

    /// What is known of the output of a child that is reaped before the runtime has noticed that it wrote these pieces, with
    /// these flags of its pipe.
    fn on_reaped(flags: OFlag, pieces: &[&[u8]]) -> Option<String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let command = domain::plan::Command::new("true", []);
        let role = Role::Sensor { name: "s".into() };
        let job = Job::new(role, command, domain::plan::Trigger::OnDemand, Output::Capture);
        let reading = async {
            let capture = Capture::of(&job).unwrap().unwrap();
            let mut child = capture.writer.try_clone().unwrap();
            fcntl(&child, FcntlArg::F_SETFL(flags)).unwrap();
            let reader = capture.read(&job, &readers());
            pieces.iter().for_each(|piece| child.write_all(piece).unwrap());
            reader.on_reaped()
        };
        tokio::task::LocalSet::new().block_on(&runtime, reading)
    }

    #[test]
    fn a_pipe_is_emptied_when_its_child_is_reaped() {
        assert_eq!(on_reaped(OFlag::empty(), &[b"42\n"]).as_deref(), Some("42\n"));
        // The pipe is full.
        let full = on_reaped(OFlag::empty(), &[&[b'x'; 64 * 1024 - 1], b"y"]).unwrap();
        assert!(full.ends_with("xxy"), "{full}");
    }

    /// Each of them is read alone.
    #[test]
    fn a_pipe_with_packets_is_emptied_when_its_child_is_reaped() {
        let printed = on_reaped(OFlag::O_DIRECT, &[b"4", b"2", b"\n"]);
        assert_eq!(printed.as_deref(), Some("42\n"));
    }

    fn logged() -> ChildOutput {
        let command = domain::plan::Command::new("true", []);
        let role = Role::Task { name: "t".into() };
        ChildOutput::by(&Job::new(
            role,
            command,
            domain::plan::Trigger::OnDemand,
            Output::Log,
        ))
    }

    #[test]
    fn a_turn_logs_a_limited_number_of_lines_and_the_rest_waits() {
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
    fn a_turn_logs_a_limited_number_of_bytes_of_a_finished_child() {
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
    fn output_of_finished_children_waits_in_limited_memory() {
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
    fn a_short_output_is_kept_whole() {
        assert_eq!(tail(&[]), None);
        assert_eq!(tail(&[b"4", b"2\n"]), Some("42\n".into()));
        let full = [b'x'; TAIL];
        assert_eq!(tail(&[&full]).map(|text| text.len()), Some(TAIL));
        assert_eq!(tail(&[b"a\xffb"]), Some("a\u{fffd}b".into()));
    }

    #[test]
    fn the_end_of_a_long_output_is_kept_and_marked() {
        let long = [b'x'; TAIL + 1];
        for pieces in [&[long.as_slice(), b"5"], &[&long[..TAIL], b"xx5"]] {
            let text = tail(pieces).unwrap();
            assert!(text.starts_with("…x") && text.ends_with("x5"));
            assert_eq!(text.len(), TAIL + "…".len());
        }
    }
}
