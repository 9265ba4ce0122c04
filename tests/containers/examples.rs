//! The examples of the project, run with docker-compose as their READMEs say, on images of this working copy.

use crate::http;
use crate::network::{LABEL, image_of_ours, make_sure_there_is_a_daemon};
use crate::store::image_or;
use crate::waiting::until;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;
use tempfile::TempDir;
use testcontainers::GenericImage;

/// How long several containers may take to do what is waited for, on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

/// The examples share images, which are built by one test at a time.
static BUILDS: Mutex<()> = Mutex::new(());

/// An example that runs; it is stopped and removed when this is dropped.
struct Project {
    folder: TempDir,
    example: &'static str,
    name: String,
}

impl Project {
    /// A copy of the examples whose images are those of this working copy, and whose ports are not published.
    fn new(example: &'static str) -> Self {
        static NUMBERS: AtomicU32 = AtomicU32::new(0);
        make_sure_there_is_a_daemon();
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let project = Self {
            folder: tempfile::tempdir().expect("a folder"),
            example,
            name: format!("cpexample{}x{number}", std::process::id()),
        };
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
        for folder in ["app", example] {
            copy(&examples.join(folder), &project.folder.path().join(folder));
        }
        project.label();
        {
            let _one_at_a_time = BUILDS.lock().unwrap_or_else(PoisonError::into_inner);
            project.compose("docker-compose build");
        }
        project
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(self.example)
    }

    /// Adds the label by which the next run of the tests removes what a killed one left.
    fn label(&self) {
        let label = format!("labels: {{ {LABEL}: \"{}\" }}", std::process::id());
        let services = self.compose("docker-compose config --services");
        let mut text = "services:\n".to_owned();
        for service in services.lines() {
            text += &format!("  {service}:\n    {label}\n");
        }
        text += &format!("networks:\n  default:\n    {label}\n");
        fs::write(self.path().join("docker-compose.override.yml"), text).expect("the label");
    }

    /// Runs a line with docker-compose; fails unless it ends with 0. Returns its standard output.
    fn compose(&self, line: &str) -> String {
        let output = Command::new("sh")
            // Without a terminal, `exec` has to know that there is none.
            .args([
                "-c",
                &line.replace("docker-compose exec ", "docker-compose exec -T "),
            ])
            .current_dir(self.path())
            .env("COMPOSE_PROJECT_NAME", &self.name)
            .env(
                "ETCD_IMAGE",
                name(&image_or("ETCD_IMAGE", "containerpilot-test-etcd")),
            )
            .output()
            .expect("a shell");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`{line}` in {}: {errors}", self.example);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The lines of the commands in its README.
    fn lines(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path().join("README.md")).expect("a README");
        let block = text
            .split("```sh\n")
            .nth(1)
            .and_then(|rest| rest.split("```").next());
        let block = block.expect("commands in the README");
        let lines = block.lines().filter(|line| !line.starts_with("export "));
        lines.map(str::to_owned).collect()
    }

    /// Waits until a line of its README prints what is wanted.
    fn until_prints(&self, line: &str, wanted: impl Fn(&str) -> bool) {
        let failed = || {
            format!(
                "`{line}` prints something else:\n{}\n{}",
                self.compose(line),
                self.log()
            )
        };
        until(LIMIT, failed, || wanted(&self.compose(line)));
    }

    fn log(&self) -> String {
        self.compose("docker-compose logs --no-color")
    }

    /// The address of the only container of a service.
    fn address(&self, service: &str) -> String {
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let line = format!("docker inspect --format '{format}' $(docker-compose ps -q {service})");
        self.compose(&line).trim().to_owned()
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if thread::panicking() {
            let down = "docker-compose kill; docker-compose down --volumes";
            let silent = Command::new("sh")
                .args(["-c", down])
                .current_dir(self.path())
                .env("COMPOSE_PROJECT_NAME", &self.name)
                .env("ETCD_IMAGE", "none")
                .output();
            // The test has failed already.
            drop(silent);
        } else {
            self.compose("docker-compose down --volumes");
        }
    }
}

/// The name of an image with its tag.
fn name(image: &GenericImage) -> String {
    use testcontainers::Image as _;
    format!("{}:{}", image.name(), image.tag())
}

/// The name of the image that is built of an example. It stays, as the other images of the tests do.
fn built(example: &str, shim: &str) -> String {
    let tag = shim.rsplit_once(':').map_or("latest", |(_, tag)| tag);
    format!("containerpilot-test-example-{example}:{tag}")
}

/// Copies the files of a folder, with the images of the tests in the place of those that are named.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    let shim = name(&image_of_ours("containerpilot-test-shim"));
    let busybox = name(&image_of_ours("containerpilot-test-busybox"));
    let nginx = name(&image_of_ours("containerpilot-test-nginx"));
    let consul = name(&image_or("CONSUL_IMAGE", "containerpilot-test-consul"));
    let version = format!("containerpilot:{}", env!("CARGO_PKG_VERSION"));
    for entry in fs::read_dir(from).expect("an example") {
        let file = entry.expect("a file").path();
        let copied = to.join(file.file_name().expect("a name"));
        fs::copy(&file, &copied).expect("a copy");
        if matches!(
            copied.file_name().and_then(|name| name.to_str()),
            Some("Dockerfile" | "docker-compose.yml")
        ) {
            let text = fs::read_to_string(&copied).expect("a text");
            let text = text
                .replace("busybox:1.37", &busybox)
                .replace(&version, &shim)
                .replace("nginx:1.28", &nginx)
                .replace("hashicorp/consul:1.20", &consul)
                .replace("ports: [\"8080:80\"]", "expose: [80]")
                .replace(
                    "build: ../app\n",
                    &format!("build: ../app\n    image: {}\n", built("app", &shim)),
                )
                .replace(
                    "build: .\n",
                    &format!("build: .\n    image: {}\n", built("nginx", &shim)),
                );
            fs::write(&copied, text).expect("a text");
        }
    }
}

#[test]
fn an_application_and_consul() {
    let project = Project::new("consul");
    let [up, services, stop] = project.lines().try_into().expect("three lines");
    project.compose(&up);
    project.until_prints(&services, |printed| printed.lines().any(|line| line == "app"));
    let passing =
        "docker-compose exec consul wget -q -O - http://localhost:8500/v1/health/service/app?passing";
    project.until_prints(passing, |printed| {
        printed.matches("\"ServiceName\": \"app\"").count() == 2
    });
    project.compose(&stop);
    let left = project.compose(passing);
    assert_eq!(left.trim(), "[]", "they are deregistered\n{}", project.log());
}

#[test]
fn an_application_and_etcd() {
    let project = Project::new("etcd");
    let [up, keys, stop] = project.lines().try_into().expect("three lines");
    project.compose(&up);
    project.until_prints(&keys, |printed| {
        printed.matches("/containerpilot/app/").count() == 2
    });
    project.compose(&stop);
    let left = project.compose(&keys);
    assert_eq!(left, "", "they are deregistered\n{}", project.log());
}

#[test]
fn containers_that_share_a_folder() {
    let project = Project::new("folder");
    let [up, log, stop] = project.lines().try_into().expect("three lines");
    project.compose(&up);
    let last = |printed: &str| {
        let line = printed
            .lines()
            .rev()
            .find_map(|line| line.split_once("instances:"))?;
        Some(line.1.split_whitespace().count())
    };
    project.until_prints(&log, |printed| last(printed) == Some(2));
    project.compose(&stop);
    project.until_prints(&log, |printed| last(printed) == Some(0));
}

#[test]
fn nginx_follows_the_instances_of_an_application() {
    let project = Project::new("nginx");
    let [up, _, down] = project.lines().try_into().expect("three lines");
    project.compose(&up);
    let address = format!("{}:80", project.address("proxy"));
    let page = || http::get(&address, "/").filter(|answer| answer.status == 200);
    let failed = || format!("both instances answer\n{}", project.log());
    let mut pages = std::collections::BTreeSet::new();
    until(LIMIT, failed, || {
        pages.extend(page().map(|answer| answer.body));
        pages.len() == 2
    });
    let over = AtomicBool::new(false);
    let (sent, lost) = thread::scope(|scope| {
        let client = scope.spawn(|| {
            let (mut sent, mut lost) = (0, 0);
            while !over.load(Ordering::Relaxed) {
                sent += 1;
                lost += u32::from(page().is_none());
            }
            (sent, lost)
        });
        project.compose(&down);
        over.store(true, Ordering::Relaxed);
        client.join().expect("the client counts")
    });
    assert_eq!(
        lost,
        0,
        "of {sent} requests while one of two instances stopped\n{}",
        project.log()
    );
    assert!(sent > 10, "only {sent} requests");
}
