//! Namespaces for tests that change the machine: network interfaces, mounts, the resolver's files.

use nix::sched::{CloneFlags, unshare};
use std::fs;
use std::process::Command;

const NEEDS: &str = "this test needs root, iproute2, and mount of util-linux";

/// Runs a test in a thread with a separate network and separate mounts, which processes that it starts
/// inherit. The script sets them up first; its mounts are not propagated to the machine.
pub fn isolated(set_up: &str, test: impl FnOnce() + Send + 'static) {
    let script = format!("mount --make-rprivate /\nip link set lo up\n{set_up}");
    let isolated = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect(NEEDS);
        run(&script);
        test();
    });
    if let Err(panic) = isolated.join() {
        std::panic::resume_unwind(panic);
    }
}

/// As [`isolated`], with these lines of `/etc/hosts`, and with one name server at this address.
#[allow(dead_code, reason = "only some tests look names up")]
pub fn isolated_with_names(hosts: &str, name_server: &str, test: impl FnOnce() + Send + 'static) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let contents = [
        ("hosts", format!("127.0.0.1 localhost\n{hosts}\n")),
        ("resolv.conf", format!("nameserver {name_server}\n")),
        ("nsswitch.conf", "hosts: files dns\n".to_owned()),
        ("host.conf", "multi on\n".to_owned()),
    ];
    let mut script = String::new();
    for (name, text) in contents {
        let file = folder.path().join(name);
        fs::write(&file, text).expect("a file in a temporary folder");
        script += &format!("touch /etc/{name}\nmount --bind {} /etc/{name}\n", file.display());
    }
    isolated(&script, test);
}

fn run(script: &str) {
    let set_up = Command::new("sh")
        .args(["-e", "-c", script])
        .output()
        .expect(NEEDS);
    let error = String::from_utf8_lossy(&set_up.stderr).into_owned();
    assert!(set_up.status.success(), "{NEEDS}: {error}");
}
