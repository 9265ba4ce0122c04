//! Reads `/proc` about running processes, and ends the processes that a test leaves behind.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::Path;

/// Whether a process exists, including one that is dead and not reaped.
pub fn is_there(pid: Pid) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

/// The process IDs in a text.
pub fn pids(text: &str) -> Vec<Pid> {
    let pid = |word: &str| Pid::from_raw(word.parse().expect("a process ID"));
    text.split_whitespace().map(pid).collect()
}

/// The children of a process, including dead ones, as listed by its existing threads.
pub fn children(parent: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten();
    let children =
        |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    threads
        .flatten()
        .flat_map(|thread| pids(&children(thread)))
        .collect()
}

/// Whether a process is dead and not reaped.
pub fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// How many children of a process are dead and not reaped.
pub fn zombies_of(parent: Pid) -> usize {
    children(parent)
        .into_iter()
        .filter(|child| is_zombie(*child))
        .count()
}

/// A line of `/proc/PID/status`; `status` is the text of that file.
pub fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':').map(str::trim);
    status
        .lines()
        .find_map(value)
        .unwrap_or_else(|| panic!("{name} in {status}"))
}

/// How many descriptors a process has open.
pub fn descriptors_of(pid: Pid) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("the process runs")
        .count()
}

/// Kills all descendants of a process, which is stopped so that it starts nothing meanwhile.
pub fn kill_all_below(root: Pid) {
    kill(root, Signal::SIGSTOP).ok();
    loop {
        let living: Vec<Pid> = below(root).into_iter().filter(|pid| !is_zombie(*pid)).collect();
        if living.is_empty() {
            return;
        }
        for pid in living {
            kill(pid, Signal::SIGKILL).ok();
        }
        std::thread::yield_now();
    }
}

fn below(root: Pid) -> Vec<Pid> {
    let mut found = children(root);
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        found.extend(children(pid));
        next += 1;
    }
    found
}
