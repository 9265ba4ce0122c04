//! A container of the test image, which contains the program as its entry point, and BusyBox.

use crate::machine::Machine;
use crate::network::{Network, image_of_ours};

use testcontainers::core::Mount;
use testcontainers::{ContainerRequest, CopyTargetOptions, GenericImage, ImageExt};

/// The path of the configuration.
pub const CONFIG: &str = "/etc/containerpilot.json";

/// The program that is in the image.
pub const PROGRAM: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/images/shim/bin/containerpilot"
);

/// An application that ends with code 7 on SIGTERM.
pub const UNTIL_TERM: [&str; 3] = ["sh", "-c", "trap 'kill $!; exit 7' TERM; sleep 100000 & wait"];

/// An application that serves `/srv` on port 8000.
pub const SERVER: [&str; 6] = ["httpd", "-f", "-p", "8000", "-h", "/srv"];

/// A container that has not been started.
pub struct Shim {
    request: ContainerRequest<GenericImage>,
}

impl Shim {
    /// One with this configuration.
    pub fn new(config: &str) -> Self {
        Self::without_configuration()
            .file(CONFIG, config)
            .variable("CONTAINERPILOT", &format!("file://{CONFIG}"))
    }

    /// A container without a configuration in its environment; the command line must have everything.
    pub fn without_configuration() -> Self {
        Self {
            request: image_of_ours("containerpilot-test-shim").into(),
        }
    }

    /// A container that runs a shell in the place of the program; the command line must have its commands.
    pub fn shell() -> Self {
        let image = image_of_ours("containerpilot-test-shim");
        Self {
            request: image.with_entrypoint("/bin/sh").into(),
        }
    }

    /// Sets a variable of its environment.
    pub fn variable(self, name: &str, value: &str) -> Self {
        Self {
            request: self.request.with_env_var(name, value),
        }
    }

    /// Puts a file into it, which may be executed.
    pub fn file(self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        let target = CopyTargetOptions::new(path).with_mode(0o755);
        Self {
            request: self.request.with_copy_to(target, content.into()),
        }
    }

    /// As this user, without capabilities and new privileges, with a read-only root and a tmpfs at `/run`.
    pub fn without_rights(self, user: &str) -> Self {
        Self {
            request: self
                .request
                .with_user(user)
                .with_cap_drop("ALL")
                .with_security_opt("no-new-privileges")
                .with_readonly_rootfs(true)
                .with_mount(Mount::tmpfs_mount("/run")),
        }
    }

    /// Starts it with arguments, for instance an application; `role` is its host name, too.
    pub fn start(self, network: &Network, role: &str, arguments: &[&str]) -> Machine {
        let request = self.request.with_cmd(arguments.iter().copied());
        Machine::start(network, role, request)
    }
}
