//! Real catalogues in containers, one server or a cluster of three, queried with their own tools.

use crate::http;
use crate::machine::Machine;
use crate::network::{Network, block_on, image_of_ours};
use crate::waiting::{SOON, until};
use etcd_client::{Client, GetOptions};
use serde_json::Value;
use std::time::{Duration, Instant};
use testcontainers::{GenericImage, ImageExt};

/// How long an election may take on a busy machine.
const START: Duration = Duration::from_secs(60);

/// The prefix of etcd's entries.
const PREFIX: &str = "/containerpilot/";

/// A server of one kind of catalogue.
pub trait Store: Sized {
    /// Starts one server and waits until it leads.
    fn start(network: &Network) -> Self;

    /// Starts a cluster of three, and waits until all have the same leader; the first one is the leader.
    fn start_three(network: &Network) -> [Self; 3] {
        let names = [1, 2, 3].map(|number| format!("{}-store-{number}", network.name));
        let mut stores = [0, 1, 2].map(|index| Self::start_member(network, &names, index));
        let failed = || "the three have a leader".into();
        until(START, failed, || {
            stores.sort_by_key(|store| store.leads() != Some(true));
            let led = stores.each_ref().map(Self::leads);
            led == [Some(true), Some(false), Some(false)] && stores.iter().all(Self::is_ready)
        });
        stores
    }

    /// Starts one of three.
    fn start_member(network: &Network, names: &[String; 3], index: usize) -> Self;

    /// Its container.
    fn machine(&self) -> &Machine;

    /// The section of a shim's configuration for these servers.
    fn section(stores: &[&Self]) -> String;

    /// Whether it answers and the cluster has a leader.
    fn is_ready(&self) -> bool;

    /// Whether it leads; `None` if it has no leader, or does not answer.
    fn leads(&self) -> Option<bool>;

    /// The IDs of the passing instances of a service, sorted; `None` if the server does not answer at this
    /// address.
    fn listed_at(&self, address: &str, service: &str) -> Option<Vec<String>>;

    /// Deletes all its data; its name stays the same.
    fn empty(self, network: &Network) -> Self;

    /// Waits until it answers.
    fn until_ready(&self) {
        let failed = || format!("{} leads\n{}", self.machine().name, self.machine().log());
        until(START, failed, || self.is_ready());
    }

    /// The IDs of the passing instances of a service, sorted; `None` if it does not answer.
    fn listed(&self, service: &str) -> Option<Vec<String>> {
        self.listed_at(&self.machine().address(), service)
    }

    /// Waits until the passing instances of a service are these.
    fn until_listed(&self, service: &str, ids: &[&str]) {
        let failed = || format!("{service} has {ids:?}, not {:?}", self.listed(service));
        until(SOON, failed, || {
            self.listed(service).is_some_and(|listed| listed == ids)
        });
    }

    /// Checks for this duration that the passing instances of a service are these.
    fn stays_listed(&self, service: &str, ids: &[&str], duration: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < duration {
            let listed = self.listed(service).expect("an answer");
            assert_eq!(listed, ids, "after {:?}", begin.elapsed());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Consul.
pub struct Consul {
    machine: Machine,
}

impl Consul {
    /// `host:port` for other containers.
    pub fn address(&self) -> String {
        format!("{}:8500", self.machine.name)
    }

    fn run(network: &Network, role: &str, arguments: &str) -> Self {
        let image = image_or("CONSUL_IMAGE", "containerpilot-test-consul").with_entrypoint("consul");
        let common = "agent -client=0.0.0.0 -log-level=warn -hcl disable_update_check=true";
        let arguments = common.split(' ').chain(arguments.split_whitespace());
        let machine = Machine::start(network, role, image.with_cmd(arguments));
        Self { machine }
    }

    fn get(&self, address: &str, path: &str) -> Option<Value> {
        let answer = http::ask(&format!("{address}:8500"), &format!("GET {path}"), "", "")?;
        let body = serde_json::from_str(&answer.body);
        body.ok().filter(|_| answer.status == 200)
    }
}

impl Store for Consul {
    fn start(network: &Network) -> Self {
        let consul = Self::run(network, "store", "-dev");
        consul.until_ready();
        consul
    }

    fn start_member(network: &Network, names: &[String; 3], index: usize) -> Self {
        let join = names
            .each_ref()
            .map(|name| format!("-retry-join={name}"))
            .join(" ");
        let arguments = format!(
            "-server -bootstrap-expect=3 -data-dir=/tmp/consul -retry-interval=1s {join} \
             -hcl performance{{raft_multiplier=1}}"
        );
        Self::run(network, &format!("store-{}", index + 1), &arguments)
    }

    fn machine(&self) -> &Machine {
        &self.machine
    }

    /// A shim uses one agent: the last of them, which does not lead.
    fn section(stores: &[&Self]) -> String {
        let agent = stores.last().expect("a server").address();
        format!(r#""consul": "{agent}""#)
    }

    fn is_ready(&self) -> bool {
        let nodes = self.get(&self.machine.address(), "/v1/catalog/nodes");
        nodes.is_some_and(|nodes| nodes.as_array().is_some_and(|nodes| !nodes.is_empty()))
    }

    fn leads(&self) -> Option<bool> {
        let address = self.machine.address();
        let leader = self.get(&address, "/v1/status/leader")?;
        let leader = leader.as_str().filter(|leader| !leader.is_empty())?;
        Some(leader == format!("{address}:8300"))
    }

    fn listed_at(&self, address: &str, service: &str) -> Option<Vec<String>> {
        let entries = self.get(address, &format!("/v1/health/service/{service}?passing=1"))?;
        let id = |entry: &Value| entry["Service"]["ID"].as_str().map(str::to_owned);
        let mut ids: Vec<String> = entries.as_array()?.iter().filter_map(id).collect();
        ids.sort();
        Some(ids)
    }

    /// Replaces it by a new one, because a development agent has all data in memory.
    fn empty(self, network: &Network) -> Self {
        drop(self);
        Self::start(network)
    }
}

/// etcd.
pub struct Etcd {
    machine: Machine,
}

impl Etcd {
    /// Its URL for other containers.
    pub fn url(&self) -> String {
        format!("http://{}:2379", self.machine.name)
    }

    fn run(network: &Network, role: &str, arguments: &str) -> Self {
        let name = format!("{}-{role}", network.name);
        let image = etcd_image().with_entrypoint("etcd");
        let common = format!(
            "--name={name} --data-dir=/tmp/etcd --listen-client-urls=http://0.0.0.0:2379 \
             --advertise-client-urls=http://{name}:2379 --logger=zap --log-level=error"
        );
        let arguments = common.split_whitespace().chain(arguments.split_whitespace());
        let machine = Machine::start(network, role, image.with_cmd(arguments));
        Self { machine }
    }

    /// The output of `etcdctl`.
    fn ctl(&self, arguments: &[&str]) -> String {
        self.machine.run(&[&["etcdctl"], arguments].concat())
    }

    /// The answer to a request of its API; `None` if there is none.
    fn ask<T>(
        address: &str,
        request: impl AsyncFnOnce(&mut Client) -> Result<T, etcd_client::Error>,
    ) -> Option<T> {
        let limit = Duration::from_secs(5);
        let answer = async {
            let mut client = Client::connect([format!("http://{address}:2379")], None).await?;
            request(&mut client).await
        };
        block_on(async { tokio::time::timeout(limit, answer).await.ok()?.ok() })
    }
}

impl Store for Etcd {
    fn start(network: &Network) -> Self {
        let etcd = Self::run(network, "store", "");
        etcd.until_ready();
        etcd
    }

    fn start_member(network: &Network, names: &[String; 3], index: usize) -> Self {
        let members = names
            .each_ref()
            .map(|name| format!("{name}=http://{name}:2380"))
            .join(",");
        let arguments = format!(
            "--listen-peer-urls=http://0.0.0.0:2380 --initial-advertise-peer-urls=http://{}:2380 \
             --initial-cluster={members}",
            names[index]
        );
        Self::run(network, &format!("store-{}", index + 1), &arguments)
    }

    fn machine(&self) -> &Machine {
        &self.machine
    }

    /// A shim uses all of them.
    fn section(stores: &[&Self]) -> String {
        let urls: Vec<String> = stores.iter().map(|store| store.url()).collect();
        format!(r#""etcd": {{"endpoints": {}}}"#, serde_json::json!(urls))
    }

    fn is_ready(&self) -> bool {
        self.listed("").is_some()
    }

    fn leads(&self) -> Option<bool> {
        let status = Self::ask(&self.machine.address(), async |client| client.status().await)?;
        let id = status.header()?.member_id();
        Some(status.leader() == id).filter(|_| status.leader() != 0)
    }

    fn listed_at(&self, address: &str, service: &str) -> Option<Vec<String>> {
        let prefix = format!("{PREFIX}{service}/");
        let answer = Self::ask(address, async |client| {
            let options = GetOptions::new().with_prefix().with_keys_only();
            client.get(prefix.as_str(), Some(options)).await
        })?;
        let id = |key: &str| Some(key.strip_prefix(&prefix)?.strip_suffix("/service")?.to_owned());
        let mut ids: Vec<String> = answer
            .kvs()
            .iter()
            .filter_map(|pair| id(pair.key_str().ok()?))
            .collect();
        ids.sort();
        Some(ids)
    }

    /// Deletes its keys and revokes its leases.
    fn empty(self, _network: &Network) -> Self {
        assert_ne!(
            self.ctl(&["del", "--prefix", ""]).trim(),
            "0",
            "something was there"
        );
        let leases = self.ctl(&["lease", "list"]);
        for lease in leases.lines().skip(1) {
            let (code, output) = self.machine.exec(&["etcdctl", "lease", "revoke", lease]);
            // Its owner may have found its key gone, and have revoked it.
            let is_gone = code == 0 || !self.ctl(&["lease", "list"]).contains(lease);
            assert!(is_gone, "{lease}: {output}");
        }
        self
    }
}

/// The image of etcd.
pub fn etcd_image() -> GenericImage {
    image_or("ETCD_IMAGE", "containerpilot-test-etcd")
}

/// The image that a variable names; if it is not set, the one of this project.
pub fn image_or(variable: &str, ours: &str) -> GenericImage {
    let Some(name) = std::env::var(variable).ok().filter(|name| !name.is_empty()) else {
        return image_of_ours(ours);
    };
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => GenericImage::new(name, tag),
        _ => GenericImage::new(name.as_str(), "latest"),
    }
}
