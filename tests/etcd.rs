//! Tests of the etcd adapter with real servers: compacted revisions, tokens that expire, watches that break. Each test has a server of its own.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start programs, read the clock and may fail by panicking"
)]

mod common;
#[path = "program/etcd_server.rs"]
#[allow(dead_code, reason = "the program's tests ask the server more")]
mod etcd_server;
#[path = "program/http.rs"]
#[allow(dead_code, reason = "the program's tests ask more")]
mod http;
#[path = "common/loopback.rs"]
#[allow(dead_code, reason = "the program's tests want a port, too")]
mod loopback;
#[path = "program/sending.rs"]
mod sending;

use common::{PROMPTLY, both, run, while_waiting, within};
use containerpilot::adapters::discovery::etcd::Etcd;
use containerpilot::ports::{Catalogue, Renewal};
use domain::catalogue::{Cursor, Data, Dependency, LookUp, Query};
use domain::plan::{self, Registration, Secret, Tls};
use etcd_server::{SELF_SIGNED_CERTIFICATE, Server, folder_of_certificates};
use loopback::OwnAddress;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

fn settings(endpoints: &[&str]) -> plan::Etcd {
    plan::Etcd {
        endpoints: endpoints.iter().map(|url| String::from(*url)).collect(),
        prefix: "/containerpilot".into(),
        login: None,
        tls: Tls::default(),
    }
}

fn adapter(endpoints: &[&str]) -> Etcd {
    Etcd::new(&settings(endpoints)).expect("settings of etcd")
}

fn instance(port: u16) -> Registration {
    Registration {
        id: format!("db-{port}"),
        name: "db".into(),
        address: [192, 0, 2, 9].into(),
        port,
        tags: Vec::new(),
        ttl: Duration::from_secs(30),
        enable_tag_override: false,
        deregister_critical_after: None,
        attributes: Box::default(),
    }
}

fn query(after: Option<Cursor>, wait: Duration) -> Query {
    Query {
        service: "db".into(),
        after,
        wait,
        ..Default::default()
    }
}

const LONG: Duration = Duration::from_secs(60);

/// Waits until a server has this number of watches.
async fn watches(server: &Server, count: f64) {
    let look = async || {
        let watchers = server.metric("etcd_debugging_mvcc_watcher_total");
        (watchers == Some(count)).then_some(())
    };
    within(PROMPTLY, &format!("the server watches for {count}"), look).await;
}

#[test]
fn a_cancelled_request_has_no_watch() {
    let server = Server::start("3.5");
    run(async {
        let etcd = adapter(&[&server.url()]);
        let cursor = etcd.instances(&query(None, Duration::ZERO)).await.unwrap().cursor;
        let question = query(cursor, LONG);
        while_waiting(etcd.instances(&question), watches(&server, 1.0)).await;
        watches(&server, 0.0).await;
    });
}

#[test]
fn a_cursor_whose_history_is_compacted_is_answered_with_the_present_list() {
    for version in ["3.4", "3.5"] {
        let server = Server::start(version);
        run(async {
            let etcd = adapter(&[&server.url()]);
            etcd.register(&instance(1)).await.unwrap();
            let cursor = etcd.instances(&query(None, Duration::ZERO)).await.unwrap().cursor;
            etcd.register(&instance(2)).await.unwrap();
            etcd.register(&instance(3)).await.unwrap();
            let now = etcd.instances(&query(None, Duration::ZERO)).await.unwrap();
            let revision = now.cursor.unwrap().0.to_string();
            server.ctl(&["compact", &revision]);
            let question = query(cursor, LONG);
            let answer = timeout(PROMPTLY, etcd.instances(&question)).await;
            assert_eq!(answer.expect("at once").unwrap(), now);
        });
    }
}

#[test]
fn a_cursor_of_a_cluster_that_was_set_up_anew_is_answered_at_once() {
    let server = Server::start("3.5");
    run(async {
        let etcd = adapter(&[&server.url()]);
        let question = query(Some(Cursor(1_000)), LONG);
        let answer = timeout(PROMPTLY, etcd.instances(&question)).await;
        assert_eq!(answer.expect("at once").unwrap().cursor, Some(Cursor(1)));
    });
}

#[test]
fn a_watch_that_breaks_ends_the_wait_and_the_adapter_works_again() {
    let mut server = Server::start("3.5");
    run(async {
        let etcd = adapter(&[&server.url()]);
        etcd.register(&instance(1)).await.unwrap();
        let cursor = etcd.instances(&query(None, Duration::ZERO)).await.unwrap().cursor;
        let question = query(cursor, LONG);
        let waiting = timeout(PROMPTLY * 2, etcd.instances(&question));
        let death = async {
            watches(&server, 1.0).await;
            server.stop();
        };
        let (answer, ()) = both(waiting, death).await;
        let error = answer.expect("at once").unwrap_err().to_string();
        assert!(error.contains("connection refused"), "{error}");
        server.start_again();
        assert_eq!(etcd.renew(&instance(1)).await.unwrap(), Renewal::Renewed);
        let listing = etcd.instances(&query(None, Duration::ZERO)).await.unwrap();
        assert_eq!(listing.instances.len(), 1);
    });
}

#[test]
fn a_quiet_watch_lasts_and_a_frozen_server_is_noticed() {
    let server = Server::start("3.5");
    run(async {
        let etcd = adapter(&[&server.url()]);
        let cursor = etcd.instances(&query(None, Duration::ZERO)).await.unwrap().cursor;
        let begin = Instant::now();
        let quiet = Duration::from_secs(20);
        etcd.instances(&query(cursor, quiet)).await.unwrap();
        assert!(begin.elapsed() >= quiet, "it was cut after {:?}", begin.elapsed());
        server.freeze();
        let begin = Instant::now();
        let error = etcd
            .instances(&query(None, Duration::ZERO))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("no answer within"), "{error}");
        assert!(
            begin.elapsed() < Duration::from_millis(4_500),
            "{:?}",
            begin.elapsed()
        );
        server.thaw();
        etcd.instances(&query(None, Duration::ZERO)).await.unwrap();
    });
}

#[test]
fn with_a_login_an_expired_token_is_renewed_and_a_wrong_password_is_reported() {
    for version in ["3.4", "3.5"] {
        let server = Server::start(version);
        for command in ["user add root:secret", "user grant-role root root", "auth enable"] {
            server.ctl(&command.split(' ').collect::<Vec<_>>());
        }
        run(async {
            let login = |password: &str| Some(("root".to_owned(), Secret(password.to_owned())));
            let mut settings = settings(&[&server.url()]);
            let no_user = Etcd::new(&settings)
                .unwrap()
                .register(&instance(1))
                .await
                .unwrap_err();
            assert!(no_user.to_string().contains("user name is empty"), "{no_user}");
            settings.login = login("wrong");
            let wrong = Etcd::new(&settings)
                .unwrap()
                .register(&instance(1))
                .await
                .unwrap_err();
            assert!(wrong.to_string().contains("authentication failed"), "{wrong}");
            settings.login = login("secret");
            let etcd = Etcd::new(&settings).unwrap();
            etcd.register(&instance(1)).await.unwrap();
            // A token lasts three seconds on this server after its last use.
            let end = Instant::now() + Duration::from_secs(8);
            while Instant::now() < end {
                sleep(Duration::from_millis(1_900)).await;
                let cursor = etcd.instances(&query(None, Duration::ZERO)).await.unwrap().cursor;
                assert_eq!(etcd.renew(&instance(1)).await.unwrap(), Renewal::Renewed);
                etcd.instances(&query(cursor, Duration::from_millis(100)))
                    .await
                    .unwrap();
                sleep(Duration::from_millis(4_100)).await;
                assert_eq!(etcd.renew(&instance(1)).await.unwrap(), Renewal::Renewed);
            }
            assert!(refused_tokens(&server) >= 2.0, "two tokens have expired");
            server.ctl(&["--user=root:secret", "user", "add", "other:secret"]);
            assert_eq!(
                etcd.renew(&instance(1)).await.unwrap(),
                Renewal::Renewed,
                "other users came"
            );
            etcd.deregister(&instance(1)).await.unwrap();
        });
    }
}

/// The commands in docs/registration.md for a user with few rights, without `etcdctl`.
/// First those that suffice for services and backends, then those for templates.
fn documented_role() -> [Vec<Vec<&'static str>>; 2] {
    let page = include_str!("../docs/registration.md");
    let (_, after) = page.split_once("### Access control in etcd").unwrap();
    let mut blocks = after.split("```sh\n").skip(1);
    [(); 2].map(|()| {
        let (commands, _) = blocks.next().unwrap().split_once("```").unwrap();
        let words = |line: &'static str| line.split(' ').skip(1).collect();
        commands.lines().map(words).collect()
    })
}

#[test]
fn the_documented_role_suffices() {
    for version in ["3.4", "3.5"] {
        let server = Server::start(version);
        let [role, for_templates] = documented_role();
        for mut command in role {
            if command[..2] == ["user", "add"] {
                command[2] = "containerpilot:secret";
            }
            server.ctl(&command);
        }
        for command in ["user add root:secret", "user grant-role root root", "auth enable"] {
            server.ctl(&command.split(' ').collect::<Vec<_>>());
        }
        run(async {
            let mut settings = settings(&[&server.url()]);
            settings.login = Some(("containerpilot".to_owned(), Secret("secret".to_owned())));
            let etcd = Etcd::new(&settings).unwrap();
            etcd.register(&instance(1)).await.unwrap();
            assert_eq!(etcd.renew(&instance(1)).await.unwrap(), Renewal::Renewed);
            let listed = etcd.instances(&query(None, Duration::ZERO)).await.unwrap();
            assert_eq!(listed.instances.len(), 1);
            let waiting = query(listed.cursor, Duration::from_millis(100));
            assert_eq!(etcd.instances(&waiting).await.unwrap().instances.len(), 1);
            etcd.deregister(&instance(1)).await.unwrap();
            // Keys elsewhere stay out of reach.
            settings.prefix = "/other".into();
            let elsewhere = Etcd::new(&settings).unwrap();
            let refused = elsewhere.register(&instance(1)).await.unwrap_err().to_string();
            assert!(refused.contains("permission denied"), "{refused}");
            settings.prefix = "/containerpilot".into();
            let etcd = Etcd::new(&settings).unwrap();
            let look_up = async |dependency: Dependency| {
                let wait = Duration::from_millis(100);
                let look_up = |after| LookUp {
                    dependency: dependency.clone(),
                    after,
                    wait,
                };
                let first = etcd.look_up(&look_up(None)).await;
                let again = etcd.look_up(&look_up(first.clone()?.cursor)).await;
                again.map(|again| again.data)
            };
            let key = |key: &str| Dependency::Key(key.into());
            let level = Dependency::Keys("app/".into());
            assert_eq!(look_up(Dependency::Services).await, Ok(Data::Services(vec![])));
            for dependency in [key("app/color"), key("/motd"), level.clone()] {
                let refused = look_up(dependency).await.unwrap_err().to_string();
                assert!(refused.contains("permission denied"), "{refused}");
            }
            for command in for_templates {
                server.ctl(&[&["--user=root:secret"], &command[..]].concat());
            }
            let none = Ok(Data::Key(None));
            assert_eq!(look_up(key("app/color")).await, none);
            assert_eq!(look_up(key("/motd")).await, none);
            assert_eq!(look_up(level).await, Ok(Data::Keys(vec![])));
            assert!(look_up(key("/motd2")).await.is_err());
        });
    }
}

/// Puts many keys with these values below the service `db`, in a few calls.
async fn put_all(server: &Server, values: impl Iterator<Item = (String, Vec<u8>)>) {
    let mut client = etcd_client::Client::connect([server.url()], None).await.unwrap();
    let mut values = values.peekable();
    while values.peek().is_some() {
        // A transaction contains at most 128 operations and 2 MiB.
        let some = values.by_ref().take(10).collect::<Vec<_>>();
        let size: usize = some.iter().map(|(_, value)| value.len()).sum();
        let more = if size < 20_000 { 110 } else { 0 };
        let some = some.into_iter().chain(values.by_ref().take(more));
        let puts: Vec<_> = some.map(|(id, value)| put(&id, value)).collect();
        client.txn(etcd_client::Txn::new().and_then(puts)).await.unwrap();
    }
}

fn put(id: &str, value: Vec<u8>) -> etcd_client::TxnOp {
    etcd_client::TxnOp::put(format!("/containerpilot/db/{id}/service"), value, None)
}

/// A value of about this size.
fn value(number: u32, size: usize) -> (String, Vec<u8>) {
    let id = format!("db-{number:06}");
    let tag = "t".repeat(size.saturating_sub(80));
    let port = number % 60_000;
    let value =
        format!(r#"{{"id":"{id}","name":"db","address":"192.0.2.9","port":{port},"tags":["{tag}"]}}"#);
    (id, value.into_bytes())
}

async fn listed(etcd: &Etcd) -> Result<domain::catalogue::Listing, String> {
    etcd.instances(&query(None, Duration::ZERO))
        .await
        .map_err(|error| error.to_string())
}

#[test]
fn a_list_larger_than_four_mebibytes_is_read_in_pages() {
    for version in ["3.4", "3.5"] {
        let server = Server::start(version);
        run(async {
            let etcd = adapter(&[&server.url()]);
            put_all(&server, (0..6_000).map(|number| value(number, 1_024))).await;
            let listing = listed(&etcd).await.unwrap();
            assert_eq!(listing.instances.len(), 6_000);
            let ids: std::collections::BTreeSet<_> =
                listing.instances.iter().map(|found| &found.id).collect();
            assert_eq!(ids.len(), 6_000, "each once");
            let question = query(listing.cursor, LONG);
            let news = async { server.ctl(&["del", "/containerpilot/db/db-000007/service"]) };
            let (answer, _) = both(timeout(PROMPTLY * 5, etcd.instances(&question)), news).await;
            assert_eq!(answer.expect("in time").unwrap().instances.len(), 5_999);
        });
    }
}

#[test]
fn a_list_beyond_its_bounds_is_a_failed_request_in_one_sentence() {
    let server = Server::start("3.5");
    run(async {
        let etcd = adapter(&[&server.url()]);
        put_all(&server, (0..350).map(|number| value(number, 50_000))).await;
        let message = listed(&etcd).await.unwrap_err();
        let below = "what stands below /containerpilot/db/ is more than is read of one service, ";
        assert_eq!(message, format!("{below}16 MiB"));
        server.ctl(&["del", "--prefix", "/containerpilot/db/db-0003"]);
        assert_eq!(listed(&etcd).await.unwrap().instances.len(), 300);
        server.ctl(&["del", "--prefix", ""]);
        put_all(&server, (0..20_001).map(|number| value(number, 0))).await;
        assert_eq!(
            listed(&etcd).await.unwrap_err(),
            format!("{below}20000 instances")
        );
        server.ctl(&["del", "/containerpilot/db/db-000007/service"]);
        assert_eq!(listed(&etcd).await.unwrap().instances.len(), 20_000);
    });
}

#[test]
fn all_pages_are_of_one_revision() {
    let server = Server::start("3.5");
    run(async {
        let etcd = adapter(&[&server.url()]);
        put_all(&server, (1..=1_000).map(|number| value(number, 200))).await;
        // An instance that is always there, before or after all others.
        let mut client = etcd_client::Client::connect([server.url()], None).await.unwrap();
        let (_, text) = value(0, 200);
        put_all(&server, [("a".to_owned(), text.clone())].into_iter()).await;
        let moving = tokio::task::spawn_local(async move {
            for (from, to) in [("a", "z"), ("z", "a")].into_iter().cycle() {
                let gone = etcd_client::TxnOp::delete(format!("/containerpilot/db/{from}/service"), None);
                let txn = etcd_client::Txn::new().and_then([put(to, text.clone()), gone]);
                client.txn(txn).await.unwrap();
            }
        });
        for _ in 0..30 {
            assert_eq!(listed(&etcd).await.unwrap().instances.len(), 1_001);
        }
        moving.abort();
    });
}

/// What is looked up under this name.
async fn looked_up(etcd: &Etcd, dependency: Dependency) -> Result<Data, String> {
    let look_up = LookUp {
        dependency,
        after: None,
        wait: Duration::ZERO,
    };
    let found = etcd.look_up(&look_up).await;
    found.map(|found| found.data).map_err(|error| error.to_string())
}

#[test]
fn a_value_of_etcd_may_have_half_a_mebibyte() {
    let server = Server::start("3.5");
    run(async {
        let etcd = adapter(&[&server.url()]);
        let mut client = etcd_client::Client::connect([server.url()], None).await.unwrap();
        let (key, level) = (Dependency::Key("a/b".into()), Dependency::Keys("a/".into()));
        // What is too large below the level, or beside it, does not count.
        client
            .put("a/deep/b", vec![0xff; 1024 * 1024], None)
            .await
            .unwrap();
        client.put("a0", vec![0xff; 1024 * 1024], None).await.unwrap();
        for size in [0, 60 * 1024, 300 * 1024, 512 * 1024] {
            let text = "x".repeat(size);
            client.put("a/b", text.clone(), None).await.unwrap();
            let found = looked_up(&etcd, key.clone()).await.unwrap();
            assert!(found == Data::Key(Some(text.clone())), "{size}");
            let found = looked_up(&etcd, level.clone()).await.unwrap();
            assert!(found == Data::Keys([("b".into(), text)].into()), "{size}");
        }
        for size in [512 * 1024 + 1, 1024 * 1024] {
            client.put("a/b", "x".repeat(size), None).await.unwrap();
            for dependency in [&key, &level] {
                let error = looked_up(&etcd, dependency.clone()).await.unwrap_err();
                assert_eq!(error, "the value of key a/b is larger than 512 KiB");
            }
        }
    });
}

#[test]
fn a_level_of_etcd_is_read_in_pages_without_what_is_below_it() {
    let server = Server::start("3.5");
    run(async {
        let etcd = adapter(&[&server.url()]);
        let mut client = etcd_client::Client::connect([server.url()], None).await.unwrap();
        // Below one key are 23 MiB, more than is read of a list.
        for number in 0..60 {
            let put = client.put(format!("a/deep/{number}"), vec![b'x'; 400 * 1024], None);
            put.await.unwrap();
        }
        let mut keys: Vec<_> = (0..1_000).map(|number| format!("{number:04}")).collect();
        keys.push("z".into());
        for some in keys.chunks(100) {
            let put = |key: &String| etcd_client::TxnOp::put(format!("a/{key}"), "1", None);
            let puts: Vec<_> = some.iter().map(put).collect();
            client.txn(etcd_client::Txn::new().and_then(puts)).await.unwrap();
        }
        let found = looked_up(&etcd, Dependency::Keys("a/".into())).await.unwrap();
        let expected = keys.into_iter().map(|key| (key, "1".into())).collect();
        assert_eq!(found, Data::Keys(expected));
    });
}

#[test]
fn values_of_other_programs_are_skipped_and_counted_and_instances_are_used() {
    let server = Server::start("3.5");
    run(async {
        let etcd = adapter(&[&server.url()]);
        let with_port = |port| format!(r#"{{"id":"x","address":"192.0.2.9","port":{port}}}"#).into_bytes();
        let foreign = [
            ("a-port", with_port("70000")),
            ("b-port", with_port("-1")),
            ("c-half", b"{".to_vec()),
            ("d-bytes", b"\xff\xfe".to_vec()),
            ("e-large", vec![b' '; 100 * 1024]),
            ("f-larger", vec![b' '; 1024 * 1024]),
        ];
        put_all(
            &server,
            foreign.into_iter().map(|(id, value)| (id.to_owned(), value)),
        )
        .await;
        put_all(&server, (0..3).map(|number| value(number, 200))).await;
        let listing = listed(&etcd).await.unwrap();
        assert_eq!(listing.instances.len(), 3);
        assert_eq!(listing.skipped.count, 6);
        assert_eq!(
            listing.skipped.example,
            "the value of /containerpilot/db/a-port/service has the port 70000, allowed is 0 to 65535"
        );
        server.ctl(&["del", "--prefix", "/containerpilot/db/a"]);
        server.ctl(&["del", "--from-key", "/containerpilot/db/b", "--prefix=false"]);
        put_all(
            &server,
            [("larger".to_owned(), vec![b' '; 1024 * 1024])].into_iter(),
        )
        .await;
        let listing = listed(&etcd).await.unwrap();
        assert_eq!(
            listing.skipped.example,
            "the value of /containerpilot/db/larger/service is larger than 512 KiB"
        );
    });
}

#[test]
fn a_watch_whose_events_are_too_large_reads_again() {
    let server = Server::start("3.5");
    run(async {
        let etcd = adapter(&[&server.url()]);
        let cursor = listed(&etcd).await.unwrap().cursor;
        let question = query(cursor, LONG);
        let news = Box::pin(put_all(&server, (0..20).map(|number| value(number, 30_000))));
        let (answer, ()) = both(timeout(PROMPTLY * 5, etcd.instances(&question)), news).await;
        assert!(!answer.expect("in time").unwrap().instances.is_empty());
    });
}

#[test]
fn a_large_foreign_value_under_our_key_is_registered_over() {
    let server = Server::start("3.5");
    run(async {
        let etcd = adapter(&[&server.url()]);
        put_all(
            &server,
            [("db-1".to_owned(), vec![b' '; 1024 * 1024])].into_iter(),
        )
        .await;
        let renewal = etcd.renew(&instance(1)).await.unwrap();
        assert!(
            matches!(&renewal, Renewal::Unknown(cause, _) if cause.ends_with("the entry is another one"))
        );
        etcd.register(&instance(1)).await.unwrap();
        assert_eq!(etcd.renew(&instance(1)).await.unwrap(), Renewal::Renewed);
    });
}

/// How many requests with an expired token a server has refused.
fn refused_tokens(server: &Server) -> f64 {
    let refused = r#"grpc_server_handled_total{grpc_code="Unauthenticated""#;
    let page = server.page("/metrics");
    let lines = page.lines().filter(|line| line.starts_with(refused));
    let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    counts.sum()
}

/// A server that answers in HTTP/1, as etcd 2 does.
fn old_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut preface = [0; 24];
            stream.read_exact(&mut preface).ok();
            let answer =
                "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n400 Bad";
            stream.write_all(answer.as_bytes()).ok();
        }
    });
    url
}

#[test]
fn a_server_without_the_v3_api_is_reported_in_one_sentence() {
    run(async {
        let url = old_server();
        let error = adapter(&[&url])
            .register(&instance(1))
            .await
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&url) && error.contains("does not answer in etcd's v3 API"),
            "{error}"
        );
    });
}

#[test]
fn a_deregistration_keeps_the_entry_of_another_instance_and_removes_one_of_an_earlier_run() {
    let server = Server::start("3.5");
    run(async {
        let (one, other) = (adapter(&[&server.url()]), adapter(&[&server.url()]));
        one.register(&instance(1)).await.unwrap();
        other.register(&instance(1)).await.unwrap();
        one.deregister(&instance(1)).await.unwrap();
        assert_eq!(server.everything().len(), 2, "the other's");
        let new = adapter(&[&server.url()]);
        assert_eq!(new.renew(&instance(1)).await.unwrap(), Renewal::Renewed);
        new.deregister(&instance(1)).await.unwrap();
        assert_eq!(server.everything(), [""; 0]);
        one.register(&instance(1)).await.unwrap();
        one.register(&instance(1)).await.unwrap();
        let leases = server.ctl(&["lease", "list"]);
        assert_eq!(
            leases.lines().count(),
            3,
            "a heading, the other's and the newest of ours: {leases}"
        );
    });
}

/// A server that demands a certificate, the folder with all certificates, and the settings for its clients.
fn secured() -> (Server, TempDir, Tls) {
    let own = OwnAddress::reserve();
    let folder = folder_of_certificates(&own);
    let file = |name: &str| folder.path().join(name).display().to_string();
    let server = Server::start_secured("3.5", own, &folder);
    let right = Tls {
        ca_file: Some(file("consul-agent-ca.pem")),
        client: Some((
            file("dc1-client-consul-0.pem"),
            file("dc1-client-consul-0-key.pem"),
        )),
        ..Tls::default()
    };
    (server, folder, right)
}

fn over(server: &Server, tls: Tls) -> plan::Etcd {
    plan::Etcd {
        tls,
        ..settings(&[&server.url()])
    }
}

#[test]
fn over_tls_both_sides_show_certificates() {
    let (server, _folder, right) = secured();
    let named = Tls {
        server_name: Some("server.dc1.consul".into()),
        ..right.clone()
    };
    run(async {
        let etcd = Etcd::new(&over(&server, right)).unwrap();
        etcd.register(&instance(1)).await.unwrap();
        assert_eq!(etcd.renew(&instance(1)).await.unwrap(), Renewal::Renewed);
        let etcd = Etcd::new(&over(&server, named)).unwrap();
        assert_eq!(etcd.renew(&instance(1)).await.unwrap(), Renewal::Renewed);
    });
}

#[test]
fn a_self_signed_certificate_that_is_the_cafile_is_accepted_for_its_names() {
    let server = Server::start_self_signed("3.5");
    let named = Tls {
        ca_file: Some(SELF_SIGNED_CERTIFICATE.into()),
        server_name: Some("self-signed.test".into()),
        ..Tls::default()
    };
    let for_its_address = Tls {
        server_name: None,
        ..named.clone()
    };
    run(async {
        let etcd = Etcd::new(&over(&server, named)).unwrap();
        etcd.register(&instance(1)).await.unwrap();
        assert_eq!(etcd.renew(&instance(1)).await.unwrap(), Renewal::Renewed);
        let etcd = Etcd::new(&over(&server, for_its_address)).unwrap();
        let message = etcd.register(&instance(1)).await.unwrap_err().to_string();
        assert!(message.contains("not valid for name"), "{message}");
    });
}

/// A reload opens the catalogue again if the contents of these files have changed.
#[test]
fn opening_the_catalogue_again_reads_the_files_of_tls_again() {
    let (server, folder, right) = secured();
    let path = |name: &str| folder.path().join(name);
    std::fs::copy(path("other-agent-ca.pem"), path("in-use.pem")).unwrap();
    let rotated = Tls {
        ca_file: Some(path("in-use.pem").display().to_string()),
        ..right
    };
    run(async {
        let before = Etcd::new(&over(&server, rotated.clone())).unwrap();
        let message = before.register(&instance(1)).await.unwrap_err().to_string();
        assert!(message.contains("invalid peer certificate"), "{message}");
        std::fs::copy(path("consul-agent-ca.pem"), path("in-use.pem")).unwrap();
        assert!(
            before.register(&instance(1)).await.is_err(),
            "what was read stays in force"
        );
        let anew = Etcd::new(&over(&server, rotated)).unwrap();
        anew.register(&instance(1)).await.unwrap();
    });
}

#[test]
fn every_error_in_the_tls_section_is_reported() {
    let (server, folder, right) = secured();
    let refusal = async |tls: Tls| {
        let etcd = Etcd::new(&over(&server, tls)).expect("settings of etcd");
        etcd.register(&instance(1)).await.unwrap_err().to_string()
    };
    run(async {
        let other_name = Tls {
            server_name: Some("other".into()),
            ..right.clone()
        };
        let message = refusal(other_name).await;
        assert!(
            message.contains("certificate not valid for name \"other\""),
            "{message}"
        );
        let other_authority = Tls {
            ca_file: Some(folder.path().join("other-agent-ca.pem").display().to_string()),
            ..right.clone()
        };
        let message = refusal(other_authority).await;
        assert!(message.contains("invalid peer certificate"), "{message}");
        let unproven = Tls {
            client: None,
            ..right.clone()
        };
        // The server may close the connection before its reason is read.
        let message = refusal(unproven).await;
        assert!(message.contains("transport error"), "{message}");
    });
}

#[test]
fn without_verification_a_self_signed_certificate_for_another_name_is_accepted() {
    let server = Server::start_self_signed("3.5");
    let unverified = Tls {
        verify: false,
        ..Tls::default()
    };
    run(async {
        let etcd = Etcd::new(&over(&server, unverified)).unwrap();
        etcd.register(&instance(1)).await.unwrap();
        assert_eq!(etcd.renew(&instance(1)).await.unwrap(), Renewal::Renewed);
    });
}

#[test]
fn an_invalid_endpoint_is_refused_at_once() {
    for bad in [
        "etcd:2379",
        "ftp://etcd",
        "http://",
        "http://etcd:2379/v2",
        "http://etcd:99999",
        "http://a@etcd",
    ] {
        assert!(Etcd::new(&settings(&[bad])).is_err(), "{bad}");
    }
    for good in [
        "http://etcd",
        "https://etcd:2379/",
        "http://[::1]:2379",
        "http://192.0.2.1:4001",
    ] {
        assert!(Etcd::new(&settings(&[good])).is_ok(), "{good}");
    }
}

/// A proxy to a server, whose connections can become silent, as if a network between them lost all packets.
struct Way {
    url: String,
    silenced: Arc<AtomicUsize>,
}

impl Way {
    fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let target = server.url().replace("http://", "");
        let silenced = Arc::new(AtomicUsize::new(0));
        let until = Arc::clone(&silenced);
        std::thread::spawn(move || {
            for (number, near) in (1..).zip(listener.incoming().flatten()) {
                let far = TcpStream::connect(&target).unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let until = Arc::clone(&until);
                    std::thread::spawn(move || pass_on(from, to, || until.load(Ordering::Relaxed) >= number));
                }
            }
        });
        Self { url, silenced }
    }

    /// From now on, nothing is transferred on the first connections, and they stay open.
    fn silence(&self, count: usize) {
        self.silenced.store(count, Ordering::Relaxed);
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, is_silent: impl Fn() -> bool) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        if !is_silent() && to.write_all(&buffer[..count]).is_err() {
            return;
        }
    }
    if !is_silent() {
        to.shutdown(Shutdown::Both).ok();
    }
}

#[test]
fn a_connection_that_fell_silent_is_not_used_again() {
    let server = Server::start("3.5");
    let way = Way::to(&server);
    run(async {
        let etcd = adapter(&[&way.url]);
        etcd.register(&instance(1)).await.unwrap();
        way.silence(1);
        // The dispatcher drops a request at its time limit; so does this test.
        let limit = Duration::from_secs(1);
        assert!(timeout(limit, etcd.renew(&instance(1))).await.is_err());
        assert_eq!(
            timeout(limit, etcd.renew(&instance(1))).await,
            Ok(Ok(Renewal::Renewed))
        );
    });
}

#[test]
fn a_watch_that_fell_silent_ends_the_wait() {
    let server = Server::start("3.5");
    let way = Way::to(&server);
    run(async {
        let etcd = adapter(&[&way.url]);
        let cursor = etcd.instances(&query(None, Duration::ZERO)).await.unwrap().cursor;
        let silence = async {
            watches(&server, 1.0).await;
            way.silence(1);
            adapter(&[&server.url()]).register(&instance(1)).await.unwrap();
        };
        let question = query(cursor, LONG);
        let waiting = timeout(Duration::from_secs(14), etcd.instances(&question));
        let (answer, ()) = both(waiting, silence).await;
        assert_eq!(answer.expect("in time").unwrap().instances.len(), 1);
    });
}
