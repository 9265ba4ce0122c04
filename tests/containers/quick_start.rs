//! The quick start of the README, word for word, in a container that has nothing but the program and BusyBox.

use crate::machine::Machine;
use crate::network::Network;
use crate::shim::{PROGRAM, Shim};
use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The commands of the quick start.
fn commands() -> String {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).expect("the README");
    let section = readme.split("## Quick start").nth(1).expect("a quick start");
    let block = section
        .split("```sh\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next());
    block.expect("its commands").to_owned()
}

/// Checks what the README says of the quick start. It runs in a container whose process 1 is not the program.
fn check(machine: &Machine) {
    machine.until_logged("Service registered: app");
    machine.until_logged_times("the instances have changed", 1);
    assert!(machine.run(&["ls", "/tmp/catalogue/app"]).contains(".json"));
    machine.run(&["rm", "/tmp/healthy"]);
    machine.until_logged_times("the instances have changed", 2);
    // What Ctrl-C does.
    machine.run(&["killall", "-INT", "containerpilot"]);
    assert_eq!(machine.code(), 143, "{}", machine.log());
}

#[test]
fn the_quick_start_of_the_readme_does_what_it_says() {
    let network = Network::new();
    let machine = Shim::shell().start(&network, "one", &["-c", &commands()]);
    check(&machine);
}

#[test]
fn it_does_so_with_the_debian_package_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(folder.path())
            .output();
        let output = output.unwrap_or_else(|error| panic!("{program}: {error}"));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {errors}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let architecture = run("dpkg", &["--print-architecture"]);
    run(&format!("{ROOT}/scripts/package"), &[PROGRAM, &architecture, "."]);
    let package = format!("containerpilot_{}_{architecture}.deb", env!("CARGO_PKG_VERSION"));
    run("dpkg-deb", &["--extract", &package, "root"]);
    let installed = fs::read(folder.path().join("root/usr/bin/containerpilot")).expect("the program");
    let network = Network::new();
    let script = format!("rm /bin/containerpilot\nPATH=/usr/bin:$PATH\n{}", commands());
    let shell = Shim::shell().file("/usr/bin/containerpilot", installed);
    let machine = shell.start(&network, "one", &["-c", &script]);
    check(&machine);
}
