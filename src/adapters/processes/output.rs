//! The output of a child that goes to the log: one pipe for both its streams, read line by line.
//!
//! The end of the pipe is not the end of the run: a grandchild may hold it open (EX-9). It is read for a
//! short grace after the child ended, and then dropped.

use crate::adapters::console::{self, Lines};
use domain::plan::Role;
use domain::time::Duration;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::process::Stdio;
use tokio::net::unix::pipe::Receiver;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

/// How long the pipe of a child that ended is still read.
const GRACE: Duration = Duration::from_secs(1);
/// How long the end of the program waits for a pipe that somebody still holds open.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How much is read at a time.
const CHUNK: usize = 16 * 1024;

/// A pipe before its child is started.
#[derive(Debug)]
pub struct Capture {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Capture {
    /// A pipe of which no child knows.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = io::pipe()?;
        Ok(Self { reader, writer })
    }

    /// The end that the child is to write to.
    pub fn writer(&self) -> io::Result<Stdio> {
        self.writer.try_clone().map(Stdio::from)
    }

    /// Lets go of our copy of the child's end, and logs what it writes.
    pub fn read(self, role: &Role) -> io::Result<Reader> {
        let receiver = Receiver::from_owned_fd(OwnedFd::from(self.reader))?;
        let role = role.clone();
        Ok(Reader(spawn_local(log(receiver, role))))
    }
}

/// Somebody who reads a pipe to its end.
#[derive(Debug)]
pub struct Reader(JoinHandle<()>);

impl Reader {
    /// Whether the pipe's end was reached.
    pub fn is_finished(&self) -> bool {
        self.0.is_finished()
    }

    /// The child ended: reads on for the grace only.
    pub fn drop_after_grace(&self) {
        if self.is_finished() {
            return;
        }
        let reading = self.0.abort_handle();
        spawn_local(async move {
            sleep(GRACE).await;
            reading.abort();
        });
    }

    /// The program ends: waits for the pipe's end, for a moment only.
    pub async fn finish(self) {
        timeout(LAST_WORDS, self.0).await.ok();
    }
}

async fn log(pipe: Receiver, role: Role) {
    let mut lines = Lines::default();
    let mut chunk = Vec::with_capacity(CHUNK);
    let log = |line: &[u8]| console::output(&role, line);
    while pipe.readable().await.is_ok() {
        chunk.clear();
        match pipe.try_read_buf(&mut chunk) {
            Ok(0) => break,
            Ok(_) => lines.feed(&chunk, log),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    lines.finish(log);
}
