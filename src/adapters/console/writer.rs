//! Writes to a stream with a reader, without ever waiting.
//!
//! The shim's standard output is also the application's: both share one open file description. It must not be
//! made non-blocking, because writes of the application would fail. So a pipe or a terminal is opened a
//! second time, with a description of its own; each message to a socket carries the flag; a write to a file
//! does not wait. Where opening is not permitted, `poll` precedes each small write. The flags of the given
//! description are never changed.

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

/// How many bytes a pipe with any free space accepts at once and undivided.
const PIPE_PIECE: usize = 4096;

/// A terminal with free space may have space for one byte only.
const TERMINAL_PIECE: usize = 1;

/// A stream that is written to without waiting.
#[derive(Debug)]
pub struct NonBlockingWriter {
    descriptor: OwnedFd,
    mode: WriteMode,
    together: usize,
}

/// How a write is prevented from waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteMode {
    /// It cannot wait: the stream is a file, or has a description of its own.
    Plain,
    /// Each message carries the flag.
    Socket,
    /// `poll` precedes each write, which has at most this many bytes.
    PollFirst(usize),
}

impl NonBlockingWriter {
    /// Finds out what kind of stream the descriptor refers to.
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

    /// A second description for the same pipe or terminal; the given one if that is not possible.
    fn opened_again(descriptor: OwnedFd, piece: usize) -> Self {
        let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        match open(path.as_str(), flags, Mode::empty()) {
            Ok(own) => Self::with(own, WriteMode::Plain, PIPE_PIECE),
            Err(_) => Self::with(descriptor, WriteMode::PollFirst(piece), piece),
        }
    }

    /// How many bytes of several entries may share one write: for a pipe, as many as the kernel does not
    /// interleave with other writers; none where each write is a message; any number for a file.
    pub fn together(&self) -> usize {
        self.together
    }

    /// Writes as much as possible now. Returns the number of bytes; [`Errno::EAGAIN`] if there are none.
    pub fn write(&self, bytes: &[u8]) -> nix::Result<usize> {
        match self.mode {
            WriteMode::Plain => write(&self.descriptor, bytes),
            WriteMode::Socket => send(
                self.descriptor.as_raw_fd(),
                bytes,
                MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL,
            ),
            WriteMode::PollFirst(_) if !self.can_write(Duration::ZERO) => Err(Errno::EAGAIN),
            WriteMode::PollFirst(piece) => write(&self.descriptor, &bytes[..bytes.len().min(piece)]),
        }
    }

    /// Waits until the stream accepts bytes or has an error that a write would return, at most for `limit`.
    /// Returns whether it does. A signal may end the wait early.
    pub fn can_write(&self, limit: Duration) -> bool {
        let mut asked = [PollFd::new(self.descriptor.as_fd(), PollFlags::POLLOUT)];
        let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
        poll(&mut asked, limit).is_ok_and(|ready| ready > 0)
    }
}

/// Whether a socket is a stream of bytes and not of messages.
fn is_stream(descriptor: &OwnedFd) -> bool {
    getsockopt(descriptor, SockType) == Ok(socket::SockType::Stream)
}

/// Only for the runtime to watch; all writes go through [`Self::write`].
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

    /// Writes until the stream accepts no more. Returns how many bytes were written.
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
        // The terminal's kernel side removes some bytes a moment later.
        while stream.can_write(Duration::from_millis(20)) {
            fill(stream);
        }
        let mut buffer = vec![0; 1 << 20];
        assert!(read(reader, &mut buffer).unwrap() > 0);
        assert!(stream.can_write(Duration::from_secs(5)));
        assert!(fill(stream) > 0);
    }

    #[test]
    fn a_write_to_a_full_pipe_does_not_wait_and_the_pipe_stays_blocking_for_the_application() {
        let (reader, writer) = pipe().unwrap();
        let application = writer.try_clone().unwrap();
        let stream = NonBlockingWriter::new(writer);
        assert_eq!(stream.mode, WriteMode::Plain);
        fills_without_waiting_and_takes_more_once_read(&stream, &reader);
        assert!(is_blocking(&application));
    }

    #[test]
    fn a_write_to_a_full_terminal_does_not_wait_and_the_terminal_stays_blocking_for_the_application() {
        let ends = openpty(None, None).unwrap();
        let application = ends.slave.try_clone().unwrap();
        let stream = NonBlockingWriter::new(ends.slave);
        assert_eq!(stream.mode, WriteMode::Plain);
        fills_without_waiting_and_takes_more_once_read(&stream, &ends.master);
        assert!(is_blocking(&application));
    }

    #[test]
    fn a_write_to_a_full_socket_does_not_wait_and_the_socket_stays_blocking_for_the_application() {
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
    fn a_write_to_a_full_pipe_that_cannot_be_opened_again_does_not_wait() {
        let (reader, writer) = pipe().unwrap();
        let application = writer.try_clone().unwrap();
        let stream = NonBlockingWriter::with(writer, WriteMode::PollFirst(PIPE_PIECE), PIPE_PIECE);
        fills_without_waiting_and_takes_more_once_read(&stream, &reader);
        assert!(is_blocking(&application));
    }

    #[test]
    fn a_write_to_a_full_terminal_that_cannot_be_opened_again_does_not_wait() {
        let ends = openpty(None, None).unwrap();
        let stream =
            NonBlockingWriter::with(ends.slave, WriteMode::PollFirst(TERMINAL_PIECE), TERMINAL_PIECE);
        fills_without_waiting_and_takes_more_once_read(&stream, &ends.master);
    }

    #[test]
    fn a_named_pipe_without_a_reader_is_polled_before_each_write() {
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
    fn writes_to_a_file_share_the_offset_with_the_application() {
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
