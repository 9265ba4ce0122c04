//! A thousand reloads while services, backends, checks, a coprocess that prints without end and a scraper of the endpoint
//! keep the shim busy: what did not change runs on, and descriptors, threads, children and memory are as before.

use crate::http;
use crate::observed::{Hostile, Observed};
use crate::processes::{children, field, zombies_of};
use crate::program::Program;
use crate::slowness;
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// How many reloads there are, and how many of them come first, in which memory grows to what a reload needs.
const RELOADS: usize = 1_000;
const FIRST: usize = 400;
/// How much more memory may be resident afterwards, in KiB.
const GROWTH: u64 = 1_024;

/// Eight services, four backends that watch them, a task, a coprocess that prints without end, and one that a reload
/// changes.
fn config(version: usize) -> (String, String) {
    let service = |number: usize| {
        let port = if number == 0 { 10 + version } else { 1 };
        format!(
            r#", {{"name": "s{number}", "port": {port}, "interfaces": "static:127.0.0.1", "poll": 1, "ttl": 30, "health": "true"}}"#
        )
    };
    let backend = |number| format!(r#"{{"name": "s{number}", "poll": 1, "onChange": "true"}}"#);
    let backends: Vec<String> = (0..4).map(backend).collect();
    let sections = format!(
        r#", "backends": [{}],
            "tasks": [{{"name": "t", "frequency": "200ms", "command": "true"}}],
            "coprocesses": [{{"name": "flood", "command": ["sh", "-c", "echo $$ >> @/flood; exec yes"]}},
                            {{"name": "changes", "command": ["sh", "-c", "exec sleep 100{version}"]}}]"#,
        backends.join(", ")
    );
    ((0..8).map(service).collect(), sections)
}

/// Reloads that were counted as successful.
fn reloads(observed: &Observed) -> usize {
    let page = http::get(&observed.endpoint, "/metrics")
        .expect("the endpoint answers")
        .body;
    let value = |line: &str| {
        line.strip_prefix("containerpilot_reloads_total{result=\"success\"} ")?
            .parse()
            .ok()
    };
    page.lines().find_map(value).expect("reloads are counted")
}

/// How many instances of a service are registered.
fn registered(observed: &Observed, service: &str) -> usize {
    let folder = fs::read_dir(observed.program.path(&format!("catalogue/{service}")));
    let entries = folder.into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".json"))
        .count()
}

/// Sends SIGHUP this many times, each time after the reload before; every tenth reload brings changes.
fn reload(observed: &Observed, files: &[String; 2], count: usize) {
    for number in 0..count {
        observed.program.write("cp.json", &files[number / 10 % 2]);
        let before = reloads(observed);
        observed.program.signal(Signal::SIGHUP);
        until(
            SOON,
            || format!("reload {number} is made"),
            || reloads(observed) > before,
        );
        assert_eq!(
            registered(observed, "s1"),
            1,
            "a service that did not change has no gap"
        );
    }
}

/// Waits until the children of a quiet moment are left, and at most these descriptors. Returns how many are open, and the
/// resident memory in KiB.
fn settle(observed: &Observed, most: usize) -> (usize, u64) {
    let shim = observed.pid();
    let state = || {
        let open = observed.descriptors();
        (children(shim).len(), zombies_of(shim), observed.threads(), open)
    };
    let failed = || format!("children, zombies, threads and descriptors are {:?}", state());
    let mut open = 0;
    until(SOON, failed, || {
        let (children, zombies, threads, descriptors) = state();
        open = descriptors;
        // The application and two coprocesses; the loop, and the folder's thread.
        children == 3 && zombies == 0 && threads <= 2 && open <= most
    });
    let status = fs::read_to_string(format!("/proc/{shim}/status")).expect("the program runs");
    let memory = field(&status, "VmRSS").trim_end_matches(" kB").trim();
    (open, memory.parse().expect("a number of kilobytes"))
}

/// Ends the scraper, also when the test fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_thousand_reloads_under_load_leave_nothing_behind_and_what_did_not_change_runs_on() {
    let program = Program::new();
    symlink("/dev/null", program.path("stdout")).unwrap();
    let (services, sections) = config(1);
    let observed = Observed::start_in(
        program,
        &Hostile {
            services: &services,
            sections: &sections,
            ..Hostile::default()
        },
    );
    observed.program.until_file("up");
    observed.program.until_file("flood");
    until(
        SOON,
        || "s1 is registered".into(),
        || registered(&observed, "s1") == 1,
    );
    let usual = observed.program.read("cp.json");
    let other = usual
        .replace("\"port\": 11,", "\"port\": 12,")
        .replace("sleep 1001", "sleep 1002");
    let files = [usual, other];
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                observed.get("/metrics");
                thread::sleep(Duration::from_millis(10));
            }
        });
        let _ends = Ends(&over);
        reload(&observed, &files, FIRST);
        let (descriptors, before) = settle(&observed, usize::MAX);
        reload(&observed, &files, RELOADS - FIRST);
        // The scraper may have a connection or two.
        let (_, after) = settle(&observed, descriptors + 2);
        let grown = after.saturating_sub(before);
        assert!(grown < GROWTH, "{FIRST} to {RELOADS} reloads took {grown} KiB");
    });
    let starts = observed.program.lines("flood");
    assert_eq!(starts, 1 + RELOADS, "a reload starts a coprocess once more");
    assert!(!observed.program.has("stopped"), "the application runs on");
    observed.until_starts(2);
    let late = observed.lateness(2);
    assert!(late < Duration::from_millis(700) * slowness(), "{late:?}");
    observed.terminate();
}
