//! A connection whose reads are limited by a rule. Writes are not limited.
//!
//! The rule for HTTP/1.1 is in `consul/wire.rs`, the rule for HTTP/2 in `pacing.rs`. This module does not
//! interpret the bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How much of a connection may be read.
pub trait ReadRule {
    /// How many bytes may be read now. While none may be read, this is pending, and the task is woken later.
    ///
    /// # Errors
    /// The server sent too much: the connection ends.
    fn poll_allowed(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>>;

    /// Records that this many bytes were read.
    fn count(&mut self, bytes: usize);

    /// Records that no more data is available at present.
    fn rest(&mut self) {}
}

/// A stream whose reads are limited by its rule.
#[derive(Debug)]
pub struct Metered<S, R> {
    pub stream: S,
    pub rule: R,
}

impl<S: AsyncRead + Unpin, R: ReadRule + Unpin> AsyncRead for Metered<S, R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let allowed = ready!(self.rule.poll_allowed(context))?;
        let before = buffer.filled().len();
        let read = if allowed >= buffer.remaining() {
            Pin::new(&mut self.stream).poll_read(context, buffer)
        } else {
            let mut part = ReadBuf::new(buffer.initialize_unfilled_to(allowed));
            let read = Pin::new(&mut self.stream).poll_read(context, &mut part);
            let count = part.filled().len();
            buffer.advance(count);
            read
        };
        match &read {
            Poll::Ready(_) => self.rule.count(buffer.filled().len() - before),
            Poll::Pending => self.rule.rest(),
        }
        read
    }
}

impl<S: AsyncWrite + Unpin, R: Unpin> AsyncWrite for Metered<S, R> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
