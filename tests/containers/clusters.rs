//! Clusters of three servers that lose their leader.

use crate::faults::config;
use crate::network::Network;
use crate::shim::{Shim, UNTIL_TERM};
use crate::store::{Consul, Etcd, Store};
use crate::waiting::{SOON, until};
use std::time::Duration;

#[test]
fn a_consul_cluster_that_loses_its_leader_keeps_the_service_and_shows_a_new_instance() {
    loses_its_leader::<Consul>();
}

#[test]
fn an_etcd_cluster_that_loses_its_leader_keeps_the_service_and_shows_a_new_instance() {
    loses_its_leader::<Etcd>();
}

fn loses_its_leader<S: Store>() {
    let network = Network::new();
    let [leader, second, third] = S::start_three(&network);
    let config = config(&[&leader, &second, &third], 6);
    let one = Shim::new(&config).start(&network, "one", &UNTIL_TERM);
    second.until_listed("app", &["app-one"]);
    one.until_logged("Backend app changed: 1 passing instances");
    leader.machine().kill();
    let failed = || "the other two have a leader".into();
    until(SOON, failed, || {
        second.leads().is_some() && third.leads().is_some() && second.leads() != third.leads()
    });
    let _two = Shim::new(&config).start(&network, "two", &UNTIL_TERM);
    for store in [&second, &third] {
        store.until_listed("app", &["app-one", "app-two"]);
    }
    one.until_logged("Backend app changed: 2 passing instances");
    second.stays_listed("app", &["app-one", "app-two"], Duration::from_secs(8));
    assert_eq!(
        one.times_logged("Service registered: app"),
        1,
        "its registration outlived the leader\n{}",
        one.log()
    );
}
