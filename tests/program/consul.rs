//! The shim with an application and a real Consul 1.8.7, from registration to deregistration. Each test has an agent of its own.
use crate::agent::{Agent, hostname};
use crate::processes::descriptors_of;
use crate::program::{Program, UNTIL_TERM};
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// One service that is healthy while the file `healthy` exists.
fn service(agent: &Agent) -> String {
    let address = agent.address();
    format!(
        r#"{{"consul": "{address}", "logging": {{"level": "debug"}},
            "services": [{{"name": "app", "port": 8000, "interfaces": "static:192.0.2.7", "poll": 1, "ttl": 3,
                          "tags": ["blue", "v2"], "health": "test -e @/healthy"}}]}}"#
    )
}

fn started(agent: &Agent) -> Program {
    let mut program = Program::new();
    program.write("healthy", "");
    program.configure(&service(agent));
    program.launch(&UNTIL_TERM);
    program
}

#[test]
fn a_healthy_service_is_registered_with_its_id_address_port_tags_and_check() {
    let agent = Agent::start();
    let _program = started(&agent);
    agent.until_passing("app", 1);
    let id = format!("app-{}", hostname());
    let entry = agent.passing("app").remove(0);
    let service = &entry["Service"];
    assert_eq!(service["ID"], id.as_str());
    assert_eq!(service["Address"], "192.0.2.7");
    assert_eq!(service["Port"], 8000);
    assert_eq!(service["Tags"], serde_json::json!(["blue", "v2"]));
    let check = &agent.get("/v1/agent/checks")[&id];
    assert_eq!(check["Name"], id.as_str());
    assert_eq!(check["Notes"], "TTL for app set by containerpilot");
    assert_eq!(check["Type"], "ttl");
    until(
        SOON,
        || "the heartbeat's note is seen".into(),
        || agent.get("/v1/agent/checks")[&id]["Output"] == "ok",
    );
}

#[test]
fn a_service_is_passing_while_its_check_passes_and_critical_after_the_ttl_when_it_fails() {
    let agent = Agent::start();
    let program = started(&agent);
    agent.until_passing("app", 1);
    let id = format!("app-{}", hostname());
    let registered = Instant::now();
    while registered.elapsed() < Duration::from_secs(5) {
        assert_eq!(agent.status(&id), "passing", "longer than its TTL");
        std::thread::yield_now();
    }
    std::fs::remove_file(program.path("healthy")).unwrap();
    agent.until_critical(&id);
    program.until_logged("Health check of app does not pass any more: exit status 1");
    program.write("healthy", "");
    agent.until_passing("app", 1);
}

#[test]
fn a_service_that_never_was_healthy_is_not_registered() {
    let agent = Agent::start();
    let mut program = Program::new();
    program.configure(&service(&agent));
    program.launch(&UNTIL_TERM);
    program.until_logged("Health check of app does not pass yet");
    assert_eq!(agent.get("/v1/agent/services"), serde_json::json!({}));
}

#[test]
fn on_sigterm_the_service_is_deregistered_before_the_application_gets_sigterm() {
    let agent = Agent::start();
    let mut program = started(&agent);
    agent.until_passing("app", 1);
    program.until_file("up");
    program.signal(Signal::SIGTERM);
    program.until_file("stopped");
    assert_eq!(agent.get("/v1/agent/services"), serde_json::json!({}));
    assert_eq!(program.code(), 0);
}

#[test]
fn when_the_application_ends_by_itself_its_service_is_gone_before_post_stop() {
    let agent = Agent::start();
    let mut program = Program::new();
    program.write("healthy", "");
    let hook =
        r#""postStop": ["sh", "-c", "touch @/post; while [ ! -e @/go ]; do sleep 0.05; done"], "services""#;
    program.configure(&service(&agent).replace("\"services\"", hook));
    program.launch(&["sh", "-c", "while [ ! -e @/end ]; do sleep 0.05; done; exit 3"]);
    agent.until_passing("app", 1);
    program.write("end", "");
    program.until_file("post");
    assert_eq!(agent.get("/v1/agent/services"), serde_json::json!({}));
    program.write("go", "");
    assert_eq!(program.code(), 3);
}

#[test]
fn a_registration_that_consul_forgot_is_made_again() {
    let mut agent = Agent::start();
    let program = started(&agent);
    agent.until_passing("app", 1);
    agent.deregister(&format!("app-{}", hostname()));
    agent.until_known(&format!("app-{}", hostname()), true);
    program.until_logged("Service not registered: Unexpected response code: 500");
    agent.restart();
    agent.until_passing("app", 1);
}

#[test]
fn on_change_runs_on_another_instances_arrival_and_departure() {
    let agent = Agent::start();
    let address = agent.address();
    let config = format!(
        r#"{{"consul": "{address}", "backends": [{{"name": "db", "poll": 1, "tag": "", "onChange": "sh -c @/changed"}}]}}"#
    );
    let mut program = Program::new();
    program.write("changed", "");
    let script = r#"["sh", "-c", "echo change >> @/changes; echo handled"]"#;
    program.configure(&config.replace(r#""sh -c @/changed""#, script));
    program.launch(&UNTIL_TERM);
    let changes = |program: &Program| program.read("changes").lines().count();
    agent.register("db", "db-1", 1);
    program.until("the arrival is handled", |program| changes(program) == 1);
    agent.register("db", "db-2", 2);
    program.until("a second arrival is handled", |program| changes(program) == 2);
    agent.deregister("db-1");
    program.until("a departure is handled", |program| changes(program) == 3);
    agent.deregister("db-2");
    program.until("the last departure is handled", |program| changes(program) == 4);
    program.until_logged("handled");
}

#[test]
fn a_change_reaches_the_handler_long_before_the_next_poll() {
    let agent = Agent::start();
    agent.register("db", "db-1", 1);
    let address = agent.address();
    let mut program = Program::new();
    program.configure(&format!(
        r#"{{"consul": "{address}", "backends": [{{"name": "db", "poll": 3, "onChange": ["sh", "-c", "echo x >> @/changes"]}}]}}"#
    ));
    program.launch(&UNTIL_TERM);
    let changes = |program: &Program| program.read("changes").lines().count();
    program.until("the first look finds an instance", |program| {
        changes(program) == 1
    });
    let before = Instant::now();
    for count in 2..6 {
        agent.register("db", &format!("db-{count}"), count);
        program.until("the change is handled", |program| {
            changes(program) == usize::from(count)
        });
    }
    assert!(
        before.elapsed() < Duration::from_secs(6),
        "four changes within two polls: {:?}",
        before.elapsed()
    );
}

#[test]
fn a_check_that_hangs_for_ever_delays_neither_other_checks_nor_sigterm() {
    let agent = Agent::start();
    let address = agent.address();
    let mut program = Program::new();
    program.configure(&format!(
        r#"{{"consul": "{address}", "services": [
            {{"name": "hung", "port": 1, "interfaces": "lo", "poll": 1, "ttl": 5, "health": "sleep 1000"}},
            {{"name": "app", "port": 2, "interfaces": "lo", "poll": 1, "ttl": 5, "health": "true"}}]}}"#
    ));
    program.launch(&UNTIL_TERM);
    agent.until_passing("app", 1);
    program.until_file("up");
    let before = Instant::now();
    program.signal(Signal::SIGTERM);
    program.until_file("stopped");
    assert_eq!(program.code(), 0);
    assert!(
        before.elapsed() < Duration::from_secs(3),
        "{:?}",
        before.elapsed()
    );
}

#[test]
fn a_frozen_consul_delays_sigterm_by_two_seconds_at_most_with_any_number_of_services() {
    let agent = Agent::start();
    let address = agent.address();
    let service = |n: u32| {
        format!(
            r#"{{"name": "app{n}", "port": 1, "interfaces": "lo", "poll": 1, "ttl": 30, "health": "true"}}"#
        )
    };
    let services: Vec<String> = (0..30).map(service).collect();
    let config = format!(
        r#"{{"consul": "{address}", "services": [{}]}}"#,
        services.join(",")
    );
    let mut program = Program::start(&config, &UNTIL_TERM);
    for n in 0..30 {
        agent.until_passing(&format!("app{n}"), 1);
    }
    agent.signal(Signal::SIGSTOP);
    program.until_file("up");
    let before = Instant::now();
    program.signal(Signal::SIGTERM);
    program.until_file("stopped");
    let delay = before.elapsed();
    assert!(
        delay < Duration::from_millis(2_900),
        "2 s, and some for a busy machine: {delay:?}"
    );
    assert_eq!(program.code(), 0);
    // Either the request or the phase may end first; each service is named in both cases.
    let stdout = program.stdout();
    let failed = stdout.matches("Deregistering failed: ").count();
    let given_up = stdout.matches("Gave up deregistering ").count();
    assert!(failed + given_up >= 30, "{failed} and {given_up} in\n{stdout}");
}

#[test]
fn maintenance_takes_the_service_out_and_brings_it_back() {
    let agent = Agent::start();
    let program = started(&agent);
    agent.until_passing("app", 1);
    program.signal(Signal::SIGUSR1);
    agent.until_known(&format!("app-{}", hostname()), false);
    program.until_logged("Marking for maintenance: app");
    program.signal(Signal::SIGUSR1);
    agent.until_passing("app", 1);
}

#[test]
fn a_reload_keeps_an_unchanged_service_and_swaps_the_others() {
    let agent = Agent::start();
    let program = started(&agent);
    agent.until_passing("app", 1);
    let index = || agent.get("/v1/agent/services")[format!("app-{}", hostname())].clone();
    let before = index();
    let more = r#""services": [{"name": "new", "port": 9, "interfaces": "lo", "poll": 1, "ttl": 5},"#;
    program.configure(&service(&agent).replace("\"services\": [", more));
    program.signal(Signal::SIGHUP);
    agent.until_passing("new", 1);
    assert_eq!(index(), before);
    assert!(
        !program.stdout().contains("Deregistering service: app"),
        "{}",
        program.stdout()
    );
    program.configure("{");
    program.signal(Signal::SIGHUP);
    program.until_logged("Error initializing config: ");
    assert_eq!(agent.passing("new").len(), 1, "a wrong file changes nothing");
    program.configure(&service(&agent));
    program.signal(Signal::SIGHUP);
    agent.until_passing("new", 0);
    assert_eq!(agent.passing("app").len(), 1);
}

#[test]
fn three_hundred_reloads_leave_it_passing_with_no_more_memory_descriptors_or_connections() {
    let agent = Agent::start();
    let program = started(&agent);
    agent.until_passing("app", 1);
    let (usual, other) = (service(&agent), service(&agent).replace("8000", "8001"));
    let reload = |count: u64| {
        for n in 0..count {
            program.configure(if n % 10 == 5 { &other } else { &usual });
            program.signal(Signal::SIGHUP);
            std::thread::sleep(Duration::from_millis(n * 7 % 31));
        }
        program.configure(&usual);
        program.signal(Signal::SIGHUP);
        agent.until_passing("app", 1);
        until(
            SOON,
            || "the last configuration is registered".into(),
            || {
                agent
                    .passing("app")
                    .first()
                    .is_some_and(|entry| entry["Service"]["Port"] == 8000)
            },
        );
    };
    reload(100);
    let (memory, descriptors) = (resident(program.pid()), descriptors_of(program.pid()));
    reload(300);
    program.until("no more descriptors are open", |program| {
        descriptors_of(program.pid()) <= descriptors
    });
    let grown = resident(program.pid()).saturating_sub(memory);
    assert!(grown < 2048, "300 reloads took {grown} KiB");
}

/// The resident memory of a process in KiB.
fn resident(pid: nix::unistd::Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
fn three_hundred_services_and_as_many_backends_fit_into_the_connections_an_agent_takes() {
    let agent = Agent::start();
    let address = agent.address();
    let names: Vec<String> = (0..300).map(|number| format!("many{number}")).collect();
    let service = |name: &String| {
        format!(
            r#"{{"name": "{name}", "port": 80, "interfaces": "static:192.0.2.7", "poll": 10, "ttl": 60}}"#
        )
    };
    let backend = |name: &String| {
        format!(r#"{{"name": "{name}", "poll": 10, "onChange": ["sh", "-c", "echo {name} >> @/handled"]}}"#)
    };
    let services: Vec<String> = names.iter().map(service).collect();
    let backends: Vec<String> = names.iter().map(backend).collect();
    let mut program = Program::new();
    let (services, backends) = (services.join(","), backends.join(","));
    program.configure(&format!(
        r#"{{"consul": "{address}", "services": [{services}], "backends": [{backends}]}}"#
    ));
    program.launch(&UNTIL_TERM);
    until(
        Duration::from_secs(90),
        || format!("{} handlers ran", program.read("handled").lines().count()),
        || program.read("handled").lines().count() >= names.len(),
    );
    let passing = agent.get("/v1/health/state/passing");
    let ours = passing.as_array().into_iter().flatten();
    let ours = ours.filter(|check| {
        check["ServiceName"]
            .as_str()
            .is_some_and(|name| name.starts_with("many"))
    });
    assert_eq!(ours.count(), names.len());
    let handled = program.read("handled");
    let mut handled: Vec<&str> = handled.lines().collect();
    handled.sort_unstable();
    handled.dedup();
    assert_eq!(
        (handled.len(), program.read("handled").lines().count()),
        (300, 300)
    );
    let refused = program.stdout().contains("takes no more connections");
    assert!(!refused, "the agent cut connections");
    // The last handlers have written their lines, and may not have ended yet.
    let descriptors = || descriptors_of(program.pid());
    until(
        SOON,
        || format!("{} descriptors", descriptors()),
        || descriptors() < 64,
    );
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 0);
}

/// A service with this address and an ID that others use, too.
fn sharing(agent: &Agent, address: &str) -> String {
    let consul = agent.address();
    format!(
        r#"{{"consul": "{consul}",
            "services": [{{"name": "app", "id": "shared", "port": 8000, "interfaces": "static:{address}",
                          "poll": 1, "ttl": 5}}]}}"#
    )
}

#[test]
fn another_instance_with_the_same_id_is_reported_once_with_both_addresses_and_an_old_entry_is_not() {
    let agent = Agent::start();
    let old = r#"{"ID": "shared", "Name": "app", "Address": "192.0.2.99", "Port": 8000}"#;
    agent.put("/v1/agent/service/register", old);
    let holder = || agent.get("/v1/agent/service/shared")["Address"].clone();
    let first = Program::start(&sharing(&agent, "192.0.2.7"), &UNTIL_TERM);
    first.until("the first one is entered", |_| holder() == "192.0.2.7");
    let second = Program::start(&sharing(&agent, "192.0.2.8"), &UNTIL_TERM);
    second.until("the second one is entered", |_| holder() == "192.0.2.8");
    first.until_logged(
        "The ID shared of app at 192.0.2.7:8000 is used by another instance too, at 192.0.2.8:8000: each needs an \
         ID of its own",
    );
    // A third instance registers. The first may report the second once more before it reports the third.
    let mut third = Program::start(&sharing(&agent, "192.0.2.9"), &UNTIL_TERM);
    first.until_logged("at 192.0.2.9:8000");
    assert_eq!(first.stdout().matches("at 192.0.2.8:8000").count(), 1);
    second.until_logged("at 192.0.2.9:8000");
    assert_eq!(third.stop(), 0);
    for program in [&first, &second, &third] {
        assert!(!program.stdout().contains("192.0.2.99"), "{}", program.stdout());
    }
    assert!(!third.stdout().contains("another instance"), "it came last");
}
