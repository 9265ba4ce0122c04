//! What only the etcd adapter can be asked, against real servers: histories that are gone, tokens that expire,
//! watches that break. Each test has a server of its own.
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

use common::{PROMPTLY, both, run, within};
use containerpilot::adapters::discovery::etcd::Etcd;
use containerpilot::ports::{Catalogue, Renewal};
use domain::event::{Cursor, Query};
use domain::plan::{self, Registration, Secret, Tls};
use etcd_server::{Server, folder_of_certificates};
use loopback::OwnAddress;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
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
        address: IpAddr::from([192, 0, 2, 9]),
        port,
        tags: Vec::new(),
        ttl: Duration::from_secs(30),
        enable_tag_override: false,
        deregister_critical_after: None,
    }
}

fn query(after: Option<Cursor>, wait: Duration) -> Query {
    Query {
        service: "db".into(),
        tag: None,
        after,
        wait,
    }
}

const LONG: Duration = Duration::from_secs(60);

#[test]
fn nobody_who_stopped_waiting_is_still_watched_for() {
    let server = Server::start("3.5");
    let watchers = || server.metric("etcd_debugging_mvcc_watcher_total");
    run(async {
        let etcd = adapter(&[&server.url()]);
        let cursor = etcd.instances(&query(None, Duration::ZERO)).await.unwrap().cursor;
        let question = query(cursor, LONG);
        let waiting = timeout(Duration::from_millis(500), etcd.instances(&question));
        let watched = async {
            let look = async || (watchers() == Some(1.0)).then_some(());
            within(PROMPTLY, "somebody is watched for", look).await;
        };
        let (answer, ()) = both(waiting, watched).await;
        assert!(answer.is_err());
        within(PROMPTLY, "nobody is watched for", async || {
            (watchers() == Some(0.0)).then_some(())
        })
        .await;
    });
}

#[test]
fn a_cursor_whose_history_is_gone_is_answered_from_the_present() {
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
fn a_watch_that_breaks_wakes_whoever_waits_and_the_same_adapter_works_again() {
    let mut server = Server::start("3.5");
    run(async {
        let etcd = adapter(&[&server.url()]);
        etcd.register(&instance(1)).await.unwrap();
        let cursor = etcd.instances(&query(None, Duration::ZERO)).await.unwrap().cursor;
        let question = query(cursor, LONG);
        let waiting = timeout(PROMPTLY * 2, etcd.instances(&question));
        let death = async {
            sleep(Duration::from_millis(200)).await;
            server.stop();
        };
        let (answer, ()) = both(waiting, death).await;
        let error = answer.expect("at once").unwrap_err().0;
        assert!(error.contains("Connection refused"), "{error}");
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
        let error = etcd.instances(&query(None, Duration::ZERO)).await.unwrap_err().0;
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
fn with_a_login_an_expired_token_costs_nothing_and_a_wrong_one_is_told() {
    for version in ["3.4", "3.5"] {
        let server = Server::start(version);
        for command in ["user add root:secret", "user grant-role root root", "auth enable"] {
            server.ctl(&command.split(' ').collect::<Vec<_>>());
        }
        run(async {
            let login = |password: &str| Some(("root".to_owned(), Secret(password.to_owned())));
            let mut settings = settings(&[&server.url()]);
            let nobody = Etcd::new(&settings)
                .unwrap()
                .register(&instance(1))
                .await
                .unwrap_err();
            assert!(nobody.0.contains("user name is empty"), "{nobody}");
            settings.login = login("wrong");
            let wrong = Etcd::new(&settings)
                .unwrap()
                .register(&instance(1))
                .await
                .unwrap_err();
            assert!(wrong.0.contains("authentication failed"), "{wrong}");
            settings.login = login("secret");
            let etcd = Etcd::new(&settings).unwrap();
            etcd.register(&instance(1)).await.unwrap();
            // A token lasts three seconds on this server.
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
            server.ctl(&["--user=root:secret", "user", "add", "other:secret"]);
            assert_eq!(
                etcd.renew(&instance(1)).await.unwrap(),
                Renewal::Renewed,
                "other users came"
            );
            etcd.withdraw(&instance(1)).await.unwrap();
        });
    }
}

/// Whoever answers in HTTP/1, as an etcd of the second version does.
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
fn a_server_that_speaks_no_v3_is_told_of_in_one_sentence() {
    run(async {
        let url = old_server();
        let error = adapter(&[&url]).register(&instance(1)).await.unwrap_err().0;
        assert!(
            error.contains(&url) && error.contains("does not answer in etcd's v3 API"),
            "{error}"
        );
    });
}

#[test]
fn a_withdrawal_leaves_what_another_put_there_and_takes_what_a_former_self_left() {
    let server = Server::start("3.5");
    run(async {
        let (one, other) = (adapter(&[&server.url()]), adapter(&[&server.url()]));
        one.register(&instance(1)).await.unwrap();
        other.register(&instance(1)).await.unwrap();
        one.withdraw(&instance(1)).await.unwrap();
        assert_eq!(server.everything().len(), 2, "the other's");
        let new = adapter(&[&server.url()]);
        assert_eq!(new.renew(&instance(1)).await.unwrap(), Renewal::Renewed);
        new.withdraw(&instance(1)).await.unwrap();
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

/// A server that demands a certificate, the folder with all certificates, and what its clients need.
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
fn over_tls_both_sides_prove_who_they_are() {
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
fn what_is_wrong_with_tls_is_told() {
    let (server, folder, right) = secured();
    let refusal = async |tls: Tls| {
        let etcd = Etcd::new(&over(&server, tls)).expect("settings of etcd");
        etcd.register(&instance(1)).await.unwrap_err().0
    };
    run(async {
        let other_name = Tls {
            server_name: Some("other".into()),
            ..right.clone()
        };
        let told = refusal(other_name).await;
        assert!(
            told.contains("certificate not valid for name \"other\""),
            "{told}"
        );
        let other_authority = Tls {
            ca_file: Some(folder.path().join("other-agent-ca.pem").display().to_string()),
            ..right.clone()
        };
        let told = refusal(other_authority).await;
        assert!(told.contains("invalid peer certificate"), "{told}");
        let unproven = Tls {
            client: None,
            ..right.clone()
        };
        // The server may hang up before its reason is read.
        let told = refusal(unproven).await;
        assert!(told.contains("transport error"), "{told}");
    });
    let unchecked = Tls {
        verify: false,
        ..right
    };
    let told = Etcd::new(&over(&server, unchecked)).unwrap_err().0;
    assert!(told.contains("`verify: false`"), "{told}");
}

#[test]
fn what_is_no_address_is_refused_at_once() {
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

/// A way to a server on which connections can fall silent, as if a network in between lost them.
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

    /// The first connections say nothing more, and do not end.
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
        // As the desk asks: whoever is not answered in time is forgotten.
        let limit = Duration::from_secs(1);
        assert!(timeout(limit, etcd.renew(&instance(1))).await.is_err());
        assert_eq!(
            timeout(limit, etcd.renew(&instance(1))).await,
            Ok(Ok(Renewal::Renewed))
        );
    });
}

#[test]
fn a_watch_that_fell_silent_wakes_whoever_waits() {
    let server = Server::start("3.5");
    let way = Way::to(&server);
    run(async {
        let etcd = adapter(&[&way.url]);
        let cursor = etcd.instances(&query(None, Duration::ZERO)).await.unwrap().cursor;
        let silence = async {
            sleep(Duration::from_millis(500)).await;
            way.silence(1);
            adapter(&[&server.url()]).register(&instance(1)).await.unwrap();
        };
        let question = query(cursor, LONG);
        let waiting = timeout(Duration::from_secs(14), etcd.instances(&question));
        let (answer, ()) = both(waiting, silence).await;
        assert_eq!(answer.expect("in time").unwrap().instances.len(), 1);
    });
}
