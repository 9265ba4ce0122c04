//! The output of a child that is not inherited: a pipe, read as it fills. It goes to the log line by line,
//! or nowhere; the end of it is kept and handed to the core when the child has ended.
//!
//! The end of the pipe is not the end of the run: a grandchild may hold it open (EX-9). What the child itself
//! wrote is in the pipe when it is reaped, and is taken out then; a log is read for a short grace longer.

use crate::adapters::console::{self, Lines};
use domain::plan::{Job, Output, Role};
use domain::time::Duration;
use std::cell::RefCell;
use std::io::{self, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use tokio::net::unix::pipe::Receiver;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

/// How long the pipe of a child that ended is still read.
const GRACE: Duration = Duration::from_secs(1);
/// How long the end of the program waits for a pipe that somebody still holds open.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How much is read at a time.
const CHUNK: usize = 16 * 1024;
/// How much is taken out of a pipe when its child is reaped: all that a pipe can be made to hold.
const PIPE: usize = 1024 * 1024;
/// How many bytes of the output's end are kept. (docs/bounds.md)
const TAIL: usize = 1024;

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
        Ok(Some(Self { receiver, writer }))
    }

    /// The child's end.
    pub fn writer(&self) -> BorrowedFd<'_> {
        self.writer.as_fd()
    }

    /// Lets go of our copy of the child's end, and reads what it writes.
    pub fn read(self, job: &Job) -> Reader {
        let pipe = Rc::new(Pipe {
            receiver: self.receiver,
            written: RefCell::new(Written::by(job)),
        });
        let reading = spawn_local(Rc::clone(&pipe).read_to_end());
        Reader { pipe, reading }
    }
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

    /// The child was reaped: the end of what it wrote, if it wrote anything. A log is read on for the grace.
    pub fn on_reaped(&self) -> Option<String> {
        if !self.is_finished() {
            self.pipe.drain();
            self.stop_after_grace();
        }
        self.pipe.written.borrow().tail.text()
    }

    /// The program ends: waits for the pipe's end, for a moment only.
    pub async fn finish(self) {
        timeout(LAST_WORDS, self.reading).await.ok();
    }

    fn stop_after_grace(&self) {
        let reading = self.reading.abort_handle();
        if self.pipe.written.borrow().log.is_none() {
            return reading.abort();
        }
        let pipe = Rc::clone(&self.pipe);
        spawn_local(async move {
            sleep(GRACE).await;
            if !reading.is_finished() {
                reading.abort();
                pipe.written.borrow_mut().finish();
            }
        });
    }
}

#[derive(Debug)]
struct Pipe {
    receiver: Receiver,
    written: RefCell<Written>,
}

impl Pipe {
    async fn read_to_end(self: Rc<Self>) {
        let mut chunk = Vec::with_capacity(CHUNK);
        while self.receiver.readable().await.is_ok() {
            chunk.clear();
            match self.receiver.try_read_buf(&mut chunk) {
                Ok(0) => break,
                Ok(_) => self.written.borrow_mut().feed(&chunk),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        self.written.borrow_mut().finish();
    }

    /// Takes out what is in the pipe, whether the runtime has noticed it or not.
    fn drain(&self) {
        let mut chunk = [0; CHUNK];
        for _ in 0..PIPE / CHUNK {
            match nix::unistd::read(&self.receiver, &mut chunk) {
                Ok(0) | Err(_) => return,
                Ok(count) => self.written.borrow_mut().feed(&chunk[..count]),
            }
        }
    }
}

/// What was written, as far as it is of use.
#[derive(Debug)]
struct Written {
    log: Option<(Role, Lines)>,
    tail: Tail,
}

impl Written {
    fn by(job: &Job) -> Self {
        let log = (job.output == Output::Log).then(|| (job.role.clone(), Lines::default()));
        let tail = Tail::default();
        Self { log, tail }
    }

    fn feed(&mut self, bytes: &[u8]) {
        self.tail.feed(bytes);
        if let Some((role, lines)) = &mut self.log {
            lines.feed(bytes, |line| console::output(role, line));
        }
    }

    /// Logs a last line that has no end.
    fn finish(&mut self) {
        if let Some((role, lines)) = &mut self.log {
            lines.finish(|line| console::output(role, line));
        }
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
    use std::io::Write;

    fn tail(pieces: &[&[u8]]) -> Option<String> {
        let mut tail = Tail::default();
        for piece in pieces {
            tail.feed(piece);
        }
        tail.text()
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
            let reader = capture.read(&job);
            child.write_all(b"42\n").unwrap();
            reader.on_reaped()
        };
        let printed = tokio::task::LocalSet::new().block_on(&runtime, reading);
        assert_eq!(printed.as_deref(), Some("42\n"));
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
