//! Tests with real children: exit codes, process groups, output, orphans.

use super::fork::{Prepared, Steps};
use super::spawn::Variables;
use super::table::HELD;
use super::*;
use crate::adapters::clock::MachineClock;
use crate::adapters::descriptors::{OpenFiles, while_opening};
use crate::adapters::inbox::Queue;
use crate::ports::Inbox;
use domain::Event;
use domain::plan::{Command, Output, Role, Trigger, Variable};
use domain::process::ExitStatus;
use domain::signal::Signal;
use nix::sys::resource::{Resource, getrlimit};
use std::ffi::CString;
use std::os::fd::AsFd;
use std::path::Path;
use tokio::task::spawn_local;
use tokio::time::sleep;

fn job(words: &[&str], output: Output) -> Job {
    let mut words = words.iter().map(|word| Word::from(*word));
    let command = Command::new(words.next().unwrap(), words);
    Job::new(
        Role::Task { name: "t".into() },
        command,
        Trigger::Lifecycle,
        output,
    )
}

/// How long an expected event may take on a busy machine.
const LONG: domain::time::Duration = domain::time::Duration::from_secs(20);

/// All of these tests run in one thread, because a process has one owner of its children, and so has a test.
#[test]
fn children() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let mut queue = Queue::new(MachineClock::start());
        let environment = Environment::default();
        let inbox_sender = queue.sender();
        let mut children =
            Children::new(environment, None, inbox_sender, Console::discarding(), deaths()).unwrap();
        codes_and_signals_are_kept(&mut children, &mut queue).await;
        failures_to_start_are_named(&mut children);
        a_forked_child_is_as_posix_spawn_makes_it();
        a_group_is_killed_whole(&mut children, &mut queue).await;
        a_reaped_process_is_not_signalled(&mut children, &mut queue).await;
        a_panic_while_processes_are_looked_for_loses_no_signal(&mut children, &mut queue).await;
        sigkill_reaches_the_tree_of_a_child_that_ended_meanwhile(&mut children, &mut queue).await;
        a_child_has_its_own_limit_of_open_files(&mut children, &mut queue).await;
        many_children_that_die_at_once_are_all_reaped(&mut children, &mut queue).await;
        the_end_of_the_process_is_the_end_of_the_run(&mut children, &mut queue).await;
        the_output_is_posted_right_before_the_end(&mut children, &mut queue).await;
        the_environment_is_passed_on_byte_for_byte(&mut children, &mut queue).await;
        a_text_can_be_read_and_not_be_changed(&mut children, &mut queue).await;
        a_process_that_holds_the_pipe_of_a_finished_child_can_continue_to_write(&mut children, &mut queue)
            .await;
        a_limited_number_of_pipes_of_finished_children_is_held(&mut children, &mut queue).await;
        the_shim_closes_the_pipe_of_a_finished_child(&mut children, &mut queue).await;
        another_user_may_open_the_output_it_was_given(&mut children, &mut queue).await;
    });
}

/// A notification every few milliseconds, whether or not a child has died. The program itself blocks SIGCHLD
/// and takes it; in a test, another thread of the process could take it.
fn deaths() -> Rc<Notify> {
    let died = Rc::new(Notify::new());
    let notified = Rc::clone(&died);
    spawn_local(async move {
        loop {
            sleep(domain::time::Duration::from_millis(5)).await;
            notified.notify_one();
        }
    });
    died
}

async fn ended(queue: &mut Queue) -> (Ticket, ExitStatus) {
    loop {
        if let Event::Exited(ticket, status) = queue.next(None).await {
            return (ticket, status);
        }
    }
}

async fn codes_and_signals_are_kept(children: &mut Children, queue: &mut Queue) {
    let table = [
        ("exit 0", ExitStatus::Code(0)),
        ("exit 255", ExitStatus::Code(255)),
        ("kill -KILL $$", ExitStatus::Signal(Signal::KILL)),
        ("kill -34 $$", ExitStatus::Signal(Signal::new(34))),
    ];
    for (number, (script, status)) in (1..).zip(table) {
        children
            .start(Ticket(number), &job(&["sh", "-c", script], Output::Inherit))
            .unwrap();
        assert_eq!(ended(queue).await, (Ticket(number), status), "{script}");
    }
}

fn failures_to_start_are_named(children: &mut Children) {
    let mut cause = |program: &str| {
        let failure = children
            .start(Ticket(9), &job(&[program], Output::Log))
            .unwrap_err();
        (failure.not_found, failure.cause)
    };
    let (not_found, sentence) = cause("no-such-program");
    assert_eq!(
        (not_found, sentence.as_str()),
        (
            true,
            "exec: \"no-such-program\": executable file not found in $PATH"
        )
    );
    assert_eq!(
        cause("/no/such"),
        (true, "fork/exec /no/such: no such file or directory".into())
    );
    assert_eq!(
        cause("/etc/passwd"),
        (false, "fork/exec /etc/passwd: permission denied".into())
    );
    assert_eq!(
        cause("/etc/passwd/x"),
        (true, "fork/exec /etc/passwd/x: not a directory".into())
    );
}

/// The masks in its status, its process group, its environment and its code.
fn a_forked_child_is_as_posix_spawn_makes_it() {
    let in_c = |text: &str| CString::new(text).unwrap();
    let script = "grep -e SigBlk -e SigIgn /proc/self/status; ps -o pid=,pgid= -p $$; echo $A; exit 7";
    let (words, environment) = (
        ["sh", "-c", script].map(in_c),
        ["A=1", "PATH=/usr/bin:/bin"].map(in_c),
    );
    let environment = environment.each_ref().map(CString::as_c_str);
    let (output, writer) = std::io::pipe().unwrap();
    let streams = [(writer.as_fd(), 1)];
    let prepared = Prepared::new(&words, &environment, &streams).unwrap();
    let pid = prepared.start(Steps::default()).unwrap();
    drop(writer);
    let text = std::io::read_to_string(output).unwrap();
    assert_eq!(wait::reap(pid), Some(ExitStatus::Code(7)));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "SigBlk:\t0000000000000000");
    let ignored = lines[1].strip_prefix("SigIgn:\t").unwrap();
    let ignored = u64::from_str_radix(ignored, 16).unwrap();
    assert_eq!(ignored >> (nix::libc::SIGPIPE - 1) & 1, 0, "{text}");
    let mut numbers = lines[2].split_whitespace();
    assert_eq!(numbers.next(), numbers.next(), "a group of its own");
    assert_eq!(lines[3], "1");
}

/// Starts a child that waits for a child of its own, and returns the ID of that one.
async fn start_with_grandchild(children: &mut Children, ticket: Ticket) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    let script = format!(
        "sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; wait",
        file.display()
    );
    children
        .start(ticket, &job(&["sh", "-c", &script], Output::Inherit))
        .unwrap();
    until(|| file.exists()).await;
    std::fs::read_to_string(&file).unwrap()
}

async fn a_group_is_killed_whole(children: &mut Children, queue: &mut Queue) {
    let grandchild = start_with_grandchild(children, Ticket(20)).await;
    children.send(Ticket(20), Signal::KILL, SignalTarget::Tree);
    assert_eq!(ended(queue).await, (Ticket(20), ExitStatus::Signal(Signal::KILL)));
    until_ended(grandchild.trim()).await;
}

async fn until_ended(pid: &str) {
    let state = Path::new("/proc").join(pid).join("stat");
    let gone = || !std::fs::read_to_string(&state).is_ok_and(|stat| !stat.contains(") Z "));
    until(gone).await;
}

async fn a_panic_while_processes_are_looked_for_loses_no_signal(children: &mut Children, queue: &mut Queue) {
    children
        .start(Ticket(25), &job(&["sleep", "1000"], Output::Inherit))
        .unwrap();
    let receiver = Receiver::Child(Ticket(25), SignalTarget::Tree);
    children.signaller.request(receiver, Signal::KILL);
    let finds = async |_: &mut [signaller::Request]| panic!("a fault");
    children.signaller.serve(&children.table, finds).await;
    assert_eq!(ended(queue).await, (Ticket(25), ExitStatus::Signal(Signal::KILL)));
}

/// The end of the child comes between the request and the look at `/proc`.
async fn sigkill_reaches_the_tree_of_a_child_that_ended_meanwhile(
    children: &mut Children,
    queue: &mut Queue,
) {
    adopt_orphans().unwrap();
    let grandchild = start_with_grandchild(children, Ticket(26)).await;
    children
        .table
        .borrow_mut()
        .expect_signal(Ticket(26), Signal::KILL);
    children.send(Ticket(26), Signal::KILL, SignalTarget::Process);
    assert_eq!(ended(queue).await, (Ticket(26), ExitStatus::Signal(Signal::KILL)));
    children.send(Ticket(26), Signal::KILL, SignalTarget::Tree);
    until_ended(grandchild.trim()).await;
}

async fn a_reaped_process_is_not_signalled(children: &mut Children, queue: &mut Queue) {
    children
        .start(Ticket(30), &job(&["true"], Output::Inherit))
        .unwrap();
    assert_eq!(ended(queue).await.0, Ticket(30));
    assert!(children.table.borrow().by_pid.is_empty());
    children.send(Ticket(30), Signal::KILL, SignalTarget::Tree);
}

/// The limit holds whether or not another thread is opening files.
async fn a_child_has_its_own_limit_of_open_files(children: &mut Children, queue: &mut Queue) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    children.spawner.open_files = Some(OpenFiles { soft: 123, hard });
    let sleeper = job(&["sleep", "1000"], Output::Inherit);
    let quiet = children.start(Ticket(31), &sleeper).unwrap();
    let beside = while_opening(|| children.start(Ticket(32), &sleeper)).unwrap();
    children.spawner.open_files = None;
    for pid in [quiet, beside] {
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files"));
        assert_eq!(line.unwrap().split_whitespace().nth(3), Some("123"), "{limits}");
    }
    for ticket in [31, 32] {
        children.send(Ticket(ticket), Signal::KILL, SignalTarget::Tree);
        ended(queue).await;
    }
}

async fn many_children_that_die_at_once_are_all_reaped(children: &mut Children, queue: &mut Queue) {
    let numbers = 1000..1200;
    for number in numbers.clone() {
        children
            .start(Ticket(number), &job(&["sh", "-c", "exit 7"], Output::Inherit))
            .unwrap();
    }
    let mut found = Vec::new();
    for _ in numbers.clone() {
        let (ticket, status) = ended(queue).await;
        assert_eq!(status, ExitStatus::Code(7));
        found.push(ticket.0);
    }
    found.sort_unstable();
    assert_eq!(found, numbers.collect::<Vec<_>>());
}

async fn the_end_of_the_process_is_the_end_of_the_run(children: &mut Children, queue: &mut Queue) {
    let folder = tempfile::tempdir().unwrap();
    let holder = folder.path().join("holder");
    let script = format!("sleep 1000 & echo $! > {}; exit 3", holder.display());
    children
        .start(Ticket(40), &job(&["sh", "-c", &script], Output::Log))
        .unwrap();
    let end = tokio::time::timeout(LONG, ended(queue)).await;
    let end = end.expect("an end, though the pipe is held open");
    assert_eq!(end, (Ticket(40), ExitStatus::Code(3)));
    children.finish().await;
    kill_named(&holder, children, queue).await;
}

/// Kills the process whose ID is in a file.
async fn kill_named(file: &Path, children: &mut Children, queue: &mut Queue) {
    let script = format!("kill -KILL $(cat {})", file.display());
    children
        .start(Ticket(41), &job(&["sh", "-c", &script], Output::Inherit))
        .unwrap();
    assert_eq!(ended(queue).await, (Ticket(41), ExitStatus::Code(0)));
}

async fn the_output_is_posted_right_before_the_end(children: &mut Children, queue: &mut Queue) {
    let many = "i=0; while [ $i -lt 3000 ]; do echo 0123456789012345678; i=$((i+1)); done; echo end";
    let long = format!("…{}end\n", "0123456789012345678\n".repeat(51));
    let folder = tempfile::tempdir().unwrap();
    let holder = folder.path().join("holder");
    let held = format!(
        "sleep 1000 2>/dev/null & echo $! > {}; echo 7; exit 1",
        holder.display()
    );
    for (number, script, output, text) in [
        (50, "echo 42; echo no >&2", Output::Capture, Some("42\n")),
        (51, "echo 42; echo yes >&2", Output::Log, Some("42\nyes\n")),
        (52, "echo 42", Output::Inherit, None),
        (53, "exit 1", Output::Capture, None),
        (54, &held, Output::Capture, Some("7\n")),
        (55, many, Output::Capture, Some(long.as_str())),
        (56, many, Output::Log, Some(long.as_str())),
    ] {
        children
            .start(Ticket(number), &job(&["sh", "-c", script], output))
            .unwrap();
        let mut printed = None;
        let status = loop {
            match queue.next(None).await {
                Event::Printed(ticket, text) if ticket == Ticket(number) => printed = Some(text),
                Event::Exited(ticket, _) if ticket == Ticket(number) => break printed,
                _ => {}
            }
        };
        let tail = |text: &str| text.chars().rev().take(900).collect::<String>();
        assert_eq!(status.as_deref().map(tail), text.map(tail), "{script}");
        if let (Some(found), true) = (status, number >= 55) {
            assert!(found.starts_with('…') && found.len() < 1100, "{found}");
        }
    }
    kill_named(&holder, children, queue).await;
}

/// A child reads the text of its job from the beginning, however long it is, and cannot change it.
async fn a_text_can_be_read_and_not_be_changed(children: &mut Children, queue: &mut Queue) {
    let home = tempfile::tempdir().unwrap();
    let found = home.path().join("found");
    let script = format!("(wc -c; true > /dev/stdin || echo refused) > {}", found.display());
    for number in 0..2 {
        let with_text = Job {
            text: Some("0123456789abcdef".repeat(64 * 1024)),
            ..job(&["/bin/sh", "-c", &script], Output::Inherit)
        };
        children.start(Ticket(6_100 + number), &with_text).unwrap();
        assert_eq!(ended(queue).await, (Ticket(6_100 + number), ExitStatus::Code(0)));
        assert_eq!(std::fs::read_to_string(&found).unwrap(), "1048576\nrefused\n");
    }
}

/// Children get the inherited entries, also those that occur twice or have no `=`, followed by the exported
/// ones and those of the run.
async fn the_environment_is_passed_on_byte_for_byte(children: &mut Children, queue: &mut Queue) {
    let odd = [
        &b"PATH=/nowhere"[..],
        b"A=1",
        b"NOTHING",
        b"A=\xff",
        b"=",
        b"X=old",
    ];
    let odd: Vec<CString> = odd.iter().map(|entry| CString::new(*entry).unwrap()).collect();
    let own = std::mem::replace(&mut children.spawner.variables, Variables::new(odd));
    children.export("X", "new");
    let folder = tempfile::tempdir().unwrap();
    let found = folder.path().join("found");
    let words = [
        "dd",
        "status=none",
        "if=/proc/self/environ",
        &format!("of={}", found.display()),
    ];
    let with_variables = Job {
        variables: vec![
            Variable::new("REASON", "two\nlines\0"),
            Variable::new("EMPTY", ""),
        ],
        ..job(&words, Output::Inherit)
    };
    children.start(Ticket(60), &with_variables).unwrap();
    assert_eq!(ended(queue).await, (Ticket(60), ExitStatus::Code(0)));
    children.spawner.variables = own;
    let found = std::fs::read(found).unwrap();
    let expected = b"PATH=/nowhere\0A=1\0NOTHING\0A=\xff\0=\0X=new\0REASON=two\nlines\xef\xbf\xbd\0EMPTY=\0";
    assert_eq!(found, expected);
}

#[test]
fn the_inherited_environment_is_the_kernels_copy_of_it() {
    let entries = super::inherited::environment();
    let found: Vec<u8> = entries
        .iter()
        .flat_map(|entry| entry.to_bytes_with_nul())
        .copied()
        .collect();
    assert_eq!(found, std::fs::read("/proc/self/environ").unwrap());
}

async fn a_process_that_holds_the_pipe_of_a_finished_child_can_continue_to_write(
    children: &mut Children,
    queue: &mut Queue,
) {
    for (number, output) in [(60, Output::Capture), (61, Output::Log)] {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        let script = format!(
            "(while [ ! -e {0} ]; do sleep 0.01; done; head -c 300000 /dev/zero && touch {1}) & exit 0",
            file("ended").display(),
            file("written").display()
        );
        children
            .start(Ticket(number), &job(&["sh", "-c", &script], output))
            .unwrap();
        assert_eq!(ended(queue).await, (Ticket(number), ExitStatus::Code(0)));
        // Other tests start children meanwhile.
        children
            .start(Ticket(number + 100), &job(&["true"], Output::Log))
            .unwrap();
        ended(queue).await;
        std::fs::write(file("ended"), "").unwrap();
        until(|| file("written").exists()).await;
    }
}

async fn a_limited_number_of_pipes_of_finished_children_is_held(children: &mut Children, queue: &mut Queue) {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "while [ -e {} ]; do sleep 0.1; done & exit 0",
        folder.path().display()
    );
    for number in 0..u64::try_from(HELD).unwrap() + 3 {
        children
            .start(Ticket(2000 + number), &job(&["sh", "-c", &script], Output::Log))
            .unwrap();
        ended(queue).await;
    }
    assert_eq!(children.table.borrow().readers.len(), HELD);
    drop(folder);
    let held = || {
        let mut table = children.table.borrow_mut();
        table.readers.retain(|reader| !reader.is_finished());
        table.readers.len()
    };
    until(|| held() == 0).await;
}

async fn the_shim_closes_the_pipe_of_a_finished_child(children: &mut Children, queue: &mut Queue) {
    let tell = job(&["readlink", "/proc/self/fd/1"], Output::Capture);
    children.start(Ticket(2200), &tell).unwrap();
    let pipe = loop {
        if let Event::Printed(Ticket(2200), text) = queue.next(None).await {
            break text;
        }
    };
    assert!(pipe.starts_with("pipe:["), "{pipe}");
    ended(queue).await;
    let is_ours = |entry: std::io::Result<std::fs::DirEntry>| {
        let target = std::fs::read_link(entry.unwrap().path());
        target.is_ok_and(|target| target == Path::new(pipe.trim()))
    };
    until(|| !std::fs::read_dir("/proc/self/fd").unwrap().any(is_ours)).await;
}

async fn another_user_may_open_the_output_it_was_given(children: &mut Children, queue: &mut Queue) {
    let job = job(&["stat", "-Lc", "%a", "/dev/stdout"], Output::Capture);
    children.start(Ticket(70), &job).unwrap();
    loop {
        match queue.next(None).await {
            Event::Printed(Ticket(70), mode) => assert_eq!(mode, "622\n"),
            Event::Exited(Ticket(70), status) => return assert_eq!(status, ExitStatus::Code(0)),
            _ => {}
        }
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    let look = async {
        while !holds() {
            tokio::time::sleep(domain::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(domain::time::Duration::from_secs(20), look)
        .await
        .expect("in time");
}
