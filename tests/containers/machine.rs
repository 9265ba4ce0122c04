//! A running container: start, stop, pause, its log, its network, and commands in it.

use crate::network::{LABEL, Network, block_on, docker};
use crate::waiting::{SOON, until};
use std::time::{Duration, Instant};
use testcontainers::bollard::models::{EndpointSettings, NetworkConnectRequest, NetworkDisconnectRequest};
use testcontainers::bollard::query_parameters::{
    KillContainerOptionsBuilder, RestartContainerOptionsBuilder,
};
use testcontainers::core::ExecCommand;
use testcontainers::runners::AsyncRunner;
use testcontainers::{ContainerAsync, ContainerRequest, GenericImage, ImageExt};

/// How long `docker stop` waits before it sends SIGKILL, in seconds.
const STOP_SECONDS: i32 = 60;

/// A container; it is removed when this is dropped.
pub struct Machine {
    /// Its name, which is its host name for other containers in its network.
    pub name: String,
    container: Option<ContainerAsync<GenericImage>>,
    network: String,
}

impl Machine {
    /// Starts a container in a network. Its host name for others is made of the network's name and `role`.
    pub fn start(network: &Network, role: &str, request: impl Into<ContainerRequest<GenericImage>>) -> Self {
        let name = format!("{}-{role}", network.name);
        let request = request
            .into()
            .with_container_name(&name)
            .with_hostname(role)
            .with_network(&network.name)
            .with_label(LABEL, std::process::id().to_string())
            .with_host_config_modifier(|host| {
                // The entry point is process 1, and no port of the host is taken.
                host.init = Some(false);
                host.publish_all_ports = Some(false);
            });
        let container = block_on(request.start());
        let container = container.unwrap_or_else(|error| panic!("{role} can be started: {error}"));
        Self {
            name,
            container: Some(container),
            network: network.name.clone(),
        }
    }

    /// Its address in this network; `None` if it is not in the network.
    pub fn address_in(&self, network: &str) -> Option<String> {
        let inspected = block_on(async { docker().await.inspect_container(&self.name, None).await });
        let networks = inspected.ok()?.network_settings?.networks?;
        networks
            .get(network)?
            .ip_address
            .clone()
            .filter(|ip| !ip.is_empty())
    }

    /// Its address, empty while it has none.
    pub fn address(&self) -> String {
        self.address_in(&self.network).unwrap_or_default()
    }

    /// Runs a command in it. Returns the exit code and the standard output.
    pub fn exec(&self, command: &[&str]) -> (i64, String) {
        block_on(async {
            let mut running = self.container().exec(ExecCommand::new(command.to_vec())).await?;
            let output = running.stdout_to_vec().await?;
            let code = loop {
                // The daemon may report the end a moment later than the end of the output.
                if let Some(code) = running.exit_code().await? {
                    break code;
                }
            };
            Ok::<_, testcontainers::TestcontainersError>((code, text(output)))
        })
        .unwrap_or_else(|error| panic!("{command:?} can be run in {}: {error}", self.name))
    }

    /// The standard output of a command in it; fails unless the command ends with 0.
    pub fn run(&self, command: &[&str]) -> String {
        let (code, output) = self.exec(command);
        assert_eq!(code, 0, "{command:?} in {}: {output}", self.name);
        output
    }

    /// What it has written to both streams so far.
    pub fn log(&self) -> String {
        block_on(async {
            let mut log = self.container().stdout_to_vec().await?;
            log.append(&mut self.container().stderr_to_vec().await?);
            Ok::<_, testcontainers::TestcontainersError>(text(log))
        })
        .unwrap_or_else(|error| panic!("{} has a log: {error}", self.name))
    }

    /// How many times its log contains this text.
    pub fn times_logged(&self, sentence: &str) -> usize {
        self.log().matches(sentence).count()
    }

    /// Waits until its log contains this text, `times` times.
    pub fn until_logged_times(&self, sentence: &str, times: usize) {
        let failed = || format!("{} has {times} times: {sentence}\n{}", self.name, self.log());
        until(SOON, failed, || self.times_logged(sentence) >= times);
    }

    /// Waits until its log contains this text.
    pub fn until_logged(&self, sentence: &str) {
        self.until_logged_times(sentence, 1);
    }

    /// Sends a signal to its process 1.
    pub fn signal(&self, signal: &str) {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        block_on(async { docker().await.kill_container(&self.name, Some(options)).await })
            .unwrap_or_else(|error| panic!("{signal} can be sent to {}: {error}", self.name));
    }

    /// `docker stop`. Returns the exit code and the duration.
    pub fn stop(&self) -> (i64, Duration) {
        let begin = Instant::now();
        block_on(self.container().stop_with_timeout(Some(STOP_SECONDS))).expect("it can be stopped");
        (self.code(), begin.elapsed())
    }

    /// `docker kill`. Returns the exit code.
    pub fn kill(&self) -> i64 {
        self.signal("SIGKILL");
        self.code()
    }

    /// Waits until it has ended. Returns the exit code.
    pub fn code(&self) -> i64 {
        let failed = || format!("{} has ended\n{}", self.name, self.log());
        until(SOON, failed, || {
            !block_on(self.container().is_running()).expect("it is known")
        });
        block_on(self.container().exit_code())
            .expect("it is known")
            .expect("it has ended")
    }

    /// `docker start`.
    pub fn start_again(&self) {
        block_on(self.container().start()).expect("it can be started again");
    }

    /// `docker restart`.
    pub fn restart(&self) {
        let options = RestartContainerOptionsBuilder::new().t(STOP_SECONDS).build();
        block_on(async { docker().await.restart_container(&self.name, Some(options)).await })
            .expect("it can be restarted");
    }

    /// `docker pause`.
    pub fn pause(&self) {
        block_on(self.container().pause()).expect("it can be paused");
    }

    /// `docker unpause`.
    pub fn unpause(&self) {
        block_on(self.container().unpause()).expect("it can be unpaused");
    }

    /// `docker network connect`.
    pub fn join(&self, network: &str) {
        let request = NetworkConnectRequest {
            container: self.name.clone(),
            endpoint_config: Some(EndpointSettings::default()),
        };
        block_on(async { docker().await.connect_network(network, request).await })
            .expect("it can join a network");
    }

    /// `docker network disconnect` from its test's network.
    pub fn cut_off(&self) {
        let request = NetworkDisconnectRequest {
            container: self.name.clone(),
            force: None,
        };
        block_on(async { docker().await.disconnect_network(&self.network, request).await })
            .expect("it can leave its network");
    }

    /// `docker network connect` to its test's network.
    pub fn connect_again(&self) {
        self.join(&self.network);
    }

    fn container(&self) -> &ContainerAsync<GenericImage> {
        self.container.as_ref().expect("it is there until it is dropped")
    }
}

/// `testcontainers` removes it, which needs a runtime.
impl Drop for Machine {
    fn drop(&mut self) {
        let container = self.container.take();
        block_on(async { drop(container) });
    }
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}
