//! The bounds of connections: their number, their duration, and the size of a request.
//!
//! Any number of clients may connect, and all of them may be slow, silent or wrong. The number of connections
//! is limited; a new one beyond the limit closes the oldest. A connection on which no request begins for a
//! while is closed, whatever its state. So memory, descriptors and time are bounded, and a client with a
//! short request is served even beside many slow ones.

use crate::adapters::tasks::spawn_local;
use crate::panics;
use async_trait::async_trait;
use domain::time::Duration;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// The limit on connections of a server at a time. (docs/bounds.md)
const CONNECTIONS: usize = 64;
/// How long a connection may take from the beginning of one request to the beginning of the next. Longer than
/// Prometheus' default interval between scrapes, one minute. (docs/bounds.md)
const LONGEST_WAIT: Duration = Duration::from_secs(90);
/// How many bytes of a request are stored; a request with longer headers is refused with 431.
/// (docs/bounds.md)
const REQUEST: usize = 16 * 1024;
/// The pause after a connection could not be accepted because no descriptor was available.
const PAUSE: Duration = Duration::from_millis(100);

/// The answer to a request.
pub type Answer = Response<Full<Bytes>>;

/// Answers the requests of a server.
#[async_trait(?Send)]
pub trait Answers: 'static {
    /// Whether a connection may carry further requests after the first one.
    fn keeps_connections(&self) -> bool;

    /// The answer to a request. The body of the request is read only if the answer needs it.
    async fn answer(&self, request: Request<Incoming>) -> Answer;
}

/// A stream to another program. The code of HTTP exists once for each type of stream, so it is used with this one only.
pub trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// A listening socket.
#[async_trait(?Send)]
pub trait Accept {
    /// Waits for the next client.
    ///
    /// # Errors
    /// No descriptor is available, or the client is gone already.
    async fn accept(&self) -> io::Result<Box<dyn Stream>>;
}

#[async_trait(?Send)]
impl Accept for TcpListener {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(Self::accept(self).await?.0))
    }
}

#[async_trait(?Send)]
impl Accept for UnixListener {
    async fn accept(&self) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(Self::accept(self).await?.0))
    }
}

/// The open connections of a server; clones share them.
#[derive(Clone, Default)]
pub struct Connections(Rc<RefCell<VecDeque<AbortHandle>>>);

impl Connections {
    /// Beyond the limit the oldest connection is closed.
    fn admit(&self, next: AbortHandle) {
        let mut open = self.0.borrow_mut();
        open.retain(|connection| !connection.is_finished());
        if open.len() == CONNECTIONS
            && let Some(first) = open.pop_front()
        {
            first.abort();
        }
        open.push_back(next);
    }

    /// Closes all connections.
    pub fn close(&self) {
        for connection in self.0.borrow_mut().drain(..) {
            connection.abort();
        }
    }
}

/// Serves clients until the future is dropped. The connections stay open then.
pub async fn serve_until_dropped(
    listener: Box<dyn Accept>,
    answers: Rc<dyn Answers>,
    connections: Connections,
) {
    // A request that makes the server panic affects only its own connection.
    while panics::caught(serve(&*listener, &answers, &connections))
        .await
        .is_err()
    {
        sleep(PAUSE).await;
    }
}

async fn serve(listener: &dyn Accept, answers: &Rc<dyn Answers>, connections: &Connections) {
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let connection = spawn_local(serve_connection(stream, Rc::clone(answers)));
                connections.admit(connection.abort_handle());
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn serve_connection(stream: Box<dyn Stream>, answers: Rc<dyn Answers>) {
    let requests = Cell::new(0_u64);
    let answer = service_fn(|request| {
        requests.set(requests.get() + 1);
        let answers = Rc::clone(&answers);
        async move { Ok::<_, Infallible>(answers.answer(request).await) }
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(REQUEST).keep_alive(answers.keeps_connections());
    let mut talk = pin!(http.serve_connection(TokioIo::new(stream), answer));
    loop {
        let begun = requests.get();
        let ended = poll_fn(|context| match talk.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if requests.get() > begun => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        });
        if timeout(LONGEST_WAIT, ended).await != Ok(false) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddr;
    use tokio::net::TcpStream;
    use tokio::time::Instant;

    const REQUEST: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";

    /// Answers every request with an empty page.
    struct Empty;

    #[async_trait(?Send)]
    impl Answers for Empty {
        fn keeps_connections(&self) -> bool {
            true
        }

        async fn answer(&self, _request: Request<Incoming>) -> Answer {
            Answer::default()
        }
    }

    /// Runs a test with a server, on a clock that jumps to the next timer when all tasks wait.
    fn beside_a_server<F: Future>(test: impl FnOnce(SocketAddr) -> F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            spawn_local(serve_until_dropped(
                Box::new(listener),
                Rc::new(Empty),
                Connections::default(),
            ));
            test(address).await
        })
    }

    async fn client(address: SocketAddr, request: &[u8]) -> TcpStream {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.writable().await.unwrap();
        stream.try_write(request).unwrap();
        stream
    }

    /// The next bytes of an answer; empty at the end of the connection.
    async fn received(stream: &TcpStream) -> Vec<u8> {
        let mut piece = Vec::with_capacity(100_000);
        loop {
            stream.readable().await.unwrap();
            match stream.try_read_buf(&mut piece) {
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                _ => return piece,
            }
        }
    }

    #[test]
    fn a_connection_with_half_a_request_is_closed_at_its_time_limit() {
        for half in ["", "GET /metrics HTT"] {
            beside_a_server(async |address| {
                let stream = client(address, half.as_bytes()).await;
                let began = Instant::now();
                assert_eq!(received(&stream).await, b"");
                let took = began.elapsed();
                assert!(
                    took >= LONGEST_WAIT && took < LONGEST_WAIT + LONGEST_WAIT,
                    "{took:?}"
                );
            });
        }
    }

    #[test]
    fn a_client_with_one_request_a_minute_is_answered_on_one_connection() {
        beside_a_server(async |address| {
            let stream = client(address, b"").await;
            for _ in 0..10 {
                sleep(Duration::from_secs(60)).await;
                stream.try_write(REQUEST).unwrap();
                assert!(received(&stream).await.starts_with(b"HTTP/1.1 200 OK\r\n"));
            }
        });
    }

    #[test]
    fn beyond_the_limit_of_connections_the_oldest_is_closed() {
        beside_a_server(async |address| {
            // While a blocking task runs, the paused clock does not advance, however long the kernel takes.
            let (release, held) = std::sync::mpsc::channel::<()>();
            let blocking = tokio::task::spawn_blocking(move || held.recv());
            let mut crowd = Vec::new();
            for _ in 0..=CONNECTIONS {
                crowd.push(client(address, b"").await);
            }
            let last = client(address, REQUEST).await;
            assert!(received(&last).await.starts_with(b"HTTP/1.1 200 OK\r\n"));
            for gone in &crowd[..2] {
                assert_eq!(received(gone).await, b"");
            }
            crowd[2].try_write(REQUEST).unwrap();
            assert!(received(&crowd[2]).await.starts_with(b"HTTP/1.1 200 OK\r\n"));
            drop(release);
            blocking.await.unwrap().unwrap_err();
        });
    }
}
