//! After a panic in the program itself, children are stopped and services are deregistered.
//!
//! The program's adapters are created here as in its main function, but with an inbox that panics on request.
//! Each test runs that in a process of its own, which is this test program started again. So this file has a
//! main function instead of the usual test harness, which would run a second thread that receives signals.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests start programs, read the clock, print and may fail by panicking"
)]

#[path = "program/processes.rs"]
#[allow(dead_code, reason = "other tests look at more of a process")]
mod processes;
#[path = "program/program.rs"]
#[allow(dead_code, reason = "other tests do more with the program")]
mod program;
#[path = "program/sending.rs"]
mod sending;
#[path = "program/waiting.rs"]
#[allow(dead_code, reason = "other tests wait for more")]
mod waiting;

use crate::program::{Program, UNTIL_TERM, in_namespaces};
use async_trait::async_trait;
use containerpilot::adapters::clients::Clients;
use containerpilot::adapters::clock::MachineClock;
use containerpilot::adapters::console::{self, Console};
use containerpilot::adapters::control::ControlServer;
use containerpilot::adapters::discovery::Dispatcher;
use containerpilot::adapters::environment::Environment;
use containerpilot::adapters::http::Listeners;
use containerpilot::adapters::inbox::Queue;
use containerpilot::adapters::interfaces::MachineInterfaces;
use containerpilot::adapters::probes::Prober;
use containerpilot::adapters::processes::Children;
use containerpilot::adapters::settings::{MachineSettings, UnfinishedRead};
use containerpilot::adapters::signals::Signals;
use containerpilot::adapters::telemetry::TelemetryServer;
use containerpilot::adapters::templates::MachineTemplates;
use containerpilot::config::Source;
use containerpilot::driver::{self, Ports};
use containerpilot::panics;
use containerpilot::ports::Inbox;
use domain::{Event, Instant, Shim};
use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The variable that names the folder of the process in which the inbox panics.
const FOLDER: &str = "CONTAINERPILOT_TEST_FAULT_IN";

/// An inbox that panics with a secret in its message once the file `panic` exists.
struct Faulty {
    queue: Queue,
    file: PathBuf,
}

#[async_trait(?Send)]
impl Inbox for Faulty {
    async fn next(&mut self, deadline: Option<Instant>) -> Event {
        if self.file.exists() {
            std::fs::remove_file(&self.file).expect("it is ours");
            panic!("a fault on purpose: s3cret of {}\nand more", self.file.display());
        }
        self.queue.next(deadline).await
    }
}

/// The tests by name.
const TESTS: [(&str, fn()); 2] = [
    (
        "after_a_panic_children_are_terminated_services_are_deregistered_and_the_code_is_70",
        after_a_panic_children_are_terminated_services_are_deregistered_and_the_code_is_70,
    ),
    (
        "as_process_1_the_exit_codes_are_the_same",
        as_process_1_the_exit_codes_are_the_same,
    ),
];

fn main() {
    if let Some(folder) = env::var_os(FOLDER) {
        std::process::exit(run(folder.into()).into());
    }
    let filters: Vec<String> = env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let wanted =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name)) {
        test();
        println!("test {name} ... ok");
    }
}

/// The program with a fault. Returns its exit code.
fn run(folder: PathBuf) -> u8 {
    panics::install(console::fault);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    tokio::task::LocalSet::new().block_on(&runtime.expect("a runtime"), live(folder))
}

async fn live(folder: PathBuf) -> u8 {
    let clock = MachineClock::start();
    let queue = Queue::new(clock);
    let inbox_sender = queue.sender();
    let died = Signals::install().expect("signals").post_to(inbox_sender.clone());
    let environment = Environment::default();
    let (listeners, control_listeners) = (Listeners::default(), Listeners::default());
    let application = UNTIL_TERM.map(|word| word.replace('@', &folder.display().to_string()));
    let mut settings = MachineSettings {
        source: Source::new(&format!("file://{}", folder.join("cp.json").display())),
        environment: environment.clone(),
        interfaces: MachineInterfaces,
        application: application.iter().map(|word| word.as_str().into()).collect(),
        listeners: listeners.clone(),
        control_listeners: control_listeners.clone(),
        renders_only: false,
        inbox_sender: inbox_sender.clone(),
        unfinished: UnfinishedRead::default(),
    };
    let (plan, _) = settings.compile().await.expect("a configuration");
    let mut console = Console::open().expect("a console");
    console.install();
    let mut templates = MachineTemplates::new(environment.clone(), inbox_sender.clone());
    let children = Children::new(environment, None, inbox_sender.clone(), console.clone(), died);
    let clients = Clients::new(inbox_sender.clone());
    let (broken, file) = (queue.broken(), folder.join("panic"));
    let mut ports = Ports {
        clock: &clock,
        inbox: &mut Faulty { queue, file },
        processes: &mut children.expect("children"),
        probes: &mut Prober::new(inbox_sender.clone()),
        discovery: &mut Dispatcher::new(inbox_sender.clone()),
        settings: &mut settings,
        console: &mut console,
        control: &mut ControlServer::new(clients.clone(), inbox_sender.clone(), control_listeners),
        telemetry: &mut TelemetryServer::new(clock, clients, inbox_sender, listeners),
        templates: &mut templates,
    };
    driver::run_to_exit(Shim::new(plan, 1), &mut ports, broken).await
}

const CONFIG: &str = r#"{"directory": "@/catalogue", "stopTimeout": 2, "services": [
        {"name": "app", "port": 1, "interfaces": "static:127.0.0.1", "poll": 1, "ttl": 60, "health": "true"}],
    "coprocesses": [{"name": "stubborn", "command": ["sh", "-c",
        "trap '' TERM; echo $$ > @/stubborn; while :; do sleep 0.05; done"]}],
    "postStop": ["touch", "@/post-stop"]}"#;

/// The program with a fault, in separate namespaces.
fn faulty(namespaces: &[&str]) -> Program {
    let mut program = Program::new();
    program.configure(CONFIG);
    let mut command = Command::new(env::current_exe().expect("this program"));
    command.env(FOLDER, program.path(""));
    if !namespaces.is_empty() {
        command = in_namespaces(namespaces, &[], &command);
    }
    program.spawn(&mut command);
    for file in ["up", "stubborn", "catalogue/app"] {
        program.until_file(file);
    }
    program
}

fn ends_in_order(mut program: Program) {
    program.write("panic", "");
    // The next check wakes the driver.
    assert_eq!(program.code(), 70, "{}", program.stderr());
    assert!(program.has("stopped"), "the application got SIGTERM");
    let entries = std::fs::read_dir(program.path("catalogue/app")).expect("the service's folder");
    let entries: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().ends_with(".json"))
        .collect();
    assert!(entries.is_empty(), "{entries:?}");
    assert!(!program.has("post-stop"));
    let stderr = program.stderr();
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(
        stderr.contains("A fault in the shim itself at tests/panics.rs:"),
        "{stderr}"
    );
    assert!(stderr.ends_with(": a fault on purpose\n"), "{stderr}");
}

fn after_a_panic_children_are_terminated_services_are_deregistered_and_the_code_is_70() {
    let program = faulty(&[]);
    let stubborn = crate::processes::pids(&program.read("stubborn"))[0];
    let began = std::time::Instant::now();
    ends_in_order(program);
    assert!(began.elapsed() >= Duration::from_secs(2) && began.elapsed() < Duration::from_secs(15));
    assert!(!crate::processes::is_there(stubborn) || crate::processes::is_zombie(stubborn));
}

fn as_process_1_the_exit_codes_are_the_same() {
    ends_in_order(faulty(&["--pid", "--fork", "--mount-proc", "--kill-child"]));
}
