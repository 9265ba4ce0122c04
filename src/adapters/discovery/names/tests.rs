//! Tests of look-ups with simulated resolvers, and of connections between loopback addresses of this process.

use super::*;
use std::net::Ipv4Addr;
use std::panic::resume_unwind;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::time::sleep;

/// Two addresses of a network that is reserved for documentation.
const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

#[test]
fn an_ip_address_needs_no_look_up_and_no_thread() {
    let names = Names::new(|_| panic!("nothing is to be looked up"));
    let found = block_on(async {
        [
            names.addresses("192.0.2.1", 8500).await.unwrap(),
            names.addresses("::1", 80).await.unwrap(),
            names.addresses("[::1]", 80).await.unwrap(),
        ]
    });
    let expected = ["192.0.2.1:8500", "[::1]:80", "[::1]:80"];
    assert_eq!(found.concat(), expected.map(|address| address.parse().unwrap()));
    names.prepare("192.0.2.1");
    assert_eq!(names.table().threads(), 0);
}

#[test]
fn the_systems_resolver_resolves_localhost() {
    let found = block_on(addresses("localhost", 7)).unwrap();
    assert!(
        found
            .iter()
            .all(|address| address.ip().is_loopback() && address.port() == 7)
    );
    assert!(!found.is_empty());
}

#[test]
fn a_name_that_does_not_exist_is_named_in_the_failure() {
    let names = Names::new(|_| Err(io::Error::other("Name or service not known")));
    let error = block_on(names.addresses("none.invalid", 1)).unwrap_err();
    let expected = "the name 'none.invalid' cannot be looked up: Name or service not known";
    assert_eq!(error.to_string(), expected);
    let names = Names::new(|_| Ok(vec![]));
    let error = block_on(names.addresses("empty", 1)).unwrap_err();
    assert!(error.to_string().ends_with("it has no address"), "{error}");
}

#[test]
fn requests_for_one_name_share_one_look_up() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static GATE: Barrier = Barrier::new(2);
    let names = Names::new(|_| {
        ASKED.fetch_add(1, Ordering::SeqCst);
        GATE.wait();
        Ok(vec![ONE])
    });
    block_on(async {
        let mut waiting = JoinSet::new();
        for _ in 0..100 {
            let names = names.clone();
            waiting.spawn(async move { names.addresses("consul", 8500).await });
        }
        tokio::task::yield_now().await;
        GATE.wait();
        while let Some(found) = waiting.join_next().await {
            assert_eq!(found.unwrap().unwrap(), [SocketAddr::new(ONE, 8500)]);
        }
        names.addresses("consul", 8500).await.unwrap();
    });
    assert_eq!(ASKED.load(Ordering::SeqCst), 1);
}

#[test]
fn a_silent_resolver_fails_the_request_and_delays_nothing_else() {
    static GATE: Barrier = Barrier::new(2);
    let names = Names::new(|_| {
        GATE.wait();
        Ok(vec![ONE])
    });
    block_on(async {
        let before = Instant::now();
        let error = names.addresses("consul", 8500).await.unwrap_err();
        assert!(
            error.to_string().contains("no answer of the system's resolver"),
            "{error}"
        );
        assert!(before.elapsed() >= LOOKUP_LIMIT && before.elapsed() < LOOKUP_LIMIT * 3);
        assert!(names.addresses("192.0.2.1", 8500).await.is_ok());
        GATE.wait();
        let again = names.addresses("consul", 8500).await;
        assert_eq!(
            again.unwrap(),
            [SocketAddr::new(ONE, 8500)],
            "the look-up went on"
        );
    });
}

#[test]
fn earlier_addresses_are_used_while_the_resolver_is_silent() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    static NEVER: Barrier = Barrier::new(2);
    let names = Names::new(|_| {
        if ASKED.fetch_add(1, Ordering::SeqCst) > 0 {
            NEVER.wait();
        }
        Ok(vec![ONE])
    });
    block_on(async {
        names.addresses("consul", 1).await.unwrap();
        sleep(FRESH).await;
        let before = Instant::now();
        assert_eq!(
            names.addresses("consul", 1).await.unwrap(),
            [SocketAddr::new(ONE, 1)]
        );
        assert!(before.elapsed() >= LONGEST_WAIT);
        assert_eq!(ASKED.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn a_name_whose_look_up_hangs_delays_no_other_and_the_number_of_threads_is_limited() {
    static NEVER: Barrier = Barrier::new(2);
    let names = Names::new(|name| {
        if name.starts_with("silent") {
            NEVER.wait();
        }
        Ok(vec![ONE])
    });
    names.prepare("silent");
    names.prepare("silent");
    assert_eq!(names.table().threads(), 1, "one for each name");
    names.prepare("listening");
    block_on(async {
        let one = names.clone();
        let hangs = tokio::spawn(async move { one.addresses("silent", 1).await });
        tokio::task::yield_now().await;
        assert!(names.table().names["silent"].running().is_some());
        let found = names.addresses("listening", 1).await;
        assert_eq!(found.unwrap(), [SocketAddr::new(ONE, 1)]);
        assert!(hangs.await.unwrap().is_err());
    });
    for number in 0..10 {
        names.prepare(&format!("host{number}"));
    }
    assert_eq!(names.table().threads(), THREADS);
}

#[test]
fn more_names_than_the_limit_are_refused_while_all_are_being_looked_up() {
    static NEVER: Barrier = Barrier::new(2);
    let names = Names::new(|_| {
        NEVER.wait();
        Ok(vec![ONE])
    });
    let mut table = names.table();
    for number in 0..NAMES {
        assert!(table.want(&format!("host{number}"), &names).is_ok());
    }
    let refused = table.want("one-more", &names).err().unwrap();
    assert!(refused.to_string().contains("64 others"), "{refused}");
    assert!(
        table.want("host0", &names).is_ok(),
        "one that is being looked up is no more"
    );
}

#[test]
fn beyond_the_limit_the_oldest_name_is_removed() {
    let names = Names::new(|_| Ok(vec![ONE; 100]));
    block_on(async {
        for number in 0..=NAMES {
            let found = names.addresses(&format!("host{number}"), 1).await.unwrap();
            assert_eq!(found.len(), ADDRESSES);
        }
    });
    let table = names.table();
    assert_eq!(table.names.len(), NAMES);
    assert!(!table.names.contains_key("host0") && table.names.contains_key("host1"));
}

#[test]
fn a_look_up_that_panics_is_a_failed_request_and_the_next_one_is_not() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let names = Names::new(|_| {
        if ASKED.fetch_add(1, Ordering::SeqCst) == 0 {
            // Without the panic hook: on a busy machine, writing a backtrace can take longer than a request
            // waits.
            resume_unwind(Box::new("the first look-up panics, as it is to"));
        }
        Ok(vec![ONE])
    });
    block_on(async {
        let error = names.addresses("consul", 1).await.unwrap_err();
        assert!(error.to_string().ends_with("the look-up broke off"), "{error}");
        assert!(names.addresses("consul", 1).await.is_ok());
    });
}

#[test]
fn the_address_that_accepted_is_tried_first_and_one_that_did_not_answer_last() {
    let names = Names::new(|_| Ok(vec![ONE, TWO]));
    block_on(async {
        let order = async || {
            let found = names.addresses("consul", 1).await.unwrap();
            found.iter().map(SocketAddr::ip).collect::<Vec<_>>()
        };
        assert_eq!(order().await, [ONE, TWO]);
        names.table().prefer("consul", TWO);
        assert_eq!(order().await, [TWO, ONE]);
        names.table().avoid("consul", TWO);
        assert_eq!(order().await, [ONE, TWO]);
        names.table().avoid("consul", ONE);
        assert_eq!(order().await, [TWO, ONE]);
    });
}

/// A listener whose queue is full, so that the kernel accepts no further connection.
async fn silent_listener(address: IpAddr) -> (TcpListener, Vec<TcpStream>) {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(address, 0)).unwrap();
    let listener = socket.listen(0).unwrap();
    let target = listener.local_addr().unwrap();
    let mut filling = Vec::new();
    while let Ok(Ok(stream)) = timeout(Duration::from_millis(100), TcpStream::connect(target)).await {
        filling.push(stream);
    }
    (listener, filling)
}

/// Two addresses reserved for this process, with the same port: the first is silent, the second accepts.
async fn silent_and_listening() -> [IpAddr; 2] {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let [.., high, low] = std::process::id().to_be_bytes();
    let own = || IpAddr::from([127, high, low, NEXT.fetch_add(1, Ordering::SeqCst)]);
    [own(), own()]
}

#[test]
fn a_silent_first_address_costs_a_fraction_and_the_live_one_is_tried_first_next_time() {
    static HOSTS: Mutex<Vec<IpAddr>> = Mutex::new(vec![]);
    let names = Names::new(|_| Ok(HOSTS.lock().unwrap().clone()));
    block_on(async {
        let [silent, listening] = silent_and_listening().await;
        let (listener, _filling) = silent_listener(silent).await;
        let port = listener.local_addr().unwrap().port();
        let _live = TcpListener::bind((listening, port)).await.unwrap();
        *HOSTS.lock().unwrap() = vec![silent, listening];
        let before = Instant::now();
        let stream = names.connect("consul", port).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap().ip(), listening);
        let first = before.elapsed();
        assert!(first >= HEAD_START && first < CONNECT_LIMIT, "{first:?}");
        let before = Instant::now();
        names.connect("consul", port).await.unwrap();
        assert!(before.elapsed() < HEAD_START, "{:?}", before.elapsed());
    });
}

#[test]
fn a_connection_that_no_address_accepts_fails_and_names_all_addresses() {
    let names = Names::new(|_| Ok(vec![Ipv4Addr::LOCALHOST.into(), IpAddr::from([127, 0, 0, 2])]));
    let error = block_on(names.connect("consul", 1)).unwrap_err().to_string();
    let expected = "127.0.0.1:1: connection refused; 127.0.0.2:1: connection refused";
    assert_eq!(error, expected);
    block_on(async {
        let [silent, _] = silent_and_listening().await;
        let (listener, _filling) = silent_listener(silent).await;
        let target = listener.local_addr().unwrap();
        let error = connect(&silent.to_string(), target.port()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("no connection within 1.5s to {target}")
        );
    });
}
