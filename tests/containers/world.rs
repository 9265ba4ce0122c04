//! A network for one test, and the Docker daemon behind it.
//!
//! What a test starts carries a label with the process ID of the test run, so that the next run can remove what
//! a killed one left.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Once};
use testcontainers::bollard::Docker;
use testcontainers::bollard::models::NetworkCreateRequest;
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::core::client::docker_client_instance;
use tokio::runtime::Runtime;

/// The label of everything the tests start.
pub const LABEL: &str = "containerpilot.test-run";

/// A network of its own.
pub struct World {
    /// Its name, with which those of its machines begin.
    pub network: String,
}

impl World {
    /// Makes a network.
    pub fn new() -> Self {
        static NUMBERS: AtomicU32 = AtomicU32::new(0);
        static CLEANING: Once = Once::new();
        CLEANING.call_once(|| block_on(remove_leftovers()));
        let run = std::process::id();
        let network = format!("cp-{run}-{}", NUMBERS.fetch_add(1, Ordering::Relaxed));
        let request = NetworkCreateRequest {
            name: network.clone(),
            labels: Some(HashMap::from([(LABEL.into(), run.to_string())])),
            ..NetworkCreateRequest::default()
        };
        block_on(async { docker().await.create_network(request).await }).expect("a network");
        Self { network }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let removed = block_on(async { docker().await.remove_network(&self.network).await });
        assert!(
            removed.is_ok() || std::thread::panicking(),
            "the network is empty and can be removed: {removed:?}"
        );
    }
}

/// The Docker daemon that `testcontainers` uses.
pub async fn docker() -> Docker {
    docker_client_instance()
        .await
        .expect("an address of a Docker daemon")
}

/// Waits for an answer of the daemon.
pub fn block_on<F: Future>(answer: F) -> F::Output {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
    RUNTIME.block_on(answer)
}

/// Removes what test runs left that were killed.
async fn remove_leftovers() {
    let docker = docker().await;
    if let Err(error) = docker.ping().await {
        panic!("this test needs a Docker daemon, scripts/images starts one: {error}");
    }
    let filters = HashMap::from([("label", vec![LABEL])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters);
    let containers = docker.list_containers(Some(options.build())).await;
    for container in containers.expect("the daemon lists containers") {
        if is_left_over(container.labels) {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            let id = container.id.expect("an ID");
            docker.remove_container(&id, Some(options)).await.ok();
        }
    }
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let networks = docker.list_networks(Some(options)).await;
    for network in networks.expect("the daemon lists networks") {
        if is_left_over(network.labels) {
            docker.remove_network(&network.id.expect("an ID")).await.ok();
        }
    }
}

/// Whether the test run of this label has ended.
fn is_left_over(labels: Option<HashMap<String, String>>) -> bool {
    let run = labels.unwrap_or_default().remove(LABEL).unwrap_or_default();
    !Path::new("/proc").join(run).join("stat").exists()
}
