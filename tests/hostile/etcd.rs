//! HTTP/2 servers that send unrequested frames without end.
//!
//! Each sends one kind of frame as fast as it is read. The loop stays prompt, processor time and memory stay small,
//! SIGTERM takes effect, and when the server stops flooding the service is registered.

use crate::etcd_server::Server;
use crate::observed::{Hostile, Observed};
use crate::slowness;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A kind of frame: its name, what a connection begins with, and the frames.
pub type Flood = (&'static str, Vec<u8>, Vec<u8>);

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).expect("a short frame");
    let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, stream];
    frame.extend(payload);
    frame
}

/// Every kind of frame that a server may send any number of times.
pub fn floods() -> Vec<Flood> {
    const DATA: u8 = 0;
    const HEADERS: u8 = 1;
    const END_HEADERS: u8 = 4;
    let informational = [&[8, 3][..], b"103", &[0, 1], b"x", &[3], b"yes"].concat();
    vec![
        ("pings", frame(6, 0, 0, &[0; 8]), Vec::new()),
        ("settings", frame(4, 0, 0, &[]), Vec::new()),
        ("window updates", frame(8, 0, 0, &[0, 0, 0, 1]), Vec::new()),
        ("priorities", frame(2, 0, 1, &[0, 0, 0, 0, 1]), Vec::new()),
        ("unknown frames", frame(0xfe, 0, 0, &[]), Vec::new()),
        (
            "informational headers",
            frame(HEADERS, END_HEADERS, 1, &informational),
            Vec::new(),
        ),
        (
            "headers without end",
            frame(9, 0, 1, &[0; 100]),
            frame(HEADERS, 0, 1, &[0x88]),
        ),
        (
            "empty data",
            frame(DATA, 0, 1, &[]),
            frame(HEADERS, END_HEADERS, 1, &[0x88]),
        ),
        (
            "small data",
            frame(DATA, 0, 1, &[0]),
            frame(HEADERS, END_HEADERS, 1, &[0x88]),
        ),
        ("resets", frame(3, 0, 1, &[0, 0, 0, 8]), Vec::new()),
        ("goodbyes", frame(7, 0, 0, &[0; 8]), Vec::new()),
    ]
}

/// A server that floods every client with frames, until [`Self::stop_flooding`] makes it a proxy to another server.
pub struct Flooding {
    url: String,
    target: Arc<Mutex<Option<String>>>,
}

impl Flooding {
    pub fn start((_, frames, begin): Flood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let target = Arc::new(Mutex::new(None::<String>));
        let shared = Arc::clone(&target);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (frames, begin, target) = (frames.clone(), begin.clone(), shared.lock().unwrap().clone());
                std::thread::spawn(move || match target {
                    None => flood(stream, &begin, &frames),
                    Some(target) => pass_on(stream, TcpStream::connect(target).ok()?),
                });
            }
        });
        Self { url, target }
    }

    /// Where it listens.
    pub fn place(&self) -> SocketAddr {
        self.url.replace("http://", "").parse().unwrap()
    }

    /// From now on, new connections are passed on to `server`.
    fn stop_flooding(&self, server: &Server) {
        *self.target.lock().unwrap() = Some(server.url().replace("http://", ""));
    }
}

/// Answers the first request with frames without end, and reads everything it receives.
fn flood(mut stream: TcpStream, begin: &[u8], frames: &[u8]) -> Option<()> {
    let mut received: Vec<u8> = Vec::new();
    let mut buffer = [0; 64 * 1024];
    // The preface, settings, and a request that is longer than both.
    while received.len() < 150 {
        let count = stream.read(&mut buffer).ok()?;
        received.extend(buffer.get(..count).filter(|read| !read.is_empty())?);
    }
    let block = frames.repeat(64 * 1024 / frames.len());
    stream.write_all(&frame(4, 0, 0, &[])).ok()?;
    stream.write_all(begin).ok()?;
    let mut writer = stream.try_clone().ok()?;
    std::thread::spawn(move || while writer.write_all(&block).is_ok() {});
    while stream.read(&mut buffer).ok()? > 0 {}
    None
}

fn pass_on(near: TcpStream, far: TcpStream) -> Option<()> {
    let (mut back, mut forth) = ((far.try_clone().ok()?, near.try_clone().ok()?), (near, far));
    std::thread::spawn(move || std::io::copy(&mut back.0, &mut back.1));
    std::io::copy(&mut forth.0, &mut forth.1).ok().map(drop)
}

/// The program with this endpoint and ten backends with this `poll`.
fn observed(url: &str, poll: u32) -> Observed {
    let backends: Vec<_> = (0..10)
        .map(|number| {
            format!(
                r#"{{"name": "db-{number}", "poll": {poll}, "onChange": ["sh", "-c", "echo x >> @/changes"]}}"#
            )
        })
        .collect();
    let catalogue = format!(r#""etcd": {{"endpoints": ["{url}"]}}"#);
    let sections = format!(r#", "backends": [{}]"#, backends.join(", "));
    Observed::start(&Hostile {
        catalogue: Some(&catalogue),
        sections: &sections,
        ..Hostile::default()
    })
}

/// The share of a processor that is used while the check is started this many times.
pub fn share(observed: &Observed, starts: usize) -> f64 {
    let (began, before) = (Instant::now(), observed.processor_time());
    observed.until_starts(starts);
    let used = observed.processor_time() - before;
    used.as_secs_f64() / began.elapsed().as_secs_f64()
}

#[test]
fn a_server_that_floods_frames_delays_nothing() {
    let slow = slowness();
    for flood in floods() {
        let kind = flood.0;
        let server = Flooding::start(flood);
        let observed = observed(&server.url, 1);
        observed.until_starts(1);
        let share = share(&observed, 3);
        let lateness = observed.lateness(3);
        let (status, took) = observed.get("/status");
        let memory = observed.peak_memory();
        let stopped = observed.terminate();
        assert!(share < 0.15 * f64::from(slow), "{kind}: {share}");
        assert!(
            lateness < Duration::from_millis(100) * slow,
            "{kind}: {lateness:?}"
        );
        assert_eq!(status.map(|status| status.status), Some(200), "{kind}");
        assert!(took < Duration::from_millis(100) * slow, "{kind}: {took:?}");
        assert!(memory < 32 << 20, "{kind}: {memory}");
        // One request of at most two seconds.
        assert!(
            stopped < Duration::from_millis(2_500) * slow,
            "{kind}: {stopped:?}"
        );
    }
}

#[test]
fn a_server_that_stops_flooding_is_used_again_and_the_reason_was_logged() {
    let server = Server::start("3.5");
    // There are many bytes in few frames: if every frame is small, a busy machine reads fewer bytes than a
    // server may send unrequested. A request may last two seconds, so that the connection is closed for the
    // flood within it.
    let large = frame(0xfe, 0, 0, &[0; 255]);
    let flooding = Flooding::start(("large unknown frames", large, Vec::new()));
    let observed = observed(&flooding.url, 2);
    observed
        .program
        .until_logged("it sends more than 256 KiB/s that nobody asked for");
    flooding.stop_flooding(&server);
    observed
        .program
        .until("the service is registered", |_| !server.everything().is_empty());
    assert!(observed.descriptors() < 40, "{}", observed.descriptors());
    observed.terminate();
    assert_eq!(server.everything(), [""; 0]);
}

/// Puts instances of one size below a service's key, `per_call` at a time.
fn fill(server: &Server, service: &str, count: usize, per_call: usize, size: usize) {
    let numbers: Vec<usize> = (0..count).collect();
    for some in numbers.chunks(per_call) {
        let puts: String = some.iter().map(|number| put(service, *number, size)).collect();
        server.txn(&format!("\n{puts}\n\n"));
    }
}

fn put(service: &str, number: usize, size: usize) -> String {
    let (tag, port) = ("t".repeat(size), number % 60_000);
    format!(
        r#"put /containerpilot/{service}/{number}/service "{{\"id\":\"{service}-{number}\",\"address\":\"192.0.2.9\",\"port\":{port},\"tags\":[\"{tag}\"]}}"{}"#,
        "\n"
    )
}

#[test]
fn ten_backends_with_lists_near_their_limits_need_little_memory_and_delay_nothing() {
    let server = Server::start("3.5");
    for number in 0..10 {
        match number % 2 {
            0 => fill(&server, &format!("db-{number}"), 300, 20, 50_000),
            _ => fill(&server, &format!("db-{number}"), 4_000, 120, 50),
        }
    }
    let slow = slowness();
    let observed = observed(&server.url(), 1);
    observed
        .program
        .until("all lists are read", |program| program.lines("changes") == 10);
    observed.until_starts(2);
    let lateness = observed.lateness(2);
    let memory = observed.peak_memory();
    assert!(memory < 96 << 20, "{memory}");
    assert!(lateness < Duration::from_millis(100) * slow, "{lateness:?}");
}
