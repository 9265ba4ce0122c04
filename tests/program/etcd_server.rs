//! A real etcd server on a loopback address of its own, and `etcdctl` to read and write its keys.

use crate::http;
use crate::loopback::OwnAddress;
use crate::sending::send;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to start on a busy machine.
const START: Duration = Duration::from_secs(30);

/// Its ports for clients and for other members.
const CLIENT: u16 = 21_379;
const PEER: u16 = 21_380;

/// The certificate of a server that is self-signed.
#[allow(dead_code, reason = "only the adapter's tests name it")]
pub const SELF_SIGNED_CERTIFICATE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/common/self-signed/certificate.pem"
);

/// A running server.
pub struct Server {
    version: &'static str,
    folder: TempDir,
    own: OwnAddress,
    scheme: &'static str,
    more: Vec<String>,
    child: Child,
}

impl Server {
    /// Starts a server of this version, `3.4` or `3.5`, and waits until it leads.
    pub fn start(version: &'static str) -> Self {
        let server = Self::start_with(version, OwnAddress::reserve(), "http", Vec::new());
        let healthy = || server.page("/health").contains("\"true\"");
        server.until(healthy);
        server
    }

    /// Starts a server that demands a certificate of its clients, at the address that its own certificate is
    /// for.
    pub fn start_secured(version: &'static str, own: OwnAddress, certificates: &TempDir) -> Self {
        let option = |name: &str, file: &str| format!("--{name}={}/{file}", certificates.path().display());
        let more = vec![
            "--client-cert-auth".into(),
            option("trusted-ca-file", "consul-agent-ca.pem"),
            option("cert-file", "dc1-server-consul-0.pem"),
            option("key-file", "dc1-server-consul-0-key.pem"),
        ];
        Self::start_with_tls(version, own, more)
    }

    /// Starts a server with a self-signed certificate of an authority for `self-signed.test`.
    #[allow(dead_code, reason = "only the adapter's tests start one")]
    pub fn start_self_signed(version: &'static str) -> Self {
        let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/self-signed/key.pem");
        let more = vec![
            format!("--cert-file={SELF_SIGNED_CERTIFICATE}"),
            format!("--key-file={key}"),
        ];
        Self::start_with_tls(version, OwnAddress::reserve(), more)
    }

    fn start_with_tls(version: &'static str, own: OwnAddress, more: Vec<String>) -> Self {
        let server = Self::start_with(version, own, "https", more);
        server.until(|| TcpStream::connect(server.own.at(CLIENT)).is_ok());
        server
    }

    fn start_with(version: &'static str, own: OwnAddress, scheme: &'static str, more: Vec<String>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = spawn(version, &folder, &own, scheme, &more);
        Self {
            version,
            folder,
            own,
            scheme,
            more,
            child,
        }
    }

    /// The URL of its API.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.own.at(CLIENT))
    }

    /// Starts it again on the same data and address; it must not run.
    pub fn start_again(&mut self) {
        self.child = spawn(self.version, &self.folder, &self.own, self.scheme, &self.more);
        self.until(|| self.page("/health").contains("\"true\""));
    }

    /// Kills it.
    pub fn stop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// Stops all its threads, as if its machine was frozen, and waits until they have stopped.
    pub fn freeze(&self) {
        send(self.pid(), Signal::SIGSTOP);
    }

    /// Continues it.
    pub fn thaw(&self) {
        send(self.pid(), Signal::SIGCONT);
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process ID"))
    }

    /// The output of `etcdctl`.
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(binary(&format!("etcd-{}", self.version), "etcdctl"));
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url()]);
        let output = command.args(arguments).output().expect("etcdctl can be started");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "etcdctl {arguments:?}: {error}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// One transaction of `etcdctl txn`: conditions, then and else, with an empty line after each.
    #[allow(dead_code, reason = "only some tests fill a server")]
    pub fn txn(&self, text: &str) {
        let mut command = Command::new(binary(&format!("etcd-{}", self.version), "etcdctl"));
        command
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.url(), "txn"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().expect("etcdctl can be started");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(text.as_bytes()).expect("etcdctl reads");
        drop(stdin);
        assert!(child.wait().expect("etcdctl ends").success(), "etcdctl txn");
    }

    /// Sets a key to a value, or removes it.
    #[allow(dead_code, reason = "only some tests set keys")]
    pub fn set_key(&self, key: &str, value: Option<&[u8]>) {
        let mut command = Command::new(binary(&format!("etcd-{}", self.version), "etcdctl"));
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.url()]);
        command.args([if value.is_some() { "put" } else { "del" }, "--", key]);
        // It reads no empty value from its standard input.
        command.args(value.filter(|value| value.is_empty()).map(|_| ""));
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().expect("etcdctl can be started");
        let mut stdin = child.stdin.take().expect("a pipe");
        stdin.write_all(value.unwrap_or_default()).expect("etcdctl reads");
        drop(stdin);
        assert!(child.wait().expect("etcdctl ends").success(), "etcdctl of {key}");
    }

    /// All keys and values, each on a line of its own.
    pub fn everything(&self) -> Vec<String> {
        self.ctl(&["get", "--prefix", ""])
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// The body of a page of its HTTP server; empty if there is no answer.
    pub fn page(&self, path: &str) -> String {
        let address = self.own.at(CLIENT).to_string();
        http::ask(&address, &format!("GET {path}"), "", "").map_or_else(String::new, |answer| answer.body)
    }

    /// The value of one of its metrics.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = self.page("/metrics");
        let line = page.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    }

    fn until(&self, is_ready: impl Fn() -> bool) {
        let deadline = Instant::now() + START;
        while !is_ready() {
            assert!(Instant::now() < deadline, "etcd answers at {}", self.url());
            sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Two authorities, and certificates of the first one for a server at this address and for a client.
pub fn folder_of_certificates(own: &OwnAddress) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = format!("cert create -server -additional-ipaddress={}", own.ip());
    for create in [
        "ca create",
        &server,
        "cert create -client",
        "ca create -domain=other",
    ] {
        let mut command = Command::new(binary("consul", "consul"));
        command.arg("tls").args(create.split(' ')).current_dir(&folder);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let status = command.status().expect("Consul can be started");
        assert!(status.success(), "consul tls {create}");
    }
    folder
}

fn spawn(version: &str, folder: &TempDir, own: &OwnAddress, scheme: &str, more: &[String]) -> Child {
    let binary = binary(&format!("etcd-{version}"), "etcd");
    let data = folder.path().display();
    let (client, peer) = (
        format!("{scheme}://{}", own.at(CLIENT)),
        format!("http://{}", own.at(PEER)),
    );
    let arguments = format!(
        "--name=test --data-dir={data} --listen-client-urls={client} --advertise-client-urls={client} \
         --listen-peer-urls={peer} --initial-advertise-peer-urls={peer} --initial-cluster=test={peer} \
         --logger=zap --log-level=error --auth-token-ttl=3"
    );
    let mut command = Command::new(&binary);
    command.args(arguments.split(' ')).args(more);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
        .spawn()
        .unwrap_or_else(|error| panic!("{} cannot be started: {error}", binary.display()))
}

fn binary(server: &str, program: &str) -> PathBuf {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/target/servers");
    let servers = std::env::var_os("CONTAINERPILOT_TEST_SERVERS").unwrap_or_else(|| default.into());
    let binary = PathBuf::from(servers).join(format!("{server}/bin/{program}"));
    assert!(
        binary.exists(),
        "this test needs {}: run scripts/servers {server}",
        binary.display()
    );
    binary
}
