//! Sends signals to processes. After SIGSTOP it waits until the process has stopped.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, DirEntry};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How long it may take on a busy machine until all threads of a process have stopped.
const STILL: Duration = Duration::from_secs(20);

/// Sends a process a signal; after SIGSTOP, returns when all its threads have stopped.
pub fn send(pid: Pid, signal: Signal) {
    kill(pid, signal).expect("the process runs");
    let deadline = Instant::now() + STILL;
    // The kernel stops one thread after the other, and the last one may still answer requests.
    while signal == Signal::SIGSTOP && !stands_still(pid) {
        assert!(Instant::now() < deadline, "{pid} does not stand still");
        sleep(Duration::from_millis(5));
    }
}

/// Whether every thread of a process is stopped, or gone.
fn stands_still(pid: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten();
    let stat = |thread: DirEntry| fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
    let is_stopped = |stat: String| {
        stat.rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with(['T', 'Z', 'X']))
    };
    threads.flatten().map(stat).all(is_stopped)
}
