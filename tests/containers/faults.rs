//! Stopping and killing containers, and servers that are stopped, paused, emptied or disconnected: one list of tests, run
//! for Consul and for etcd.

use crate::machine::Machine;
use crate::network::Network;
use crate::shim::{Shim, UNTIL_TERM};
use crate::store::{Consul, Etcd, Store};
use crate::waiting::{SOON, until};
use std::time::Duration;

/// The only instance in most of these tests.
const ONE: [&str; 1] = ["app-one"];

/// What the log contains if a heartbeat failed.
const FAILED: &str = "Failed to write heartbeat";

macro_rules! for_both_catalogues {
    ($($fact:ident)+) => {
        mod consul { $(#[test] fn $fact() { super::$fact::<super::Consul>(); })+ }
        mod etcd { $(#[test] fn $fact() { super::$fact::<super::Etcd>(); })+ }
    };
}

for_both_catalogues! {
    docker_stop_takes_the_service_out_and_ends_with_the_applications_code
    after_docker_kill_the_service_is_listed_until_its_ttl_ends
    a_server_that_was_stopped_and_started_again_lists_the_service_again
    a_server_that_was_restarted_lists_the_service_again
    a_paused_server_delays_docker_stop_by_two_seconds_at_most_and_gets_heartbeats_again_afterwards
    a_server_that_lost_its_data_gets_the_registration_again
    after_a_server_was_cut_off_and_connected_again_the_service_is_listed_and_a_new_instance_seen
    after_the_shim_was_cut_off_and_connected_again_the_service_is_listed_and_a_new_instance_seen
}

/// A service `app` that is always healthy, and watched.
pub fn config<S: Store>(stores: &[&S], ttl: u32) -> String {
    let section = S::section(stores);
    format!(
        r#"{{{section}, "logging": {{"level": "DEBUG"}},
            "services": [{{"name": "app", "port": 8000, "poll": 1, "ttl": {ttl}}}],
            "backends": [{{"name": "app", "poll": 1, "onChange": ["echo", "the handler has run"]}}]}}"#
    )
}

/// A network with a server and one instance, which is listed. The network has to be dropped last.
fn started<S: Store>(ttl: u32) -> (Network, S, Machine) {
    let network = Network::new();
    let store = S::start(&network);
    let one = Shim::new(&config(&[&store], ttl)).start(&network, "one", &UNTIL_TERM);
    store.until_listed("app", &ONE);
    (network, store, one)
}

fn docker_stop_takes_the_service_out_and_ends_with_the_applications_code<S: Store>() {
    let (_network, store, one) = started::<S>(60);
    assert_eq!(one.run(&["readlink", "/proc/1/exe"]), "/bin/containerpilot\n");
    let (code, duration) = one.stop();
    assert_eq!(
        store.listed("app"),
        Some(Vec::new()),
        "it does not wait for the TTL"
    );
    assert_eq!(code, 7);
    assert!(duration < Duration::from_secs(5), "{duration:?}");
}

fn after_docker_kill_the_service_is_listed_until_its_ttl_ends<S: Store>() {
    let (_network, store, one) = started::<S>(6);
    assert_eq!(one.kill(), 137);
    assert_eq!(store.listed("app").unwrap(), ONE, "it is still listed");
    store.until_listed("app", &[]);
}

fn a_server_that_was_stopped_and_started_again_lists_the_service_again<S: Store>() {
    let (_network, store, one) = started::<S>(3);
    store.machine().stop();
    one.until_logged(FAILED);
    store.machine().start_again();
    one.until_logged("The catalogue answers again ");
    store.until_listed("app", &ONE);
    store.stays_listed("app", &ONE, Duration::from_secs(4));
}

fn a_server_that_was_restarted_lists_the_service_again<S: Store>() {
    let (_network, store, _one) = started::<S>(3);
    store.machine().restart();
    store.until_listed("app", &ONE);
    store.stays_listed("app", &ONE, Duration::from_secs(4));
}

fn a_paused_server_delays_docker_stop_by_two_seconds_at_most_and_gets_heartbeats_again_afterwards<
    S: Store,
>() {
    let (network, store, one) = started::<S>(3);
    let two = Shim::new(&config(&[&store], 3)).start(&network, "two", &UNTIL_TERM);
    store.until_listed("app", &["app-one", "app-two"]);
    store.machine().pause();
    let (code, duration) = two.stop();
    assert_eq!(code, 7);
    assert!(
        duration < Duration::from_secs(5),
        "2 s, and some for a busy machine: {duration:?}"
    );
    one.until_logged(FAILED);
    store.machine().unpause();
    store.until_listed("app", &ONE);
    store.stays_listed("app", &ONE, Duration::from_secs(4));
}

fn a_server_that_lost_its_data_gets_the_registration_again<S: Store>() {
    let (network, store, one) = started::<S>(60);
    let store = store.empty(&network);
    one.until_logged("Service not registered: ");
    one.until_logged_times("Service registered: app", 2);
    store.until_listed("app", &ONE);
}

fn after_a_server_was_cut_off_and_connected_again_the_service_is_listed_and_a_new_instance_seen<S: Store>() {
    let (network, store, one) = started::<S>(3);
    // The test reaches the server through another network, which the shim is not in.
    store.machine().join("bridge");
    let address = store.machine().address_in("bridge").unwrap();
    cut_off_and_connected_again(&network, &store, &one, store.machine(), &address);
}

/// Docker creates its interface with another name then; the registration keeps the address.
fn after_the_shim_was_cut_off_and_connected_again_the_service_is_listed_and_a_new_instance_seen<S: Store>() {
    let (network, store, one) = started::<S>(3);
    cut_off_and_connected_again(&network, &store, &one, &one, &store.machine().address());
}

fn cut_off_and_connected_again<S: Store>(
    network: &Network,
    store: &S,
    one: &Machine,
    machine: &Machine,
    address: &str,
) {
    one.until_logged("Backend app changed: 1 passing instances");
    machine.cut_off();
    let listed = || store.listed_at(address, "app");
    let failed = || format!("the TTL ends, not {:?}", listed());
    until(SOON, failed, || listed() == Some(Vec::new()));
    one.until_logged(FAILED);
    machine.connect_again();
    store.until_listed("app", &ONE);
    let _two = Shim::new(&config(&[store], 3)).start(network, "two", &UNTIL_TERM);
    one.until_logged("Backend app changed: 2 passing instances");
    store.stays_listed("app", &["app-one", "app-two"], Duration::from_secs(4));
}
