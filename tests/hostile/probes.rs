//! Applications that answer health checks with too much, with nothing, byte by byte or with invalid data: all else is on
//! time, memory stays small, and SIGTERM takes effect.

use crate::etcd::{Flooding, floods};
use crate::observed::{Hostile, Observed};
use crate::slowness;
use crate::waiting::{SOON, until};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// How many services check the same application.
const SERVICES: usize = 10;

/// The program with services that all have this check.
fn observed(health: &str) -> Observed {
    let service = |number| {
        format!(
            r#", {{"name": "app{number}", "port": 1, "interfaces": "static:127.0.0.1", "poll": 1, "ttl": 10, "health": {health}}}"#
        )
    };
    let services: Vec<String> = (0..SERVICES).map(service).collect();
    Observed::start(&Hostile {
        services: &services.concat(),
        ..Hostile::default()
    })
}

/// A server that passes each connection to `serve`, and how many it has accepted.
fn server(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (serve, accepted) = (Arc::new(serve), Arc::<AtomicUsize>::default());
    let count = Arc::clone(&accepted);
    spawn(move || {
        for stream in listener.incoming().flatten() {
            count.fetch_add(1, SeqCst);
            let serve = Arc::clone(&serve);
            spawn(move || serve(stream));
        }
    });
    (address, accepted)
}

/// Answers each request with `first`, and then with `then` as long as the client reads.
fn answers(mut stream: TcpStream, first: &[u8], then: &[u8]) {
    let mut request = vec![0; 64 * 1024];
    while matches!(stream.read(&mut request), Ok(1..)) {
        if stream.write_all(first).is_err() {
            return;
        }
        while !then.is_empty() && stream.write_all(then).is_ok() {}
    }
}

/// Checks for six polls that everything is on time and that few resources are used, and that the stop is quick.
fn holds(kind: &str, observed: &Observed) {
    observed.until_starts(2);
    let (used_before, began) = (observed.processor_time(), Instant::now());
    observed.until_starts(6);
    let (busy, took) = (observed.processor_time() - used_before, began.elapsed());
    let most = if slowness() == 1 { took / 2 } else { took * 9 / 10 };
    assert!(busy < most, "{kind}: {busy:?} of processor time in {took:?}");
    let (late, memory) = (observed.lateness(5), observed.peak_memory());
    let (status, answered) = observed.get("/status");
    assert!(late < Duration::from_millis(100) * slowness(), "{kind}: {late:?}");
    assert_eq!(status.map(|status| status.status), Some(200), "{kind}");
    assert!(
        answered < Duration::from_millis(250) * slowness(),
        "{kind}: {answered:?}"
    );
    assert!(memory < 64 << 20, "{kind}: {memory} bytes");
    assert!(observed.threads() <= 2, "{kind}: {} threads", observed.threads());
    assert!(
        observed.descriptors() < 40 + 2 * SERVICES,
        "{kind}: {} descriptors",
        observed.descriptors()
    );
    let stopped = observed.terminate();
    assert!(
        stopped < Duration::from_secs(3) * slowness(),
        "{kind}: {stopped:?}"
    );
}

/// Checks the bounds with an application that answers each request with this.
fn holds_against(kind: &str, first: &'static [u8], then: Vec<u8>) {
    let (address, accepted) = server(move |stream| answers(stream, first, &then));
    let observed = observed(&format!(r#"{{"http": "http://{address}/", "body": "[^ ]x"}}"#));
    until(SOON, || "it is checked".into(), || accepted.load(SeqCst) > 0);
    holds(kind, &observed);
}

#[test]
fn bodies_of_checks_without_end_cost_little() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n";
    holds_against("bytes", head, vec![b' '; 64 * 1024]);
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    holds_against("short chunks", chunked, b"1\r\n \r\n".repeat(1000));
}

#[test]
fn heads_of_checks_without_end_cost_little() {
    holds_against(
        "headers",
        b"HTTP/1.1 200 OK\r\n",
        b"X-Nonsense: 1\r\n".repeat(1000),
    );
    let early = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000);
    holds_against("preliminary answers", b"", early);
}

#[test]
fn applications_that_are_silent_or_send_nonsense_cost_little() {
    holds_against("silence", b"", vec![]);
    holds_against("nonsense", b"\0\xff\x1b[2J\r\n\r\n", vec![]);
    holds_against(
        "answers ahead",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".repeat(100),
    );
}

#[test]
fn an_application_that_trickles_or_resets_costs_little() {
    let (address, _) = server(|mut stream| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
            .iter()
            .chain([&b'x'].into_iter().cycle());
        for byte in answer {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            sleep(Duration::from_millis(20));
        }
    });
    let trickling = observed(&format!(r#"{{"http": "http://{address}/"}}"#));
    trickling.program.until_logged("within 1s");
    holds("one byte after the other", &trickling);
    let (address, accepted) = server(|stream| {
        nix::sys::socket::setsockopt(
            &stream,
            nix::sys::socket::sockopt::Linger,
            &nix::libc::linger {
                l_onoff: 1,
                l_linger: 0,
            },
        )
        .unwrap();
    });
    let reset = observed(&format!(r#"{{"http": "http://{address}/"}}"#));
    until(SOON, || "it is checked".into(), || accepted.load(SeqCst) > 0);
    holds("resets", &reset);
}

#[test]
fn frames_of_checks_over_grpc_without_end_cost_little() {
    for flood in floods() {
        let kind = flood.0;
        let server = Flooding::start(flood);
        let observed = observed(&format!(r#"{{"grpc": "{}"}}"#, server.place()));
        holds(kind, &observed);
    }
}
