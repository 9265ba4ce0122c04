//! Who may talk to the endpoint, for how long, and about how much.
//!
//! Any number of clients may come, and all of them may be slow, silent or wrong: there are so many
//! conversations at a time and no more, and the one that began first makes room for the next. A conversation
//! in which no request begins for a while is given up, whatever it waits for. So memory, descriptors and time
//! have bounds, and whoever talks briefly is served even beside many who do not.

use super::pages::Pages;
use domain::time::Duration;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::cell::Cell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{sleep, timeout};

/// How many conversations there are at a time.
const CONVERSATIONS: usize = 64;
/// How long a conversation may take from the beginning of one request to that of the next. Longer than the
/// minute after which Prometheus asks again unless told otherwise.
const PATIENCE: Duration = Duration::from_secs(90);
/// How many bytes of a request are held; more headers than that are refused with 431.
const REQUEST: usize = 16 * 1024;
/// How long to wait when the machine has no descriptor left for a client.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves whoever comes, until it is dropped; all conversations end with it.
pub async fn serve(listener: TcpListener, pages: Rc<Pages>) {
    let mut conversations = Conversations::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                conversations.admit(spawn_local(converse(stream, Rc::clone(&pages))).abort_handle())
            }
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// The conversations under way, in the order in which they began.
#[derive(Default)]
struct Conversations(VecDeque<AbortHandle>);

impl Conversations {
    fn admit(&mut self, next: AbortHandle) {
        self.0.retain(|conversation| !conversation.is_finished());
        if self.0.len() == CONVERSATIONS
            && let Some(first) = self.0.pop_front()
        {
            first.abort();
        }
        self.0.push_back(next);
    }
}

impl Drop for Conversations {
    fn drop(&mut self) {
        for conversation in &self.0 {
            conversation.abort();
        }
    }
}

async fn converse(stream: TcpStream, pages: Rc<Pages>) {
    let requests = Cell::new(0_u64);
    let answer = service_fn(|request| {
        requests.set(requests.get() + 1);
        let pages = Rc::clone(&pages);
        async move { Ok::<_, Infallible>(pages.answer(request.method(), request.uri().path()).await) }
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(REQUEST);
    let mut talk = pin!(http.serve_connection(TokioIo::new(stream), answer));
    loop {
        let begun = requests.get();
        let ended = poll_fn(|context| match talk.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if requests.get() > begun => Poll::Ready(false),
            Poll::Pending => Poll::Pending,
        });
        if timeout(PATIENCE, ended).await != Ok(false) {
            return;
        }
    }
}
