//! A control group with limits, of either version, in which the program under test runs with all its children.
//! All processes in it are killed when its value is dropped.

use crate::processes::pids;
use nix::sys::signal::{Signal, kill};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

const ROOT: &str = "/sys/fs/cgroup";

/// A control group that is removed when its value is dropped.
pub struct Cgroup {
    /// One folder for each controller in version 1, one for all in version 2.
    folders: Vec<PathBuf>,
    /// The file that counts kills by the out-of-memory killer.
    kills: PathBuf,
}

impl Cgroup {
    /// A group with these limits on memory in bytes, and on processes and threads.
    pub fn with(memory: u64, pids: u32) -> Self {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let name = format!("containerpilot-test-{}-{number}", std::process::id());
        let root = Path::new(ROOT);
        let first = root.join("memory");
        if first.is_dir() {
            let (memory_folder, pids_folder) = (first.join(&name), root.join("pids").join(&name));
            limit(&memory_folder, "memory.limit_in_bytes", &memory.to_string());
            limit(&pids_folder, "pids.max", &pids.to_string());
            let kills = memory_folder.join("memory.oom_control");
            let folders = vec![memory_folder, pids_folder];
            return Self { folders, kills };
        }
        fs::write(root.join("cgroup.subtree_control"), "+memory +pids").expect(NEEDS);
        let folder = root.join(name);
        limit(&folder, "memory.max", &memory.to_string());
        limit(&folder, "pids.max", &pids.to_string());
        let kills = folder.join("memory.events");
        let folders = vec![folder];
        Self { folders, kills }
    }

    /// The command that starts another command in the group.
    pub fn starter(&self) -> Vec<String> {
        let join = |folder: &PathBuf| format!("echo $$ > {}/cgroup.procs && ", folder.display());
        let script: String = self.folders.iter().map(join).collect();
        let words = ["sh", "-c", &format!("{script}exec \"$@\""), "sh"];
        words.map(str::to_owned).to_vec()
    }

    /// Kills all processes. Returns whether there were none.
    fn is_empty_once_killed(&self) -> bool {
        let processes = fs::read_to_string(self.folders[0].join("cgroup.procs")).unwrap_or_default();
        for pid in pids(&processes) {
            kill(pid, Signal::SIGKILL).ok();
        }
        processes.is_empty()
    }

    /// From now on the group may have this number of processes and threads; existing ones stay.
    pub fn limit_pids(&self, pids: u32) {
        let folder = self.folders.last().expect("a folder");
        fs::write(folder.join("pids.max"), pids.to_string()).expect(NEEDS);
    }

    /// How many processes the out-of-memory killer has killed.
    pub fn kills(&self) -> u32 {
        let text = fs::read_to_string(&self.kills).expect("the group is there");
        let count = |line: &str| line.strip_prefix("oom_kill ")?.trim().parse().ok();
        text.lines().find_map(count).expect("kills are counted")
    }
}

const NEEDS: &str = "this test needs root, and control groups for memory and pids";

fn limit(folder: &Path, file: &str, value: &str) {
    fs::create_dir_all(folder).expect(NEEDS);
    fs::write(folder.join(file), value).expect(NEEDS);
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A killed process may still exist.
        let tries = || (0..500).inspect(|_| sleep(Duration::from_millis(10)));
        tries().find(|_| self.is_empty_once_killed());
        for folder in &self.folders {
            tries().find(|_| fs::remove_dir(folder).is_ok());
        }
    }
}
