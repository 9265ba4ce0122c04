//! A Consul that sends too much, invalid data or nothing: every check is on time, memory stays small, and
//! SIGTERM takes effect.

use crate::observed::{Hostile, Observed};
use crate::slowness;
use crate::waiting::{SOON, until};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// A server that answers each request with `first`, and then with `then` as long as the client reads.
fn server(first: &'static [u8], then: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    spawn(move || {
        for stream in listener.incoming().flatten() {
            let then = then.clone();
            spawn(move || answer_requests(stream, first, &then));
        }
    });
    address
}

fn answer_requests(mut stream: TcpStream, first: &[u8], then: &[u8]) {
    let mut request = vec![0; 64 * 1024];
    while matches!(stream.read(&mut request), Ok(1..)) {
        if stream.write_all(first).is_err() {
            return;
        }
        while !then.is_empty() && stream.write_all(then).is_ok() {}
    }
}

/// The program with ten backends and a service in this Consul.
fn observed(consul: SocketAddr) -> Observed {
    let backend = |number| format!(r#"{{"name": "db{number}", "poll": 1, "onChange": "true"}}"#);
    let backends: Vec<String> = (0..10).map(backend).collect();
    Observed::start(&Hostile {
        catalogue: Some(&format!(r#""consul": "{consul}""#)),
        sections: &format!(r#", "backends": [{}]"#, backends.join(",")),
        ..Hostile::default()
    })
}

/// Checks the bounds with a Consul that sends this.
fn holds_against(first: &'static [u8], then: Vec<u8>) {
    let observed = observed(server(first, then));
    holds(&observed);
    let stopped = observed.terminate();
    assert!(stopped < Duration::from_secs(3) * slowness(), "{stopped:?}");
}

/// Checks for eight polls that everything is on time and that few resources are used.
fn holds(observed: &Observed) {
    holds_with(observed, 2);
}

/// The same for a shim with this number of threads.
fn holds_with(observed: &Observed, threads: usize) {
    let (used_before, began) = (observed.processor_time(), Instant::now());
    observed.until_starts(8);
    let (busy, took) = (observed.processor_time() - used_before, began.elapsed());
    // The amount of work in a poll is bounded; the debug build needs twice the time for it.
    let most = if slowness() == 1 { took / 2 } else { took * 9 / 10 };
    assert!(busy < most, "{busy:?} of processor time in {took:?}");
    let (late, memory) = (observed.lateness(6), observed.peak_memory());
    let (status, took) = observed.get("/status");
    assert!(late < Duration::from_millis(100) * slowness(), "{late:?}");
    assert_eq!(status.map(|status| status.status), Some(200));
    assert!(took < Duration::from_millis(250) * slowness(), "{took:?}");
    assert!(memory < 64 << 20, "{memory} bytes");
    assert!(observed.threads() <= threads, "{} threads", observed.threads());
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
fn a_consul_that_never_answers_delays_nothing() {
    holds_against(b"", vec![]);
}

#[test]
fn headers_of_consul_without_end_cost_little() {
    holds_against(b"HTTP/1.1 200 OK\r\n", b"X-Nonsense: 1\r\n".repeat(1000));
}

/// A Consul that answers queries for these services with these bodies, and correctly once it is healed.
fn faulty(answers: BTreeMap<&'static str, Vec<u8>>, is_healed: &Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (answers, is_healed) = (Arc::new(answers), Arc::clone(is_healed));
    spawn(move || {
        for stream in listener.incoming().flatten() {
            let (answers, is_healed) = (Arc::clone(&answers), Arc::clone(&is_healed));
            spawn(move || answer_faultily(stream, &answers, &is_healed));
        }
    });
    address
}

fn answer_faultily(mut stream: TcpStream, answers: &BTreeMap<&str, Vec<u8>>, is_healed: &AtomicBool) {
    let right = br#"[{"Service": {"ID": "right", "Address": "192.0.2.1", "Port": 1}}]"#;
    let mut space = vec![0; 64 * 1024];
    while let Ok(size @ 1..) = stream.read(&mut space) {
        let request = String::from_utf8_lossy(&space[..size]);
        let name = request
            .strip_prefix("GET /v1/health/service/")
            .and_then(|rest| rest.split(['?', ' ']).next());
        let answer = name.and_then(|name| answers.get(name));
        let body = match (answer, is_healed.load(SeqCst)) {
            (None, _) => &[],
            (Some(answer), false) => answer.as_slice(),
            (Some(_), true) => right.as_slice(),
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        if stream.write_all(head.as_bytes()).is_err() || stream.write_all(body).is_err() {
            return;
        }
    }
}

/// Checks the bounds while a Consul sends these answers for backends, and that each backend is used once the
/// Consul is healed.
fn holds_until_healed(answers: BTreeMap<&'static str, Vec<u8>>) {
    let is_healed = Arc::<AtomicBool>::default();
    let backend = |name: &&str| {
        format!(r#"{{"name": "{name}", "poll": 1, "onChange": ["sh", "-c", "echo {name} >> @/changes"]}}"#)
    };
    let backends: Vec<String> = answers.keys().map(backend).collect();
    let mut names: Vec<&str> = answers.keys().copied().collect();
    names.sort_unstable();
    let consul = faulty(answers, &is_healed);
    let observed = Observed::start(&Hostile {
        catalogue: Some(&format!(r#""consul": "{consul}""#)),
        sections: &format!(r#", "backends": [{}]"#, backends.join(",")),
        ..Hostile::default()
    });
    holds(&observed);
    let changes = || {
        let mut changes: Vec<String> = observed.program.read("changes").lines().map(Into::into).collect();
        changes.sort_unstable();
        changes
    };
    assert!(
        changes().is_empty(),
        "what is none is taken for an instance: {:?}",
        changes()
    );
    is_healed.store(true, SeqCst);
    until(SOON, || format!("{:?}", changes()), || changes() == names);
    let stopped = observed.terminate();
    assert!(stopped < Duration::from_secs(3) * slowness(), "{stopped:?}");
}

#[test]
fn a_list_of_consul_of_a_hundred_megabytes_is_bounded_and_a_healed_one_is_used() {
    let entry = br#"{"Service": {"ID": "a", "Address": "192.0.2.1", "Port": 1}},"#;
    let mut list = b"[".to_vec();
    list.extend(entry.repeat(100_000_000 / entry.len()));
    list.extend(br#"{"Service": {"ID": "b", "Address": "192.0.2.1", "Port": 1}}]"#);
    holds_until_healed([("db", list)].into());
}

#[test]
fn invalid_answers_of_consul_cost_little_and_a_healed_one_is_used() {
    let inside = |entry: &[u8]| [b"[{\"Service\": ", entry, b"}]"].concat();
    holds_until_healed(
        [
            ("no-json", b"<html>502 Bad Gateway</html>".to_vec()),
            ("object", br#"{"Service": []}"#.to_vec()),
            ("no-objects", br#"[1, null, "y", [], true]"#.to_vec()),
            ("wrong-types", inside(br#"{"ID": 7, "Address": [], "Port": "x"}"#)),
            (
                "huge-number",
                inside(br#"{"ID": "a", "Address": "192.0.2.1", "Port": 1e999}"#),
            ),
            ("deep", b"[".repeat(1_000_000)),
            ("deep-inside", inside(&br#"{"a":"#.repeat(100_000))),
            (
                "no-utf8",
                inside(b"{\"ID\": \"\xff\xfe\", \"Address\": \"\xc3\x28\", \"Port\": 1}"),
            ),
            ("cut", br#"[{"Service": {"ID": "a", "Addr"#.to_vec()),
            ("nothing", vec![]),
        ]
        .into(),
    );
}

#[test]
fn a_redirect_of_consul_does_not_get_the_token() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    other.set_nonblocking(true).unwrap();
    let target = other.local_addr().unwrap();
    let answer = format!("HTTP/1.1 307 Elsewhere\r\nLocation: http://{target}/\r\nContent-Length: 0\r\n\r\n");
    let consul = server(answer.leak().as_bytes(), vec![]);
    let observed = Observed::start(&Hostile {
        catalogue: Some(&format!(
            r#""consul": {{"address": "{consul}", "token": "secret"}}"#
        )),
        sections: r#", "backends": [{"name": "db", "poll": 1, "onChange": "true"}]"#,
        ..Hostile::default()
    });
    observed.until_starts(4);
    let log = || std::fs::read_to_string(observed.program.path("stdout")).unwrap_or_default();
    until(SOON, log, || log().contains("are not followed"));
    assert!(!log().contains("secret"));
    let reached = other.accept();
    assert!(reached.is_err(), "{reached:?}");
    assert_eq!(observed.get("/status").0.map(|status| status.status), Some(200));
}

/// What a Consul that counts its connections has seen.
#[derive(Default)]
struct Seen {
    open: AtomicUsize,
    most: AtomicUsize,
    answered: AtomicUsize,
    /// Whether it refuses requests.
    is_busy: AtomicBool,
}

/// A Consul without instances that counts its connections.
fn counting() -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    let seen = Arc::<Seen>::default();
    let shared = Arc::clone(&seen);
    spawn(move || {
        let mut open = Vec::new();
        loop {
            // A connection that was closed before another one was opened is detected when the other is
            // accepted.
            if let Ok((stream, _)) = listener.accept() {
                stream.set_nonblocking(false).unwrap();
                open.push(stream.try_clone().unwrap());
                let seen = Arc::clone(&shared);
                spawn(move || answer_each(stream, &seen));
            }
            open.retain(|stream| !is_closed_by_peer(stream));
            shared.open.store(open.len(), SeqCst);
            shared.most.fetch_max(open.len(), SeqCst);
            sleep(Duration::from_millis(1));
        }
    });
    (address, seen)
}

fn is_closed_by_peer(stream: &TcpStream) -> bool {
    // POLLRDHUP, for which the crate has no constant.
    let closed = PollFlags::from_bits_retain(0x2000);
    let mut polled = [PollFd::new(stream.as_fd(), closed)];
    poll(&mut polled, PollTimeout::ZERO).unwrap() > 0
}

fn answer_each(mut stream: TcpStream, seen: &Seen) {
    let mut space = vec![0; 64 * 1024];
    while let Ok(size @ 1..) = stream.read(&mut space) {
        let request = String::from_utf8_lossy(&space[..size]);
        let answer: &[u8] = if seen.is_busy.load(SeqCst) {
            b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n"
        } else {
            // The time without a change.
            if request.contains("index=") {
                sleep(Duration::from_millis(100));
            }
            seen.answered.fetch_add(1, SeqCst);
            b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 2\r\n\r\n[]"
        };
        if stream.write_all(answer).is_err() {
            return;
        }
    }
}

#[test]
fn a_consul_never_sees_more_connections_than_the_budget_in_force() {
    let (consul, seen) = counting();
    let service = |number| {
        format!(
            r#", {{"name": "s{number}", "port": 1, "interfaces": "static:127.0.0.1", "poll": 1, "ttl": 30, "health": "true"}}"#
        )
    };
    let backend = |number| format!(r#"{{"name": "db{number}", "poll": 1, "onChange": "true"}}"#);
    let services: String = (0..20).map(service).collect();
    let backends: Vec<String> = (0..20).map(backend).collect();
    let observed = Observed::start(&Hostile {
        catalogue: Some(&format!(
            r#""consul": {{"address": "{consul}", "maxConnections": 4}}"#
        )),
        services: &services,
        sections: &format!(r#", "backends": [{}]"#, backends.join(",")),
        ..Hostile::default()
    });
    let counts = || {
        let (open, most) = (seen.open.load(SeqCst), seen.most.load(SeqCst));
        format!(
            "{open} open, {most} at most, {} answered",
            seen.answered.load(SeqCst)
        )
    };
    until(SOON, counts, || {
        seen.answered.load(SeqCst) >= 120 && seen.open.load(SeqCst) == 4
    });
    assert_eq!(seen.most.load(SeqCst), 4);
    seen.is_busy.store(true, SeqCst);
    // This is shorter than the time after which an idle connection is closed.
    until(Duration::from_secs(10), counts, || seen.open.load(SeqCst) <= 2);
    seen.is_busy.store(false, SeqCst);
    let before = seen.answered.load(SeqCst);
    until(SOON, counts, || seen.answered.load(SeqCst) >= before + 40);
    assert_eq!(seen.most.load(SeqCst), 4);
    assert_eq!(observed.get("/status").0.map(|status| status.status), Some(200));
}

/// What a Consul answers for keys, by the path after `/v1/kv/`, and what the log says of it.
const KEYS: [(&str, &str, &str); 7] = [
    (
        "endless",
        r#"{{key "endless"}}"#,
        "the value of key endless is larger than 512 KiB",
    ),
    (
        "large",
        r#"{{key "large"}}"#,
        "the value of key large is larger than 512 KiB",
    ),
    (
        "no-base64",
        r#"{{key "no-base64"}}"#,
        "the value of key no-base64 is not base64: ",
    ),
    (
        "no-text",
        r#"{{key "no-text"}}"#,
        "the value of key no-text is not UTF-8",
    ),
    (
        "no-json",
        r#"{{key "no-json"}}"#,
        "the answer is not what was asked for: ",
    ),
    (
        "another",
        r#"{{key "another"}}"#,
        "the answer is not what was asked for: it has the key else",
    ),
    (
        "many/",
        r#"{{range ls "many"}}{{.Value}}{{end}}"#,
        "there are more than 16384 keys directly below many/",
    ),
];

/// The hostile answer for a key: its body, and what follows as long as the client reads.
fn answer_of(name: &str) -> (Vec<u8>, &'static [u8]) {
    let pair = |key: &str, value: &str| format!(r#"{{"Key":"{key}","Flags":0,"Value":"{value}"}}"#);
    let body = match name {
        "endless" => return (br#"[{"Key":"endless","Value":""#.to_vec(), &[b'A'; 64 * 1024]),
        // Three bytes of a value are four letters.
        "large" => format!("[{}]", pair(name, &"AAAA".repeat(512 * 1024 / 3 + 1))),
        "no-base64" => format!("[{}]", pair(name, "%%")),
        "no-text" => format!("[{}]", pair(name, "//79")),
        "no-json" => "<html>".into(),
        "another" => format!("[{}]", pair("else", "eA==")),
        _ => {
            let pairs = (0..100_000).map(|number| pair(&format!("many/{number}"), "eA=="));
            format!("[{}]", pairs.collect::<Vec<_>>().join(","))
        }
    };
    (body.into_bytes(), b"")
}

/// A Consul that answers requests for keys with hostile answers, and correctly once it is healed.
fn of_keys(is_healed: &Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let is_healed = Arc::clone(is_healed);
    spawn(move || {
        for stream in listener.incoming().flatten() {
            let is_healed = Arc::clone(&is_healed);
            spawn(move || answer_for_keys(stream, &is_healed));
        }
    });
    address
}

fn answer_for_keys(mut stream: TcpStream, is_healed: &AtomicBool) {
    let mut space = vec![0; 64 * 1024];
    while let Ok(size @ 1..) = stream.read(&mut space) {
        let request = String::from_utf8_lossy(&space[..size]);
        let name = request
            .strip_prefix("GET /v1/kv/")
            .and_then(|rest| rest.split(['?', ' ']).next());
        let (body, more) = match name {
            None => (Vec::new(), &b""[..]),
            Some(name) if is_healed.load(SeqCst) => {
                let key = if name == "many/" { "many/one" } else { name };
                let right = format!(r#"[{{"Key": "{key}", "Value": "cmlnaHQ="}}]"#);
                (right.into_bytes(), &b""[..])
            }
            Some(name) => answer_of(name),
        };
        let length = if more.is_empty() {
            body.len()
        } else {
            100_000_000_000
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
        if stream.write_all(head.as_bytes()).is_err() || stream.write_all(&body).is_err() {
            return;
        }
        while !more.is_empty() && stream.write_all(more).is_ok() {}
    }
}

#[test]
fn hostile_keys_of_consul_cost_little_write_nothing_and_healed_ones_are_used() {
    let is_healed = Arc::<AtomicBool>::default();
    let consul = of_keys(&is_healed);
    let file = |name: &str| name.replace('/', "");
    let template = |(name, text, _): &(&str, &str, &str)| {
        let contents = format!("{{{{`{text}`}}}}").replace('"', "\\\"");
        format!(
            r#"{{"contents": "{contents}", "destination": "@/{}"}}"#,
            file(name)
        )
    };
    let templates: Vec<String> = KEYS.iter().map(template).collect();
    let observed = Observed::start(&Hostile {
        catalogue: Some(&format!(r#""consul": "{consul}""#)),
        sections: &format!(r#", "templates": [{}]"#, templates.join(",")),
        ..Hostile::default()
    });
    for (_, _, sentence) in KEYS {
        observed.program.until_logged(sentence);
    }
    holds_with(&observed, 3);
    for (name, ..) in KEYS {
        assert!(!observed.program.has(&file(name)), "{name}");
    }
    is_healed.store(true, SeqCst);
    for (name, ..) in KEYS {
        observed.program.until("it is written", |program| {
            program.has(&file(name)) && program.read(&file(name)) == "right"
        });
    }
    let stopped = observed.terminate();
    assert!(stopped < Duration::from_secs(3) * slowness(), "{stopped:?}");
}
