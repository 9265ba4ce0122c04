//! Process 1 in a root that is read-only and has no /tmp and no /etc, with and without /proc, as a user without an entry
//! anywhere and without rights: checks, handlers, the catalogue, the stop and the exit code are as elsewhere.

use crate::agent::Agent;
use crate::processes::children;
use crate::program::{Program, binary, in_namespaces};
use crate::sending::send;
use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Makes the root, enters it and becomes the program. `/run` is the only place where the program may write, and
/// nothing may be executed there. `/state` is the test's own folder, in which children write what the test reads.
const ENTER: &str = "set -e; root=@/root
    mount -t tmpfs none $root
    mkdir $root/usr $root/dev $root/run $root/state; [ -z \"$PROC\" ] || { mkdir $root/proc; mount -t proc none $root/proc; }
    for link in bin sbin lib lib64; do [ ! -L /$link ] || ln -s usr/$link $root/$link; done
    mount --rbind /usr $root/usr
    mount --rbind /dev $root/dev
    mount --bind @/state $root/state
    mount -t tmpfs -o noexec,mode=1777 none $root/run
    touch $root/containerpilot; mount --bind @/containerpilot $root/containerpilot
    cp @/cp.json $root/cp.json
    mount -o remount,ro $root
    cd $root
    exec chroot . setpriv --reuid 12345 --regid 12345 --clear-groups --no-new-privs --bounding-set=-all \"$@\"";

/// What follows the catalogue in the configuration.
const REST: &str = r#"
    "preStart": ["sh", "-c", "echo preStart >> /state/order"],
    "postStop": ["sh", "-c", "echo postStop >> /state/order"],
    "services": [{"name": "app", "port": 1, "interfaces": "static:192.0.2.7", "poll": 1, "ttl": 30,
                  "health": ["sh", "-c", "echo checked >> /state/checks"]}],
    "backends": [{"name": "app", "poll": 1, "onChange": ["sh", "-c", "echo $(id -u) >> /state/changes"]}],
    "tasks": [{"name": "orphans", "frequency": "100ms", "command": ["sh", "-c", "sleep 0.1 &"]},
              {"name": "limit", "frequency": "1s", "timeout": "300ms", "command": ["sleep", "1000"]}],
    "coprocesses": [{"name": "side", "command": ["sh", "-c", "trap 'echo side >> /state/order; exit 0' TERM; while :; do sleep 0.02; done"]}]"#;

/// It shows what it can see and write, and ends with a code of its own at SIGTERM.
const APPLICATION: &str = "trap 'echo application >> /state/order; exit 7' TERM; \
    (ls -d /proc /tmp /etc; touch /here /run/there; echo $(id -un)) > /state/seen 2>&1; touch /state/up; \
    while :; do sleep 0.02; done";

/// The program in the root; `proc` is whether it has /proc.
fn start(catalogue: &str, proc: bool) -> Program {
    assert!(geteuid().is_root(), "this test needs root");
    let mut program = Program::new();
    program.write("cp.json", &format!("{{{catalogue}, {REST}}}"));
    for (folder, mode) in [("", 0o755), ("root", 0o755), ("state", 0o777)] {
        fs::create_dir_all(program.path(folder)).unwrap();
        fs::set_permissions(program.path(folder), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::copy(binary(), program.path("containerpilot")).unwrap();
    let mut command = Command::new("/containerpilot");
    command
        .args(["-config", "file:///cp.json", "sh", "-c", APPLICATION])
        .env("PROC", if proc { "yes" } else { "" });
    let enter = ENTER.replace("@/", &program.expand("@/"));
    let namespaces = ["--pid", "--mount", "--fork", "--kill-child"];
    program.spawn(&mut in_namespaces(
        &namespaces,
        &["sh", "-c", &enter, "sh"],
        &command,
    ));
    program.until_file("state/up");
    program
}

/// Checks what the application found: what is not there, and where it cannot write.
fn is_bare(program: &Program, proc: bool) {
    let seen = program.read("state/seen");
    let missing = |path: &str| seen.contains(&format!("'{path}': No such file"));
    assert_eq!(
        ["/tmp", "/etc", "/proc"].map(missing),
        [true, true, !proc],
        "{seen}"
    );
    assert!(seen.contains("'/here': Read-only file system"), "{seen}");
    assert!(
        !seen.contains("/run/there") && seen.contains("cannot find name"),
        "{seen}"
    );
}

fn works_as_elsewhere(catalogue: &str, proc: bool) {
    let mut program = start(catalogue, proc);
    is_bare(&program, proc);
    program.until_lines("state/checks", 2);
    program.until_lines("state/changes", 1);
    assert_eq!(program.read("state/changes").lines().next(), Some("12345"));
    program.until_logged("task[limit] timeout after 300ms");
    let shim = children(program.pid())[0];
    program.until("orphans are reaped", |_| children(shim).len() <= 6);
    send(shim, Signal::SIGHUP);
    program.until_logged("Configuration reloaded.");
    send(shim, Signal::SIGTERM);
    assert_eq!(program.code(), 7, "{}", program.stdout());
    let order = "preStart\napplication\npostStop\nside\n";
    assert_eq!(program.read("state/order"), order, "{}", program.stdout());
}

#[test]
fn in_a_read_only_root_without_tmp_or_an_entry_for_its_user_process_1_works_as_elsewhere() {
    works_as_elsewhere(r#""directory": "/run/catalogue""#, true);
}

#[test]
fn in_a_read_only_root_without_proc_process_1_works_as_elsewhere_with_a_server_as_catalogue() {
    let agent = Agent::start();
    works_as_elsewhere(&format!(r#""consul": "{}""#, agent.address()), false);
    agent.until_passing("app", 0);
}

/// The folder needs the ID of the boot, which only /proc has.
#[test]
fn without_proc_the_directory_catalogue_names_the_file_that_it_needs() {
    let mut program = start(r#""directory": "/run/catalogue""#, false);
    program.until_logged(
        "fails all requests: the ID of this boot, /proc/sys/kernel/random/boot_id, cannot be read",
    );
    send(children(program.pid())[0], Signal::SIGTERM);
    assert_eq!(program.code(), 7, "{}", program.stdout());
}
