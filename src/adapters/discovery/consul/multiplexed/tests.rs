//! A server over TLS that speaks HTTP/2 or HTTP/1.1, counts its connections, and answers when the test lets it.

use super::*;
use crate::adapters::discovery::consul::Consul;
use crate::ports::{Catalogue as _, CatalogueError};
use crate::self_signed;
use domain::catalogue::{Cursor, Listing, Query};
use domain::plan::{self, Scheme, Tls};
use hyper::server::conn::{http1, http2 as server_http2};
use hyper::service::service_fn;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::{LocalSet, yield_now};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// What a server does, and what it sees.
#[derive(Default)]
struct Server {
    streams: Option<u32>,
    /// Released once for each waiting request that is to be answered.
    answers: Notify,
    is_silent: Cell<bool>,
    /// What follows the empty list of each answer.
    padding: RefCell<Bytes>,
    accepted: Cell<usize>,
    waiting: Cell<usize>,
    most_waiting: Cell<usize>,
    connections: RefCell<Vec<AbortHandle>>,
    /// Notified when connections are to be left open and not served any more.
    freezes: Notify,
}

type Served = hyper::Response<Full<Bytes>>;

impl Server {
    /// Queries with an index wait, all else is answered at once.
    async fn serve(&self, request: Request<Incoming>) -> Result<Served, hyper::Error> {
        if self.is_silent.get() {
            std::future::pending::<()>().await;
        }
        if request
            .uri()
            .query()
            .is_some_and(|query| query.contains("index="))
        {
            self.waiting.set(self.waiting.get() + 1);
            self.most_waiting
                .set(self.most_waiting.get().max(self.waiting.get()));
            self.answers.notified().await;
            self.waiting.set(self.waiting.get() - 1);
        }
        let body = [b"[]", self.padding.borrow().as_ref()].concat();
        Ok(hyper::Response::new(Full::new(body.into())))
    }

    async fn accept(self: Rc<Self>, stream: TcpStream, acceptor: TlsAcceptor) {
        let Ok(stream) = acceptor.accept(stream).await else {
            return;
        };
        self.accepted.set(self.accepted.get() + 1);
        let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let service = service_fn(|request| self.serve(request));
        if is_http2 {
            let mut builder = server_http2::Builder::new(Tasks::default());
            builder.max_concurrent_streams(self.streams);
            let shared = Rc::clone(&self);
            let service = service_fn(move |request| {
                let shared = Rc::clone(&shared);
                async move { shared.serve(request).await }
            });
            let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
            let mut frozen = std::pin::pin!(self.freezes.notified());
            let is_frozen = poll_fn(|context| match frozen.as_mut().poll(context) {
                Poll::Ready(()) => Poll::Ready(true),
                Poll::Pending => serving.as_mut().poll(context).map(|_| false),
            });
            if is_frozen.await {
                std::future::pending::<()>().await;
            }
        } else {
            http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        }
    }

    /// Closes all connections.
    fn hang_up(&self) {
        self.connections
            .borrow_mut()
            .drain(..)
            .for_each(|task| task.abort());
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !is_so(self) {
            let seen = (self.accepted.get(), self.waiting.get());
            assert!(begin.elapsed() < SOON, "{what}: {seen:?} accepted and waiting");
            yield_now().await;
        }
    }
}

/// Runs a test with a server of these protocols and this limit of requests at a time, and a client of it.
fn with_server(protocols: &[&[u8]], streams: Option<u32>, test: impl AsyncFnOnce(Rc<Server>, Rc<Consul>)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, async {
        let acceptor = self_signed::acceptor(protocols);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = plan::Consul {
            address: listener.local_addr().unwrap().to_string(),
            scheme: Scheme::Https,
            token: None,
            token_file: None,
            tls: Tls {
                verify: false,
                ..Tls::default()
            },
        };
        let server = Rc::new(Server {
            streams,
            ..Server::default()
        });
        let accepting = Rc::clone(&server);
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let task = spawn_local(Rc::clone(&accepting).accept(stream, acceptor.clone()));
                accepting.connections.borrow_mut().push(task.abort_handle());
            }
        });
        let consul = Rc::new(Consul::new(&settings).unwrap());
        test(server, consul).await;
    });
}

/// Asks for the instances of a service; waits at the server for a change, or does not.
async fn ask(consul: Rc<Consul>, waits: bool) -> Result<Listing, CatalogueError> {
    let query = Query {
        service: "db".into(),
        after: waits.then_some(Cursor(1)),
        wait: Duration::from_secs(60),
        ..Default::default()
    };
    timeout(SOON, consul.instances(&query)).await.unwrap()
}

#[test]
fn one_connection_of_http2_carries_all_requests() {
    with_server(&[b"h2", b"http/1.1"], Some(250), async |server, consul| {
        let tasks: Vec<_> = (0..200)
            .map(|_| spawn_local(ask(Rc::clone(&consul), true)))
            .collect();
        server
            .until("all requests wait", |server| server.waiting.get() == 200)
            .await;
        ask(Rc::clone(&consul), false).await.unwrap();
        assert_eq!(server.accepted.get(), 1);
        server.answers.notify_waiters();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(server.accepted.get(), 1);
    });
}

#[test]
fn a_list_of_the_longest_length_is_read_and_a_longer_one_fails_alone() {
    const LONGEST: usize = 16 * 1024 * 1024;
    with_server(&[b"h2"], Some(250), async |server, consul| {
        let waiting = spawn_local(ask(Rc::clone(&consul), true));
        server
            .until("a request waits", |server| server.waiting.get() == 1)
            .await;
        server.padding.replace(vec![b' '; LONGEST - 2].into());
        ask(Rc::clone(&consul), false).await.unwrap();
        server.padding.replace(vec![b' '; LONGEST - 1].into());
        let failure = ask(Rc::clone(&consul), false).await.unwrap_err();
        assert!(failure.to_string().contains("16 MiB"), "{failure}");
        server.padding.take();
        ask(Rc::clone(&consul), false).await.unwrap();
        server.answers.notify_one();
        waiting.await.unwrap().unwrap();
        assert_eq!(server.accepted.get(), 1);
    });
}

#[test]
fn the_servers_limit_of_requests_is_kept_and_the_next_connection_opened_only_for_what_exceeds_it() {
    with_server(&[b"h2"], Some(3), async |server, consul| {
        consul.allow(Some(2));
        ask(Rc::clone(&consul), false).await.unwrap();
        let ask_waiting = || spawn_local(ask(Rc::clone(&consul), true));
        let mut tasks: Vec<_> = (0..3).map(|_| ask_waiting()).collect();
        server
            .until("three wait", |server| server.waiting.get() == 3)
            .await;
        assert_eq!(server.accepted.get(), 1);
        tasks.extend((0..3).map(|_| ask_waiting()));
        server.until("six wait", |server| server.waiting.get() == 6).await;
        assert_eq!(server.accepted.get(), 2);
        // Two connections may be open, so another request waits for a place.
        tasks.extend([ask_waiting()]);
        while tasks.iter().any(|task| !task.is_finished()) {
            server.answers.notify_one();
            yield_now().await;
        }
        assert_eq!((server.accepted.get(), server.most_waiting.get()), (2, 6));
    });
}

#[test]
fn requests_on_a_connection_that_breaks_are_sent_again_over_one_new_connection() {
    with_server(&[b"h2"], None, async |server, consul| {
        ask(Rc::clone(&consul), false).await.unwrap();
        let tasks: Vec<_> = (0..20)
            .map(|_| spawn_local(ask(Rc::clone(&consul), true)))
            .collect();
        server
            .until("all requests wait", |server| server.waiting.get() == 20)
            .await;
        server.hang_up();
        server.waiting.set(0);
        server
            .until("all requests wait again", |server| server.waiting.get() >= 20)
            .await;
        server.answers.notify_waiters();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        assert_eq!(server.accepted.get(), 2);
    });
}

#[test]
fn a_connection_without_answers_gets_no_further_requests() {
    with_server(&[b"h2"], None, async |server, consul| {
        ask(Rc::clone(&consul), false).await.unwrap();
        server.is_silent.set(true);
        let unanswered = timeout(SILENCE, ask(Rc::clone(&consul), false)).await;
        assert!(unanswered.is_err());
        server.is_silent.set(false);
        ask(Rc::clone(&consul), false).await.unwrap();
        assert_eq!(server.accepted.get(), 2);
    });
}

#[test]
fn a_cancelled_request_beside_answered_ones_closes_no_connection() {
    with_server(&[b"h2"], None, async |server, consul| {
        let given_up = spawn_local(ask(Rc::clone(&consul), true));
        server.until("it waits", |server| server.waiting.get() == 1).await;
        let begin = Instant::now();
        while begin.elapsed() < SILENCE {
            ask(Rc::clone(&consul), false).await.unwrap();
        }
        given_up.abort();
        assert!(given_up.await.is_err());
        ask(Rc::clone(&consul), false).await.unwrap();
        assert_eq!(server.accepted.get(), 1);
    });
}

#[test]
fn a_server_that_chooses_http1_gets_a_connection_for_each_request() {
    for protocols in [&[b"http/1.1".as_slice()][..], &[]] {
        with_server(protocols, None, async |server, consul| {
            let tasks: Vec<_> = (0..3)
                .map(|_| spawn_local(ask(Rc::clone(&consul), true)))
                .collect();
            server
                .until("all requests wait", |server| server.waiting.get() == 3)
                .await;
            assert_eq!(server.accepted.get(), 3);
            server.answers.notify_waiters();
            for task in tasks {
                task.await.unwrap().unwrap();
            }
        });
    }
}

#[test]
fn a_connection_of_http2_without_requests_is_closed_after_a_while() {
    with_server(&[b"h2"], None, async |_, consul| {
        ask(Rc::clone(&consul), false).await.unwrap();
        let connections = || consul.client.pool().connections.borrow().len();
        assert_eq!(connections(), 1);
        tokio::time::pause();
        yield_now().await;
        tokio::time::advance(2 * IDLE + Duration::from_secs(1)).await;
        let mut rounds = 0;
        while connections() > 0 {
            rounds += 1;
            assert!(rounds < 1000, "it is open");
            yield_now().await;
        }
    });
}

#[test]
fn a_connection_whose_server_is_gone_is_replaced_while_its_requests_wait() {
    with_server(&[b"h2"], None, async |server, consul| {
        ask(Rc::clone(&consul), false).await.unwrap();
        let waiting = spawn_local(ask(Rc::clone(&consul), true));
        server.until("it waits", |server| server.waiting.get() == 1).await;
        server.freezes.notify_waiters();
        server
            .until("it waits again", |server| server.waiting.get() == 2)
            .await;
        assert_eq!(server.accepted.get(), 2);
        server.answers.notify_waiters();
        waiting.await.unwrap().unwrap();
    });
}
