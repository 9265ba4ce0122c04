//! A real Consul agent on a loopback address of its own, and requests to its API.

use crate::http;
use crate::loopback::OwnAddress;
use crate::sending::send;
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long the election may take on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Its ports.
const HTTP: u16 = 21_500;
const SERVER: u16 = 21_300;
const SERF: u16 = 21_301;
/// Its port for HTTPS, if its configuration opens one.
pub const HTTPS: u16 = 21_501;

/// A running agent.
pub struct Agent {
    child: Child,
    own: OwnAddress,
    configuration: Vec<String>,
    token: String,
}

impl Agent {
    /// Starts an agent and waits until it leads.
    pub fn start() -> Self {
        Self::start_with(&[], "")
    }

    /// Starts an agent with additional pieces of configuration; requests to it use this token.
    pub fn start_with(configuration: &[&str], token: &str) -> Self {
        Self::start_at(OwnAddress::reserve(), configuration, token)
    }

    /// As [`Self::start_with`], at an address that the test has reserved.
    pub fn start_at(own: OwnAddress, configuration: &[&str], token: &str) -> Self {
        let configuration: Vec<String> = configuration.iter().map(|piece| (*piece).to_owned()).collect();
        let child = spawn(&own, &configuration);
        let agent = Self {
            child,
            own,
            configuration,
            token: token.into(),
        };
        agent.until_ready();
        agent
    }

    /// `host:port` of its API over TLS, if it has one.
    pub fn secure_address(&self) -> String {
        self.own.at(HTTPS).to_string()
    }

    /// `host:port` of its HTTP API.
    pub fn address(&self) -> String {
        self.own.at(HTTP).to_string()
    }

    /// Ends it, and starts another one at the same address, without its data.
    pub fn restart(&mut self) {
        self.stop();
        self.child = spawn(&self.own, &self.configuration);
        self.until_ready();
    }

    /// Ends it.
    pub fn stop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Sends it a signal; after SIGSTOP, returns when it has stopped.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a process ID");
        send(Pid::from_raw(pid), signal);
    }

    /// The body of an answer; fails if there is none.
    pub fn get(&self, path: &str) -> Value {
        self.answer(path)
            .unwrap_or_else(|| panic!("Consul answers {path}"))
    }

    /// The body of an answer, if there is one.
    fn answer(&self, path: &str) -> Option<Value> {
        let body = self.request("GET", path, "")?;
        serde_json::from_str(&body).ok()
    }

    /// Sends a body; fails if the agent refuses it.
    pub fn put(&self, path: &str, body: &str) {
        self.request("PUT", path, body)
            .unwrap_or_else(|| panic!("Consul takes {path}"));
    }

    /// Sets a key to a value, or removes it.
    #[allow(dead_code, reason = "only some tests set keys")]
    pub fn set_key(&self, key: &str, value: Option<&[u8]>) {
        let escaped: String = key
            .bytes()
            .map(|byte| match byte {
                b'/' => "/".into(),
                byte => format!("%{byte:02X}"),
            })
            .collect();
        let method = if value.is_some() { "PUT" } else { "DELETE" };
        let token = format!("X-Consul-Token: {}\r\n", self.token);
        let first = format!("{method} /v1/kv/{escaped}");
        let answer = http::ask(&self.address(), &first, &token, value.unwrap_or_default());
        assert_eq!(
            answer.map(|answer| answer.status),
            Some(200),
            "Consul takes {key}"
        );
    }

    /// The passing instances of a service.
    pub fn passing(&self, service: &str) -> Vec<Value> {
        self.entries(service)
            .unwrap_or_else(|| panic!("Consul lists {service}"))
    }

    /// The passing instances of a service, if there is an answer.
    fn entries(&self, service: &str) -> Option<Vec<Value>> {
        match self.answer(&format!("/v1/health/service/{service}?passing=1"))? {
            Value::Array(entries) => Some(entries),
            _ => None,
        }
    }

    /// The status of a check of this agent, empty if there is none.
    pub fn status(&self, check: &str) -> String {
        self.get("/v1/agent/checks")[check]["Status"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits until a check of this agent is critical.
    pub fn until_critical(&self, check: &str) {
        let failed = || format!("{check} is critical, not {:?}", self.status(check));
        until(SOON, failed, || self.status(check) == "critical");
    }

    /// The output of a check of this agent, empty if there is none.
    pub fn output(&self, check: &str) -> String {
        let output = &self.get("/v1/agent/checks")[check]["Output"];
        output.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the output of a check of this agent is this.
    pub fn until_output(&self, check: &str, output: &str) {
        let failed = || format!("the output is {output:?}, not {:?}", self.output(check));
        until(SOON, failed, || self.output(check) == output);
    }

    /// Waits until a service has this many passing instances.
    pub fn until_passing(&self, service: &str, count: usize) {
        let failed = || {
            format!(
                "{service} has {count} passing instances, not {:?}",
                self.entries(service)
            )
        };
        until(SOON, failed, || {
            self.entries(service)
                .is_some_and(|entries| entries.len() == count)
        });
    }

    /// Waits until this agent has a service with this ID, or has none.
    pub fn until_known(&self, id: &str, known: bool) {
        let services = || self.answer("/v1/agent/services");
        let failed = || format!("{id} known: {known}, not {:?}", services());
        until(SOON, failed, || {
            services().is_some_and(|services| services[id].is_object() == known)
        });
    }

    /// Registers an instance that is always passing.
    pub fn register(&self, name: &str, id: &str, port: u16) {
        let body = format!(r#"{{"Name": "{name}", "ID": "{id}", "Address": "127.0.0.1", "Port": {port}}}"#);
        self.put("/v1/agent/service/register", &body);
    }

    /// Removes an instance.
    pub fn deregister(&self, id: &str) {
        self.put(&format!("/v1/agent/service/deregister/{id}"), "");
    }

    fn until_ready(&self) {
        let failed = || format!("Consul leads at {}", self.address());
        until(START, failed, || {
            self.answer("/v1/status/leader")
                .is_some_and(|leader| leader.as_str().is_some_and(|leader| !leader.is_empty()))
        });
        until(START, failed, || {
            self.answer("/v1/catalog/nodes")
                .is_some_and(|nodes| nodes.as_array().is_some_and(|nodes| !nodes.is_empty()))
        });
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Option<String> {
        let token = format!("X-Consul-Token: {}\r\n", self.token);
        let answer = http::ask(&self.address(), &format!("{method} {path}"), &token, body)?;
        (answer.status == 200).then_some(answer.body)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT);
        self.stop();
    }
}

/// The host's name, the second part of every service ID.
pub fn hostname() -> String {
    nix::unistd::gethostname()
        .expect("a host name")
        .into_string()
        .expect("a host name in UTF-8")
}

/// Consul's own program.
pub fn consul() -> Command {
    Command::new(binary())
}

fn spawn(own: &OwnAddress, configuration: &[String]) -> Child {
    let ip = own.ip();
    let arguments = format!(
        "agent -dev -node=test -bind={ip} -client={ip} -http-port={HTTP} -dns-port=-1 -grpc-port=-1 \
         -server-port={SERVER} -serf-lan-port={SERF} -serf-wan-port=-1 -log-level=warn"
    );
    let mut command = consul();
    command
        .args(arguments.split(' '))
        .args(["-hcl", "disable_update_check = true"]);
    command.args(configuration.iter().flat_map(|piece| ["-hcl", piece]));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
        .spawn()
        .unwrap_or_else(|error| panic!("Consul cannot be started: {error}"))
}

fn binary() -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/target/servers");
    let servers = std::env::var_os("CONTAINERPILOT_TEST_SERVERS").unwrap_or_else(|| default.into());
    let binary = PathBuf::from(servers).join("consul/bin/consul");
    assert!(
        binary.exists(),
        "this test needs {}: run scripts/servers consul",
        binary.display()
    );
    binary
}
