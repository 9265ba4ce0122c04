//! The directory catalogue with a full disk, a read-only folder, or no inotify instance left.

use crate::program::{Program, UNTIL_TERM, in_namespaces};
use nix::unistd::geteuid;
use std::fs;
use std::path::PathBuf;

/// A service with a heartbeat every second, in a catalogue on a separate disk.
const SERVICE: &str = r#"{"directory": "@/disk/catalogue",
    "services": [{"name": "app", "port": 80, "interfaces": "lo", "poll": 1, "ttl": 30}]}"#;
/// The program with a separate disk that only it sees.
fn start() -> Program {
    let mut program = Program::new();
    program.configure(SERVICE);
    fs::create_dir(program.path("disk")).unwrap();
    let disk = program.path("disk");
    let script = format!(
        "mount -t tmpfs -o size=64k none {} && exec \"$@\"",
        disk.display()
    );
    let mut command = in_namespaces(
        &["--mount"],
        &["sh", "-c", &script, "sh"],
        &program.command(&UNTIL_TERM),
    );
    program.spawn(&mut command);
    program.until_logged("Service registered: app");
    program
}

/// The path of a file on the program's disk, for the test.
fn on_disk(program: &Program, name: &str) -> PathBuf {
    let root = PathBuf::from(format!("/proc/{}/root", program.pid()));
    let path = program.path("disk").join(name);
    root.join(path.strip_prefix("/").expect("an absolute path"))
}

fn entries(program: &Program) -> Vec<String> {
    let folder = on_disk(program, "catalogue/app");
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let text = |entry: fs::DirEntry| fs::read_to_string(entry.path()).unwrap_or_default();
    entries.map(text).collect()
}

#[test]
fn a_full_disk_is_reported_once_and_the_entry_is_whole_again_when_there_is_room() {
    let mut program = start();
    let before = entries(&program);
    fs::write(on_disk(&program, "big"), vec![b'x'; 1024 * 1024]).unwrap_err();
    program.until_logged("Failed to write heartbeat: ");
    program.until_logged("no space left on device");
    assert_eq!(
        entries(&program),
        before,
        "the last good entry, and no half of another"
    );
    fs::remove_file(on_disk(&program, "big")).unwrap();
    program.until_logged("The catalogue answers again ");
    program.until("the heartbeat counts again", |program| entries(program) != before);
    assert_eq!(program.stdout().matches("Failed to write heartbeat").count(), 1);
    assert_eq!(program.stop(), 0);
}

#[test]
fn a_folder_that_turns_read_only_is_reported_and_used_again_when_it_is_writable() {
    let mut program = start();
    let pid = program.pid().to_string();
    let remount = |how: &str| {
        let disk = program.path("disk");
        let mut words = std::process::Command::new("nsenter");
        words.args(["--mount", "--target", &pid]);
        if !geteuid().is_root() {
            words.args(["--user", "--preserve-credentials"]);
        }
        let done = words.args(["mount", "-o", how]).arg(disk).output().unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    remount("remount,ro");
    program.until_logged("read-only file system");
    remount("remount,rw");
    program.until_logged("The catalogue answers again ");
    assert_eq!(program.stop(), 0);
}

#[test]
fn without_inotify_or_beyond_its_limit_changes_are_noticed_by_reading_the_folder() {
    for (limit, instances) in [("max_inotify_instances", 0), ("max_inotify_watches", 1)] {
        let mut program = Program::new();
        program.configure(
            r#"{"directory": "@/catalogue",
                "services": [{"name": "app", "port": 80, "interfaces": "lo", "poll": 1, "ttl": 30}],
                "backends": [{"name": "app", "poll": 1, "onChange": ["sh", "-c", "echo changed >> @/changes"]}]}"#,
        );
        let none_left = format!("echo 0 > /proc/sys/user/{limit} && exec \"$@\"");
        let words = ["sh", "-c", &none_left, "sh"];
        let mut command = in_namespaces(
            &["--user", "--map-root-user"],
            &words,
            &program.command(&UNTIL_TERM),
        );
        program.spawn(&mut command);
        program.until_lines("changes", 1);
        program.until("a watch was tried", |program| {
            inotify_instances(program) == instances
        });
        fs::remove_dir_all(program.path("catalogue")).unwrap();
        program.until_lines("changes", 2);
        assert_eq!(inotify_instances(&program), instances, "{limit}");
        assert_eq!(program.stop(), 0);
    }
}

/// A user may have 128 instances.
#[test]
fn any_number_of_backends_have_one_inotify_instance() {
    let backend = |number| {
        format!(
            r#"{{"name": "db{number}", "poll": 1, "onChange": ["sh", "-c", "echo {number} >> @/changes"]}}"#
        )
    };
    let backends: Vec<String> = (0..150).map(backend).collect();
    let config = format!(
        r#"{{"directory": "@/catalogue", "backends": [{}]}}"#,
        backends.join(",")
    );
    let mut program = Program::start(&config, &UNTIL_TERM);
    program.until("the folder is watched", |program| inotify_instances(program) == 1);
    let config = format!(
        r#"{{"directory": "{}",
            "services": [{{"name": "db149", "port": 80, "interfaces": "lo", "poll": 1, "ttl": 30}}]}}"#,
        program.path("catalogue").display()
    );
    let mut other = Program::start(&config, &UNTIL_TERM);
    program.until_lines("changes", 1);
    assert_eq!(program.read("changes"), "149\n");
    assert_eq!(inotify_instances(&program), 1);
    assert_eq!((other.stop(), program.stop()), (0, 0));
}

fn inotify_instances(program: &Program) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", program.pid())).unwrap();
    let targets = descriptors.flatten().map(|entry| fs::read_link(entry.path()));
    let is_instance = |target: &std::path::PathBuf| target.to_string_lossy().contains("inotify");
    targets.flatten().filter(is_instance).count()
}

/// The time since boot differs in a time namespace; entries in the folder have the same meaning in each of
/// them.
#[test]
fn shims_in_different_time_namespaces_agree_on_what_has_expired() {
    for shift in ["1000000", "-100"] {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            r#"{{"directory": "{}", "services": [{{"name": "app", "port": 8000, "interfaces": "static:192.0.2.7",
                "poll": 1, "ttl": 30, "health": "true"}}]}}"#,
            folder.path().display()
        );
        let mut program = Program::new();
        program.configure(&config);
        let shifted = ["--time", "--boottime", shift, "--fork", "--kill-child"];
        let mut command = in_namespaces(&shifted, &[], &program.command(&UNTIL_TERM));
        program.spawn(&mut command);
        let directory = containerpilot::adapters::discovery::directory::Directory::new(folder.path());
        program.until("an entry of another time namespace counts", |_| {
            instances(&directory) == 1
        });
        let entry = std::fs::read_dir(folder.path().join("app"))
            .unwrap()
            .flatten()
            .next()
            .unwrap();
        let text = std::fs::read_to_string(entry.path()).unwrap();
        let entry: serde_json::Value = serde_json::from_str(&text).unwrap();
        let expiry = entry["expires"]["milliseconds_since_boot"].as_f64().unwrap() / 1000.0;
        let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
        let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
        assert!((expiry - uptime - 30.0).abs() < 5.0, "{expiry} at {uptime}");
    }
}

fn instances(directory: &containerpilot::adapters::discovery::directory::Directory) -> usize {
    use containerpilot::ports::Catalogue as _;
    let question = domain::catalogue::Query {
        service: "app".into(),
        after: None,
        wait: std::time::Duration::ZERO,
        ..Default::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let listing = runtime.block_on(directory.instances(&question)).unwrap();
    listing.instances.len()
}

#[test]
fn a_service_with_an_id_is_registered_under_it_until_it_is_deregistered() {
    let mut program = Program::new();
    program.configure(
        r#"{"directory": "@/catalogue", "services": [{"name": "app", "id": "rack 1/app", "port": 80,
            "interfaces": "lo", "poll": 1, "ttl": 30}]}"#,
    );
    let without_a_host_name = [
        "sh",
        "-c",
        "echo > /proc/sys/kernel/hostname && exec \"$@\"",
        "sh",
    ];
    let mut command = in_namespaces(
        &["--uts", "--user", "--map-root-user"],
        &without_a_host_name,
        &program.command(&UNTIL_TERM),
    );
    program.spawn(&mut command);
    program.until_logged("Service registered: app");
    let entry = program.path("catalogue/app/rack%201%2Fapp.json");
    let text = fs::read_to_string(&entry).unwrap();
    let read: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(read["id"], "rack 1/app", "{text}");
    assert_eq!(program.stop(), 0);
    assert!(!entry.exists(), "it left under its ID");
}
