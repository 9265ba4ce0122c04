//! Probes against servers of the test, over loopback and Unix sockets.

use super::*;
use crate::adapters::clock::MachineClock;
use crate::adapters::inbox::Queue;
use crate::loopback::OwnAddress;
use crate::ports::Inbox as _;
use domain::plan::{Role, Secret};
use domain::probe::{GrpcProbe, HttpProbe};
use domain::time::Duration;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::TcpListener;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::UnixListener;
use tokio::task::{LocalSet, yield_now};

/// The prober of a test, and its inbox.
struct Tester {
    prober: Prober,
    queue: Queue,
    last: u64,
}

impl Tester {
    fn run(test: impl AsyncFnOnce(Self)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, async {
            let queue = Queue::new(MachineClock::start());
            let prober = Prober::new(queue.sender());
            test(Self {
                prober,
                queue,
                last: 0,
            })
            .await;
        });
    }

    fn start(&mut self, probe: &Probe) -> Ticket {
        self.last += 1;
        self.prober.start(Ticket(self.last), probe);
        Ticket(self.last)
    }

    /// Runs a probe: its result in words, and the beginning of the answer.
    async fn probe(&mut self, probe: &Probe) -> (Verdict, String, String) {
        let ticket = self.start(probe);
        match self.queue.next(None).await {
            Event::Probed(ended, end, output) if ended == ticket => (end.verdict, end.detail, output),
            other => panic!("{other:?}"),
        }
    }

    async fn result(&mut self, probe: &Probe) -> String {
        let (verdict, detail, _) = self.probe(probe).await;
        format!("{verdict:?}: {detail}")
    }
}

/// What a server saw.
#[derive(Clone, Default)]
struct Seen {
    connections: Rc<Cell<usize>>,
    open: Rc<Cell<usize>>,
    requests: Rc<RefCell<Vec<String>>>,
}

impl Seen {
    async fn until_open(&self, count: usize) {
        while self.open.get() != count {
            yield_now().await;
        }
    }
}

/// A server that answers each request with what `answer` returns for it; without an answer it closes the connection.
fn server(answer: impl Fn(&str) -> Option<Vec<u8>> + 'static) -> (Place, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, answer) = (Seen::default(), Rc::new(answer));
    let sees = seen.clone();
    spawn_local(async move {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            spawn_local(answer_requests(stream, Rc::clone(&answer), sees.clone()));
        }
    });
    let host = "127.0.0.1".into();
    (Place { host, port }, seen)
}

async fn answer_requests<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    answer: Rc<impl Fn(&str) -> Option<Vec<u8>>>,
    seen: Seen,
) {
    seen.connections.set(seen.connections.get() + 1);
    seen.open.set(seen.open.get() + 1);
    let mut space = vec![0; 64 * 1024];
    while let Ok(size @ 1..) = stream.read(&mut space).await {
        let request = String::from_utf8_lossy(&space[..size]).into_owned();
        let answer = answer(&request);
        seen.requests.borrow_mut().push(request);
        let Some(answer) = answer else { break };
        if stream.write_all(&answer).await.is_err() {
            break;
        }
    }
    seen.open.set(seen.open.get() - 1);
}

fn answer(status: &str, body: &str) -> Option<Vec<u8>> {
    let length = body.len();
    Some(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}").into_bytes())
}

fn probe(target: ProbeTarget) -> Probe {
    Probe {
        role: Role::Health {
            service: "app".into(),
            id: "app-host".into(),
            check: None,
        },
        target,
        time_limit: Duration::from_secs(20),
        keeps_connection: true,
    }
}

fn http(place: &Place) -> HttpProbe {
    HttpProbe {
        place: place.clone(),
        socket: None,
        tls: None,
        host: place.to_string(),
        path: "/health".into(),
        method: "GET".into(),
        headers: vec![],
        status: (200, 399),
        body: None,
    }
}

fn http_probe(http: HttpProbe) -> Probe {
    probe(ProbeTarget::Http(Box::new(http)))
}

/// Settings of TLS with the certificate of the tests' servers.
fn self_signed(verify: bool) -> Tls {
    let file = "tests/common/self-signed/certificate.pem";
    Tls {
        ca_file: verify.then(|| format!("{}/{file}", env!("CARGO_MANIFEST_DIR"))),
        server_name: verify.then(|| "self-signed.test".into()),
        ..Tls::default()
    }
}

#[test]
fn an_answer_passes_by_its_status_and_redirects_are_not_followed() {
    Tester::run(async |mut tester| {
        let statuses = [
            "200 OK",
            "302 Found",
            "404 Not Found",
            "503 Service Unavailable",
            "599 Odd",
        ];
        let number = Cell::new(0);
        let (place, seen) = server(move |_| {
            let status = statuses[number.get() % statuses.len()];
            number.set(number.get() + 1);
            answer(&format!("{status}\r\nLocation: /elsewhere"), "")
        });
        let usual = http_probe(http(&place));
        let mut results = Vec::new();
        for _ in statuses {
            results.push(tester.result(&usual).await);
        }
        assert_eq!(
            results,
            [
                "Passed: HTTP 200 OK",
                "Passed: HTTP 302 Found",
                "Failed: HTTP 404 Not Found",
                "Failed: HTTP 503 Service Unavailable",
                "Failed: HTTP 599",
            ]
        );
        let narrow = http_probe(HttpProbe {
            status: (200, 204),
            ..http(&place)
        });
        assert_eq!(tester.result(&narrow).await, "Passed: HTTP 200 OK");
        let redirected = tester.result(&narrow).await;
        assert_eq!(redirected, "Failed: HTTP 302 Found, which is not followed");
        let requests = seen.requests.borrow();
        assert!(requests.iter().all(|request| request.starts_with("GET /health ")));
    });
}

#[test]
fn the_body_of_a_success_matches_the_pattern_if_there_is_one() {
    Tester::run(async |mut tester| {
        let (place, _) = server(|request| match request.contains("/up") {
            true => answer("200 OK", "{\"status\":\n \"UP\"}"),
            false => answer("200 OK", "{\"status\": \"DOWN\"}\u{1b}[1m"),
        });
        let with = |path: &str| {
            http_probe(HttpProbe {
                path: path.into(),
                body: Some(r#""status":\s*"UP""#.into()),
                ..http(&place)
            })
        };
        assert_eq!(tester.result(&with("/up")).await, "Passed: HTTP 200 OK");
        let (verdict, detail, output) = tester.probe(&with("/down")).await;
        assert_eq!(verdict, Verdict::Failed);
        assert_eq!(detail, "HTTP 200 OK, and the body does not match `body`");
        assert_eq!(output, "{\"status\": \"DOWN\"} [1m", "without control characters");
    });
}

#[test]
fn the_request_has_the_method_the_host_and_the_headers() {
    Tester::run(async |mut tester| {
        let (place, seen) = server(|_| answer("204 No Content", ""));
        let full = HttpProbe {
            method: "OPTIONS".into(),
            host: "example.org".into(),
            headers: vec![("x-token".into(), Secret("secret".into()))],
            ..http(&place)
        };
        assert_eq!(
            tester.result(&http_probe(full)).await,
            "Passed: HTTP 204 No Content"
        );
        let request = seen.requests.borrow()[0].to_ascii_lowercase();
        for part in [
            "options /health http/1.1\r\n",
            "host: example.org\r\n",
            "x-token: secret\r\n",
            "user-agent: containerpilot\r\n",
        ] {
            assert!(request.contains(part), "{request}");
        }
    });
}

#[test]
fn a_connection_is_used_again_until_the_probe_is_ended() {
    Tester::run(async |mut tester| {
        let (place, seen) = server(|_| answer("200 OK", "fine"));
        let kept = http_probe(http(&place));
        for _ in 0..3 {
            assert_eq!(tester.result(&kept).await, "Passed: HTTP 200 OK");
        }
        assert_eq!((seen.connections.get(), seen.open.get()), (1, 1));
        tester.prober.end(Ticket(2));
        assert_eq!(
            tester.prober.resting.borrow().len(),
            1,
            "another run came after it"
        );
        tester.prober.end(Ticket(3));
        seen.until_open(0).await;
        let closed = Probe {
            keeps_connection: false,
            ..kept
        };
        for _ in 0..2 {
            assert_eq!(tester.result(&closed).await, "Passed: HTTP 200 OK");
            seen.until_open(0).await;
        }
        assert_eq!(seen.connections.get(), 3);
    });
}

#[test]
fn a_server_that_closes_connections_is_connected_anew() {
    Tester::run(async |mut tester| {
        let number = Cell::new(0);
        let (place, seen) = server(move |_| {
            number.set(number.get() + 1);
            (number.get() % 2 == 1).then(|| answer("200 OK", "").unwrap())
        });
        let probe = http_probe(http(&place));
        for _ in 0..3 {
            assert_eq!(tester.result(&probe).await, "Passed: HTTP 200 OK");
        }
        assert!(seen.connections.get() > 1);
    });
}

#[test]
fn a_cancelled_probe_has_no_result_and_no_connection() {
    Tester::run(async |mut tester| {
        let (place, seen) = server(|_| Some(Vec::new()));
        let ticket = tester.start(&http_probe(http(&place)));
        seen.until_open(1).await;
        tester.prober.end(ticket);
        seen.until_open(0).await;
        let (place, _) = server(|_| answer("200 OK", ""));
        assert_eq!(
            tester.result(&http_probe(http(&place))).await,
            "Passed: HTTP 200 OK",
            "the first event"
        );
        assert_eq!(tester.prober.resting.borrow().len(), 1);
    });
}

#[test]
fn a_silent_server_costs_the_time_limit_and_the_reason_says_what_did_not_come() {
    Tester::run(async |mut tester| {
        let limited = |place: &Place| Probe {
            time_limit: Duration::from_millis(200),
            ..http_probe(http(place))
        };
        let (silent, seen) = server(|_| Some(Vec::new()));
        let result = tester.result(&limited(&silent)).await;
        assert_eq!(result, "TimedOut: no answer within 200ms");
        seen.until_open(0).await;
        let (endless, _) = server(|_| Some(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfine".to_vec()));
        let result = tester.result(&limited(&endless)).await;
        assert_eq!(
            result,
            "TimedOut: the body of the answer does not end within 200ms"
        );
    });
}

#[test]
fn a_long_body_is_read_in_part_and_an_incomplete_one_fails() {
    Tester::run(async |mut tester| {
        let (long, seen) = server(|_| answer("200 OK", &"x\u{e4}".repeat(100_000)));
        let (verdict, _, output) = tester.probe(&http_probe(http(&long))).await;
        assert_eq!(verdict, Verdict::Passed);
        assert!((1020..=1024).contains(&output.len()), "{}", output.len());
        seen.until_open(0).await;
        let (cut, _) = server(|request| {
            let is_first = request.contains("/health");
            is_first
                .then(|| b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nConnection: close\r\n\r\nfine".to_vec())
        });
        let (broken, _) = server(|_| Some(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()));
        let result = tester.result(&http_probe(http(&broken))).await;
        assert!(result.contains("does not answer in HTTP"), "{result}");
        let limited = Probe {
            time_limit: Duration::from_millis(200),
            ..http_probe(http(&cut))
        };
        assert_eq!(tester.probe(&limited).await.0, Verdict::TimedOut);
    });
}

#[test]
fn a_refused_connection_fails_at_once_with_the_reason() {
    Tester::run(async |mut tester| {
        let own = OwnAddress::reserve();
        let holder = TcpListener::bind(own.socket()).unwrap();
        let place = Place {
            host: own.ip().to_string(),
            port: own.socket().port(),
        };
        let tcp = probe(ProbeTarget::Tcp(place.clone()));
        let accepted = tester.result(&tcp).await;
        assert_eq!(accepted, format!("Passed: {place} accepts connections"));
        drop(holder);
        let refused = tester.result(&tcp).await;
        assert_eq!(refused, format!("Failed: {place}: connection refused"));
        let refused = tester.result(&http_probe(http(&place))).await;
        assert!(refused.contains("connection refused"), "{refused}");
    });
}

#[test]
fn a_request_goes_over_a_unix_socket() {
    Tester::run(async |mut tester| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let seen = Seen::default();
        let sees = seen.clone();
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fine = Rc::new(|_: &str| answer("200 OK", "fine"));
                spawn_local(answer_requests(stream, fine, sees.clone()));
            }
        });
        let place = Place {
            host: "localhost".into(),
            port: 80,
        };
        let over = |path: String| {
            http_probe(HttpProbe {
                socket: Some(path),
                ..http(&place)
            })
        };
        let there = over(path.display().to_string());
        for _ in 0..2 {
            assert_eq!(tester.result(&there).await, "Passed: HTTP 200 OK");
        }
        assert_eq!(seen.connections.get(), 1);
        assert!(seen.requests.borrow()[0].contains("localhost:80\r\n"));
        let missing = tester.result(&over("/nowhere/socket".into())).await;
        assert_eq!(missing, "Failed: /nowhere/socket: no such file or directory");
    });
}

/// Serves health over gRPC on a stream: for the empty service, `up` and `down`.
async fn serve_grpc<S: AsyncRead + AsyncWrite + Unpin + 'static>(stream: S) {
    let service = service_fn(|request: Request<Incoming>| async move {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        assert_eq!(request.headers()["content-type"], "application/grpc");
        assert_eq!(request.headers()["te"], "trailers");
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let (message, status): (&[u8], &str) = match &body[5..] {
            b"" | b"\x0a\x02up" => (b"\0\0\0\0\x02\x08\x01", "0"),
            b"\x0a\x04down" => (b"\0\0\0\0\x02\x08\x02", "0"),
            b"\x0a\x04none" => (b"", "0"),
            _ => (b"", "5"),
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_str(status).unwrap());
        trailers.insert("grpc-message", HeaderValue::from_static("unknown%20service"));
        let body = Full::new(Bytes::from_static(message));
        let body = body.with_trailers(async { Some(Ok::<_, Infallible>(trailers)) });
        let mut answer = Response::new(body);
        let kind = HeaderValue::from_static("application/grpc");
        answer.headers_mut().insert("content-type", kind);
        Ok::<_, Infallible>(answer)
    });
    let connection = http2::Builder::new(OnThisThread).serve_connection(TokioIo::new(stream), service);
    connection.await.ok();
}

#[derive(Clone)]
struct OnThisThread;

impl<F: Future<Output: 'static> + 'static> Executor<F> for OnThisThread {
    fn execute(&self, future: F) {
        spawn_local(future);
    }
}

fn grpc(place: &Place, service: &str, tls: Option<Tls>) -> Probe {
    probe(ProbeTarget::Grpc(Box::new(GrpcProbe {
        place: place.clone(),
        tls,
        service: service.into(),
    })))
}

#[test]
fn the_health_protocol_of_grpc_is_understood_and_its_connection_used_again() {
    Tester::run(async |mut tester| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Place {
            host: "localhost".into(),
            port: listener.local_addr().unwrap().port(),
        };
        let connections = Rc::new(Cell::new(0));
        let count = Rc::clone(&connections);
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.set(count.get() + 1);
                spawn_local(serve_grpc(stream));
            }
        });
        for _ in 0..3 {
            assert_eq!(
                tester.result(&grpc(&place, "", None)).await,
                "Passed: gRPC SERVING"
            );
        }
        assert_eq!(connections.get(), 1);
        for (service, result) in [
            ("up", "Passed: gRPC SERVING"),
            ("down", "Failed: gRPC NOT_SERVING"),
            ("other", "Failed: gRPC NotFound: unknown service"),
            ("none", "Failed: the answer is no message of the health protocol"),
        ] {
            assert_eq!(tester.result(&grpc(&place, service, None)).await, result);
        }
        let (plain, _) = server(|_| answer("200 OK", ""));
        let result = tester.result(&grpc(&plain, "", None)).await;
        assert!(result.starts_with("Failed: 127.0.0.1:"), "{result}");
    });
}

#[test]
fn certificates_are_verified_over_http_and_grpc() {
    Tester::run(async |mut tester| {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = Place {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
        };
        spawn_local(async move {
            let acceptor = crate::self_signed::acceptor(&[b"h2"]);
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    spawn_local(serve_grpc(stream));
                }
            }
        });
        let trusted = Some(self_signed(true));
        assert_eq!(
            tester.result(&grpc(&place, "", trusted.clone())).await,
            "Passed: gRPC SERVING"
        );
        let unknown = tester.result(&grpc(&place, "", Some(self_signed(false)))).await;
        assert!(unknown.contains("certificate"), "{unknown}");
        let secure = |tls| {
            http_probe(HttpProbe {
                tls,
                path: "/grpc.health.v1.Health/Check".into(),
                ..http(&place)
            })
        };
        let unknown = tester.result(&secure(Some(self_signed(false)))).await;
        assert!(unknown.contains("certificate"), "{unknown}");
        let plain = tester.result(&secure(None)).await;
        assert!(
            plain.contains("wants TLS (https)") || plain.starts_with("Failed"),
            "{plain}"
        );
    });
}

#[test]
fn settings_of_tls_are_shared_up_to_a_limit() {
    let mut settings = Settings::default();
    for contents in 0..40 {
        let tls = Tls {
            contents,
            ..self_signed(true)
        };
        for host in ["one", "other"] {
            settings.secured(&tls, false, host).unwrap();
        }
        assert!((1..=MOST_SETTINGS).contains(&settings.0.len()));
    }
}

#[test]
fn a_file_that_cannot_be_read_is_reported_before_anything_starts() {
    let mut tls = self_signed(true);
    tls.ca_file = Some("/nowhere/ca.pem".into());
    let place = Place {
        host: "127.0.0.1".into(),
        port: 1,
    };
    let cause = Client::new(&grpc(&place, "", Some(tls)), &mut Settings::default()).unwrap_err();
    assert_eq!(cause, "/nowhere/ca.pem cannot be read: no such file or directory");
}
