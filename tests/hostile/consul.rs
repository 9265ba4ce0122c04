//! Consul that sends too much, the wrong thing or nothing: every check is on time, memory stays small, and
//! SIGTERM is obeyed.

use crate::observed::{Hostile, Observed};
use crate::slowness;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::spawn;
use std::time::Duration;

/// A server that answers each request with `first`, and then with `then` as long as somebody takes it.
fn server(first: &'static [u8], then: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || {
        for stream in listener.incoming().flatten() {
            let then = then.clone();
            spawn(move || converse(stream, first, &then));
        }
    });
    address
}

fn converse(mut stream: TcpStream, first: &[u8], then: &[u8]) {
    let mut request = vec![0; 64 * 1024];
    while matches!(stream.read(&mut request), Ok(1..)) {
        if stream.write_all(first).is_err() {
            return;
        }
        while !then.is_empty() && stream.write_all(then).is_ok() {}
    }
}

/// Ten backends and a service of a program whose Consul is this.
fn observed(consul: SocketAddr) -> Observed {
    let backend = |number| format!(r#"{{"name": "db{number}", "poll": 1, "onChange": "true"}}"#);
    let backends: Vec<String> = (0..10).map(backend).collect();
    Observed::start(&Hostile {
        catalogue: Some(&format!(r#""consul": "{consul}""#)),
        sections: &format!(r#", "backends": [{}]"#, backends.join(",")),
        ..Hostile::default()
    })
}

/// What holds whatever a Consul sends.
fn holds_against(first: &'static [u8], then: Vec<u8>) {
    let observed = observed(server(first, then));
    observed.until_starts(8);
    let (late, memory, busy) = (
        observed.lateness(6),
        observed.peak_memory(),
        observed.processor_time(),
    );
    let (status, took) = observed.get("/status");
    assert!(
        busy < Duration::from_secs(2) * slowness(),
        "{busy:?} of processor time"
    );
    assert!(late < Duration::from_millis(100) * slowness(), "{late:?}");
    assert_eq!(status.map(|status| status.status), Some(200));
    assert!(took < Duration::from_millis(250) * slowness(), "{took:?}");
    assert!(memory < 64 << 20, "{memory} bytes");
    assert!(observed.threads() <= 2, "{} threads", observed.threads());
    let stopped = observed.terminate();
    assert!(stopped < Duration::from_secs(3) * slowness(), "{stopped:?}");
}

const ENDLESS: &[u8] = b"HTTP/1.1 200 OK\r\nX-Consul-Index: 1\r\nContent-Length: 100000000000\r\n\r\n[";

#[test]
fn bodies_of_consul_without_end_cost_neither_memory_nor_punctuality() {
    holds_against(ENDLESS, vec![b' '; 64 * 1024]);
    let entry = br#"{"Service":{"ID":"a","Address":"192.0.2.1","Port":1}},"#;
    holds_against(ENDLESS, entry.repeat(1000));
}

#[test]
fn preliminary_answers_of_consul_without_end_cost_little() {
    holds_against(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000));
}

#[test]
fn a_consul_that_never_answers_holds_nothing_up() {
    holds_against(b"", vec![]);
}
