//! Consul with access control, with TLS, on a Unix socket, and with proxy variables that must not apply.

use crate::agent::{Agent, HTTPS, consul};
use crate::loopback::OwnAddress;
use crate::program::Program;
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use serde_json::json;
use std::net::SocketAddrV4;
use std::process::{Command, Stdio};

const APPLICATION: [&str; 2] = ["sleep", "1000"];

const ACCESS_CONTROL: &str =
    r#"acl { enabled = true, default_policy = "deny", tokens { master = "root", agent = "root" } }"#;

/// What the log says of a request that the token does not allow. Not the number alone, which times and process IDs contain, too.
const REFUSED: &str = "Unexpected response code: 403";

/// A service that is always healthy, in the Consul that `consul` describes.
pub fn config(consul: &str) -> String {
    format!(
        r#"{{"consul": {consul}, "logging": {{"level": "debug"}},
            "services": [{{"name": "app", "port": 1, "interfaces": "lo", "poll": 1, "ttl": 10}}],
            "backends": [{{"name": "app", "poll": 1, "onChange": "echo an instance came"}}]}}"#
    )
}

/// The program on this configuration, with these variables in its environment.
pub fn started(config: &str, variables: &[(&str, &str)]) -> Program {
    let mut program = Program::new();
    program.configure(config);
    let mut command = program.command(&APPLICATION);
    command.envs(variables.iter().copied());
    program.spawn(&mut command);
    program
}

#[test]
fn a_token_of_the_file_opens_a_consul_with_access_control() {
    let agent = Agent::start_with(&[ACCESS_CONTROL], "root");
    let object = format!(r#"{{"address": "{}", "token": "root"}}"#, agent.address());
    let program = started(&config(&object), &[]);
    agent.until_passing("app", 1);
    program.until_logged("an instance came");
    assert!(
        !program.stdout().contains("root"),
        "the token is not logged: {}",
        program.stdout()
    );
}

#[test]
fn the_token_of_the_environment_takes_precedence() {
    let agent = Agent::start_with(&[ACCESS_CONTROL], "root");
    let object = format!(r#"{{"address": "{}", "token": "wrong"}}"#, agent.address());
    let _program = started(&config(&object), &[("CONSUL_HTTP_TOKEN", "root")]);
    agent.until_passing("app", 1);
}

/// The policies in docs/registration.md: of a service and a backend, and what templates need besides.
fn documented_policies() -> [&'static str; 2] {
    let page = include_str!("../../docs/registration.md");
    let mut policies = page.split("```hcl\n").skip(1);
    [(); 2].map(|()| policies.next().unwrap().split_once("```").unwrap().0)
}

#[test]
fn the_documented_policy_suffices() {
    const TOKEN: &str = "11111111-2222-3333-4444-555555555555";
    let agent = Agent::start_with(&[ACCESS_CONTROL], "root");
    let put = |path: &str, body: serde_json::Value| agent.put(path, &body.to_string());
    put(
        "/v1/acl/policy",
        json!({"Name": "shim", "Rules": documented_policies()[0]}),
    );
    put(
        "/v1/acl/token",
        json!({"SecretID": TOKEN, "Policies": [{"Name": "shim"}]}),
    );
    agent.register("db", "db-1", 5432);
    let telemetry = OwnAddress::reserve();
    let (ip, port) = (telemetry.socket().ip(), telemetry.socket().port());
    let address = agent.address();
    let mut program = started(
        &format!(
            r#"{{"consul": {{"address": "{address}", "token": "{TOKEN}"}},
                "telemetry": {{"interfaces": "static:{ip}", "port": {port}}},
                "services": [{{"name": "web", "port": 1, "interfaces": "lo", "poll": 1, "ttl": 10,
                    "health": {{"command": "true", "failures": 1}}}}],
                "backends": [{{"name": "db", "poll": 1, "onChange": "echo an instance came"}}]}}"#
        ),
        &[],
    );
    agent.until_passing("web", 1);
    agent.until_passing("containerpilot", 1);
    program.until_logged("an instance came");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 143);
    assert!(agent.passing("web").is_empty() && agent.passing("containerpilot").is_empty());
    for failure in [REFUSED, "hide", "failed"] {
        assert!(!program.stdout().contains(failure), "{}", program.stdout());
    }
}

#[test]
fn the_documented_policy_for_templates_suffices_and_is_needed() {
    let agent = Agent::start_with(&[ACCESS_CONTROL], "root");
    agent.register("db", "db-1", 5432);
    for (key, value) in [("app/color", "red"), ("app/limits/a", "1"), ("other", "secret")] {
        agent.set_key(key, Some(value.as_bytes()));
    }
    let [policy, more] = documented_policies();
    let started = |name: &str, rules: &str, text: &str| {
        let policy = json!({"Name": name, "Rules": rules}).to_string();
        agent.put("/v1/acl/policy", &policy);
        let token = format!("11111111-2222-3333-4444-{name}");
        let made = json!({"SecretID": token, "Policies": [{"Name": name}]}).to_string();
        agent.put("/v1/acl/token", &made);
        let mut program = Program::new();
        program.write("t", text);
        program.configure(&format!(
            r#"{{"consul": {{"address": "{}", "token": "{token}"}},
                "templates": [{{"source": "@/t", "destination": "@/out"}}]}}"#,
            agent.address()
        ));
        program.launch(&APPLICATION);
        program
    };
    let text = r#"{{key "app/color"}}{{range ls "app/limits"}} {{.Key}}={{.Value}}{{end}}
        {{- range services}}{{if eq .Name "db"}} {{.Name}}{{end}}{{end}}"#;
    let program = started("100000000001", &format!("{policy}{more}"), text);
    program.until("everything is read", |program| {
        program.has("out") && program.read("out") == "red a=1 db"
    });
    assert!(!program.stdout().contains(REFUSED), "{}", program.stdout());
    let program = started("100000000002", policy, text);
    program.until_logged(
        "Failed to look up key app/color for templates: Unexpected response code: 403 (Permission denied",
    );
    let program = started("100000000003", &format!("{policy}{more}"), r#"{{key "other"}}"#);
    program.until_logged("Failed to look up key other for templates: Unexpected response code: 403");
    assert!(!program.has("out"));
}

#[test]
fn without_a_token_the_refusal_is_reported() {
    let agent = Agent::start_with(&[ACCESS_CONTROL], "root");
    let program = started(&config(&format!("\"{}\"", agent.address())), &[]);
    program.until_logged("Service registration failed: Unexpected response code: 403 (Permission denied");
    assert!(agent.passing("app").is_empty());
}

/// An agent that demands a certificate of its clients, and the folder with all certificates.
pub fn secured() -> (Agent, Program) {
    let (folder, own) = (Program::new(), OwnAddress::reserve());
    let server = format!("cert create -server -additional-ipaddress={}", own.ip());
    for arguments in [
        "ca create",
        &server,
        "cert create -client",
        "ca create -domain=other",
    ] {
        create(&folder, arguments);
    }
    let tls = folder.expand(
        r#"ca_file = "@/consul-agent-ca.pem", cert_file = "@/dc1-server-consul-0.pem",
           key_file = "@/dc1-server-consul-0-key.pem", verify_incoming_https = true"#,
    );
    let ports = format!("ports {{ https = {HTTPS} }}");
    let agent = Agent::start_at(own, &[&ports, &tls.replace(',', "\n")], "");
    (agent, folder)
}

/// Lets Consul create certificates in a folder.
fn create(folder: &Program, arguments: &str) {
    let mut command = consul();
    command
        .arg("tls")
        .args(arguments.split(' '))
        .current_dir(folder.path(""));
    let status = quiet(&mut command).status().unwrap();
    assert!(status.success(), "consul tls {arguments}");
}

fn quiet(command: &mut Command) -> &mut Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
}

pub const CLIENT: &str =
    r#""clientcert": "@/dc1-client-consul-0.pem", "clientkey": "@/dc1-client-consul-0-key.pem""#;

/// The program on that agent with these members in `tls`.
fn started_with_tls(agent: &Agent, folder: &Program, tls: &str) -> Program {
    let address = agent.secure_address();
    let object = format!(r#"{{"address": "{address}", "scheme": "https", "tls": {{{tls}}}}}"#);
    started(&config(&folder.expand(&object)), &[])
}

#[test]
fn a_consul_that_demands_tls_and_a_certificate_gets_both() {
    let (agent, folder) = secured();
    let program = started_with_tls(
        &agent,
        &folder,
        &format!(r#""cafile": "@/consul-agent-ca.pem", {CLIENT}"#),
    );
    agent.until_passing("app", 1);
    program.until_logged("an instance came");
}

#[test]
fn a_folder_of_authorities_and_a_server_name_are_sufficient() {
    let (agent, folder) = secured();
    std::fs::create_dir(folder.path("authorities")).unwrap();
    std::fs::copy(
        folder.path("consul-agent-ca.pem"),
        folder.path("authorities/one.pem"),
    )
    .unwrap();
    let tls = format!(r#""capath": "@/authorities", "servername": "server.dc1.consul", {CLIENT}"#);
    let _program = started_with_tls(&agent, &folder, &tls);
    agent.until_passing("app", 1);
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let (agent, folder) = secured();
    let tls = format!(r#""cafile": "@/consul-agent-ca.pem", "servername": "server.dc2.consul", {CLIENT}"#);
    let program = started_with_tls(&agent, &folder, &tls);
    program.until_logged("Service registration failed: ");
    program.until("the name is logged", |program| {
        program.stdout().contains("server.dc2.consul")
    });
    assert!(agent.passing("app").is_empty());
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused_unless_verification_is_off() {
    let (agent, folder) = secured();
    let wrong = format!(r#""cafile": "@/other-agent-ca.pem", {CLIENT}"#);
    let program = started_with_tls(&agent, &folder, &wrong);
    program.until_logged("Service registration failed: ");
    program.until_logged("certificate");
    assert!(agent.passing("app").is_empty());
    drop(program);
    let _program = started_with_tls(&agent, &folder, &format!(r#""verify": false, {wrong}"#));
    agent.until_passing("app", 1);
}

#[test]
fn without_a_client_certificate_the_refusal_is_reported() {
    let (agent, folder) = secured();
    let program = started_with_tls(&agent, &folder, r#""cafile": "@/consul-agent-ca.pem""#);
    program.until_logged("Service registration failed: ");
    assert!(agent.passing("app").is_empty());
}

#[test]
fn the_environment_alone_is_enough_for_an_https_address() {
    let (agent, folder) = secured();
    let path = |name: &str| folder.path(name).display().to_string();
    let (authority, certificate) = (path("consul-agent-ca.pem"), path("dc1-client-consul-0.pem"));
    let key = path("dc1-client-consul-0-key.pem");
    let variables = [
        ("CONSUL_CACERT", authority.as_str()),
        ("CONSUL_CLIENT_CERT", &certificate),
        ("CONSUL_CLIENT_KEY", &key),
    ];
    let _program = started(
        &config(&format!("\"https://{}\"", agent.secure_address())),
        &variables,
    );
    agent.until_passing("app", 1);
}

#[test]
fn rotated_certificates_of_the_agent_and_of_the_client_are_used_after_a_reload() {
    let (mut agent, folder) = secured();
    let address = agent.secure_address();
    let (ip, _) = address.rsplit_once(':').unwrap();
    let server = format!("cert create -server -domain=other -additional-ipaddress={ip}");
    create(&folder, &server);
    create(&folder, "cert create -client -domain=other");
    let copy = |from: &str, to: &str| {
        std::fs::copy(folder.path(from), folder.path(to)).unwrap();
    };
    let use_client_of = |domain: &str| {
        copy(&format!("{domain}-agent-ca.pem"), "ca.pem");
        copy(&format!("dc1-client-{domain}-0.pem"), "client.pem");
        copy(&format!("dc1-client-{domain}-0-key.pem"), "client-key.pem");
    };
    use_client_of("consul");
    let tls = r#""cafile": "@/ca.pem", "clientcert": "@/client.pem", "clientkey": "@/client-key.pem""#;
    let program = started_with_tls(&agent, &folder, tls);
    agent.until_passing("app", 1);
    use_client_of("other");
    copy("other-agent-ca.pem", "consul-agent-ca.pem");
    copy("dc1-server-other-0.pem", "dc1-server-consul-0.pem");
    copy("dc1-server-other-0-key.pem", "dc1-server-consul-0-key.pem");
    agent.restart();
    program.until_logged("invalid peer certificate");
    assert!(
        agent.passing("app").is_empty(),
        "the files are read at a reload only"
    );
    program.signal(Signal::SIGHUP);
    agent.until_passing("app", 1);
}

#[test]
fn certificates_rotated_while_queries_wait_lose_nothing_and_leave_one_connection() {
    let (agent, folder) = secured();
    create(&folder, "cert create -client");
    let copy = |number: u8| {
        for kind in ["", "-key"] {
            let from = folder.path(&format!("dc1-client-consul-{number}{kind}.pem"));
            std::fs::copy(from, folder.path(&format!("client{kind}.pem"))).unwrap();
        }
    };
    copy(0);
    let tls =
        r#""cafile": "@/consul-agent-ca.pem", "clientcert": "@/client.pem", "clientkey": "@/client-key.pem""#;
    let address = agent.secure_address();
    let object = format!(r#"{{"address": "{address}", "scheme": "https", "tls": {{{tls}}}}}"#);
    let waits = r#""backends": [{"name": "db", "poll": 3, "onChange": ["sh", "-c", "echo >> @/changes"]},
                                {"name": "app", "poll": 1"#;
    let mut program = Program::new();
    let config = config(&folder.expand(&object)).replace(r#""backends": [{"name": "app", "poll": 1"#, waits);
    program.configure(&config);
    program.launch(&APPLICATION);
    agent.until_passing("app", 1);
    agent.register("db", "db-1", 1);
    program.until("a handler runs, and the next query waits", |program| {
        program.lines("changes") == 1
    });
    let only = || match client_ports_of(&address)[..] {
        [port] => Some(port),
        _ => None,
    };
    let failed = || format!("one connection, not {:?}", client_ports_of(&address));
    until(SOON, failed, || only().is_some());
    let before = only();
    copy(1);
    program.signal(Signal::SIGHUP);
    until(SOON, failed, || only().is_some_and(|port| Some(port) != before));
    agent.register("db", "db-2", 2);
    program.until("the handler runs again", |program| program.lines("changes") == 2);
    assert_eq!(agent.passing("app").len(), 1);
}

#[test]
fn a_missing_tls_file_is_reported_at_the_start() {
    let object = r#"{"address": "127.0.0.1:1", "scheme": "https", "tls": {"cafile": "@/none.pem"}}"#;
    let (code, program) = Program::run(&config(object), &APPLICATION);
    assert_eq!(code, 1);
    assert!(
        program
            .stderr()
            .contains("none.pem cannot be read: no such file or directory"),
        "{}",
        program.stderr()
    );
}

#[test]
fn a_unix_socket_is_an_address_too() {
    let folder = Program::new();
    let socket = folder.path("consul.sock").display().to_string();
    let own = OwnAddress::reserve();
    let addresses = format!(r#"addresses {{ http = "{} unix://{socket}" }}"#, own.ip());
    let agent = Agent::start_at(own, &[&addresses], "");
    let program = started(&config(&format!("\"unix://{socket}\"")), &[]);
    agent.until_passing("app", 1);
    program.until_logged("an instance came");
}

#[test]
fn plain_http_on_loopback_needs_neither_a_proxy_nor_authorities() {
    let (agent, unused) = (Agent::start(), OwnAddress::reserve());
    let proxy = format!("http://{}", unused.socket());
    let variables = [
        ("HTTP_PROXY", proxy.as_str()),
        ("http_proxy", &proxy),
        ("SSL_CERT_FILE", "/nonexistent"),
        ("SSL_CERT_DIR", "/nonexistent"),
    ];
    let _program = started(&config(&format!("\"{}\"", agent.address())), &variables);
    agent.until_passing("app", 1);
}

/// The ports of the connections that this host has to an address, as their client. They may belong to any process.
fn client_ports_of(address: &str) -> Vec<u16> {
    let address: SocketAddrV4 = address.parse().unwrap();
    let peer = format!(
        "{:08X}:{:04X}",
        u32::from(*address.ip()).swap_bytes(),
        address.port()
    );
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let established = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, own, other, "01", ..] = fields[..] else {
            return None;
        };
        let (_, port) = own.split_once(':').filter(|_| other == peer)?;
        u16::from_str_radix(port, 16).ok()
    };
    table.lines().filter_map(established).collect()
}

/// How many connections this host has to an address, as their client.
fn connections_to(address: &str) -> usize {
    client_ports_of(address).len()
}

#[test]
fn over_tls_one_connection_carries_all_blocking_queries_and_heartbeats() {
    const BACKENDS: usize = 100;
    let (mut agent, folder) = secured();
    let (address, mut program) = (agent.secure_address(), Program::new());
    let backend = |number| {
        format!(
            r#"{{"name": "db{number}", "poll": 5, "onChange": ["sh", "-c", "echo {number} >> @/changes"]}}"#
        )
    };
    let backends: Vec<String> = (0..BACKENDS).map(backend).collect();
    let tls = folder.expand(&format!(r#""cafile": "@/consul-agent-ca.pem", {CLIENT}"#));
    program.configure(&format!(
        r#"{{"consul": {{"address": "{address}", "scheme": "https", "maxConnections": 400, "tls": {{{tls}}}}},
            "services": [{{"name": "app", "port": 1, "interfaces": "lo", "poll": 1, "ttl": 4}}],
            "backends": [{}]}}"#,
        backends.join(",")
    ));
    program.launch(&APPLICATION);
    agent.until_passing("app", 1);
    for number in 0..BACKENDS {
        agent.register(&format!("db{number}"), &format!("db{number}"), 1);
    }
    program.until("the handler of each backend runs", |program| {
        program.lines("changes") == BACKENDS
    });
    assert_eq!(connections_to(&address), 1);
    for number in 0..BACKENDS {
        agent.deregister(&format!("db{number}"));
    }
    program.until("the handler of each backend runs again", |program| {
        program.lines("changes") == 2 * BACKENDS
    });
    assert_eq!(connections_to(&address), 1);
    assert_eq!(agent.passing("app").len(), 1);
    agent.restart();
    agent.until_passing("app", 1);
    agent.register("db7", "db7", 1);
    program.until("the handler runs after the restart", |program| {
        program.lines("changes") == 2 * BACKENDS + 1
    });
    let failed = || format!("{} connections", connections_to(&address));
    until(SOON, failed, || connections_to(&address) == 1);
}
