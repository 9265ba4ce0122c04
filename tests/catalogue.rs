//! Tests that every catalogue must pass: one list of facts, run for each catalogue.
//!
//! For each catalogue there is a constructor and one line at the end of this file; permitted differences are
//! in its [`Differences`]. Tests use only the port and these differences. Facts that depend on time are
//! polled until a deadline, never slept for; a catalogue may show a change later than others, but not later
//! than its differences permit.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start programs, read the clock and may fail by panicking"
)]
#![allow(dead_code, reason = "the program's tests ask the servers more")]

#[path = "program/agent.rs"]
mod agent;
mod common;
#[path = "program/etcd_server.rs"]
mod etcd_server;
#[path = "program/http.rs"]
#[allow(dead_code, reason = "the program's tests ask more")]
mod http;
#[path = "common/loopback.rs"]
mod loopback;
#[path = "program/processes.rs"]
mod processes;
#[path = "program/program.rs"]
mod program;
#[path = "program/sending.rs"]
mod sending;
#[path = "catalogue/simulated.rs"]
mod simulated;
#[path = "program/waiting.rs"]
mod waiting;

use agent::Agent;
use common::{PROMPTLY, both, run, within};
use containerpilot::adapters::discovery::consul::Consul;
use containerpilot::adapters::discovery::directory::Directory;
use containerpilot::adapters::discovery::etcd::Etcd;
use containerpilot::ports::{Catalogue, Renewal};
use domain::catalogue::{
    Cursor, Data, Dependency, Endpoint, Found, Instance, Listing, LookUp, Query, Report,
};
use domain::plan::{self, Filter, Registration, Scheme, Tls};
use etcd_server::Server;
use simulated::Simulated;
use std::any::Any;
use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How much later than its differences permit a catalogue may show an expiry on a busy machine.
const BUSY: Duration = Duration::from_secs(5);

/// A catalogue under test.
struct CatalogueUnderTest {
    /// The adapter that the tests call.
    catalogue: Box<dyn Catalogue>,
    /// A folder or a server that must exist as long as the catalogue.
    _home: Box<dyn Any>,
    /// How it may differ from other catalogues.
    differences: Differences,
    /// Sets a key of the catalogue to a value, or removes it; none if it has no keys.
    set_key: Option<SetKey>,
}

/// Sets a key to a value, or removes it.
type SetKey = Box<dyn Fn(&str, Option<&[u8]>)>;

/// How catalogues may differ.
#[derive(Clone, Copy)]
struct Differences {
    /// The shortest TTL that the catalogue keeps exactly.
    shortest_ttl: Duration,
    /// How long after its TTL an entry may still be listed.
    expiry_slack: Duration,
    /// Whether an expired entry is removed, so that a heartbeat reports it as unknown.
    forgets_the_expired: bool,
    /// Whether a waiting request may be answered early although nothing has changed.
    answers_early: bool,
    /// Whether a key may have any bytes as its value.
    keeps_bytes: bool,
    /// Which names the catalogue distinguishes from all others. It may refuse or confuse other names.
    distinguishes: fn(&str) -> bool,
}

/// Accepts every name.
const ALL: fn(&str) -> bool = |_| true;

/// The names of one test, which no other test uses.
struct Names {
    fact: &'static str,
    differences: Differences,
    set_key: Option<SetKey>,
}

impl Names {
    /// The name of the service under test.
    fn service(&self) -> String {
        format!("{}-{}", self.fact.replace('_', "-"), std::process::id())
    }

    /// The first instance of the service.
    fn instance(&self) -> Registration {
        self.numbered(1)
    }

    /// The shortest TTL within which a busy machine can also read the entry.
    fn kept_ttl(&self) -> Duration {
        self.differences.shortest_ttl.max(Duration::from_secs(2))
    }

    /// The instance with this number.
    fn numbered(&self, number: u16) -> Registration {
        let service = self.service();
        long_lived_registration(&service, &format!("{service}-host{number}"), 8000 + number)
    }
}

/// A registration whose TTL is longer than a test.
fn long_lived_registration(service: &str, id: &str, port: u16) -> Registration {
    Registration {
        id: id.into(),
        name: service.into(),
        address: [192, 0, 2, 1].into(),
        port,
        tags: Vec::new(),
        ttl: Duration::from_secs(60),
        enable_tag_override: false,
        deregister_critical_after: None,
        attributes: Box::default(),
    }
}

fn query(service: &str) -> Query {
    Query {
        service: service.into(),
        after: None,
        wait: Duration::ZERO,
        ..Default::default()
    }
}

async fn list(catalogue: &dyn Catalogue, service: &str) -> Listing {
    catalogue.instances(&query(service)).await.expect("a listing")
}

/// The ports of the instances, sorted. Each instance of a test has a port of its own.
fn ports(listing: &Listing) -> Vec<u16> {
    let mut ports: Vec<u16> = listing.instances.iter().map(|instance| instance.port).collect();
    ports.sort_unstable();
    ports
}

/// Lists the service until it has instances on exactly these ports.
async fn lists_within(
    catalogue: &dyn Catalogue,
    service: &str,
    expected: &[u16],
    limit: Duration,
) -> Listing {
    let fact = format!("{service} has instances on {expected:?}");
    let look = async || Some(list(catalogue, service).await).filter(|found| ports(found) == expected);
    within(limit, &fact, look).await
}

async fn has(catalogue: &dyn Catalogue, service: &str, expected: &[u16]) -> Listing {
    lists_within(catalogue, service, expected, PROMPTLY).await
}

async fn register(catalogue: &dyn Catalogue, registration: &Registration) {
    catalogue.register(registration).await.expect("registered");
}

async fn deregister(catalogue: &dyn Catalogue, registration: &Registration) {
    catalogue.deregister(registration).await.expect("deregistered");
}

async fn is_renewed(catalogue: &dyn Catalogue, registration: &Registration) -> bool {
    match catalogue
        .renew(registration)
        .await
        .expect("an answer to a heartbeat")
    {
        Renewal::Renewed => true,
        Renewal::Removed => panic!("a heartbeat removes nothing"),
        Renewal::Unknown(reason, _) => {
            assert!(!reason.is_empty(), "a reason is given");
            false
        }
    }
}

/// Reports the result of a health check.
async fn report(catalogue: &dyn Catalogue, registration: &Registration, healthy: bool) -> Renewal {
    let report = Report {
        registration: registration.clone(),
        healthy,
        output: "exit status 7: \"refused\"".into(),
    };
    catalogue.report(&report).await.expect("an answer to a report")
}

/// Sends waiting requests, each with the cursor of the answer before, until the service has instances on these ports.
async fn waits_until_listed(
    catalogue: &dyn Catalogue,
    service: &str,
    mut after: Option<Cursor>,
    expected: &[u16],
) {
    let fact = format!("a waiting request is answered when {service} has instances on {expected:?}");
    within(PROMPTLY, &fact, async || {
        let wait = PROMPTLY * 5;
        let question = Query {
            after,
            wait,
            ..query(service)
        };
        let listing = catalogue
            .instances(&question)
            .await
            .expect("an answer to a waiting question");
        after = listing.cursor;
        (ports(&listing) == expected).then_some(())
    })
    .await;
}

/// Sends waiting requests, each with the cursor of the answer before, while `happens` runs. The first answer must list
/// instances on these ports; a catalogue that answers early may first answer that nothing has changed.
async fn first_answer_is(
    catalogue: &dyn Catalogue,
    names: &Names,
    before: &Listing,
    expected: &[u16],
    happens: impl Future<Output = ()>,
) {
    let answered = async {
        let mut after = before.cursor;
        loop {
            let question = Query {
                after,
                wait: PROMPTLY * 5,
                ..query(&names.service())
            };
            let listing = catalogue.instances(&question).await.expect("an answer");
            if ports(&listing) == expected {
                return;
            }
            assert!(
                names.differences.answers_early,
                "an answer without a change: {listing:?}"
            );
            assert_eq!(listing.instances, before.instances);
            after = listing.cursor;
        }
    };
    let in_time = timeout(PROMPTLY, both(answered, happens)).await;
    in_time.expect("the waiting request is answered after the change");
}

/// Registers an instance of another service and waits until a request for that service is answered. An
/// adapter that wrongly answers an earlier waiting request because of this change has answered it by then.
async fn another_service_changes(catalogue: &dyn Catalogue, names: &Names, port: u16) {
    let service = names.service() + "-elsewhere";
    let before = list(catalogue, &service).await;
    let instance = long_lived_registration(&service, &format!("{service}-host"), port);
    both(
        waits_until_listed(catalogue, &service, before.cursor, &[port]),
        register(catalogue, &instance),
    )
    .await;
}

async fn registering_makes_it_listed(catalogue: &dyn Catalogue, names: &Names) {
    let instance = names.instance();
    register(catalogue, &instance).await;
    let listing = has(catalogue, &names.service(), &[8001]).await;
    let expected = Instance {
        id: instance.id,
        address: "192.0.2.1".into(),
        port: 8001,
        details: None,
    };
    assert_eq!(listing.instances, [expected]);
}

/// What is looked up for a template: the ports of the instances in order, each with its tags.
fn found(found: Found) -> Vec<(u16, Vec<String>)> {
    let Data::Instances(instances) = found.data.sorted() else {
        panic!("instances were looked up")
    };
    let mut found: Vec<_> = instances
        .into_iter()
        .map(|found| (found.port, found.details.unwrap_or_default().tags))
        .collect();
    found.sort();
    found
}

async fn templates_look_up_instances_with_their_tags(catalogue: &dyn Catalogue, names: &Names) {
    let mut tagged = names.instance();
    tagged.tags = vec!["blue".into(), "v1".into()];
    register(catalogue, &tagged).await;
    register(catalogue, &names.numbered(2)).await;
    has(catalogue, &names.service(), &[8001, 8002]).await;
    let look_up = |tag: Option<&str>, after| LookUp {
        dependency: Dependency::Service {
            name: names.service(),
            tag: tag.map(Into::into),
        },
        after,
        wait: PROMPTLY * 5,
    };
    let all = catalogue.look_up(&look_up(None, None)).await.expect("data");
    let mut cursor = all.cursor;
    let of_first = |tags: &[&str]| (8001, tags.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(found(all), [of_first(&["blue", "v1"]), (8002, vec![])]);
    let blue = catalogue.look_up(&look_up(Some("blue"), None)).await;
    assert_eq!(found(blue.expect("data")), [of_first(&["blue", "v1"])]);
    tagged.tags = vec!["green".into()];
    let changes = register(catalogue, &tagged);
    let sees = within(PROMPTLY, "the changed tags are found", async || {
        let next = catalogue.look_up(&look_up(None, cursor)).await.expect("data");
        cursor = next.cursor;
        (found(next) == [of_first(&["green"]), (8002, vec![])]).then_some(())
    });
    both(sees, changes).await;
}

/// The answer of a look-up that waits.
async fn look_up_after(catalogue: &dyn Catalogue, dependency: &Dependency, after: Option<Cursor>) -> Found {
    let look_up = LookUp {
        dependency: dependency.clone(),
        after,
        wait: PROMPTLY * 5,
    };
    catalogue.look_up(&look_up).await.expect("data")
}

/// Looks up until the data are these, each time with the cursor of the answer before.
async fn looks_up(catalogue: &dyn Catalogue, dependency: &Dependency, expected: &Data) -> Option<Cursor> {
    let mut after = None;
    within(PROMPTLY, &format!("{dependency} is {expected:?}"), async || {
        let found = look_up_after(catalogue, dependency, after).await;
        after = found.cursor;
        (found.data.sorted() == *expected).then_some(after)
    })
    .await
}

/// A look-up that waits is answered with these data after `happens`; before, with the earlier ones at the most.
async fn look_up_follows(
    catalogue: &dyn Catalogue,
    names: &Names,
    dependency: &Dependency,
    [before, expected]: [&Data; 2],
    happens: impl Future<Output = ()>,
) {
    let mut after = looks_up(catalogue, dependency, before).await;
    let answered = async {
        loop {
            let found = look_up_after(catalogue, dependency, after).await;
            after = found.cursor;
            let data = found.data.sorted();
            if data == *expected {
                return;
            }
            assert!(names.differences.answers_early, "an answer without a change");
            assert_eq!(data, *before);
        }
    };
    let in_time = timeout(PROMPTLY, both(answered, happens)).await;
    in_time.unwrap_or_else(|_| panic!("a look-up that waits is answered after the change to {expected:?}"));
}

/// The services of a test, as they are looked up, with their tags.
fn services_of(names: &Names, data: Data) -> Vec<(String, Vec<String>)> {
    let Data::Services(services) = data.sorted() else {
        panic!("services were looked up")
    };
    let services = services.into_iter();
    services
        .filter(|(name, _)| name.starts_with(&names.service()))
        .collect()
}

async fn templates_look_up_all_services_with_their_tags(catalogue: &dyn Catalogue, names: &Names) {
    let mut after = None;
    let mut until = async |expected: &[(String, &[&str])]| {
        within(PROMPTLY, &format!("the services are {expected:?}"), async || {
            let look_up = LookUp {
                dependency: Dependency::Services,
                after,
                wait: PROMPTLY * 5,
            };
            let found = catalogue.look_up(&look_up).await.expect("data");
            after = found.cursor;
            let services = services_of(names, found.data);
            let services: Vec<_> = services
                .iter()
                .map(|(name, tags)| (name.clone(), tags.iter().map(String::as_str).collect::<Vec<_>>()))
                .collect();
            let expected: Vec<_> = expected
                .iter()
                .map(|(name, tags)| (name.clone(), tags.to_vec()))
                .collect();
            (services == expected).then_some(())
        })
        .await;
    };
    until(&[]).await;
    let (first, other) = (names.service(), names.service() + "-other");
    let tagged = |number: u16, tags: &[&str]| {
        let mut tagged = names.numbered(number);
        tagged.tags = tags.iter().map(ToString::to_string).collect();
        tagged
    };
    let [blue, green] = [tagged(1, &["blue", "v1"]), tagged(2, &["green", "v1"])];
    both(
        until(&[(first.clone(), &["blue", "v1"])]),
        register(catalogue, &blue),
    )
    .await;
    let elsewhere = long_lived_registration(&other, &format!("{other}-host"), 1);
    register(catalogue, &elsewhere).await;
    both(
        until(&[(first.clone(), &["blue", "green", "v1"]), (other, &[])]),
        register(catalogue, &green),
    )
    .await;
    deregister(catalogue, &elsewhere).await;
    both(until(&[(first, &["green", "v1"])]), deregister(catalogue, &blue)).await;
    both(until(&[]), deregister(catalogue, &green)).await;
}

async fn a_service_without_a_healthy_instance_is_among_all_where_entries_are_kept(
    catalogue: &dyn Catalogue,
    names: &Names,
) {
    let is_listed = async || {
        let look_up = LookUp {
            dependency: Dependency::Services,
            after: None,
            wait: Duration::ZERO,
        };
        let found = catalogue.look_up(&look_up).await.expect("data");
        !services_of(names, found.data).is_empty()
    };
    register(catalogue, &names.instance()).await;
    let listed = async || is_listed().await.then_some(());
    within(PROMPTLY, "the service is listed", listed).await;
    report(catalogue, &names.instance(), false).await;
    has(catalogue, &names.service(), &[]).await;
    assert_eq!(is_listed().await, !names.differences.forgets_the_expired);
    deregister(catalogue, &names.instance()).await;
    let gone = async || (!is_listed().await).then_some(());
    within(PROMPTLY, "the service is gone", gone).await;
}

/// Without keys, a look-up fails with a sentence.
async fn keys_are_refused(catalogue: &dyn Catalogue) {
    for dependency in [Dependency::Key("a".into()), Dependency::Keys("a/".into())] {
        let look_up = LookUp {
            dependency,
            after: None,
            wait: Duration::ZERO,
        };
        let refused = catalogue.look_up(&look_up).await.expect_err("it has no keys");
        assert!(refused.to_string().contains("need Consul or etcd"), "{refused}");
    }
}

async fn a_key_is_looked_up_and_changes_are_noticed(catalogue: &dyn Catalogue, names: &Names) {
    let Some(set) = &names.set_key else {
        return keys_are_refused(catalogue).await;
    };
    let path = format!("{}/a b/é%2F?", names.service());
    let dependency = Dependency::Key(path.clone());
    let value = |text: &str| Data::Key(Some(text.into()));
    let none = Data::Key(None);
    let change = async |port: u16, states: [&Data; 2], to: Option<&str>| {
        let happens = async {
            set(
                &format!("{}/other", names.service()),
                Some(port.to_string().as_bytes()),
            );
            another_service_changes(catalogue, names, port).await;
            set(&path, to.map(str::as_bytes));
        };
        look_up_follows(catalogue, names, &dependency, states, happens).await;
    };
    change(7001, [&none, &value("one\n \"two\"")], Some("one\n \"two\"")).await;
    change(7002, [&value("one\n \"two\""), &value("")], Some("")).await;
    change(7003, [&value(""), &none], None).await;
    change(7004, [&none, &value("again")], Some("again")).await;
}

async fn the_keys_of_one_level_are_looked_up(catalogue: &dyn Catalogue, names: &Names) {
    let Some(set) = &names.set_key else {
        return keys_are_refused(catalogue).await;
    };
    let folder = names.service();
    let put = |key: &str, value: &str| set(&format!("{folder}{key}"), Some(value.as_bytes()));
    let pairs = |pairs: &[(&str, &str)]| {
        let pairs = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        Data::Keys(pairs.collect())
    };
    let dependency = Dependency::Keys(format!("{folder}/"));
    let none = pairs(&[]);
    looks_up(catalogue, &dependency, &none).await;
    put("/a/deep", "1");
    put("/a/deeper/still", "2");
    put("2/b", "3");
    put("", "4");
    let arrives = async {
        another_service_changes(catalogue, names, 7001).await;
        put("/a/deep", "no change of the level");
        put("2/b", "nor this");
        another_service_changes(catalogue, names, 7002).await;
        put("/c", "5");
    };
    let one = pairs(&[("c", "5")]);
    look_up_follows(catalogue, names, &dependency, [&none, &one], arrives).await;
    let arrives = async { put("/a", "6") };
    let two = pairs(&[("a", "6"), ("c", "5")]);
    look_up_follows(catalogue, names, &dependency, [&one, &two], arrives).await;
    let changes = async { put("/c", "") };
    let changed = pairs(&[("a", "6"), ("c", "")]);
    look_up_follows(catalogue, names, &dependency, [&two, &changed], changes).await;
    let leaves = async { set(&format!("{folder}/a"), None) };
    let left = pairs(&[("c", "")]);
    look_up_follows(catalogue, names, &dependency, [&changed, &left], leaves).await;
}

async fn values_that_are_no_text_or_too_large_are_refused(catalogue: &dyn Catalogue, names: &Names) {
    let Some(set) = &names.set_key else {
        return keys_are_refused(catalogue).await;
    };
    if !names.differences.keeps_bytes {
        return;
    }
    let key = format!("{}/level/key", names.service());
    let look_ups = [
        Dependency::Key(key.clone()),
        Dependency::Keys(format!("{}/level/", names.service())),
    ];
    let answers = async |data: [Data; 2]| {
        for (dependency, data) in look_ups.iter().zip(&data) {
            looks_up(catalogue, dependency, data).await;
        }
    };
    set(&key, Some(b"no text: \xff"));
    for dependency in look_ups.clone() {
        let look_up = LookUp {
            dependency,
            after: None,
            wait: Duration::ZERO,
        };
        let refused = catalogue.look_up(&look_up).await.expect_err("no text");
        let sentence = format!("the value of key {key} is not UTF-8");
        assert_eq!(refused.to_string(), sentence);
    }
    let large = "x".repeat(512 * 1024);
    set(&key, Some(large.as_bytes()));
    let pairs = Data::Keys([("key".into(), large.clone())].into());
    answers([Data::Key(Some(large)), pairs]).await;
}

async fn ipv6_addresses_are_kept(catalogue: &dyn Catalogue, names: &Names) {
    let mut instance = names.instance();
    instance.address = "2001:db8::7".into();
    register(catalogue, &instance).await;
    let listing = has(catalogue, &names.service(), &[8001]).await;
    assert_eq!(listing.instances[0].address, "2001:db8::7");
}

async fn a_second_registration_overwrites_the_first(catalogue: &dyn Catalogue, names: &Names) {
    let mut instance = names.instance();
    register(catalogue, &instance).await;
    has(catalogue, &names.service(), &[8001]).await;
    instance.address = "192.0.2.2".into();
    instance.port = 9000;
    register(catalogue, &instance).await;
    let listing = has(catalogue, &names.service(), &[9000]).await;
    assert_eq!(listing.instances[0].address, "192.0.2.2");
    assert!(is_renewed(catalogue, &instance).await);
}

async fn heartbeats_keep_it_beyond_the_ttl(catalogue: &dyn Catalogue, names: &Names) {
    let mut instance = names.instance();
    instance.ttl = names.kept_ttl();
    register(catalogue, &instance).await;
    has(catalogue, &names.service(), &[8001]).await;
    let end = Instant::now() + instance.ttl * 3 + names.differences.expiry_slack;
    while Instant::now() < end {
        assert!(is_renewed(catalogue, &instance).await);
        assert_eq!(ports(&list(catalogue, &names.service()).await), [8001]);
        sleep(instance.ttl / 20).await;
    }
}

async fn without_heartbeats_it_is_gone_after_the_ttl(catalogue: &dyn Catalogue, names: &Names) {
    let mut instance = names.instance();
    instance.ttl = names.kept_ttl();
    let begin = Instant::now();
    register(catalogue, &instance).await;
    has(catalogue, &names.service(), &[8001]).await;
    let limit = instance.ttl + names.differences.expiry_slack + BUSY;
    lists_within(catalogue, &names.service(), &[], limit).await;
    assert!(
        begin.elapsed() + Duration::from_millis(10) >= instance.ttl,
        "and not before"
    );
}

async fn a_heartbeat_of_the_never_registered_is_unknown_and_stays_so(
    catalogue: &dyn Catalogue,
    names: &Names,
) {
    let instance = names.instance();
    assert!(!is_renewed(catalogue, &instance).await);
    assert!(!is_renewed(catalogue, &instance).await);
    assert_eq!(list(catalogue, &names.service()).await.instances, []);
}

async fn a_heartbeat_of_the_deregistered_is_unknown_and_stays_so(catalogue: &dyn Catalogue, names: &Names) {
    let instance = names.instance();
    register(catalogue, &instance).await;
    deregister(catalogue, &instance).await;
    assert!(!is_renewed(catalogue, &instance).await);
    assert!(!is_renewed(catalogue, &instance).await);
    has(catalogue, &names.service(), &[]).await;
    register(catalogue, &instance).await;
    assert!(
        is_renewed(catalogue, &instance).await,
        "until it is registered again"
    );
}

async fn a_heartbeat_of_the_expired_is_unknown_and_stays_so(catalogue: &dyn Catalogue, names: &Names) {
    let mut instance = names.instance();
    instance.ttl = names.differences.shortest_ttl;
    register(catalogue, &instance).await;
    let limit = instance.ttl + names.differences.expiry_slack + BUSY;
    lists_within(catalogue, &names.service(), &[], limit).await;
    let comes_back = !names.differences.forgets_the_expired;
    assert_eq!(is_renewed(catalogue, &instance).await, comes_back);
    assert_eq!(is_renewed(catalogue, &instance).await, comes_back);
    let expected: &[u16] = if comes_back { &[8001] } else { &[] };
    has(catalogue, &names.service(), expected).await;
}

async fn deregistering_removes_it_and_a_second_time_does_nothing(catalogue: &dyn Catalogue, names: &Names) {
    register(catalogue, &names.numbered(1)).await;
    register(catalogue, &names.numbered(2)).await;
    has(catalogue, &names.service(), &[8001, 8002]).await;
    for _ in 0..2 {
        deregister(catalogue, &names.numbered(1)).await;
        has(catalogue, &names.service(), &[8002]).await;
    }
}

async fn deregistering_the_never_registered_does_nothing(catalogue: &dyn Catalogue, names: &Names) {
    deregister(catalogue, &names.instance()).await;
    assert_eq!(list(catalogue, &names.service()).await.instances, []);
}

async fn an_unknown_service_has_no_instances(catalogue: &dyn Catalogue, names: &Names) {
    assert_eq!(list(catalogue, &names.service()).await.instances, []);
}

async fn a_tag_filters(catalogue: &dyn Catalogue, names: &Names) {
    let tags: [&[&str]; 4] = [&["blue"], &["blue", "green"], &["blueish"], &[]];
    for (number, tags) in (1..).zip(tags) {
        let mut instance = names.numbered(number);
        instance.tags = tags.iter().map(|tag| String::from(*tag)).collect();
        register(catalogue, &instance).await;
    }
    has(catalogue, &names.service(), &[8001, 8002, 8003, 8004]).await;
    for (tag, expected) in [("blue", &[8001, 8002][..]), ("green", &[8002]), ("red", &[])] {
        let tag = Some(tag.into());
        let question = Query {
            tag,
            ..query(&names.service())
        };
        let listing = catalogue.instances(&question).await.expect("a listing");
        assert_eq!(ports(&listing), expected, "{:?}", question.tag);
    }
}

async fn of_several_tags_all_are_needed(catalogue: &dyn Catalogue, names: &Names) {
    let tags: [&[&str]; 3] = [&["blue", "green"], &["green", "red", "blue"], &["green"]];
    for (number, tags) in (1..).zip(tags) {
        let mut instance = names.numbered(number);
        instance.tags = tags.iter().map(|tag| String::from(*tag)).collect();
        register(catalogue, &instance).await;
    }
    has(catalogue, &names.service(), &[8001, 8002, 8003]).await;
    for (tag, tags, expected) in [
        (None, &["blue", "green"][..], &[8001, 8002][..]),
        (Some("red"), &["green"], &[8002]),
        (None, &["red", "yellow"], &[]),
        (None, &["green"], &[8001, 8002, 8003]),
    ] {
        let question = Query {
            tag: tag.map(String::from),
            filter: Filter {
                tags: tags.iter().map(|tag| String::from(*tag)).collect(),
                ..Filter::default()
            },
            ..query(&names.service())
        };
        let listing = catalogue.instances(&question).await.expect("a listing");
        assert_eq!(ports(&listing), expected, "{tag:?} {tags:?}");
    }
}

async fn pairs_tags_and_host_names_are_given_back(catalogue: &dyn Catalogue, names: &Names) {
    let mut instance = names.instance();
    instance.address = "db.example".into();
    instance.tags = vec!["blue".into()];
    let pairs = [("version", "2"), ("zone", "a \"b\" {c}"), ("empty", "")];
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    instance.attributes.meta = pairs.into();
    register(catalogue, &instance).await;
    has(catalogue, &names.service(), &[8001]).await;
    let question = Query {
        details: true,
        ..query(&names.service())
    };
    let listing = catalogue.instances(&question).await.expect("a listing");
    let details = listing.instances[0].details.as_deref().expect("details");
    assert_eq!(listing.instances[0].address, "db.example");
    assert_eq!(
        (&details.tags, &details.meta),
        (&instance.tags, &instance.attributes.meta)
    );
    assert!(is_renewed(catalogue, &instance).await, "it is its own entry");
    let found = holder(catalogue, &instance).await;
    assert_eq!(found, Some(("db.example".into(), 8001)));
}

async fn a_waiting_request_with_a_tag_is_answered_when_one_with_the_tag_comes(
    catalogue: &dyn Catalogue,
    names: &Names,
) {
    let question = Query {
        tag: Some("blue".into()),
        ..query(&names.service())
    };
    let before = catalogue.instances(&question).await.expect("a listing");
    let wait = PROMPTLY * 5;
    let question = Query {
        after: before.cursor,
        wait,
        ..question
    };
    let mut instance = names.instance();
    instance.tags = vec!["blue".into()];
    register(catalogue, &instance).await;
    let answer = timeout(PROMPTLY, catalogue.instances(&question)).await;
    assert_eq!(ports(&answer.expect("in time").expect("a listing")), [8001]);
}

async fn services_with_a_common_prefix_are_kept_apart(catalogue: &dyn Catalogue, names: &Names) {
    let (app, app2) = (names.service(), names.service() + "2");
    register(catalogue, &long_lived_registration(&app, "same-id-app", 1)).await;
    register(catalogue, &long_lived_registration(&app2, "same-id-app2", 2)).await;
    has(catalogue, &app, &[1]).await;
    has(catalogue, &app2, &[2]).await;
    deregister(catalogue, &long_lived_registration(&app, "same-id-app", 1)).await;
    has(catalogue, &app, &[]).await;
    has(catalogue, &app2, &[2]).await;
}

/// Names with a special meaning in a part of the path to the catalogue.
fn odd_names(differences: Differences) -> Vec<String> {
    let odd = [
        "", ".", "..", "/", "a/b", "a%2Fb", "a%2fb", "../a", ".hidden", "a.", "a.json", "a b", "a?b=c",
        "a#b", "a\0b", "a\nb", "a\"b", "a\\b", "é", "e\u{301}", "日本", "%", "%00", "~", "A", "a",
    ];
    let long = ["x".repeat(300), "x".repeat(301), "é".repeat(300)];
    let all = odd.into_iter().map(String::from).chain(long);
    all.filter(|name| (differences.distinguishes)(name)).collect()
}

async fn odd_service_names_work_or_are_refused_but_never_hit_another(
    catalogue: &dyn Catalogue,
    names: &Names,
) {
    let mut taken = Vec::new();
    for (port, name) in (1..).zip(odd_names(names.differences)) {
        let instance = long_lived_registration(&name, &format!("odd-service-{port}"), port);
        if catalogue.register(&instance).await.is_ok() {
            taken.push(instance);
        }
    }
    for instance in &taken {
        let listing = has(catalogue, &instance.name, &[instance.port]).await;
        assert_eq!(listing.instances[0].id, instance.id);
    }
    while let Some(instance) = taken.pop() {
        deregister(catalogue, &instance).await;
        has(catalogue, &instance.name, &[]).await;
        for other in &taken {
            assert!(
                is_renewed(catalogue, other).await,
                "{:?} by {:?}",
                other.name,
                instance.name
            );
        }
    }
}

async fn odd_ids_work_or_are_refused_but_never_hit_another(catalogue: &dyn Catalogue, names: &Names) {
    let mut taken = Vec::new();
    for (port, id) in (1..).zip(odd_names(names.differences)) {
        let instance = long_lived_registration(&names.service(), &id, port);
        if catalogue.register(&instance).await.is_ok() {
            taken.push(instance);
        }
    }
    let expected: Vec<u16> = taken.iter().map(|instance| instance.port).collect();
    let listing = has(catalogue, &names.service(), &expected).await;
    for instance in &taken {
        let same = |found: &&Instance| found.port == instance.port;
        assert_eq!(
            listing.instances.iter().find(same).map(|found| &found.id),
            Some(&instance.id)
        );
    }
    while let Some(instance) = taken.pop() {
        deregister(catalogue, &instance).await;
        let left: Vec<u16> = taken.iter().map(|instance| instance.port).collect();
        has(catalogue, &names.service(), &left).await;
    }
}

async fn a_waiting_request_is_answered_on_arrival(catalogue: &dyn Catalogue, names: &Names) {
    let service = names.service();
    let before = list(catalogue, &service).await;
    let arrival = async {
        another_service_changes(catalogue, names, 7001).await;
        register(catalogue, &names.instance()).await;
    };
    first_answer_is(catalogue, names, &before, &[8001], arrival).await;
}

async fn a_waiting_request_is_answered_on_departure(catalogue: &dyn Catalogue, names: &Names) {
    let service = names.service();
    register(catalogue, &names.numbered(1)).await;
    register(catalogue, &names.numbered(2)).await;
    let before = has(catalogue, &service, &[8001, 8002]).await;
    let departure = async {
        another_service_changes(catalogue, names, 7001).await;
        deregister(catalogue, &names.numbered(1)).await;
    };
    first_answer_is(catalogue, names, &before, &[8002], departure).await;
}

async fn a_waiting_request_is_answered_on_expiry(catalogue: &dyn Catalogue, names: &Names) {
    let mut instance = names.instance();
    instance.ttl = names.kept_ttl();
    register(catalogue, &instance).await;
    let mut after = has(catalogue, &names.service(), &[8001]).await.cursor;
    let limit = instance.ttl + names.differences.expiry_slack + BUSY;
    within(limit, "a waiting request is answered at the expiry", async || {
        let question = Query {
            after,
            wait: limit * 5,
            ..query(&names.service())
        };
        let listing = catalogue
            .instances(&question)
            .await
            .expect("an answer to a waiting question");
        after = listing.cursor;
        listing.instances.is_empty().then_some(())
    })
    .await;
}

async fn a_waiting_request_is_answered_when_its_time_is_up(catalogue: &dyn Catalogue, names: &Names) {
    register(catalogue, &names.instance()).await;
    let before = has(catalogue, &names.service(), &[8001]).await;
    let wait = Duration::from_millis(300);
    let question = Query {
        after: before.cursor,
        wait,
        ..query(&names.service())
    };
    let begin = Instant::now();
    let answer = timeout(wait + PROMPTLY, catalogue.instances(&question)).await;
    assert_eq!(
        answer.expect("in time").expect("a listing").instances,
        before.instances
    );
    assert!(
        names.differences.answers_early || begin.elapsed() >= wait,
        "and not before"
    );
}

async fn a_change_before_the_request_is_answered_at_once(catalogue: &dyn Catalogue, names: &Names) {
    let service = names.service();
    let nobody = list(catalogue, &service).await;
    register(catalogue, &names.numbered(1)).await;
    waits_until_listed(catalogue, &service, nobody.cursor, &[8001]).await;
    let one = has(catalogue, &service, &[8001]).await;
    register(catalogue, &names.numbered(2)).await;
    waits_until_listed(catalogue, &service, one.cursor, &[8001, 8002]).await;
    let two = has(catalogue, &service, &[8001, 8002]).await;
    deregister(catalogue, &names.numbered(1)).await;
    waits_until_listed(catalogue, &service, two.cursor, &[8002]).await;
}

async fn another_address_under_the_same_id_is_reported(catalogue: &dyn Catalogue, names: &Names) {
    let mut instance = names.instance();
    register(catalogue, &instance).await;
    let before = has(catalogue, &names.service(), &[8001]).await;
    instance.port = 9000;
    register(catalogue, &instance).await;
    waits_until_listed(catalogue, &names.service(), before.cursor, &[9000]).await;
}

async fn holder(catalogue: &dyn Catalogue, registration: &Registration) -> Option<(String, u16)> {
    let holder = catalogue.holder(registration).await.expect("who holds the ID");
    holder.map(|Endpoint { address, port }| (address, port))
}

async fn the_holder_of_an_id_is_reported(catalogue: &dyn Catalogue, names: &Names) {
    let ours = names.instance();
    assert_eq!(holder(catalogue, &ours).await, None);
    register(catalogue, &names.numbered(2)).await;
    assert_eq!(holder(catalogue, &ours).await, None, "another ID is nobody");
    register(catalogue, &ours).await;
    assert_eq!(holder(catalogue, &ours).await, Some(("192.0.2.1".into(), 8001)));
    let mut theirs = ours.clone();
    theirs.address = "2001:db8::7".into();
    theirs.port = 9000;
    register(catalogue, &theirs).await;
    assert_eq!(holder(catalogue, &ours).await, Some(("2001:db8::7".into(), 9000)));
    deregister(catalogue, &theirs).await;
    assert_eq!(holder(catalogue, &ours).await, None);
}

/// In catalogues that keep expired entries, only the ID counts: the entry of the other instance takes the
/// heartbeat.
async fn a_heartbeat_does_not_overwrite_the_entry_of_another_instance(
    catalogue: &dyn Catalogue,
    names: &Names,
) {
    let ours = names.instance();
    register(catalogue, &ours).await;
    let mut theirs = ours.clone();
    theirs.port = 9000;
    register(catalogue, &theirs).await;
    let theirs = Some(("192.0.2.1".into(), 9000));
    match catalogue.renew(&ours).await.expect("an answer to a heartbeat") {
        Renewal::Renewed => assert!(!names.differences.forgets_the_expired),
        Renewal::Removed => panic!("a heartbeat removes nothing"),
        Renewal::Unknown(_, holder) => {
            let holder = holder.map(|Endpoint { address, port }| (address, port));
            assert_eq!(holder, theirs, "the heartbeat finds who else is there");
        }
    }
    assert_eq!(holder(catalogue, &ours).await, theirs);
    has(catalogue, &names.service(), &[9000]).await;
}

async fn heartbeats_alone_are_no_change(catalogue: &dyn Catalogue, names: &Names) {
    register(catalogue, &names.instance()).await;
    let before = has(catalogue, &names.service(), &[8001]).await;
    let heartbeats_and_an_arrival = async {
        for port in 7001..=7010 {
            assert!(is_renewed(catalogue, &names.instance()).await);
            another_service_changes(catalogue, names, port).await;
        }
        register(catalogue, &names.numbered(2)).await;
    };
    first_answer_is(
        catalogue,
        names,
        &before,
        &[8001, 8002],
        heartbeats_and_an_arrival,
    )
    .await;
}

/// A catalogue that removes the entries of unhealthy instances needs a registration afterwards.
async fn an_unhealthy_instance_is_not_listed_until_it_is_healthy(catalogue: &dyn Catalogue, names: &Names) {
    let instance = names.instance();
    register(catalogue, &instance).await;
    has(catalogue, &names.service(), &[8001]).await;
    assert_eq!(report(catalogue, &instance, true).await, Renewal::Renewed);
    assert_eq!(ports(&list(catalogue, &names.service()).await), [8001]);
    let removes = names.differences.forgets_the_expired;
    for _ in 0..2 {
        let reported = report(catalogue, &instance, false).await;
        assert_eq!(reported == Renewal::Removed, removes, "{reported:?}");
        has(catalogue, &names.service(), &[]).await;
    }
    match report(catalogue, &instance, true).await {
        Renewal::Renewed => assert!(!removes),
        Renewal::Removed => panic!("it is healthy"),
        Renewal::Unknown(..) => {
            assert!(removes);
            register(catalogue, &instance).await;
        }
    }
    has(catalogue, &names.service(), &[8001]).await;
}

async fn a_report_of_the_never_registered_creates_no_entry(catalogue: &dyn Catalogue, names: &Names) {
    for healthy in [false, true] {
        let reported = report(catalogue, &names.instance(), healthy).await;
        assert_ne!(reported, Renewal::Renewed, "healthy: {healthy}");
        assert_eq!(holder(catalogue, &names.instance()).await, None);
    }
    assert_eq!(ports(&list(catalogue, &names.service()).await), [0; 0]);
}

async fn a_waiting_request_is_answered_when_an_instance_is_unhealthy(
    catalogue: &dyn Catalogue,
    names: &Names,
) {
    register(catalogue, &names.instance()).await;
    register(catalogue, &names.numbered(2)).await;
    let before = has(catalogue, &names.service(), &[8001, 8002]).await;
    let fails = async {
        another_service_changes(catalogue, names, 7001).await;
        report(catalogue, &names.instance(), false).await;
    };
    first_answer_is(catalogue, names, &before, &[8002], fails).await;
}

async fn fifty_instances_are_all_listed(catalogue: &dyn Catalogue, names: &Names) {
    for number in 1..=50 {
        register(catalogue, &names.numbered(number)).await;
    }
    let expected: Vec<u16> = (8001..=8050).collect();
    has(catalogue, &names.service(), &expected).await;
}

async fn many_services_live_side_by_side(catalogue: &dyn Catalogue, names: &Names) {
    let service = |number: u16| format!("{}-{number}", names.service());
    let instance =
        |number: u16| long_lived_registration(&service(number), &format!("{}-host", service(number)), number);
    for number in 1..=30 {
        register(catalogue, &instance(number)).await;
    }
    for number in (1..=30).step_by(2) {
        deregister(catalogue, &instance(number)).await;
    }
    for number in 1..=30 {
        let left: &[u16] = if number % 2 == 0 { &[number] } else { &[] };
        has(catalogue, &service(number), left).await;
    }
}

async fn two_requests_may_wait_at_the_same_time(catalogue: &dyn Catalogue, names: &Names) {
    let before = list(catalogue, &names.service()).await;
    let arrival = async {
        another_service_changes(catalogue, names, 7001).await;
        register(catalogue, &names.instance()).await;
    };
    both(
        first_answer_is(catalogue, names, &before, &[8001], async {}),
        first_answer_is(catalogue, names, &before, &[8001], arrival),
    )
    .await;
}

/// Runs every test of this file against one catalogue.
macro_rules! catalogue_tests {
    ($name:ident, $open:expr) => {
        catalogue_tests! { $name, $open;
            registering_makes_it_listed
            templates_look_up_instances_with_their_tags
            templates_look_up_all_services_with_their_tags
            a_service_without_a_healthy_instance_is_among_all_where_entries_are_kept
            a_key_is_looked_up_and_changes_are_noticed
            the_keys_of_one_level_are_looked_up
            values_that_are_no_text_or_too_large_are_refused
            ipv6_addresses_are_kept
            a_second_registration_overwrites_the_first
            heartbeats_keep_it_beyond_the_ttl
            without_heartbeats_it_is_gone_after_the_ttl
            a_heartbeat_of_the_never_registered_is_unknown_and_stays_so
            a_heartbeat_of_the_deregistered_is_unknown_and_stays_so
            a_heartbeat_of_the_expired_is_unknown_and_stays_so
            deregistering_removes_it_and_a_second_time_does_nothing
            deregistering_the_never_registered_does_nothing
            an_unknown_service_has_no_instances
            a_tag_filters
            of_several_tags_all_are_needed
            pairs_tags_and_host_names_are_given_back
            a_waiting_request_with_a_tag_is_answered_when_one_with_the_tag_comes
            services_with_a_common_prefix_are_kept_apart
            odd_service_names_work_or_are_refused_but_never_hit_another
            odd_ids_work_or_are_refused_but_never_hit_another
            a_waiting_request_is_answered_on_arrival
            a_waiting_request_is_answered_on_departure
            a_waiting_request_is_answered_on_expiry
            a_waiting_request_is_answered_when_its_time_is_up
            a_change_before_the_request_is_answered_at_once
            another_address_under_the_same_id_is_reported
            the_holder_of_an_id_is_reported
            a_heartbeat_does_not_overwrite_the_entry_of_another_instance
            heartbeats_alone_are_no_change
            an_unhealthy_instance_is_not_listed_until_it_is_healthy
            a_report_of_the_never_registered_creates_no_entry
            a_waiting_request_is_answered_when_an_instance_is_unhealthy
            fifty_instances_are_all_listed
            many_services_live_side_by_side
            two_requests_may_wait_at_the_same_time
        }
    };
    ($name:ident, $open:expr; $($fact:ident)+) => {
        mod $name {
            #[test]
            fn its_differences_are_documented() {
                super::run(async {
                    let under_test: super::CatalogueUnderTest = $open.await;
                    super::are_documented(stringify!($name), under_test.differences);
                });
            }

            $(
                #[test]
                fn $fact() {
                    super::run(async {
                        let under_test: super::CatalogueUnderTest = $open.await;
                        let names = super::Names {
                            fact: stringify!($fact),
                            differences: under_test.differences,
                            set_key: under_test.set_key,
                        };
                        super::$fact(&*under_test.catalogue, &names).await;
                    });
                }
            )+
        }
    };
}

/// docs/development/catalogues.md states the differences that the tests use.
fn are_documented(name: &str, differences: Differences) {
    let document = include_str!("../docs/development/catalogues.md");
    let either = |holds, yes, no| if holds { yes } else { no };
    let row = format!(
        "| `{name}` | {} ms | {} ms | {} | {} | {} |",
        differences.shortest_ttl.as_millis(),
        differences.expiry_slack.as_millis(),
        either(
            differences.forgets_the_expired,
            "is registered again",
            "passes again"
        ),
        either(differences.answers_early, "may be", "is not"),
        either(
            (differences.distinguishes)("A/B"),
            "all",
            "lower case, and no part of a path"
        ),
    );
    assert!(
        document.contains(&row),
        "docs/development/catalogues.md needs the row {row}"
    );
}

/// A folder of its own for each test.
async fn directory_in_a_new_folder() -> CatalogueUnderTest {
    let home = tempfile::tempdir().expect("a folder");
    CatalogueUnderTest {
        catalogue: Box::new(Directory::new(home.path().join("not").join("there-yet"))),
        _home: Box::new(home),
        set_key: None,
        differences: Differences {
            shortest_ttl: Duration::from_millis(400),
            expiry_slack: Duration::from_millis(500),
            forgets_the_expired: true,
            answers_early: false,
            keeps_bytes: true,
            distinguishes: ALL,
        },
    }
}

catalogue_tests!(directory, super::directory_in_a_new_folder());

/// The catalogue of the simulation, in both of its variants.
async fn simulated(forgets_the_expired: bool) -> CatalogueUnderTest {
    let simulated = Simulated::new(forgets_the_expired);
    let keys = simulated.clone();
    CatalogueUnderTest {
        catalogue: Box::new(simulated),
        _home: Box::new(()),
        set_key: Some(Box::new(move |key, value| {
            let text = |value| std::str::from_utf8(value).expect("text");
            keys.set_key(key, value.map(text));
        })),
        differences: Differences {
            shortest_ttl: Duration::from_millis(400),
            expiry_slack: Duration::from_millis(500),
            forgets_the_expired,
            answers_early: false,
            keeps_bytes: false,
            distinguishes: ALL,
        },
    }
}

catalogue_tests!(simulated_forgetting, super::simulated(true));
catalogue_tests!(simulated_keeping, super::simulated(false));

/// A server that runs as long as a test uses it.
struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    fn get(&self, start: impl FnOnce() -> T) -> Arc<T> {
        // The test that fails to start the server reports it; other tests try again.
        let mut server = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        server.upgrade().unwrap_or_else(|| {
            let started = Arc::new(start());
            *server = Arc::downgrade(&started);
            started
        })
    }
}

/// A server that all tests share, with a key prefix for each test.
async fn etcd(version: &'static str, server: &Shared<Server>) -> CatalogueUnderTest {
    static PREFIXES: AtomicU32 = AtomicU32::new(0);
    let server = server.get(|| Server::start(version));
    let settings = plan::Etcd {
        endpoints: vec![server.url()],
        prefix: format!("/contract/{}", PREFIXES.fetch_add(1, Ordering::Relaxed)),
        login: None,
        tls: Tls::default(),
    };
    CatalogueUnderTest {
        catalogue: Box::new(Etcd::new(&settings).expect("settings of etcd")),
        set_key: Some({
            let server = Arc::clone(&server);
            Box::new(move |key, value| server.set_key(key, value))
        }),
        _home: Box::new(server),
        differences: Differences {
            // etcd raises shorter leases to two seconds.
            shortest_ttl: Duration::from_secs(2),
            // etcd checks for expired leases twice a second, and revokes them through its log.
            expiry_slack: Duration::from_secs(3),
            forgets_the_expired: true,
            answers_early: false,
            keeps_bytes: true,
            distinguishes: ALL,
        },
    }
}

static ETCD_3_4: Shared<Server> = Shared::new();
static ETCD_3_5: Shared<Server> = Shared::new();

catalogue_tests!(etcd_3_4, super::etcd("3.4", &super::ETCD_3_4));
catalogue_tests!(etcd_3_5, super::etcd("3.5", &super::ETCD_3_5));

/// An agent that all tests share. Each test has a service name of its own.
async fn consul_1_8() -> CatalogueUnderTest {
    static AGENT: Shared<Agent> = Shared::new();
    let agent = AGENT.get(Agent::start);
    let settings = plan::Consul {
        address: agent.address(),
        scheme: Scheme::Http,
        token: None,
        token_file: None,
        tls: Tls::default(),
    };
    CatalogueUnderTest {
        catalogue: Box::new(Consul::new(&settings).expect("settings of Consul")),
        set_key: Some({
            let agent = Arc::clone(&agent);
            Box::new(move |key, value| agent.set_key(key, value))
        }),
        _home: Box::new(agent),
        differences: Differences {
            // The adapter sends whole seconds to Consul.
            shortest_ttl: Duration::from_secs(1),
            expiry_slack: Duration::from_secs(2),
            // An expired check is critical, and the next heartbeat makes it pass again.
            forgets_the_expired: false,
            // Consul's index also grows when other services change.
            answers_early: true,
            keeps_bytes: true,
            // Consul ignores case, and its URLs cannot express some names, such as `.` or `/`.
            distinguishes: |name| {
                let is_path = ["", ".", ".."].contains(&name) || name.contains(['/', '\0', '\n']);
                !is_path && name == name.to_lowercase()
            },
        },
    }
}

catalogue_tests!(consul_1_8, super::consul_1_8());
