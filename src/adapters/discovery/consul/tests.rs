//! Tests of the requests to Consul, of its addresses, and of the handling of its answers.

use super::client::CUT;
use super::*;
use domain::catalogue::Data;
use domain::plan::{Attributes, Tls};
use domain::time::Duration;
use hyper::header::HeaderValue;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, timeout};

fn settings(address: &str) -> plan::Consul {
    plan::Consul {
        address: address.into(),
        scheme: Scheme::Http,
        token: None,
        token_file: None,
        tls: Tls::default(),
    }
}

fn registration() -> Registration {
    Registration {
        id: "app-vm".into(),
        name: "app".into(),
        address: [127, 0, 0, 1].into(),
        port: 8000,
        tags: vec!["t1".into()],
        ttl: Duration::from_secs(5),
        enable_tag_override: false,
        deregister_critical_after: None,
        attributes: Box::default(),
    }
}

#[test]
fn the_registration_carries_the_original_names_and_a_passing_ttl_check() {
    let body = serde_json::to_value(Service::from(&registration())).unwrap();
    let expected = serde_json::json!({
        "ID": "app-vm", "Name": "app", "Tags": ["t1"], "Port": 8000, "Address": "127.0.0.1",
        "Check": {
            "CheckID": "app-vm", "Name": "app-vm", "Notes": "TTL for app set by containerpilot",
            "TTL": "5s", "Status": "passing"
        }
    });
    assert_eq!(body, expected);
}

#[test]
fn pairs_weights_and_tagged_addresses_are_sent_if_there_are_any() {
    let mut registration = registration();
    registration.address = "app.example".into();
    *registration.attributes = Attributes {
        meta: [("version".into(), "2".into())].into(),
        weights: Some(plan::Weights {
            passing: 10,
            warning: 0,
        }),
        lan: None,
        wan: Some(Endpoint {
            address: "203.0.113.7".into(),
            port: 80,
        }),
    };
    let body = serde_json::to_value(Service::from(&registration)).unwrap();
    assert_eq!(body["Address"], "app.example");
    assert_eq!(body["Meta"], serde_json::json!({"version": "2"}));
    assert_eq!(body["Weights"], serde_json::json!({"Passing": 10, "Warning": 0}));
    let expected = serde_json::json!({"wan": {"Address": "203.0.113.7", "Port": 80}});
    assert_eq!(body["TaggedAddresses"], expected);
}

#[test]
fn the_options_of_2_6_are_sent_when_configured() {
    let mut registration = registration();
    registration.enable_tag_override = true;
    registration.deregister_critical_after = Some("90m".into());
    let body = serde_json::to_value(Service::from(&registration)).unwrap();
    assert_eq!(body["EnableTagOverride"], true);
    assert_eq!(body["Check"]["DeregisterCriticalServiceAfter"], "90m");
}

#[test]
fn an_index_that_went_back_is_discarded() {
    let headers = |index: &'static str| {
        HeaderMap::from_iter([("X-Consul-Index".parse().unwrap(), HeaderValue::from_static(index))])
    };
    assert_eq!(cursor(&headers("12"), None), Some(Cursor(12)));
    assert_eq!(cursor(&headers("12"), Some(Cursor(190))), None);
    assert_eq!(cursor(&headers("190"), Some(Cursor(190))), Some(Cursor(190)));
    assert_eq!(cursor(&headers("0"), None), None);
    assert_eq!(cursor(&HeaderMap::new(), None), None);
}

#[test]
fn an_invalid_address_is_refused() {
    for bad in [
        "consul:port",
        "consul:8500/path",
        "",
        "consul:99999",
        "http://consul",
    ] {
        assert!(Consul::new(&settings(bad)).is_err(), "{bad}");
    }
    for good in [
        "consul",
        "consul:8500",
        "192.0.2.1:8500",
        "[::1]:8500",
        "unix:///run/consul.sock",
    ] {
        assert!(Consul::new(&settings(good)).is_ok(), "{good}");
    }
}

#[test]
fn names_are_escaped_in_paths() {
    assert_eq!(
        path(&["v1", "a/b c"], &[("note", "ok"), ("tag", "a&b=ü")]),
        "/v1/a%2Fb%20c?note=ok&tag=a%26b%3D%C3%BC"
    );
}

/// The error of a registration at this address while `serves` runs.
fn fails(address: SocketAddr, serves: impl Future<Output = ()>) -> CatalogueError {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let consul = Consul::new(&settings(&address.to_string())).unwrap();
    let registers = async { consul.register(&registration()).await.unwrap_err() };
    let both = async { tokio::join!(registers, serves).0 };
    LocalSet::new().block_on(&runtime.unwrap(), both)
}

/// The error if a server accepts one connection, reads this number of bytes, sends a text and closes the
/// connection after a while.
fn fails_with(reads: usize, answer_text: &[u8], after: Duration) -> CatalogueError {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    fails(listener.local_addr().unwrap(), async {
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let (connection, _) = listener.accept().await.unwrap();
        while reads > 0 && connection.try_read(&mut vec![0; reads]).is_err() {
            connection.readable().await.unwrap();
        }
        connection.writable().await.unwrap();
        connection.try_write(answer_text).unwrap();
        tokio::time::sleep(after).await;
    })
}

#[test]
fn a_connection_that_is_cut_at_once_and_a_429_mean_busy() {
    let cut = fails_with(0, b"", Duration::ZERO);
    assert!(matches!(cut, CatalogueError::Busy(_)), "{cut}");
    let answer = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nmany";
    let words = "Unexpected response code: 429 (many)".into();
    assert_eq!(
        fails_with(10_000, answer, Duration::ZERO),
        CatalogueError::Busy(words)
    );
    let early = fails_with(0, answer, Duration::from_millis(50));
    assert!(matches!(early, CatalogueError::Busy(_)), "{early}");
}

#[test]
fn a_connection_that_is_cut_later_or_refused_is_a_failure() {
    // The client counts from a moment after the one from which the server counts.
    let cut = fails_with(0, b"", 2 * CUT);
    assert!(matches!(cut, CatalogueError::Failed(_)), "{cut}");
    let unused = SocketAddr::from(([127, 255, 255, 254], 1));
    let refused = fails(unused, async {});
    assert!(matches!(refused, CatalogueError::Failed(_)), "{refused}");
}

/// The requests that a server received.
type Seen = Arc<Mutex<Vec<String>>>;

/// A server on its own port that reads one request after the other from each connection, sends `first`, and
/// then repeats `then` without end unless it is empty.
async fn server(first: &[u8], then: &[u8]) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let (first, then, all) = (first.to_vec(), then.to_vec(), Arc::clone(&seen));
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            spawn_local(answer_requests(
                stream,
                first.clone(),
                then.clone(),
                Arc::clone(&all),
            ));
        }
    });
    (address, seen)
}

async fn answer_requests(mut stream: TcpStream, first: Vec<u8>, then: Vec<u8>, seen: Seen) {
    let mut request = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut request).await {
        let text = String::from_utf8_lossy(&request[..length]).into_owned();
        seen.lock().unwrap().push(text);
        stream.write_all(&first).await.ok();
        while !then.is_empty() && stream.write_all(&then).await.is_ok() {}
    }
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, future)
}

fn query() -> Query {
    Query {
        service: "db".into(),
        after: None,
        wait: Duration::ZERO,
        ..Default::default()
    }
}

async fn listed(address: SocketAddr) -> Result<Listing, CatalogueError> {
    let consul = Consul::new(&settings(&address.to_string())).unwrap();
    let listed = timeout(Duration::from_secs(60), consul.instances(&query())).await;
    listed.expect("an answer within the limit")
}

/// The error of a request to a server that sends this.
fn failure_of(first: &[u8], then: &[u8]) -> String {
    run(async {
        let (address, _) = server(first, then).await;
        listed(address).await.unwrap_err().to_string()
    })
}

/// The error, and how many turns the loop had meanwhile.
fn failure_and_turns_of(first: &[u8], then: &[u8]) -> (String, usize) {
    run(async {
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        spawn_local(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let (address, _) = server(first, then).await;
        let error = listed(address).await.unwrap_err().to_string();
        (error, turns.load(Ordering::Relaxed))
    })
}

/// An answer with a body.
fn answer(headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\n\r\n{body}").into_bytes()
}

const ENDLESS: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n[";

#[test]
fn a_body_without_end_is_a_failed_request() {
    let space = vec![b' '; 64 * 1024];
    let (error, turns) = failure_and_turns_of(ENDLESS, &space);
    assert!(error.ends_with("the answer is longer than 16 MiB"), "{error}");
    assert!(turns > 50, "others have their turn, here {turns} of them");
    let entry = br#"{"Service":{"ID":"a","Address":"192.0.2.1","Port":1}},"#;
    let error = failure_of(ENDLESS, &entry.repeat(1000));
    assert!(error.ends_with("it has more than 16384 of them"), "{error}");
    let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let error = failure_of(head, &b"1\r\n \r\n".repeat(1000));
    assert!(
        error.contains("it sent more than 256 KiB that is no answer"),
        "{error}"
    );
}

#[test]
fn preliminary_answers_without_end_are_a_failed_request() {
    let error = failure_of(b"", &b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000));
    assert!(
        error.contains("it sent more than 256 KiB that is no answer"),
        "{error}"
    );
}

#[test]
fn headers_without_end_are_a_failed_request() {
    let error = failure_of(b"HTTP/1.1 200 OK\r\n", &b"a: b\r\n".repeat(1000));
    assert!(error.contains("more than 100 headers or 64 KiB"), "{error}");
    let error = failure_of(b"HTTP/1.1 200 OK\r\na: ", &[b'b'; 4096]);
    assert!(error.contains("more than 100 headers or 64 KiB"), "{error}");
}

#[test]
fn a_refusal_is_read_up_to_one_limit_and_shown_up_to_another() {
    let head = b"HTTP/1.1 500 Oh\r\nContent-Length: 100000000\r\n\r\n";
    let error = failure_of(head, &[b'x'; 4096]);
    assert_eq!(
        error,
        format!("Unexpected response code: 500 ({})", "x".repeat(200))
    );
}

#[test]
fn the_body_of_an_answer_to_a_heartbeat_is_ignored() {
    run(async {
        let (address, _) = server(ENDLESS, &[b'x'; 4096]).await;
        let consul = Consul::new(&settings(&address.to_string())).unwrap();
        let renewed = timeout(Duration::from_secs(20), consul.renew(&registration())).await;
        assert_eq!(renewed.unwrap(), Ok(Renewal::Renewed));
    });
}

#[test]
fn a_redirect_is_not_followed_and_the_token_is_not_sent() {
    run(async {
        let (elsewhere, stolen) = server(&answer("", "[]"), b"").await;
        let redirect = format!(
            "HTTP/1.1 307 Away\r\nLocation: http://user:secret@{elsewhere}/v1\r\nContent-Length: 0\r\n\r\n"
        );
        let (address, seen) = server(redirect.as_bytes(), b"").await;
        let token = plan::Secret("token".into());
        let settings = plan::Consul {
            token: Some(token),
            ..settings(&address.to_string())
        };
        let consul = Consul::new(&settings).unwrap();
        let error = consul.register(&registration()).await.unwrap_err().to_string();
        let expected = "Unexpected response code: 307 (redirects to 127.0.0.1 are not followed)";
        assert_eq!(error, expected);
        assert!(
            seen.lock().unwrap()[0]
                .to_lowercase()
                .contains("x-consul-token: token")
        );
        assert!(stolen.lock().unwrap().is_empty());
    });
}

#[test]
fn an_answer_that_is_no_list_or_no_http_is_a_failure_with_a_reason() {
    for (answer_text, expected) in [
        (
            answer("", "<html>"),
            "the answer is not a list of instances: found '<', expected '['",
        ),
        (
            answer("", ""),
            "the answer is not a list of instances: it ends too early",
        ),
        (
            b"SSH-2.0-OpenSSH\r\n".to_vec(),
            "does not answer in HTTP, or wants TLS (https)",
        ),
        (
            vec![21, 3, 1, 0, 2, 2, 40],
            "does not answer in HTTP, or wants TLS (https)",
        ),
    ] {
        let error = failure_of(&answer_text, b"");
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_invalid_instance_is_skipped_and_a_filtered_list_is_marked() {
    let good = r#"{"Service": {"ID": "a", "Address": "192.0.2.1", "Port": 1}}"#;
    let bad = r#"{"Service": {"ID": "b", "Address": "192.0.2.1", "Port": 70000}}"#;
    let headers = "X-Consul-Index: 7\r\nX-Consul-Results-Filtered-By-ACLs: true\r\n";
    let answer_text = answer(headers, &format!("[{good},{bad}]"));
    let found = run(async {
        let (address, _) = server(&answer_text, b"").await;
        listed(address).await.unwrap()
    });
    assert_eq!(
        (found.instances.len(), found.cursor, found.filtered),
        (1, Some(Cursor(7)), true)
    );
    let example = "instance 'b' has the port 70000, allowed is 0 to 65535";
    assert_eq!(
        (found.skipped.count, found.skipped.example.as_str()),
        (1, example)
    );
}

#[test]
fn a_connection_is_used_again_and_one_that_broke_is_replaced() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let consul = Consul::new(&settings(&listener.local_addr().unwrap().to_string())).unwrap();
        let serves = async {
            let mut request = [0; 4096];
            let mut reads =
                async |stream: &mut TcpStream| assert!(stream.read(&mut request).await.unwrap() > 0);
            let (mut first, _) = listener.accept().await.unwrap();
            for _ in 0..2 {
                reads(&mut first).await;
                first.write_all(&answer("", "")).await.unwrap();
            }
            // The third request is read and not answered.
            reads(&mut first).await;
            drop(first);
            let (mut second, _) = listener.accept().await.unwrap();
            reads(&mut second).await;
            second.write_all(&answer("", "")).await.unwrap();
        };
        let asks = async {
            for _ in 0..3 {
                assert_eq!(consul.register(&registration()).await, Ok(()));
            }
        };
        timeout(Duration::from_secs(20), async { tokio::join!(asks, serves) })
            .await
            .unwrap();
    });
}

#[test]
fn https_to_a_server_without_tls_is_reported_in_one_sentence() {
    let error = run(async {
        let (address, _) = server(b"HTTP/1.1 400 Bad Request\r\n\r\n", b"").await;
        let settings = plan::Consul {
            scheme: Scheme::Https,
            tls: Tls {
                verify: false,
                ..Tls::default()
            },
            ..settings(&address.to_string())
        };
        Consul::new(&settings).unwrap().register(&registration()).await
    });
    let error = error.unwrap_err().to_string();
    assert!(error.contains("does not speak TLS, which https needs"), "{error}");
}

#[test]
fn a_server_that_never_finishes_the_handshake_is_a_failed_request() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let settings = plan::Consul {
            scheme: Scheme::Https,
            tls: Tls {
                verify: false,
                ..Tls::default()
            },
            ..settings(&listener.local_addr().unwrap().to_string())
        };
        let before = Instant::now();
        let consul = Consul::new(&settings).unwrap();
        let error = consul.register(&registration()).await.unwrap_err().to_string();
        assert!(error.ends_with("is not ready within 1.8s"), "{error}");
        assert!(before.elapsed() < Duration::from_secs(10));
    });
}

/// A client for a host behind a proxy, which the variable names.
fn beyond_proxy(scheme: Scheme, variable: &str, proxy: &str) -> Consul {
    let settings = plan::Consul {
        scheme,
        tls: Tls {
            verify: false,
            ..Tls::default()
        },
        ..settings("consul.invalid:8500")
    };
    let variables = |name: &str| (name == variable).then(|| proxy.to_owned());
    Consul::with(&settings, &variables).unwrap()
}

#[test]
fn a_proxy_gets_the_whole_url_or_a_request_for_a_tunnel() {
    run(async {
        let (address, seen) = server(&answer("", "[]"), b"").await;
        let proxy = format!("http://me:secret@{address}");
        let consul = beyond_proxy(Scheme::Http, "HTTP_PROXY", &proxy);
        consul.instances(&query()).await.unwrap();
        let request = seen.lock().unwrap().remove(0).to_lowercase();
        let line = "get http://consul.invalid:8500/v1/health/service/db?passing=1 http/1.1\r\n";
        assert!(request.starts_with(line), "{request}");
        assert!(
            request.contains("proxy-authorization: basic bwu6c2vjcmv0"),
            "{request}"
        );
        assert!(request.contains("host: consul.invalid:8500"), "{request}");

        let (address, seen) = server(b"HTTP/1.1 407 Who are you?\r\n\r\n", b"").await;
        let consul = beyond_proxy(Scheme::Https, "ALL_PROXY", &format!("http://me:secret@{address}"));
        let error = consul.instances(&query()).await.unwrap_err().to_string();
        let expected = format!("the proxy {address}: it opens no tunnel: HTTP/1.1 407 Who are you?");
        assert_eq!(error, expected);
        assert!(seen.lock().unwrap()[0].starts_with("CONNECT consul.invalid:8500 HTTP/1.1\r\n"));

        let (address, _) = server(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n").await;
        let consul = beyond_proxy(Scheme::Https, "ALL_PROXY", &address.to_string());
        let error = consul.instances(&query()).await.unwrap_err().to_string();
        assert!(error.ends_with("its answer is longer than 8192 bytes"), "{error}");
    });
}

#[test]
fn a_user_in_the_address_is_sent_and_never_logged() {
    let error = Consul::new(&settings("me:secret@consul:port"))
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with("'consul:port' is not an address of Consul"),
        "{error}"
    );
    run(async {
        let (address, seen) = server(b"nonsense\r\n\r\n", b"").await;
        let consul = Consul::new(&settings(&format!("me:secret@{address}"))).unwrap();
        let error = consul.register(&registration()).await.unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
        let request = seen.lock().unwrap().remove(0).to_lowercase();
        assert!(request.contains("authorization: basic bwu6c2vjcmv0"), "{request}");
        assert!(!format!("{consul:?}").contains("secret"), "{consul:?}");
    });
}

#[test]
fn the_description_of_a_service_is_read_up_to_its_limit() {
    let ask = |answer: Vec<u8>| {
        run(async {
            let (address, _) = server(&answer, b"").await;
            let consul = Consul::with(&settings(&address.to_string()), &|_| None).unwrap();
            consul.holder(&registration()).await
        })
    };
    let found = |address: &str, port: u16| {
        Ok(Some(Endpoint {
            address: address.into(),
            port,
        }))
    };
    let entry = r#"{"ID":"app-vm","Address":"192.0.2.7","Port":81,"Meta":null}"#;
    assert_eq!(ask(answer("", entry)), found("192.0.2.7", 81));
    assert_eq!(
        ask(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno".to_vec()),
        Ok(None)
    );
    let padded = |length: usize| entry.replace("null", &format!("\"{}\"", "x".repeat(length)));
    assert_eq!(ask(answer("", &padded(60 * 1024))), found("192.0.2.7", 81));
    let too_long = ask(answer("", &padded(64 * 1024))).unwrap_err().to_string();
    assert_eq!(too_long, "the description of a service is longer than 64 KiB");
    for wrong in [r#"{"Address":"h","Port":70000}"#, r#"{"Port":1}"#, "[]", ""] {
        assert!(ask(answer("", wrong)).is_err(), "{wrong}");
    }
}

/// What is looked up in a Consul that answers this.
fn looked_up(dependency: Dependency, after: Option<u64>, answer: &[u8]) -> (Result<Found, String>, String) {
    run(async {
        let (address, seen) = server(answer, b"").await;
        let consul = Consul::new(&settings(&address.to_string())).unwrap();
        let look_up = LookUp {
            dependency,
            after: after.map(Cursor),
            wait: Duration::from_secs(10),
        };
        let found = timeout(Duration::from_secs(60), consul.look_up(&look_up)).await;
        let first = seen.lock().unwrap()[0].clone();
        let line = first.lines().next().unwrap().to_owned();
        (found.unwrap().map_err(|error| error.to_string()), line)
    })
}

fn key(path: &str) -> Dependency {
    Dependency::Key(path.into())
}

#[test]
fn a_key_is_a_blocking_query_and_its_value_is_decoded() {
    let body = r#"[{"LockIndex":0,"Key":"a b/\u00e9%2F?","Flags":0,"Value":"b25l","ModifyIndex":7}]"#;
    let index = "X-Consul-Index: 7\r\nX-Consul-Results-Filtered-By-ACLs: true\r\n";
    let (found, line) = looked_up(key("//a b/é%2F?"), Some(5), &answer(index, body));
    assert_eq!(
        line,
        "GET /v1/kv/a%20b/%C3%A9%252F%3F?index=5&wait=10000ms HTTP/1.1"
    );
    let expected = Found {
        data: Data::Key(Some("one".into())),
        cursor: Some(Cursor(7)),
        filtered: true,
    };
    assert_eq!(found, Ok(expected));
    let (found, _) = looked_up(key("a"), Some(9), &answer(index, r#"[{"Key":"a","Value":null}]"#));
    let found = found.unwrap();
    assert_eq!((found.data, found.cursor), (Data::Key(Some(String::new())), None));
    let missing = b"HTTP/1.1 404 Not Found\r\nX-Consul-Index: 3\r\nContent-Length: 0\r\n\r\n";
    let found = looked_up(key("a"), None, missing).0.unwrap();
    assert_eq!((found.data, found.cursor), (Data::Key(None), Some(Cursor(3))));
}

#[test]
fn a_level_is_read_with_all_that_is_below_it_and_only_its_keys_are_kept() {
    let body = r#"[{"Key":"a/b/","Value":null},{"Key":"a/b/c","Value":"MQ=="},{"Key":"a/b/d/e","Value":"%"},
        {"Key":"other","Value":"MQ=="}]"#;
    let (found, line) = looked_up(Dependency::Keys("/a/b/".into()), None, &answer("", body));
    assert_eq!(line, "GET /v1/kv/a/b/?recurse=1 HTTP/1.1");
    assert_eq!(found.unwrap().data, Data::Keys([("c".into(), "1".into())].into()));
    let (_, line) = looked_up(Dependency::Keys("/".into()), Some(5), &answer("", "[]"));
    assert_eq!(line, "GET /v1/kv/?recurse=1&index=5&wait=10000ms HTTP/1.1");
}

#[test]
fn all_services_are_read_with_their_tags() {
    let body = r#"{"consul":[],"web":["v1","blue","v1"],"none":null}"#;
    let (found, line) = looked_up(Dependency::Services, None, &answer("X-Consul-Index: 7\r\n", body));
    assert_eq!(line, "GET /v1/catalog/services HTTP/1.1");
    let service = |name: &str, tags: &[&str]| (name.into(), tags.iter().map(ToString::to_string).collect());
    let expected = [
        service("consul", &[]),
        service("none", &[]),
        service("web", &["blue", "v1"]),
    ];
    assert_eq!(found.unwrap().data, Data::Services(expected.into()));
}

#[test]
fn what_is_no_list_of_services_is_an_error() {
    let error = |body: &str| {
        looked_up(Dependency::Services, None, &answer("", body))
            .0
            .unwrap_err()
    };
    for body in [
        "",
        "[]",
        "null",
        "{\"a\"}",
        "{\"a\": 1}",
        "{\"a\": [1]}",
        "{\"a\": []",
    ] {
        let error = error(body);
        assert!(
            error.starts_with("the answer is not what was asked for: "),
            "{error}"
        );
    }
    let long = format!("{{\"a\": [\"{}\"]}}", "x".repeat(256 * 1024));
    assert_eq!(error(&long), "a service has more than 256 KiB of tags");
    let many: Vec<String> = (0..16_385).map(|number| format!("\"{number}\":[]")).collect();
    let error = error(&format!("{{{}}}", many.join(",")));
    assert_eq!(error, "the services are more than 16384");
}
