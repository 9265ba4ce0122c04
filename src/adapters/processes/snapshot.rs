//! The processes of the PID namespace as `/proc` lists them, which are descendants of which, and signals to processes
//! that are not children of the shim.
//!
//! The kernel has no call that signals all descendants of a process. Most kernels list the children of a process, so the
//! descendants of the shim can be found without reading what else runs on the machine; on others, and for all processes of
//! the namespace, all of `/proc` is read. Processes are read [`READ_AT_ONCE`] at a time, with other work in between. A
//! process is identified by its ID and the time of its start. It is signalled through a pidfd after both were compared
//! again, so that an ID that the kernel has given to another process meanwhile is not signalled.
#![allow(unsafe_code, reason = "each block says why it is sound")]

use super::signaller::own_pid;
use super::wait;
use crate::adapters::turns::Turns;
use domain::filled;
use domain::process::Pid;
use domain::signal::Signal;
use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// How many processes are read before other work is done (docs/bounds.md).
const READ_AT_ONCE: usize = 64;
/// How many processes are read in all; the others are not found (docs/bounds.md).
const READ: usize = 65_536;
/// More than the longest `/proc/PID/stat`, in bytes: 52 numbers of up to 20 digits, and a name of up to 64 bytes.
const STAT: usize = 2048;

/// A process: its ID, and when it started, in ticks of the kernel's clock since the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Process {
    pub pid: i32,
    started: u64,
}

impl Process {
    /// Whether it has not ended; a zombie has.
    pub fn is_there(self) -> bool {
        read(self.pid).is_some_and(|entry| entry.started == self.started)
    }

    /// Sends it a signal, if it has not ended. Failures are ignored: the process may have changed its user.
    pub fn send(self, signal: Signal) {
        match open(self.pid) {
            Ok(pidfd) if self.is_there() => send_through(&pidfd, signal),
            Ok(_) | Err(Errno::ESRCH) => {}
            // A kernel before 5.3 has no pidfd, or no descriptor is left.
            Err(_) if self.is_there() => wait::send(Pid(self.pid), signal),
            Err(_) => {}
        }
    }
}

/// The properties of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    parent: i32,
    group: i32,
    started: u64,
}

/// Whether a list of descendants may lack some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Descent {
    /// It has all that there were at some moment.
    Whole,
    /// A process ended meanwhile, or has several threads, which pass children on to one another.
    Uncertain,
}

/// Which processes a snapshot needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// The shim and its descendants.
    Descendants,
    /// All of the PID namespace.
    Namespace,
}

/// Processes of the PID namespace at about one time, without zombies.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    entries: BTreeMap<i32, Entry>,
    children: BTreeMap<i32, Vec<i32>>,
}

impl Snapshot {
    /// Reads at least the processes of the scope, in turns. Empty if no other process is left, and where `/proc` is missing
    /// or belongs to another PID namespace, in which the IDs are those of other processes.
    pub async fn take(scope: Scope, turns: &Turns) -> Self {
        let mut snapshot = Self::default();
        let adopts = adopts_orphans();
        if adopts && wait::none_is_left() {
            return snapshot;
        }
        let own = fs::read_link("/proc/self");
        if own.is_ok_and(|own| own.to_str() != Some(&std::process::id().to_string())) {
            return snapshot;
        }
        if adopts && scope == Scope::Descendants && snapshot.descend(own_pid(), turns).await {
            return snapshot;
        }
        snapshot.read_all(turns).await;
        snapshot
    }

    /// Reads a process and its descendants. Returns whether the kernel lists the children of processes.
    ///
    /// While they are read, an orphan gets another parent, and the kernel leaves out a child if the one before it ends. So
    /// all are read a second time if one may have been missed.
    async fn descend(&mut self, root: Pid, turns: &Turns) -> bool {
        match self.descend_once(root, turns).await {
            Some(Descent::Whole) => true,
            Some(Descent::Uncertain) => self.descend_once(root, turns).await.is_some(),
            None => false,
        }
    }

    /// As [`Self::descend`], once; `None` if the kernel does not list the children of processes.
    async fn descend_once(&mut self, root: Pid, turns: &Turns) -> Option<Descent> {
        let (mut open, mut seen) = (vec![root.0], BTreeSet::from([root.0]));
        let (mut descent, mut number) = (Descent::Whole, 0);
        while let Some(pid) = open.pop() {
            let listed = children(pid);
            if listed.is_none() && pid == root.0 {
                return None;
            }
            let Children { pids, threads } = listed.unwrap_or_default();
            // A process that is read after its children, and has not ended, was the parent of all of them.
            if !self.add(pid) || threads != 1 {
                descent = Descent::Uncertain;
            }
            open.extend(pids.into_iter().filter(|child| seen.insert(*child)));
            number += 1;
            if number % READ_AT_ONCE == 0 {
                turns.next().await;
            }
            if seen.len() > READ {
                break;
            }
        }
        Some(descent)
    }

    /// Reads all processes of the namespace.
    async fn read_all(&mut self, turns: &Turns) {
        let Ok(folder) = fs::read_dir("/proc") else {
            return;
        };
        let names = folder.flatten().map(|entry| entry.file_name());
        let pids = names.filter_map(|name| name.to_str()?.parse::<i32>().ok());
        for (number, pid) in pids.take(READ).enumerate() {
            if number % READ_AT_ONCE == READ_AT_ONCE - 1 {
                turns.next().await;
            }
            self.add(pid);
        }
    }

    /// Reads a process. Returns whether it has not ended.
    fn add(&mut self, pid: i32) -> bool {
        let Some(entry) = read(pid) else {
            return false;
        };
        let before = self.entries.insert(pid, entry);
        if before.is_none_or(|before| before.parent != entry.parent) {
            self.children.entry(entry.parent).or_default().push(pid);
        }
        true
    }

    /// The tree of the process `root` without `root` itself, which may have ended: its descendants, those of `known` that
    /// have not ended, the children of the process `own` that are in the process group of `root`, and the descendants of
    /// all of these.
    pub fn below(&self, root: Pid, known: &[Process], own: Pid) -> BTreeSet<Process> {
        let of_group = self
            .children_of(own.0)
            .filter(|process| self.is_in_group(*process, root));
        let known = known.iter().copied();
        let known = known.filter(|process| self.process(process.pid) == Some(*process));
        let children = self.children_of(root.0);
        let mut open: Vec<Process> = children.chain(of_group).chain(known).collect();
        let mut found = BTreeSet::new();
        while let Some(process) = open.pop() {
            if process.pid != root.0 && found.insert(process) {
                open.extend(self.children_of(process.pid));
            }
        }
        found
    }

    /// Whether no process could be read.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All processes except this one.
    pub fn all_but(&self, pid: i32) -> BTreeSet<Process> {
        let others = self.entries.keys().filter(|other| **other != pid);
        filled::set(others.filter_map(|pid| self.process(*pid)))
    }

    fn process(&self, pid: i32) -> Option<Process> {
        let started = self.entries.get(&pid)?.started;
        Some(Process { pid, started })
    }

    fn children_of(&self, pid: i32) -> impl Iterator<Item = Process> {
        let children = self.children.get(&pid).into_iter().flatten();
        children.filter_map(|pid| self.process(*pid))
    }

    /// Whether the process is in the process group of which `leader` is or was the leader.
    pub fn is_in_group(&self, process: Process, leader: Pid) -> bool {
        let entry = self.entries.get(&process.pid);
        entry.is_some_and(|entry| entry.started == process.started && entry.group == leader.0)
    }
}

/// Whether orphans below the shim become its children. Otherwise a process of a tree may be below another process.
fn adopts_orphans() -> bool {
    own_pid().0 == 1 || prctl::get_child_subreaper().unwrap_or_default()
}

/// What the kernel lists for one process.
#[derive(Debug, Default)]
struct Children {
    /// The children of all of its threads.
    pids: Vec<i32>,
    threads: usize,
}

/// The children of a process; `None` if it has ended, or the kernel does not list them.
fn children(pid: i32) -> Option<Children> {
    let mut children = Children::default();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        children.threads += 1;
        let listed = match fs::read_to_string(thread.path().join("children")) {
            Ok(listed) => listed,
            // A thread that has ended has no children.
            Err(_) if !thread.path().exists() => continue,
            Err(_) => return None,
        };
        children.pids.extend(
            listed
                .split_ascii_whitespace()
                .filter_map(|pid| pid.parse::<i32>().ok()),
        );
    }
    Some(children)
}

/// The parent of a process that has not ended.
pub fn parent_of(pid: i32) -> Option<i32> {
    read(pid).map(|entry| entry.parent)
}

/// `None` if the process has ended. What the kernel writes into the file is shorter than the buffer, and read at once.
fn read(pid: i32) -> Option<Entry> {
    let mut stat = [0; STAT];
    let mut file = File::open(format!("/proc/{pid}/stat")).ok()?;
    let length = file.read(&mut stat).ok()?;
    parse(stat.get(..length)?)
}

/// Reads the fields that follow the name. The name, in parentheses, may contain parentheses and spaces.
fn parse(stat: &[u8]) -> Option<Entry> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[end + 1..])
        .ok()?
        .split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    let parent = fields.next()?.parse().ok()?;
    let group = fields.next()?.parse().ok()?;
    // The start is the 22nd field of all, and the 20th behind the name; three have been taken.
    let started = fields.nth(16)?.parse().ok()?;
    Some(Entry {
        parent,
        group,
        started,
    })
}

fn open(pid: i32) -> Result<OwnedFd, Errno> {
    // SAFETY: the call takes no pointers.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let descriptor = i32::try_from(Errno::result(opened)?).map_err(|_| Errno::EBADF)?;
    // SAFETY: the kernel has just returned this descriptor, and no other value owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn send_through(pidfd: &OwnedFd, signal: Signal) {
    let no_information = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open for the duration of the call, and the kernel accepts a null pointer: the signal
    // looks as if kill had sent it.
    unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal.number(),
            no_information,
            0,
        )
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::MachineClock;
    use crate::adapters::inbox::Queue;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    #[test]
    fn a_name_may_look_like_fields() {
        let stat = b"7 (a) R 1 (x) 9) S 3 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 1";
        let entry = Entry {
            parent: 3,
            group: 5,
            started: 4711,
        };
        assert_eq!(parse(stat), Some(entry));
        assert_eq!(
            parse(b"7 (a) Z 3 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 99 1"),
            None
        );
        assert_eq!(parse(b"7 (a) S 3 5"), None);
        assert_eq!(parse(b""), None);
    }

    fn snapshot(entries: &[(i32, i32, i32)]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for (pid, parent, group) in entries.iter().copied() {
            let started = u64::try_from(pid).unwrap();
            snapshot.entries.insert(
                pid,
                Entry {
                    parent,
                    group,
                    started,
                },
            );
            snapshot.children.entry(parent).or_default().push(pid);
        }
        snapshot
    }

    fn pids(processes: &BTreeSet<Process>) -> Vec<i32> {
        processes.iter().map(|process| process.pid).collect()
    }

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "the processes are not those of the shim, and the test has a deadline"
    )]
    fn the_descendants_are_those_of_a_list_of_all_processes() {
        let script = "(sleep 100 & setsid sleep 100 & wait) & sleep 100 & wait";
        let mut shell = Command::new("setsid")
            .args(["sh", "-c", script])
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let root = Pid(i32::try_from(shell.id()).unwrap());
        let (mut descended, mut all) = (Snapshot::default(), Snapshot::default());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        tokio::task::LocalSet::new().block_on(&runtime.unwrap(), async {
            let turns = Turns::new(Queue::new(MachineClock::start()).sender());
            let deadline = Instant::now() + Duration::from_secs(20);
            // The shell, a subshell and three that sleep, whatever they are called yet.
            while all.below(root, &[], own_pid()).len() < 4 {
                assert!(Instant::now() < deadline, "the processes start");
                all = Snapshot::default();
                all.read_all(&turns).await;
            }
            assert!(
                descended.descend(own_pid(), &turns).await,
                "this kernel lists children"
            );
        });
        let expected = all.below(root, &[], own_pid());
        assert_eq!(descended.below(root, &[], own_pid()), expected);
        assert!(
            descended.entries.len() < all.entries.len(),
            "others were not read"
        );
        for process in expected {
            process.send(Signal::KILL);
        }
        shell.kill().unwrap();
        shell.wait().unwrap();
    }

    #[test]
    #[allow(
        clippy::disallowed_methods,
        reason = "the processes are not those of the shim, and the test has a deadline"
    )]
    fn a_list_is_whole_unless_a_process_has_ended_or_has_several_threads() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let (runtime, turns) = (
            runtime.unwrap(),
            Turns::new(Queue::new(MachineClock::start()).sender()),
        );
        let descent = async |root| Snapshot::default().descend_once(root, &turns).await;
        // This program, with a thread that waits for the end of the test.
        let (_ends, waits) = std::sync::mpsc::channel::<()>();
        std::thread::spawn(move || waits.recv().ok());
        let of_this_program = runtime.block_on(descent(own_pid()));
        assert_eq!(of_this_program, Some(Descent::Uncertain));
        // The second shell becomes a program that does not wait for its child, which stays a zombie.
        let scripts = ["exec sleep 100", "true & exec sleep 100"];
        let shells = scripts.map(|script| Command::new("sh").args(["-c", script]).spawn().unwrap());
        let [whole, with_zombie] = [&shells[0], &shells[1]].map(|shell| Pid(shell.id().cast_signed()));
        let deadline = Instant::now() + Duration::from_secs(20);
        let ended = |pid: &i32| read(*pid).is_none();
        while !children(with_zombie.0).is_some_and(|children| children.pids.iter().any(ended)) {
            assert!(Instant::now() < deadline, "the child ends");
        }
        assert_eq!(runtime.block_on(descent(whole)), Some(Descent::Whole));
        assert_eq!(runtime.block_on(descent(with_zombie)), Some(Descent::Uncertain));
        for mut shell in shells {
            shell.kill().unwrap();
            shell.wait().unwrap();
        }
    }

    #[test]
    fn descendants_of_all_groups_are_below_a_process_and_others_are_not() {
        // 1 is the shim; 10 a child with a child in a group of its own, 20 another child.
        let snapshot = snapshot(&[
            (1, 0, 1),
            (10, 1, 10),
            (11, 10, 10),
            (12, 11, 12),
            (20, 1, 20),
            (21, 20, 20),
        ]);
        assert_eq!(pids(&snapshot.below(Pid(10), &[], Pid(1))), [11, 12]);
        assert_eq!(pids(&snapshot.below(Pid(1), &[], Pid(1))), [10, 11, 12, 20, 21]);
        assert_eq!(pids(&snapshot.all_but(1)), [10, 11, 12, 20, 21]);
    }

    #[test]
    fn after_the_leader_its_group_and_what_was_known_are_left() {
        // 10 has ended: 11 of its group, and 12, which was known, are children of the shim.
        let snapshot = snapshot(&[
            (1, 0, 1),
            (11, 1, 10),
            (12, 1, 12),
            (13, 12, 13),
            (20, 1, 20),
            (30, 1, 30),
        ]);
        let known = [Process { pid: 12, started: 12 }, Process { pid: 20, started: 19 }];
        assert_eq!(pids(&snapshot.below(Pid(10), &known, Pid(1))), [11, 12, 13]);
    }
}
