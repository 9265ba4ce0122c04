//! The integration tests of ContainerPilot 2, one function each, in the order of the original. BusyBox's file
//! server replaces Node's, and a script with the same file server replaces nginx with consul-template or
//! confd.

use crate::http;
use crate::machine::Machine;
use crate::network::Network;
use crate::shim::{CONFIG, PROGRAM, SERVER, Shim};
use crate::store::{Consul, Etcd, Store, etcd_image};
use crate::waiting::{SOON, until};
use std::fs;
use std::time::{Duration, Instant};
use testcontainers::{CopyTargetOptions, ImageExt};

/// The service of most tests: a file server that is healthy if it serves a file.
const APP: &str = r#""services": [{"name": "app", "port": 8000, "poll": 1, "ttl": 5, "tags": ["application"],
    "health": "wget -q -O /dev/null http://localhost:8000/"}]"#;

/// Queries Consul for the first instance of `app`.
const ASK_CONSUL: &str = r#"entry=$(wget -q -O - http://@/v1/catalog/service/app)
address=$(echo "$entry" | sed -n 's/.*"ServiceAddress": *"\([^"]*\)".*/\1/p')
port=$(echo "$entry" | sed -n 's/.*"ServicePort": *\([0-9]*\).*/\1/p')
"#;

/// Queries etcd for it, through its JSON gateway.
const ASK_ETCD: &str = r#"key=$(printf /containerpilot/app/ | base64) end=$(printf /containerpilot/app0 | base64)
value=$(wget -q -O - --post-data "{\"key\":\"$key\",\"range_end\":\"$end\"}" http://@/v3/kv/range |
    sed -n 's/.*"value":"\([^"]*\)".*/\1/p' | base64 -d)
address=$(echo "$value" | sed -n 's/.*"address":"\([^"]*\)".*/\1/p')
port=$(echo "$value" | sed -n 's/.*"port":\([0-9]*\).*/\1/p')
"#;

/// Stores the address of the instance.
const REMEMBER: &str = r#"[ -z "$address" ] || echo "$address:$port" > /upstream"#;

/// Passes a request on to the instance, as nginx did.
const PROXY: &str = r#"#!/bin/sh
page=$(wget -q -O - "http://$(cat /upstream)/") || { printf 'Status: 502 Bad Gateway\r\n\r\n'; exit; }
printf 'Content-Type: text/html\r\n\r\n%s' "$page"
"#;

/// The file server in front of `app`.
const FRONT: [&str; 6] = ["httpd", "-f", "-p", "80", "-h", "/srv"];

/// The file server with a page.
fn app(config: &str) -> Shim {
    Shim::new(config).file("/srv/index.html", "the page of app")
}

/// A network with Consul, and a configuration that consists of Consul's section and `rest`.
fn with_consul(rest: &str) -> (Network, Consul, String) {
    let network = Network::new();
    let consul = Consul::start(&network);
    let config = format!("{{{}, {rest}}}", Consul::section(&[&consul]));
    (network, consul, config)
}

/// A network with Consul and `app`, which is listed.
fn consul_and_app() -> (Network, Consul, Machine) {
    let (network, consul, config) = with_consul(&format!(r#""logging": {{"level": "DEBUG"}}, {APP}"#));
    let machine = app(&config).start(&network, "one", &SERVER);
    consul.until_listed("app", &["app-one"]);
    (network, consul, machine)
}

/// A network with Consul and `app`, whose `preStart` is a script.
fn with_pre_start(script: &str, services: &str) -> (Network, Consul, Machine) {
    let (network, consul, config) = with_consul(&format!(r#""preStart": "sh /pre-start.sh", {services}"#));
    let app = app(&config).file("/pre-start.sh", script);
    let machine = app.start(&network, "one", &SERVER);
    (network, consul, machine)
}

#[test]
fn version_flag_prints_the_version() {
    let network = Network::new();
    let machine = Shim::without_configuration().start(&network, "one", &["-version"]);
    assert_eq!(machine.code(), 0);
    let log = machine.log();
    assert!(
        log.contains(concat!("Version: ", env!("CARGO_PKG_VERSION"))),
        "{log}"
    );
}

#[test]
fn discovery_consul_finds_app_and_its_front_server_reaches_it() {
    let (network, consul, _app) = consul_and_app();
    let ask = ASK_CONSUL.replace('@', &consul.address());
    let hook = r#""preStart": "sh /remember.sh","#;
    reaches_app_from_the_front(&network, &consul, &ask, hook);
}

#[test]
fn discovery_etcd_finds_app_through_a_first_on_change_and_its_front_server_reaches_it() {
    let network = Network::new();
    let etcd = Etcd::start(&network);
    let section = section_of_the_original(&etcd.url());
    let _app = app(&format!("{{{section}, {APP}}}")).start(&network, "one", &SERVER);
    etcd.until_listed("app", &["app-one"]);
    let ask = ASK_ETCD.replace('@', etcd.url().trim_start_matches("http://"));
    reaches_app_from_the_front(&network, &etcd, &ask, "");
}

/// The original's etcd section names its endpoint as a string.
fn section_of_the_original(url: &str) -> String {
    format!(r#""etcd": {{"endpoints": "{url}", "prefix": "/containerpilot"}}"#)
}

fn reaches_app_from_the_front<S: Store>(network: &Network, store: &S, ask: &str, hook: &str) {
    let section = S::section(&[store]);
    let config = format!(
        r#"{{{section}, {hook}
            "services": [{{"name": "front", "port": 80, "interfaces": ["eth0"], "poll": 1, "ttl": 5,
                          "health": "wget -q -O /dev/null http://localhost/health.txt"}}],
            "backends": [{{"name": "app", "poll": 1, "onChange": "sh /remember.sh"}}]}}"#
    );
    let front = Shim::new(&config)
        .file("/remember.sh", format!("{ask}{REMEMBER}"))
        .file("/srv/health.txt", "ok")
        .file("/srv/cgi-bin/app", PROXY)
        .start(network, "front", &FRONT);
    store.until_listed("front", &["front-front"]);
    store.until_listed("app", &["app-one"]);
    let ask = || http::ask(&format!("{}:80", front.address()), "GET /cgi-bin/app", "", "");
    let is_the_page = |answer: http::Answer| (answer.status, &*answer.body) == (200, "the page of app");
    let failed = || format!("the front shows the page of app\n{}", front.log());
    until(SOON, failed, || ask().is_some_and(is_the_page));
}

#[test]
fn sigterm_takes_app_out() {
    let (_network, consul, app) = consul_and_app();
    app.signal("SIGTERM");
    assert_eq!(app.code(), 143);
    assert_eq!(
        consul.listed("app"),
        Some(Vec::new()),
        "it did not wait for the TTL"
    );
}

#[test]
fn sighup_deadlock_does_not_happen_in_three_hundred_reloads() {
    let (_network, consul, app) = consul_and_app();
    for number in 0..300 {
        app.signal("SIGHUP");
        std::thread::sleep(Duration::from_millis(number * 7 % 30));
    }
    consul.stays_listed("app", &["app-one"], Duration::from_secs(6));
}

#[test]
fn reap_zombies_leaves_one_of_its_own_and_two_in_all_at_most() {
    let (network, consul, config) = with_consul(
        r#""services": [{"name": "zombies", "port": 1, "poll": 1, "ttl": 5,
                         "health": ["sh", "-c", "sleep 1 & exec sleep 2"]}]"#,
    );
    let machine = Shim::new(&config).start(&network, "one", &["tail", "-f", "/dev/null"]);
    consul.until_listed("zombies", &["zombies-one"]);
    // How many zombies are children of process 1, and how many there are in all; one that exists for a moment
    // only does not count.
    let zombies = || {
        let [first, second] = [(); 2].map(|()| count_zombies(&machine));
        (first.0.min(second.0), first.1.min(second.1))
    };
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(6) {
        let (own, all) = zombies();
        assert!(own <= 1 && all <= 2, "{own} of process 1, {all} in all");
    }
}

/// How many zombies are children of process 1, and how many there are in all.
fn count_zombies(machine: &Machine) -> (usize, usize) {
    let stats = machine.exec(&["sh", "-c", "cat /proc/[0-9]*/stat"]).1;
    let zombies = stats
        .lines()
        .filter_map(|line| line.rsplit_once(") Z "))
        .map(|(_, rest)| rest);
    let parents: Vec<&str> = zombies.filter_map(|rest| rest.split(' ').next()).collect();
    let own = parents.iter().filter(|parent| **parent == "1").count();
    (own, parents.len())
}

#[test]
fn telemetry_shows_a_sensor_and_is_registered_until_docker_stop() {
    let sensor = r#"{"namespace": "containerpilot", "subsystem": "app", "name": "some_counter", "help": "h",
        "type": "counter", "poll": 1, "check": "echo 42"}"#;
    let (network, consul, config) = with_consul(&format!(
        r#""telemetry": {{"port": 9090, "sensors": [{sensor}]}}, {APP}"#
    ));
    let machine = app(&config).start(&network, "one", &SERVER);
    let address = format!("{}:9090", machine.address());
    let page = || http::get(&address, "/metrics").map_or(String::new(), |answer| answer.body);
    let shown = || page().contains("\ncontainerpilot_app_some_counter 42\n");
    until(SOON, || format!("the sensor's value is in {}", page()), shown);
    consul.until_listed("containerpilot", &["containerpilot-one"]);
    machine.stop();
    consul.until_listed("containerpilot", &[]);
}

#[test]
fn tasks_run_at_their_frequency_and_are_killed_at_their_timeout() {
    let (network, _consul, config) = with_consul(
        r#""tasks": [
            {"name": "task1", "command": ["sh", "/task.sh", "task1", "0.2"], "frequency": "500ms"},
            {"name": "task2", "command": ["sh", "/task.sh", "task2", "2"], "frequency": "1500ms"},
            {"name": "task3", "command": ["sh", "/task.sh", "task3", "2"], "frequency": "1500ms", "timeout": "100ms"}]"#,
    );
    let task = r#"trap "echo INTERRUPTED >> /$1; exit" INT TERM QUIT
        cut -d ' ' -f 1 /proc/uptime >> /$1; echo "$1 has begun"; sleep $2 & wait"#;
    let begin = "cut -d ' ' -f 1 /proc/uptime > /begin; exec tail -f /dev/null";
    let shim = Shim::new(&config).file("/task.sh", task);
    let machine = shim.start(&network, "one", &["sh", "-c", begin]);
    machine.until_logged_times("task1 has begun", 9);
    let times = |name: &str| {
        let file = machine.run(&["cat", name]);
        file.lines()
            .map(|line| line.parse::<f64>().expect("a time"))
            .collect::<Vec<_>>()
    };
    let end = times("/begin")[0] + 3.5;
    let runs = |name| times(name).into_iter().filter(|time| *time <= end).count();
    let runs = [runs("/task1"), runs("/task2"), runs("/task3")];
    let asked = [5..=8, 2..=3, 2..=3];
    assert!(
        asked.iter().zip(runs).all(|(asked, runs)| asked.contains(&runs)),
        "{runs:?}"
    );
    assert_eq!(machine.times_logged("task[task1] timeout"), 0);
    assert_ne!(machine.times_logged("task[task2] timeout after 1.5s"), 0);
    let begun = machine.times_logged("task3 has begun");
    machine.until_logged_times("task[task3] timeout after 100ms", begun);
}

#[test]
fn sighup_prestart_takes_the_configuration_that_pre_start_has_mended() {
    let script = format!("sed -i s/8888/8000/ {CONFIG}; kill -HUP 1");
    let wrong = APP.replace("localhost:8000", "localhost:8888");
    let (_network, consul, _app) = with_pre_start(&script, &wrong);
    consul.until_listed("app", &["app-one"]);
}

#[test]
fn envvars_name_the_address_of_a_service_in_the_applications_arguments() {
    let network = Network::new();
    let service = r#"{"name": "etcd", "port": 4001, "poll": 1, "ttl": 25,
        "health": "etcdctl --endpoints http://localhost:2379 endpoint health"}"#;
    let section = section_of_the_original("http://127.0.0.1:4001");
    let config = format!(r#"{{{section}, "services": [{service}]}}"#);
    let program = fs::read(PROGRAM).expect("scripts/images has made the program");
    let address = "http://{{ .CONTAINERPILOT_ETCD_IP }}";
    let request = etcd_image()
        .with_entrypoint("/containerpilot")
        .with_copy_to(
            CopyTargetOptions::new("/containerpilot").with_mode(0o755),
            program,
        )
        .with_cmd([
            "-config".into(),
            config,
            "etcd".into(),
            "--data-dir=/tmp/etcd".into(),
            format!("--listen-client-urls={address}:2379,http://127.0.0.1:2379,http://127.0.0.1:4001"),
            format!("--advertise-client-urls={address}:2379,{address}:4001"),
        ]);
    let machine = Machine::start(&network, "etcd", request);
    let health = || http::ask(&format!("{}:2379", machine.address()), "GET /health", "", "");
    let failed = || format!("etcd is healthy\n{}", machine.log());
    until(SOON, failed, || {
        health().is_some_and(|answer| answer.status == 200)
    });
    machine.until_logged("Service registered: etcd");
    assert_eq!(machine.stop().0, 143, "etcd ends by the signal that stops it");
}

#[test]
fn coprocess_is_started_again_as_often_as_configured_and_anew_after_a_reload() {
    let coprocess = r#"{"name": "coprocess", "command": ["sh", "/coprocess.sh", "arg1"], "restarts": 1}"#;
    let (network, _consul, config) = with_consul(&format!(
        r#""coprocesses": [{coprocess}], "tasks": [{{"command": ["echo", "a second"], "frequency": "1s"}}], {APP}"#
    ));
    let script = r#"echo $$ > /pid; echo "began with $1"; while :; do echo line; sleep 1; done"#;
    let app = app(&config).file("/coprocess.sh", script);
    let app = app.start(&network, "one", &SERVER);
    let kill = || app.run(&["sh", "-c", "kill -9 $(cat /pid)"]);
    let until_begun = |sentence: &str, times| {
        let asked = Instant::now();
        app.until_logged_times(sentence, times);
        asked.elapsed()
    };
    until_begun("began with arg1", 1);
    kill();
    let first = until_begun("began with arg1", 2);
    kill();
    app.until_logged_times("coprocess[coprocess] exited", 2);
    app.until_logged_times("a second", app.times_logged("a second") + 2);
    assert_eq!(
        app.times_logged("began with arg1"),
        2,
        "it has had its one restart"
    );
    app.run(&["sed", "-i", "s/arg1/arg2/", CONFIG]);
    app.signal("SIGHUP");
    let reloaded = until_begun("began with arg2", 1);
    kill();
    let last = until_begun("began with arg2", 2);
    for duration in [first, reloaded, last] {
        assert!(duration < Duration::from_secs(1), "{duration:?}");
    }
}

#[test]
fn without_a_command_the_shim_neither_ends_nor_panics() {
    let network = Network::new();
    let config = format!(r#"{{"consul": "nowhere:8500", "logging": {{"level": "DEBUG"}}, {APP}}}"#)
        .replace("wget -q -O /dev/null http://localhost:8000/", "true");
    let machine = Shim::new(&config).start(&network, "one", &[]);
    machine.until_logged("Service registration failed");
    assert_eq!(machine.stop().0, 0);
    let log = machine.log();
    assert!(!log.contains("panic"), "{log}");
}

#[test]
fn logging_at_level_debug_shows_the_configuration() {
    let (_network, _consul, app) = consul_and_app();
    app.until_logged("Loaded config:");
}

#[test]
fn sigusr1_prestart_begins_a_maintenance_that_one_more_ends() {
    let (_network, consul, app) = with_pre_start("kill -USR1 1", APP);
    app.until_logged("Entering maintenance");
    consul.stays_listed("app", &[], Duration::from_secs(3));
    app.signal("SIGUSR1");
    consul.until_listed("app", &["app-one"]);
}
