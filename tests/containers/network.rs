//! A network for one test, and the Docker daemon behind it.
//!
//! Everything that a test starts has a label with the process ID of the test run, so that the next run can
//! remove what a killed one left.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use testcontainers::GenericImage;
use testcontainers::bollard::Docker;
use testcontainers::bollard::models::NetworkCreateRequest;
use testcontainers::bollard::query_parameters::{
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, RemoveContainerOptionsBuilder,
};
use testcontainers::core::client::docker_client_instance;
use tokio::runtime::Runtime;

/// The label of everything the tests start.
pub const LABEL: &str = "containerpilot.test-run";

/// A network.
pub struct Network {
    /// Its name, the prefix of its containers' names.
    pub name: String,
}

impl Network {
    /// Makes a network.
    pub fn new() -> Self {
        static NUMBERS: AtomicU32 = AtomicU32::new(0);
        make_sure_there_is_a_daemon();
        let run = std::process::id();
        let network = format!("cp-{run}-{}", NUMBERS.fetch_add(1, Ordering::Relaxed));
        let request = NetworkCreateRequest {
            name: network.clone(),
            labels: Some(HashMap::from([(LABEL.into(), run.to_string())])),
            ..NetworkCreateRequest::default()
        };
        block_on(async { docker().await.create_network(request).await }).expect("a network");
        Self { name: network }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let removed = block_on(async { docker().await.remove_network(&self.name).await });
        assert!(
            removed.is_ok() || std::thread::panicking(),
            "the network is empty and can be removed: {removed:?}"
        );
    }
}

/// Fails if no Docker daemon answers; removes what killed test runs left.
pub fn make_sure_there_is_a_daemon() {
    static READY: LazyLock<Result<(), String>> = LazyLock::new(|| block_on(make_ready()));
    READY.clone().unwrap_or_else(|missing| panic!("{missing}"));
}

/// The Docker daemon that `testcontainers` uses.
pub async fn docker() -> Docker {
    docker_client_instance()
        .await
        .expect("an address of a Docker daemon")
}

/// An image that `scripts/images` made for this working copy. It is local; no registry has it.
pub fn image_of_ours(name: &str) -> GenericImage {
    let tag = concat!(env!("CARGO_MANIFEST_DIR"), "/target/images/tag");
    let tag = fs::read_to_string(tag).unwrap_or_default();
    let full = format!("{name}:{}", tag.trim());
    let found = block_on(async { docker().await.inspect_image(&full).await });
    assert!(
        found.is_ok(),
        "this test needs the image {full}, which scripts/images makes"
    );
    GenericImage::new(name, tag.trim())
}

/// Waits for an answer of the daemon.
pub fn block_on<F: Future>(answer: F) -> F::Output {
    static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
    RUNTIME.block_on(answer)
}

/// Removes what killed test runs left. The error names what is missing if there is no daemon.
async fn make_ready() -> Result<(), String> {
    let missing = |error| format!("this test needs a Docker daemon, which scripts/images starts: {error}");
    let docker = docker_client_instance()
        .await
        .map_err(|error| missing(error.to_string()))?;
    docker.ping().await.map_err(|error| missing(error.to_string()))?;
    let filters = HashMap::from([("label", vec![LABEL])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters);
    let containers = docker.list_containers(Some(options.build())).await;
    for container in containers.map_err(|error| error.to_string())? {
        if let (true, Some(id)) = (is_left_over(container.labels), container.id) {
            let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
            docker.remove_container(&id, Some(options)).await.ok();
        }
    }
    let options = ListNetworksOptionsBuilder::new().filters(&filters).build();
    let networks = docker.list_networks(Some(options)).await;
    for network in networks.map_err(|error| error.to_string())? {
        if let (true, Some(id)) = (is_left_over(network.labels), network.id) {
            docker.remove_network(&id).await.ok();
        }
    }
    Ok(())
}

/// Whether the test run of this label has ended.
fn is_left_over(labels: Option<HashMap<String, String>>) -> bool {
    let run = labels.unwrap_or_default().remove(LABEL).unwrap_or_default();
    !Path::new("/proc").join(run).join("stat").exists()
}
