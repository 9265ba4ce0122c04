//! Consul and etcd over TLS: servers that flood the frames of HTTP/2, or send nothing in the handshake.
//!
//! Each flood delays nothing, costs little, and a stop waits for one request at the most.

use crate::etcd::{Flooding, floods, share};
use crate::observed::{Hostile, Observed, POLL};
use crate::self_signed;
use crate::slowness;
use std::net::{SocketAddr, TcpListener};
use std::thread::spawn;
use std::time::Duration;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;
use tokio::task::{LocalSet, spawn_local};

/// How late a check may be.
const PUNCTUAL: Duration = Duration::from_millis(100);

/// Where TLS with HTTP/2 is spoken for a server without TLS.
fn over_tls(server: SocketAddr) -> SocketAddr {
    let acceptor = self_signed::acceptor(&[b"h2"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().unwrap();
        LocalSet::new().block_on(&runtime, async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((near, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                spawn_local(async move {
                    let mut near = acceptor.accept(near).await?;
                    let mut far = TcpStream::connect(server).await?;
                    copy_bidirectional(&mut near, &mut far).await
                });
            }
        });
    });
    address
}

/// A program with this catalogue and ten backends.
fn observed(catalogue: &str) -> Observed {
    let backend = |number| format!(r#"{{"name": "db{number}", "poll": 1, "onChange": "true"}}"#);
    let backends: Vec<String> = (0..10).map(backend).collect();
    Observed::start(&Hostile {
        catalogue: Some(catalogue),
        sections: &format!(r#", "backends": [{}]"#, backends.join(",")),
        ..Hostile::default()
    })
}

fn consul(address: SocketAddr) -> String {
    format!(r#""consul": {{"address": "{address}", "scheme": "https", "tls": {{"verify": false}}}}"#)
}

/// What holds whatever this catalogue sends, if checks are so late at the most.
fn holds(kind: &str, catalogue: &str, latest: Duration) {
    let slow = slowness();
    let observed = observed(catalogue);
    observed.until_starts(1);
    let share = share(&observed, 3);
    let lateness = observed.lateness(3);
    let (status, took) = observed.get("/status");
    let memory = observed.peak_memory();
    let descriptors = observed.descriptors();
    let stopped = observed.terminate();
    assert!(share < 0.15 * f64::from(slow), "{kind}: {share}");
    assert!(lateness < latest, "{kind}: {lateness:?}");
    assert_eq!(status.map(|status| status.status), Some(200), "{kind}");
    assert!(took < Duration::from_millis(100) * slow, "{kind}: {took:?}");
    assert!(memory < 32 << 20, "{kind}: {memory}");
    assert!(descriptors < 40, "{kind}: {descriptors}");
    // One request of two seconds at the most.
    assert!(
        stopped < Duration::from_millis(2_500) * slow,
        "{kind}: {stopped:?}"
    );
}

#[test]
fn frames_of_consul_without_end_delay_nothing() {
    for flood in floods() {
        let kind = flood.0;
        let server = Flooding::start(flood);
        // A connection that floods is closed. Then a heartbeat waits for its turn for a poll at the most, and for its answer,
        // and the next check of its service waits for both. That nothing else waits is shown by /status.
        holds(
            kind,
            &consul(over_tls(server.place())),
            2 * POLL + PUNCTUAL * slowness(),
        );
    }
}

/// A server that takes connections and sends nothing.
fn silent() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || {
        let _open: Vec<_> = listener.incoming().collect();
    });
    address
}

#[test]
fn a_consul_that_sends_nothing_in_the_handshake_of_tls_delays_nothing() {
    holds("consul", &consul(silent()), PUNCTUAL * slowness());
}

#[test]
fn an_etcd_that_sends_nothing_in_the_handshake_of_tls_delays_nothing() {
    let etcd = format!(
        r#""etcd": {{"endpoints": ["https://{}"], "tls": {{"verify": false}}}}"#,
        silent()
    );
    holds("etcd", &etcd, PUNCTUAL * slowness());
}
