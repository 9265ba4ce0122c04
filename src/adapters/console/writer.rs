//! Writes to a stream that somebody reads, without ever waiting.
//!
//! The shim's standard output is also the application's: they share one open file description, so it must
//! not be made non-blocking, or the application's writes would fail. A pipe or a terminal is therefore opened
//! once more, for a description of our own; each message to a socket carries the flag; a write to a
//! file does not wait. Where opening again is not allowed, the kernel is asked before each small write. Never changes a
//! flag of the description it was given.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::SockType;
use nix::sys::socket::{self, MsgFlags, getsockopt, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::write;
use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// What a pipe that has any room takes at once, and whole.
const PIPE_PIECE: usize = 4096;

/// A terminal that has any room may have room for one byte only.
const TERMINAL_PIECE: usize = 1;

/// A stream that is written to without waiting.
#[derive(Debug)]
pub struct NonBlockingWriter {
    descriptor: OwnedFd,
    mode: WriteMode,
    together: usize,
}

/// How a write is kept from waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteMode {
    /// It cannot wait: a file, or a description of our own.
    Plain,
    /// Each message says so.
    Socket,
    /// The kernel is asked first, and not more than this is written at once.
    PollFirst(usize),
}

impl NonBlockingWriter {
    /// Finds out what the descriptor leads to.
    pub fn new(descriptor: OwnedFd) -> Self {
        let terminal = descriptor.is_terminal();
        let mode = fstat(&descriptor).map_or(0, |found| found.st_mode);
        match SFlag::from_bits_truncate(mode) & SFlag::S_IFMT {
            SFlag::S_IFIFO => Self::opened_again(descriptor, PIPE_PIECE),
            SFlag::S_IFCHR if terminal => Self::opened_again(descriptor, TERMINAL_PIECE),
            SFlag::S_IFSOCK => {
                let together = if is_stream(&descriptor) { PIPE_PIECE } else { 0 };
                Self::with(descriptor, WriteMode::Socket, together)
            }
            _ => Self::with(descriptor, WriteMode::Plain, usize::MAX),
        }
    }

    fn with(descriptor: OwnedFd, mode: WriteMode, together: usize) -> Self {
        Self {
            descriptor,
            mode,
            together,
        }
    }

    /// A description of our own for the same pipe or terminal, or the given one if that is not possible.
    fn opened_again(descriptor: OwnedFd, piece: usize) -> Self {
        let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        match open(path.as_str(), flags, Mode::empty()) {
            Ok(own) => Self::with(own, WriteMode::Plain, PIPE_PIECE),
            Err(_) => Self::with(descriptor, WriteMode::PollFirst(piece), piece),
        }
    }

    /// How many bytes may be written at once if several entries share a write: what the kernel does not mix with
    /// what others write to the same pipe, nothing where each write is a message, and any number into a file.
    pub fn together(&self) -> usize {
        self.together
    }

    /// Writes what can be written now; how much that was. [`Errno::EAGAIN`] if nothing can.
    pub fn write(&self, bytes: &[u8]) -> nix::Result<usize> {
        match self.mode {
            WriteMode::Plain => write(&self.descriptor, bytes),
            WriteMode::Socket => send(
                self.descriptor.as_raw_fd(),
                bytes,
                MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
            ),
            WriteMode::PollFirst(_) if !self.has_room(Duration::ZERO) => Err(Errno::EAGAIN),
            WriteMode::PollFirst(piece) => write(&self.descriptor, &bytes[..bytes.len().min(piece)]),
        }
    }

    /// Whether there is room, or a failure to be found out by writing, within `limit`. A signal may cut the
    /// wait short.
    pub fn has_room(&self, limit: Duration) -> bool {
        let mut asked = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLOUT)];
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        poll(&mut asked, limit).is_ok_and(|ready| ready > 0)
    }
}

/// Whether a socket carries bytes and not messages.
fn is_stream(descriptor: &OwnedFd) -> bool {
    getsockopt(descriptor, SockType) == Ok(socket::SockType::Stream)
}

/// For the runtime to watch; never to be written to directly.
impl AsRawFd for NonBlockingWriter {
    fn as_raw_fd(&self) -> RawFd {
        self.descriptor.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::pty::openpty;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use nix::unistd::{pipe, read};

    /// Writes until there is no room; how much went in.
    fn fill(stream: &NonBlockingWriter) -> usize {
        let mut total = 0;
        loop {
            match stream.write(&[b'x'; 10_000]) {
                Ok(written) => total += written,
                Err(error) => {
                    assert_eq!(error, Errno::EAGAIN);
                    return total;
                }
            }
        }
    }

    fn is_blocking(descriptor: &OwnedFd) -> bool {
        let flags = OFlag::from_bits_retain(fcntl(descriptor, FcntlArg::F_GETFL).unwrap());
        !flags.contains(OFlag::O_NONBLOCK)
    }

    fn fills_without_waiting_and_takes_more_once_read(stream: &NonBlockingWriter, reader: &OwnedFd) {
        assert!(fill(stream) > 0);
        // A terminal's kernel side takes some of it out a moment later.
        while stream.has_room(Duration::from_millis(20)) {
            fill(stream);
        }
        let mut buffer = vec![0; 1 << 20];
        assert!(read(reader, &mut buffer).unwrap() > 0);
        assert!(stream.has_room(Duration::from_secs(5)));
        assert!(fill(stream) > 0);
    }

    #[test]
    fn a_full_pipe_does_not_make_us_wait_and_stays_blocking_for_the_application() {
        let (reader, writer) = pipe().unwrap();
        let application = writer.try_clone().unwrap();
        let stream = NonBlockingWriter::new(writer);
        assert_eq!(stream.mode, WriteMode::Plain);
        fills_without_waiting_and_takes_more_once_read(&stream, &reader);
        assert!(is_blocking(&application));
    }

    #[test]
    fn a_full_terminal_does_not_make_us_wait_and_stays_blocking_for_the_application() {
        let ends = openpty(None, None).unwrap();
        let application = ends.slave.try_clone().unwrap();
        let stream = NonBlockingWriter::new(ends.slave);
        assert_eq!(stream.mode, WriteMode::Plain);
        fills_without_waiting_and_takes_more_once_read(&stream, &ends.master);
        assert!(is_blocking(&application));
    }

    #[test]
    fn a_full_socket_does_not_make_us_wait_and_stays_blocking_for_the_application() {
        let (reader, writer) = socketpair(
            AddressFamily::Unix,
            SockType::Stream,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        let application = writer.try_clone().unwrap();
        let stream = NonBlockingWriter::new(writer);
        assert_eq!(stream.mode, WriteMode::Socket);
        fills_without_waiting_and_takes_more_once_read(&stream, &reader);
        assert!(is_blocking(&application));
    }

    #[test]
    fn a_full_pipe_that_cannot_be_opened_again_does_not_make_us_wait() {
        let (reader, writer) = pipe().unwrap();
        let application = writer.try_clone().unwrap();
        let stream = NonBlockingWriter::with(writer, WriteMode::PollFirst(PIPE_PIECE), PIPE_PIECE);
        fills_without_waiting_and_takes_more_once_read(&stream, &reader);
        assert!(is_blocking(&application));
    }

    #[test]
    fn a_full_terminal_that_cannot_be_opened_again_does_not_make_us_wait() {
        let ends = openpty(None, None).unwrap();
        let stream =
            NonBlockingWriter::with(ends.slave, WriteMode::PollFirst(TERMINAL_PIECE), TERMINAL_PIECE);
        fills_without_waiting_and_takes_more_once_read(&stream, &ends.master);
    }

    #[test]
    fn a_named_pipe_without_a_reader_is_asked_before_each_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        let reader = open(&path, OFlag::O_RDONLY | OFlag::O_NONBLOCK, Mode::empty()).unwrap();
        let writer = open(&path, OFlag::O_WRONLY, Mode::empty()).unwrap();
        drop(reader);
        let stream = NonBlockingWriter::new(writer);
        assert_eq!(stream.mode, WriteMode::PollFirst(PIPE_PIECE));
        assert_eq!(stream.write(b"x"), Err(Errno::EPIPE));
    }

    #[test]
    fn files_are_written_where_the_application_writes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let application = OwnedFd::from(file.reopen().unwrap());
        let stream = NonBlockingWriter::new(application.try_clone().unwrap());
        assert_eq!(stream.mode, WriteMode::Plain);
        write(&application, b"1").unwrap();
        stream.write(b"2").unwrap();
        write(&application, b"3").unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap(), b"123");
    }
}
